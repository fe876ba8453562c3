"""Whether the proxy's memory stays what it is, whatever passes: `python -m bench.memory [--calls 1000000]`.

The proxy runs as `python -m bench` measures it (embedded store, identity, a budget, journal). Each part is a
process of its own and prints what is resident as it goes on, how far that rose above the first lines, which
warm up, and the most there ever was. What is sent must come whole; a body that is read whole is held for its
call alone.
"""

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zlib import crc32

from bench import gateways, machine, session
from bench.flood import MEGABYTE, stream
from bench.gateways import Gateway, Upstream
from bench.load import Load
from demo.arguments import whole_number

LINES: Final = 20
WARM_LINES: Final = 2
LARGE_MEGABYTES: Final = 500
MEGABYTES_MAX: Final = 100_000
CALLS_MAX: Final = 1_000_000_000
LIMIT_MEGABYTES: Final = 32  # BODY_LIMIT_BYTES by default
LIMIT_CALLS: Final = 20
STEP_SECONDS: Final = 2.0
SETTLING_SECONDS: Final = 3.0  # what the last calls leave behind is stored by then
_PIECE: Final = bytes(range(256)) * 256

Series = Iterator[tuple[str, float]]


def calls(under: session.Session, gateway: Gateway, pid: int, count: int) -> Series:
    """So many whole answers of a kilobyte, as fast as they go."""
    load = Load(url=gateway.url, headers=gateway.headers, seconds=STEP_SECONDS)
    made = told = 0
    while made < count:
        done = under.make(load, gateway)
        if done.broken:
            sys.exit(f"bench.memory: {done.broken} calls broke: {done.refusal}")
        made += done.calls
        if made // (count // LINES) > told:
            told = made // (count // LINES)
            yield f"{made:>11,} calls", machine.resident_megabytes(pid)


def answer(gateway: Gateway, pid: int, megabytes: int) -> Series:
    """One streamed answer, read as fast as it comes. Raises: ValueError where it is not what was sent."""
    body = json.dumps({"model": "claude-sonnet-4-6", "max_tokens": 9, "stream": True, "messages": []})
    connection = _dialled(gateway)
    headers = {**gateway.headers, "x-flood-megabytes": str(megabytes), "x-api-key": "bench"}
    connection.request("POST", "/v1/messages", body, {**headers, "anthropic-version": "2023-06-01"})
    answered = connection.getresponse()
    came = checksum = 0
    next_line = step = megabytes * MEGABYTE // LINES
    while piece := answered.read(65536):
        came += len(piece)
        checksum = crc32(piece, checksum)
        if came >= next_line:
            next_line += step
            yield f"{came / MEGABYTE:>11,.0f} MB down", machine.resident_megabytes(pid)
    expected = 0
    for piece in stream(megabytes):
        expected = crc32(piece, expected)
    if checksum != expected:
        raise ValueError("the answer is not what was sent")


def upload(gateway: Gateway, pid: int, megabytes: int) -> Series:
    """One request that is passed on as it comes. Raises: ValueError where the upstream got something else."""
    lines: list[tuple[str, float]] = []
    checksum = 0

    def pieces() -> Iterator[bytes]:
        nonlocal checksum
        count = megabytes * MEGABYTE // len(_PIECE)
        for number in range(1, count + 1):
            checksum = crc32(_PIECE, checksum)
            yield _PIECE
            if number % (count // LINES) == 0:
                sent = number * len(_PIECE) / MEGABYTE
                lines.append((f"{sent:>11,.0f} MB up", machine.resident_megabytes(pid)))

    told = _posted(gateway, "/v1/files", pieces(), megabytes * MEGABYTE)
    if told != {"bytes": megabytes * MEGABYTE, "crc32": checksum}:
        raise ValueError("the upstream did not get what was sent")
    yield from lines


def bodies(gateway: Gateway, pid: int, megabytes: int, count: int) -> Series:
    """Calls whose body is as large as may be, which is read whole, one after the other."""
    call = {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    size = megabytes * MEGABYTE
    call["messages"] = [{"role": "user", "content": "x" * (size - len(json.dumps(call)) + 1)}]
    body = json.dumps(call).encode()
    for number in range(1, count + 1):
        if _posted(gateway, "/v1/messages", iter([body]), len(body))["bytes"] != len(body):
            raise ValueError("the upstream did not get what was sent")
        yield f"{number:>11,} x {megabytes} MB", machine.resident_megabytes(pid)


def _posted(gateway: Gateway, path: str, pieces: Iterator[bytes], size: int) -> Mapping[str, int]:
    connection = _dialled(gateway)
    headers = {**gateway.headers, "content-length": str(size), "authorization": "Bearer bench"}
    connection.request("POST", path, pieces, headers)
    told: Mapping[str, int] = json.loads(connection.getresponse().read())
    return told


def _dialled(gateway: Gateway) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=60)


def shown(title: str, series: Series, pid: int) -> None:
    """Print the series, and how far it rose above its first lines; then what it is once all is stored."""
    print(title, flush=True)
    resident: list[float] = []
    for label, megabytes in series:
        resident.append(megabytes)
        print(f"  {label:<22} {megabytes:>7.1f} MB", flush=True)
    time.sleep(SETTLING_SECONDS)
    warm = max(resident[:WARM_LINES])
    after = machine.resident_megabytes(pid)
    print(f"  {'and afterwards':<22} {after:>7.1f} MB")
    print(f"  {'at most, at any time':<22} {most_megabytes(pid):>7.1f} MB")
    print(
        f"  growth after warm-up: at most {max(resident) - warm:+.1f} MB, in the end {after - warm:+.1f} MB\n"
    )


def most_megabytes(pid: int) -> float:
    """The most that was ever resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(each.split()[1]) / 1024 for each in lines if each.startswith("VmHWM:"))


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--calls", type=whole_number(LINES, CALLS_MAX), default=1_000_000)
    parser.add_argument("--megabytes", type=whole_number(LINES, MEGABYTES_MAX), default=LARGE_MEGABYTES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as made, ExitStack() as stack:
        folder = Path(made)
        under = stack.enter_context(session.session(folder))
        gateway, pid = _started(stack, under.plain, folder / "calls")
        idle = machine.resident_megabytes(pid)
        print(f"idle: {idle:.1f} MB\n")
        shown(f"{options.calls:,} calls", calls(under, gateway, pid, options.calls), pid)
        parts: list[tuple[str, Callable[[Gateway, int], Series]]] = [
            ("one streamed answer", lambda gateway, pid: answer(gateway, pid, options.megabytes)),
            ("one upload that is passed on", lambda gateway, pid: upload(gateway, pid, options.megabytes)),
            (
                "bodies at the limit, each read whole",
                lambda gateway, pid: bodies(gateway, pid, LIMIT_MEGABYTES, LIMIT_CALLS),
            ),
        ]
        port = gateways.free_port()
        command = [sys.executable, "-m", "bench.flood", str(port)]
        start = lambda: gateways.pinned(command, gateways.LOAD_CORE)  # noqa: E731 - what `running` takes
        stack.enter_context(gateways.running(start, port))
        flooded = Upstream(f"http://{gateways.HOST}:{port}")
        for number, (title, series) in enumerate(parts):
            gateway, pid = _started(stack, flooded, folder / str(number))
            shown(title, series(gateway, pid), pid)


def _started(stack: ExitStack, to: Upstream, folder: Path) -> tuple[Gateway, int]:
    folder.mkdir()
    gateway = gateways.modeltrack(to, folder)
    return gateway, stack.enter_context(gateways.running(gateway.start, urlsplit(gateway.url).port or 0))


if __name__ == "__main__":
    main()
