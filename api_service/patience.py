"""A store that people do not wait long for.

Somebody behind a browser is told soon that the database does not answer, and so is everybody after them: when
several calls in a row went unanswered, the next ones fail at once for a moment, so that the few threads that
serve are not all spent on waiting, and health checks still get through.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from metering.clock import Clock
from metering.errors import StoreUnavailable
from metering.stores import Document, DocumentStore, Query, Write, WriteResult

CALL_SECONDS_MAX = 3.0
FAILURES_IN_A_ROW = 3
REST_SECONDS = 1.0


class PatienceLimited:
    """A `DocumentStore` that waits at most `CALL_SECONDS_MAX`, and while that one is down, not at all."""

    def __init__(self, store: DocumentStore, clock: Clock) -> None:
        self.kind: Literal["sqlite", "firestore"] = store.kind
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._rests_until = 0.0

    def get(self, path: str, *, timeout_seconds: float = CALL_SECONDS_MAX) -> Document | None:
        """As `DocumentStore.get`."""
        with self._call():
            return self._store.get(path, timeout_seconds=min(timeout_seconds, CALL_SECONDS_MAX))

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = CALL_SECONDS_MAX,
    ) -> dict[str, Document]:
        """As `DocumentStore.get_many`."""
        with self._call():
            timeout_seconds = min(timeout_seconds, CALL_SECONDS_MAX)
            return self._store.get_many(paths, known=known, timeout_seconds=timeout_seconds)

    def query(self, query: Query, *, timeout_seconds: float = CALL_SECONDS_MAX) -> list[Document]:
        """As `DocumentStore.query`."""
        with self._call():
            return self._store.query(query, timeout_seconds=min(timeout_seconds, CALL_SECONDS_MAX))

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = CALL_SECONDS_MAX
    ) -> list[WriteResult]:
        """As `DocumentStore.commit`."""
        with self._call():
            return self._store.commit(writes, timeout_seconds=min(timeout_seconds, CALL_SECONDS_MAX))

    def close(self) -> None:
        """Close the store behind."""
        self._store.close()

    @contextmanager
    def _call(self) -> Iterator[None]:
        with self._lock:
            if self._clock.monotonic() < self._rests_until:
                raise StoreUnavailable("the store did not answer a moment ago")
        is_answered = True
        try:
            yield
        except StoreUnavailable:
            is_answered = False
            raise
        finally:
            self._count(is_answered=is_answered)

    def _count(self, *, is_answered: bool) -> None:
        with self._lock:
            self._failures = 0 if is_answered else self._failures + 1
            if self._failures >= FAILURES_IN_A_ROW:
                self._rests_until = self._clock.monotonic() + REST_SECONDS
