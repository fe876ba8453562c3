"""Questions about rollups: buckets in any zone, and queries that say all that is wrong with them."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.rollups import QUARTER
from metering.stats import EARLIEST, GROUPABLE, LATEST, RANGE_MAX, UsageQuery, bucket_edges
from tests.builders import AT

ZONES = ["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"]

zones = st.sampled_from(ZONES)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
lengths = st.timedeltas(timedelta(microseconds=1), timedelta(days=40))


@given(zones, moments, lengths, st.sampled_from(["1h", "1d"]))
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


def test_every_complaint_about_a_query_comes_at_once() -> None:
    query = UsageQuery(
        start=AT, end=AT - timedelta(days=1), bucket_width="1w", timezone="../etc/passwd",
        group_by=("team", "team", "prompt"), filters={"app": [], "session": ["x"], "key_id": ["key_1"]},
    )  # fmt: skip

    assert [each.param for each in query.complaints()] == [
        "bucket_width", "end_time", "timezone", "group_by", "session", "group_by", "app", "key_id",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "utc ", "/etc/localtime", "Europe", "Europe/Berlin\0"])
def test_only_zones_that_exist_are_taken(name: str) -> None:
    query = UsageQuery(start=AT, end=AT + timedelta(days=1), timezone=name)

    assert [each.param for each in query.complaints()] == ["timezone"]


@pytest.mark.parametrize("width", ["1h", "1d"])
def test_a_range_has_a_longest_length(width: str) -> None:
    longest = UsageQuery(start=AT, end=AT + RANGE_MAX[width], bucket_width=width)
    longer = UsageQuery(start=AT, end=AT + RANGE_MAX[width] + timedelta(microseconds=1), bucket_width=width)

    assert longest.complaints() == []
    assert [each.param for each in longer.complaints()] == ["start_time"]


@pytest.mark.parametrize(
    ("start", "end", "params"),
    [
        (EARLIEST, EARLIEST + QUARTER, []),
        (EARLIEST - QUARTER, EARLIEST + QUARTER, ["start_time"]),
        (LATEST - QUARTER, LATEST, []),
        (LATEST - QUARTER, LATEST + QUARTER, ["end_time"]),
        (AT, AT, ["end_time"]),
        (AT.replace(tzinfo=None), AT, ["start_time"]),
    ],
)
def test_a_range_is_of_moments_that_can_be_asked_about(
    start: datetime, end: datetime, params: list[str]
) -> None:
    assert [each.param for each in UsageQuery(start=start, end=end).complaints()] == params


@pytest.mark.parametrize("name", GROUPABLE)
def test_every_dimension_goes_with_provider_and_model(name: str) -> None:
    group_by = tuple(dict.fromkeys((name, "provider", "model")))

    assert UsageQuery(start=AT, end=AT + QUARTER, group_by=group_by).complaints() == []
