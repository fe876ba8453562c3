"""`DocumentStore` on Firestore.

Nothing is retried and every call has a time-out of its own. The channel is made at the first call, never at
import and never before a fork. Collections are protected by our own code only: services come in through IAM.
"""

from collections.abc import Sequence
from typing import Any, Literal

import grpc
from google.auth.exceptions import GoogleAuthError

from metering.documents import check_commit, check_paths, check_query
from metering.errors import StoreUnavailable
from metering.firestore.commits import commit_request, results_of, revision_of
from metering.firestore.connection import BatchGetDocumentsRequest, Calls, Connection
from metering.firestore.outcomes import refused
from metering.firestore.queries import query_request
from metering.firestore.values import fields_of
from metering.stores import STORE_TIMEOUT_SECONDS, Document, Query, Write, WriteResult


def open_store(project: str, database: str, *, emulator_address: str = "") -> "FirestoreStore":
    """The store in this project's database; on the emulator where its address (`host:port`) is given.

    Nothing is dialled yet.
    """
    return FirestoreStore(f"projects/{project}/databases/{database}", emulator_address)


class FirestoreStore:
    """See `metering.stores.DocumentStore` for what its methods promise."""

    kind: Literal["sqlite", "firestore"] = "firestore"

    def __init__(self, database: str, emulator_address: str) -> None:
        self._database = database
        self._names = f"{database}/documents/"
        self._connection = Connection(database, emulator_address)

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        """The document as of now, or None."""
        return self.get_many([path], timeout_seconds=timeout_seconds).get(path)

    def get_many(
        self, paths: Sequence[str], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> dict[str, Document]:
        """Those of the documents that exist, by path, in one round trip."""
        check_paths(paths)
        if not paths:
            return {}
        names = [self._names + path for path in dict.fromkeys(paths)]
        request = BatchGetDocumentsRequest(database=self._database, documents=names)
        calls = self._calls()
        try:
            answers = list(
                calls.batch_get(request, timeout=timeout_seconds, metadata=self._connection.metadata)
            )
        except grpc.RpcError as error:
            raise refused(error) from error
        found = [self._document(answer.found) for answer in answers if answer.HasField("found")]
        return {document.path: document for document in found}

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        """The documents a query finds, in its order, at most its limit."""
        check_query(query)
        request = query_request(self._database, query)
        calls = self._calls()
        try:
            answers = list(
                calls.run_query(request, timeout=timeout_seconds, metadata=self._connection.metadata)
            )
        except grpc.RpcError as error:
            raise refused(error) from error
        return [self._document(answer.document) for answer in answers if answer.HasField("document")]

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        """Apply all writes or none; one result a write, in order."""
        check_commit(writes)
        request = commit_request(self._database, writes)
        calls = self._calls()
        try:
            response = calls.commit(request, timeout=timeout_seconds, metadata=self._connection.metadata)
        except grpc.RpcError as error:
            raise refused(error, writes) from error
        return results_of(response, writes)

    def close(self) -> None:
        """Close the channel; the store is not used after."""
        self._connection.close()

    def _calls(self) -> Calls:
        try:
            return self._connection.calls()
        except GoogleAuthError as error:
            raise StoreUnavailable("no credentials for Firestore; see docs/settings.md") from error

    def _document(self, message: Any) -> Document:
        return Document(message.name.removeprefix(self._names), fields_of(message), revision_of(message))
