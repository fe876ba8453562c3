"""What a document may hold and weigh, and what a commit may. Both stores check by this module, so both agree.

Sizes follow Firestore's published rule (https://firebase.google.com/docs/firestore/storage-size): a text is
its UTF-8 bytes and one, an integer or a moment eight, a name counts like a text, a document has 32 on top.

A mistake of ours (a float, a path of foreign text, too many writes) is a ValueError before anything is sent.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from metering.collections import INDEXED_FIELDS
from metering.errors import DocumentTooLarge
from metering.stores import (
    COMMIT_BYTES_MAX,
    COMMIT_WRITES_MAX,
    DOCUMENT_BYTES_MAX,
    DOCUMENT_TRANSFORMS_MAX,
    Create,
    Delete,
    FieldPath,
    Fields,
    Increment,
    Put,
    Query,
    Update,
    Write,
)

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1
NESTING_MAX = 20
NAME_BYTES_MAX = 1_500
STORED_DOCUMENT_BYTES_MAX = 1_048_576  # the limit that increments and updates of a stored document may reach
READ_DOCUMENTS_MAX = 1_000

# What a commit and each write weigh beside fields: the project, the database, the frames of the wire format.
_COMMIT_OVERHEAD_BYTES = 160
_WRITE_OVERHEAD_BYTES = 160
_VALUE_OVERHEAD_BYTES = 24

_ID = re.compile(r"[A-Za-z0-9._:-]{1,256}")
_RESERVED = re.compile(r"__.*__|\.\.?", re.DOTALL)
_SIMPLE_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_NO_OFFSET = timedelta(0)
_LEAVES = frozenset((str, int, bool, bytes, datetime, type(None)))


class Location(NamedTuple):
    """Where a document lies: its collection's path, and its id there."""

    collection: str
    document_id: str


def location(path: str) -> Location:
    """The collection and id of a document's path.

    Raises: ValueError when the path is none of ours: an id with foreign signs, or a collection that
    `metering.collections` does not list.
    """
    collection, _, document_id = path.rpartition("/")
    check_collection(collection)
    _check_id(document_id, path)
    return Location(collection, document_id)


def quoted(path: FieldPath) -> str:
    """The path as Firestore writes it: names with dots between, in backticks where they are not simple."""
    return ".".join(field if _SIMPLE_NAME.fullmatch(field) else _in_backticks(field) for field in path)


def _in_backticks(field: str) -> str:
    escaped = field.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def check_collection(collection: str) -> None:
    """Raises: ValueError when the path names no collection that `metering.collections` lists."""
    parts = collection.split("/")
    if len(parts) % 2 == 0 or parts[-1] not in INDEXED_FIELDS:
        raise ValueError(f"no such collection: {collection!r}; metering.collections lists them")
    for part in parts[:-1]:
        _check_id(part, collection)


def _check_id(part: str, path: str) -> None:
    if not _ID.fullmatch(part) or _RESERVED.fullmatch(part):
        raise ValueError(f"not a path of ours: {path!r}; ids come from metering.ids or are hashes")


def check_paths(paths: Sequence[str]) -> None:
    """Raises: ValueError when one of the paths is none of ours, or when there are too many."""
    if len(paths) > READ_DOCUMENTS_MAX:
        raise ValueError(f"{len(paths)} documents in one reading; {READ_DOCUMENTS_MAX} are the most")
    for path in paths:
        location(path)


def check_query(query: Query) -> None:
    """Raises: ValueError when the query uses a field that is not indexed there, or has no bound."""
    check_collection(query.collection)
    indexed = INDEXED_FIELDS[query.collection.rpartition("/")[2]]
    used = [*query.equal, *([query.contains[0]] if query.contains else ())]
    if query.order_by is not None:
        used.append(query.order_by)
    elif query.descending or query.at_least is not None or query.below is not None:
        raise ValueError("a range or a descending order is over the field of order_by; name it")
    foreign = [name for name in used if name not in indexed]
    if foreign:
        raise ValueError(f"not indexed in {query.collection!r}: {', '.join(foreign)}")
    if not 1 <= query.limit <= READ_DOCUMENTS_MAX:
        raise ValueError(f"a query asks for 1 to {READ_DOCUMENTS_MAX} documents")


def check_commit(writes: Sequence[Write]) -> None:
    """Raises: ValueError or DocumentTooLarge when the commit is nothing a store may be asked for."""
    if not writes:
        raise ValueError("a commit has at least one write")
    if len(writes) > COMMIT_WRITES_MAX:
        raise ValueError(f"{len(writes)} writes in one commit; {COMMIT_WRITES_MAX} are the most")
    weight = commit_bytes(writes)
    if weight > COMMIT_BYTES_MAX:
        raise ValueError(f"a commit of {weight} bytes; {COMMIT_BYTES_MAX} are the most")
    _check_order(writes)
    _check_transforms(writes)


def _check_order(writes: Sequence[Write]) -> None:
    """What Firestore does with these would depend on more than the documents, so nobody may ask for it."""
    before: dict[str, Write] = {}
    for write in writes:
        earlier = before.get(write.path)
        if isinstance(earlier, Delete):
            raise ValueError("a delete is the last write of its document in a commit")  # noqa: TRY004 - of order
        if earlier is not None and (
            isinstance(write, Create) or getattr(write, "if_revision", None) is not None
        ):
            raise ValueError("a create or a demanded revision is the first write of its document in a commit")
        before[write.path] = write


def _check_transforms(writes: Sequence[Write]) -> None:
    transforms: Counter[str] = Counter()
    for write in writes:
        if isinstance(write, Increment):
            transforms[write.path] += len(write.amounts)
    most = max(transforms.values(), default=0)
    if most > DOCUMENT_TRANSFORMS_MAX:
        raise ValueError(f"{most} increments on one document; {DOCUMENT_TRANSFORMS_MAX} are the most")


def commit_bytes(writes: Iterable[Write]) -> int:
    """What the writes weigh together, never less than what Firestore would be sent."""
    return _COMMIT_OVERHEAD_BYTES + sum(_checked_weight(write) for write in writes)


def _checked_weight(write: Write) -> int:
    location(write.path)
    weight = _WRITE_OVERHEAD_BYTES + len(write.path)
    if isinstance(write, Create | Put):
        weight += _checked_document(write.path, write.fields)
    elif isinstance(write, Update):
        # Each name stands in the mask, too, quoted.
        weight += value_bytes(write.fields) + _VALUE_OVERHEAD_BYTES * _count(write.fields)
        weight += sum(2 * _name_bytes(name) + _VALUE_OVERHEAD_BYTES for name in write.fields)
    elif isinstance(write, Increment):
        weight += _checked_increment(write)
    return weight


def _checked_document(path: str, fields: Fields) -> int:
    size = document_bytes(path, fields)
    if size > DOCUMENT_BYTES_MAX:
        raise DocumentTooLarge(f"a document of {size} bytes; {DOCUMENT_BYTES_MAX} are the most")
    return size + _VALUE_OVERHEAD_BYTES * _count(fields)


def _count(value: Any) -> int:
    """How many values stand in a value, itself included: each has a frame on the wire."""
    if type(value) in _LEAVES:
        return 1
    if isinstance(value, Mapping):
        return 1 + sum(map(_count, value.values()))
    if isinstance(value, list | tuple):
        return 1 + sum(map(_count, value))
    return 1


def _checked_increment(write: Increment) -> int:
    if not write.amounts:
        raise ValueError("an increment names at least one amount")
    paths = {*write.amounts, *write.merge}
    if len(paths) < len(write.amounts) + len(write.merge):
        raise ValueError("a field is either incremented or merged, not both")
    weight = 0
    for path in paths:
        weight += _checked_field_path(path, paths)
    for amount in write.amounts.values():
        if type(amount) is not int:
            raise ValueError("an amount is an integer")
        value_bytes(amount)
    for value in write.merge.values():
        weight += value_bytes(value, 2) + _VALUE_OVERHEAD_BYTES * _count(value)
    return weight


def _checked_field_path(path: FieldPath, others: set[FieldPath]) -> int:
    if not 1 <= len(path) <= NESTING_MAX:
        raise ValueError(f"a field path has 1 to {NESTING_MAX} names")
    for length in range(1, len(path)):
        if path[:length] in others:
            raise ValueError("a field path leads through another of the same increment")
    # A merged field's names stand twice on the wire: quoted in the mask, and in the document.
    return sum(3 * _name_bytes(name) + _VALUE_OVERHEAD_BYTES for name in path)


def document_bytes(path: str, fields: Fields) -> int:
    """The size of a document as the store counts it."""
    name = 16 + sum(len(part) + 1 for part in path.split("/"))
    return name + value_bytes(fields) + 32


def value_bytes(value: Any, depth: int = 1) -> int:
    """The size of a value as the store counts it.

    Raises: ValueError for what no document holds: floats, moments that are not UTC, integers beyond 64 bits,
    lists in lists, foreign types, nesting beyond 20.
    """
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, str):
        return len(value.encode()) + 1
    if isinstance(value, int):
        return _integer_bytes(value)
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, datetime):
        return _moment_bytes(value)
    return _container_bytes(value, depth)


def _integer_bytes(value: int) -> int:
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise ValueError("an integer fits into 64 bits, signed")
    return 8


def _moment_bytes(value: datetime) -> int:
    if value.utcoffset() != _NO_OFFSET:
        raise ValueError("a moment is aware UTC")
    return 8


def _container_bytes(value: Any, depth: int) -> int:
    if depth > NESTING_MAX:
        raise ValueError(f"nested deeper than {NESTING_MAX}")
    if isinstance(value, Mapping):
        return sum(_name_bytes(name) + value_bytes(held, depth + 1) for name, held in value.items())
    if isinstance(value, list | tuple):
        has_others = not _LEAVES.issuperset(map(type, value))
        if has_others and any(isinstance(held, list | tuple) for held in value):
            raise ValueError("a list holds no list")
        return sum([value_bytes(held, depth + 1) for held in value])
    raise ValueError(f"a document holds no {type(value).__name__}")


def _name_bytes(name: str) -> int:
    size = len(name.encode())
    if not 1 <= size <= NAME_BYTES_MAX or _RESERVED.fullmatch(name):
        raise ValueError("a field's name has 1 to 1,500 bytes and is not reserved")
    return size + 1
