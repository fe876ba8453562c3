"""What is an alert, and when it is over: thresholds from both sides, forecasts, states."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.alerting import (
    MODELS_MAX,
    SNOOZE_MAX,
    Alert,
    Finding,
    acknowledged,
    anomaly_finding,
    budget_findings,
    fired,
    forecast_finding,
    has_come_right,
    recording_findings,
    resolved,
    snoozed,
    unpriced_findings,
)
from metering.anomalies import Anomaly
from metering.budgets import Budget
from metering.counters import Standing
from metering.errors import Conflict, InvalidInput
from metering.forecasts import Range
from metering.mixes import Model
from metering.nightly_check import Check, Difference
from metering.outlooks import PeriodOutlook, TeamAnomaly
from metering.periods import period_of
from metering.standings import BudgetStanding, ValueStanding
from tests.builders import ACCOUNT_ID

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
MONTH = period_of("month", "UTC", NOW)
LIMIT = 1_000_000_000_000
BUDGET = Budget(budget_id="budget_1", name="search", limit_nanodollars=LIMIT)


def standing(*spent: int, limit: int = LIMIT, names: tuple[str | None, ...] = ("",)) -> BudgetStanding:
    values = tuple(
        ValueStanding(
            value=name,
            standing=Standing(limit_nanodollars=limit, spent_nanodollars=each, held_nanodollars=0),
        )
        for each, name in zip(spent, names, strict=True)
    )
    return BudgetStanding(period=MONTH, counting_from=MONTH.starts_at, bound_nanodollars=None, values=values)


def steps(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.step, each.level) for each in found]


@pytest.mark.parametrize(
    ("spent", "expected"),
    [
        (0, []),
        (LIMIT * 80 // 100 - 1, []),
        (LIMIT * 80 // 100, [("80", "warning")]),
        (LIMIT - 1, [("80", "warning")]),
        (LIMIT, [("100", "critical")]),
        (LIMIT * 3, [("100", "critical")]),
    ],
)
def test_of_the_thresholds_reached_the_highest_is_told(spent: int, expected: list[tuple[str, str]]) -> None:
    assert steps(budget_findings(BUDGET, standing(spent))) == expected


@pytest.mark.parametrize(("spent", "count"), [(0, 0), (1, 1)])
def test_a_budget_of_nothing_is_told_of_once_something_is_spent(spent: int, count: int) -> None:
    budget = Budget(budget_id="budget_1", limit_nanodollars=0)

    assert len(budget_findings(budget, standing(spent, limit=0))) == count


def test_a_budget_that_is_switched_off_tells_nothing() -> None:
    budget = Budget(budget_id="budget_1", limit_nanodollars=LIMIT, enabled=False)

    assert budget_findings(budget, standing(LIMIT)) == []
    outlook = PeriodOutlook(spent=0, by_its_end=Range(predicted=2 * LIMIT, low=None, high=None))
    assert forecast_finding(budget, standing(1), outlook, NOW) is None


def test_each_value_with_a_limit_of_its_own_is_an_alert_of_its_own() -> None:
    budget = Budget(budget_id="budget_1", limit_nanodollars=LIMIT, each="team")
    found = budget_findings(budget, standing(LIMIT, LIMIT, LIMIT, 0, names=("a", "", None, "b")))

    assert len({each.alert_id(ACCOUNT_ID) for each in found}) == 3
    assert [each.title for each in found] == [
        "100% of the budget budget_1 (team: a) is spent",
        "100% of the budget budget_1 (team: none) is spent",
        "100% of the budget budget_1 (team: all others) is spent",
    ]


@given(st.integers(0, 2 * LIMIT), st.integers(0, 2 * LIMIT))
def test_the_same_finding_is_the_same_alert_and_any_other_another(first: int, second: int) -> None:
    found = [budget_findings(BUDGET, standing(spent)) for spent in (first, second)]
    ids = [each.alert_id(ACCOUNT_ID) for findings in found for each in findings]
    if len(ids) == 2:
        assert (ids[0] == ids[1]) == (found[0][0].step == found[1][0].step)
        assert found[0][0].alert_id("acct_other") != ids[0]


def test_what_a_budget_alert_says_is_exact() -> None:
    (found,) = budget_findings(BUDGET, standing(LIMIT * 85 // 100 + 1))

    assert found.title == "85% of the budget search is spent"
    assert found.text == (
        "The budget search has spent $850.00 of $1,000.00 in 2026-11; it begins anew at 2026-12-01 00:00 UTC."
    )
    assert found.data["spent_nanodollars"] == 850_000_000_001
    assert found.data["spent_usd"] == "850.000000001"
    assert found.ends_at == MONTH.ends_at


@pytest.mark.parametrize(
    ("spent", "told"), [(14_358_100, "$0.0144"), (10_000_000, "$0.01"), (9_999_999, "$0.009999999")]
)
def test_an_alert_tells_a_small_amount_from_a_small_limit(spent: int, told: str) -> None:
    (found,) = budget_findings(BUDGET, standing(spent, limit=9_000_000))

    assert found.text.startswith(f"The budget search has spent {told} of $0.009 in 2026-11;")


@pytest.mark.parametrize(
    ("ahead", "is_told"), [(LIMIT - 400_000_000_000, False), (LIMIT - 400_000_000_000 + 1, True)]
)
def test_a_forecast_is_told_where_it_passes_the_limit(ahead: int, is_told: bool) -> None:
    # The rollups know of less than the budget does: what is ahead comes on top of the budget's own count.
    outlook = PeriodOutlook(spent=7, by_its_end=Range(predicted=7 + ahead, low=None, high=None))

    found = forecast_finding(BUDGET, standing(400_000_000_000), outlook, NOW)

    assert (found is not None) == is_told


@pytest.mark.parametrize(
    ("spent", "at", "outlook"),
    [
        (LIMIT, NOW, 2 * LIMIT),  # spent already: its threshold says so
        (1, MONTH.starts_at + timedelta(days=2), 2 * LIMIT),  # too early in the month
        (1, NOW, None),  # too little history
    ],
)
def test_no_forecast_is_told_where_it_says_little(spent: int, at: datetime, outlook: int | None) -> None:
    found = None
    if outlook is not None:
        found = PeriodOutlook(spent=0, by_its_end=Range(predicted=outlook, low=None, high=None))

    assert forecast_finding(BUDGET, standing(spent), found, at) is None


def test_an_odd_hour_is_one_alert_for_each_team_hour_and_level() -> None:
    def found(team: str, hour: int, level: Any) -> str:
        anomaly = Anomaly(
            starts_at=NOW.replace(hour=hour, minute=0), level=level, spent=5_000_000_000,
            expected=1_000_000_000, factor=5.0, compared=20, basis="same_hours",
        )  # fmt: skip
        odd = TeamAnomaly(
            team=team,
            anomaly=anomaly,
            requests=10,
            top_model=Model("openai", "gpt-4o"),
            top_model_nanodollars=4,
        )
        return anomaly_finding(odd).alert_id(ACCOUNT_ID)

    cases = [
        (team, hour, level) for team in ("a", "b") for hour in (8, 9) for level in ("warning", "critical")
    ]
    assert len({found(*case) for case in cases}) == len(cases)
    assert found(*cases[0]) == found(*cases[0])


def test_models_without_a_price_are_told_the_most_used_first_and_not_without_end() -> None:
    used = [("openai", f"model-{number}", number) for number in range(MODELS_MAX + 10)]

    found = unpriced_findings(used, MONTH)

    assert len(found) == MODELS_MAX
    assert found[0].subject_id == f"openai/model-{MODELS_MAX + 9}"
    assert all(each.data["requests"] > 0 for each in found)


def test_a_day_that_does_not_add_up_is_told_and_over_once_it_does() -> None:
    wrong = Check(
        day="2026-11-20", checked_at=NOW, differences=(Difference(what="x", by_events=1, by_books=2),)
    )
    right = Check(day="2026-11-20", checked_at=NOW)
    missing = Check(day="2026-11-19", checked_at=NOW, in_flight=1)

    found = recording_findings([wrong, right, missing])

    assert [each.period for each in found] == ["2026-11-20", "2026-11-19"]
    alert = fired(found[0], ACCOUNT_ID, NOW)
    assert not has_come_right(alert, [wrong, missing])
    assert has_come_right(alert, [right])


@pytest.fixture
def alert() -> Alert:
    (found,) = budget_findings(BUDGET, standing(LIMIT))
    return fired(found, ACCOUNT_ID, NOW)


def test_an_alert_is_open_until_somebody_or_time_ends_it(alert: Alert) -> None:
    assert alert.state_at(NOW) == "open"
    assert alert.state_at(MONTH.ends_at - timedelta(microseconds=1)) == "open"
    assert alert.state_at(MONTH.ends_at) == "resolved"
    done = resolved(alert, "person_1", NOW)
    assert (done.state_at(NOW), done.by, done.resolved_at) == ("resolved", "person_1", NOW)
    assert resolved(done, "person_2", NOW) == done


@pytest.mark.parametrize(
    ("pause", "is_allowed"),
    [(timedelta(0), False), (timedelta(seconds=1), True), (SNOOZE_MAX, True), (SNOOZE_MAX * 1.01, False)],
)
def test_an_alert_is_put_off_into_the_near_future(alert: Alert, pause: timedelta, is_allowed: bool) -> None:
    if not is_allowed:
        with pytest.raises(InvalidInput):
            snoozed(alert, "", NOW + pause, NOW)
        return
    asleep = snoozed(alert, "person_1", NOW + pause, NOW)
    assert asleep.state_at(NOW + pause - timedelta(microseconds=1)) in {"snoozed", "resolved"}
    assert asleep.state_at(NOW + pause) in {"open", "resolved"}


def test_what_is_resolved_is_neither_acknowledged_nor_put_off(alert: Alert) -> None:
    for over in (resolved(alert, "", NOW), alert):
        at = NOW if over.state == "resolved" else MONTH.ends_at
        with pytest.raises(Conflict):
            acknowledged(over, "", at)
        with pytest.raises(Conflict):
            snoozed(over, "", at + timedelta(hours=1), at)


def test_acknowledging_twice_keeps_who_was_first(alert: Alert) -> None:
    first = acknowledged(alert, "person_1", NOW)

    assert acknowledged(first, "person_2", NOW + timedelta(hours=1)) == first


def test_what_comes_of_a_subject_that_is_put_off_is_put_off_as_well(alert: Alert) -> None:
    asleep = snoozed(alert, "", NOW + timedelta(hours=2), NOW)
    (higher,) = budget_findings(
        Budget(budget_id="budget_1", limit_nanodollars=LIMIT, thresholds_percent=(150,)), standing(2 * LIMIT)
    )
    (other,) = budget_findings(Budget(budget_id="budget_2", limit_nanodollars=LIMIT), standing(LIMIT))

    assert fired(higher, ACCOUNT_ID, NOW, [asleep]).snoozed_until == NOW + timedelta(hours=2)
    assert fired(higher, ACCOUNT_ID, NOW + timedelta(hours=2), [asleep]).state == "open"
    assert fired(other, ACCOUNT_ID, NOW, [asleep]).state == "open"
