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
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import msgspec

from proxy_service.caller_request import BUFFERED_BYTES_MAX, CallerRequest, own_answer
from proxy_service.http1 import (
    END,
    NEED_DATA,
    HeadLimits,
    Refused,
    RequestReader,
)
from proxy_service.pace import NEVER, BodyPace
from proxy_service.sockets import watch_for_dead_peers
from proxy_service.wire import (
    BodyTooLarge,
    BodyUnreadable,
    CallerGone,
    Downstream,
    RequestHead,
)

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
        self._request: CallerRequest | None = None
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
            self._transport.write(own_answer(503, "too many connections", b"Retry-After: 1\r\n"))
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

    def _serving(self) -> CallerRequest:
        assert self._request is not None  # noqa: S101 - bodies and ends come behind a head
        return self._request

    def _begin(self, head: RequestHead) -> None:
        self._request = request = CallerRequest(self, head, self._reader, self._peer_address, self._is_tls)
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

    async def _serve(self, request: CallerRequest) -> None:
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

    def _finish(self, request: CallerRequest) -> None:
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
                self._transport.write(own_answer(408, "the request's body came too slowly"))
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
        self._transport.write(own_answer(refused.status, refused.message, extra))
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
