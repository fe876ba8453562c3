"""How long each image takes to its first answer, and what memory it holds: `python -m bench.cold_start`.

The images are made and run as the tests do it (`tests.images`), without an engine: from exactly their files,
as their user, read-only. So fetching the image, the sandbox around it and a cold disk are not in the figures;
what entering the cell takes is in all of them, and printed by itself. A first proxied byte is that of a call
which is identified, admitted, journalled and answered: once by nothing, as on a machine of one's own, once by
an account's key and under its budget. Each is asked for on all cores, and with one for the service. Beside
the time on the clock stands the processor's, which a busy machine changes less. Each figure is the median of
several starts. Memory is what stays resident, and the process's share of it (PSS): idle, once its store is
open, and after a first call. Nothing passes or fails.
"""

import argparse
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from bench import gateways, load, machine
from demo.arguments import whole_number
from demo.emulator import EmulatorMissing, running_emulator
from metering.budgets import Budget
from metering.clock import SystemClock
from metering.directory import Directory, KeyTerms
from metering.opening import open_store
from metering.rulebook import Rulebook
from tests.images.base import found_base
from tests.images.replay import ROOT, Image, replayed

STARTS: Final = 5
STARTS_MAX: Final = 1_000
ANSWER_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 15.0
IDLE_SECONDS: Final = 7.0  # the store is opened five seconds after a start, at the latest
ONE_CORE: Final = ("taskset", "-c", str(gateways.GATEWAY_CORE))
LIMIT_NANODOLLARS: Final = 1_000_000_000_000
_POLL_SECONDS: Final = 0.002
_USER: Final = 10001
_FUNCTION: Final = ("python", "-m", "functions_framework", "--source", "api_service/functions/main.py")

HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
RUN: Final = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Answered(NamedTuple):
    """When an answer began, from the start of its process, and what processor time that had had by then."""

    seconds: float
    processor_seconds: float


class Start(NamedTuple):
    """What is started, and what it is asked then: each request is timed from the start to its first byte."""

    name: str
    image: Image
    settings: Mapping[str, str]
    port_name: str = "PORT"
    command: tuple[str, ...] = ()
    asked: tuple[tuple[str, bytes], ...] = (("first health answer", HEALTH),)
    needs_volume: bool = False


def main() -> None:
    """Make the images, measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__)
    parser.add_argument("--starts", type=whole_number(1, STARTS_MAX), default=STARTS)
    parser.add_argument("--only", default="", help="starts whose name has this, for example 'proxy'")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cold-start-"))
    folder.chmod(0o755)
    try:
        base = found_base()
        images = {
            name: replayed(ROOT / f"{name}_service/Dockerfile", folder / name, base)
            for name in ("proxy", "api")
        }
        for name, image in images.items():
            print(f"{name}: {image.megabytes:.0f} MB beside its base, not compressed")
        image = images["proxy"]
        print(f"Python {'.'.join(map(str, base.version))}, {image.cell.confinement}")
        print(f"{'entering the cell':<42}{_cell_seconds(image, options.starts):.2f} s")
        with running_emulator() as emulator:
            measure(images, emulator, options.starts, options.only)
    except EmulatorMissing as missing:
        print(f"on Firestore not measured: {missing}")
    finally:
        shutil.rmtree(folder)


def measure(images: Mapping[str, Image], emulator: str, starts: int, only: str) -> None:
    """Print the seconds of each service on each store, and the memory of the proxy."""
    port = gateways.free_port()
    with gateways.running(gateways.provider(port), port):
        found = _starts(images, emulator, f"http://{gateways.HOST}:{port}")
        chosen = [start for start in found if only in start.name]
        if not chosen:
            names = ", ".join(sorted({start.name for start in found}))
            sys.exit(f"bench.cold_start: no start's name has {only!r}; they are {names}")
        for start in chosen:
            for cores, pinned in (("", ()), (", one core", ONE_CORE)):
                _print_start(f"{start.name}{cores}", start, [_answered(start, pinned) for _ in range(starts)])
            if start.image is images["proxy"]:
                for when, (resident, share) in _memory(start).items():
                    print(
                        f"{f'{start.name}: {when}':<64}{resident:.0f} MB resident, {share:.0f} MB its share"
                    )


def _print_start(name: str, start: Start, taken: Sequence[Sequence[Answered]]) -> None:
    for number, (what, _) in enumerate(start.asked):
        seconds = statistics.median(each[number].seconds for each in taken)
        processor = statistics.median(each[number].processor_seconds for each in taken)
        print(f"{f'{name}: {what}':<64}{seconds:.2f} s, {processor:.2f} s of the processor", flush=True)


def _starts(images: Mapping[str, Image], emulator: str, upstream: str) -> list[Start]:
    on_firestore = {
        "STORE_URL": f"firestore://demo-{uuid4().hex[:20]}",
        "FIRESTORE_EMULATOR_HOST": emulator,
        "MODELTRACK_SECRET": secrets.token_hex(32),
        "JOURNAL": "stdout",
        "LOG_LEVEL": "error",
    }
    body = load.body(is_streaming=False)
    called = load.request("http://127.0.0.1:80", {}, body)
    keyed = load.request("http://127.0.0.1:80", {"x-modeltrack-key": _key(emulator, on_firestore)}, body)
    of_proxy = (("first health answer", HEALTH), ("first proxied byte", called))
    of_key = (("first health answer", HEALTH), ("first proxied byte", keyed))
    to_provider = {"ANTHROPIC_BASE_URL": upstream, "LOG_LEVEL": "error"}
    with_both = on_firestore | to_provider
    of_api = (("first health answer", HEALTH), ("first readiness", HEALTH.replace(b"/health", b"/readyz")))
    return [
        Start("proxy, sqlite", images["proxy"], to_provider, "PROXY_PORT", asked=of_proxy, needs_volume=True),
        Start("proxy, firestore", images["proxy"], with_both, "PROXY_PORT", asked=of_proxy),
        Start("proxy, firestore, key", images["proxy"], with_both, "PROXY_PORT", asked=of_key),
        Start("api, sqlite", images["api"], {"LOG_LEVEL": "error"}, asked=of_api, needs_volume=True),
        Start("api, firestore", images["api"], {**on_firestore, "API_JOBS": "false"}, asked=of_api),
        Start(
            "function reap, firestore", images["api"], on_firestore,
            command=(*_FUNCTION, "--target", "reap"), asked=(("first run done", RUN),),
        ),
    ]  # fmt: skip


def _key(emulator: str, settings: Mapping[str, str]) -> str:
    """A key of an account that has a budget."""
    os.environ["FIRESTORE_EMULATOR_HOST"] = emulator
    store, clock = open_store(settings["STORE_URL"]), SystemClock()
    directory = Directory(store, clock, settings["MODELTRACK_SECRET"].encode())
    account_id = directory.create_account("bench").account_id
    budget = Budget(budget_id="", name="bench", limit_nanodollars=LIMIT_NANODOLLARS)
    Rulebook(store, directory, clock).create_budget(account_id, budget)
    return directory.create_key(account_id, KeyTerms())[0]


@contextmanager
def _running(
    start: Start, pinned: Sequence[str] = ()
) -> Iterator[tuple["subprocess.Popen[bytes]", int, float]]:
    """The process, its port, and when it was started."""
    port = gateways.free_port()
    with tempfile.TemporaryDirectory(prefix="volume-") as volume:
        if os.geteuid() == 0:
            os.chown(volume, _USER, _USER)
        line = start.image.command(
            *start.command,
            settings={**start.settings, start.port_name: str(port)},
            writable={"/data": Path(volume)} if start.needs_volume else {},
        )
        began = time.monotonic()
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen([*pinned, *line], stdin=nowhere, stdout=nowhere, stderr=nowhere)
        try:
            yield process, port, began
        finally:
            process.terminate()
            process.wait(STOP_SECONDS_MAX)


def _answered(start: Start, pinned: Sequence[str]) -> Sequence[Answered]:
    """When each answer began."""
    with _running(start, pinned) as (process, port, began):
        return [
            Answered(_first_byte_at(port, sent, process) - began, _processor_seconds(process.pid))
            for _, sent in start.asked
        ]


def _memory(start: Start) -> dict[str, tuple[float, float]]:
    """Megabytes resident, and the process's share of them: idle, and after a first call."""
    with _running(start) as (process, port, _):
        taken = {}
        for when, (_, sent) in zip(("idle", "after a first call"), start.asked, strict=True):
            _first_byte_at(port, sent, process)
            time.sleep(IDLE_SECONDS)
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
            named = (line.partition(":")[::2] for line in lines)
            of = {name: int(rest.split()[0]) / 1000 for name, rest in named}
            taken[when] = (of["Rss"], of["Pss"])
        return taken


def _processor_seconds(pid: int) -> float:
    """What all threads of the process and of those it started have run."""
    tasks = [task for each in machine.tree(pid) for task in Path(f"/proc/{each}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _first_byte_at(port: int, sent: bytes, process: "subprocess.Popen[bytes]") -> float:
    """The moment of the first byte of a good answer. Raises: TimeoutError, ChildProcessError."""
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ChildProcessError(f"it ended with {process.returncode}")
        try:
            with socket.create_connection((gateways.HOST, port), ANSWER_SECONDS_MAX) as connection:
                connection.sendall(sent)
                if connection.recv(12).startswith(b"HTTP/1.1 200"):
                    return time.monotonic()
        except OSError:
            pass  # it does not listen yet
        time.sleep(_POLL_SECONDS)
    raise TimeoutError("no good answer came")


def _cell_seconds(image: Image, starts: int) -> float:
    taken = []
    for _ in range(starts):
        began = time.monotonic()
        subprocess.run(image.command("true"), check=True)
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
