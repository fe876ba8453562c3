"""The load, from one process on uvloop: a line in is a load to make, a line out what came of it.

    python -m bench.load

It shares its core with the upstream, so it does little: requests are bytes that are made once, and of an
answer it reads where it ends. It needs no program beside, and it counts: wrk breaks its last calls off, and
no bill could be held against those. Both together are the row `direct`: several times what a gateway does.
"""

import asyncio
import re
import ssl
import sys
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final, Literal, cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.answers import PATHS, Wanted, request_body

CONNECTIONS: Final = 64
CONNECTIONS_MAX: Final = 1024
OPENING_SECONDS: Final = 1.0
ANSWER_SECONDS_MAX: Final = 60.0  # for the last answers, once no more is asked
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_LAST_CHUNK_BYTES: Final = len(_LAST_CHUNK)
REFUSAL_BYTES_SHOWN: Final = 400
_GOOD: Final = b"HTTP/1.1 200"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to make.

    `saturate`: `count` connections, each always busy. `rate`: `count` calls a second, whatever comes back.
    `streams`: `count` at once, one call each, however long they take.
    """

    kind: Literal["saturate", "rate", "streams"] = "saturate"
    url: str
    ca_file: str = ""
    headers: Mapping[str, str] = {}
    wanted: Wanted = Wanted()
    request_bytes: int = 1_000
    seconds: float = 1.0
    count: int = CONNECTIONS

    @property
    def sent(self) -> bytes:
        """The whole request."""
        headers = {"accept-encoding": self.wanted.encoding, **self.headers}
        return request(self.url, headers, request_body(self.wanted, self.request_bytes), self.wanted)


class Made(msgspec.Struct):
    """What came of a load. Milliseconds are from sending a call to its last and to its body's first byte."""

    calls: int = 0
    broken: int = 0
    seconds: float = 0.0
    whole_p50_ms: float = 0.0
    whole_p99_ms: float = 0.0
    first_p50_ms: float = 0.0
    first_p99_ms: float = 0.0
    gap_p99_ms: float = 0.0
    gap_max_ms: float = 0.0
    refusal: str = ""


def body(*, is_streaming: bool) -> bytes:
    """A request of about two kilobytes, which the demo provider understands, too."""
    return request_body(Wanted(chunks=50 if is_streaming else 0), 2_000)


def request(url: str, headers: Mapping[str, str], sent: bytes, wanted: Wanted = Wanted()) -> bytes:  # noqa: B008 - frozen
    """The whole request as bytes."""
    own = (
        {"x-api-key": "bench", "anthropic-version": "2023-06-01"}
        if wanted.shape == "anthropic"
        else {"authorization": "Bearer bench"}
    )
    named = {
        "host": urlsplit(url).netloc,
        **own,
        "content-type": "application/json",
        "content-length": str(len(sent)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {PATHS[wanted.shape]} HTTP/1.1\r\n{head}\r\n".encode() + sent


class Caller(asyncio.Protocol):
    """A connection that carries one call at a time; `on_end` is told when it has ended, well or not."""

    def __init__(self, sent: bytes, on_end: "Callable[[Caller, bool], None]") -> None:
        self._sent = sent
        self._on_end = on_end
        self._transport = cast(asyncio.Transport, None)
        self._is_calling = False
        self._head = b""
        self._left: int | None = None  # bytes of the answer still to come, where it has a length
        self._tail: bytes | None = None  # the last ones that came, where it comes in chunks
        self.refusal = b""
        self.began = 0.0
        self.first_at = 0.0  # of the body
        self.last_at = 0.0
        self.longest_gap = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def call(self, began: float) -> None:
        """Send the request."""
        self.began, self.first_at, self.longest_gap = began, 0.0, 0.0
        self._is_calling = True
        if self._transport.is_closing():
            self._ended(is_whole=False)
        else:
            self._transport.write(self._sent)

    def close(self) -> None:
        """No more calls."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._left is not None:
            self._left -= len(data)
        elif self._tail is not None:
            self._tail = (self._tail + data[-_LAST_CHUNK_BYTES:])[-_LAST_CHUNK_BYTES:]
        elif not self._has_body_begun(data):
            return
        now = monotonic()
        if self.first_at:
            self.longest_gap = max(self.longest_gap, now - self.last_at)
        else:
            self.first_at = now
        self.last_at = now
        if self._tail == _LAST_CHUNK or (self._left is not None and self._left <= 0):
            self._ended(is_whole=True)

    def _has_body_begun(self, data: bytes) -> bool:
        data = self._head + data
        body_at = data.find(b"\r\n\r\n") + 4
        if body_at < 4:
            self._head = data
            return False
        if not data.startswith(_GOOD):
            self.refusal = data[:REFUSAL_BYTES_SHOWN]
            self._ended(is_whole=False)
            self._transport.abort()
            return False
        length = _LENGTH.search(data, 0, body_at)
        if length is None:
            self._tail = data[body_at:][-_LAST_CHUNK_BYTES:]
        else:
            self._left = body_at + int(length[1]) - len(data)
        return len(data) > body_at

    def _ended(self, *, is_whole: bool) -> None:
        self._is_calling, self._left, self._tail, self._head = False, None, None, b""
        self._on_end(self, is_whole)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        if self._is_calling:
            self._ended(is_whole=False)


class Maker:
    """Makes one load. Give what comes of it to a caller of `make`."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._sent = load.sent
        self._loop = asyncio.get_running_loop()
        self._made = Made()
        self._open = 0  # calls that have not ended
        self._is_over = False  # no more calls are begun
        self._ended = self._loop.create_future()
        self._idle: deque[Caller] = deque()
        self._callers: list[Caller] = []
        self._whole: list[float] = []
        self._first: list[float] = []
        self._gaps: list[float] = []
        parts = urlsplit(load.url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._tls = ssl.create_default_context(cafile=load.ca_file) if parts.scheme == "https" else None

    async def make(self) -> Made:
        """Make it, and wait for its last answer. Raises: TimeoutError, OSError."""
        began = monotonic()
        if self._load.kind == "saturate":
            await self._saturate()
            began = monotonic()
            self._loop.call_later(self._load.seconds, self._stop)
        elif self._load.kind == "rate":
            await self._keep_rate()
        else:
            await self._open_streams()
        async with asyncio.timeout(self._load.seconds + ANSWER_SECONDS_MAX):
            await self._ended
        self._made.seconds = monotonic() - began
        for caller in self._callers:
            caller.close()
        return self._told()

    async def _connected(self, on_end: Callable[[Caller, bool], None]) -> Caller:
        _, caller = await self._loop.create_connection(
            lambda: Caller(self._sent, on_end), self._host, self._port, ssl=self._tls
        )
        self._callers.append(caller)
        return caller

    async def _saturate(self) -> None:
        self._callers = [await self._connected(self._call_again) for _ in range(self._load.count)]
        self._open = len(self._callers)
        for caller in self._callers:
            caller.call(monotonic())

    def _call_again(self, caller: Caller, is_whole: bool) -> None:
        self._count(caller, is_whole=is_whole)
        if self._is_over or not is_whole:
            self._one_ended()
        else:
            caller.call(monotonic())

    async def _keep_rate(self) -> None:
        for _ in range(self._load.count // 5):  # enough for answers within 200 ms
            self._idle.append(await self._connected(self._back))
        calls = round(self._load.count * self._load.seconds)
        began = monotonic()
        for number in range(calls):
            await asyncio.sleep(began + number / self._load.count - monotonic())
            self._open += 1
            now = monotonic()
            if self._idle:
                self._idle.pop().call(now)
            elif len(self._callers) < CONNECTIONS_MAX:
                (await self._connected(self._back)).call(now)
            else:
                raise TimeoutError(f"{CONNECTIONS_MAX} calls wait for their answers")
        self._stop()

    def _back(self, caller: Caller, is_whole: bool) -> None:
        self._count(caller, is_whole=is_whole)
        self._whole.append(monotonic() - caller.began)
        self._first.append(caller.first_at - caller.began)
        if is_whole:
            self._idle.append(caller)
        self._one_ended()

    async def _open_streams(self) -> None:
        began = monotonic()
        for number in range(self._load.count):
            await asyncio.sleep(began + OPENING_SECONDS * number / self._load.count - monotonic())
            caller = await self._connected(self._stream_ended)
            self._open += 1
            caller.call(monotonic())
        self._stop()

    def _stream_ended(self, caller: Caller, is_whole: bool) -> None:
        self._count(caller, is_whole=is_whole)
        self._gaps.append(caller.longest_gap)
        self._one_ended()

    def _count(self, caller: Caller, *, is_whole: bool) -> None:
        if is_whole:
            self._made.calls += 1
        else:
            self._made.broken += 1
            self._made.refusal = self._made.refusal or caller.refusal.decode("latin-1")

    def _one_ended(self) -> None:
        self._open -= 1
        self._note_end()

    def _stop(self) -> None:
        self._is_over = True
        self._note_end()

    def _note_end(self) -> None:
        is_last = self._is_over or self._load.kind == "saturate"
        if is_last and not self._open and not self._ended.done():
            self._ended.set_result(None)

    def _told(self) -> Made:
        made = self._made
        made.whole_p50_ms, made.whole_p99_ms = _milliseconds(self._whole, 0.5, 0.99)
        made.first_p50_ms, made.first_p99_ms = _milliseconds(self._first, 0.5, 0.99)
        made.gap_p99_ms, made.gap_max_ms = _milliseconds(self._gaps, 0.99, 1.0)
        return made


def _milliseconds(seconds: list[float], *shares: float) -> list[float]:
    """The values below which these shares lie; 0 of nothing."""
    ordered = sorted(seconds) or [0.0]
    return [1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in shares]


async def _make(load: Load) -> Made:
    return await Maker(load).make()


def main() -> None:
    """Make each load that comes in; end with the input."""
    for line in sys.stdin.buffer:
        try:
            told = msgspec.json.encode(uvloop.run(_make(msgspec.json.decode(line, type=Load))))
        except (OSError, TimeoutError) as error:
            told = msgspec.json.encode(Made(refusal=f"{type(error).__name__}: {error}", broken=1))
        sys.stdout.buffer.write(told + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
