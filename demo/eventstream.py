"""AWS's event stream framing: length-prefixed messages with typed headers and two checksums.

Layout: total length, headers' length, CRC-32 of those eight bytes; headers; payload; CRC-32 of all before it.
Source: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
import zlib

_STRING = 7


def _header(name: str, value: str) -> bytes:
    return (
        bytes([len(name)]) + name.encode() + bytes([_STRING]) + struct.pack("!H", len(value)) + value.encode()
    )


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message with string headers."""
    packed = b"".join(_header(name, value) for name, value in headers.items())
    total = 16 + len(packed) + len(payload)
    prelude = struct.pack("!II", total, len(packed))
    framed = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return framed + struct.pack("!I", zlib.crc32(framed))


def event(kind: str, payload: bytes) -> bytes:
    """An event of a Bedrock stream."""
    return message(
        {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload
    )


def exception(kind: str, payload: bytes) -> bytes:
    """The exception that a stream ends with when the service fails in the middle."""
    return message(
        {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}, payload
    )
