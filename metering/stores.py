"""What a database must promise: documents, atomic commits, exact increments. Two keep it: Firestore, SQLite.

Everything above this module (accounts, keys, ledger, rollups, and later leases) is written once against this
Protocol, so both stores behave alike by construction, and one behaviour suite proves that they do.

A **path** is collection and id in turn: `keys/3f…`, `accounts/acct_…/segments/…`. Ids and collection names
are ours, never user text. **Fields** are a mapping of text to None, bool, int, str, bytes, aware UTC datetime
(microseconds), lists and nested mappings of the same. No floats: money and counts are integers.

**Field paths** in `Increment` are tuples of names from the top: `("cells", "9c…", "requests")`.

Every call blocks, and is bounded by its time-out; callers on an event loop use a thread. Nothing here
retries: a retried increment counts twice, so whoever commits decides, by the outcome (`metering.errors`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

Fields = Mapping[str, Any]
FieldPath = tuple[str, ...]

COMMIT_WRITES_MAX = 400
COMMIT_BYTES_MAX = 3 * 1024 * 1024
DOCUMENT_BYTES_MAX = 1_000_000  # Firestore's own limit is 1 MiB; the rest is room for its bookkeeping
DOCUMENT_TRANSFORMS_MAX = 500
STORE_TIMEOUT_SECONDS = 10.0


class Document(msgspec.Struct, frozen=True):
    """A stored document. `revision` is opaque; it changes whenever a write changes the document."""

    path: str
    fields: dict[str, Any]
    revision: str

    @property
    def document_id(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Create(msgspec.Struct, frozen=True):
    """Make a document that must not exist: else AlreadyExists, and nothing of the commit happens."""

    path: str
    fields: Fields


class Put(msgspec.Struct, frozen=True):
    """Make or replace a document whole. `if_revision` demands that it still is at that revision."""

    path: str
    fields: Fields
    if_revision: str | None = None


class Update(msgspec.Struct, frozen=True):
    """Replace some top-level fields of an existing document; others stay. Missing: DocumentMissing."""

    path: str
    fields: Fields
    if_revision: str | None = None


class Increment(msgspec.Struct, frozen=True):
    """Add integers to fields, making document and fields (from 0) where missing; `merge` sets fields beside.

    A field that holds something else than an integer counts as missing, and so does something else than a
    mapping on the way to it; a sum stays within 64 bits. The result holds the value of each field after the
    increment, in the order of `amounts`.
    """

    path: str
    amounts: Mapping[FieldPath, int]
    merge: Mapping[FieldPath, Any] = {}


class Delete(msgspec.Struct, frozen=True):
    """Remove a document; removing one that is not there is no error unless `if_revision` is given."""

    path: str
    if_revision: str | None = None


Write = Create | Put | Update | Increment | Delete


class WriteResult(msgspec.Struct, frozen=True):
    """What one write of a commit led to. `values` is filled by Increment only, keyed as its `amounts`."""

    values: Mapping[FieldPath, int] = {}


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Documents of one collection, by indexed fields (`metering.collections` lists them).

    `equal` and `contains` (an element of an array field) narrow; `order_by` with `at_least` (inclusive) and
    `below` (exclusive) ranges over one field, ties ordered by document id in the same direction.
    `after` continues behind a (value, document id) of an earlier page. Without `order_by` the order is by id
    ascending and `after` is ("", document id).
    """

    collection: str
    equal: Mapping[str, str | int | bool] = {}
    contains: tuple[str, str] | None = None
    order_by: str | None = None
    descending: bool = False
    at_least: Any = None
    below: Any = None
    after: tuple[Any, str] | None = None
    limit: int = 100


class DocumentStore(Protocol):
    """A database of documents. Safe to share between threads.

    Raises from every method: StoreUnavailable when no answer came within `timeout_seconds`.
    """

    kind: Literal["sqlite", "firestore"]

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        """The document as of now, or None."""

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        """Those of the documents that exist, by path, at once.

        One that still is at its revision in `known` may come without its fields: it has not changed.
        """

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        """The documents a query finds, in its order, at most its limit."""

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        """Apply all writes or none; one result a write, in order. Serialised per document.

        A document may stand in several writes of a commit: they apply in order. Only the first of them may
        be a create or demand a revision, only the last a delete.
        Raises: AlreadyExists, DocumentMissing, RevisionChanged, DocumentTooLarge: nothing was applied.
        StoreUnavailable: the outcome is unknown. ValueError: the commit breaks a limit above, or holds
        what no document may hold (`metering.documents`); nothing was sent.
        """

    def close(self) -> None:
        """Give back connections and threads; the store is not used after."""
