"""How long each image takes from nothing to its first answer: `python -m bench.cold_start`, and its size.

The images are made and run as the tests do it (`tests.images`), without an engine: from exactly their files,
as their user, read-only. So fetching the image, the sandbox around it and a cold disk are not in the figures;
what entering the cell takes is in all of them, and printed by itself. Each figure is the median of several
starts. Nothing passes or fails.
"""

import argparse
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from bench import gateways, load
from demo.emulator import EmulatorMissing, running_emulator
from tests.images.base import found_base
from tests.images.replay import ROOT, Image, replayed

STARTS: Final = 5
ANSWER_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 15.0
_POLL_SECONDS: Final = 0.002
_USER: Final = 10001
_FUNCTION: Final = ("python", "-m", "functions_framework", "--source", "api_service/functions/main.py")

HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
RUN: Final = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


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
    parser.add_argument("--starts", type=int, default=STARTS)
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
            measure(images, emulator, options.starts)
    except EmulatorMissing as missing:
        print(f"on Firestore not measured: {missing}")
    finally:
        shutil.rmtree(folder)


def measure(images: Mapping[str, Image], emulator: str, starts: int) -> None:
    """Print the seconds of each service on each store."""
    port = gateways.free_port()
    with gateways.running(gateways.provider(port), port):
        for start in _starts(images, emulator, f"http://{gateways.HOST}:{port}"):
            taken = [_seconds(start) for _ in range(starts)]
            for number, (what, _) in enumerate(start.asked):
                median = statistics.median(each[number] for each in taken)
                print(f"{f'{start.name}: {what}':<42}{median:.2f} s", flush=True)


def _starts(images: Mapping[str, Image], emulator: str, upstream: str) -> list[Start]:
    on_firestore = {
        "STORE_URL": f"firestore://demo-{uuid4().hex[:20]}",
        "FIRESTORE_EMULATOR_HOST": emulator,
        "MODELTRACK_SECRET": secrets.token_hex(32),
        "JOURNAL": "stdout",
        "LOG_LEVEL": "error",
    }
    called = load.request("http://127.0.0.1:80", {}, load.body(is_streaming=False))
    of_proxy = (("first health answer", HEALTH), ("first proxied byte", called))
    to_provider = {"ANTHROPIC_BASE_URL": upstream, "LOG_LEVEL": "error"}
    of_api = (("first health answer", HEALTH), ("first readiness", HEALTH.replace(b"/health", b"/readyz")))
    return [
        Start("proxy, sqlite", images["proxy"], to_provider, "PROXY_PORT", asked=of_proxy, needs_volume=True),
        Start("proxy, firestore", images["proxy"], on_firestore | to_provider, "PROXY_PORT", asked=of_proxy),
        Start("api, sqlite", images["api"], {"LOG_LEVEL": "error"}, asked=of_api, needs_volume=True),
        Start("api, firestore", images["api"], {**on_firestore, "API_JOBS": "false"}, asked=of_api),
        Start(
            "function reap, firestore", images["api"], on_firestore,
            command=(*_FUNCTION, "--target", "reap"), asked=(("first run done", RUN),),
        ),
    ]  # fmt: skip


def _seconds(start: Start) -> Sequence[float]:
    """From starting the program to the first byte of each answer."""
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
        process = subprocess.Popen(line, stdin=nowhere, stdout=nowhere, stderr=nowhere)
        try:
            return [_first_byte_at(port, sent, process) - began for _, sent in start.asked]
        finally:
            process.terminate()
            process.wait(STOP_SECONDS_MAX)


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
