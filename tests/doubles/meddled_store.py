"""A store in which somebody else is faster, once, at the worst moment."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from metering.stores import Document, DocumentStore, Query, Write, WriteResult


class Meddled:
    """Passes everything on; before the first commit that names a path of one's choosing it does `meddle`."""

    def __init__(self, store: DocumentStore) -> None:
        self.kind: Literal["sqlite", "firestore"] = store.kind
        self.before_commit_that_names = ""
        self.meddle: Callable[[], object] = lambda: None
        self.has_meddled = False
        self._store = store

    def get(self, path: str, *, timeout_seconds: float = 10) -> Document | None:
        return self._store.get(path, timeout_seconds=timeout_seconds)

    def get_many(
        self, paths: Sequence[str], *, known: Mapping[str, str] | None = None, timeout_seconds: float = 10
    ) -> dict[str, Document]:
        return self._store.get_many(paths, known=known, timeout_seconds=timeout_seconds)

    def query(self, query: Query, *, timeout_seconds: float = 10) -> list[Document]:
        return self._store.query(query, timeout_seconds=timeout_seconds)

    def commit(self, writes: Sequence[Write], *, timeout_seconds: float = 10) -> list[WriteResult]:
        is_named = any(each.path == self.before_commit_that_names for each in writes)
        if is_named and not self.has_meddled:
            self.has_meddled = True
            self.meddle()
        return self._store.commit(writes, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        self._store.close()
