"""The listener: connections of callers in, one `Downstream` a request out, their answers back.

`serve` opens the listeners and awaits `handle(downstream)` for each request, one at a time a connection:
pipelined bytes wait, within a bound, until the answer before them is done. What is malformed, too large or
too slow is answered here and never reaches the handle. A caller that closes its sending half counts as gone:
that is what a client that hangs up looks like.

Bounds: connections (the longest idle one makes room; with none idle the new one is refused), a request's
head, unread body and pipelined bytes, the time a head and a body may take. A body is handed on piece by piece
or read whole within the limit its reader names. Nothing of a request outlives it here.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, cast

import msgspec

from proxy_service.http1 import (
    END,
    LAST_CHUNK,
    NEED_DATA,
    HeadLimits,
    Refused,
    RequestReader,
    chunk,
    response_head,
)
from proxy_service.pace import NEVER, BodyPace
from proxy_service.sockets import watch_for_dead_peers
from proxy_service.wire import (
    BodyTooLarge,
    BodyUnreadable,
    CallerGone,
    Downstream,
    Headers,
    RequestHead,
)

BUFFERED_BYTES_MAX = 64 * 1024  # a direction and connection, beside the one read that crossed it
ONE_WRITE_BYTES_MAX = 16 * 1024  # up to here copying a body behind its head is cheaper than a second buffer
BACKLOG_CONNECTIONS = 1024
TICK_SECONDS = 0.25
TLS_HANDSHAKE_SECONDS = 10.0
SETTLING_SECONDS_MAX = 1.0  # what calls cut by a shutdown have for their records

Handle = Callable[[Downstream], Coroutine[Any, Any, None]]


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """An address to listen on, with a certificate and its key (PEM files) over TLS. Port 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 0
    certificate_file: str = ""
    key_file: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the process one caller may hold."""

    head: HeadLimits = HeadLimits()
    head_seconds: float = 10.0  # from a head's first byte to its last
    body_seconds: float = 30.0  # without a byte of body while one is wanted
    body_bytes_per_second_min: int = 1024  # at most `body_seconds` behind this rate at any time
    whole_body_seconds: float = 900.0  # for a body that is read whole, however steadily it comes
    idle_seconds: float = 620.0  # between requests; longer than front ends keep theirs
    linger_seconds: float = 2.0  # reading away what a caller still sends, so that it gets to see its answer
    stalled_seconds: float = 120.0  # until a peer that acknowledges nothing counts as gone
    connections_max: int = 4096


async def serve(
    handle: Handle,
    *,
    listeners: Sequence[Listener],
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    on_fault: Callable[[Exception], None] | None = None,
) -> "Server":
    """Listen, and give the running server. `on_fault` learns of exceptions the handle should not raise.

    Raises: OSError where an address cannot be had or a certificate cannot be read.
    """
    server = Server(handle, limits, on_fault or _log_fault)
    try:
        for listener in listeners:
            await server.listen(listener)
    except BaseException:
        await server.drain(0)
        raise
    return server


class Server:
    """The running listeners and their connections."""

    def __init__(self, handle: Handle, limits: Limits, on_fault: Callable[[Exception], None]) -> None:
        self.handle = handle
        self.limits = limits
        self.on_fault = on_fault
        self.is_draining = False
        self.addresses: list[tuple[str, int]] = []
        self.requests = 0
        self.requests_in_flight = 0
        self.requests_refused = 0
        self.connections_refused = 0
        self._loop = asyncio.get_running_loop()
        self._listening: list[asyncio.AbstractServer] = []
        self._connections: set[_Connection] = set()
        self._idle: dict[_Connection, None] = {}
        self._emptied: asyncio.Future[None] | None = None
        self._ticker = self._loop.call_later(TICK_SECONDS, self._tick)

    @property
    def connections_open(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    async def listen(self, listener: Listener) -> None:
        """Open one more listener. Raises: OSError."""
        is_tls = bool(listener.certificate_file)
        listening = await self._loop.create_server(
            lambda: _Connection(self, is_tls),
            listener.host,
            listener.port,
            ssl=_tls_context(listener) if is_tls else None,
            ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS if is_tls else None,
            backlog=BACKLOG_CONNECTIONS,
        )
        self._listening.append(listening)
        for each in listening.sockets:
            watch_for_dead_peers(each, self.limits.stalled_seconds)  # connections inherit it
            self.addresses.append(each.getsockname()[:2])

    async def drain(self, cut_after_seconds: float) -> int:
        """Shut down: accept nothing, let what runs finish, cut the rest visibly; gives how many were cut.

        Connections without a request close at once. A request that is cut has `is_drained`; its handle has
        `SETTLING_SECONDS_MAX` more for its record.
        """
        self.is_draining = True
        for listening in self._listening:
            listening.close()
        for connection in tuple(self._connections):
            connection.close_unless_serving()
        await self._wait_until_empty(cut_after_seconds)
        cut = sum([connection.cut_by_shutdown() for connection in tuple(self._connections)])
        await self._wait_until_empty(SETTLING_SECONDS_MAX)
        self._ticker.cancel()
        return cut

    async def _wait_until_empty(self, seconds: float) -> None:
        """Wait for calls to be recorded and answers to be on their way, for so long at most."""
        if not self._is_empty():
            self._emptied = self._loop.create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied, seconds)
            self._emptied = None

    def _is_empty(self) -> bool:
        return not self.requests_in_flight and not self._connections

    def _note_if_empty(self) -> None:
        if self._emptied is not None and self._is_empty() and not self._emptied.done():
            self._emptied.set_result(None)

    def admit(self, connection: "_Connection") -> bool:
        """Count a new connection in, closing the longest idle one where there are too many."""
        if len(self._connections) >= self.limits.connections_max:
            if not self._idle:
                self.connections_refused += 1
                return False
            next(iter(self._idle)).close()
        self._connections.add(connection)
        return True

    def became_idle(self, connection: "_Connection") -> None:
        """No request is in progress there."""
        self._idle[connection] = None

    def became_busy(self, connection: "_Connection") -> None:
        """The first bytes of a request have come."""
        self._idle.pop(connection, None)

    def left(self, connection: "_Connection") -> None:
        """The connection is over."""
        self._idle.pop(connection, None)
        self._connections.discard(connection)
        self._note_if_empty()

    def request_began(self) -> None:
        """A request goes to the handle."""
        self.requests += 1
        self.requests_in_flight += 1

    def request_ended(self) -> None:
        """The handle is done with a request."""
        self.requests_in_flight -= 1
        self._note_if_empty()

    def _tick(self) -> None:
        """One timer for all: a deadline is met at most a tick late, and setting it costs nothing."""
        now = self._loop.time()
        for connection in [each for each in self._connections if each.deadline <= now]:
            connection.expire()
        self._ticker = self._loop.call_later(TICK_SECONDS, self._tick)


class _Connection(asyncio.Protocol):
    """One caller's connection: idle, reading a head, serving a request, or lingering until it closes."""

    __slots__ = (
        "_body_bytes_new",
        "_held",
        "_is_head_begun",
        "_is_reading",
        "_is_tls",
        "_loop",
        "_pace",
        "_peer_address",
        "_reader",
        "_request",
        "_server",
        "_task",
        "_transport",
        "deadline",
        "is_closing",
        "is_write_paused",
    )

    def __init__(self, server: Server, is_tls: bool) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._is_tls = is_tls
        self._reader = RequestReader(server.limits.head)
        self._request: _CallerRequest | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport = cast(asyncio.Transport, None)
        self._peer_address = ""
        self._held: list[bytes] = []
        self._is_reading = True
        self._is_head_begun = False
        self._pace: BodyPace | None = None  # of the body that is wanted
        self._body_bytes_new = 0
        self.deadline = NEVER
        self.is_closing = False
        self.is_write_paused = False

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._server.is_draining or not self._server.admit(self):
            self.is_closing = True
            self._transport.write(_own_answer(503, "too many connections", b"Retry-After: 1\r\n"))
            self._transport.close()
            return
        peer = transport.get_extra_info("peername")
        self._peer_address = peer[0] if peer else ""
        self._transport.set_write_buffer_limits(BUFFERED_BYTES_MAX)
        self._rest()

    def data_received(self, data: bytes) -> None:
        if self.is_closing:
            return
        self._reader.feed(data)
        request = self._request
        if request is None:
            self._server.became_busy(self)
            self._advance()
        elif not request.is_body_complete:
            self._advance()
        elif self._reader.waiting_bytes > BUFFERED_BYTES_MAX:
            self.pause_reading()

    def eof_received(self) -> None:
        self._caller_left()
        self.is_closing = True  # the loop closes it now
        self._server.became_busy(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closing = True
        self.deadline = NEVER
        self._held = []
        self._server.left(self)
        self._reader.close()
        self._caller_left()

    def pause_writing(self) -> None:
        self.is_write_paused = True
        if self._request is not None:
            self._request.flow(is_paused=True)

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self._request is not None:
            self._request.flow(is_paused=False)
        elif not self.is_closing:
            self._next_request()

    @property
    def is_last(self) -> bool:
        """Whether the connection ends behind this answer in any case."""
        return self._server.is_draining

    # Reading

    def pause_reading(self) -> None:
        """Take no more from the caller until `resume_reading`; its time does not run meanwhile."""
        if self._is_reading and not self.is_closing:
            self._is_reading = False
            self._transport.pause_reading()
            self.deadline = NEVER

    def resume_reading(self) -> None:
        """Read on."""
        if not self._is_reading and not self.is_closing:
            self._is_reading = True
            self._transport.resume_reading()
            if self._request is not None and self._request.is_body_wanted:
                self.expect_body()

    def _advance(self) -> None:
        """Read what has come, up to the end of one request."""
        reader = self._reader
        try:
            while True:
                event = reader.next_event()
                if event is NEED_DATA:
                    return self._await_data()
                if event is END:
                    self.deadline = NEVER
                    return self._serving().body_ended()
                if type(event) is bytes:
                    self._body_bytes_new += len(event)
                    self._serving().body_came(event)
                else:
                    self._begin(cast(RequestHead, event))
        except Refused as refused:
            self._refuse(refused)

    def _serving(self) -> "_CallerRequest":
        assert self._request is not None  # noqa: S101 - bodies and ends come behind a head
        return self._request

    def _begin(self, head: RequestHead) -> None:
        self._request = request = _CallerRequest(self, head, self._reader, self._peer_address, self._is_tls)
        self._server.request_began()
        self._task = self._loop.create_task(self._serve(request))
        self._is_head_begun = False
        self.deadline = NEVER

    def expect_body(self) -> None:
        """The caller's time for its body begins to run, anew after a pause of ours."""
        limits = self._server.limits
        self._pace = BodyPace(
            self._loop.time(),
            silent_seconds=limits.body_seconds,
            bytes_per_second_min=limits.body_bytes_per_second_min,
            whole_until=self._serving().whole_until,
        )
        self._body_bytes_new = 0
        self.deadline = self._pace.deadline

    def whole_until(self) -> float:
        """When a body that is read whole from now on must be here."""
        return self._loop.time() + self._server.limits.whole_body_seconds

    def _await_data(self) -> None:
        if self._request is not None:
            if self._is_reading and self._request.is_body_wanted and self._pace is not None:
                self._pace.came(self._body_bytes_new, self._loop.time())
                self._body_bytes_new = 0
                self.deadline = self._pace.deadline
        elif self._reader.is_between_requests:
            self._rest()
        elif not self._is_head_begun:
            self._is_head_begun = True
            self.deadline = self._loop.time() + self._server.limits.head_seconds

    def _rest(self) -> None:
        self.deadline = self._loop.time() + self._server.limits.idle_seconds
        self._server.became_idle(self)

    # Serving

    async def _serve(self, request: "_CallerRequest") -> None:
        try:
            await self._server.handle(request)
        except CallerGone:
            pass
        except BodyTooLarge:
            request.answer_for_handle(413, "the request's body is too large")
        except BodyUnreadable:
            request.answer_for_handle(400, "the request's body is malformed")
        except Exception as error:  # noqa: BLE001 - the edge: a fault is told, and costs one call only
            self._server.on_fault(error)
        finally:
            self._finish(request)

    def _finish(self, request: "_CallerRequest") -> None:
        """The handle is done. What it left undone is made visible to the caller."""
        request.finish()
        self._request = self._pace = None
        self._task = None
        self._server.request_ended()
        if self.is_closing:
            return
        if not request.is_keep_alive or self._server.is_draining:
            self._close_behind_answer(is_all_read=request.is_body_complete)
        elif not self.is_write_paused:  # else a caller that reads nothing could pile up answers
            self._next_request()

    def _next_request(self) -> None:
        self.resume_reading()
        if self._reader.is_between_requests:
            self._rest()
        else:
            self._advance()

    # Ending

    def close(self) -> None:
        """Send what is written, then close."""
        self.flush()
        self.is_closing = True
        self._server.became_busy(self)
        self._transport.close()

    def cut(self, *, needs_reset: bool) -> None:
        """Close before the answer is complete; `needs_reset` where only a reset can show that."""
        if self.is_closing:
            return
        self.is_closing = True
        self.flush()
        if needs_reset:
            _reset_on_close(self._transport)
            self._transport.abort()
        else:
            self._transport.close()
            self.deadline = self._loop.time() + self._server.limits.linger_seconds

    def close_unless_serving(self) -> None:
        """Close where no request is in progress."""
        if self._request is None and not self.is_closing:
            self.close()

    def cut_by_shutdown(self) -> bool:
        """Cut the request in progress; gives whether there was one that was not over."""
        request = self._request
        if request is None or request.is_over:
            self._transport.abort()  # what is not sent by now has nobody who takes it
            return False
        request.is_drained = True
        request.cut()
        request.caller_left()
        return True

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = NEVER
        if self.is_closing:
            self._transport.abort()
        elif self._request is not None:
            if not self._request.is_started:
                self._transport.write(_own_answer(408, "the request's body came too slowly"))
            self._request.caller_left()
            self.close()
        elif self._reader.is_between_requests:
            self.close()
        else:
            self._refuse(Refused(408, "the request's head came too slowly"))

    def _caller_left(self) -> None:
        if self._request is not None:
            self._request.caller_left()

    def _refuse(self, refused: Refused) -> None:
        self._server.requests_refused += 1
        if self._request is not None:
            self.deadline = NEVER
            self._request.body_broke()
            return
        extra = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" if refused.status == 405 else b""
        self._transport.write(_own_answer(refused.status, refused.message, extra))
        self._close_behind_answer(is_all_read=False)

    def _close_behind_answer(self, *, is_all_read: bool) -> None:
        """Close so that the answer arrives: closing with unread bytes would reset it away."""
        self.is_closing = True
        self._server.became_busy(self)
        if is_all_read and not self._reader.waiting_bytes:
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        if not self._is_reading:
            self._transport.resume_reading()
        self.deadline = self._loop.time() + self._server.limits.linger_seconds

    # What a request does to its connection

    def write(self, data: bytes) -> None:
        """Send bytes now, or behind those that are held."""
        if self._held:
            self._held.append(data)
            if len(data) > ONE_WRITE_BYTES_MAX:  # a step of the loop may read 8 MiB, which would all be held
                self.flush()
        else:
            self._transport.write(data)

    def hold(self, data: bytes) -> None:
        """Send bytes with those that follow in this step of the loop: one system call for a whole answer."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)

    def flush(self) -> None:
        """Send what is held."""
        held = self._held
        if held:
            self._held = []
            self.write_all(held)

    def write_all(self, pieces: list[bytes]) -> None:
        """Send several pieces at once."""
        if len(pieces[-1]) <= ONE_WRITE_BYTES_MAX:
            self._transport.write(b"".join(pieces))
        else:
            self._transport.writelines(pieces)


class _Framing:
    """How an answer's end is told."""

    NONE, LENGTH, CHUNKED, CLOSE = range(4)


class _CallerRequest:
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
        connection: _Connection,
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


_JSON: Headers = [(b"Content-Type", b"application/json")]
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


def _own_answer(status: int, message: str, extra: bytes = b"") -> bytes:
    """A refusal made before a provider, and so a dialect, is known."""
    body = _own_body(status, message)
    framing = b"%bContent-Length: %d\r\nConnection: close\r\n" % (extra, len(body))
    return response_head(status, _REASONS[status], _JSON, framing) + body


def _own_body(status: int, message: str) -> bytes:
    """An error that the clients of all providers can read: the union of their shapes."""
    kind = "api_error" if status >= 500 else "invalid_request_error"
    error = {"type": kind, "code": f"http_{status}", "message": message, "param": None}
    return msgspec.json.encode({"type": "error", "error": error})


def _reset_on_close(transport: asyncio.BaseTransport) -> None:
    """An end by closing looks like a whole answer; a reset does not."""
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it is gone already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _tls_context(listener: Listener) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(listener.certificate_file, listener.key_file or None)
    return context


def _log_fault(error: Exception) -> None:
    """Only the kind: a fault's text may quote what a caller sent."""
    logging.getLogger(__name__).error("request failed: %s", type(error).__name__)
