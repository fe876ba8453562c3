"""A store between which and its caller things go wrong, as told."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from metering.errors import StoreError, StoreUnavailable
from metering.stores import STORE_TIMEOUT_SECONDS, Document, DocumentStore, Query, Write, WriteResult

Fate = Literal[
    "applied",
    "reply_lost",  # applied, but the caller hears nothing
    "not_applied",  # lost on the way there
    "late",  # the caller hears nothing, and it is applied when `land` is called, if it still can be
]
FATES: tuple[Fate, ...] = ("applied", "reply_lost", "not_applied", "late")


class UnreliableStore:
    """Passes everything on to another store; commits meet the given fates, then are `applied`."""

    def __init__(
        self, inner: DocumentStore, fates: Iterable[Fate] = (), before: Callable[[], None] = lambda: None
    ) -> None:
        self.kind: Literal["sqlite", "firestore"] = inner.kind
        self.commits: list[list[Write]] = []
        self._inner = inner
        self._fates = iter(fates)
        self._before = before
        self._in_flight: list[Sequence[Write]] = []

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        self._before()
        return self._inner.get(path, timeout_seconds=timeout_seconds)

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        self._before()
        return self._inner.get_many(paths, known=known, timeout_seconds=timeout_seconds)

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        self._before()
        return self._inner.query(query, timeout_seconds=timeout_seconds)

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        self._before()
        self.commits.append(list(writes))
        fate = next(self._fates, "applied")
        if fate == "late":
            self._in_flight.append(writes)
        if fate in ("late", "not_applied"):
            raise StoreUnavailable("no answer came")
        results = self._inner.commit(writes, timeout_seconds=timeout_seconds)
        if fate == "reply_lost":
            raise StoreUnavailable("no answer came")
        return results

    def land(self) -> None:
        """Apply what is still on its way, each commit if the store lets it."""
        for writes in self._in_flight:
            try:
                self._inner.commit(writes)
            except StoreError:
                continue
        self._in_flight.clear()

    def close(self) -> None:
        self._inner.close()
