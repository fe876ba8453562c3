"""An upstream of very large bodies, in bounded memory of its own: `python -m bench.flood PORT`.

A call of messages is answered by a stream of server-sent events of `x-flood-megabytes`; the body of any other
is counted, and the answer says how many bytes came and what their CRC-32 is.
"""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from typing import Final, cast
from zlib import crc32

import uvloop

HOST: Final = "127.0.0.1"
MEGABYTE: Final = 1024 * 1024
_WANTED: Final = re.compile(rb"\r\nx-flood-megabytes: *([0-9]+)", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_USAGE: Final = (
    '{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}'
)
_STARTED: Final = (
    'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
    f'"role":"assistant","model":"claude-sonnet-4-6","content":[],"usage":{_USAGE}}}}}\n\n'
).encode()
_WORD: Final = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"some words of an answer"}}\n\n'
)
_ENDED: Final = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":1000}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)
_BLOCK: Final = _WORD * (65536 // len(_WORD))
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def stream(megabytes: int) -> Iterator[bytes]:
    """The events, in pieces; about so much in all."""
    yield _STARTED
    for _ in range(megabytes * MEGABYTE // len(_BLOCK)):
        yield _BLOCK
    yield _ENDED


class Connection(asyncio.Protocol):
    """One connection, a call at a time."""

    def __init__(self) -> None:
        self._transport = cast(asyncio.Transport, None)
        self._head = b""
        self._left = 0
        self._size = self._checksum = 0
        self._pieces: Iterator[bytes] = iter(())
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._left:
            self._body_came(data)
            return
        head, end, body = (self._head + data).partition(b"\r\n\r\n")
        self._head = b"" if end else head
        if not end:
            return
        length = _LENGTH.search(head)
        wanted = _WANTED.search(head)
        self._left = int(length[1]) if length else 0
        self._size = self._checksum = 0
        self._pieces = stream(int(wanted[1])) if wanted else iter(())
        self._body_came(body)

    def _body_came(self, data: bytes) -> None:
        self._left -= len(data)
        self._size += len(data)
        self._checksum = crc32(data, self._checksum)
        if self._left:
            return
        first = next(self._pieces, None)
        if first is None:
            told = json.dumps({"bytes": self._size, "crc32": self._checksum}).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self._transport.write(head % len(told) + told)
        else:
            self._transport.write(_HEAD + _chunk(first))
            self._send()

    def _send(self) -> None:
        """Send until there is no room, or no more."""
        while not self._is_paused and not self._transport.is_closing():
            piece = next(self._pieces, None)
            if piece is None:
                self._transport.write(b"0\r\n\r\n")
                return
            self._transport.write(_chunk(piece))

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._is_paused = False
        self._send()


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
