"""What a call has at stake: its budgets, what they keep back for it, and how they say no."""

from datetime import datetime

import msgspec

from metering.budgets import Action, Budget, Mode
from metering.counters import CounterKey
from metering.journal import Hold
from metering.leases import CallHold, Lease


class Stake(msgspec.Struct, frozen=True):
    """One budget over one call, and its counter for the period of the call's admission and its value."""

    budget: Budget
    counter: CounterKey


class Amounts(msgspec.Struct, frozen=True):
    """What a call may cost: the expected cost, and the most it can be; None where nothing bounds it."""

    expected_nanodollars: int
    upper_bound_nanodollars: int | None


class StakeStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands in a call's period, as this instance knows it.

    `percent` is whole, rounded down, of the limit; a limit of 0 counts as reached. `held_nanodollars` is
    kept back for calls in flight or lies in slices of instances.
    """

    budget_id: str
    name: str
    action: Action
    mode: Mode
    period: str
    value: str
    limit_nanodollars: int
    spent_nanodollars: int
    held_nanodollars: int
    percent: int
    resets_at: datetime


class Held(msgspec.Struct, frozen=True):
    """What the budgets over one call keep back for it, until it is settled or released, once.

    `holds` go into the journal. `unadmitted`: a budget could not be asked, and the call is served all the
    same. `parts` is the desk's own: which lease keeps back what.
    """

    parts: tuple[tuple[Lease, CallHold], ...] = ()
    holds: tuple[Hold, ...] = ()
    unadmitted: bool = False

    @property
    def most_nanodollars(self) -> int:
        """The most that the call may cost, where a strict budget holds that; else 0."""
        most = 0
        for lease, need in self.parts:
            if lease.budget.mode == "strict" and lease.budget.takes_leases:
                most = max(most, need.nanodollars)
        return most


NOTHING_HELD = Held()


class BudgetExceeded(Exception):
    """A budget has no room for the call. `is_only_held`: what is missing is held, not spent, so come back.

    `needed_nanodollars` is what would have been held for the call; None where nothing is held for such calls.
    """

    def __init__(
        self, standing: StakeStanding, *, is_only_held: bool, needed_nanodollars: int | None = None
    ) -> None:
        super().__init__(standing.budget_id)
        self.standing = standing
        self.is_only_held = is_only_held
        self.needed_nanodollars = needed_nanodollars


class Fitting(msgspec.Struct, frozen=True):
    """The field that limits a call's answer, and the highest limit that the budgets over it have room for."""

    param: str
    tokens: int


class BudgetUnverifiable(Exception):
    """The store does not answer, and what this instance had of a strict budget is used up."""

    def __init__(self, standing: StakeStanding) -> None:
        super().__init__(standing.budget_id)
        self.standing = standing


class Unbounded(Exception):
    """A strict budget is over the call, and nothing bounds what the call may cost."""

    def __init__(self, standing: StakeStanding) -> None:
        super().__init__(standing.budget_id)
        self.standing = standing
