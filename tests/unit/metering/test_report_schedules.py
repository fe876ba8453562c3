"""When a schedule is due: by its zone's calendar and clock, in any month and through clock changes."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.report_schedules import (
    NEVER,
    Schedule,
    Schedules,
    due_of,
    next_due,
    period_to_send,
    schedules_fields,
    schedules_from,
    sent,
)
from tests.builders import ACCOUNT_ID, AT

ZONES = ["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]


def make_schedule(**changes: Any) -> Schedule:
    fields: dict[str, Any] = {
        "schedule_id": "schedule_1",
        "name": "Mondays",
        "period": "weekly",
        "frequency": "weekly",
        "created_at": AT,
    }
    return Schedule(**fields | changes)


schedules = st.builds(
    make_schedule,
    frequency=st.sampled_from(["daily", "weekly", "monthly"]),
    period=st.sampled_from(["weekly", "monthly", "quarterly"]),
    day_of_week=st.integers(1, 7),
    day_of_month=st.integers(1, 31),
    hour=st.integers(0, 23),
    timezone=st.sampled_from(ZONES),
)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
LONGEST = {"daily": timedelta(days=1), "weekly": timedelta(days=7), "monthly": timedelta(days=31)}


@given(schedules, moments)
def test_the_next_moment_lies_ahead_and_no_further_than_it_takes_to_come_round(
    schedule: Schedule, now: datetime
) -> None:
    due = next_due(schedule, now)

    assert due is not None
    assert now < due <= now + LONGEST[schedule.frequency] + timedelta(hours=25)
    assert next_due(schedule, due) != due


@given(schedules, moments)
def test_its_report_is_of_a_period_that_has_begun(schedule: Schedule, now: datetime) -> None:
    period = period_to_send(schedule, now)

    assert period.start < now
    assert period.is_over(now) or schedule.frequency == "daily"


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-01-31T10:00", "2026-02-28T09:00"),
        ("2028-02-01T00:00", "2028-02-29T09:00"),
        ("2026-04-30T08:59", "2026-04-30T09:00"),
        ("2026-04-30T09:00", "2026-05-31T09:00"),
        ("2026-12-31T09:00", "2027-01-31T09:00"),
    ],
)
def test_a_day_that_a_month_lacks_is_its_last(now: str, due: str) -> None:
    schedule = make_schedule(frequency="monthly", day_of_month=31)

    assert next_due(schedule, datetime.fromisoformat(now).replace(tzinfo=UTC)) == datetime.fromisoformat(
        due
    ).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "hour", "due"),
    [
        ("2026-03-07", 9, "2026-03-08T13:00"),  # the clock has gone forward that night
        ("2026-03-07", 2, "2026-03-08T07:00"),  # there is no two o'clock: it is three
        ("2026-10-31", 1, "2026-11-01T05:00"),  # there are two: the first
    ],
)
def test_hours_are_those_of_the_zones_clock(day: str, hour: int, due: str) -> None:
    schedule = make_schedule(frequency="daily", hour=hour, timezone="America/New_York")
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo("America/New_York"))

    assert next_due(schedule, noon.astimezone(UTC)) == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_switched_off_it_is_never_due() -> None:
    off = make_schedule(enabled=False)

    assert next_due(off, AT) is None
    assert Schedules(account_id=ACCOUNT_ID, schedules=(off,)).next_at == NEVER


@given(st.lists(schedules, max_size=5), moments)
def test_they_are_read_again_as_they_were_kept(found: list[Schedule], now: datetime) -> None:
    kept = Schedules(account_id=ACCOUNT_ID, schedules=tuple(sent(each, now) for each in found))

    assert schedules_from(ACCOUNT_ID, schedules_fields(kept)) == kept
    assert due_of(kept, now) == []
    assert len(due_of(kept, kept.next_at)) >= (1 if found else 0)
