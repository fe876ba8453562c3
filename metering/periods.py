"""Budget periods: calendar days, weeks and months of a zone, as half-open stretches of UTC.

A period begins with the first moment of its first date on the zone's own clock, and ends where the next one
begins; so every moment lies in exactly one, also where a midnight is skipped or comes twice. Weeks begin on
Monday (ISO 8601). A call belongs to the period of its admission, however long it runs.

The **text** of a period is part of its counter's identity, so no job ever resets anything: `2026-11-21`,
`2026-W47`, `2026-11`, and `2026-11@Asia/Kolkata` where the zone is not UTC.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from metering.budgets import PeriodKind

PERIODS_CACHED_MAX = 4_096

_DAY = timedelta(days=1)
_MIDNIGHT = datetime.min.time()
_FORMS: dict[PeriodKind, re.Pattern[str]] = {
    "day": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "week": re.compile(r"[0-9]{4}-W[0-9]{2}"),
    "month": re.compile(r"[0-9]{4}-[0-9]{2}"),
}


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """One calendar period: from `starts_at`, inclusive, to `ends_at`, exclusive, when the budget resets."""

    text: str
    starts_at: datetime
    ends_at: datetime

    def holds(self, moment: datetime) -> bool:
        """Whether the moment lies in the period."""
        return self.starts_at <= moment < self.ends_at


def period_of(kind: PeriodKind, timezone: str, moment: datetime) -> Period:
    """The period that the moment, aware UTC, lies in. Raises: ValueError, for a zone that does not exist."""
    first = _FIRST_DATES[kind](moment.astimezone(_zone(timezone)).date())
    period = _period(kind, timezone, first)
    # Where a clock went back over a midnight, dates do not rise with time; periods do.
    while moment >= period.ends_at:
        first = _next_first_date(kind, first)
        period = _period(kind, timezone, first)
    while moment < period.starts_at:
        first = _FIRST_DATES[kind](first - _DAY)
        period = _period(kind, timezone, first)
    return period


def period_named(text: str) -> Period:
    """The period of that text. Raises: ValueError, for what is no period's text."""
    dates, _, timezone = text.partition("@")
    for kind, form in _FORMS.items():
        if form.fullmatch(dates):
            try:
                period = _period(kind, timezone or "UTC", _first_date(kind, dates))
            except OverflowError:
                break  # at the ends of the calendar
            if period.text == text:
                return period
    raise ValueError("this is no period's text")


def is_timezone(name: str) -> bool:
    """Whether there is an IANA zone of that name."""
    return name in _zone_names()


@lru_cache(PERIODS_CACHED_MAX)
def _period(kind: PeriodKind, timezone: str, first: date) -> Period:
    zone = _zone(timezone)
    text = _text(kind, first) + ("" if timezone == "UTC" else f"@{timezone}")
    return Period(
        text=text,
        starts_at=_first_moment(first, zone),
        ends_at=_first_moment(_next_first_date(kind, first), zone),
    )


def _first_moment(day: date, zone: tzinfo) -> datetime:
    """When the date begins. A skipped midnight counts as the moment at which it was skipped."""
    return datetime.combine(day, _MIDNIGHT, zone).astimezone(UTC)


def _next_first_date(kind: PeriodKind, first: date) -> date:
    if kind == "month":
        return (first + 31 * _DAY).replace(day=1)
    return first + (7 * _DAY if kind == "week" else _DAY)


def _text(kind: PeriodKind, first: date) -> str:
    if kind == "week":
        year, week, _ = first.isocalendar()
        return f"{year:04}-W{week:02}"
    return f"{first:%Y-%m-%d}" if kind == "day" else f"{first:%Y-%m}"


def _first_date(kind: PeriodKind, dates: str) -> date:
    if kind == "week":
        return date.fromisocalendar(int(dates[:4]), int(dates[6:]), 1)
    return date.fromisoformat(dates if kind == "day" else f"{dates}-01")


def _monday(day: date) -> date:
    return day - day.weekday() * _DAY


def _first_of_month(day: date) -> date:
    return day.replace(day=1)


def _same_day(day: date) -> date:
    return day


_FIRST_DATES: dict[PeriodKind, Callable[[date], date]] = {
    "day": _same_day,
    "week": _monday,
    "month": _first_of_month,
}


def _zone(timezone: str) -> tzinfo:
    if timezone == "UTC":
        return UTC  # of most budgets: a process's first call does not wait for the list of all zones
    if timezone not in _zone_names():
        raise ValueError("there is no such zone")
    return ZoneInfo(timezone)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())
