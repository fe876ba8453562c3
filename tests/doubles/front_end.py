"""What stands before a service where it is hosted: ends TLS, hands requests on, and may do that badly."""

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

SECONDS_MAX = 30.0
BODY_BYTES_MAX = 16 * 1024 * 1024
OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length"}

Headers = list[tuple[str, str]]


@dataclass
class Passing:
    """One answer on its way back; whoever alters it changes its fields."""

    method: str
    path: str
    status: int
    headers: Headers
    body: bytes

    def header(self, name: str, value: str | None) -> None:
        """Set the header; None: drop it."""
        self.headers = [pair for pair in self.headers if pair[0].lower() != name.lower()]
        if value is not None:
            self.headers.append((name, value))


def leave(passing: Passing) -> None:
    """Change nothing."""


@dataclass
class FrontEnd:
    """Hands requests on to `target`; without one, every answer is an empty 200. `alter` may change answers.

    Requests below one of the paths `guarded` get the headers `added`, where they lack them.
    """

    target: str = ""
    alter: Callable[[Passing], None] = leave
    guarded: tuple[str, ...] = ()
    added: dict[str, str] = field(default_factory=dict)
    url: str = ""
    source: str = "127.0.0.1"  # whom its target takes for the caller
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)  # of what was asked, in the same order

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Passing:
        """What comes back."""
        self.asked.append((path, headers))
        self.bodies.append(body)
        passing = Passing(method, path, 200, [], b"")
        if self.target:
            passing = self._handed_on(method, path, headers, body)
        self.alter(passing)
        return passing

    def _handed_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Passing:
        address = urlsplit(self.target)
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=SECONDS_MAX, source_address=(self.source, 0)
        )
        kept = {name: value for name, value in headers.items() if name.lower() not in OF_ONE_CONNECTION}
        added = self.added if path.startswith(self.guarded) else {}
        present = {name.lower() for name in kept}
        kept |= {name: value for name, value in added.items() if name.lower() not in present}
        try:
            connection.request(method, path, body or None, kept)
            answer = connection.getresponse()
            told = [pair for pair in answer.getheaders() if pair[0].lower() not in OF_ONE_CONNECTION]
            return Passing(method, path, answer.status, told, answer.read())
        finally:
            connection.close()


@contextmanager
def running_front_end(
    address: str = "127.0.0.1", tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[FrontEnd]:
    """A front end that listens there until the block ends, on a port of its own unless told which."""
    front = FrontEnd()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > BODY_BYTES_MAX:
                self.close_connection = True
                self.send_response_only(413)
                self.end_headers()
                return
            body = self.rfile.read(length)
            passing = front.answer(self.command, self.path, dict(self.headers.items()), body)
            self.send_response_only(passing.status)
            for name, value in passing.headers:
                self.send_header(name, value)
            if passing.status != 204:
                self.send_header("Content-Length", str(len(passing.body)))
            self.end_headers()
            self.wfile.write(passing.body)

        # as the base calls them
        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = handle_any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            if tls is None:
                return super().finish_request(request, client_address)
            # in the connection's own thread, so that a handshake that hangs holds up no other
            with tls.wrap_socket(request, server_side=True) as wrapped:
                return super().finish_request(wrapped, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Handshakes that fail are what some come for."""

    with Server((address, port), Handler) as server:
        front.url = f"{'https' if tls else 'http'}://{address}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()
