"""Schedules of reports: when each is due, by the calendar and clock of a zone. Pure, but for their document.

A schedule comes round daily, weekly or monthly at an hour of its zone. A day that a month lacks is its last
one; an hour that a change of clocks skips is the moment after it, one that comes twice its first. What was
due while nothing ran is sent once, late, and not again for every time that was missed.

All schedules of an account lie in one document, found by the first moment at which one of them is due.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from metering.reports import ReportKind, ReportPeriod, period_before, report_period

SCHEDULES_MAX: Final = 20
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)

Frequency = Literal["daily", "weekly", "monthly"]


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When which report is sent. `day_of_week` is 1 (Monday) to 7, `day_of_month` 1 to 31, `hour` the zone's.

    `next_at` is when it is due; None: it is switched off.
    """

    schedule_id: str
    name: str
    period: ReportKind
    frequency: Frequency
    day_of_week: int = 1
    day_of_month: int = 1
    hour: int = 9
    timezone: str = "UTC"
    enabled: bool = True
    created_at: datetime
    next_at: datetime | None = None
    last_sent_at: datetime | None = None


class Schedules(msgspec.Struct, frozen=True, kw_only=True):
    """All schedules of an account, in the order in which they were made."""

    account_id: str
    schedules: tuple[Schedule, ...] = ()

    @property
    def next_at(self) -> datetime:
        """When the first of them is due; `NEVER` where none is."""
        return min((each.next_at for each in self.schedules if each.next_at is not None), default=NEVER)

    def with_one(self, schedule: Schedule) -> "Schedules":
        """These, with that one in its place or behind them."""
        others = [each for each in self.schedules if each.schedule_id != schedule.schedule_id]
        if len(others) == len(self.schedules):
            return msgspec.structs.replace(self, schedules=(*self.schedules, schedule))
        same = (schedule if each.schedule_id == schedule.schedule_id else each for each in self.schedules)
        return msgspec.structs.replace(self, schedules=tuple(same))

    def without(self, schedule_id: str) -> "Schedules":
        """These, without that one."""
        rest = (each for each in self.schedules if each.schedule_id != schedule_id)
        return msgspec.structs.replace(self, schedules=tuple(rest))


def next_due(schedule: Schedule, now: datetime) -> datetime | None:
    """The first moment after now at which it is due; None: it is switched off."""
    if not schedule.enabled:
        return None
    zone = ZoneInfo(schedule.timezone)
    today = now.astimezone(zone).date()
    for day in _days_from(schedule, today):
        due = datetime.combine(day, time(schedule.hour), zone).astimezone(UTC)
        if due > now:
            return due
    raise AssertionError("of three days that come round, one lies ahead")


def due_of(schedules: Schedules, now: datetime) -> list[Schedule]:
    """Those that are due."""
    return [each for each in schedules.schedules if each.next_at is not None and each.next_at <= now]


def sent(schedule: Schedule, now: datetime) -> Schedule:
    """The schedule once its report was sent."""
    return msgspec.structs.replace(schedule, last_sent_at=now, next_at=next_due(schedule, now))


def period_to_send(schedule: Schedule, now: datetime) -> ReportPeriod:
    """What its report is about: the last whole period; sent daily, the present one as far as it has come.

    On the first day of a period the present one has hardly begun, so that it is the one before then, too.
    """
    present = report_period(schedule.period, schedule.timezone, now)
    if schedule.frequency == "daily" and now - present.start >= timedelta(days=1):
        return present
    return period_before(present)


def schedules_from(account_id: str, fields: dict[str, Any] | None) -> Schedules:
    """The schedules that the account's document holds; none where there is none."""
    if fields is None:
        return Schedules(account_id=account_id)
    kept = [msgspec.convert(each, Schedule) for each in fields["schedules"]]
    return Schedules(account_id=account_id, schedules=tuple(kept))


def schedules_fields(schedules: Schedules) -> dict[str, Any]:
    """The schedules as their document's fields."""
    kept = msgspec.to_builtins(schedules.schedules, builtin_types=(datetime,))
    return {"account_id": schedules.account_id, "next_at": schedules.next_at, "schedules": [*kept]}


def _days_from(schedule: Schedule, today: date) -> Sequence[date]:
    """Three days at which it comes round, the first today or before."""
    if schedule.frequency == "daily":
        return [today + timedelta(days=number) for number in range(3)]
    if schedule.frequency == "weekly":
        first = today - timedelta(days=(today.isoweekday() - schedule.day_of_week) % 7)
        return [first + timedelta(weeks=number) for number in range(3)]
    months = [today.year * 12 + today.month - 1 + number for number in range(-1, 3)]
    return [_day_of_month(month // 12, month % 12 + 1, schedule.day_of_month) for month in months]


def _day_of_month(year: int, month: int, day: int) -> date:
    last = (date(year, month, 1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return last.replace(day=min(day, last.day))
