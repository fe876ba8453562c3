"""A provider that costs next to nothing, so that what is measured is the gateway: prepared bytes on uvloop.

    python -m bench.upstream PORT [TLS_PORT CERTIFICATE_AND_KEY_FILE]

It looks for the name of the answer in the request (`bench.answers`), counts, and writes. `GET /served` gives
as JSON how many answers it has served and what they cost. It checks nothing that it is sent.
"""

import asyncio
import json
import re
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, cast

import uvloop

from bench.answers import WANTED, Answer, Shape, prepared
from bench.timers import Timers

HOST: Final = "127.0.0.1"
BACKLOG_CONNECTIONS: Final = 4096
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_END_OF_CHUNKS: Final = b"0\r\n\r\n"
_UNKNOWN: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 38\r\nconnection: close\r\n\r\n"
    b"the prompt does not say what to answer"
)


class Timing(Protocol):
    """What calls back; `Timers`."""

    def call_at(self, due: float, callback: Callable[[], None]) -> None:
        """Call back then, by `time.monotonic()`."""


class Provider:
    """The answers, and the count of those served."""

    def __init__(self, timers: Timing) -> None:
        self.answers = prepared()
        self.timers = timers
        self.served: dict[tuple[Shape, str], int] = dict.fromkeys(self.answers, 0)

    def bill(self) -> bytes:
        """The answer to `GET /served`."""
        calls = sum(self.served.values())
        cost = sum(self.answers[key].nanodollars * count for key, count in self.served.items())
        body = json.dumps({"calls": calls, "nanodollars": cost}).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


class Connection(asyncio.Protocol):
    """One connection: a request at a time, its answer as soon as the request is whole."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._transport = cast(asyncio.Transport, None)
        self._begun = b""  # of a request that does not say yet what it wants
        self._wanted: tuple[Shape, str] | None = None
        self._left: int | None = 0  # bytes of it still to come; None: it comes in chunks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._wanted is not None:
            if self._left is not None:
                self._left -= len(data)
        elif not self._find_wanted(self._begun + data if self._begun else data):
            return
        if self._left is None and not data.endswith(_END_OF_CHUNKS):
            return
        if self._left is None or self._left <= 0:
            self._serve()

    def _find_wanted(self, data: bytes) -> bool:
        """Whether what has come says what to answer."""
        body_at = data.find(b"\r\n\r\n") + 4
        if body_at == 3:
            self._begun = data
            return False
        if data.startswith(b"GET"):
            self._transport.write(self._provider.bill())
            return False
        length = _LENGTH.search(data, 0, body_at)
        left = None if length is None else body_at + int(length[1]) - len(data)
        found = WANTED.search(data, body_at)
        if found is None:
            self._begun = data
            if left is not None and left <= 0:
                self._transport.write(_UNKNOWN)
                self._transport.close()
            return False
        line_ends = data.find(b"\r\n")
        shape: Shape = "openai" if data.find(b"/chat/completions", 0, line_ends) > 0 else "anthropic"
        self._wanted, self._left, self._begun = (shape, found[1].decode()), left, b""
        return True

    def _serve(self) -> None:
        wanted = cast(tuple[Shape, str], self._wanted)
        self._wanted = None
        provider = self._provider
        provider.served[wanted] += 1
        self._write(provider.answers[wanted], 0, 0.0)

    def _write(self, answer: Answer, part: int, due: float) -> None:
        """Send the parts from this one on, each when it is due."""
        delay_ms = answer.parts[part][0]
        if delay_ms:
            due = (due or time.monotonic()) + delay_ms / 1000
            self._provider.timers.call_at(due, partial(self._write_due, answer, part, due))
        else:
            self._write_due(answer, part, due)

    def _write_due(self, answer: Answer, part: int, due: float) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(answer.parts[part][1])
        if part + 1 < len(answer.parts):
            self._write(answer, part + 1, due)


async def serve(port: int, tls_port: int = 0, certificate: str = "") -> None:
    """Serve until the process is ended."""
    loop, provider = asyncio.get_running_loop(), Provider(Timers())
    servers = [
        await loop.create_server(lambda: Connection(provider), HOST, port, backlog=BACKLOG_CONNECTIONS)
    ]
    if tls_port:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        servers.append(
            await loop.create_server(
                lambda: Connection(provider), HOST, tls_port, ssl=context, backlog=BACKLOG_CONNECTIONS
            )
        )
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Serve as the command line says."""
    port, *over_tls = sys.argv[1:]
    tls_port, certificate = over_tls or ("0", "")
    uvloop.run(serve(int(port), int(tls_port), certificate))


if __name__ == "__main__":
    main()
