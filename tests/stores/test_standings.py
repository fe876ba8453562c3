"""How budgets stand, on both stores: by their counters, and by what instances have not yet told these."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from metering.budgets import Budget
from metering.collections import LEASES
from metering.counters import CounterKey, LeaseName, counter_key
from metering.periods import period_of
from metering.seeding import begun
from metering.standings import LEASES_A_READ, standings_of
from metering.stores import STORE_TIMEOUT_SECONDS, Create, Document, DocumentStore, Increment, Query, Write
from tests.builders import ACCOUNT_ID, AT
from tests.doubles.counting_store import CountingStore

LIMIT = 1_000
BUDGET = Budget(budget_id="budget_1", limit_nanodollars=LIMIT)
MONTH = period_of("month", "UTC", AT)


def count(store: DocumentStore, key: CounterKey, **sums: int) -> None:
    store.commit([Increment(key.path, {(name,): amount for name, amount in sums.items()}, key.identity)])


def lease(store: DocumentStore, key: CounterKey, number: int = 1, **fields: Any) -> None:
    name = LeaseName(key.counter_id, f"{7:032x}", number)
    known = {"account_id": ACCOUNT_ID, "state": "open", "amount": 0, "used": 0, "reported": 0, "joined": 1}
    store.commit([Create(name.path, known | fields)])


def standing(store: DocumentStore, budget: Budget = BUDGET) -> Any:
    return standings_of(store, ACCOUNT_ID, [budget], AT)[budget.budget_id]


def test_a_budget_that_nobody_met_is_all_left(store: DocumentStore) -> None:
    found = standing(store)

    (only,) = found.values
    assert (only.value, only.standing.spent_nanodollars, only.standing.left_nanodollars) == ("", 0, LIMIT)
    assert found.period == MONTH
    assert found.counting_from == MONTH.starts_at


def test_what_leases_have_stored_and_not_told_counts_as_spent(store: DocumentStore) -> None:
    key = counter_key(ACCOUNT_ID, BUDGET, MONTH)
    count(store, key, reserved=600, settled=100, instances=2)
    lease(store, key, amount=400, used=150, reported=100)
    lease(store, key, 2, amount=200, used=30)
    lease(store, key, 3, amount=70, used=70, state="closed")
    lease(store, key, 4, account_id="acct_other", used=500)

    found = standing(store).values[0].standing

    assert (found.spent_nanodollars, found.held_nanodollars, found.left_nanodollars) == (180, 420, 400)
    assert found.percent == 18


@pytest.mark.parametrize(
    ("terms", "bound"),
    [
        ({"mode": "strict"}, 0),
        ({"mode": "normal"}, 3 * LIMIT // 20),
        ({"action": "warn"}, None),
        ({"action": "downgrade", "mode": "strict"}, 0),
    ],
)
def test_the_bound_is_that_of_the_mode_and_of_the_instances_there_are(
    store: DocumentStore, terms: dict[str, Any], bound: int | None
) -> None:
    budget = Budget(budget_id="budget_1", limit_nanodollars=LIMIT, **terms)
    count(store, counter_key(ACCOUNT_ID, budget, MONTH), instances=3)

    assert standing(store, budget).bound_nanodollars == bound


def test_of_values_with_a_limit_each_the_one_that_spent_most_comes_first(store: DocumentStore) -> None:
    budget = Budget(budget_id="budget_1", limit_nanodollars=LIMIT, each="team")
    for team, spent in (("ads", 10), ("search", 30), ("", 20)):
        count(store, counter_key(ACCOUNT_ID, budget, MONTH, team), settled=spent, reserved=spent)
    count(store, counter_key(ACCOUNT_ID, budget, MONTH, is_shared=True), settled=5, reserved=5)
    earlier = period_of("month", "UTC", AT - timedelta(days=30))
    count(store, counter_key(ACCOUNT_ID, budget, earlier, "ads"), settled=900, reserved=900)
    lease(store, counter_key(ACCOUNT_ID, budget, MONTH, "ads"), used=100, amount=100)

    values = standing(store, budget).values

    assert [(each.value, each.standing.spent_nanodollars) for each in values] == [
        ("ads", 110),
        ("search", 30),
        ("", 20),
        (None, 5),
    ]


def test_every_open_lease_is_read(sqlite_store: DocumentStore) -> None:
    key = counter_key(ACCOUNT_ID, BUDGET, MONTH)
    for number in range(LEASES_A_READ + 1):
        lease(sqlite_store, key, number, used=1, amount=1)
    count(sqlite_store, key, reserved=LEASES_A_READ + 1, settled=0)

    assert standing(sqlite_store).values[0].standing.spent_nanodollars == LEASES_A_READ + 1


def test_a_budget_not_yet_seeded_counts_from_when_it_was_made(store: DocumentStore) -> None:
    store.commit([begun(ACCOUNT_ID, BUDGET, AT).write()])

    assert standing(store).counting_from == AT


def test_a_limit_lowered_below_what_is_spent_leaves_nothing(store: DocumentStore) -> None:
    key = counter_key(ACCOUNT_ID, BUDGET, MONTH)
    count(store, key, reserved=LIMIT, settled=LIMIT)
    lowered = Budget(budget_id="budget_1", limit_nanodollars=LIMIT // 4)

    found = standing(store, lowered).values[0].standing

    assert (found.left_nanodollars, found.percent, found.held_nanodollars) == (0, 400, 0)


class Syncing(CountingStore):
    """A store in which a lease tells its counter what it used, just after it was found by a query."""

    def __init__(self, store: DocumentStore, told: Sequence[Write]) -> None:
        super().__init__(store)
        self._told = told

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        found = super().query(query, timeout_seconds=timeout_seconds)
        if query.collection == LEASES:
            self._store.commit(self._told)
        return found


def test_what_a_lease_tells_while_its_budget_is_read_counts_once(store: DocumentStore) -> None:
    key = counter_key(ACCOUNT_ID, BUDGET, MONTH)
    count(store, key, reserved=600, instances=1)
    lease(store, key, amount=600, used=100)
    path = LeaseName(key.counter_id, f"{7:032x}", 1).path
    told = [Increment(key.path, {("settled",): 100}), Increment(path, {("reported",): 100})]

    assert standing(Syncing(store, told)).values[0].standing.spent_nanodollars == 100


def test_a_call_counts_from_when_its_instance_told_of_it_not_only_when_it_is_stored(
    store: DocumentStore,
) -> None:
    key = counter_key(ACCOUNT_ID, BUDGET, MONTH)
    count(store, key, reserved=600, settled=100, instances=1)
    lease(store, key, amount=600, reported=100)
    before = standing(store).values[0].standing.spent_nanodollars
    store.commit([Increment(LeaseName(key.counter_id, f"{7:032x}", 1).path, {("used",): 100})])

    assert (before, standing(store).values[0].standing.spent_nanodollars) == (100, 100)
