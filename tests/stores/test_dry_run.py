"""What a rule would have done in the past week, on both stores, from events that are known to the test."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metering import compaction
from metering.accounts import AccountSettings
from metering.buckets import Range
from metering.budgets import Budget, Scope
from metering.dry_run import Asked, DryRun, dry_run
from metering.events import CostEvent
from metering.mixes import Prices
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.quarters import DOCUMENTS_AN_ANSWER
from metering.routing import RoutingRule
from metering.stores import DocumentStore
from tests.builders import ACCOUNT_ID, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.stores.test_rule_savings import keep, routed

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DOLLAR = 1_000_000_000
SONNET, HAIKU = "claude-sonnet-4-5", "claude-haiku-4-5"
RULE = RoutingRule(rule_id="rule_1", name="cheaper", threshold=50, from_models=(SONNET,), to_model=HAIKU)
PRICES = Prices(Pricer(load_price_table()), NOW, AccountSettings().prices)


def budget(limit: int = 10 * DOLLAR, **changes: Any) -> Budget:
    fields: dict[str, Any] = {"budget_id": "bud_1", "name": "all", "limit_nanodollars": limit}
    return Budget(**fields | changes)


def call(hours_ago: float, **changes: Any) -> CostEvent:
    """A call of three dollars: a million tokens of input at the list's price."""
    fields = {"model": SONNET, "input_tokens": 1_000_000, "output_tokens": 0, "cost_nanodollars": 3 * DOLLAR}
    return make_event(timestamp=NOW - timedelta(hours=hours_ago), **fields | changes)


def run(
    store: DocumentStore,
    budgets: Sequence[Budget],
    rule: RoutingRule = RULE,
    rules: Sequence[RoutingRule] | None = None,
) -> DryRun:
    asked = Asked(rule=rule, rules=rules or (rule,), budgets=budgets, settings=AccountSettings())
    return dry_run(store, ACCOUNT_ID, asked, PRICES, NOW)


def calls(found: DryRun) -> int:
    return sum(each.mix.answered for each in found.models)


def test_calls_are_turned_from_the_quarter_hour_on_that_begins_with_the_threshold_reached(
    store: DocumentStore,
) -> None:
    keep(store, [call(30), call(20), call(19.9), call(10), call(5)])

    found = run(store, [budget()])

    ((turned,), (reached,)) = found.models, found.reached
    assert (found.named, turned.mix.answered, turned.mix.cost_nanodollars) == (5, 2, 6 * DOLLAR)
    assert reached.at == NOW - timedelta(hours=10)
    assert turned.switch is not None
    assert (turned.switch.target_nanodollars, turned.switch.saved_nanodollars) == (2 * DOLLAR, 4 * DOLLAR)
    assert not found.is_lower_bound


def test_what_was_spent_before_the_week_counts_in_its_period_and_no_further(store: DocumentStore) -> None:
    keep(store, [call(24 * 9), call(24 * 8), call(3), call(24 * 25, cost_nanodollars=90 * DOLLAR)])

    assert calls(run(store, [budget()])) == 1  # this month's six dollars; not October's ninety
    assert calls(run(store, [budget(period="day")])) == 0
    assert calls(run(store, [budget(period="week")])) == 0


def test_a_period_that_begins_within_the_week_begins_with_nothing(store: DocumentStore) -> None:
    keep(store, [call(40), call(39), call(38), call(11), call(10), call(9)])

    found = run(store, [budget(period="day")])

    assert calls(found) == 2  # the third of either day
    assert [each.period.text for each in found.reached] == ["2026-11-19", "2026-11-21"]


def test_only_the_budgets_over_a_call_count(store: DocumentStore) -> None:
    keep(store, [call(5, team="a"), call(4, team="b"), call(3, team="a"), call(2, team="a")])
    scoped = budget(scope=Scope(team="a"))

    assert calls(run(store, [scoped])) == 1
    assert calls(run(store, [budget(each="team")])) == 1
    assert calls(run(store, [budget(scope=Scope(team="c"))])) == 0
    assert calls(run(store, [budget(enabled=False)])) == 0
    assert calls(run(store, [])) == 0


def test_budgets_over_keys_are_followed_by_key(store: DocumentStore) -> None:
    keep(store, [call(5, key_id="key_1"), call(4, key_id="key_1"), call(3, key_id="key_1"), call(2)])

    by_key = run(store, [budget(each="key_id")])
    both = run(store, [budget(each="key_id"), budget(budget_id="bud_2")])

    assert (calls(by_key), by_key.is_lower_bound) == (1, False)
    assert (calls(both), both.is_lower_bound) == (2, True)
    mixed = run(store, [budget(each="key_id", scope=Scope(team="a"))])
    assert (calls(mixed), [each.budget_id for each in mixed.not_followed]) == (0, ["bud_1"])


def test_a_rule_that_is_asked_before_takes_the_calls_first(store: DocumentStore) -> None:
    keep(store, [call(5), call(4), call(3), call(2)])
    early = RoutingRule(
        rule_id="rule_2", name="early", threshold=50, from_models=(SONNET,), to_model="claude-opus-4-6"
    )
    late = RoutingRule(
        rule_id="rule_2", name="late", threshold=91, from_models=(SONNET,), to_model="claude-opus-4-6"
    )

    never = run(store, [budget()], rules=(early, RULE))
    between = run(store, [budget()], rules=(late, RULE))

    assert (calls(never), dict(never.taken)) == (0, {"early": 2})
    assert (calls(between), dict(between.taken)) == (2, {})
    assert calls(run(store, [budget()], rules=(RULE, early))) == 2


def test_what_the_rule_did_is_told_apart(store: DocumentStore) -> None:
    turned = {"timestamp": NOW - timedelta(hours=2), "cost_nanodollars": DOLLAR}
    keep(
        store, [call(5), call(4), call(3), routed("cheaper", 2 * DOLLAR, **turned), routed("x", 1, **turned)]
    )

    found = run(store, [budget()])

    assert (calls(found), found.named) == (1, 3)
    assert found.done is not None
    assert (found.done.sums["requests"], found.done.saved_nanodollars) == (1, 2 * DOLLAR)


def test_what_could_not_be_turned_is_said_to_stay(store: DocumentStore) -> None:
    azure = {"provider": "azure", "model": "gpt-4o"}
    keep(store, [call(5, **azure), call(4, **azure), call(3, **azure)])
    rule = RoutingRule(rule_id="r", name="r", threshold=50, from_models=("gpt-4o",), to_model="gpt-4o-mini")

    (stays,) = run(store, [budget()], rule).models
    (unknown,) = run(store, [budget()], RoutingRule(
        rule_id="r", name="r", threshold=0, from_models=("gpt-4o",), to_model="gpt-4o-mini", provider="openai"
    )).models  # fmt: skip

    assert (stays.why, stays.switch) == ("no_word", None)
    assert unknown.mix.answered == 3  # a threshold of nothing is reached from the first call on


@pytest.mark.parametrize("each", [None, "key_id"])
def test_five_weeks_behind_are_read_within_the_bound(sqlite_store: DocumentStore, each: Any) -> None:
    now = datetime(2026, 12, 7, 23, 50, tzinfo=UTC)  # the week begins on the last of November
    keep(sqlite_store, [call(-24 * 17 + hour) for hour in range(6, 24 * 37, 5)])
    compaction.run(sqlite_store, ManualClock(now))
    keep(sqlite_store, [call(-24 * 16.49 + hour) for hour in (0, 0.3, 0.6)])
    counting = CountingStore(sqlite_store)
    asked = Asked(rule=RULE, rules=(RULE,), budgets=[budget(each=each)], settings=AccountSettings())

    found = dry_run(counting, ACCOUNT_ID, asked, PRICES, now)

    assert 37 < counting.documents_read <= DOCUMENTS_AN_ANSWER
    assert found.range == Range(now - timedelta(days=7, minutes=5), now - timedelta(minutes=5))
