"""The demo provider's HTTP/1.1 listener: one protocol a connection, requests answered in order.

Small and quick on purpose: the same program is the upstream of the benchmarks. An ordinary answer leaves in
one write; one that is slow, cut or large is played frame by frame, waiting for the caller to read.
"""

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import cast

import httptools
import msgspec

from demo.behaviour import Behaviour
from demo.bill import BilledCall

BODY_BYTES_MAX = 64 * 1024 * 1024
PIPELINED_MAX = 32  # a caller that sends more before reading an answer is cut off
AT_ONCE_BYTES_MAX = 128 * 1024
_PIECE_BYTES = 64 * 1024
_REASONS = {529: b"Site Is Overloaded"} | {status.value: status.phrase.encode() for status in HTTPStatus}

RequestHeaders = list[tuple[bytes, bytes]]


class Request(msgspec.Struct):
    """One request, whole. `target` is raw."""

    method: bytes
    target: bytes
    headers: RequestHeaders
    body: bytes
    is_kept_alive: bool

    def header(self, name: bytes) -> bytes:
        """The first header of that name (in lower case), empty where there is none."""
        for each, value in self.headers:
            if each.lower() == name:
                return value
        return b""

    @property
    def path(self) -> str:
        """The raw path, without the query."""
        return self.target.partition(b"?")[0].decode("latin-1")


class Answer(msgspec.Struct):
    """One answer ready for the wire. `head` lacks only framing and the blank line; `call` is its bill row."""

    status: int
    head: bytes
    frames: Sequence[bytes]
    is_chunked: bool
    behaviour: Behaviour
    call: BilledCall | None = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.frames))


Answering = Callable[[Request], Answer]


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    return b"HTTP/1.1 %d %s\r\n" % (status, _REASONS.get(status, b"Demo"))


class Connection(asyncio.Protocol):
    """One caller's connection."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._playing: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_lost = False

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_PIECE_BYTES, low=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is being played to a caller that has gone."""
        self._is_lost = True
        self._writable.set()
        if self._playing is not None:
            self._playing.cancel()

    def pause_writing(self) -> None:
        """The caller reads too slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The caller has read everything."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Read requests out of what came in; nonsense ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserCallbackError as error:
            self._transport.close()
            raise error.__context__ or error from None  # a fault of ours: the loop prints it
        except httptools.HttpParserError:
            self._transport.write(status_line(400) + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self._transport.close()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target = b""
        self._headers: RequestHeaders = []
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name, value))
        if name.lower() == b"expect":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > BODY_BYTES_MAX:
            self._transport.abort()

    def on_message_complete(self) -> None:
        """A request is whole: answer it, or let it wait for the one before."""
        request = Request(
            self._parser.get_method(),
            self._target,
            self._headers,
            b"".join(self._body),
            self._parser.should_keep_alive(),
        )
        if self._playing is None:
            self._begin(request)
        elif len(self._waiting) < PIPELINED_MAX:
            self._waiting.append(request)
        else:
            self._transport.abort()

    # Answering.

    def _begin(self, request: Request) -> None:
        answer = self._answering(request)
        is_plain = not (answer.behaviour.is_played or answer.behaviour.reset)
        if is_plain and answer.length <= AT_ONCE_BYTES_MAX and self._writable.is_set():
            self._transport.write(_whole(answer))
            if not self._transport.get_write_buffer_size():
                self._delivered(answer, request)
                return
        else:
            is_plain = False
        self._playing = asyncio.get_running_loop().create_task(
            self._play(answer, request, is_written=is_plain)
        )

    async def _play(self, answer: Answer, request: Request, *, is_written: bool) -> None:
        try:
            if not is_written:
                await self._play_frames(answer)
            await self._drained()
        finally:
            self._playing = None
        if not self._transport.is_closing():
            self._delivered(answer, request)
            while self._waiting and self._playing is None and not self._transport.is_closing():
                self._begin(self._waiting.popleft())

    async def _play_frames(self, answer: Answer) -> None:
        behaviour = answer.behaviour
        if behaviour.delay_ms:
            await asyncio.sleep(behaviour.delay_ms / 1000)
        if behaviour.reset:
            self._reset()
            return
        self._transport.write(_head(answer))
        left = answer.length if behaviour.cut_at_byte is None else behaviour.cut_at_byte
        for at, frame in enumerate(answer.frames):
            if at == behaviour.cut_at_frame or left <= 0:
                break
            if at and behaviour.pace_ms:
                await asyncio.sleep(behaviour.pace_ms / 1000)
            await self._write(frame[:left], is_chunked=answer.is_chunked)
            left -= len(frame)
        if behaviour.cut_at_byte is not None or behaviour.cut_at_frame is not None:
            await self._drained()
            self._transport.close()
        elif answer.is_chunked:
            self._transport.write(b"0\r\n\r\n")

    async def _write(self, data: bytes, *, is_chunked: bool) -> None:
        for at in range(0, len(data), _PIECE_BYTES):
            piece = data[at : at + _PIECE_BYTES]
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            await self._writable.wait()

    async def _drained(self) -> None:
        """Wait until the connection has taken everything."""
        self._transport.set_write_buffer_limits(high=0)
        if self._transport.get_write_buffer_size():
            self._writable.clear()
            await self._writable.wait()
        self._transport.set_write_buffer_limits(high=_PIECE_BYTES, low=0)

    def _delivered(self, answer: Answer, request: Request) -> None:
        if answer.call is not None and not self._is_lost:
            answer.call.is_delivered_whole = True
        if not request.is_kept_alive or answer.behaviour.framing == "close":
            self._transport.close()

    def _reset(self) -> None:
        connection: socket.socket = self._transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(connection.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _head(answer: Answer) -> bytes:
    if answer.is_chunked:
        return answer.head + b"transfer-encoding: chunked\r\n\r\n"
    if answer.behaviour.framing == "close":
        return answer.head + b"connection: close\r\n\r\n"
    return answer.head + b"content-length: %d\r\n\r\n" % answer.length


def _whole(answer: Answer) -> bytes:
    if not answer.is_chunked:
        return _head(answer) + b"".join(answer.frames)
    chunks = [b"%x\r\n%b\r\n" % (len(frame), frame) for frame in answer.frames if frame]
    return _head(answer) + b"".join(chunks) + b"0\r\n\r\n"
