"""A store that weighs every commit and counts every document read, then hands on to the real one.

The emulator enforces few of Firestore's limits, so tests of whoever commits put this in front of their store
and ask `check_limits` at the end.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from metering.firestore.commits import commit_request
from metering.stores import (
    COMMIT_BYTES_MAX,
    COMMIT_WRITES_MAX,
    DOCUMENT_TRANSFORMS_MAX,
    STORE_TIMEOUT_SECONDS,
    Delete,
    Document,
    DocumentStore,
    Increment,
    Put,
    Query,
    Update,
    Write,
    WriteResult,
)

# As long as a project's and a database's name may be.
_DATABASE = f"projects/{'p' * 30}/databases/{'d' * 63}"


@dataclass(frozen=True)
class CommitWeight:
    """What one commit would ask of Firestore. `transforms` is the most on one document."""

    writes: int
    transforms: int
    bytes: int


class CountingStore:
    """`commits` weighs each commit asked for, whatever came of it; `documents_read` counts as billed."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self.kind: Literal["sqlite", "firestore"] = store.kind
        self.commits: list[CommitWeight] = []
        self.documents_read = 0

    def check_limits(self) -> None:
        """Fail when a commit was beyond what Firestore takes."""
        for weight in self.commits:
            assert weight.writes <= COMMIT_WRITES_MAX, weight
            assert weight.transforms <= DOCUMENT_TRANSFORMS_MAX, weight
            assert weight.bytes <= COMMIT_BYTES_MAX, weight

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        self.documents_read += 1
        return self._store.get(path, timeout_seconds=timeout_seconds)

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        self.documents_read += len(paths)  # one that is missing is billed, too
        found = self._store.get_many(paths, known=known, timeout_seconds=timeout_seconds)
        for path, revision in (known or {}).items():  # one that has changed since is read again, whole
            self.documents_read += path in found and found[path].revision != revision
        return found

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        found = self._store.query(query, timeout_seconds=timeout_seconds)
        self.documents_read += max(1, len(found))  # an empty answer is billed as one
        return found

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        self.commits.append(weight_of(writes))
        return self._store.commit(writes, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        self._store.close()


def weight_of(writes: Sequence[Write]) -> CommitWeight:
    """What the commit would ask of Firestore, in the bytes of the real message."""
    transforms: Counter[str] = Counter()
    for write in writes:
        if isinstance(write, Increment):
            transforms[write.path] += len(write.amounts)
    message = commit_request(_DATABASE, [_with_firestores_revision(write) for write in writes])
    return CommitWeight(len(writes), max(transforms.values(), default=0), message.ByteSize())


def _with_firestores_revision(write: Write) -> Write:
    """The write with a revision of Firestore's form, whichever store gave it."""
    if isinstance(write, Put | Update | Delete) and write.if_revision is not None:
        return msgspec.structs.replace(write, if_revision="1795300000.999999999")
    return write
