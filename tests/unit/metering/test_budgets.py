"""Which calls a budget covers, and by which value it counts them."""

from typing import Any

import pytest

from metering.budgets import Budget, Dimension, Scope, Subject, matching, undated

CALL = Subject(team="search", app="web", key_id="key_1", model="gpt-4o-2024-08-06")


def budget(budget_id: str = "budget_1", **changes: Any) -> Budget:
    fields: dict[str, Any] = {"budget_id": budget_id, "limit_nanodollars": 1_000}
    return Budget(**fields | changes)


@pytest.mark.parametrize(
    ("scope", "covers"),
    [
        (Scope(), True),
        (Scope(team="search"), True),
        (Scope(team="other"), False),
        (Scope(app="web"), True),
        (Scope(app="other"), False),
        (Scope(key_id="key_1"), True),
        (Scope(key_id="key_2"), False),
        (Scope(team="search", app="web", key_id="key_1", model="gpt-4o"), True),
        (Scope(team="search", app="other"), False),
        (Scope(unattributed=True), False),
    ],
)
def test_each_dimension_that_the_scope_names_must_be_the_calls(scope: Scope, covers: bool) -> None:
    assert budget(scope=scope).covers(CALL) is covers


@pytest.mark.parametrize(
    ("scoped", "called", "covers"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o-2024-08-06", "gpt-4o", True),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", True),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001", True),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
    ],
)
def test_a_snapshot_is_its_model(scoped: str, called: str, covers: bool) -> None:
    assert budget(scope=Scope(model=scoped)).covers(Subject(model=called)) is covers


def test_calls_without_a_team_can_have_a_budget_of_their_own() -> None:
    unattributed = budget(scope=Scope(unattributed=True))

    assert unattributed.covers(Subject(app="web"))
    assert not unattributed.covers(CALL)


def test_a_budget_that_is_off_covers_nothing_and_the_others_stay_in_their_order() -> None:
    budgets = [budget("budget_b"), budget("budget_x", enabled=False), budget("budget_a")]

    assert [each.budget_id for each in matching(budgets, CALL)] == ["budget_b", "budget_a"]


@pytest.mark.parametrize(
    ("each", "value"),
    [(None, ""), ("team", "search"), ("app", "web"), ("key_id", "key_1"), ("model", "gpt-4o")],
)
def test_a_call_counts_for_its_own_value(each: Dimension | None, value: str) -> None:
    assert budget(each=each).value_of(CALL) == value


def test_only_normal_budgets_have_an_overdraft_and_only_warnings_take_no_leases() -> None:
    assert budget(limit_nanodollars=1_000).overdraft_nanodollars == 50
    assert budget(mode="strict").overdraft_nanodollars == 0
    assert [budget(action=action).takes_leases for action in ("block", "downgrade", "warn")] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "snapshot",
    [
        *("gpt-4-0613", "gpt-4-0314", "gpt-4-2024-05-13", "gpt-4-20240513", "gpt-4-latest"),
        *("gpt-4-0101", "gpt-4-1231"),
    ],
)
def test_naming_a_snapshot_escapes_no_budget(snapshot: str) -> None:
    assert budget(scope=Scope(model="gpt-4")).covers(Subject(model=snapshot))
    assert budget(scope=Scope(model=snapshot)).covers(Subject(model="gpt-4"))
    assert budget(each="model").value_of(Subject(model=snapshot)) == "gpt-4"


@pytest.mark.parametrize(
    "name",
    [
        *("", "gpt-4", "gpt-4.1", "claude-opus-4-1", "o3", "mistral-large-2402", "gpt-3.5-turbo-16k"),
        *("gpt-4-0013", "gpt-4-1301", "gpt-4-0600", "gpt-4-0632", "gpt-40613", "gpt-4-0613-x"),
    ],
)
def test_what_is_no_date_stays(name: str) -> None:
    assert undated(name) == name
