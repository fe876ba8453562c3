"""Serving the application: gunicorn inside this program, one process that works, with threads.

The process that starts is gunicorn's arbiter; it forks the one that works, which opens the store for itself
(a gRPC client does not survive a fork). SIGTERM: no new connections, running requests end, then it exits.
"""

import json
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn import http
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from metering.ids import new_id

DRAIN_SECONDS = 8  # Cloud Run gives ten
KEEP_ALIVE_SECONDS = 75
CONNECTIONS_MAX = 1000
REQUEST_LINE_BYTES_MAX = 8190
MEMORY_DIRECTORY = Path("/dev/shm")  # noqa: S108 - holds gunicorn's heartbeat only; the disk may be read-only

_REFUSED_LINES = (
    (http.errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long"),
    (http.errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large"),
    (http.errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED, "unsupported_transfer_coding"),
    (http.errors.ParseException, HTTPStatus.BAD_REQUEST, "bad_request"),
)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Serves requests in threads; what is no HTTP is refused in our envelope and never repeated in a log."""

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take new connections or not; a worker that stops refuses them, rather than letting them wait."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                listener.close()

    def handle_error(self, req: object, client: socket.socket, addr: object, exc: Exception) -> None:
        """Answer what never became a request."""
        status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error"
        for kind, its_status, its_code in _REFUSED_LINES:
            if isinstance(exc, kind):
                status, code = its_status, its_code
                break
        self.log.warning("refused what is no request of HTTP: %s", type(exc).__name__)
        try:
            client.sendall(_refusal(status, code))
        except OSError:
            return  # the caller has gone


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """Gunicorn, configured by us alone: no file, no arguments, no control socket."""

    def __init__(self, load: Callable[[], Flask], bind: str, threads: int) -> None:
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

    def load(self) -> Flask:
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
