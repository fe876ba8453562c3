"""Every gateway, beside the others, measured row by row and by turns; and what each recorded of it."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bench import gateways, machine, session
from bench.gateways import DIRECT, FIRESTORE, LITELLM, PORTKEY, Gateway, Missing, Upstream
from bench.report import OVER_TLS, PLAIN, Figures, Results
from bench.rows import Row
from bench.session import Session

Make = Callable[[Upstream, Path], Gateway]

LATENCY_SECONDS: Final = 4.0
STREAM_ROUNDS: Final = 1  # ten seconds, and ten thousand chunks a second
IDLE_SECONDS: Final = 6.0  # by then a store over the network is open
PEERS: Final = frozenset({LITELLM, PORTKEY})
SLOW: Final = PEERS | {FIRESTORE}  # only in the rows for all


class Plan(msgspec.Struct, frozen=True):
    """What to measure, and how long."""

    rows: list[Row]
    has_starts: bool
    names: list[str]
    has_tls: bool
    rounds: int
    seconds: float

    def seconds_of(self, row: Row) -> float:
        """How long one measurement lasts; streams last as long as they do."""
        return LATENCY_SECONDS if row.kind == "rate" else self.seconds

    def rounds_of(self, row: Row) -> int:
        """How often each gateway has its turn."""
        return min(self.rounds, STREAM_ROUNDS) if row.kind == "streams" else self.rounds


class Comparison:
    """One run: gateways as they are made for each upstream, and `results` as they come."""

    def __init__(self, plan: Plan, under: Session, makers: Mapping[str, Make], folder: Path) -> None:
        self.results = Results()
        self._plan = plan
        self._under = under
        self._makers = dict(makers)
        self._folder = folder

    def run(self) -> None:
        """Measure with a plain upstream, then with one over TLS."""
        compared = self._made(PLAIN, self._under.plain)
        if self._plan.has_starts:
            for each in compared:
                self._time_starts(each)
        self._measure(PLAIN, compared)
        if self._plan.has_tls and self._plan.rows:
            self._measure(OVER_TLS, self._made(OVER_TLS, self._under.over_tls))

    def _made(self, side: str, upstream: Upstream) -> list[Gateway]:
        made = []
        for name, make in list(self._makers.items()):
            folder = self._folder / f"{side} {name}".replace(" ", "-").replace(",", "")
            folder.mkdir(parents=True)
            try:
                made.append(make(upstream, folder))
            except Missing as missing:
                say(f"left out: {missing}")
                del self._makers[name]
        return made

    def _time_starts(self, gateway: Gateway) -> None:
        if gateway.name == DIRECT or gateway.name in PEERS:
            return
        say(f"starts of {gateway.name}")
        with self._under.accounted(gateway):
            milliseconds = session.start_to_first_byte_ms(gateway)
        self.results.starts[gateway.name] = {"start": milliseconds}

    def _measure(self, side: str, compared: list[Gateway]) -> None:
        """Every row, gateways by turns within each."""
        with self._running(compared) as pids:
            if side == PLAIN and self._plan.has_starts:
                self._weigh(pids)
            for row in self._plan.rows:
                self._measure_row(row, side, [each for each in compared if each.name in pids], pids)
        for gateway in compared:
            self._say_what_was_recorded(gateway)
        self._under.served.clear()

    def _measure_row(self, row: Row, side: str, compared: list[Gateway], pids: Mapping[str, int]) -> None:
        taking_part = [each for each in compared if row.is_for_all or each.name not in SLOW]
        rounds = self._plan.rounds_of(row)
        for number in range(rounds):
            say(f"{side}, {row.name}, round {number + 1} of {rounds}")
            for each in taking_part:
                figures = session.measure(self._under, row, each, pids[each.name], self._plan.seconds_of(row))
                self.results.add(row.name, side, each.name, figures)

    def _weigh(self, pids: Mapping[str, int]) -> None:
        time.sleep(IDLE_SECONDS)
        for name, pid in pids.items():
            if pid:
                idle: Figures = self.results.starts.setdefault(name, {})
                idle["idle"] = machine.resident_megabytes(pid)

    @contextmanager
    def _running(self, compared: list[Gateway]) -> Iterator[dict[str, int]]:
        """Start all of them, each with one call through it; their pids by name. A peer may fail to start."""
        with ExitStack() as stack:
            pids = {}
            for gateway in compared:
                port = urlsplit(gateway.url).port or 0
                try:
                    pids[gateway.name] = stack.enter_context(gateways.running(gateway.start, port))
                    if gateway.name != DIRECT:
                        with self._under.accounted(gateway):
                            session.first_byte(gateway)
                except (OSError, TimeoutError) as error:
                    if gateway.name not in PEERS:
                        raise
                    pids.pop(gateway.name, None)
                    say(f"left out: {gateway.name} does not work here: {error}")
            yield pids

    def _say_what_was_recorded(self, gateway: Gateway) -> None:
        """How what a gateway recorded compares with what was served through it; it has ended by now."""
        served = self._under.served.get(gateway.name)
        if gateway.metered is None or served is None:
            return
        calls, nanodollars = gateway.metered()
        is_equal = (calls, nanodollars) == (served.calls, served.nanodollars)
        judged = "to the nanodollar" if is_equal else "NOT THE SAME"
        said = f"{gateway.name} recorded {calls:,} calls for ${nanodollars / 1e9:,.2f}"
        self.results.audits.append(
            f"{said}; served were {served.calls:,} for ${served.nanodollars / 1e9:,.2f}: {judged}"
        )


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, file=sys.stderr, flush=True)
