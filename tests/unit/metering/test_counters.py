"""Counters: their identities, and what their integers say of a budget."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from metering.budgets import Budget
from metering.counters import (
    CounterKey,
    CounterTotals,
    LeaseName,
    LeaseTotals,
    Standing,
    counter_key,
    counter_totals,
    increments_of,
    lease_named,
    lease_totals,
    standing_of,
)
from metering.periods import period_of
from tests.builders import ACCOUNT_ID, AT

BUDGET = Budget(budget_id="budget_1", limit_nanodollars=1_000)
PERIOD = period_of("month", "UTC", AT)
KEY = counter_key(ACCOUNT_ID, BUDGET, PERIOD, "search")


def test_a_counter_has_the_same_id_for_whoever_asks() -> None:
    again = counter_key(ACCOUNT_ID, BUDGET, period_of("month", "UTC", AT + timedelta(days=3)), "search")

    assert again == KEY
    assert again.counter_id == KEY.counter_id
    assert len(KEY.counter_id) == 32
    assert KEY.path == f"accounts/{ACCOUNT_ID}/budget_periods/{KEY.counter_id}"


@pytest.mark.parametrize(
    "change",
    [
        {"account_id": "acct_other"},
        {"budget_id": "budget_2"},
        {"period": period_of("day", "UTC", AT)},
        {"period": period_of("month", "Asia/Kolkata", AT)},
        {"value": "Search"},
        {"value": ""},
        {"is_shared": True},
    ],
)
def test_whatever_differs_makes_another_counter(change: dict[str, Any]) -> None:
    other: CounterKey = msgspec.structs.replace(KEY, **change)

    assert other.counter_id != KEY.counter_id


def test_users_words_are_no_part_of_a_counters_path() -> None:
    assert "search" not in KEY.path
    assert KEY.identity["value",] == "search"


def test_a_lease_tells_its_counter_and_its_owner() -> None:
    name = LeaseName(KEY.counter_id, "a" * 32, 7)

    assert lease_named(name.lease_id) == name
    assert name.path == f"leases/{KEY.counter_id}.{'a' * 32}.7"


@pytest.mark.parametrize(
    "lease_id",
    ["", "..", f"{'a' * 32}.{'b' * 32}", f"{'a' * 32}.{'b' * 32}.", f"{'A' * 32}.{'b' * 32}.1",
     f"{'a' * 32}.{'b' * 32}.1/x", f"{'a' * 31}.{'b' * 32}.1", f"{'a' * 32}.{'b' * 32}.1\n",
     f"{'a' * 32}.{'b' * 32}.{'1' * 19}"],
)  # fmt: skip
def test_what_is_no_leases_id_is_refused(lease_id: str) -> None:
    with pytest.raises(ValueError, match="lease"):
        lease_named(lease_id)


def test_totals_are_read_from_documents_that_may_be_missing_or_hold_more() -> None:
    assert counter_totals(None) == CounterTotals()
    assert counter_totals({"reserved": 5, "budget_id": "budget_1"}) == CounterTotals(reserved=5)
    assert lease_totals(None) == LeaseTotals()
    assert lease_totals({"amount": 5, "state": "open"}) == LeaseTotals(amount=5)


def test_an_increment_names_every_integer_so_that_its_answer_tells_all_of_them() -> None:
    assert increments_of(CounterTotals(reserved=3)) == {
        ("reserved",): 3, ("settled",): 0, ("seeded",): 0, ("instances",): 0
    }  # fmt: skip


def test_spent_is_what_is_settled_and_what_open_leases_have_stored_and_not_reported() -> None:
    counter = CounterTotals(reserved=700, settled=300)
    leases = [LeaseTotals(amount=400, used=150, reported=100), LeaseTotals(amount=100, used=10, reported=30)]

    standing = standing_of(BUDGET, counter, leases)

    assert standing == Standing(limit_nanodollars=1_000, spent_nanodollars=350, held_nanodollars=350)
    assert standing.left_nanodollars == 300


def test_what_is_shown_as_held_never_passes_the_limit() -> None:
    standing = standing_of(BUDGET, CounterTotals(reserved=1_300, settled=300), [])

    assert (standing.held_nanodollars, standing.left_nanodollars) == (700, 0)


def test_nothing_shown_is_negative() -> None:
    standing = standing_of(BUDGET, CounterTotals(reserved=1_100, settled=1_200), [])

    assert (standing.held_nanodollars, standing.left_nanodollars) == (0, 0)


@pytest.mark.parametrize(
    ("limit", "spent", "threshold", "has_reached"),
    [
        (1_000, 699, 70, False),
        (1_000, 700, 70, True),
        (10**15 + 1, 7 * 10**14, 70, False),  # a float would not tell them apart
        (10**15 + 1, 7 * 10**14 + 1, 70, True),
        (1_000, 0, 0, True),
        (0, 0, 100, True),
        (1_000, -5, 0, False),
    ],
)
def test_a_threshold_is_reached_to_the_nanodollar(
    limit: int, spent: int, threshold: int, has_reached: bool
) -> None:
    standing = Standing(limit_nanodollars=limit, spent_nanodollars=spent, held_nanodollars=0)

    assert standing.has_reached(threshold) is has_reached


@pytest.mark.parametrize(
    ("limit", "spent", "percent"), [(3, 2, 66), (3, 3, 100), (3, 7, 233), (0, 0, 100), (3, -1, 0)]
)
def test_percent_is_rounded_down(limit: int, spent: int, percent: int) -> None:
    assert Standing(limit_nanodollars=limit, spent_nanodollars=spent, held_nanodollars=0).percent == percent
