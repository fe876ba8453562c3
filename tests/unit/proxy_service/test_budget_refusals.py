"""How budgets say no: in words that leave nobody guessing why."""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy_service.budget_refusals import budget_exceeded, cost_unbounded
from proxy_service.stakes import BudgetExceeded, Fitting, StakeStanding

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


@pytest.mark.parametrize("is_only_held", [False, True])
def test_a_call_that_would_fit_with_a_shorter_answer_is_told_the_field_and_the_figure(
    is_only_held: bool,
) -> None:
    exceeded = BudgetExceeded(make_standing(), is_only_held=is_only_held, needed_nanodollars=DOLLAR)

    refused = budget_exceeded(exceeded, Fitting("max_tokens", 1_234))

    assert refused.message.endswith("; with max_tokens of at most 1234 there may be room for it now")
    assert (refused.param, refused.details["fits_with"]) == ("max_tokens", "max_tokens<=1234")


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
