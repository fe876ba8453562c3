"""Serving the application: gunicorn inside this program, one process that works, with threads.

Gunicorn's own threads wait for callers, so that a few who send slowly hold up all; ours do not (`Worker`).

The process that starts is gunicorn's arbiter; it forks the one that works, which opens the store for itself
(a gRPC client does not survive a fork). SIGTERM: no new connections, running requests end, then it exits.
"""

import gc
import json
import selectors
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn import http
from gunicorn.app.base import BaseApplication
from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker

from api_service.callers import Answering, Caller, Outbox
from metering.clock import Clock, SystemClock
from metering.ids import new_id

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

DRAIN_SECONDS = 8  # Cloud Run gives ten
KEEP_ALIVE_SECONDS = 75
CONNECTIONS_MAX = 1000
REQUEST_SECONDS = 20.0  # from a request's first byte to its last
ANSWER_SECONDS = 30.0  # until the caller has taken it, or the next piece of a long one
LINGER_SECONDS = 2.0  # reading away what a caller still sends, so that it gets to see its answer
COLLECTED_BYTES_MAX = 128 * 1024 * 1024  # of requests that are not whole yet, of all callers together
NEVER = float("inf")
SYSTEM_CLOCK = SystemClock()
REQUEST_LINE_BYTES_MAX = 8190
MEMORY_DIRECTORY = Path("/dev/shm")  # nosec B108 # noqa: S108 - gunicorn's heartbeat; the disk may be read-only

_REFUSED_LINES = (
    (http.errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long"),
    (http.errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large"),
    (http.errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED, "unsupported_transfer_coding"),
    (http.errors.ParseException, HTTPStatus.BAD_REQUEST, "bad_request"),
)


def keep_for_good() -> None:
    """Let the garbage collector pass over what is there by now: it stays as long as the process.

    Walking all of it, now and then in the midst of a request, takes a tenth of a second (`bench.pages`), and
    no less at the end of a start: of what that threw away some hundred objects are left.
    """
    gc.freeze()
    gc.enable()


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Serves requests in threads that never wait for a caller; all waiting is done here, by one poller.

    Requests are collected and answers sent by the loop (`api_service.callers`), each within its time. Where
    there are too many connections, or too much is collected, the request that began first makes room, and
    before it who has begun none. What is no HTTP is refused in our envelope and never repeated in a log.
    """

    def __init__(
        self,
        *args: object,
        clock: Clock = SYSTEM_CLOCK,
        connections_max: int = CONNECTIONS_MAX,
        collected_bytes_max: int = COLLECTED_BYTES_MAX,
    ) -> None:
        super().__init__(*args)
        self._clock = clock
        self._connections_max = connections_max
        self._collected_bytes_max = collected_bytes_max
        self._idle: dict[Caller, None] = {}
        self._polled: dict[Caller, None] = {}  # the longest there first
        self._bytes_collected = 0
        self._idle_until_max = NEVER

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take new connections or not; a worker that stops refuses them, rather than letting them wait."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                listener.close()

    # What the loop calls, in the words of gunicorn's worker

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection and wait for its request."""
        try:
            connection, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        if self.nr_conns >= self._connections_max:  # one below which the loop would accept no more
            self._drop_first(*self._idle, *self._polled)
        self._rest(Caller(connection, address, listener.getsockname()))

    def finish_request(self, caller: Caller, answering: "Future[bool]") -> None:
        """A thread is done: send what it has written."""
        is_failed = answering.cancelled() or answering.exception() is not None
        if is_failed:
            self._give_up_answer(caller)
        is_kept = not is_failed and answering.result() and not caller.collector.is_last
        caller.deadline = self._clock.monotonic() + ANSWER_SECONDS
        self._send(caller, is_kept)

    def murder_keepalived(self, force: bool = False) -> None:
        """Give up whoever is over its time (or everybody)."""
        now = self._clock.monotonic()
        for caller in [each for each in (*self._idle, *self._polled) if force or each.deadline <= now]:
            self._drop(caller)

    def _cap_keepalive(self, deadline: float) -> None:
        self._idle_until_max = deadline
        for caller in self._idle:
            caller.deadline = min(caller.deadline, deadline)

    # In a thread

    def handle(self, caller: Caller) -> bool:
        """Answer a request that is here, into memory, or write on; whether another may follow it."""
        request = None
        try:
            if caller.answering is not None:
                return self._write_on(caller, caller.answering)
            request = next(caller.parser)
            if caller.collector.is_last:
                request.force_close()
            return self.handle_request(request, caller)
        except (http.errors.NoMoreData, StopIteration):
            caller.end_answer()
            return False
        except Exception as error:  # noqa: BLE001 - the edge: it costs this request only
            is_begun = caller.answering is not None and caller.answering.is_begun
            caller.end_answer()
            if is_begun:  # the caller sees a cut answer, never a well-formed short one
                self.log.warning("an answer was cut: %s", type(error).__name__)
            else:
                self.handle_error(request, caller.sock, caller.client, error)
            return False

    def handle_request(self, req: Any, conn: Caller) -> bool:
        """Begin to answer; whether another request may follow this one."""
        response, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg)
        environ["wsgi.multithread"] = True
        if not self.alive:
            response.force_close()
        conn.answering = Answering(response, lambda: self.wsgi(environ, response.start_response))
        return self._write_on(conn, conn.answering)

    def _write_on(self, caller: Caller, answering: Answering) -> bool:
        if answering.write(caller.sock):
            caller.end_answer()
        return not answering.closes

    def handle_error(self, req: object, client: Outbox, addr: object, exc: Exception) -> None:
        """Answer what never became a request."""
        status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error"
        for kind, its_status, its_code in _REFUSED_LINES:
            if isinstance(exc, kind):
                status, code = its_status, its_code
                break
        self._refuse(client, status, code, type(exc).__name__)

    # Waiting

    def _rest(self, caller: Caller) -> None:
        caller.deadline = min(self._clock.monotonic() + KEEP_ALIVE_SECONDS, self._idle_until_max)
        self._idle[caller] = None
        self._poll(caller, selectors.EVENT_READ, self._receive)

    def _poll(self, caller: Caller, events: int, then: Callable[[Caller], None]) -> None:
        def happened(_: socket.socket) -> None:
            if caller in self._idle or caller in self._polled:  # else it was dropped a moment ago
                then(caller)

        self.poller.register(caller.connection, events, happened)

    def _receive(self, caller: Caller) -> None:
        is_there = caller.receive()
        if not is_there:
            self._drop(caller)
        elif not caller.is_lingering and not caller.is_idle:
            self._go_on(caller)

    def _go_on(self, caller: Caller) -> None:
        """Some of a request is here, perhaps all of it."""
        self._count(caller, len(caller.collector.received))
        if caller in self._idle:
            del self._idle[caller]
            self._polled[caller] = None
            caller.deadline = self._clock.monotonic() + REQUEST_SECONDS
        if caller.collector.is_whole:
            self._leave(caller)
            caller.begin_answer(self.cfg)
            self.enqueue_req(caller)
        elif caller.collector.is_head_too_large:
            self._leave(caller)
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self._refuse(caller.sock, status, "headers_too_large", "head too large")
            self._send(caller, is_kept=False)
        elif self._bytes_collected > self._collected_bytes_max:
            self._drop_first(*self._polled)

    def _drop_first(self, *callers: Caller) -> None:
        for caller in callers[:1]:
            self._drop(caller)

    def _send(self, caller: Caller, is_kept: bool) -> None:
        if not caller.send():
            self._drop(caller)
        elif caller.sock.written:
            self._polled[caller] = None
            self._poll(caller, selectors.EVENT_WRITE, lambda each: self._send_more(each, is_kept))
        else:
            self._sent(caller, is_kept)

    def _send_more(self, caller: Caller, is_kept: bool) -> None:
        self._leave(caller)
        self._send(caller, is_kept)

    def _sent(self, caller: Caller, is_kept: bool) -> None:
        if caller.answering is not None:
            self.enqueue_req(caller)
            return
        if not is_kept:
            caller.linger()
            caller.deadline = self._clock.monotonic() + LINGER_SECONDS
            self._polled[caller] = None
            self._poll(caller, selectors.EVENT_READ, self._receive)
            return
        caller.begin_request()
        self._rest(caller)
        if not caller.is_idle:
            self._go_on(caller)

    def _leave(self, caller: Caller) -> None:
        """Poll the connection no longer."""
        if caller in self._idle or caller in self._polled:
            self.poller.unregister(caller.connection)
            self._idle.pop(caller, None)
            self._polled.pop(caller, None)
            self._count(caller, 0)

    def _count(self, caller: Caller, size_bytes: int) -> None:
        self._bytes_collected += size_bytes - caller.bytes_counted
        caller.bytes_counted = size_bytes

    def _drop(self, caller: Caller) -> None:
        self._leave(caller)
        self.nr_conns -= 1
        self._give_up_answer(caller)
        caller.close()

    def _give_up_answer(self, caller: Caller) -> None:
        """Have a thread close it: what it holds is given back in a store, and the loop waits for none.

        Threads take turns in order, so no more answers wait for that than there were connections.
        """
        answering = caller.forget_answer()
        if answering is not None:
            self.tpool.submit(answering.close)

    def _refuse(self, outbox: Outbox, status: HTTPStatus, code: str, why: str) -> None:
        self.log.warning("refused what is no request of HTTP: %s", why)
        outbox.sendall(_refusal(status, code))


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """Gunicorn, configured by us alone: no file, no arguments, no control socket."""

    def __init__(self, load: "Callable[[], WSGIApplication]", bind: str | list[str], threads: int) -> None:
        self._load = load
        self._options: Mapping[str, Any] = {
            "bind": bind,
            "workers": 1,
            "threads": threads,
            "worker_class": Worker,
            "worker_connections": CONNECTIONS_MAX,
            "worker_tmp_dir": str(MEMORY_DIRECTORY) if MEMORY_DIRECTORY.is_dir() else None,
            "graceful_timeout": DRAIN_SECONDS,
            "timeout": 60,
            "keepalive": KEEP_ALIVE_SECONDS,
            "limit_request_line": REQUEST_LINE_BYTES_MAX,
            "control_socket_disable": True,
            "forwarded_allow_ips": "",
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "proc_name": "modeltrack-api",
        }
        super().__init__()

    def load_config(self) -> None:
        """Set what we set."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> "WSGIApplication":
        """The application, made in the process that works."""
        return self._load()


def _refusal(status: HTTPStatus, code: str) -> bytes:
    request_id = new_id("req")
    error: dict[str, object] = {
        "code": code,
        "message": "this is no request that the service understands",
        "param": None,
        "retryable": False,
        "request_id": request_id,
        "details": [],
    }
    body = json.dumps({"error": error}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Cache-Control: no-store\r\nX-Request-ID: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
