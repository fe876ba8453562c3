"""One request of a caller's and the way to answer it: the `Downstream` that the listener hands on.

The connection (`proxy_service.app`) reads and writes; here is what one request makes of that: its body, whole
or piece by piece, the framing of its answer, and whether its caller is still there. What the handle leaves
undone is made visible to the caller in the end.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

import msgspec

from proxy_service.http1 import LAST_CHUNK, RequestReader, chunk, response_head
from proxy_service.pace import NEVER
from proxy_service.wire import (
    NOT_SNIFFED,
    BodyTooLarge,
    BodyUnreadable,
    CallerGone,
    Headers,
    RequestHead,
)

BUFFERED_BYTES_MAX = 64 * 1024  # a direction and connection, beside the one read that crossed it


class Connection(Protocol):
    """What a request does to the connection that it came by."""

    is_write_paused: bool

    @property
    def is_last(self) -> bool:
        """Whether the connection ends behind this answer in any case."""

    def pause_reading(self) -> None:
        """Take no more from the caller until `resume_reading`; its time does not run meanwhile."""

    def resume_reading(self) -> None:
        """Read on."""

    def expect_body(self) -> None:
        """The caller's time for its body begins to run, anew after a pause of ours."""

    def whole_until(self) -> float:
        """When a body that is read whole from now on must be here."""

    def write(self, data: bytes) -> None:
        """Send bytes now, or behind those that are held."""

    def hold(self, data: bytes) -> None:
        """Send bytes with those that follow in this step of the loop."""

    def flush(self) -> None:
        """Send what is held."""

    def write_all(self, pieces: list[bytes]) -> None:
        """Send several pieces at once."""

    def cut(self, *, needs_reset: bool) -> None:
        """Close before the answer is complete; `needs_reset` where only a reset can show that."""


class _Framing:
    """How an answer's end is told."""

    NONE, LENGTH, CHUNKED, CLOSE = range(4)


class CallerRequest:
    """One request and the way to answer it: a `Downstream`."""

    __slots__ = (
        "_body_bytes",
        "_connection",
        "_expects_continue",
        "_fault",
        "_framing",
        "_is_ended",
        "_left",
        "_on_gone",
        "_pause",
        "_pieces",
        "_resume",
        "_waiter",
        "_whole_bytes_max",
        "head",
        "is_body_complete",
        "is_body_wanted",
        "is_drained",
        "is_gone",
        "is_keep_alive",
        "is_started",
        "is_tls",
        "peer_address",
        "whole_until",
    )

    def __init__(
        self,
        connection: Connection,
        head: RequestHead,
        reader: RequestReader,
        peer_address: str,
        is_tls: bool,
    ) -> None:
        self.head = head
        self.peer_address = peer_address
        self.is_tls = is_tls
        self.is_gone = False
        self.is_drained = False
        self.is_started = False
        self.is_body_complete = False
        self.is_body_wanted = False
        self.whole_until = NEVER  # not being read whole
        self.is_keep_alive = reader.is_keep_alive
        self._expects_continue = reader.expects_continue
        self._connection = connection
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._whole_bytes_max = -1  # not being read whole
        self._waiter: asyncio.Future[None] | None = None
        self._fault: type[Exception] | None = None
        self._framing = _Framing.NONE
        self._left = 0
        self._is_ended = False
        self._on_gone: Callable[[], None] | None = None
        self._pause: Callable[[], None] | None = None
        self._resume: Callable[[], None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the answer is complete, or nobody is there to get it."""
        return self.is_gone or self._is_ended

    # Downstream: the caller

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        """See `Downstream`."""
        self._on_gone = callback
        if callback is not None and self.is_gone:
            self._on_gone = None
            callback()

    def on_flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """See `Downstream`."""
        self._pause = pause
        self._resume = resume
        if self._connection.is_write_paused:
            pause()

    # Downstream: the body

    async def read_body(self, limit_bytes: int) -> bytes:
        """See `Downstream`."""
        length = self.head.content_length
        if (length is not None and length > limit_bytes) or self._body_bytes > limit_bytes:
            raise BodyTooLarge
        if not self.is_body_complete:
            self._whole_bytes_max = limit_bytes
            self.whole_until = min(self.whole_until, self._connection.whole_until())
            with self._wanting_body():
                while not self.is_body_complete:
                    await self._more()
                    if self._body_bytes > limit_bytes:
                        raise BodyTooLarge
        pieces = self._pieces
        self._pieces = []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def pump_body(self, on_data: Callable[[bytes], Awaitable[None] | None]) -> None:
        """See `Downstream`."""
        with self._wanting_body():
            while True:
                for piece in self._take_pieces():
                    pending = on_data(piece)
                    if pending is not None:
                        self._connection.pause_reading()
                        await pending
                if not self._pieces:
                    if self.is_body_complete:
                        return
                    self._connection.resume_reading()
                    await self._more()

    def _take_pieces(self) -> list[bytes]:
        pieces = self._pieces
        self._pieces = []
        self._body_bytes = 0
        return pieces

    @contextlib.contextmanager
    def _wanting_body(self) -> Iterator[None]:
        """The caller's time runs only here; what it sends unwanted is left to the kernel to hold back."""
        if self._expects_continue and not self._pieces and not self.is_started and not self.is_gone:
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._expects_continue = False
        self.is_body_wanted = not self.is_body_complete
        if self.is_body_wanted:
            self._connection.expect_body()
            self._connection.resume_reading()
        try:
            yield
        finally:
            if self.is_body_wanted:
                self.is_body_wanted = False
                self._connection.pause_reading()

    async def _more(self) -> None:
        """Wait until there is more of the body, or its end. Raises: BodyUnreadable, CallerGone."""
        if self.is_gone:
            raise CallerGone
        if self._fault is None and not self._pieces_suffice():
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.is_gone:
            raise CallerGone
        if self._fault is not None:
            raise self._fault

    def _pieces_suffice(self) -> bool:
        if self.is_body_complete:
            return True
        if self._whole_bytes_max >= 0:
            return self._body_bytes > self._whole_bytes_max
        return bool(self._pieces)

    # What the connection tells

    def body_came(self, piece: bytes) -> None:
        """A piece of the body."""
        self._pieces.append(piece)
        self._body_bytes += len(piece)
        if self._whole_bytes_max < 0 and self._body_bytes > BUFFERED_BYTES_MAX:
            self._connection.pause_reading()
        if self._waiter is not None and self._pieces_suffice():
            self._wake()

    def body_ended(self) -> None:
        """The body is complete."""
        self.is_body_complete = True
        self.is_body_wanted = False
        self._wake()

    def body_broke(self) -> None:
        """The body's framing is nonsense from here on."""
        self._fault = BodyUnreadable
        self.is_keep_alive = False
        self._wake()

    def caller_left(self) -> None:
        """The caller hung up, was too slow, or was cut by our shutdown."""
        if self.is_over:
            return
        self.is_gone = True
        self._wake()
        callback = self._on_gone
        self._on_gone = None
        if callback is not None:
            callback()

    def flow(self, *, is_paused: bool) -> None:
        """The caller reads too slowly, or has caught up."""
        tell = self._pause if is_paused else self._resume
        if tell is not None:
            tell()

    def finish(self) -> None:
        """The handle is done: break off what it did not end, and let go of everything."""
        if not self.is_over:
            if self.is_started:
                self.cut()
            else:
                self.answer_for_handle(500, "the proxy failed to answer this request")
        self._pieces = []
        self._on_gone = self._pause = self._resume = None

    def answer_for_handle(self, status: int, message: str) -> None:
        """Answer in the handle's place, where nothing has been sent yet."""
        if not self.is_started:
            self.is_keep_alive = False
            self.answer(status, _REASONS[status], _JSON, _own_body(status, message))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Downstream: the answer

    def start(self, status: int, reason: bytes, headers: Headers, content_length: int | None) -> None:
        """See `Downstream`."""
        head = self._begin_answer(status, reason, headers, content_length)
        if head:
            self._connection.hold(head)

    def write(self, data: bytes) -> None:
        """See `Downstream`."""
        if not data or self.is_gone or self._is_ended:
            return
        framing = self._framing
        if framing == _Framing.CHUNKED:
            self._connection.write(chunk(data))
        elif framing == _Framing.LENGTH:
            self._left -= len(data)
            if self._left < 0:
                self.cut()
                raise ValueError("the answer's body is longer than its head said")
            self._connection.write(data)
        elif framing == _Framing.CLOSE:
            self._connection.write(data)

    def end(self) -> None:
        """See `Downstream`."""
        if self.is_over:
            return
        if self._framing == _Framing.LENGTH and self._left:
            self.cut()
            return
        if self._framing == _Framing.CHUNKED:
            self._connection.write(LAST_CHUNK)
        self._connection.flush()
        self._is_ended = True

    def answer(self, status: int, reason: bytes, headers: Headers, body: bytes) -> None:
        """See `Downstream`."""
        head = self._begin_answer(status, reason, headers, len(body))
        if not head:
            return
        self._is_ended = True
        has_body = body and self._framing != _Framing.NONE
        self._connection.write_all([head, body] if has_body else [head])

    def cut(self) -> None:
        """See `Downstream`."""
        if self.is_over:
            return
        self.is_keep_alive = False
        self._connection.cut(needs_reset=self.is_started and self._framing == _Framing.CLOSE)
        self._framing = _Framing.NONE
        self._is_ended = not self.is_drained

    def _begin_answer(
        self, status: int, reason: bytes, headers: Headers, content_length: int | None
    ) -> bytes:
        """The answer's head, nothing where nobody is there to read it."""
        if self.is_started:
            raise RuntimeError("the answer has been started already")
        if self.is_gone:
            return b""
        if not self.is_body_complete or self._connection.is_last:
            self.is_keep_alive = False
        framing = self._choose_framing(status, content_length)
        if not self.is_keep_alive:
            framing += b"Connection: close\r\n"
        elif self.head.http_minor == 0:
            framing += b"Connection: keep-alive\r\n"
        head = response_head(status, reason, headers, framing)
        self.is_started = True
        return head

    def _choose_framing(self, status: int, content_length: int | None) -> bytes:
        has_body = self.head.method != b"HEAD" and status not in {204, 304}
        if content_length is not None and status != 204:
            if has_body:
                self._framing = _Framing.LENGTH
                self._left = content_length
            return b"Content-Length: %d\r\n" % content_length
        if not has_body:
            return b""
        if self.head.http_minor == 1:
            self._framing = _Framing.CHUNKED
            return b"Transfer-Encoding: chunked\r\n"
        self._framing = _Framing.CLOSE
        self.is_keep_alive = False
        return b""


_JSON: Headers = [(b"Content-Type", b"application/json"), NOT_SNIFFED]
_REASONS = {
    400: b"Bad Request",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}


def own_answer(status: int, message: str, extra: bytes = b"") -> bytes:
    """A refusal made before a provider, and so a dialect, is known."""
    body = _own_body(status, message)
    framing = b"%bContent-Length: %d\r\nConnection: close\r\n" % (extra, len(body))
    return response_head(status, _REASONS[status], _JSON, framing) + body


def _own_body(status: int, message: str) -> bytes:
    """An error that the clients of all providers can read: the union of their shapes."""
    kind = "api_error" if status >= 500 else "invalid_request_error"
    error = {"type": kind, "code": f"http_{status}", "message": message, "param": None}
    return msgspec.json.encode({"type": "error", "error": error})
