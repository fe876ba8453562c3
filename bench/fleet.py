"""What a fleet asks of Firestore, simulated from the product's own parts: `python -m bench.fleet`.

10,000 calls a second on 200 instances: with one hot account among 2,000; spread over 20,000 small ones; on
fewer instances, or with each account on two of them; and a budget that runs out under all of them at once.
`bench.simulated_instances` says what is the product's own (all that asks the store anything), and
`bench.virtual_time` why a minute takes no minute.
Accounts that are alike are simulated a few at a time, each on all instances, and counted as often as there are
of them. Seeded: two runs print the same. What a call costs, and how long it takes, is assumed.

What Firestore bears, by what Google publishes (standard edition, read 2026-11-21):

| what | figure | where |
|---|---|---|
| a request | 10 MiB | https://docs.cloud.google.com/firestore/quotas, hard |
| transforms of one document in a commit | 500 | there, hard |
| writes to a collection whose indexed field rises with time | 500 a second | there, soft |
| sustained writes to one document | 1 a second | https://firebase.google.com/products/extensions/firebase-firestore-counter; the page of limits had it in 2019, today's page of best practices says that it depends on the load |
| writes to one database | 10,000 a second, 10 MiB a second | the page of limits of 2019; today's names no limit, and traffic is to grow by half each five minutes from 500 a second on (https://docs.cloud.google.com/firestore/native/docs/best-practices) |

So the first three must hold; the fourth is what rollup shards, reports and slices are made for; and the fifth
is what an operator should ask Google about before a fleet of this size.
"""  # noqa: E501 - addresses

import argparse
import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bench.simulated_instances import MEAN_NANODOLLARS, SimulatedInstance, Tenant, tenant
from bench.tallied_store import Kind, StoreTally, TalliedStore
from bench.virtual_time import VirtualClock, VirtualLoop, run_virtually
from infra.bill import INSTANCE_GIB, INSTANCE_VCPU, PROXY_GIB, PROXY_VCPU, READS, WRITES, Price
from metering import segments, shards
from metering.budgets import Budget
from proxy_service import desk
from proxy_service.policy import CHANGES_POLL_SECONDS

SEED: Final = 7
START: Final = datetime(2026, 11, 21, 9, 30, 20, tzinfo=UTC)  # in a quarter hour that began lately
ANSWER_SECONDS: Final = 0.02  # of the store: what the emulator took for a commit of many events, 18 to 40 ms
CALL_SECONDS: Final = 8.0  # of a call, most of it its provider's
DAY_SECONDS: Final = 86_400
MONTH_SECONDS: Final = 30 * DAY_SECONDS
PACES: Final = 10  # a budget is this many times what its account spends in a month, unless it is to run out

DOCUMENT_WRITES_A_SECOND: Final = 1.0
DATABASE_WRITES_A_SECOND: Final = 10_000
TRANSFORMS_MAX: Final = 500
REQUEST_BYTES_MAX: Final = 10 * 1024**2


@dataclass(frozen=True)
class Load:
    """Calls of accounts that are all alike, evenly over the instances; `sampled` of them are simulated.

    `looks_a_second`: how often each instance looks at what its leases have to say; 5 in truth, fewer where
    each lease has little to say and a run would take long. `is_even`: calls come one after the other, each to
    the next instance; else by chance. `instances_paid`, where each account meets only some of them.
    """

    name: str
    instances: int
    accounts: int
    sampled: int
    calls_a_second: float  # of one account
    warm_seconds: float
    seconds: float
    looks_a_second: int = 5
    is_even: bool = False
    instances_paid: int = 0

    @property
    def all_calls_a_second(self) -> float:
        """Of all its accounts together."""
        return self.accounts * self.calls_a_second


@dataclass(frozen=True)
class Figures:
    """What a load asks of the store. Rates are a second's, of all accounts; those of documents are one's."""

    load: Load
    calls: int
    events: int  # stored; those of the last seconds are not yet
    refused: int
    waited: int  # calls on whose way the store was asked
    writes_an_event: float
    lease_writes_an_event: float
    events_a_commit: float
    reads_an_event: float
    document_writes: dict[Kind, float]  # a second, to the busiest document of its kind
    shard_writes: float  # a second, to a rollup shard on average
    expiries: float  # a second, of all leases: changes of an indexed field whose values rise
    commit_writes: int
    commit_transforms: int
    commit_bytes: int

    @property
    def database_writes(self) -> float:
        """Writes a second."""
        return self.writes_an_event * self.load.all_calls_a_second

    @property
    def database_reads(self) -> float:
        """Reads a second, but for each instance's look at what changed."""
        return self.reads_an_event * self.load.all_calls_a_second


FLEET: Final = (
    Load("one hot account", 200, 1, 1, 1_000, 20, 40),
    Load("1,999 beside it", 200, 1_999, 8, 9_000 / 1_999, 200, 200, looks_a_second=1),
    Load("20,000 small accounts", 200, 20_000, 20, 0.5, 400, 200, looks_a_second=1),
    Load("2,000 on 25 instances", 25, 2_000, 8, 5.0, 60, 120),
    Load("2,000, each on two", 2, 2_000, 4, 5.0, 60, 120, instances_paid=200),
)
ENDING: Final = Load("a budget that runs out", 200, 1, 1, 200, 0, 80)
ENDING_CALLS: Final = 10_000  # is what the budget is for; 1.6 times as many are made


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.parse_args()
    found = [measured(load) for load in FLEET]
    print(table(found))
    print()
    print(shard_table(FLEET[0].instances))
    print()
    print(ending_table(ending(ENDING, ENDING_CALLS)))


def measured(load: Load, *, seed: int = SEED) -> Figures:
    """What the load asks of the store, once it has been running for a while."""
    limit = int(load.calls_a_second * MONTH_SECONDS * PACES * MEAN_NANODOLLARS)
    with _looking(load.looks_a_second):
        fleet = _Fleet(load, limit, seed)

        async def run() -> tuple[StoreTally, int]:
            await fleet.serve(load.warm_seconds)
            fleet.calls = 0
            tally, waited = fleet.store.begin(), fleet.waited
            await fleet.serve(load.seconds)
            return tally, waited

        tally, waited_before = run_virtually(fleet.loop, run())
    return _figures(load, fleet, tally, waited_before)


@dataclass(frozen=True)
class Ending:
    """What became of a budget that all instances spend at once: parts of its limit, and calls."""

    spent_at_first_refusal: float
    spent_at_last: float
    served: int
    refused: int


def ending(load: Load, limit_calls: int, *, seed: int = SEED) -> Ending:
    """Have the load spend a budget of so many calls' cost that no instance has met before."""
    limit = limit_calls * MEAN_NANODOLLARS
    fleet = _Fleet(load, limit, seed)
    first: list[float] = []

    async def run() -> None:
        for _ in range(int(load.seconds)):
            await fleet.serve(1.0)
            if fleet.refused and not first:
                first.append(fleet.cost / limit)
        await asyncio.sleep(2 * CALL_SECONDS)

    run_virtually(fleet.loop, run())
    return Ending(
        spent_at_first_refusal=first[0] if first else 1.0,
        spent_at_last=fleet.cost / limit,
        served=fleet.calls - fleet.refused,
        refused=fleet.refused,
    )


class _Fleet:
    """Instances on one store, and calls that come by chance."""

    def __init__(self, load: Load, limit: int, seed: int) -> None:
        self.loop = VirtualLoop(ANSWER_SECONDS)
        self.store = TalliedStore()
        self.calls = 0
        clock = VirtualClock(self.loop, START)
        self._load = load
        self._chance = chance = random.Random(seed)
        budgets = (Budget(budget_id="", limit_nanodollars=limit),)
        self._tenants = [
            tenant(self.store, clock, f"account {number}", budgets) for number in range(load.sampled)
        ]
        self._instances = [
            SimulatedInstance(self.store, self.loop, clock, random.Random(chance.random()))
            for _ in range(load.instances)
        ]
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_begun = False

    @property
    def refused(self) -> int:
        """Calls that the budgets had no room for, as far as their instances knew."""
        return sum(instance.refused for instance in self._instances)

    @property
    def waited(self) -> int:
        """Calls that an instance asked the store for anything."""
        return sum(instance.waited for instance in self._instances)

    @property
    def cost(self) -> int:
        """What all calls that ended cost."""
        return sum(instance.cost_nanodollars for instance in self._instances)

    async def serve(self, seconds: float) -> None:
        """Have calls come for so long."""
        if not self._has_begun:
            self._has_begun = True
            for instance in self._instances:  # no two look at the same moment
                self.loop.call_later(self._chance.random(), self._begin, instance.look)
            for caller in self._tenants:
                self.loop.call_later(self._pause(), self._arrive, caller)
        await asyncio.sleep(seconds)

    def _arrive(self, caller: Tenant) -> None:
        instance = self._chance.choice(self._instances)
        if self._load.is_even:
            instance = self._instances[self.calls % len(self._instances)]
        self.calls += 1
        self._begin(lambda: instance.call(caller, CALL_SECONDS))
        self.loop.call_later(self._pause(), self._arrive, caller)

    def _pause(self) -> float:
        rate = self._load.calls_a_second
        return 1 / rate if self._load.is_even else self._chance.expovariate(rate)

    def _begin(self, work: Callable[[], Any]) -> None:
        task: asyncio.Task[None] = self.loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _figures(load: Load, fleet: _Fleet, tally: StoreTally, waited_before: int) -> Figures:
    weights = tally.weights
    written = tally.most_written()
    of_shards = [count for path, count in tally.writes.items() if "/quarters/" in path]
    return Figures(
        load=load,
        calls=fleet.calls,
        refused=fleet.refused,
        waited=fleet.waited - waited_before,
        events=tally.events,
        writes_an_event=tally.writes_in_all / tally.events,
        lease_writes_an_event=tally.lease_writes / tally.events,
        events_a_commit=tally.events / tally.event_commits,
        reads_an_event=tally.reads.total() / tally.events,
        document_writes={kind: count / load.seconds for kind, count in written.items()},
        shard_writes=sum(of_shards) / len(of_shards) / load.seconds if of_shards else 0.0,
        expiries=tally.expiries / load.seconds * load.accounts / load.sampled,
        commit_writes=max((weight.writes for weight in weights), default=0),
        commit_transforms=max((weight.transforms for weight in weights), default=0),
        commit_bytes=max((weight.bytes for weight in weights), default=0),
    )


@contextmanager
def _looking(looks_a_second: int) -> Iterator[None]:
    """Instances look so often at their leases; each lease as often as ever."""
    seconds, looks = desk.LOOK_SECONDS, desk.LOOKS_A_ROUND
    desk.LOOK_SECONDS = 1 / looks_a_second  # type: ignore[misc]  # put back below
    desk.LOOKS_A_ROUND = max(1, round(looks * seconds * looks_a_second))  # type: ignore[misc]
    try:
        yield
    finally:
        desk.LOOK_SECONDS, desk.LOOKS_A_ROUND = seconds, looks  # type: ignore[misc]


def table(found: Sequence[Figures]) -> str:
    """A line a figure, a column a load."""
    lines: list[tuple[str, Callable[[Figures], str]]] = [
        ("", lambda each: each.load.name),
        ("calls a second", lambda each: f"{each.load.all_calls_a_second:,.0f}"),
        ("instances that an account meets", lambda each: f"{each.load.instances}"),
        ("calls refused, of budgets hardly spent", lambda each: f"{each.refused}"),
        ("calls that waited for the store", lambda each: f"{each.waited / each.calls:.1%}"),
        ("events a commit", lambda each: f"{each.events_a_commit:.1f}"),
        ("writes an event", lambda each: f"{each.writes_an_event:.3f}"),
        ("  of them for leases, without charges", lambda each: f"{each.lease_writes_an_event:.3f}"),
        ("reads an event", lambda each: f"{each.reads_an_event:.3f}"),
        ("writes a second, database", lambda each: f"{each.database_writes:,.0f}"),
        ("  to a rollup shard, on average", lambda each: f"{each.shard_writes:.2f}"),
        *[(f"  to the busiest {kind}", _to_busiest(kind)) for kind in _KINDS],
        ("changes of leases' expiry a second", lambda each: f"{each.expiries:,.0f}"),
        ("largest commit: writes", lambda each: f"{each.commit_writes}"),
        ("  transforms of one document", lambda each: f"{each.commit_transforms}"),
        ("  kB", lambda each: f"{each.commit_bytes / 1000:.0f}"),
        ("Firestore, USD a day", lambda each: f"{_store_day(each):,.0f}"),
        ("instances, USD a day", lambda each: f"{_instances_day(each.load):,.0f}"),
    ]
    rows = [[title, *(cell(each) for each in found)] for title, cell in lines]
    return "\n".join(f"{title:<40}" + "".join(f"{cell:>24}" for cell in cells) for title, *cells in rows)


_KINDS: Final[tuple[Kind, ...]] = ("rollup shard", "counter", "lease", "count", "key")


def _to_busiest(kind: Kind) -> Callable[[Figures], str]:
    return lambda each: f"{each.document_writes.get(kind, 0):.2f}"


def _store_day(found: Figures) -> float:
    """Operations of a day; what an instance reads of changes is reckoned with the instances."""
    return DAY_SECONDS * (found.database_writes * _each(WRITES) + found.database_reads * _each(READS))


def _instances_day(load: Load) -> float:
    """Processors, memory, and the look at what changed."""
    second = PROXY_VCPU * _each(INSTANCE_VCPU) + PROXY_GIB * _each(INSTANCE_GIB)
    return (
        (load.instances_paid or load.instances) * DAY_SECONDS * (second + _each(READS) / CHANGES_POLL_SECONDS)
    )


def _each(price: Price) -> float:
    return price.usd / price.per


def shard_writes(instances: int, age_seconds: float, shard_count: int) -> float:
    """Writes a second to each rollup shard of an account that is busy on so many instances."""
    return instances / age_seconds / shard_count


def shard_table(instances: int) -> str:
    """What each number of shards and age of segments would come to, and what a page of statistics reads."""
    counts = (16, 32, 64, 128)
    ages = [segments.AGE_BUSY_SECONDS * stretch for stretch in (1, 2, 4, 8, shards.STRETCH_MAX)]
    lines = [
        f"writes a second to each rollup shard of one account, busy on {instances} instances",
        f"{'shards':<40}" + "".join(f"{count:>10}" for count in counts),
        *(
            f"{f'a segment each {age:g} s':<40}"
            + "".join(f"{shard_writes(instances, age, count):>10.2f}" for count in counts)
            for age in ages
        ),
        f"{'documents read for thirty days':<40}" + "".join(f"{_page_reads(count):>10}" for count in counts),
        f"the product: {shards.SHARDS_MAX} shards at most, and {ages[0]:g} s, longer by as much as they are "
        f"too few, up to {ages[-1]:.0f} s",
    ]
    return "\n".join(lines)


def _page_reads(shard_count: int) -> int:
    """Thirty-one days, two parts of the last one, and three quarter hours that are not compacted yet."""
    return 31 + 1 + 3 * shard_count


def ending_table(found: Ending) -> str:
    """How the budget ended."""
    return "\n".join(
        (
            f"a budget of {ENDING_CALLS:,} calls' cost, met by {ENDING.instances} instances at once, "
            f"{ENDING.calls_a_second:.0f} calls a second",
            f"{'spent when the first call was refused':<40}{found.spent_at_first_refusal:>10.1%}",
            f"{'spent in the end':<40}{found.spent_at_last:>10.1%}",
            f"{'calls served':<40}{found.served:>10,}",
            f"{'calls refused':<40}{found.refused:>10,}",
        )
    )


if __name__ == "__main__":
    main()
