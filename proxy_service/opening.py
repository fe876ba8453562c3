"""A store that is still being opened: calls begin before gRPC is loaded."""

import threading
from collections.abc import Callable, Sequence
from typing import Literal

from metering.errors import StoreUnavailable
from metering.stores import STORE_TIMEOUT_SECONDS, Document, DocumentStore, Query, Write, WriteResult


class OpeningStore:
    """A store opened in a thread; whoever asks it meanwhile waits, no longer than for any answer.

    `on_failure` learns why it could not be opened; it then answers nobody.
    """

    kind: Literal["sqlite", "firestore"] = "firestore"

    def __init__(
        self, open_store: Callable[[], DocumentStore], on_failure: Callable[[Exception], None]
    ) -> None:
        self._open_store = open_store
        self._on_failure = on_failure
        self._store: DocumentStore | None = None
        self._is_open = threading.Event()
        threading.Thread(target=self._open, name="opening", daemon=True).start()

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        """See `DocumentStore`."""
        return self._opened(timeout_seconds).get(path, timeout_seconds=timeout_seconds)

    def get_many(
        self, paths: Sequence[str], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> dict[str, Document]:
        """See `DocumentStore`."""
        return self._opened(timeout_seconds).get_many(paths, timeout_seconds=timeout_seconds)

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        """See `DocumentStore`."""
        return self._opened(timeout_seconds).query(query, timeout_seconds=timeout_seconds)

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        """See `DocumentStore`."""
        return self._opened(timeout_seconds).commit(writes, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """See `DocumentStore`."""
        if self._store is not None:
            self._store.close()

    def _opened(self, timeout_seconds: float) -> DocumentStore:
        if not self._is_open.wait(timeout_seconds) or self._store is None:
            raise StoreUnavailable("the store is not open")
        return self._store

    def _open(self) -> None:
        try:
            self._store = self._open_store()
        except Exception as error:  # noqa: BLE001 - the edge of a thread: whatever it is, it is told
            self._on_failure(error)
        self._is_open.set()
