"""Run every row through every gateway, by turns, and print medians, ratios and what the project asks."""

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from bench import gateways, peers, report, session
from bench.comparison import PEERS, Comparison, Make, Plan, say
from bench.gateways import (
    DIRECT,
    FIRESTORE,
    LITELLM,
    LOAD_CORE,
    NGINX,
    PIPED,
    PORTKEY,
    SQLITE,
    UNGOVERNED,
)
from bench.rows import IDLE, ROWS, START, chosen
from demo.arguments import number, whole_number
from demo.emulator import EmulatorMissing, running_emulator

ROUNDS: Final = 3
SECONDS: Final = 1.5
ROUNDS_MAX: Final = 100
SECONDS_RANGE: Final = (0.1, 600.0)
NAMES: Final = {  # as the command line has them
    "direct": DIRECT,
    "nginx": NGINX,
    "off": UNGOVERNED,
    "sqlite": SQLITE,
    "piped": PIPED,
    "firestore": FIRESTORE,
    "portkey": PORTKEY,
    "litellm": LITELLM,
}


def main() -> None:
    """Measure, and print."""
    told = options()
    plan = planned(told)
    if (os.cpu_count() or 1) <= LOAD_CORE:
        sys.exit("make bench needs two cores: one for the gateway, one for the load")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what we started ends with us
    os.sched_setaffinity(0, {LOAD_CORE})  # and with us all that we start, but for gateways
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        under = stack.enter_context(session.session(folder))
        comparison = Comparison(plan, under, _makers(stack, plan.names), folder)
        results = comparison.results
        comparison.run(lambda row: print(report.table(row, results.measured[row.name]), flush=True))
    print(report.ending(results))
    print(
        f"\n{time.monotonic() - began:.0f} s on {os.cpu_count()} cores, Python {platform.python_version()};"
        f" on the gateways' core others took {report.share_of_others(results):.0%} of the time."
        " What is under 10 % apart is the same."
    )
    if told.save:
        save(told.save, msgspec.json.format(msgspec.json.encode(report.saved(results)), indent=1))


def save(file: Path, figures: bytes) -> None:
    """Write what took so long; where that fails after all, print it, and end with 1."""
    try:
        file.write_bytes(figures)
    except OSError as error:
        print(figures.decode())
        sys.exit(f"{file} could not be written ({error.strerror}): what it would hold stands above")


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line says; ends the program where that makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    rows, names = [*(row.name for row in ROWS), START, IDLE], list(NAMES)
    parser.add_argument("--only", nargs="+", choices=rows, metavar="ROW", help=f"of {', '.join(rows)}")
    parser.add_argument("--gateways", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--no-peers", action="store_true", help=f"without {PORTKEY} and {LITELLM}")
    parser.add_argument("--no-tls", action="store_true", help="only with a plain upstream")
    parser.add_argument("--rounds", type=whole_number(1, ROUNDS_MAX), default=ROUNDS)
    parser.add_argument(
        "--seconds", type=number(*SECONDS_RANGE), default=SECONDS, help="of each saturated measurement"
    )
    parser.add_argument("--save", type=_writable, metavar="FILE", help="the medians as JSON, too")
    told = parser.parse_args(arguments)
    if not planned(told).names:
        parser.error("--no-peers leaves none of --gateways")
    return told


def _writable(text: str) -> Path:
    """The file, which can be made or replaced. Raises: argparse.ArgumentTypeError."""
    file = Path(text)
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(file.parent)!r}")
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written")
    return file


def planned(told: argparse.Namespace) -> Plan:
    """What the command line asks for."""
    only, names = told.only or [], told.gateways or list(NAMES)
    return Plan(
        rows=chosen(only),
        has_starts=not only or bool({START, IDLE} & set(only)),
        names=[
            name for each, name in NAMES.items() if each in names and not (told.no_peers and name in PEERS)
        ],
        has_tls=not told.no_tls,
        rounds=told.rounds,
        seconds=told.seconds,
    )


def _makers(stack: ExitStack, names: list[str]) -> dict[str, Make]:
    """What makes each gateway; without an emulator, none on Firestore."""
    makers: dict[str, Make] = {
        DIRECT: gateways.direct,
        NGINX: gateways.nginx,
        UNGOVERNED: gateways.ungoverned,
        SQLITE: gateways.modeltrack,
        PIPED: gateways.modeltrack_piped,
        PORTKEY: peers.portkey,
        LITELLM: peers.litellm,
    }
    if FIRESTORE in names:
        try:
            makers[FIRESTORE] = gateways.modeltrack_on_firestore(stack.enter_context(running_emulator()))
        except EmulatorMissing as missing:
            say(f"left out: {FIRESTORE}: {missing}")
    return {name: makers[name] for name in names if name in makers}


if __name__ == "__main__":
    main()
