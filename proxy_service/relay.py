"""The client of all upstreams: bytes up, bytes down, untouched, over pooled keep-alive connections.

**Nothing is retried once a byte may have left.** A pooled connection is taken only while the loop has seen no
sign of its end, and the request is handed to it in that same step; one that was found closed before is
replaced silently, since not a byte was handed to its transport. From the moment the request is handed over,
every failure is UpstreamCut or UpstreamTimedOut, whether or not the upstream read any of it.

Bounds: idle connections an origin and in all, and their age; unread answer bytes; an answer's overhead; the
time to connect, to the first byte and between bytes. Connections in use are bounded by the callers' ones.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

from proxy_service.authorities import Authorities
from proxy_service.http1 import LAST_CHUNK, ResponseReader, chunk, request_head
from proxy_service.sockets import watch_for_dead_peers
from proxy_service.wire import (
    BodyPump,
    BodyTooLarge,
    Headers,
    Origin,
    ResponseHead,
    UpstreamCut,
    UpstreamTimedOut,
    UpstreamUnreachable,
)

BUFFERED_BYTES_MAX = 64 * 1024  # a direction and connection, beside the one read that crossed it
ONE_WRITE_BYTES_MAX = 16 * 1024  # up to here copying a body behind its head is cheaper than a second buffer
IDLE_CONNECTIONS_AN_ORIGIN_MAX = 256
IDLE_CONNECTIONS_MAX = 1024
POOLED_SECONDS_MAX = 55.0  # common servers and balancers close idle connections after 60 seconds or more
KEEPALIVE_MARGIN_SECONDS = 1.0  # sooner than the upstream says that it will close
STALLED_SECONDS = 120.0
TICK_SECONDS = 0.25
NEVER = float("inf")

_METHODS_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))


class UpstreamClient:
    """An `Upstream`: see there and this module's promise about retries.

    Without `authorities` it has the system's for itself.
    """

    def __init__(
        self,
        *,
        connect_seconds: float = 10.0,
        first_byte_seconds: float = 600.0,
        idle_seconds: float = 300.0,
        pooled_seconds: float = POOLED_SECONDS_MAX,
        authorities: Authorities | None = None,
    ) -> None:
        self.first_byte_seconds = first_byte_seconds
        self.idle_seconds = idle_seconds
        self.pooled_seconds = pooled_seconds
        self._connect_seconds = connect_seconds
        self._authorities = authorities or Authorities()
        self._loop = asyncio.get_running_loop()
        self._connections: set[_Connection] = set()
        self._idle: dict[Origin, list[_Connection]] = {}
        self._idle_count = 0
        self._is_closed = False
        self._ticker: asyncio.TimerHandle | None = None

    @property
    def connections_open(self) -> int:
        """How many connections there are now, idle ones included."""
        return len(self._connections)

    @property
    def connections_idle(self) -> int:
        """How many connections wait for their next call."""
        return self._idle_count

    async def open(
        self,
        origin: Origin,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes | BodyPump,
        *,
        content_length: int | None = None,
    ) -> "UpstreamAnswer":
        """See `Upstream`."""
        whole = body if isinstance(body, bytes) else b""
        framing = _framing(method, body, content_length)
        connection = self._pooled(origin) or await self._connect(origin)
        try:
            head = request_head(method, connection.prefix + target, connection.authority, headers, framing)
        except ValueError:
            connection.abort()
            raise
        answer = UpstreamAnswer(connection)
        connection.send(answer, head, whole, is_for_head=method == b"HEAD")
        if not isinstance(body, bytes):
            answer.upload(body, content_length)
        try:
            await answer.wait_for_head()
        except asyncio.CancelledError:
            answer.abort()
            raise
        return answer

    async def close(self) -> None:
        """See `Upstream`."""
        self._is_closed = True
        if self._ticker is not None:
            self._ticker.cancel()
        for connection in tuple(self._connections):
            connection.abort()

    # The pool

    def _pooled(self, origin: Origin) -> "_Connection | None":
        """The connection used last that is still whole: the others may grow old and be closed."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            self._idle_count -= 1
            if not idle:
                del self._idle[origin]
            if connection.is_whole:
                return connection
            connection.abort()
        return None

    def give_back(self, connection: "_Connection") -> bool:
        """Keep a connection for the next call; False where it is to be closed."""
        if self._is_closed:
            return False
        idle = self._idle.setdefault(connection.origin, [])
        if len(idle) >= IDLE_CONNECTIONS_AN_ORIGIN_MAX or self._idle_count >= IDLE_CONNECTIONS_MAX:
            if not idle:
                del self._idle[connection.origin]
            return False
        idle.append(connection)
        self._idle_count += 1
        return True

    def left(self, connection: "_Connection") -> None:
        """The connection is over."""
        self._connections.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle and connection in idle:
            idle.remove(connection)
            self._idle_count -= 1
            if not idle:
                del self._idle[connection.origin]

    async def _connect(self, origin: Origin) -> "_Connection":
        if self._is_closed:
            raise UpstreamUnreachable("this proxy is shutting down")
        is_tls = origin.scheme == "https"
        connection = _Connection(self, origin)
        try:
            async with asyncio.timeout(self._connect_seconds):
                await self._loop.create_connection(
                    lambda: connection,
                    origin.host,
                    origin.port,
                    ssl=await self._authorities.context() if is_tls else None,
                    server_hostname=origin.host if is_tls else None,
                    ssl_handshake_timeout=self._connect_seconds if is_tls else None,
                )
        except TimeoutError as error:
            connection.abort()
            raise UpstreamUnreachable(f"no connection in time ({origin.host})") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that is no name at all
            raise UpstreamUnreachable(f"{_why(error)} ({origin.host})") from error
        except asyncio.CancelledError:
            connection.abort()  # the loop may have made it, or still be about to
            raise
        if self._is_closed or not connection.is_whole:
            connection.abort()
            raise UpstreamUnreachable(f"the connection was closed at once ({origin.host})")
        return connection

    def joined(self, connection: "_Connection") -> None:
        """There is one connection more."""
        self._connections.add(connection)
        if self._ticker is None:
            self._ticker = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        """One timer for all: a deadline is met at most a tick late, and setting it costs nothing."""
        now = self._loop.time()
        for connection in [each for each in self._connections if each.deadline <= now]:
            connection.expire()
        self._ticker = self._loop.call_later(TICK_SECONDS, self._tick)


def _framing(method: bytes, body: bytes | BodyPump, content_length: int | None) -> bytes:
    if isinstance(body, bytes):
        if body or content_length is not None or method in _METHODS_WITH_BODY:
            return b"Content-Length: %d\r\n" % len(body)
        return b""
    if content_length is None:
        return b"Transfer-Encoding: chunked\r\n"
    return b"Content-Length: %d\r\n" % content_length


class _Connection(asyncio.Protocol):
    """One connection to an upstream: idle in the pool, or carrying one call."""

    __slots__ = (
        "_answer",
        "_client",
        "_drained",
        "_is_lost",
        "_is_paused",
        "_loop",
        "_reader",
        "_transport",
        "authority",
        "deadline",
        "origin",
        "prefix",
    )

    def __init__(self, client: UpstreamClient, origin: Origin) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.Transport, None)
        self._reader = ResponseReader()
        self._answer: UpstreamAnswer | None = None
        self._drained: asyncio.Future[None] | None = None
        self._is_lost = False
        self._is_paused = False
        self.origin = origin
        self.authority = origin.authority  # in bytes once a connection, not once a call
        self.prefix = origin.prefix.encode()
        self.deadline = NEVER

    @property
    def is_whole(self) -> bool:
        """Whether there has been no sign yet that the connection is over."""
        return not self._is_lost and not self._transport.is_closing()

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(BUFFERED_BYTES_MAX)
        watch_for_dead_peers(transport.get_extra_info("socket"), STALLED_SECONDS)
        self._client.joined(self)
        if self._is_lost:  # it was given up before it was made
            self.abort()

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:  # nobody asked: whatever it is, the connection is not to be trusted
            self.abort()
            return
        reader = self._reader
        body = reader.feed(data)
        if not self._is_paused:
            self.deadline = self._loop.time() + self._client.idle_seconds
        if answer.is_headless:
            if reader.head is None:
                if reader.is_broken:
                    self.abort()
                return
            answer.head_came(reader.head)
        if body:
            answer.body_came(body)
        if reader.is_complete:
            self._answer_ended(answer)
        elif reader.is_broken:
            self.abort()

    def _answer_ended(self, answer: "UpstreamAnswer") -> None:
        self._answer = None
        self._keep_or_close(answer)
        answer.body_ended()

    def eof_received(self) -> None:
        self._is_lost = True
        answer = self._answer
        if answer is None:
            return
        self._reader.end_of_input()
        if self._reader.is_complete:
            self._answer_ended(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = True
        self.deadline = NEVER
        self._client.left(self)
        self._reader.close()
        self.resume_writing()
        self._fail(UpstreamCut)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # What a call does

    def send(self, answer: "UpstreamAnswer", head: bytes, body: bytes, *, is_for_head: bool) -> None:
        """Hand a request over and expect its answer. From here on the upstream may have read it."""
        self._answer = answer
        self._reader.begin(is_for_head=is_for_head)
        self.expect_first_byte()
        if len(body) <= ONE_WRITE_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])

    def expect_first_byte(self) -> None:
        """The request is out; the time to the first byte begins."""
        self.deadline = self._loop.time() + self._client.first_byte_seconds

    def write(self, data: bytes) -> asyncio.Future[None] | None:
        """Send more of a body. A future means: wait for it before the next piece."""
        if self._is_lost:
            raise UpstreamCut
        self._transport.write(data)
        self.deadline = self._loop.time() + self._client.idle_seconds
        return self._drained

    def pause(self) -> None:
        """Take nothing more from the upstream; its time does not run meanwhile."""
        if not self._is_paused and self.is_whole:
            self._is_paused = True
            self._transport.pause_reading()
            self.deadline = NEVER

    def resume(self) -> None:
        """Read on."""
        if self._is_paused and self.is_whole:
            self._is_paused = False
            self._transport.resume_reading()
            self.deadline = self._loop.time() + self._client.idle_seconds

    # Ending

    def _keep_or_close(self, answer: "UpstreamAnswer") -> None:
        """The answer is complete: the pool's, where both ends can take another request."""
        self.resume()
        is_kept = self._reader.is_reusable and answer.is_request_sent and self.is_whole
        if not is_kept or not self._client.give_back(self):
            self._transport.abort()
            return
        seconds = self._client.pooled_seconds
        told = self._reader.keepalive_seconds
        if told is not None:
            seconds = min(seconds, told - KEEPALIVE_MARGIN_SECONDS)
        self._reader.forget()
        self.deadline = self._loop.time() + seconds

    def abort(self) -> None:
        """Close now; a call in progress is cut."""
        self._is_lost = True
        if self._transport is not None:
            self._transport.abort()
        self._client.left(self)  # the loop tells of no end while it is still connecting
        self._fail(UpstreamCut)

    def expire(self) -> None:
        """The deadline has passed: of an idle connection, or of a call."""
        self._fail(UpstreamTimedOut)
        self.abort()

    def _fail(self, kind: type[Exception]) -> None:
        answer = self._answer
        self._answer = None
        if answer is not None:
            answer.fail(kind())


class UpstreamAnswer:
    """One call's answer as it comes: an `Answer`."""

    __slots__ = (
        "_connection",
        "_failure",
        "_is_complete",
        "_is_request_sent",
        "_on_data",
        "_pieces",
        "_size",
        "_size_max",
        "_upload",
        "_waiter",
        "head",
        "is_headless",
        "received",
    )

    def __init__(self, connection: _Connection) -> None:
        self.head = cast(ResponseHead, None)
        self.is_headless = True
        self.received = b""
        self._connection: _Connection | None = connection
        self._failure: Exception | None = None
        self._is_complete = False
        self._is_request_sent = True
        self._on_data: Callable[[bytes], None] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._size_max = BUFFERED_BYTES_MAX
        self._upload: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    # Answer

    async def read_whole(self, limit_bytes: int) -> bytes:
        """See `Answer`."""
        self._size_max = limit_bytes
        self.resume()
        try:
            while not self._is_complete and self._size <= limit_bytes:
                await self._wait()
        finally:
            self.received = b"".join(self._pieces)
            self._pieces = []
        if self._size > limit_bytes:
            self.abort()
            raise BodyTooLarge
        return self.received

    async def pump(self, on_data: Callable[[bytes], None]) -> None:
        """See `Answer`."""
        pieces = self._pieces
        self._pieces = []
        try:
            for piece in pieces:
                on_data(piece)
        except BaseException:
            self.abort()
            raise
        self._on_data = on_data
        self.resume()
        try:
            while not self._is_complete:
                await self._wait()
        finally:
            self._on_data = None

    def pause(self) -> None:
        """See `Answer`."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """See `Answer`."""
        if self._connection is not None:
            self._connection.resume()

    def abort(self) -> None:
        """See `Answer`."""
        if self._connection is not None:
            self._connection.abort()

    # The request's body

    @property
    def is_request_sent(self) -> bool:
        """Whether all of the request has been handed over."""
        return self._is_request_sent

    def upload(self, pump: BodyPump, content_length: int | None) -> None:
        """Send a body piece by piece beside waiting for the answer."""
        task = asyncio.get_running_loop().create_task(self._send_body(pump, content_length))
        self._upload = task
        self._is_request_sent = False
        task.add_done_callback(self._upload_ended)

    async def _send_body(self, pump: BodyPump, content_length: int | None) -> None:
        sent = 0

        def on_data(piece: bytes) -> Awaitable[None] | None:
            nonlocal sent
            sent += len(piece)
            if self._connection is None:
                raise UpstreamCut
            return self._connection.write(chunk(piece) if content_length is None else piece)

        await pump(on_data)
        if content_length is not None and sent != content_length:
            raise ValueError("the body is not as long as its head said")
        if self._connection is not None:
            if content_length is None:
                self._connection.write(LAST_CHUNK)
            if self.is_headless:
                self._connection.expect_first_byte()
        self._is_request_sent = True

    def _upload_ended(self, task: asyncio.Task[None]) -> None:
        self._upload = None
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, Exception) and self._connection is not None:
            self.fail(failure)

    def _stop_upload(self) -> None:
        if self._upload is not None:
            self._upload.cancel()

    # What the connection tells

    def head_came(self, head: ResponseHead) -> None:
        """The head is whole."""
        self.head = head
        self.is_headless = False
        if self._upload is not None and head.status >= 400:
            self._stop_upload()
        self._wake()

    def body_came(self, piece: bytes) -> None:
        """A piece of the body; what `on_data` makes of it is the pump's to raise."""
        if self._on_data is not None:
            try:
                self._on_data(piece)
            except Exception as failure:  # noqa: BLE001 - raised where the pump is awaited
                self.fail(failure)
            return
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._size_max:
            self.pause()
            self._wake()

    def body_ended(self) -> None:
        """The answer is complete."""
        if self._failure is not None:
            return
        self._is_complete = True
        self._connection = None
        self._stop_upload()
        self._wake()

    def fail(self, failure: Exception) -> None:
        """The call is over before its answer was; whoever waits for it learns why."""
        if self._failure is None and not self._is_complete:
            self._failure = failure
            connection = self._connection
            self._connection = None
            self._stop_upload()
            self._wake()
            if connection is not None:
                connection.abort()

    # Waiting

    async def wait_for_head(self) -> None:
        """Wait for the head. Raises: what `fail` was told."""
        while self.is_headless:
            await self._wait()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _why(error: OSError | UnicodeError) -> str:
    """Why there is no connection, for whoever has to mend it; the words are ours alone."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return "its name does not resolve"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    return "no connection"
