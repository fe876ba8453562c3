"""How budgets say no: in words that leave nobody guessing why."""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy_service.budget_refusals import budget_exceeded, cost_unbounded
from proxy_service.stakes import BudgetExceeded, StakeStanding

DOLLAR = 1_000_000_000  # nanodollars


def make_standing(**changes: Any) -> StakeStanding:
    """A month's budget of $1, a quarter of it spent."""
    fields: dict[str, Any] = {
        "budget_id": "budget_1",
        "name": "all",
        "action": "block",
        "mode": "normal",
        "period": "2026-11",
        "value": "",
        "limit_nanodollars": DOLLAR,
        "spent_nanodollars": DOLLAR // 4,
        "held_nanodollars": 0,
        "percent": 25,
        "resets_at": datetime(2026, 12, 1, tzinfo=UTC),
    }
    return StakeStanding(**fields | changes)


def test_a_call_too_large_for_what_is_left_is_told_what_it_may_cost() -> None:
    refused = budget_exceeded(BudgetExceeded(make_standing(), is_only_held=False, needed_nanodollars=DOLLAR))

    assert "$0.25 is spent and $0 held, and $1 is what this call may cost" in refused.message
    assert refused.details["needed_usd"] == "1"


def test_a_call_that_nothing_is_held_for_is_told_no_cost() -> None:
    refused = budget_exceeded(BudgetExceeded(make_standing(), is_only_held=False))

    assert "$0 held; it resets" in refused.message
    assert "needed_usd" not in refused.details


def test_the_value_whose_limit_is_reached_is_named() -> None:
    refused = budget_exceeded(BudgetExceeded(make_standing(value="search"), is_only_held=True))

    assert refused.message.startswith("the budget all (budget_1) of search has no room")


@pytest.mark.parametrize(
    ("param", "said"),
    [
        ("", "what calls of this path come to cannot be foreseen"),
        ("model", "the price or the limits of its model are not known"),
        ("max_tokens", "set max_tokens"),
        ("container", "container may make it cost more than can be foreseen; leave it out"),
    ],
)
def test_a_strict_budget_says_what_it_misses(param: str, said: str) -> None:
    assert cost_unbounded(make_standing(mode="strict"), param).message.endswith(f"nothing bounds: {said}")
