"""Where the members of a JSON object stand in its bytes, so that one can be edited and no other byte touched.

Only the top level is looked at: nested values are checked and stepped over, never read.
"""

import re
from collections.abc import Callable

import msgspec

_BLANKS = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
MEMBERS_MAX = 1000  # no call has so many, and finding millions would hold up every other call
COMPARED_BYTES_MAX = 64 * 1024  # as many members as fit here are found in a millisecond
_VALUES = msgspec.json.Decoder(dict[str, msgspec.Raw])


class NotEditable(Exception):
    """The bytes are no JSON object that can be edited safely.

    One that holds a key twice is none, as an edit could mean something else than it says; nor is a huge one.
    """


class Member(msgspec.Struct, frozen=True):
    """One member: `start` is where its key begins; its value lies from `value_start` to `end`."""

    name: str
    start: int
    value_start: int
    end: int


def members(body: bytes) -> list[Member]:
    """The members of the object, in order. Raises: NotEditable."""
    values, _ = _decoded(body)
    found = []
    at = _after_blanks(body, 0) + 1  # behind the brace, since it is an object
    for name, raw in values.items():
        member = _member(body, _after_blanks(body, at), name, bytes(raw))
        found.append(member)
        at = _after_blanks(body, member.end) + 1  # behind the comma, or the closing brace
        if body[at - 1] != (0x7D if len(found) == len(values) else 0x2C):
            raise NotEditable("a key stands twice")
    return found


def values_once(body: bytes) -> dict[str, msgspec.Raw]:
    """Each member's value by its key. Raises: NotEditable, also where a key stands twice."""
    if len(body) <= COMPARED_BYTES_MAX:
        plain = _values(body)
        if _are_all(plain, body):
            return plain
    values, seen = _decoded(body)
    if len(values) != seen:
        raise NotEditable("a key stands twice")
    return {str(name): value for name, value in values.items()}


def _values(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        values = _VALUES.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NotEditable from error
    if len(values) > MEMBERS_MAX:
        raise NotEditable("too many members")
    return values


def _are_all(values: dict[str, msgspec.Raw], body: bytes) -> bool:
    """Whether the object, written as most programs write one, is just these members: then none stands twice.

    Counting the keys as they are read takes three times as long.
    """
    signs = len("{") + len('"":,') * len(values)  # the last comma is the closing brace
    if len(body) == sum(map(len, values)) + sum(map(len, values.values())) + signs:
        return True  # it could not be shorter
    return body == b"{%b}" % b", ".join(
        [b'"%b": %b' % (name.encode(), value) for name, value in values.items()]
    )


def with_member(body: bytes, name: str, value_for: Callable[[bytes | None], bytes]) -> bytes:
    """The object with that member's value replaced, or with the member added behind the others.

    `value_for` makes the new value from the present one, None where there is none. Raises: NotEditable.
    """
    present = members(body)
    for member in present:
        if member.name == name:
            value = value_for(body[member.value_start : member.end])
            return body[: member.value_start] + value + body[member.end :]
    added = msgspec.json.encode(name) + b":" + value_for(None)
    end = present[-1].end if present else _after_blanks(body, 0) + 1
    return body[:end] + (b"," if present else b"") + added + body[end:]


class _Name(str):
    """A key; of a type of our own, so that each can be counted as it is read."""

    __slots__ = ()


def _decoded(body: bytes) -> tuple[dict[_Name, msgspec.Raw], int]:
    """Each key's last value, and how many keys there were. Raises: NotEditable, at once where too many."""
    seen = 0

    def count(kind: type, name: str) -> _Name:
        nonlocal seen
        seen += 1
        if seen > MEMBERS_MAX:
            raise NotEditable("too many members")
        return _Name(name)

    try:
        values = msgspec.json.decode(body, type=dict[_Name, msgspec.Raw], dec_hook=count)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NotEditable from error
    return values, seen


def _member(body: bytes, start: int, name: str, value: bytes) -> Member:
    """The member that begins at `start`, if it is this one.

    Of a key that stands twice the object keeps the first place and the last value, so that one of them is
    not where it is looked for.
    """
    key = _STRING.match(body, start)
    if key is None or msgspec.json.decode(key[0], type=str) != name:
        raise NotEditable("a key stands twice")
    value_start = _after_blanks(body, _after_blanks(body, key.end()) + 1)
    if not body.startswith(value, value_start):
        raise NotEditable("a key stands twice")
    return Member(name, start, value_start, value_start + len(value))


def _after_blanks(body: bytes, at: int) -> int:
    found = _BLANKS.match(body, at)
    return found.end() if found else at
