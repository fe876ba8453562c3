"""Many callers who spend from one budget through several desks, held against a plain ledger."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from metering.accounts import Policy
from metering.budgets import Budget, Subject
from metering.collections import LEASES
from metering.counters import CounterTotals, counter_totals
from metering.errors import StoreUnavailable
from metering.events import Charge
from metering.ids import new_instance_name
from metering.leases import charge_writes, lease_expiry
from metering.ledger import Ledger
from metering.segments import Segment
from metering.stores import DocumentStore
from proxy_service.desk import Desk
from proxy_service.stakes import Amounts, BudgetExceeded, BudgetUnverifiable, Held, Stake
from tests.builders import ACCOUNT_ID, make_event
from tests.doubles.clock import ManualClock

CENT = 10_000_000  # nanodollars
CLOSE_SECONDS = 5.0
COMMITS_MAX = 50
PATIENCE_SECONDS = 30.0  # the machine may be busy
FLIGHT_ROUNDS = 4
RETRY_ROUNDS = 20
STORING_ROUNDS = 40
ROUND_SECONDS = 0.05


def make_budget(**changes: Any) -> Budget:
    """A monthly budget of one dollar over the whole account, that blocks and is strict."""
    fields: dict[str, Any] = {
        "budget_id": f"bud_{1:032x}",
        "name": "everything",
        "limit_nanodollars": 100 * CENT,
        "mode": "strict",
    }
    return Budget(**fields | changes)


@dataclass
class Till:
    """A desk of an instance of its own, and what was charged there and is not yet stored."""

    store: DocumentStore
    clock: ManualClock
    wait_seconds: float = PATIENCE_SECONDS
    instance: str = field(default_factory=new_instance_name)
    charged: list[tuple[Charge, ...]] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))
    segments: int = 0

    def __post_init__(self) -> None:
        self.desk = Desk(
            self.store,
            self.clock,
            self.instance,
            threads=self.threads,
            on_fault=self.faults.append,
            wait_seconds=self.wait_seconds,
        )

    async def __aenter__(self) -> "Till":
        with contextlib.suppress(StoreUnavailable):  # an emulator's first answer is slow: not to be measured
            self.store.get(LEASES + "/none", timeout_seconds=PATIENCE_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.desk.close(0.0)
        self.threads.shutdown(cancel_futures=True)
        assert not self.faults, self.faults

    def stakes(self, policy: Policy, **subject: str) -> tuple[Stake, ...]:
        """The budgets over a call admitted now."""
        return self.desk.stakes(policy, Subject(**subject), self.clock.now())

    def settle(self, held: Held, cost: int) -> tuple[Charge, ...]:
        """A call is over; its charges wait to be stored."""
        charges = self.desk.settle(held, cost)
        self.charged.append(charges)
        return charges

    async def looks(self) -> None:
        """Have the desk say what it has to say, until it has no more to say."""
        while True:
            await self.desk.look()
            if not self.desk.is_syncing:
                return
            await self.desk.synced()

    def store_charges(self) -> None:
        """Store the events of the calls that are over, as the recorder does."""
        events = [
            make_event(timestamp=self.clock.now(), charges=charges, cost_nanodollars=charges[0].nanodollars)
            for charges in self.charged
            if charges
        ]
        self.charged.clear()
        if events:
            self.segments += 1
            name = f"{self.instance}-{self.segments}"
            expires_at = lease_expiry(self.clock.now())
            segment = Segment(name=name, account_id=ACCOUNT_ID, events=tuple(events))
            ledger = Ledger(self.store, self.clock)
            for _ in range(COMMITS_MAX):
                with contextlib.suppress(StoreUnavailable):
                    ledger.commit(
                        segment, lambda stored: charge_writes(ACCOUNT_ID, stored, expires_at=expires_at)
                    )
                    return
            raise AssertionError("the store never answered")

    async def leave(self) -> None:
        """Store what is left, and hand everything back."""
        self.store_charges()
        await self.desk.close(CLOSE_SECONDS)


def totals(store: DocumentStore, stake: Stake) -> CounterTotals:
    """The stake's counter as it is stored."""
    document = store.get(stake.counter.path)
    return counter_totals(document.fields if document else None)


@dataclass
class Figures:
    """What came of many calls."""

    limit: int
    admitted: int = 0
    refused: int = 0
    refused_falsely: int = 0  # where a plain ledger would have held what the call needs
    unverified: int = 0
    spent: int = 0
    held: int = 0
    most_spent: int = 0

    @property
    def overspent(self) -> int:
        """Nanodollars beyond the limit."""
        return max(0, self.most_spent - self.limit)

    def line(self, name: str) -> str:
        """For people."""
        asked = self.admitted + self.refused
        return (
            f"{name}: admitted {self.admitted} of {asked}, spent {self.spent / self.limit:.4%} of the limit,"
            f" overspent {self.overspent / self.limit:.4%},"
            f" refused falsely {self.refused_falsely} ({self.refused_falsely / max(1, asked):.2%})\n"
        )


@dataclass
class Crowd:
    """Callers that each make one call after the other, until the budget is spent."""

    tills: Sequence[Till]
    policy: Policy
    clock: ManualClock
    amounts: Amounts
    costs: Callable[[random.Random], int]
    callers: int = 200
    rounds_max: int = 100_000

    async def spend(self) -> Figures:
        """Have everybody call until nobody gets anything any more."""
        (budget,) = self.policy.budgets
        self.figures = Figures(budget.limit_nanodollars)
        self.chance = random.Random(4711)  # noqa: S311 - chance of a test
        self.flying: list[tuple[int, Till, Held]] = []
        waiting = [(0, number) for number in range(self.callers)]
        for round_ in range(self.rounds_max):
            due = [number for at, number in waiting if at <= round_]
            waiting = [entry for entry in waiting if entry[0] > round_]
            waiting += filter(None, await asyncio.gather(*(self._call(number, round_) for number in due)))
            self._land(round_)
            if not waiting and not self.flying:
                return self.figures
            self.clock.advance(ROUND_SECONDS)
            for till in self.tills:
                await till.desk.look()
                if round_ % STORING_ROUNDS == 0:
                    till.store_charges()
        raise AssertionError("they never came to an end")

    async def _call(self, number: int, round_: int) -> tuple[int, int] | None:
        """One caller's call; when it calls again."""
        till, figures = self.tills[number % len(self.tills)], self.figures
        try:
            held = await till.desk.hold(till.stakes(self.policy), self.amounts)
        except BudgetExceeded as refused:
            figures.refused += 1
            figures.refused_falsely += figures.spent + figures.held + self._need(till) <= figures.limit
            return (round_ + RETRY_ROUNDS, number) if refused.is_only_held else None
        except BudgetUnverifiable:
            figures.unverified += 1
            return round_ + RETRY_ROUNDS, number
        figures.admitted += 1
        figures.held += held.holds[0].nanodollars
        self.flying.append((round_ + FLIGHT_ROUNDS, till, held))
        return round_ + FLIGHT_ROUNDS + 1, number

    def _need(self, till: Till) -> int:
        """What a plain ledger, of one instance that knows all, would hold for a call there."""
        expected, bound = self.amounts.expected_nanodollars, self.amounts.upper_bound_nanodollars or 0
        drawn = [
            need.overdraft_nanodollars for _, at, held in self.flying for _, need in held.parts if at is till
        ]
        overdraft = self.policy.budgets[0].overdraft_nanodollars
        return expected if sum(drawn) + bound - expected <= overdraft else bound

    def _land(self, round_: int) -> None:
        figures = self.figures
        for _, till, held in [entry for entry in self.flying if entry[0] <= round_]:
            cost = self.costs(self.chance)
            till.settle(held, cost)
            figures.spent += cost
            figures.held -= held.holds[0].nanodollars
            figures.most_spent = max(figures.most_spent, figures.spent)
        self.flying = [entry for entry in self.flying if entry[0] > round_]
