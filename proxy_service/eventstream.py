"""AWS's event stream as bytes arrive: length-prefixed messages with two checksums, each verified.

A message: total length and headers' length (4 bytes each, big-endian), CRC-32 of those eight; headers;
payload; CRC-32 of everything before it.
Source: https://smithy.io/2.0/aws/amazon-eventstream.html (2026-11).
"""

from collections.abc import Iterator
from struct import Struct
from zlib import crc32

import msgspec

MESSAGE_BYTES_MAX = 16 * 1024 * 1024  # the format's own limit
_HEADERS_BYTES_MAX = 128 * 1024
_PRELUDE = Struct("!III")
_FRAMING_BYTES = _PRELUDE.size + 4

_STRING = 7
# Type of a header's value → its size; strings and byte arrays carry theirs in two bytes.
_VALUE_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_SIZED_TYPES = frozenset({6, _STRING})


class EventStreamBroken(Exception):
    """The bytes are no event stream, or were damaged on their way; nothing after them can be trusted."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `kind` is the event's or the exception's name as the headers have it."""

    kind: str
    is_exception: bool = False
    payload: bytes


class MessageBuffer:
    """Cuts bytes into messages; any split of the bytes gives the same messages.

    A message longer than `held_bytes_max` is stepped over, and none of it is held; `has_skipped` then.
    """

    def __init__(self, held_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self.rest = bytearray()
        self.has_skipped = False
        self._held_bytes_max = held_bytes_max
        self._left_to_skip = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole with these bytes; iterate to the end.

        Raises: EventStreamBroken, behind the messages that came before the damage.
        """
        self.rest += data
        start = self._skip(0)
        try:
            while (end := self._end_of_message(start)) is not None:
                if end - start > self._held_bytes_max:
                    self.has_skipped = True
                    self._left_to_skip = end - start
                    start = self._skip(start)
                else:
                    yield _message(bytes(memoryview(self.rest)[start:end]))
                    start = end
        finally:
            del self.rest[:start]

    def _skip(self, start: int) -> int:
        """Where the bytes go on that are not stepped over."""
        skipped = min(self._left_to_skip, len(self.rest) - start)
        self._left_to_skip -= skipped
        return start + skipped

    def _end_of_message(self, start: int) -> int | None:
        """Where the message ends, if that is here or it is to be stepped over."""
        if len(self.rest) - start < _PRELUDE.size:
            return None
        total, headers_length, checksum = _PRELUDE.unpack_from(self.rest, start)
        if checksum != crc32(memoryview(self.rest)[start : start + 8]):
            raise EventStreamBroken("prelude checksum")
        if not _FRAMING_BYTES + headers_length <= total <= MESSAGE_BYTES_MAX:
            raise EventStreamBroken("message length")
        if headers_length > _HEADERS_BYTES_MAX:
            raise EventStreamBroken("headers length")
        is_known = len(self.rest) - start >= total or total > self._held_bytes_max
        return start + total if is_known else None


def _message(raw: bytes) -> Message:
    if crc32(memoryview(raw)[:-4]) != int.from_bytes(raw[-4:], "big"):
        raise EventStreamBroken("message checksum")
    headers_end = _PRELUDE.size + int.from_bytes(raw[4:8], "big")
    headers = _string_headers(raw[_PRELUDE.size : headers_end])
    if headers.get(b":message-type", b"event") == b"event":
        kind = headers.get(b":event-type", b"").decode("latin-1")
        return Message(kind=kind, payload=raw[headers_end:-4])
    name = headers.get(b":exception-type") or headers.get(b":error-code", b"")
    return Message(kind=name.decode("latin-1"), is_exception=True, payload=raw[headers_end:-4])


def _string_headers(data: bytes) -> dict[bytes, bytes]:
    """Headers with a string value; others are stepped over."""
    found = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name, kind = data[at + 1 : name_end], data[name_end]
            value_start = name_end + 1
            if kind in _SIZED_TYPES:
                size = int.from_bytes(data[value_start : value_start + 2], "big")
                value_start += 2
            else:
                size = _VALUE_BYTES[kind]
            at = value_start + size
            if kind == _STRING:
                found[name] = data[value_start:at]
    except (IndexError, KeyError) as error:
        raise EventStreamBroken("headers") from error
    if at != len(data):
        raise EventStreamBroken("headers")
    return found
