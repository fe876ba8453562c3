"""Anomalies: how often made-up traffic raises a false alarm, and what of true ones is found."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.anomalies import COMPARED_MIN, Hours
from tests.unit.metering.traffic_made_up import HOUR_KINDS, HourKind, hourly_spend, hours_from_monday

WEEKS = 16
HOURS = WEEKS * 7 * 24
JUDGED = range(4 * 7 * 24, HOURS)
DOLLAR = 1_000_000_000
FEW_CALLS = ("low", "sparse", "mondays")  # single calls make the hour: ten times one is within their luck


@pytest.mark.parametrize("spread", [0.5, 1.2], ids=["calls alike", "calls unlike"])
@pytest.mark.parametrize("kind", HOUR_KINDS)
def test_true_anomalies_are_found_and_ordinary_hours_raise_hardly_an_alarm(
    kind: HourKind, spread: float
) -> None:
    chance = random.Random(f"{kind} {spread}")  # noqa: S311 - made-up traffic
    starts, spent = hours_from_monday(HOURS), hourly_spend(kind, HOURS, chance, spread=spread)
    hours = Hours(starts, spent)
    false = sum(hours.anomaly(place) is not None for place in JUDGED)
    working = [place for place in JUDGED if spent[place] and 9 <= starts[place].hour <= 17] or [
        place for place in JUDGED if spent[place]
    ]
    found = {}
    for times in (3, 5, 10):
        tried = chance.sample(working, min(40, len(working)))
        hits = sum(
            Hours(starts, [*spent[:place], times * spent[place], *spent[place + 1 :]]).anomaly(place)
            is not None
            for place in tried
        )
        found[times] = hits / len(tried)
    print(  # noqa: T201 - the figures that docs state
        f"{kind}, spread {spread}: {720 * false / len(JUDGED):.2f} false alarms a month; found "
        + ", ".join(f"{100 * share:.0f} % of x{times}" for times, share in found.items())
    )
    assert 720 * false / len(JUDGED) <= 2
    if kind not in FEW_CALLS:
        assert found[5] >= 0.7
        assert found[10] >= 0.95


def team(*weeks: dict[int, int]) -> list[int]:
    """Hours of weeks, each given as {hour of the week: cost}."""
    return [week.get(hour, 0) for week in weeks for hour in range(168)]


def office(cost: int) -> dict[int, int]:
    return {day * 24 + hour: cost for day in range(5) for hour in range(9, 18)}


def judged(spent: list[int], place: int, **options: int) -> object:
    return Hours(hours_from_monday(len(spent)), spent).anomaly(place, **options)


def test_hours_that_cost_nothing_do_not_pull_the_expected_down() -> None:
    spent = team(*[office(DOLLAR)] * 5)
    place = 4 * 168 + 10

    assert judged(spent, place) is None
    spent[place] = 4 * DOLLAR
    found = Hours(hours_from_monday(len(spent)), spent).anomaly(place)
    assert found is not None
    assert (found.expected, found.spent, found.factor, found.level) == (DOLLAR, 4 * DOLLAR, 4.0, "warning")
    assert found.basis == "same_hours"


def test_a_night_that_is_usually_idle_is_held_against_all_hours_that_cost_something() -> None:
    spent = team(*[office(DOLLAR)] * 4, {50: DOLLAR, 51: 9 * DOLLAR})

    assert judged(spent, 4 * 168 + 50) is None
    found = Hours(hours_from_monday(len(spent)), spent).anomaly(4 * 168 + 51)
    assert found is not None
    assert (found.basis, found.level) == ("all_hours", "critical")


def test_a_job_of_every_monday_is_no_anomaly_on_mondays_but_is_on_tuesdays() -> None:
    week = office(DOLLAR) | {3: 40 * DOLLAR}
    spent = team(*[week] * 4, week | {27: 40 * DOLLAR})

    assert judged(spent, 4 * 168 + 3) is None
    assert judged(spent, 4 * 168 + 27) is not None


def test_an_incident_does_not_hide_the_next() -> None:
    spent = team(*[office(DOLLAR)] * 5)
    for hour in range(10, 16):
        spent[3 * 168 + hour] = 50 * DOLLAR
    spent[4 * 168 + 24 + 11] = 10 * DOLLAR

    assert judged(spent, 4 * 168 + 24 + 11) is not None


def test_each_hour_of_one_incident_is_told() -> None:
    spent = team(*[office(DOLLAR)] * 5)
    places = [4 * 168 + 24 + hour for hour in range(10, 15)]
    for place in places:
        spent[place] = 10 * DOLLAR

    assert all(judged(spent, place) is not None for place in places)


@pytest.mark.parametrize(("hours", "is_told"), [(COMPARED_MIN - 1, False), (COMPARED_MIN, True)])
def test_with_too_little_to_compare_nothing_is_judged(hours: int, is_told: bool) -> None:
    spent = [0] * 168 + [DOLLAR] * hours + [0] * 48 + [1_000 * DOLLAR]

    assert (judged(spent, len(spent) - 1) is not None) == is_told


def test_the_even_past_of_a_machine_allows_for_less_than_twice_as_much() -> None:
    spent = team(*[dict.fromkeys(range(168), DOLLAR)] * 5)
    place = 4 * 168 + 10

    spent[place] = 2 * DOLLAR - 1
    assert judged(spent, place) is None
    spent[place] = 2 * DOLLAR + DOLLAR // 10
    assert judged(spent, place) is not None


@pytest.mark.parametrize(("spent_now", "is_told"), [(100_000_000, False), (101_000_000, True)])
def test_cents_are_not_worth_an_alarm(spent_now: int, is_told: bool) -> None:
    spent = team(*[office(1_000_000)] * 5)
    spent[4 * 168 + 10] = spent_now

    assert (judged(spent, 4 * 168 + 10) is not None) == is_told
    assert judged(spent, 4 * 168 + 10, material=200_000_000) is None


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=900))
def test_nothing_that_can_be_spent_breaks_the_judgement(spent: list[int]) -> None:
    found = Hours(hours_from_monday(len(spent)), spent).anomaly(len(spent) - 1)

    assert found is None or found.spent >= 2 * found.expected * (1 - 1e-9)
