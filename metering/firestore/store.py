"""`DocumentStore` on Firestore.

Nothing is retried and every call has a time-out of its own. The channel is made at the first call, never at
import and never before a fork. Collections are protected by our own code only: services come in through IAM.
"""

import time
from collections.abc import Mapping, Sequence
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

_NO_FIELDS = ("__name__",)  # a mask that names no field: what comes back is name and revision


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
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        """Those of the documents that exist, by path, at once.

        Of what is `known` the revision is asked for; what has changed since is read whole in a second round.
        """
        check_paths(paths)
        known = known or {}
        deadline = time.monotonic() + timeout_seconds
        found = self._found(paths, known, timeout_seconds)
        changed = [
            path
            for path, document in found.items()
            if known.get(path, document.revision) != document.revision
        ]
        if not changed:
            return found
        unchanged = {path: document for path, document in found.items() if path not in changed}
        return unchanged | self._found(changed, {}, max(0.0, deadline - time.monotonic()))

    def _found(
        self, paths: Sequence[str], known: Mapping[str, str], timeout_seconds: float
    ) -> dict[str, Document]:
        """The documents, those that are known without their fields; asked for at once."""
        requests = []
        for is_known in (False, True):
            names = [self._names + path for path in dict.fromkeys(paths) if (path in known) is is_known]
            if names:
                request = BatchGetDocumentsRequest(database=self._database, documents=names)
                if is_known:
                    request.mask.field_paths.extend(_NO_FIELDS)
                requests.append(request)
        if not requests:
            return {}
        calls, metadata = self._calls(), self._connection.metadata
        try:
            asked = [calls.batch_get(each, timeout=timeout_seconds, metadata=metadata) for each in requests]
            answers = [answer for each in asked for answer in each]
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
