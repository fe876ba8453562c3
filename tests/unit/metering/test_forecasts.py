"""Forecasts: what they say of made-up pasts whose continuation is known, and what they do not claim."""

import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.forecasts import HISTORY_DAYS_MAX, HISTORY_DAYS_MIN, Forecast, forecast
from tests.unit.metering.traffic_made_up import DAY_KINDS, DAY_NANODOLLARS, DayKind, daily_spend

REPETITIONS = 40

amounts = st.integers(0, 2**50)


def forecast_of(history: list[int], horizon_days: int) -> Forecast:
    found = forecast(history, horizon_days)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", DAY_KINDS)
def test_a_month_ahead_is_forecast_about_as_well_as_the_back_test_says(
    kind: DayKind,
) -> None:
    chance = random.Random(f"a month of {kind}")  # noqa: S311 - made-up traffic
    errors, naive, shown, covered = [], [], [], []
    for _ in range(REPETITIONS):
        days = daily_spend(kind, 84 + 30, chance)
        past, truth = days[:84], sum(days[84:])
        found = forecast_of(past, 30)
        month = found.between(0, 30)
        assert found.back_test is not None
        assert month.low is not None
        assert month.high is not None
        errors.append(100 * abs(month.predicted - truth) / truth)
        naive.append(100 * abs(sum(past[-7:]) * 30 / 7 - truth) / truth)
        shown.append(found.back_test.error_percent)
        covered.append(month.low <= truth <= month.high)
    print(  # noqa: T201 - the figures that docs state
        f"{kind}: error {fmean(errors):.1f} %, back-test said {fmean(shown):.1f} %, repeating the last week"
        f" {fmean(naive):.1f} %, in the interval {100 * fmean(covered):.0f} % (meant: 80 %)"
    )
    assert 0.5 * fmean(errors) < fmean(shown) < 3 * fmean(errors)
    assert fmean(covered) >= 0.7
    if kind not in (
        "bursts",
        "wandering",
    ):  # where nothing is to be known beforehand, nothing beats the last week
        assert fmean(errors) < fmean(naive)


def test_an_even_past_goes_on_and_leaves_no_doubt() -> None:
    found = forecast_of([DAY_NANODOLLARS] * 60, 30)

    month = found.between(0, 30)
    assert (month.low, month.predicted, month.high) == (30 * DAY_NANODOLLARS,) * 3
    assert found.method == "average"
    assert found.back_test is not None
    assert found.back_test.error_percent == 0


def test_a_weekly_pattern_lands_on_its_weekdays() -> None:
    found = forecast_of([700, 0, 0, 0, 0, 0, 7] * 8 + [700, 0], 7)

    assert [round(day) for day in found.days] == [0, 0, 0, 0, 7, 700, 0]


def test_a_line_is_followed_and_slowly_let_go() -> None:
    found = forecast_of([DAY_NANODOLLARS * (50 + day) for day in range(84)], 60)

    assert found.method == "trend"
    assert found.days[0] == pytest.approx(134 * DAY_NANODOLLARS, rel=0.02)
    assert found.days[59] < (134 + 59) * DAY_NANODOLLARS


def test_a_few_odd_days_do_not_turn_the_line() -> None:
    even = [DAY_NANODOLLARS] * 84
    odd = [*even]
    odd[70], odd[75] = 40 * DAY_NANODOLLARS, 30 * DAY_NANODOLLARS

    assert (
        forecast_of(odd, 30).between(0, 30).predicted < 4.5 * forecast_of(even, 30).between(0, 30).predicted
    )


def test_days_before_the_first_cost_are_no_history() -> None:
    assert forecast([0] * 50 + [5] * (HISTORY_DAYS_MIN - 1), 7) is None
    found = forecast_of([0] * 50 + [5] * HISTORY_DAYS_MIN, 7)
    assert found.between(0, 7).predicted == 35


def test_too_short_a_past_to_test_gives_no_interval_instead_of_a_made_up_one() -> None:
    found = forecast_of([5] * 15, 7)

    assert found.back_test is None
    assert (found.between(0, 7).low, found.between(0, 7).high) == (None, None)
    assert forecast_of([5] * 16, 7).back_test is not None


def test_no_more_than_the_stated_past_plays_a_part() -> None:
    recent = daily_spend("weekly", HISTORY_DAYS_MAX, random.Random(1))  # noqa: S311 - made-up traffic

    assert forecast([10**15] * 30 + recent, 30) == forecast(recent, 30)


def test_an_account_without_cost_has_no_forecast() -> None:
    assert forecast([], 30) is None
    assert forecast([0] * 84, 30) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(amounts, min_size=1, max_size=90), st.integers(1, 365), st.integers(0, 364))
def test_whatever_the_past_amounts_are_whole_and_never_below_nothing(
    past: list[int], horizon: int, first: int
) -> None:
    found = forecast(past, horizon)
    if found is None:
        return

    assert len(found.days) == horizon
    each = found.between(min(first, horizon - 1), horizon)
    assert isinstance(each.predicted, int)
    assert each.predicted >= 0
    if each.low is not None and each.high is not None:
        assert 0 <= each.low <= each.predicted <= each.high


def test_the_interval_widens_with_the_distance() -> None:
    found = forecast_of(daily_spend("weekly", 84, random.Random(2)), 365)  # noqa: S311 - made-up traffic

    def width(first: int, end: int) -> float:
        found_range = found.between(first, end)
        assert found_range.high is not None
        return (found_range.high - found_range.predicted) / found_range.predicted

    assert found.back_test is not None
    assert found.back_test.tested_days == 28
    assert width(0, 28) < width(0, 90) < width(0, 365)
