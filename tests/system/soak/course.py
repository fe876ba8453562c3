"""One run from start to end: services, callers, faults, then the settling and the check."""

import csv
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import requests

from metering.budgets import Budget
from metering.clock import SystemClock
from metering.directory import KeyTerms
from tests.doubles.tcp_relay import TcpRelay
from tests.system.deployment import UPSTREAMS, Deployment, Faults, Row, Tenant, nanodollars
from tests.system.processes import Process
from tests.system.soak.callers import PLANS, Reader, Stranger
from tests.system.soak.faults import Fault, Happened, Lane
from tests.system.soak.judgement import Books, Total, unexplained_ends, violations
from tests.system.soak.memory import Life, leaks, told, write_table
from tests.system.soak.plot import plot
from tests.system.soak.readings import (
    SETTLING_SECONDS,
    budgets,
    counts,
    differences,
    exported,
    focus_nanodollars,
    patiently,
    within,
)
from tests.system.soak.seats import Seat
from tests.system.soak.stores import STORES, Stage
from tests.system.statement import Statement, all_events, compared
from tests.system.traffic import Planned, Traffic

LIMIT = 1_000_000 * 10**9  # generous: of these budgets the counting is proved
USUAL_NANODOLLARS = 1_600_000  # of an honest call, about
TIGHT_PART = 0.6  # of the calls is what the tight budget lasts for
CALLS_MAX = 1_000_000  # of one caller's: numbers of calls stay apart
CALLS_OF_A_RUN_MAX = 4 * CALLS_MAX  # since the busiest makes a quarter of them
CALLS_OF_A_SEED = 10_000_000
LOST_REPLIES_PERCENT = (0, 2, 20)
LOST_REPLIES_OF_APIS_PERCENT = (0, 2, 5)  # more, and exports wait for each other
# Of answers, so that it is full early on and what grows then is a leak.
SMALL_MEMORY = {"CACHE_MAX_ENTRIES": "200", "CACHE_MAX_BYTES": str(4 * 1024 * 1024)}
PROXIES = "proxies"
USUAL_SECONDS = 300.0  # of a run whose faults last as long as they may
SAMPLE_SECONDS = (0.25, 2.0)


@dataclass(frozen=True)
class Terms:
    """What is asked for. `progress_seconds` is how often a line is said.

    `awaits_leases`: wait for what killed proxies had leased to be handed back, which takes two minutes.
    """

    seconds: float
    seed: int
    store: str
    calls_per_second: float
    folder: Path
    progress_seconds: float = 15.0
    awaits_leases: bool = True


@dataclass
class Caller:
    """An account, its traffic of one kind, and how much of all traffic that is."""

    name: str
    plan: Callable[[int], Planned]
    part: float
    tenant: Tenant
    traffics: list[Traffic] = field(default_factory=list)

    @property
    def salt(self) -> str:
        """What the provider keys of its calls begin with."""
        return self.tenant.provider_key

    def outcomes(self) -> Counter[str]:
        """How its calls ended."""
        return sum((traffic.outcomes for traffic in self.traffics), Counter())


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `violations` is empty where all held."""

    violations: list[str]
    lives: list[Life]
    happened: list[Happened]
    lines: list[str]
    seconds: float


class Soak:
    """A run. `stop` ends it early, with all that belongs to the end."""

    def __init__(self, terms: Terms, say: Callable[[str], None]) -> None:
        self._terms = terms
        self._say = say
        self._over = threading.Event()
        self._dice = random.Random(terms.seed)  # noqa: S311 - chance, not secrecy
        self._seats: list[Seat] = []
        self._lanes: list[Lane] = []
        self._callers: list[Caller] = []

    def stop(self) -> None:
        """Begin with the end."""
        self._over.set()

    def run(self) -> Outcome:
        """Run, settle, judge. The picture and the tables lie in the folder afterwards."""
        with STORES[self._terms.store](self._terms.folder) as stage, ExitStack() as stack:
            deployment = stage.deployment
            stack.callback(deployment.stop)
            deployment.prepare()
            port = deployment.provider.port
            relay = stack.enter_context(TcpRelay(f"127.0.0.1:{port}"))
            self._take_seats(deployment, relay)
            self._open_accounts(deployment)
            self._began = time.monotonic()
            self._began_at = SystemClock().now()
            self._make_lanes(stage, relay)
            found = self._bustle()
            seconds = time.monotonic() - self._began
            self._say("callers and faults are over; waiting until all has settled")
            found += self._settled(deployment)
        return self._told(found, seconds)

    # What there is before it begins.

    def _take_seats(self, deployment: Deployment, relay: TcpRelay) -> None:
        told = {**dict.fromkeys(UPSTREAMS, f"http://{relay.address}"), **SMALL_MEMORY}

        def unreliable(start: Callable[[], Process], percents: Sequence[int]) -> Process:
            percent = self._dice.choice(percents)
            assert deployment.faults is not None
            deployment.faults = Faults(percent, deployment.faults.silencing)
            return start()

        def proxy(name: str) -> Callable[[int], Process]:
            return lambda port: unreliable(
                lambda: deployment.start_proxy(told, data=name, port=port), LOST_REPLIES_PERCENT
            )

        def api(port: int) -> Process:
            return unreliable(lambda: deployment.start_api(port=port), LOST_REPLIES_OF_APIS_PERCENT)

        self._proxies = [Seat(f"proxy {n}", proxy(f"proxy-{n}")) for n in (1, 2)]
        self._apis = [Seat(f"api {n}", api) for n in (1, 2)]
        self._seats = [*self._proxies, *self._apis]
        for seat in self._seats:
            seat.begin()
        deployment.api = self._apis[0].process

    def _open_accounts(self, deployment: Deployment) -> None:
        parts = {"of every kind": 0.5, "within a strict limit": 0.25, "repeated and large": 0.25}
        self._callers = [Caller(name, plan, parts[name], deployment.tenant()) for name, plan in PLANS.items()]
        tight = int(
            self._terms.seconds
            * self._terms.calls_per_second
            * parts["within a strict limit"]
            * TIGHT_PART
            * USUAL_NANODOLLARS
        )
        wanted = {
            "of every kind": (_budget("strict", mode="strict"), _budget("normal")),
            "within a strict limit": (
                _budget("tight", mode="strict", limit_nanodollars=max(tight, 50 * USUAL_NANODOLLARS)),
                _budget("warning", action="warn", limit_nanodollars=USUAL_NANODOLLARS),
            ),
            "repeated and large": (_budget("each team", each="team"), _budget("normal")),
        }
        rulebook = deployment.rulebook()
        for caller in self._callers:
            for budget in wanted[caller.name]:
                rulebook.create_budget(caller.tenant.account_id, budget)
        self._make_traffic(deployment)

    def _make_traffic(self, deployment: Deployment) -> None:
        urls = [seat.url for seat in self._proxies]
        first = self._terms.seed * CALLS_OF_A_SEED
        for caller in self._callers:
            terms = KeyTerms(name="second", scopes=("proxy",))
            second, _ = deployment.directory().create_key(caller.tenant.account_id, terms)
            for key in (caller.tenant.key, second):
                rate = self._terms.calls_per_second * caller.part / 2
                headers = {"X-ModelTrack-Key": key}
                caller.traffics.append(
                    Traffic(urls, headers, CALLS_MAX, rate, caller.salt, first=first, plan=caller.plan)
                )
                first += CALLS_MAX

    def _make_lanes(self, stage: Stage, relay: TcpRelay) -> None:
        provider = stage.deployment.provider
        upstream = (
            Fault("nothing passes to the provider", relay.stop, relay.resume, (0.5, 8.0)),
            Fault("the provider's connections break", relay.heal, _nothing),
            Fault("the provider hangs up", relay.refuse, relay.heal, (0.0, 3.0)),
            Fault("the provider's answers are lost", relay.swallow_replies, relay.heal, (0.2, 3.0)),
            Fault(
                "the provider is stopped",
                lambda: provider.send(STOP),
                lambda: provider.send(CONTINUE),
                (0.5, 8.0),
            ),
        )
        offers: dict[str, tuple[float, Callable[[], Sequence[Fault]]]] = {
            "store": (35.0, lambda: stage.faults),
            "provider": (25.0, lambda: upstream),
            PROXIES: (45.0, lambda: self._ends_of(self._proxies)),
            "APIs": (60.0, lambda: self._ends_of(self._apis)),
        }
        short = min(1.0, self._terms.seconds / USUAL_SECONDS)
        for name, (pause, offered) in offers.items():
            self._lanes.append(
                Lane(
                    name,
                    lambda offered=offered: [_shortened(fault, max(0.2, short)) for fault in offered()],  # type: ignore[misc]  # inferred
                    min(pause, self._terms.seconds / 5),
                    self._terms.seed,
                    self._began,
                )
            )

    def _ends_of(self, seats: Sequence[Seat]) -> Sequence[Fault]:
        """The first of the two in the first half, then the second: each lives for half of the run once."""
        is_first_half = time.monotonic() - self._began < self._terms.seconds / 2
        seat = seats[0] if is_first_half else seats[1]
        return (
            Fault(f"{seat.name} is killed", seat.kill, seat.replace, (0.0, 3.0)),
            Fault(f"{seat.name} is told to stop", seat.tell_to_stop, seat.replace, (0.0, 1.0)),
        )

    # While it lasts.

    def _bustle(self) -> list[str]:
        """Callers and faults, until the time is over; what was wrong with what they saw."""
        deadline = self._began + self._terms.seconds
        stranger = Stranger([s.url for s in self._proxies], self._terms.seed, 0.3)
        reader = Reader([s.url for s in self._apis], self._terms.seed, 0.4, [c.tenant for c in self._callers])
        told_at = self._began
        least, most = SAMPLE_SECONDS
        pause = min(most, max(least, self._terms.seconds / 240))
        with ExitStack() as stack:
            for traffic in self._traffics():
                stack.enter_context(traffic)
            for lane in self._lanes:
                lane.start()
            stranger.start()
            reader.start()
            try:
                while time.monotonic() < deadline and not self._over.wait(pause):
                    self._sample()
                    if time.monotonic() - told_at >= self._terms.progress_seconds:
                        told_at = time.monotonic()
                        self._say(self._progress())
            finally:
                for lane in self._lanes:
                    lane.end()
                for lane in self._lanes:
                    lane.join()
                stranger.end()
                reader.end()
                for traffic in self._traffics():
                    traffic.end_early()
        self._bystanders = (stranger, reader)
        return [
            *(f"the run itself: {line}" for lane in self._lanes for line in lane.broken),
            *stranger.faults,
            *reader.faults,
        ]

    def _traffics(self) -> Iterator[Traffic]:
        for caller in self._callers:
            yield from caller.traffics

    def _sample(self) -> None:
        at_seconds = time.monotonic() - self._began
        for seat in self._seats:
            seat.sample(at_seconds)

    def _progress(self) -> str:
        elapsed = int(time.monotonic() - self._began)
        outcomes = sum((caller.outcomes() for caller in self._callers), Counter())
        faults = sum(len(lane.happened) for lane in self._lanes)
        held = [
            f"{seat.lives[-1].samples[-1].megabytes:.0f}" if seat.lives[-1].samples else "-"
            for seat in self._seats
        ]
        return (
            f"{elapsed // 60:>3}:{elapsed % 60:02d}  calls {outcomes.total():>7,}"
            f" ({outcomes['whole']:,} whole)  faults {faults:>4}"
            f"  proxies {held[0]}, {held[1]} MB  APIs {held[2]}, {held[3]} MB"
        )

    # When it is over.

    def _settled(self, deployment: Deployment) -> list[str]:
        """What is not as it must be once everything had time to settle."""
        deployment.api = self._apis[0].process
        self._wait("every event is there", lambda each: self._is_complete(deployment, each))
        self._wait("budgets counted everything", lambda each: self._is_counted(deployment, each))
        for seat in self._proxies:
            seat.tell_to_stop()
        if self._terms.awaits_leases:
            self._wait("budgets hold nothing", lambda each: self._holds_nothing(deployment, each))
        bill = deployment.whole_bill()
        ends = [
            (self._began + each.began_seconds, self._began + each.ended_seconds)
            for lane in self._lanes
            for each in lane.happened
            if lane.name == PROXIES
        ]
        self._lines: list[str] = []
        found = [line for seat in self._seats for line in (*seat.faults, *seat.errors())]
        for caller in self._callers:
            try:
                books = self._books(deployment, caller, bill)
            except (AssertionError, requests.RequestException) as error:
                found.append(f"{caller.name}: its books cannot be read: {error}")
                continue
            self._lines += [
                f"{caller.name}:",
                *(f"  {line}" for line in books.statement.printed().splitlines()),
            ]
            self._lines += [f"  budget {b.name}: spent {b.spent}, held {b.held}" for b in books.budgets]
            found += violations(books) + unexplained_ends(books, ends)
        for seat in self._apis:
            seat.tell_to_stop()
        return found

    def _wait(self, what: str, claim: Callable[[Caller], bool]) -> None:
        """Wait until it is so of every account. Where it never is, the check says what is wrong."""
        began = time.monotonic()
        is_so = within(SETTLING_SECONDS, lambda: all(claim(caller) for caller in self._callers))
        self._say(f"{what}: {'yes' if is_so else 'NO'}, after {time.monotonic() - began:.0f} s")

    def _statement(
        self, deployment: Deployment, caller: Caller, bill: Sequence[Row], events: Sequence[Row]
    ) -> Statement:
        made = [made for traffic in caller.traffics for made in traffic.made]
        return compared(made, bill, events, caller.salt)

    def _is_complete(self, deployment: Deployment, caller: Caller) -> bool:
        """Whether nothing is in flight, and each call that needs an event has one."""
        if counts(deployment, caller.tenant, self._since)["in_flight"]:
            return False
        events = all_events(deployment, caller.tenant)
        return not self._statement(deployment, caller, deployment.whole_bill(), events).without_event()

    def _is_counted(self, deployment: Deployment, caller: Caller) -> bool:
        cost = nanodollars(deployment.usage(caller.tenant).get("cost_usd", 0))
        return all(budget.spent == cost for budget in budgets(deployment, caller.tenant))

    def _holds_nothing(self, deployment: Deployment, caller: Caller) -> bool:
        return not any(budget.held for budget in budgets(deployment, caller.tenant))

    def _books(self, deployment: Deployment, caller: Caller, bill: Sequence[Row]) -> Books:
        tenant, since = caller.tenant, self._since
        events = patiently(lambda: all_events(deployment, tenant))
        totals = {f"usage by {seat.name}": self._usage(deployment, caller, seat) for seat in self._apis}
        totals["the export of events"] = patiently(lambda: exported(deployment, tenant, since))
        # Its rows are sums of an hour each: what they cost is compared, not how many they are.
        focus = patiently(lambda: focus_nanodollars(deployment, tenant, since))
        totals["the FOCUS export"] = Total(len(events), focus)
        standing = patiently(lambda: budgets(deployment, tenant))
        if not self._terms.awaits_leases:
            standing = [replace(budget, held=None) for budget in standing]
        return Books(
            caller.name,
            self._statement(deployment, caller, bill, events),
            events,
            totals,
            patiently(lambda: counts(deployment, tenant, since)),
            standing,
            differences(deployment, tenant, self._began_at),
        )

    def _usage(self, deployment: Deployment, caller: Caller, seat: Seat) -> Total:
        usage = patiently(lambda: deployment.usage(caller.tenant, api=seat.process))
        return Total(int(usage.get("requests", 0)), nanodollars(usage.get("cost_usd", 0)))

    @property
    def _since(self) -> str:
        return self._began_at.date().isoformat()

    def _told(self, found: list[str], seconds: float) -> Outcome:
        lives = [life for seat in self._seats for life in seat.lives]
        happened = sorted(
            (each for lane in self._lanes for each in lane.happened), key=lambda each: each.began_seconds
        )
        folder, terms = self._terms.folder, self._terms
        title = (
            f"{terms.store}, {seconds / 60:.1f} min, {terms.calls_per_second:g} calls/s, seed {terms.seed}"
        )
        (folder / "memory.svg").write_text(plot(title, lives, happened, seconds))
        write_table(folder / "memory.csv", lives)
        _write_faults(folder / "faults.csv", happened)
        stranger, reader = self._bystanders
        kinds = Counter(each.name for each in happened)
        lines = [
            *self._lines,
            f"faults: {', '.join(f'{count} x {name}' for name, count in sorted(kinds.items()))}",
            f"nonsense was answered: {_counted(stranger.said)}",
            f"the API answered its readers: {_counted(reader.said)}",
            *told(lives),
        ]
        return Outcome([*found, *leaks(lives)], lives, happened, lines, seconds)


STOP, CONTINUE = signal.SIGSTOP, signal.SIGCONT


def _nothing() -> None:
    """It is over as soon as it was."""


def _shortened(fault: Fault, part: float) -> Fault:
    least, most = fault.seconds
    return replace(fault, seconds=(min(least, most * part), most * part))


def _budget(name: str, **terms: object) -> Budget:
    # A period that ends within the run would begin anew in the midst of it.
    now = SystemClock().now()
    zone = "UTC" if (now + timedelta(hours=6)).month == now.month else "Pacific/Honolulu"
    told: dict[str, object] = {"limit_nanodollars": LIMIT, "timezone": zone, **terms}
    return Budget(budget_id="", name=name, **told)  # type: ignore[arg-type]  # of these fields


def _write_faults(path: Path, happened: Sequence[Happened]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["began_seconds", "ended_seconds", "part", "what"])
        for each in happened:
            rows.writerow([f"{each.began_seconds:.1f}", f"{each.ended_seconds:.1f}", each.lane, each.name])


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items()))
