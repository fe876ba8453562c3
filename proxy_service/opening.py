"""A store that is opened beside the first calls, since loading gRPC takes as long as answering them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from metering.errors import StoreUnavailable
from metering.stores import (
    STORE_TIMEOUT_SECONDS,
    Document,
    DocumentStore,
    Increment,
    Query,
    Write,
    WriteResult,
)


class First(Protocol):
    """What can be had of a store before it is open. Raises: StoreUnavailable, as the store does."""

    def get(self, path: str, timeout_seconds: float) -> Document | None:
        """The document as of now, or None."""

    def increment(self, writes: Sequence[Increment], timeout_seconds: float) -> list[WriteResult]:
        """Apply all of them or none; one result a write, in order."""


class OpeningStore:
    """A store opened in a thread, by the first who needs more of it than `first` gives, or by `open`.

    Until it is open, single documents are read, and increments by themselves committed, by `first` where
    there is one; whoever needs more waits, no longer than for any answer. It is loaded `pause_seconds` after
    it is first needed, since the calls under way would wait for that. `on_failure` learns why it could not be
    opened; it then answers nobody.
    """

    kind: Literal["sqlite", "firestore"] = "firestore"

    def __init__(
        self,
        open_store: Callable[[], DocumentStore],
        on_failure: Callable[[Exception], None],
        first: First | None = None,
        *,
        pause_seconds: float = 0,
    ) -> None:
        self._open_store = open_store
        self._on_failure = on_failure
        self._first = first
        self._pause_seconds = pause_seconds
        self._store: DocumentStore | None = None
        self._is_open = threading.Event()
        self._beginning = threading.Lock()
        self._has_begun = False

    def open(self) -> None:
        """Begin to open it, unless that has begun."""
        with self._beginning:
            if not self._has_begun:
                self._has_begun = True
                threading.Thread(target=self._open, name="opening", daemon=True).start()

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        """See `DocumentStore`."""
        if self._first is not None and not self._is_open.is_set():
            return self._first.get(path, timeout_seconds)
        return self._opened(timeout_seconds).get(path, timeout_seconds=timeout_seconds)

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        """See `DocumentStore`."""
        return self._opened(timeout_seconds).get_many(paths, known=known, timeout_seconds=timeout_seconds)

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        """See `DocumentStore`."""
        return self._opened(timeout_seconds).query(query, timeout_seconds=timeout_seconds)

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        """See `DocumentStore`."""
        if self._first is not None and not self._is_open.is_set():
            increments = [write for write in writes if isinstance(write, Increment)]
            if len(increments) == len(writes):
                return self._first.increment(increments, timeout_seconds)
        return self._opened(timeout_seconds).commit(writes, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """See `DocumentStore`."""
        if self._store is not None:
            self._store.close()

    def _opened(self, timeout_seconds: float) -> DocumentStore:
        self.open()
        if not self._is_open.wait(timeout_seconds) or self._store is None:
            raise StoreUnavailable("the store is not open")
        return self._store

    def _open(self) -> None:
        self._is_open.wait(self._pause_seconds)
        try:
            self._store = self._open_store()
        except Exception as error:  # noqa: BLE001 - the edge of a thread: whatever it is, it is told
            self._on_failure(error)
        self._is_open.set()
