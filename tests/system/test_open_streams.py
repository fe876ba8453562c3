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
from tests.system.processes import Process, eventually, free_port

STREAMS = 1000
PIECES = 20
PACE_SECONDS = 0.1
PIECE_BYTES_MAX = 2000
PATIENCE_SECONDS = 90.0  # of a machine that has much else to do; three on a quiet one
STORED_SECONDS = 60.0
TEST_SECONDS = 240
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

    def __init__(self, open_now: set[asyncio.Transport]) -> None:
        self.open_now = open_now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.open_now.add(self.transport)
        self.received = b""

    def connection_lost(self, error: Exception | None) -> None:
        self.open_now.discard(self.transport)

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
    try:
        writer.write(head % (number, len(CALL)) + CALL)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        assert await reader.readexactly(2) == b"\r\n"
    finally:
        writer.close()
    return body


async def read_all(port: int) -> list[bytes]:
    """Every stream, all open at the same time."""

    async def one(number: int) -> bytes:
        await asyncio.sleep(number / STREAMS)
        return await read_stream(port, number)

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as together:  # one fails: all end
        reading = [together.create_task(one(number)) for number in range(STREAMS)]
    return [each.result() for each in reading]


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    """Its port."""
    open_now: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Sending(open_now), "127.0.0.1", 0, backlog=STREAMS) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            for transport in tuple(open_now):
                transport.abort()


@pytest.mark.battery("P3")
@pytest.mark.timeout(TEST_SECONDS)
def test_a_thousand_open_streams_come_whole_and_each_is_its_own(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "PROXY_PORT": str(port),
        "DATA_DIR": str(tmp_path),
        "STORE_URL": f"sqlite:///{tmp_path}/modeltrack.db",
        "LOG_LEVEL": "warn",
        "UPSTREAM_CONNECT_TIMEOUT_SECONDS": str(PATIENCE_SECONDS),  # a stall is no cause
    }

    async def streams() -> list[bytes]:
        async with upstream() as upstream_port:
            settings["ANTHROPIC_BASE_URL"] = f"http://127.0.0.1:{upstream_port}"
            proxy = await asyncio.to_thread(start, settings, tmp_path / "log")
            try:
                bodies = await read_all(port)
                await asyncio.to_thread(wait_for_events, settings["STORE_URL"])
                return bodies
            finally:
                await asyncio.to_thread(proxy.stop)

    bodies = uvloop.run(streams())

    assert bodies == [b"".join(pieces_of(number)) for number in range(STREAMS)]
    assert recorded(settings["STORE_URL"]) == STREAMS


def start(settings: dict[str, str], log: Path) -> Process:
    return Process("proxy_service", port=int(settings["PROXY_PORT"]), log=log, settings=settings)


def wait_for_events(store_url: str) -> None:
    """Return once every call has one: a proxy that is stopped leaves to its journal what takes too long."""
    eventually(lambda: recorded(store_url) >= STREAMS, seconds=STORED_SECONDS, what="every event")


def recorded(store_url: str) -> int:
    """How many calls have an event."""
    now = SystemClock().now()
    query = UsageQuery(start=now - timedelta(days=1), end=now + timedelta(hours=1))
    store = open_store(store_url)
    try:
        return Statistics(store).usage(LOCAL_ACCOUNT_ID, query).sums["requests"]
    finally:
        store.close()
