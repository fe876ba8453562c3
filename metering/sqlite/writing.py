"""What a commit makes of the documents it touches. Runs inside one transaction and decides nothing else.

Documents are read once, changed in memory in the order of the writes, and written back once.
"""

import copy
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from metering.documents import (
    INTEGER_MAX,
    INTEGER_MIN,
    STORED_DOCUMENT_BYTES_MAX,
    Location,
    document_bytes,
    location,
)
from metering.errors import AlreadyExists, DocumentMissing, DocumentTooLarge, RevisionChanged
from metering.sqlite.entries import entries_of
from metering.stores import Create, Delete, FieldPath, Increment, Put, Update, Write, WriteResult

# A number takes one byte here at least, and eight as the store counts: below this no document is too large.
_SURELY_SMALL_BYTES = STORED_DOCUMENT_BYTES_MAX // 10

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


@dataclass(slots=True)
class _Touched:
    """A document in the middle of a commit; None where it does not exist."""

    place: Location
    stored: dict[str, Any] | None
    fields: dict[str, Any] | None
    revision: str


class Transaction:
    """The documents that one commit touches, from their first reading to their writing back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._touched: dict[str, _Touched] = {}
        self._revision = secrets.randbits(63)

    def apply(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Apply the writes in order, then write all documents back.

        Raises: AlreadyExists, DocumentMissing, RevisionChanged, DocumentTooLarge; the caller rolls back.
        """
        results = [self._apply(write) for write in writes]
        for path, touched in self._touched.items():
            self._write_back(path, touched)
        return results

    def _apply(self, write: Write) -> WriteResult:
        touched = self._touch(write.path)
        if isinstance(write, Increment):
            return WriteResult(_increment(touched, write))
        _check_expectation(touched, write)
        if isinstance(write, Delete):
            touched.fields = None
        elif isinstance(write, Update):
            touched.fields = {**(touched.fields or {}), **write.fields}
        else:
            touched.fields = dict(write.fields)
        return WriteResult()

    def _touch(self, path: str) -> _Touched:
        touched = self._touched.get(path)
        if touched is None:
            touched = self._touched[path] = self._read(location(path))
        return touched

    def _read(self, place: Location) -> _Touched:
        row = self._connection.execute(
            "SELECT fields, revision FROM documents WHERE collection = ? AND id = ?", place
        ).fetchone()
        if row is None:
            return _Touched(place, None, None, "")
        return _Touched(place, _decode(row[0]), _decode(row[0]), str(row[1]))

    def _write_back(self, path: str, touched: _Touched) -> None:
        place, fields = touched.place, touched.fields
        if fields is None:
            self._connection.execute("DELETE FROM documents WHERE collection = ? AND id = ?", place)
        else:
            self._connection.execute(
                "INSERT INTO documents (collection, id, revision, fields) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET revision = excluded.revision, fields = excluded.fields",
                (*place, self._revision, _encoded(path, fields)),
            )
        before = entries_of(*place, touched.stored or {})
        after = entries_of(*place, fields or {})
        self._connection.executemany(
            "DELETE FROM entries WHERE collection = ? AND field = ? AND value = ? AND id = ?", before - after
        )
        self._connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", sorted(after - before))


def _check_expectation(touched: _Touched, write: Create | Put | Update | Delete) -> None:
    if isinstance(write, Create):
        if touched.fields is not None:
            raise AlreadyExists(write.path)
    elif write.if_revision is not None:
        if touched.fields is None or touched.revision != write.if_revision:
            raise RevisionChanged(write.path)
    elif isinstance(write, Update) and touched.fields is None:
        raise DocumentMissing(write.path)


def _increment(touched: _Touched, write: Increment) -> dict[FieldPath, int]:
    if touched.fields is None:
        touched.fields = {}
    for path, value in write.merge.items():
        _parent(touched.fields, path)[path[-1]] = copy.deepcopy(value)
    values: dict[FieldPath, int] = {}
    for path, amount in write.amounts.items():
        parent = _parent(touched.fields, path)
        before = parent.get(path[-1])
        total = amount + before if type(before) is int else amount
        # Firestore's counters stop at the ends of their range, too.
        values[path] = parent[path[-1]] = max(INTEGER_MIN, min(INTEGER_MAX, total))
    return values


def _parent(fields: dict[str, Any], path: FieldPath) -> dict[str, Any]:
    """The mapping that holds the path's last name; made where it is missing or something else stands."""
    for name in path[:-1]:
        below = fields.get(name)
        # A copy, since the mapping may be the caller's own.
        fields[name] = dict(below) if isinstance(below, Mapping) else {}
        fields = fields[name]
    return fields


def _encoded(path: str, fields: dict[str, Any]) -> bytes:
    blob = _encode(fields)
    if len(blob) > _SURELY_SMALL_BYTES:
        size = document_bytes(path, fields)
        if size > STORED_DOCUMENT_BYTES_MAX:
            raise DocumentTooLarge(f"a document of {size} bytes; {STORED_DOCUMENT_BYTES_MAX} are the most")
    return blob
