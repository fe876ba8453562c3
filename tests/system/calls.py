"""Calls made by hand, where a client would hide what is on the wire."""

import http.client
import json
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tests.system.front_end import IS_FOR_ALL

TIMEOUT_SECONDS = 60.0
SLOW_READER_BYTES = 8192
FRAMING = {"connection", "keep-alive", "transfer-encoding", "content-length"}

MESSAGES = "/v1/messages"
CHAT = "/v1/chat/completions"
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"

Body = dict[str, Any]


def message(prompt: str = "Hello", **fields: Any) -> Body:
    """The body of an Anthropic call."""
    return {
        "model": "claude-sonnet-4-6",
        "max_tokens": 200,
        "messages": [{"role": "user", "content": prompt}],
        **fields,
    }


def chat(prompt: str = "Hello", **fields: Any) -> Body:
    """The body of an OpenAI chat completion."""
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], **fields}


@dataclass(frozen=True)
class Reply:
    """An answer with its body as it came, content encoding and all."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The first header of that name; empty where there is none."""
        return next((value for each, value in self.headers if each.lower() == name.lower()), "")

    @property
    def end_to_end(self) -> list[tuple[str, str]]:
        """The headers that a relay must hand on as they are: not framing, not its own documented ones.

        nginx spells some names its own way, and puts them first.
        """
        kept = [
            (name, value)
            for name, value in self.headers
            if name.lower() not in FRAMING and not name.lower().startswith("x-modeltrack-")
        ]
        return sorted((name.lower(), value) for name, value in kept) if IS_FOR_ALL else kept

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def call(
    url: str,
    path: str,
    body: Body | bytes | None,
    headers: Mapping[str, str] | list[tuple[str, str]],
    *,
    method: str = "POST",
) -> Reply:
    """Make a call and read the whole answer. Raises: http.client.IncompleteRead, OSError when it is cut."""
    address = urlsplit(url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=TIMEOUT_SECONDS)
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    named = list(headers.items()) if isinstance(headers, Mapping) else headers
    try:
        connection.putrequest(method, address.path + path, skip_accept_encoding=True)
        for name, value in named:
            connection.putheader(name, value)
        if sent is not None:
            connection.putheader("Content-Length", str(len(sent)))
        connection.endheaders(sent)
        with connection.getresponse() as answer:
            return Reply(answer.status, answer.getheaders(), answer.read())
    finally:
        connection.close()


def slow_call(
    url: str, path: str, body: Body, headers: Mapping[str, str], *, pause_seconds: float = 0.05
) -> Reply:
    """Make a call and take its answer a little at a time. Raises: as `call`."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_READER_BYTES)
        connection.request("POST", address.path + path, json.dumps(body), dict(headers))
        with connection.getresponse() as answer:
            taken = []
            while piece := answer.read(SLOW_READER_BYTES):
                taken.append(piece)
                time.sleep(pause_seconds)  # as somebody on a thin line does
            if answer.length:  # read piece by piece, an answer that was cut says so nowhere else
                raise http.client.IncompleteRead(b"".join(taken), answer.length)
            return Reply(answer.status, answer.getheaders(), b"".join(taken))
    finally:
        connection.close()


class OpenCall:
    """A call whose answer is read piece by piece, on a connection that can be broken at any byte."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.read = b""

    def read_until(self, mark: bytes) -> None:
        """Read on until the mark has come. Fails the test when the answer ends first."""
        while mark not in self.read:
            piece = self._connection.recv(4096)
            assert piece, f"the answer ended before {mark!r}: {self.read[-300:]!r}"
            self.read += piece

    def read_some(self) -> bool:
        """Read what comes next; whether anything came before the end."""
        piece = self._connection.recv(4096)
        self.read += piece
        return bool(piece)

    def read_to_end(self) -> None:
        """Read until the connection closes."""
        while piece := self._connection.recv(65536):
            self.read += piece

    def hang_up(self) -> None:
        """Break the connection off, as a killed caller's machine does."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


@contextmanager
def open_call(url: str, path: str, body: Body, headers: Mapping[str, str]) -> Iterator[OpenCall]:
    """Send a call on a connection of its own that says it will close."""
    address = urlsplit(url)
    sent = json.dumps(body).encode()
    named = {"host": address.netloc, "connection": "close", "content-length": str(len(sent)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    with _connection(address) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + sent)
        yield OpenCall(connection)


def _connection(address: SplitResult) -> socket.socket:
    host = address.hostname or ""
    plain = socket.create_connection((host, address.port or 80), TIMEOUT_SECONDS)
    if address.scheme != "https":
        return plain
    return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
