"""A caller's connection, as far as it needs no thread: requests collected, answers sent, without waiting.

Threads are few, and none waits for a caller: one gets a request once it is here to its last byte, and writes
its answer into memory; of a long answer as much as the caller is to get next. So a caller that sends or reads
slowly, or not at all, holds up nobody else, and takes no more memory than anybody.
Nothing here waits; whoever polls the connection says when it can be read or written.
"""

import contextlib
import socket
from collections.abc import Callable, Iterable
from contextvars import Context

import httptools
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response

from api_service.bodies import BODY_BYTES_MAX

HEAD_BYTES_MAX = 64 * 1024
PIECE_BYTES = 64 * 1024
LENGTH_DIGITS_MAX = 9
AHEAD_BYTES = 256 * 1024  # of an answer, in memory

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Collector:
    """The bytes of one request as they come, and perhaps the first of the next.

    `is_whole`: enough is here to answer it. `is_last`: it will be refused, and what follows is no request.
    `is_head_too_large`: nothing is to be made of it. Only where a request ends is decided here; what it says
    is for gunicorn to judge.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.is_whole = False
        self.is_last = False
        self.is_head_too_large = False
        self.is_continue_awaited = False
        self._has_head = False
        self._is_nonsense = False
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.received += data
        if not self._is_nonsense:
            self._parse(data)
        elif b"\r\n\r\n" in self.received:
            self.is_whole = self.is_last = True
        if not self.is_whole and len(self.received) > HEAD_BYTES_MAX:
            self.is_head_too_large = not self._has_head
            if len(self.received) > HEAD_BYTES_MAX + BODY_BYTES_MAX:
                self.is_whole = self.is_last = True

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_whole = self.is_last = True
        except httptools.HttpParserError:
            if not self.is_whole:  # else it is the next request's
                self._is_nonsense = True
                self.is_whole = self.is_last = b"\r\n\r\n" in self.received

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp."""
        if self.is_whole or self._has_head:
            return
        lowered = name.lower()
        if lowered == b"expect":
            self.is_continue_awaited = value.lower() == b"100-continue"
        elif lowered == b"content-length" and value.isdigit():
            self.is_last = len(value) > LENGTH_DIGITS_MAX or int(value) > BODY_BYTES_MAX

    def on_headers_complete(self) -> None:
        """Called by llhttp."""
        if not self.is_whole:
            self._has_head = True
            self.is_whole = self.is_last  # a body that is too large is not waited for

    def on_message_complete(self) -> None:
        """Called by llhttp."""
        self.is_whole = True


class Outbox:
    """What a thread takes for the caller's socket: keeps what is written to it."""

    def __init__(self) -> None:
        self.written = bytearray()

    def sendall(self, data: bytes) -> None:
        """Keep the next bytes of the answer."""
        self.written += data

    def send(self, data: bytes) -> int:
        """An interim answer, which the caller has had from us already where it waited for one."""
        return len(data)


class Answering:
    """An answer that is made piece by piece, as far ahead of its caller as `AHEAD_BYTES`.

    `response` frames what is written, as HTTP asks; `pieces` are what the application gives. One thread makes
    some pieces and another the next: so all of it happens in a context of the answer's own. What the
    application keeps there of whoever asks is there again in any thread, and for no other request.
    """

    def __init__(self, response: Response, make: Callable[[], Iterable[bytes]]) -> None:
        self._context = Context()
        self._response = response
        self._pieces = self._context.run(make)
        self._rest = iter(self._pieces)

    @property
    def is_begun(self) -> bool:
        """Whether anything of it was written, so that nothing else can be answered any more."""
        return bool(self._response.headers_sent)

    @property
    def closes(self) -> bool:
        """Whether no request follows on the connection."""
        return bool(self._response.should_close())

    def write(self, outbox: Outbox) -> bool:
        """Write on until enough waits to be sent; whether that was the end."""
        return self._context.run(self._write, outbox)

    def _write(self, outbox: Outbox) -> bool:
        for piece in self._rest:
            self._response.write(piece)
            if len(outbox.written) >= AHEAD_BYTES:
                return False
        self._response.close()
        return True

    def close(self) -> None:
        """Give back what the application holds for it. What fails of that is this answer's affair alone."""
        if hasattr(self._pieces, "close"):
            with contextlib.suppress(Exception):  # nobody is left to be told, and others are waiting
                self._context.run(self._pieces.close)


class Caller:
    """One connection. `sock` is what threads write to; `parser` gives them the request.

    `deadline` and `bytes_counted` are for whoever polls it: when to give it up, and what it takes of the room
    there is.
    Other names are those by which gunicorn's worker knows a connection.
    """

    def __init__(self, connection: socket.socket, address: object, server: object) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.client = address
        self.server = server
        self.sock = Outbox()
        self.parser: RequestParser = iter(())
        self.collector = Collector()
        self.deadline = 0.0
        self.bytes_counted = 0
        self.is_lingering = False
        self.answering: Answering | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing of a request is here."""
        return not self.collector.received

    def receive(self) -> bool:
        """Take what has come; False where the caller has gone."""
        try:
            data = self.connection.recv(PIECE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if self.is_lingering or not data:
            return bool(data)
        self.collector.feed(data)
        if self.collector.is_continue_awaited and not self.collector.is_whole:
            self.collector.is_continue_awaited = False
            with contextlib.suppress(OSError):  # it will send its body unasked, or find out
                self.connection.send(_CONTINUE)
        return True

    def begin_answer(self, config: object) -> None:
        """Make the request ready for a thread, which gets to see no more than is here."""
        self.parser = RequestParser(config, iter([bytes(self.collector.received)]), self.client)
        self.sock = Outbox()

    def send(self) -> bool:
        """Send as much of the answer as goes now; False where the caller has gone."""
        try:
            sent = self.connection.send(self.sock.written) if self.sock.written else 0
        except BlockingIOError:
            return True
        except OSError:
            return False
        del self.sock.written[:sent]
        return True

    def begin_request(self) -> None:
        """Collect the next request; its first bytes may have come with the one before."""
        self.parser.finish_body()
        rest = self.parser.unreader.take_buffered()
        self.parser = iter(())
        self.collector = Collector()
        if rest:
            self.collector.feed(rest)

    def linger(self) -> None:
        """Say that nothing more comes. Closing with unread bytes would reset the answer away."""
        self.is_lingering = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up."""
        self.connection.close()

    def end_answer(self) -> None:
        """Nothing more of the answer is wanted. What it holds is given back, which may wait for a store."""
        answering = self.forget_answer()
        if answering is not None:
            answering.close()

    def forget_answer(self) -> Answering | None:
        """Nothing more of the answer is wanted; whoever gets it has it closed where there is time to wait."""
        answering, self.answering = self.answering, None
        return answering
