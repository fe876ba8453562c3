"""Run every row through every gateway, by turns, and print medians, ratios and what the project asks."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bench import gateways, machine, peers, report, session
from bench.gateways import (
    DIRECT,
    FIRESTORE,
    LITELLM,
    LOAD_CORE,
    NGINX,
    PORTKEY,
    SQLITE,
    UNGOVERNED,
    Gateway,
    Missing,
    Upstream,
)
from bench.report import OVER_TLS, PLAIN, Measured
from bench.rows import IDLE, ROWS, START, Row, chosen
from bench.session import Session
from demo.emulator import EmulatorMissing, running_emulator

Make = Callable[[Upstream, Path], Gateway]

ROUNDS: Final = 3
SECONDS: Final = 1.5
LATENCY_SECONDS: Final = 4.0
STREAM_ROUNDS: Final = 1  # each takes ten seconds, and counts ten thousand chunks a second
IDLE_SECONDS: Final = 6.0  # by then a store over the network is open
PEERS: Final = frozenset({LITELLM, PORTKEY})
SLOW: Final = PEERS | {FIRESTORE}  # only in the rows for all
NAMES: Final = {  # as the command line has them
    "direct": DIRECT,
    "nginx": NGINX,
    "off": UNGOVERNED,
    "sqlite": SQLITE,
    "firestore": FIRESTORE,
    "portkey": PORTKEY,
    "litellm": LITELLM,
}


class Plan(msgspec.Struct, frozen=True):
    """What to measure, as the command line says."""

    rows: list[Row]
    has_starts: bool
    names: list[str]
    sides: list[str]
    rounds: int
    seconds: float

    def seconds_of(self, row: Row) -> float:
        """How long one measurement lasts; streams last as long as they do."""
        return LATENCY_SECONDS if row.kind == "rate" else self.seconds

    def rounds_of(self, row: Row) -> int:
        """How often each gateway has its turn."""
        return min(self.rounds, STREAM_ROUNDS) if row.kind == "streams" else self.rounds


def main() -> None:
    """Measure, and print."""
    plan = planned()
    if (os.cpu_count() or 1) <= LOAD_CORE:
        sys.exit("make bench needs two cores: one for the gateway, one for the load")
    os.sched_setaffinity(0, {LOAD_CORE})  # and with us all that we start, but for gateways
    began, measured, starts = time.monotonic(), Measured(), report.Starts()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        under = stack.enter_context(session.session(folder))
        makers = _makers(stack, plan.names)
        for side in plan.sides:
            upstream = under.plain if side == PLAIN else under.over_tls
            compared = _made(makers, upstream, folder / side.replace(" ", "-"))
            if side == PLAIN and plan.has_starts:
                timed = [each for each in compared if each.name != DIRECT and each.name not in PEERS]
                starts |= {each.name: _started(under, each) for each in timed}
            _measure(plan, under, side, compared, measured, starts)
    for row in plan.rows:
        print(report.table(row, measured.get(row.name, {})))
    if plan.has_starts:
        print(report.starts_table(starts))
    load = os.getloadavg()[2]
    print(f"\n{time.monotonic() - began:.0f} s on {os.cpu_count()} cores; load over 15 minutes {load:.1f}")


def planned(arguments: list[str] | None = None) -> Plan:
    """What the command line asks for; ends the program where that makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    rows = ", ".join([*(row.name for row in ROWS), START, IDLE])
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help=f"of {rows}")
    parser.add_argument(
        "--gateways",
        nargs="+",
        default=list(NAMES),
        choices=list(NAMES),
        metavar="NAME",
        help=f"of {', '.join(NAMES)}",
    )
    parser.add_argument("--no-peers", action="store_true", help=f"without {PORTKEY} and {LITELLM}")
    parser.add_argument("--no-tls", action="store_true", help="only with a plain upstream")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each saturated measurement")
    options = parser.parse_args(arguments)
    try:
        rows_chosen = chosen(options.only)
    except ValueError as error:
        parser.error(str(error))
    return Plan(
        rows=rows_chosen,
        has_starts=not options.only or bool({START, IDLE} & set(options.only)),
        names=[
            name
            for each, name in NAMES.items()
            if each in options.gateways and not (options.no_peers and name in PEERS)
        ],
        sides=[PLAIN] if options.no_tls else [PLAIN, OVER_TLS],
        rounds=options.rounds,
        seconds=options.seconds,
    )


def _makers(stack: ExitStack, names: list[str]) -> list[Make]:
    makers: dict[str, Make] = {
        DIRECT: gateways.direct,
        NGINX: gateways.nginx,
        UNGOVERNED: gateways.ungoverned,
        SQLITE: gateways.modeltrack,
        PORTKEY: peers.portkey,
        LITELLM: peers.litellm,
    }
    if FIRESTORE in names:
        try:
            makers[FIRESTORE] = gateways.modeltrack_on_firestore(stack.enter_context(running_emulator()))
        except EmulatorMissing as missing:
            _say(f"without {FIRESTORE}: {missing}")
    return [makers[name] for name in names if name in makers]


def _made(makers: list[Make], upstream: Upstream, folder: Path) -> list[Gateway]:
    made = []
    for number, make in enumerate(makers):
        own = folder / str(number)
        own.mkdir(parents=True)
        try:
            made.append(make(upstream, own))
        except Missing as missing:
            _say(f"left out: {missing}")
    return made


def _started(under: Session, gateway: Gateway) -> report.Figures:
    _say(f"starts of {gateway.name}")
    with under.accounted(gateway):
        return session.start_to_first_byte(gateway)


def _measure(
    plan: Plan,
    under: Session,
    side: str,
    compared: list[Gateway],
    measured: Measured,
    starts: report.Starts,
) -> None:
    """Every row, gateways by turns within each, all of them running side by side."""
    with _running(under, compared) as pids:
        if side == PLAIN and plan.has_starts:
            time.sleep(IDLE_SECONDS)
            for name, pid in pids.items():
                if pid:
                    starts.setdefault(name, {})["idle"] = machine.resident_megabytes(pid)
        for row in plan.rows:
            taking_part = [each for each in compared if each.name in pids]
            if not row.is_for_all:
                taking_part = [each for each in taking_part if each.name not in SLOW]
            for number in range(plan.rounds_of(row)):
                _say(f"{side}, {row.name}, round {number + 1} of {plan.rounds_of(row)}")
                for each in taking_part:
                    figures = session.measure(under, row, each, pids[each.name], plan.seconds_of(row))
                    rounds = measured.setdefault(row.name, {}).setdefault(side, {}).setdefault(each.name, [])
                    rounds.append(figures)
    for gateway in compared:
        _say_if_recorded(gateway, under)
    under.served.clear()


@contextmanager
def _running(under: Session, compared: list[Gateway]) -> Iterator[dict[str, int]]:
    """Start all that are compared, each with one call through it; their pids by name."""
    with ExitStack() as stack:
        pids = {}
        for gateway in compared:
            port = urlsplit(gateway.url).port or 0
            try:
                pids[gateway.name] = stack.enter_context(gateways.running(gateway.start, port))
                if gateway.name != DIRECT:
                    with under.accounted(gateway):
                        session.first_byte(gateway)
            except (OSError, TimeoutError) as error:
                if gateway.name not in PEERS:
                    raise
                pids.pop(gateway.name, None)
                _say(f"left out: {gateway.name} does not work here: {error}")
        yield pids


def _say_if_recorded(gateway: Gateway, under: Session) -> None:
    """Say how what a gateway recorded compares with what was served through it."""
    served = under.served.get(gateway.name)
    if gateway.metered is None or served is None:
        return
    calls, nanodollars = gateway.metered()
    share = nanodollars / served.nanodollars if served.nanodollars else 1.0
    _say(f"{gateway.name}: {calls:,} events of {served.calls:,} answers served, {share:.4%} of their price")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
