"""The lease desk: what the budgets over a call keep back for it, taken and given back in memory."""

from collections.abc import Sequence
from datetime import datetime

from metering.accounts import Policy
from metering.budgets import Subject
from metering.events import Charge
from proxy_service.stakes import NOTHING_HELD, Amounts, Held, Stake, StakeStanding


class Desk:
    """Takes and gives back what calls hold of their budgets. On the loop."""

    def stakes(self, policy: Policy, subject: Subject, at: datetime) -> tuple[Stake, ...]:
        """The budgets over a call admitted at that moment. From memory."""
        return ()

    async def ready(self, stakes: Sequence[Stake]) -> None:
        """Wait, at most `FIRST_SYNC_SECONDS`, until the store has told how each of these budgets stands."""

    def percent_reached(self, stakes: Sequence[Stake], threshold: int) -> bool:
        """Whether so many percent of the strictest budget are spent, to the nanodollar."""
        return False

    def strictest(self, stakes: Sequence[Stake]) -> StakeStanding | None:
        """The budget of which most is spent, in parts of its limit; None where there is none."""
        return None

    async def hold(self, stakes: Sequence[Stake], amounts: Amounts) -> Held:
        """Have every budget keep back what the call needs of it, or none.

        Raises: BudgetExceeded, BudgetUnverifiable, Unbounded: nothing is held.
        """
        return NOTHING_HELD

    def settle(self, held: Held, cost_nanodollars: int) -> tuple[Charge, ...]:
        """The call cost so much: its charges, one a budget; what was held beyond is free again."""
        return ()

    def release(self, held: Held) -> None:
        """The call cost nothing: all that was held is free again."""

    def on_policy(self, policy: Policy) -> None:
        """The account's policy is this one now: limits act at once, what budgets lost is handed back."""
