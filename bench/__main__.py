"""Run every measurement on every gateway, by turns, and print figures and ratios."""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

from bench import gateways, load, machine
from bench.gateways import LOAD_CORE, Gateway, Missing

CONNECTIONS = 64
RATE = 200
UPSTREAM_MS = 50
STREAM_SECONDS = 10
STREAM_COUNT = 1_000
STARTS = 5

Figures = dict[str, float]
_BURST_BYTES = "6500"  # about fifty events
_PACED = {"x-demo-pace-ms": "100", "x-demo-size": "11500"}  # about a hundred events, ten seconds


def wrk(gateway: Gateway, seconds: int, headers: Mapping[str, str], *, is_streaming: bool) -> Figures:
    """Calls a second with every connection always busy. Raises: Missing."""
    program = shutil.which("wrk")
    if program is None:
        raise Missing("wrk is missing: install it (Debian: apt-get install wrk)")
    sent = load.body(is_streaming=is_streaming).decode()
    named = {
        "x-api-key": "bench",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        **gateway.headers,
        **headers,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.method = "POST"\nwrk.body = {json.dumps(sent)}\n')
        script.writelines(
            f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in named.items()
        )
        script.flush()
        command = [
            program,
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}",
            "-s",
            script.name,
            gateway.url + load.PATH,
        ]
        said = _on_load_core(command)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if refused:
        raise RuntimeError(f"{gateway.name} refused {refused[1]} calls:\n{said}")
    calls = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not (calls and rate):
        raise RuntimeError(f"wrk said nothing of use:\n{said}")
    return {"calls": float(calls[1]), "per_second": float(rate[1])}


def _on_load_core(command: list[str]) -> str:
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), *command], check=True, capture_output=True, text=True
    )
    return done.stdout


def _driven(kind: str, gateway: Gateway, headers: Mapping[str, str], *numbers: int) -> Figures:
    said = _on_load_core(
        [
            *(sys.executable, "-m", "bench.load", kind, gateway.url),
            *(json.dumps({**gateway.headers, **headers}), *map(str, numbers)),
        ]
    )
    figures: Figures = json.loads(said)
    return figures


def throughput(gateway: Gateway, pid: int, seconds: int) -> Figures:
    """Saturated: calls a second and CPU a call, whole answers."""
    return _saturated(gateway, pid, seconds, {}, is_streaming=False)


def bursts(gateway: Gateway, pid: int, seconds: int) -> Figures:
    """Saturated: streams of about fifty events, sent as fast as they go."""
    return _saturated(gateway, pid, seconds, {"x-demo-size": _BURST_BYTES}, is_streaming=True)


def _saturated(
    gateway: Gateway, pid: int, seconds: int, headers: Mapping[str, str], *, is_streaming: bool
) -> Figures:
    wrk(gateway, 1, headers, is_streaming=is_streaming)  # warm
    before = machine.cpu_seconds(pid) if pid else 0.0
    figures = wrk(gateway, seconds, headers, is_streaming=is_streaming)
    used = machine.cpu_seconds(pid) - before if pid else 0.0
    return {"calls/s": figures["per_second"], "CPU us/call": used / figures["calls"] * 1e6}


def latency(gateway: Gateway, pid: int, seconds: int) -> Figures:
    """At a steady rate against an upstream that takes its time."""
    figures = _driven("rate", gateway, {"x-demo-delay-ms": str(UPSTREAM_MS)}, RATE, 2 * seconds)
    return {"p50 ms": figures["p50_ms"], "p99 ms": figures["p99_ms"]}


def open_streams(gateway: Gateway, pid: int, seconds: int) -> Figures:
    """Many slow streams at once: how many come whole, the longest silence, memory and CPU meanwhile."""
    command = [
        *(sys.executable, "-m", "bench.load", "streams", gateway.url),
        *(json.dumps({**gateway.headers, **_PACED}), str(STREAM_COUNT)),
    ]
    before, began = machine.cpu_seconds(pid) if pid else 0.0, time.monotonic()
    driver = subprocess.Popen(["taskset", "-c", str(LOAD_CORE), *command], stdout=subprocess.PIPE, text=True)
    memory = 0.0
    while driver.poll() is None:
        time.sleep(0.5)
        memory = max(memory, machine.memory_megabytes(pid) if pid else 0.0)
    said: Figures = json.loads(driver.communicate()[0])
    used = machine.cpu_seconds(pid) - before if pid else 0.0
    return {
        "whole": said["whole"],
        "gap p99 ms": said["gap_p99_ms"],
        "memory MB": memory,
        "core": used / (time.monotonic() - began),
    }


def start_to_first_byte(gateway: Gateway) -> Figures:
    """From starting the program to the first byte of a proxied answer, the median of several starts."""
    if gateway.name == "direct":
        return {"start ms": 0.0}
    sent = load.request(gateway.url, dict(gateway.headers), load.body(is_streaming=False))
    port = urlsplit(gateway.url).port or 0
    taken = []
    for _ in range(STARTS):
        began = time.monotonic()
        with gateways.running(gateway.start, port):
            _first_byte(port, sent)
            taken.append((time.monotonic() - began) * 1000)
    return {"start ms": statistics.median(taken)}


def _first_byte(port: int, sent: bytes) -> None:
    with socket.create_connection((gateways.HOST, port), 10) as connection:
        connection.sendall(sent)
        if not connection.recv(12).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("the gateway did not answer the first call")


MEASUREMENTS: dict[str, Callable[[Gateway, int, int], Figures]] = {
    "whole answers, saturated": throughput,
    "streams of 50 events, saturated": bursts,
    f"{RATE} calls/s, upstream takes {UPSTREAM_MS} ms": latency,
    f"{STREAM_COUNT} open streams": open_streams,
}


Results = dict[str, dict[str, list[Figures]]]


def measure(compared: list[Gateway], upstream: str, rounds: int, seconds: int) -> Results:
    """`{measurement: {gateway: figures of each round}}`, gateways by turns within a round."""
    results: Results = {}
    for number in range(rounds):
        for gateway in compared:
            print(f"round {number + 1} of {rounds}: {gateway.name}", file=sys.stderr, flush=True)
            port = urlsplit(gateway.url).port or 0
            with audited(gateway, upstream), gateways.running(gateway.start, port) as pid:
                for name, measurement in MEASUREMENTS.items():
                    figures = measurement(gateway, pid, seconds)
                    results.setdefault(name, {}).setdefault(gateway.name, []).append(figures)
    for gateway in compared:
        started = start_to_first_byte(gateway)
        results.setdefault("process start to first proxied byte", {})[gateway.name] = [started]
    return results


@contextmanager
def audited(gateway: Gateway, upstream: str) -> Iterator[None]:
    """Say how what a round recorded compares with the demo provider's bill for it.

    Costs may differ a little: wrk breaks its last calls off, and those are estimated.
    """
    if gateway.metered is None:
        yield
        return
    billed_before, metered_before = _billed(upstream), gateway.metered()
    yield
    billed, metered = _billed(upstream), gateway.metered()
    calls, events = billed[0] - billed_before[0], metered[0] - metered_before[0]
    share = (metered[1] - metered_before[1]) / (billed[1] - billed_before[1])
    print(f"  {events} events for {calls} billed calls, {share:.4%} of their price", file=sys.stderr)


def _billed(upstream: str) -> tuple[int, int]:
    total = requests.get(f"{upstream}/demo/bill/total", timeout=10).json()
    return total["calls"], total["nanodollars"]


def table(results: Results) -> str:
    """The medians, and each gateway's distance from direct and from nginx."""
    lines = []
    for name, by_gateway in results.items():
        medians = {
            gateway: {label: statistics.median(each[label] for each in rounds) for label in rounds[0]}
            for gateway, rounds in by_gateway.items()
        }
        lines.append(f"\n{name}")
        lines += [f"  {gateway:<11}{_shown(figures)}" for gateway, figures in medians.items()]
        lines += [f"  {line}" for line in _ratios(medians)]
    return "\n".join(lines)


def _shown(figures: Figures) -> str:
    return "  ".join(f"{label} {value:>9.2f}" for label, value in figures.items())


def _ratios(medians: Mapping[str, Figures]) -> list[str]:
    ours, lines = medians["ModelTrack"], []
    for other in ("direct", "nginx"):
        theirs = medians[other]
        if "p50 ms" in ours:
            added = "  ".join(f"{label} {ours[label] - theirs[label]:+.2f}" for label in ours)
            lines.append(f"ModelTrack beside {other}: {added}")
        else:
            shares = [f"{label} x{ours[label] / theirs[label]:.2f}" for label in ours if theirs[label]]
            lines += [f"ModelTrack beside {other}: {'  '.join(shares)}"] if shares else []
    return lines


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=4, help="of each saturated measurement")
    options = parser.parse_args()
    if (os.cpu_count() or 1) <= LOAD_CORE:
        sys.exit("make bench needs two cores: one for the gateway, one for the load")
    port = gateways.free_port()
    upstream = f"http://{gateways.HOST}:{port}"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            compared = [
                gateways.direct(upstream),
                gateways.nginx(upstream, Path(folder)),
                gateways.modeltrack(upstream, Path(folder)),
            ]
            with gateways.running(gateways.provider(port), port):
                print(table(measure(compared, upstream, options.rounds, options.seconds)))
        except Missing as missing:
            sys.exit(f"make bench: {missing}")


if __name__ == "__main__":
    main()
