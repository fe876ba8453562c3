"""A store in memory, on the model of its promises: quick, and every fault of a commit as told."""

from collections.abc import Mapping, Sequence
from typing import Literal

from metering.errors import RevisionChanged, StoreError, StoreUnavailable
from metering.stores import (
    STORE_TIMEOUT_SECONDS,
    Document,
    Put,
    Query,
    Update,
    Write,
    WriteResult,
)
from tests.doubles.unreliable_store import Fate
from tests.stores.model import Documents, applied


class ModelStore:
    """Commits meet the `fate` that is set when they are made; `in_flight` holds those that may yet land."""

    def __init__(self) -> None:
        self.kind: Literal["sqlite", "firestore"] = "sqlite"
        self.documents: Documents = {}
        self.fate: Fate = "applied"
        self.in_flight: list[Sequence[Write]] = []
        self._revisions: dict[str, int] = {}

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        fields = self.documents.get(path)
        return None if fields is None else Document(path, dict(fields), str(self._revisions[path]))

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        found = {path: self.get(path) for path in paths}
        return {path: document for path, document in found.items() if document is not None}

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        raise NotImplementedError("read `documents`")

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        if self.fate == "late":
            self.in_flight.append(writes)
        if self.fate in ("late", "not_applied"):
            raise StoreUnavailable("no answer came")
        results = self._apply(writes)
        if self.fate == "reply_lost":
            raise StoreUnavailable("no answer came")
        return results

    def land(self, number: int) -> None:
        """Apply one of the commits that are still on their way, if the store lets it."""
        writes = self.in_flight.pop(number)
        try:
            self._apply(writes)
        except StoreError:
            return

    def close(self) -> None:
        """Nothing was open."""

    def _apply(self, writes: Sequence[Write]) -> list[WriteResult]:
        for write in writes:
            revision = write.if_revision if isinstance(write, Put | Update) else None
            if revision is not None and revision != str(self._revisions.get(write.path)):
                raise RevisionChanged(write.path)
        touched = {write.path: self.documents[write.path] for write in writes if write.path in self.documents}
        after, outcome = applied(touched, writes)
        if not isinstance(outcome, list):
            raise outcome
        for path, fields in after.items():
            if fields != self.documents.get(path):
                self._revisions[path] = self._revisions.get(path, 0) + 1
        self.documents |= after
        return [WriteResult(values) for values in outcome]
