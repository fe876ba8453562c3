"""An upstream that is a plain socket: it answers with the bytes a test says, and keeps what it was sent."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PATIENCE_SECONDS = 10.0


@dataclass
class ReceivedRequest:
    """A request as it came off the wire; the body without its chunk sizes."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailer: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        found = [value for each, value in self.headers if each.lower() == name]
        return b", ".join(found) if found else None


@dataclass
class Wire:
    """The server's end of one connection."""

    connection: socket.socket
    number: int
    buffer: bytes = b""

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def receive(self) -> bool:
        """Whether more bytes came before the end."""
        data = self.connection.recv(256 * 1024)
        self.buffer += data
        return bool(data)

    def take(self, size: int) -> bytes:
        """The next bytes. Raises: EOFError."""
        parts = []
        while size:
            if not self.buffer and not self.receive():
                raise EOFError
            part, self.buffer = self.buffer[:size], self.buffer[size:]
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def take_until(self, mark: bytes) -> bytes:
        """The bytes up to and with a mark. Raises: EOFError."""
        while mark not in self.buffer:
            if not self.receive():
                raise EOFError
        end = self.buffer.index(mark) + len(mark)
        taken, self.buffer = self.buffer[:end], self.buffer[end:]
        return taken

    def take_head(self) -> ReceivedRequest:
        """The next request's head. Raises: EOFError."""
        line, *rest = self.take_until(b"\r\n\r\n")[:-4].split(b"\r\n")
        pairs = [each.partition(b":") for each in rest]
        return ReceivedRequest(line, [(name, value.strip()) for name, _, value in pairs])

    def take_body(self, request: ReceivedRequest) -> None:
        """The body that belongs to a head. Raises: EOFError."""
        if request.header(b"transfer-encoding"):
            parts = []
            while size := int(self.take_until(b"\r\n"), 16):
                parts.append(self.take(size + 2)[:-2])
            while (line := self.take_until(b"\r\n")) != b"\r\n":
                request.trailer += line
            request.body = b"".join(parts)
        else:
            request.body = self.take(int(request.header(b"content-length") or 0))

    def reset(self) -> None:
        """Close so that the other side sees a reset, not an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()


Script = Callable[[Wire, ReceivedRequest], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answering(*answers: bytes) -> Script:
    """Read the whole request, answer with these bytes in as many writes; the connection stays."""

    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        for answer in answers:
            wire.send(answer)

    return script


def closing(answer: bytes) -> Script:
    """Read the whole request, answer with these bytes, close."""

    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        wire.send(answer)
        wire.connection.close()

    return script


@dataclass
class RawUpstream:
    """A server that calls `script` behind each request's head, and closes where the script did or raised."""

    script: Script = field(default_factory=lambda: answering(OK))
    requests: list[ReceivedRequest] = field(default_factory=list)
    connections: int = 0
    tls: ssl.SSLContext | None = None
    _open: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(PATIENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, EOFError, ValueError):
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            wire = Wire(connection, number)
            while connection.fileno() >= 0:
                request = wire.take_head()
                self.requests.append(request)
                self.script(wire, request)
        connection.close()

    def close_connections(self) -> None:
        """Close every connection from this end, as a server does with those that were idle too long."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.close_connections()

    def __enter__(self) -> "RawUpstream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def dialled(port: int, *sent: bytes) -> Iterator[Wire]:
    """A caller's connection with some bytes sent on it."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in sent:
            connection.sendall(data)
        yield Wire(connection, 0)


@dataclass
class ReceivedAnswer:
    """An answer as a caller got it; the body without its chunk sizes."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        found = [value for each, value in self.headers if each.lower() == name]
        return b", ".join(found) if found else None


def take_answer(wire: Wire, *, has_body: bool = True) -> ReceivedAnswer:
    """The next answer. Raises: EOFError where it is cut, ConnectionError where it is reset."""
    got = wire.take_head()
    _, status, reason = (got.line + b" ").split(b" ", 2)
    answer = ReceivedAnswer(int(status), reason.strip(), got.headers, b"")
    if answer.status == 100:
        return answer
    if has_body and answer.status not in {204, 304}:
        if got.header(b"transfer-encoding") or got.header(b"content-length") is not None:
            wire.take_body(got)
            answer.body = got.body
        else:
            answer.body = rest_of(wire)
    return answer


def rest_of(wire: Wire) -> bytes:
    """Everything up to the end. Raises: ConnectionError where it is a reset."""
    while wire.receive():
        pass
    rest, wire.buffer = wire.buffer, b""
    return rest


def call(port: int, raw: bytes) -> ReceivedAnswer:
    """One request on a connection of its own."""
    with dialled(port, raw) as wire:
        return take_answer(wire)
