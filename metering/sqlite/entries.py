"""Index entries: by which values a document is found, as bytes that sort like the values do.

The order is Firestore's: nothing, false, true, integers, moments, texts by their UTF-8, bytes. Elements of a
list have a place of their own behind all of these, so that an element is never taken for a whole value.
"""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from metering.collections import INDEXED_FIELDS

ELEMENT = b"\x80"  # in front of an element of a list
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SIGN = 2**63

Entry = tuple[str, str, bytes, str]


def entries_of(collection: str, document_id: str, fields: Mapping[str, Any]) -> set[Entry]:
    """The entries (collection, field, value, id) that a document is found by."""
    found: set[Entry] = set()
    for name in INDEXED_FIELDS[collection.rpartition("/")[2]]:
        if name in fields:
            found.update([(collection, name, value, document_id) for value in _sortable_values(fields[name])])
    return found


def _sortable_values(value: Any) -> list[bytes]:
    if isinstance(value, list | tuple):
        return [ELEMENT + sortable(element) for element in value]
    return [] if isinstance(value, Mapping) else [sortable(value)]


def sortable(value: Any) -> bytes:
    """The value as bytes that sort as values do; the first tells the type."""
    if isinstance(value, str):  # as nearly all are
        return b"\x04" + value.encode()
    if value is None:
        return b"\x00"
    if isinstance(value, bool):
        return b"\x01\x01" if value else b"\x01\x00"
    if isinstance(value, int):
        return b"\x02" + (value + _SIGN).to_bytes(8, "big")
    if isinstance(value, datetime):
        return b"\x03" + ((value - _EPOCH) // _MICROSECOND + _SIGN).to_bytes(8, "big")
    if isinstance(value, bytes):
        return b"\x05" + value
    # A mapping in a list: nothing asks for it.
    return b"\x06"


def rebuild_entries(connection: sqlite3.Connection) -> None:
    """Make all entries anew, after `INDEXED_FIELDS` has changed; within the caller's transaction."""
    connection.execute("DELETE FROM entries")
    for collection, document_id, blob in connection.execute("SELECT collection, id, fields FROM documents"):
        if collection.rpartition("/")[2] not in INDEXED_FIELDS:
            continue
        fields = msgspec.msgpack.decode(blob)
        connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?)", entries_of(collection, document_id, fields)
        )
