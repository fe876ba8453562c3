"""Counters: the totals of one budget in one period, and of one value where the budget has a limit for each.

A **counter** is a document of four integers, kept by increments only:

| field | what it sums |
|---|---|
| `reserved` | of each lease: `amount` while open, `used` once closed; and `seeded` |
| `settled` | of each lease: `reported`; and `seeded` |
| `seeded` | what calls cost that carry no charge for this budget: they came before it |
| `instances` | of each lease: `joined` |

A **lease** is one instance's slice of a counter, a document beside those of all accounts:

| field | what it sums |
|---|---|
| `amount` | what was reserved for it; what its owner may spend is never more |
| `used` | the charges of all stored events that name it |
| `reported` | what its owner has told the counter of them |
| `joined` | 1 while its owner is counted in `instances` |
| `syncs` | how often its owner wrote it, so that each time leaves another revision |

So at every moment, whoever died wherever: **spent** = settled + Σ over open leases (used - reported) = seeded
+ the charges of all stored events, and **held** = reserved - spent. Closing a lease makes `amount` and
`reported` what was `used`, and changes the counter by the difference.

A lease's id is `<counter id>.<instance>.<number>`, so its counter is read off it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from metering.budgets import Budget
from metering.collections import budget_period_path, lease_path
from metering.ids import repeatable_digest
from metering.periods import Period
from metering.stores import FieldPath

COUNTER_SUMS = ("reserved", "settled", "seeded", "instances")
LEASE_SUMS = ("amount", "reported", "used", "joined", "syncs")
OPEN, CLOSED = "open", "closed"

_LEASE_ID = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{32})\.([0-9]{1,18})")


class CounterKey(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """What names a counter. `value` is "" where the budget has but one limit.

    `is_shared`: the counter of all values beyond the first `budgets.EACH_VALUES_MAX`.
    """

    account_id: str
    budget_id: str
    period: Period
    value: str = ""
    is_shared: bool = False

    @property
    def counter_id(self) -> str:
        """Its document's id: 32 hexadecimal digits, the same for whoever asks."""
        label = "shared_counter" if self.is_shared else "counter"
        return repeatable_digest(label, self.account_id, self.budget_id, self.period.text, self.value)

    @property
    def path(self) -> str:
        """Where its totals are kept."""
        return budget_period_path(self.account_id, self.counter_id)

    @property
    def identity(self) -> dict[FieldPath, Any]:
        """The fields that say whose totals these are, for an increment's `merge`."""
        return {
            ("budget_id",): self.budget_id,
            ("period",): self.period.text,
            ("value",): self.value,
            ("starts_at",): self.period.starts_at,
            ("ends_at",): self.period.ends_at,
        }


class LeaseName(msgspec.Struct, frozen=True):
    """What a lease's id says: of which counter, whose, and which one of its owner."""

    counter_id: str
    instance: str
    number: int

    @property
    def lease_id(self) -> str:
        """The id itself."""
        return f"{self.counter_id}.{self.instance}.{self.number}"

    @property
    def path(self) -> str:
        """Where the lease is kept."""
        return lease_path(self.lease_id)


def lease_named(lease_id: str) -> LeaseName:
    """What the id says. Raises: ValueError, for what is no lease's id."""
    match = _LEASE_ID.fullmatch(lease_id)
    if match is None:
        raise ValueError("this is no lease's id")
    return LeaseName(match[1], match[2], int(match[3]))


class CounterTotals(msgspec.Struct, frozen=True, kw_only=True):
    """A counter's integers, as they were at one moment. All in nanodollars but `instances`."""

    reserved: int = 0
    settled: int = 0
    seeded: int = 0
    instances: int = 0


class LeaseTotals(msgspec.Struct, frozen=True, kw_only=True):
    """A lease's integers, as they were at one moment. All in nanodollars but `joined` and `syncs`."""

    amount: int = 0
    reported: int = 0
    used: int = 0
    joined: int = 0
    syncs: int = 0

    @property
    def unreported(self) -> int:
        """What was charged to it that the counter does not count as settled yet.

        Negative, where the owner has told the counter of calls whose events are still on their way.
        """
        return self.used - self.reported


def counter_totals(fields: Mapping[str, Any] | None) -> CounterTotals:
    """The totals in a counter's document; all 0 where there is none yet."""
    return CounterTotals(**{name: (fields or {}).get(name, 0) for name in COUNTER_SUMS})


def lease_totals(fields: Mapping[str, Any] | None) -> LeaseTotals:
    """The totals in a lease's document; all 0 where there is none yet."""
    return LeaseTotals(**{name: (fields or {}).get(name, 0) for name in LEASE_SUMS})


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands in one period. `held` is kept back for calls in flight, or lies in slices."""

    limit_nanodollars: int
    spent_nanodollars: int
    held_nanodollars: int

    @property
    def left_nanodollars(self) -> int:
        """What nobody has spent or holds; never negative."""
        return max(0, self.limit_nanodollars - self.spent_nanodollars - self.held_nanodollars)

    @property
    def percent(self) -> int:
        """Whole percent of the limit that are spent, rounded down; 100 of a limit of 0."""
        if self.limit_nanodollars <= 0:
            return 100
        return max(0, self.spent_nanodollars) * 100 // self.limit_nanodollars

    def has_reached(self, threshold_percent: int) -> bool:
        """Whether so many percent are spent, to the nanodollar. A limit of 0 is reached from the start."""
        return has_reached(self.spent_nanodollars, threshold_percent, self.limit_nanodollars)


def has_reached(spent: int, threshold_percent: int, limit: int) -> bool:
    """Whether so many percent of the limit are spent."""
    return spent * 100 >= threshold_percent * limit


def standing_of(budget: Budget, counter: CounterTotals, open_leases: Iterable[LeaseTotals]) -> Standing:
    """How the budget stands, by its counter and all its open leases.

    All of them are of one moment, else what a lease tells its counter in between counts twice or not at all.
    A call counts once somebody knows what it cost: its instance, or whoever stores its event.
    """
    spent = counter.settled + sum(max(0, lease.unreported) for lease in open_leases)
    return standing_from(budget, counter.reserved, spent)


def standing_from(budget: Budget, reserved: int, spent: int) -> Standing:
    """How the budget stands, by what is reserved of it and what of that is spent.

    What is reserved beyond the limit is not held: instances that asked for the last of it at once
    hand it back.
    """
    rest = max(0, budget.limit_nanodollars - spent)
    return Standing(
        limit_nanodollars=budget.limit_nanodollars,
        spent_nanodollars=spent,
        held_nanodollars=min(max(0, reserved - spent), rest),
    )


def counter_key(
    account_id: str, budget: Budget, period: Period, value: str = "", *, is_shared: bool = False
) -> CounterKey:
    """The key of the budget's counter in that period."""
    return CounterKey(
        account_id=account_id, budget_id=budget.budget_id, period=period, value=value, is_shared=is_shared
    )


def increments_of(totals: CounterTotals | LeaseTotals) -> dict[FieldPath, int]:
    """The totals as an increment's amounts: all of them, so that its result tells all of them."""
    return {(name,): getattr(totals, name) for name in totals.__struct_fields__}
