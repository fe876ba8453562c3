"""How many budgets can meet in one call, against trying every call there could be."""

import itertools
from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from metering.budgets import BUDGETS_MAX, Budget, Scope, Subject
from metering.overlaps import most_over_one_call


def budget_over(scope: Scope) -> Budget:
    return Budget(budget_id="budget_1", scope=scope, limit_nanodollars=1)


def by_trying(scopes: Sequence[Scope]) -> int:
    calls = itertools.product(("", "a", "b", "none"), repeat=4)
    subjects = [Subject(team=team, app=app, key_id=key, model=model) for team, app, key, model in calls]
    return max(sum(budget_over(scope).covers(subject) for scope in scopes) for subject in subjects)


values = st.sampled_from(["", "a", "b"])
scopes = st.one_of(
    st.builds(Scope, team=values, app=values, key_id=values, model=values),
    st.builds(Scope, app=values, key_id=values, model=values, unattributed=st.just(True)),
)


@given(st.lists(scopes, max_size=9))
def test_as_many_overlap_as_the_call_that_most_of_them_cover(given_scopes: list[Scope]) -> None:
    assert most_over_one_call([budget_over(scope) for scope in given_scopes]) == by_trying(given_scopes)


def test_budgets_of_different_values_never_overlap() -> None:
    budgets = [budget_over(Scope(team=f"team {number}")) for number in range(BUDGETS_MAX)]

    assert most_over_one_call(budgets) == 1


def test_a_full_rulebook_of_crossing_scopes_is_counted_at_once() -> None:
    scopes = [
        msgspec.convert({name: str(number)}, Scope)
        for name in ("team", "app", "key_id", "model")
        for number in range(BUDGETS_MAX // 4)
    ]

    assert most_over_one_call([budget_over(scope) for scope in scopes]) == 4


def test_a_budget_that_is_switched_off_counts_since_it_may_be_switched_on() -> None:
    off = Budget(budget_id="budget_1", limit_nanodollars=1, enabled=False)

    assert most_over_one_call([off, off]) == 2
