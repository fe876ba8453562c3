"""`DocumentStore` on one SQLite file.

Several processes of one machine may use the file at once: readers never wait for writers nor hold a
transaction, writers queue. Connections are made at first use, so a process may fork between `open_store` and
its first call. Whatever SQLite complains of (locked, disk full, damaged) is StoreUnavailable.
"""

import json
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from metering.documents import check_commit, check_paths, check_query, location
from metering.errors import StoreUnavailable
from metering.sqlite import file
from metering.sqlite.querying import statement
from metering.sqlite.writing import Transaction
from metering.stores import STORE_TIMEOUT_SECONDS, Document, Query, Write, WriteResult

CONNECTIONS_MAX = 16

_decode = msgspec.msgpack.decode


def open_store(path: Path) -> "SqliteStore":
    """The store in this file, which is made (mode 0600) where it is missing.

    Raises: StoreError when the file is not ours or was written by a newer release; StoreUnavailable when it
    cannot be opened.
    """
    file.prepare(path)
    return SqliteStore(path)


class SqliteStore:
    """See `metering.stores.DocumentStore` for what its methods promise."""

    kind: Literal["sqlite", "firestore"] = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        # The one used last is taken first; None stands for one that is not open yet.
        self._connections: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        for _ in range(CONNECTIONS_MAX):
            self._connections.put(None)
        # SQLite lets writers poll for the file; threads of one process queue here instead.
        self._writing = threading.Lock()

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        """The document as of now, or None."""
        return self.get_many([path], timeout_seconds=timeout_seconds).get(path)

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        """Those of the documents that exist, by path."""
        check_paths(paths)
        known = known or {}
        places = json.dumps([(*location(path), known.get(path)) for path in dict.fromkeys(paths)])
        with self._connection(timeout_seconds) as connection:
            rows = connection.execute(
                "SELECT documents.collection || '/' || documents.id,"
                # Fields that nobody asks for are not even read from the file.
                " CASE WHEN CAST(revision AS TEXT) = wanted.value ->> 2 THEN NULL ELSE fields END, revision"
                " FROM json_each(?) AS wanted"
                " CROSS JOIN documents"
                " ON collection = wanted.value ->> 0 AND documents.id = wanted.value ->> 1",
                (places,),
            ).fetchall()
        return {
            path: Document(path, {} if blob is None else _decode(blob), str(revision))
            for path, blob, revision in rows
        }

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        """The documents a query finds, in its order, at most its limit."""
        check_query(query)
        text, bound = statement(query)
        with self._connection(timeout_seconds) as connection:
            rows = connection.execute(text, bound).fetchall()
        return [_document(query.collection, row) for row in rows]

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        """Apply all writes or none; one result a write, in order."""
        check_commit(writes)
        deadline = time.monotonic() + timeout_seconds
        if not self._writing.acquire(timeout=max(0.0, timeout_seconds)):
            raise StoreUnavailable("the store was busy for too long")
        try:
            with self._connection(deadline - time.monotonic()) as connection, _transaction(connection):
                return Transaction(connection).apply(writes)
        finally:
            self._writing.release()

    def close(self) -> None:
        """Close the connections that are not in use; the store is not used after."""
        while not self._connections.empty():
            connection = self._connections.get_nowait()
            if connection is not None:
                connection.close()

    @contextmanager
    def _connection(self, timeout_seconds: float) -> Iterator[sqlite3.Connection]:
        deadline = time.monotonic() + timeout_seconds
        try:
            connection = self._connections.get(timeout=max(0.0, timeout_seconds))
        except queue.Empty:
            raise StoreUnavailable("all connections to the store were busy for too long") from None
        healthy = False
        try:
            if connection is None:
                connection = file.connect(self._path)
            wait_ms = max(0, int((deadline - time.monotonic()) * 1000))
            connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
            yield connection
            healthy = True
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the store did not answer: {error}") from error
        finally:
            # After any mistake the connection is made anew: nothing of a broken call can leak into the next.
            if connection is not None and not healthy:
                connection.close()
            self._connections.put(connection if healthy else None)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _document(collection: str, row: tuple[str, bytes, int]) -> Document:
    document_id, blob, revision = row
    fields: dict[str, Any] = _decode(blob)
    return Document(f"{collection}/{document_id}", fields, str(revision))
