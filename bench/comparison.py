"""Every gateway, beside the others, measured row by row and by turns; and what each recorded of it."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple
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
        """How often each gateway has its turn: once with open streams, less often where few take part."""
        if row.kind == "streams":
            return min(self.rounds, STREAM_ROUNDS)
        return self.rounds if row.is_for_all or row.kind == "rate" else max(1, self.rounds - 1)


class Entry(NamedTuple):
    """A gateway that runs, before an upstream plain or over TLS. `pid` 0: it needs no process."""

    side: str
    gateway: Gateway
    pid: int


class Comparison:
    """One run: gateways as they are made for each upstream, and `results` as they come."""

    def __init__(self, plan: Plan, under: Session, makers: Mapping[str, Make], folder: Path) -> None:
        self.results = Results()
        self._plan = plan
        self._under = under
        self._makers = dict(makers)
        self._folder = folder

    def run(self, on_row: Callable[[Row], None]) -> None:
        """Measure, plain and over TLS by turns; `on_row` hears which rows are done."""
        made = {PLAIN: self._made(PLAIN, self._under.plain)}
        if self._plan.has_tls and self._plan.rows:
            made[OVER_TLS] = self._made(OVER_TLS, self._under.over_tls)
        if self._plan.has_starts:
            for each in made[PLAIN]:
                self._time_starts(each)
        with ExitStack() as stack:
            entries = [
                entry
                for side, compared in made.items()
                for gateway in compared
                for entry in self._running(side, gateway, stack)
            ]
            if self._plan.has_starts:
                self._weigh(entries)
            for row in self._plan.rows:
                self._measure(row, entries)
                on_row(row)
        for side, gateway, _ in entries:
            self._say_what_was_recorded(side, gateway)

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

    def _running(self, side: str, gateway: Gateway, stack: ExitStack) -> list[Entry]:
        """The gateway once it runs and has passed a call on; nothing where a peer does not."""
        say(f"{side}: starting {gateway.name}")
        try:
            pid = stack.enter_context(gateways.running(gateway.start, urlsplit(gateway.url).port or 0))
            if pid:
                with self._under.accounted(gateway):
                    session.first_byte(gateway)
        except (OSError, TimeoutError) as error:
            if gateway.name not in PEERS:
                raise
            say(f"left out: {gateway.name} does not work here: {error}")
            return []
        return [Entry(side, gateway, pid)]

    def _weigh(self, entries: Sequence[Entry]) -> None:
        time.sleep(IDLE_SECONDS)
        for side, gateway, pid in entries:
            if side == PLAIN and pid:
                idle: Figures = self.results.starts.setdefault(gateway.name, {})
                idle["idle"] = machine.resident_megabytes(pid)

    def _measure(self, row: Row, entries: Sequence[Entry]) -> None:
        """One row, gateways by turns."""
        taking_part = [each for each in entries if row.is_for_all or each.gateway.name not in SLOW]
        rounds = self._plan.rounds_of(row)
        for number in range(rounds):
            say(f"{row.name}, round {number + 1} of {rounds}")
            for side, gateway, pid in taking_part:
                figures = session.measure(self._under, row, gateway, pid, self._plan.seconds_of(row))
                self.results.add(row.name, side, gateway.name, figures)

    def _say_what_was_recorded(self, side: str, gateway: Gateway) -> None:
        """How what a gateway recorded compares with what was served through it; it has ended by now."""
        if gateway.metered is None:
            return
        served = self._under.served[gateway.url]
        calls, nanodollars = gateway.metered()
        is_equal = (calls, nanodollars) == (served.calls, served.nanodollars)
        judged = "to the nanodollar" if is_equal else "NOT THE SAME"
        said = f"{gateway.name}, {side}, recorded {calls:,} calls for ${nanodollars / 1e9:,.2f}"
        self.results.audits.append(
            f"{said}; served were {served.calls:,} for ${served.nanodollars / 1e9:,.2f}: {judged}"
        )


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, file=sys.stderr, flush=True)
