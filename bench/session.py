"""Gateways that run side by side, and the load that goes through them by turns."""

import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import urlopen

import msgspec
import trustme

from bench import gateways, machine
from bench.gateways import Gateway, Upstream
from bench.load import REFUSAL_BYTES_SHOWN, Load, Made
from bench.rows import RATE, STREAMS, Row

Figures = dict[str, float]

WARM_SECONDS: Final = 0.3
QUIET_SECONDS: Final = 0.1
QUIET_SECONDS_MAX: Final = 5.0
MEANWHILE_SECONDS: Final = 0.5
STARTS: Final = 5
_TICK_SECONDS: Final = 0.011  # a clock tick, and rounding


class Served(msgspec.Struct):
    """What the upstream served to one gateway's callers."""

    calls: int = 0
    nanodollars: int = 0


class Session:
    """An upstream, plain and over TLS, and a driver of loads, both on the load's core."""

    def __init__(self, driver: "subprocess.Popen[bytes]", plain: Upstream, over_tls: Upstream) -> None:
        self.plain = plain
        self.over_tls = over_tls
        self.served: dict[str, Served] = {}  # by the gateway's URL
        self._driver = driver

    def make(self, load: Load, gateway: Gateway, meanwhile: Callable[[], None] = lambda: None) -> Made:
        """Make a load through the gateway, and keep account of what was served meanwhile.

        `meanwhile` is called each `MEANWHILE_SECONDS` until it is made.
        """
        assert self._driver.stdin  # noqa: S101 - opened with pipes
        assert self._driver.stdout  # noqa: S101
        with self.accounted(gateway):
            self._driver.stdin.write(msgspec.json.encode(load) + b"\n")
            self._driver.stdin.flush()
            while not select.select([self._driver.stdout], [], [], MEANWHILE_SECONDS)[0]:
                meanwhile()
            return msgspec.json.decode(self._driver.stdout.readline(), type=Made)

    @contextmanager
    def accounted(self, gateway: Gateway) -> Iterator[None]:
        """What is served meanwhile was served to this gateway's callers."""
        before = self._bill()
        yield
        after = self._bill()
        served = self.served.setdefault(gateway.url, Served())
        served.calls += after.calls - before.calls
        served.nanodollars += after.nanodollars - before.nanodollars

    def _bill(self) -> Served:
        with urlopen(f"{self.plain.url}/served", timeout=10) as answer:  # noqa: S310 - our own upstream
            return msgspec.json.decode(answer.read(), type=Served)


@contextmanager
def session(folder: Path) -> Iterator[Session]:
    """Start upstream and driver; end them."""
    port, tls_port = gateways.free_port(), gateways.free_port()
    authority, certificate = _certificate(folder)
    plain = Upstream(f"http://{gateways.HOST}:{port}")
    over_tls = Upstream(f"https://{gateways.HOST}:{tls_port}", str(authority))
    command = ["taskset", "-c", str(gateways.LOAD_CORE), sys.executable, "-m", "bench.load"]
    with (
        gateways.running(gateways.upstream(port, tls_port, certificate), port),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver,
    ):
        gateways.wait_for_port(tls_port)
        yield Session(driver, plain, over_tls)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """An authority of this run alone, and what it signed: certificate and key of the upstream."""
    authority = trustme.CA()
    authority_file, certificate_file = folder / "authority.pem", folder / "upstream.pem"
    authority.cert_pem.write_to_path(str(authority_file))
    authority.issue_cert("localhost", gateways.HOST).private_key_and_cert_chain_pem.write_to_path(
        str(certificate_file)
    )
    return authority_file, certificate_file


def load_of(row: Row, gateway: Gateway, seconds: float) -> Load:
    """A row's load through one gateway."""
    counts = {"rate": RATE, "streams": STREAMS}
    load = Load(
        kind=row.kind,
        url=gateway.url,
        ca_file=gateway.ca_file,
        headers=gateway.headers,
        wanted=row.wanted,
        request_bytes=row.request_bytes,
        seconds=seconds,
    )
    return load if row.kind == "saturate" else msgspec.structs.replace(load, count=counts[row.kind])


def measure(under: Session, row: Row, gateway: Gateway, pid: int, seconds: float) -> Figures:
    """One row through one gateway, once. What the gateway does after its last answer counts as well."""
    load = load_of(row, gateway, seconds)
    if row.kind == "saturate":
        under.make(msgspec.structs.replace(load, seconds=WARM_SECONDS), gateway)
    memory: list[float] = [0.0]
    began, busy = time.monotonic(), machine.busy_seconds(gateways.GATEWAY_CORE)
    before = machine.cpu_seconds(pid) if pid else 0.0
    made = under.make(load, gateway, lambda: memory.append(machine.resident_megabytes(pid) if pid else 0.0))
    if pid:
        wait_until_quiet(pid)
    used = machine.cpu_seconds(pid) - before if pid else 0.0
    if made.broken:
        print(f"  {gateway.name}, {row.name}: {made.broken} broken {made.refusal!r}", file=sys.stderr)
    others = machine.busy_seconds(gateways.GATEWAY_CORE) - busy - used
    figures = _figures(row, made, used, max(memory))
    return figures | {"broken": float(made.broken), "others": max(0.0, others) / (time.monotonic() - began)}


def _figures(row: Row, made: Made, cpu_seconds: float, megabytes: float) -> Figures:
    if row.kind == "rate":
        return {
            "whole p50": made.whole_p50_ms,
            "whole p99": made.whole_p99_ms,
            "first p50": made.first_p50_ms,
            "first p99": made.first_p99_ms,
        }
    if row.kind == "streams":
        return {
            "whole": float(made.calls),
            "gap p99": made.gap_p99_ms,
            "gap max": made.gap_max_ms,
            "resident": megabytes,
            "core": cpu_seconds / made.seconds,
        }
    return {"cpu": cpu_seconds / max(1, made.calls) * 1e6, "rate": made.calls / made.seconds}


def wait_until_quiet(pid: int) -> None:
    """Return when the gateway does nothing any more, or has gone on for too long."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    used = machine.cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(QUIET_SECONDS)
        before, used = used, machine.cpu_seconds(pid)
        if used - before < _TICK_SECONDS:
            return


def start_to_first_byte_ms(gateway: Gateway) -> float:
    """From starting the program to the first byte of a proxied answer, the median of several starts."""
    port = urlsplit(gateway.url).port or 0
    taken = []
    for _ in range(STARTS):
        began = time.monotonic()
        with gateways.running(gateway.start, port):
            first_byte(gateway)
            taken.append((time.monotonic() - began) * 1000)
    return statistics.median(taken)


def first_byte(gateway: Gateway) -> None:
    """Make one call, and wait for its answer to begin. Raises: ChildProcessError for a bad one."""
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), 10) as connection:
        connection.sendall(Load(url=gateway.url, headers=gateway.headers).sent)
        said = connection.recv(REFUSAL_BYTES_SHOWN)
    if not said.startswith(b"HTTP/1.1 200"):
        raise ChildProcessError(f"the first call was answered with {said!r}")
