"""A store in memory that keeps no more than sums, and tells what Firestore would have been asked.

It answers as `metering.stores` promises, quickly enough for a fleet; of segments it keeps the names alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from metering.collections import ACTIVE_DAYS, CHANGES_PATH, KEYS, LEASES, POLICIES
from metering.errors import AlreadyExists, DocumentMissing, RevisionChanged
from metering.stores import (
    STORE_TIMEOUT_SECONDS,
    Create,
    Delete,
    Document,
    FieldPath,
    Increment,
    Put,
    Query,
    Update,
    Write,
    WriteResult,
)
from tests.doubles.counting_store import CommitWeight, weight_of

WEIGHED_ONE_IN: Final = 20  # commits: weighing one takes longer than applying it

_EXPIRES_AT: Final[FieldPath] = ("expires_at",)

Kind = Literal["segment", "rollup shard", "count", "lease", "counter", "active day", "key", "other"]

_KIND_OF_COLLECTION: Final[dict[str, Kind]] = {
    "segments": "segment",
    "quarters": "rollup shard",
    "counts": "count",
    "budget_periods": "counter",
    LEASES: "lease",
    ACTIVE_DAYS: "active day",
    KEYS: "key",
}


@dataclass
class StoreTally:
    """What was asked of the store in some time."""

    reads: Counter[str] = field(default_factory=Counter)  # by what is read
    writes: Counter[str] = field(default_factory=Counter)  # by document
    events: int = 0
    event_commits: int = 0
    lease_commits: int = 0  # syncs: takes, reports, renewals, what is handed back
    lease_writes: int = 0
    expiries: int = 0  # changes of when a lease expires, by which leases of all accounts are found
    weights: list[CommitWeight] = field(default_factory=list)  # of some of the commits of events

    @property
    def writes_in_all(self) -> int:
        """Every write, as Firestore bills them."""
        return self.writes.total()

    def most_written(self) -> dict[Kind, int]:
        """How often the one document of each kind that was written most was written."""
        most: dict[Kind, int] = {}
        for path, count in self.writes.items():
            kind = kind_of(path)
            most[kind] = max(count, most.get(kind, 0))
        return most


class TalliedStore:
    """Applies commits and tallies them; `begin` starts another tally."""

    def __init__(self) -> None:
        self.kind: Literal["sqlite", "firestore"] = "firestore"
        self.tally = StoreTally()
        self._fields: dict[str, dict[str, Any]] = {}
        self._sums: dict[str, dict[FieldPath, int]] = {}
        self._revisions: dict[str, int] = {}
        self._commits = 0

    def begin(self) -> StoreTally:
        """A tally of what is asked from now on."""
        self.tally = StoreTally()
        return self.tally

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        """The document as of now, or None."""
        self.tally.reads[_read_of(path)] += 1
        return self._document(path)

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        """Those of the documents that exist, by path."""
        found = {path: self.get(path) for path in paths}
        return {path: document for path, document in found.items() if document is not None}

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        """The documents with these values, by id: as much as making accounts and keys asks for."""
        prefix = f"{query.collection}/"
        documents = [self._document(path) for path in sorted(self._revisions) if path.startswith(prefix)]
        found = [
            document
            for document in documents
            if document and all(document.fields.get(name) == value for name, value in query.equal.items())
        ]
        self.tally.reads[query.collection] += max(1, len(found))
        return found[: query.limit]

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        """Apply all writes or none."""
        self._note(writes)
        for write in writes:
            self._check(write)
        return [WriteResult(self._apply(write)) for write in writes]

    def close(self) -> None:
        """Nothing was open."""

    def _note(self, writes: Sequence[Write]) -> None:
        tally, kinds = self.tally, {kind_of(write.path) for write in writes}
        tally.writes.update([write.path for write in writes])
        if "segment" in kinds:
            tally.event_commits += 1
            tally.events += sum(_events_in(write) for write in writes)
            self._commits += 1
            if self._commits % WEIGHED_ONE_IN == 0:
                tally.weights.append(weight_of(writes))
        elif "lease" in kinds:
            tally.lease_commits += 1
            tally.lease_writes += len(writes)

    def _document(self, path: str) -> Document | None:
        if path not in self._revisions:
            return None
        sums = {name[0]: value for name, value in self._sums.get(path, {}).items() if len(name) == 1}
        return Document(path, self._fields.get(path, {}) | sums, str(self._revisions[path]))

    def _check(self, write: Write) -> None:
        exists = write.path in self._revisions
        if isinstance(write, Create) and exists:
            raise AlreadyExists(write.path)
        if isinstance(write, Update) and not exists:
            raise DocumentMissing(write.path)
        revision = write.if_revision if isinstance(write, Put | Update | Delete) else None
        if revision is not None and revision != str(self._revisions.get(write.path)):
            raise RevisionChanged(write.path)

    def _apply(self, write: Write) -> dict[FieldPath, int]:
        path = write.path
        self._revisions[path] = self._revisions.get(path, 0) + 1
        if isinstance(write, Increment):
            return self._incremented(write)
        if isinstance(write, Delete):
            for kept in (self._revisions, self._fields, self._sums):
                kept.pop(path, None)
        elif isinstance(write, Update):
            self._fields.setdefault(path, {}).update(write.fields)
            for name in write.fields:
                self._sums.get(path, {}).pop((name,), None)
        elif kind_of(path) != "segment":
            self._fields[path] = dict(write.fields)
            self._sums.pop(path, None)
        return {}

    def _incremented(self, write: Increment) -> dict[FieldPath, int]:
        fields, sums = self._fields.setdefault(write.path, {}), self._sums.setdefault(write.path, {})
        expiry = write.merge.get(_EXPIRES_AT)
        if expiry is not None and expiry != fields.get("expires_at"):
            self.tally.expiries += 1
        fields.update({name[0]: value for name, value in write.merge.items() if len(name) == 1})
        for name, amount in write.amounts.items():
            before = sums.get(name)
            if before is None:
                held = fields.pop(name[0], 0) if len(name) == 1 else 0
                before = held if type(held) is int else 0
            sums[name] = before + amount
        return {name: sums[name] for name in write.amounts}


def _events_in(write: Write) -> int:
    return write.fields["count"] if isinstance(write, Create) and kind_of(write.path) == "segment" else 0


def kind_of(path: str) -> Kind:
    """What the document at that path is."""
    return _KIND_OF_COLLECTION.get(path.split("/")[-2], "other")


def _read_of(path: str) -> str:
    if path == CHANGES_PATH:
        return "what changed"
    collection = path.split("/")[-2]
    return {KEYS: "keys", POLICIES: "policies"}.get(collection, kind_of(path))
