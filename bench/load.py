"""The load that wrk cannot make: a steady rate of calls, and many slow streams at once.

    python -m bench.load rate    URL HEADERS PER_SECOND SECONDS
    python -m bench.load streams URL HEADERS COUNT

HEADERS is a JSON object. Prints one JSON object. Latency counts from the moment a call was due, so that a
gateway that stalls cannot hide the calls that had to wait.
"""

import asyncio
import json
import sys
import time
from collections import deque
from urllib.parse import urlsplit

import uvloop

PATH = "/v1/messages"
CONNECTIONS_MAX = 256
OPENING_SECONDS = 1.0
_PROMPT = "How much does it cost to ask what it costs? " * 40
_END_OF_STREAM = b"0\r\n\r\n"


def body(*, is_streaming: bool) -> bytes:
    """A request of about two kilobytes, as agents send them."""
    return json.dumps(
        {
            "model": "claude-sonnet-4-6",
            "max_tokens": 400,
            "stream": is_streaming,
            "messages": [{"role": "user", "content": _PROMPT}],
        }
    ).encode()


def request(url: str, headers: dict[str, str], sent: bytes) -> bytes:
    """The whole request as bytes."""
    named = {
        "host": urlsplit(url).netloc,
        "x-api-key": "bench",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "content-length": str(len(sent)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + sent


class Pool:
    """Kept-alive connections to one address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)

    async def call(self, sent: bytes) -> None:
        """Send a request and read its answer, which has a Content-Length."""
        async with self._room:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the gateway answered {head[:200]!r}")
            self._idle.append((reader, writer))


def _share(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


async def rate(url: str, headers: dict[str, str], per_second: int, seconds: int) -> dict[str, float]:
    """Latency in milliseconds at a steady rate."""
    pool, sent = Pool(url), request(url, headers, body(is_streaming=False))
    latencies: list[float] = []

    async def one(due: float) -> None:
        await pool.call(sent)
        latencies.append((time.monotonic() - due) * 1000)

    await asyncio.gather(*(pool.call(sent) for _ in range(per_second // 5)))  # open connections first
    began = time.monotonic()
    async with asyncio.TaskGroup() as calls:
        for number in range(per_second * seconds):
            due = began + number / per_second
            await asyncio.sleep(due - time.monotonic())
            calls.create_task(one(due))
    latencies.sort()
    return {"calls": len(latencies), "p50_ms": _share(latencies, 0.5), "p99_ms": _share(latencies, 0.99)}


async def streams(url: str, headers: dict[str, str], count: int) -> dict[str, float]:
    """Many streams at once: how many came whole, and the longest silence within one."""
    parts = urlsplit(url)
    sent = request(url, {"connection": "close", **headers}, body(is_streaming=True))
    gaps: list[float] = []
    whole = 0

    async def one(number: int) -> None:
        nonlocal whole
        await asyncio.sleep(OPENING_SECONDS * number / count)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(sent)
        await reader.readuntil(b"\r\n\r\n")
        last, longest, ending = time.monotonic(), 0.0, b""
        while data := await reader.read(65536):
            now = time.monotonic()
            last, longest = now, max(longest, now - last)
            ending = (ending + data)[-len(_END_OF_STREAM) :]
        writer.close()
        whole += ending == _END_OF_STREAM
        gaps.append(longest * 1000)

    await asyncio.gather(*(one(number) for number in range(count)))
    gaps.sort()
    return {"whole": whole, "gap_p99_ms": _share(gaps, 0.99)}


def main() -> None:
    """Make the load that the command line asks for."""
    kind, url, headers, *numbers = sys.argv[1:]
    if kind == "rate":
        per_second, seconds = map(int, numbers)
        made = rate(url, json.loads(headers), per_second, seconds)
    else:
        made = streams(url, json.loads(headers), int(numbers[0]))
    print(json.dumps(uvloop.run(made)))


if __name__ == "__main__":
    main()
