"""Buckets in any zone: they cover their range, follow its clock and calendar, and lie in one another."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.buckets import (
    BUCKET_WIDTHS,
    EARLIEST,
    Earlier,
    Range,
    bucket_edges,
    range_before,
    whole_quarters,
    zone_named,
)
from metering.rollups import QUARTER
from tests.builders import AT

ZONES = ["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"]

zones = st.sampled_from(ZONES)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
lengths = st.timedeltas(timedelta(microseconds=1), timedelta(days=40))


@pytest.mark.battery_class("clocks that jump")
@given(zones, moments, lengths, st.sampled_from(BUCKET_WIDTHS))
def test_buckets_cover_the_range_without_gap_or_overlap(
    zone: str, start: datetime, length: timedelta, width: str
) -> None:
    edges = bucket_edges(start, start + length, width, ZoneInfo(zone))

    assert edges[0] <= start < edges[1]
    assert edges[-2] < start + length <= edges[-1]
    assert all(earlier < later for earlier, later in pairwise(edges))
    assert all((edge - EARLIEST) % QUARTER == timedelta(0) for edge in edges)


@given(zones, moments, lengths)
def test_a_day_is_one_date_of_the_zones_own_calendar(zone: str, start: datetime, length: timedelta) -> None:
    edges = bucket_edges(start, start + length, "1d", ZoneInfo(zone))

    days = [edge.astimezone(ZoneInfo(zone)).date() for edge in edges]
    last_moments = [(edge - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() for edge in edges]
    assert last_moments[1:] == days[:-1]
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))


@given(zones, moments)
def test_an_hour_is_one_hour_of_the_zones_own_clock(zone: str, start: datetime) -> None:
    first, second, *_ = bucket_edges(start, start + timedelta(microseconds=1), "1h", ZoneInfo(zone))

    inside = [first, second - timedelta(microseconds=1)]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in inside]
    assert local[0].hour == local[1].hour
    assert second - first <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
        ("America/New_York", date(2026, 11, 2), 24),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Asia/Kolkata", date(2026, 3, 8), 24),
        ("Africa/Cairo", date(2026, 4, 24), 23),
    ],
)
def test_days_on_which_clocks_change_are_shorter_or_longer(zone: str, day: date, hours: float) -> None:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone))

    start, end = bucket_edges(noon, noon + timedelta(seconds=1), "1d", ZoneInfo(zone))

    assert (end - start) / timedelta(hours=1) == hours
    assert start.astimezone(ZoneInfo(zone)).date() == day


def test_a_repeated_hour_is_two_buckets() -> None:
    day = datetime(2026, 11, 1, tzinfo=ZoneInfo("America/New_York"))

    edges = bucket_edges(day, day + timedelta(days=1), "1h", ZoneInfo("America/New_York"))

    assert len(edges) - 1 == 25


def test_every_zone_keeps_to_quarter_hours() -> None:
    moments = [datetime(year, month, 1, tzinfo=UTC) for year in (2020, 2026, 2040) for month in (1, 7)]

    for name in available_timezones():
        for moment in moments:
            offset = moment.astimezone(ZoneInfo(name)).utcoffset()
            assert offset is not None
            assert offset % QUARTER == timedelta(0), name


@given(zones, moments, lengths, st.sampled_from(["1w", "1mo"]))
def test_weeks_and_months_begin_where_one_of_their_days_does(
    zone: str, start: datetime, length: timedelta, width: str
) -> None:
    edges = bucket_edges(start, start + length, width, ZoneInfo(zone))

    days = bucket_edges(edges[0], edges[-1], "1d", ZoneInfo(zone))
    assert set(edges) <= set(days)
    firsts = [edge.astimezone(ZoneInfo(zone)).date() for edge in edges]
    assert all(day.weekday() == 0 if width == "1w" else day.day == 1 for day in firsts)
    assert all(earlier < later for earlier, later in pairwise(firsts))


def _in(zone: str, *when: int) -> datetime:
    year, month, day, hour, minute = (*when, 0, 0)[:5]
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize(
    ("start", "end", "before"),
    [
        ((2026, 3, 1), (2026, 4, 1), (2026, 2, 1)),
        ((2026, 4, 1), (2026, 7, 1), (2026, 1, 1)),
        ((2026, 1, 1), (2026, 2, 1), (2025, 12, 1)),
        ((2026, 11, 2), (2026, 11, 9), (2026, 10, 26)),
        ((2026, 3, 8), (2026, 3, 9), (2026, 3, 7)),
        ((2026, 11, 1), (2026, 11, 21), (2026, 10, 12)),
    ],
    ids=["a month", "a quarter", "January", "a week", "a day", "some days"],
)
def test_the_period_before_is_as_many_months_or_days_of_the_zone(
    zone: str, start: tuple[int, ...], end: tuple[int, ...], before: tuple[int, ...]
) -> None:
    found = range_before(_in(zone, *start), _in(zone, *end), ZoneInfo(zone))

    assert found == Range(_in(zone, *before).astimezone(UTC), _in(zone, *start).astimezone(UTC))


@given(zones, moments, lengths)
def test_the_period_before_ends_where_the_range_starts(zone: str, start: datetime, length: timedelta) -> None:
    found = range_before(start, start + length, ZoneInfo(zone))

    assert found.start < found.end == start
    local = start.astimezone(ZoneInfo(zone)), (start + length).astimezone(ZoneInfo(zone))
    if any(moment.time() != datetime.min.time() for moment in local):
        assert found.end - found.start == length


@pytest.mark.parametrize(
    ("earlier", "start", "end"),
    [
        ("week", (2026, 3, 3, 10, 30), (2026, 3, 4, 10, 30)),
        ("month", (2026, 2, 10, 10, 30), (2026, 2, 11, 10, 30)),
        ("year", (2025, 3, 10, 10, 30), (2025, 3, 11, 10, 30)),
    ],
)
def test_the_same_dates_earlier_keep_the_time_of_day_over_a_change_of_clocks(
    earlier: Earlier, start: tuple[int, ...], end: tuple[int, ...]
) -> None:
    zone = "America/New_York"  # clocks went forward on 8 March 2026

    found = range_before(
        _in(zone, 2026, 3, 10, 10, 30), _in(zone, 2026, 3, 11, 10, 30), ZoneInfo(zone), earlier
    )

    assert found == Range(_in(zone, *start).astimezone(UTC), _in(zone, *end).astimezone(UTC))


@pytest.mark.parametrize(
    ("day", "earlier", "expected"),
    [
        ((2026, 3, 31), "month", (2026, 2, 28)),
        ((2024, 3, 30), "month", (2024, 2, 29)),
        ((2024, 2, 29), "year", (2023, 2, 28)),
        ((2026, 1, 15), "month", (2025, 12, 15)),
    ],
)
def test_a_day_that_the_earlier_month_lacks_is_its_last(
    day: tuple[int, ...], earlier: Earlier, expected: tuple[int, ...]
) -> None:
    start = _in("UTC", *day)

    assert range_before(start, start + QUARTER, ZoneInfo("UTC"), earlier).start == _in("UTC", *expected)


def test_a_range_is_widened_to_whole_quarter_hours() -> None:
    assert whole_quarters(AT, AT + timedelta(seconds=1)) == Range(
        AT.replace(minute=30, second=0, microsecond=0), AT.replace(minute=45, second=0, microsecond=0)
    )
    whole = AT.replace(minute=0, second=0, microsecond=0)
    assert whole_quarters(whole, whole + QUARTER) == Range(whole, whole + QUARTER)


def test_a_zone_is_known_by_its_exact_name() -> None:
    assert zone_named("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert zone_named("europe/berlin") is None
