"""A thousand streams open at once, a piece each 100 ms: each comes whole, and is the one asked for."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
import uvloop

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.clock import SystemClock
from metering.opening import open_store
from metering.stats import Statistics, UsageQuery
from tests.system.processes import Process, free_port

STREAMS = 1000
PIECES = 20
PACE_SECONDS = 0.1
PIECE_BYTES_MAX = 2000
PATIENCE_SECONDS = 90.0
CALL = b'{"model":"claude-sonnet-4-5","max_tokens":9,"stream":true,"messages":[]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def pieces_of(number: int) -> Iterator[bytes]:
    """What that stream sends, and no other: events of all sizes, cut anywhere."""
    chance = random.Random(number)  # noqa: S311 - to be repeated
    for at in range(PIECES):
        text = chance.randbytes(chance.randrange(1, PIECE_BYTES_MAX // 2)).hex().encode()
        yield b"data: %d %d %b\n\n" % (number, at, text) if at % 2 else text


class Sending(asyncio.Protocol):
    """The upstream's end: sends the stream that the request's `X-Stream` names."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(CALL):
            number = int(self.received.lower().partition(b"\r\nx-stream: ")[2].partition(b"\r\n")[0])
            self.received = b""
            self.transport.write(HEAD)
            self.send(pieces_of(number))

    def send(self, pieces: Iterator[bytes]) -> None:
        piece = next(pieces, b"")
        self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if piece:
            asyncio.get_running_loop().call_later(PACE_SECONDS, self.send, pieces)


async def read_stream(port: int, number: int) -> bytes:
    """The whole body of that stream. Raises: asyncio.IncompleteReadError where it is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nX-Api-Key: k\r\nX-Stream: %d\r\nContent-Length: %d\r\n\r\n"
    )
    writer.write(head % (number, len(CALL)) + CALL)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    assert await reader.readexactly(2) == b"\r\n"
    writer.close()
    return body


async def read_all(port: int) -> list[bytes]:
    """Every stream, all open at the same time."""

    async def one(number: int) -> bytes:
        await asyncio.sleep(number / STREAMS)
        return await read_stream(port, number)

    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.gather(*map(one, range(STREAMS)))


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    """Its port."""
    server = await asyncio.get_running_loop().create_server(Sending, "127.0.0.1", 0, backlog=STREAMS)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.battery("P3")
def test_a_thousand_open_streams_come_whole_and_each_is_its_own(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "PROXY_PORT": str(port),
        "DATA_DIR": str(tmp_path),
        "STORE_URL": f"sqlite:///{tmp_path}/modeltrack.db",
        "LOG_LEVEL": "warn",
    }

    async def streams() -> list[bytes]:
        async with upstream() as upstream_port:
            settings["ANTHROPIC_BASE_URL"] = f"http://127.0.0.1:{upstream_port}"
            proxy = await asyncio.to_thread(start, settings, tmp_path / "log")
            try:
                return await read_all(port)
            finally:
                await asyncio.to_thread(proxy.stop)

    bodies = uvloop.run(streams())

    assert bodies == [b"".join(pieces_of(number)) for number in range(STREAMS)]
    assert recorded(settings["STORE_URL"]) == STREAMS


def start(settings: dict[str, str], log: Path) -> Process:
    return Process("proxy_service", port=int(settings["PROXY_PORT"]), log=log, settings=settings)


def recorded(store_url: str) -> int:
    """How many calls have an event."""
    now = SystemClock().now()
    query = UsageQuery(start=now - timedelta(days=1), end=now + timedelta(hours=1))
    store = open_store(store_url)
    try:
        return Statistics(store).usage(LOCAL_ACCOUNT_ID, query).sums["requests"]
    finally:
        store.close()
