"""Calendar periods: each moment in exactly one, whatever a zone's clocks do."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metering.buckets import bucket_edges
from metering.budgets import PeriodKind
from metering.periods import Period, is_timezone, period_named, period_of

MICROSECOND = timedelta(microseconds=1)
KINDS: tuple[PeriodKind, ...] = ("day", "week", "month")

kinds = st.sampled_from(KINDS)
zones = st.sampled_from(sorted(available_timezones()))
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds of naive values


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "zone", "moment", "text", "starts_at", "ends_at"),
    [
        ("day", "UTC", "2026-11-21T09:30", "2026-11-21", "2026-11-21", "2026-11-22"),
        ("week", "UTC", "2026-11-21T09:30", "2026-W47", "2026-11-16", "2026-11-23"),
        ("month", "UTC", "2026-11-21T09:30", "2026-11", "2026-11-01", "2026-12-01"),
        ("month", "UTC", "2026-12-31T23:59", "2026-12", "2026-12-01", "2027-01-01"),
        ("month", "UTC", "2028-02-29T00:00", "2028-02", "2028-02-01", "2028-03-01"),
        ("week", "UTC", "2027-01-03T23:00", "2026-W53", "2026-12-28", "2027-01-04"),
        ("week", "UTC", "2024-12-31T12:00", "2025-W01", "2024-12-30", "2025-01-06"),
        ("day", "Asia/Kolkata", "2026-11-21T18:30", "2026-11-22@Asia/Kolkata",
         "2026-11-21T18:30", "2026-11-22T18:30"),
        ("day", "Asia/Kolkata", "2026-11-21T18:29", "2026-11-21@Asia/Kolkata",
         "2026-11-20T18:30", "2026-11-21T18:30"),
        ("month", "America/New_York", "2026-11-01T03:59", "2026-10@America/New_York",
         "2026-10-01T04:00", "2026-11-01T04:00"),
        ("month", "America/New_York", "2026-11-01T04:00", "2026-11@America/New_York",
         "2026-11-01T04:00", "2026-12-01T05:00"),
    ],
)  # fmt: skip
def test_a_moment_lies_in_its_calendar_period(
    kind: PeriodKind, zone: str, moment: str, text: str, starts_at: str, ends_at: str
) -> None:
    period = period_of(kind, zone, utc(moment))

    assert period == Period(text=text, starts_at=utc(starts_at), ends_at=utc(ends_at))


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00", 25),
        ("Europe/Berlin", "2026-10-26T12:00", 24),
        ("Australia/Lord_Howe", "2026-10-04T02:00", 23.5),
        ("Africa/Cairo", "2026-04-24T12:00", 23),  # its midnight is skipped
        ("America/Havana", "2026-11-01T12:00", 25),  # its midnight comes twice
    ],
)
def test_a_day_on_which_clocks_change_is_as_long_as_it_is(zone: str, day: str, hours: float) -> None:
    period = period_of("day", zone, utc(day))

    assert period.ends_at - period.starts_at == timedelta(hours=hours)


def test_a_period_is_half_open() -> None:
    period = period_of("month", "UTC", utc("2026-11-21"))

    assert period.holds(period.starts_at)
    assert not period.holds(period.starts_at - MICROSECOND)
    assert period.holds(period.ends_at - MICROSECOND)
    assert not period.holds(period.ends_at)


@pytest.mark.battery_class("clocks that jump")
@given(kinds, zones, moments)
@example("day", "Pacific/Apia", utc("2011-12-30T10:00"))  # a date that never was
@example("day", "America/St_Johns", utc("2006-10-29T02:30:30"))  # a minute of Sunday, then Saturday again
@example("day", "America/Toronto", utc("2026-11-01T05:59"))
@example("day", "America/Toronto", utc("1919-03-31T04:40"))  # from half past eleven to half past midnight
def test_each_moment_lies_in_exactly_one_period(kind: PeriodKind, zone: str, moment: datetime) -> None:
    period = period_of(kind, zone, moment)

    assert period.holds(moment)
    following = period_of(kind, zone, period.ends_at)
    assert following.starts_at == period.ends_at
    assert following.text != period.text
    assert period_of(kind, zone, period.ends_at - MICROSECOND) == period
    assert period_of(kind, zone, period.starts_at) == period


@given(kinds, zones, moments)
def test_a_period_is_read_back_from_its_text(kind: PeriodKind, zone: str, moment: datetime) -> None:
    period = period_of(kind, zone, moment)

    assert period_named(period.text) == period


@given(zones, moments.filter(lambda moment: moment.year > 2020))
def test_a_day_of_a_budget_is_a_day_of_the_statistics(zone: str, moment: datetime) -> None:
    period = period_of("day", zone, moment)

    assert bucket_edges(moment, moment + MICROSECOND, "1d", ZoneInfo(zone)) == [
        period.starts_at,
        period.ends_at,
    ]


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-13", "2026-11-31", "2026-W54", "2025-W53", "2026-11@", "2026-11@UTC",
     "2026-11@Mars/Crater",
     "2026-11@../../etc/passwd", " 2026-11", "2026-11-21\n", "٢٠٢٦-11", "2026-11@Asia/Kolkata@UTC",
     "9999-12", "0001-01-01@Asia/Kolkata", "0000-01"],
)  # fmt: skip
def test_a_text_that_names_no_period_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        period_named(text)


def test_a_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        period_of("day", "Mars/Crater", utc("2026-11-21"))

    assert is_timezone("Asia/Kolkata")
    assert not is_timezone("Mars/Crater")
