"""Ranges of time and the buckets they are cut into: hours, days, weeks and months of any IANA zone.

A bucket is half-open and follows the zone's own clock and calendar. A day is 23 to 25 hours where clocks
change; where the change falls inside an hour, that hour is two buckets, one before and one after it. Weeks
begin on Monday (ISO 8601). Every quarter hour lies in exactly one bucket of a width, and every day in one
week and one month, so buckets sum to their range.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec

from metering.periods import Period, is_timezone, period_of
from metering.rollups import QUARTER, quarter_of

BucketWidth = Literal["1h", "1d", "1w", "1mo"]
Earlier = Literal["period", "week", "month", "year"]

BUCKET_WIDTHS: Final[tuple[BucketWidth, ...]] = get_args(BucketWidth)
RANGE_MAX: Final = {  # so many days of a zone, in which clocks may be set back once
    "1h": timedelta(days=31, hours=1),
    "1d": timedelta(days=92, hours=1),
    "1w": timedelta(days=371, hours=1),
    "1mo": timedelta(days=371, hours=1),
}
EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)

_MICROSECOND: Final = timedelta(microseconds=1)
_MONTHS: Final = {"month": 1, "year": 12}
_PERIOD_OF: Final[dict[str, Literal["week", "month"]]] = {"1w": "week", "1mo": "month"}


class Range(msgspec.Struct, frozen=True):
    """A stretch of time in UTC, half-open."""

    start: datetime
    end: datetime


def zone_named(name: str) -> ZoneInfo | None:
    """The IANA zone of that name, None where there is none."""
    return ZoneInfo(name) if is_timezone(name) else None


def whole_quarters(start: datetime, end: datetime) -> Range:
    """The range widened to whole quarter hours."""
    return Range(quarter_of(start.astimezone(UTC)), quarter_of(end.astimezone(UTC) - _MICROSECOND) + QUARTER)


def bucket_edges(start: datetime, end: datetime, bucket_width: str, zone: ZoneInfo) -> list[datetime]:
    """Where the buckets that cover the range begin and, at last, end: rising moments in UTC."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    if bucket_width in _PERIOD_OF:
        return _period_edges(start, end, _PERIOD_OF[bucket_width], zone)
    edges = [_last_of_bucket(quarter_of(start), bucket_width, zone, -QUARTER)]
    while edges[-1] < end:
        edges.append(_last_of_bucket(edges[-1], bucket_width, zone, QUARTER) + QUARTER)
    return edges


def range_before(start: datetime, end: datetime, zone: ZoneInfo, earlier: Earlier = "period") -> Range:
    """What a range is compared with.

    `period` is the one that ends where it starts: as many calendar months where it is whole months of the
    zone, as many days where it is whole days, else the same length. `week`, `month` and `year` are the same
    dates and times of the zone's clock that much earlier; a day that the month lacks is its last.
    """
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    if earlier != "period":
        return Range(_moved_back(start, zone, earlier), _moved_back(end, zone, earlier))
    months = _whole_months(start, end, zone)
    if months:
        first = start.astimezone(zone).date()
        return Range(_first_moment(_months_before(first, months), zone), start)
    days = _whole_days(start, end, zone)
    if days:
        first = start.astimezone(zone).date()
        return Range(_first_moment(first - timedelta(days=days), zone), start)
    return Range(start - (end - start), start)


def _bucket(quarter: datetime, bucket_width: str, zone: ZoneInfo) -> object:
    """What tells the quarter's bucket from its neighbours."""
    local = quarter.astimezone(zone)
    if bucket_width == "1d":
        return local.date()
    return local.date(), local.hour, local.utcoffset()


def _last_of_bucket(quarter: datetime, bucket_width: str, zone: ZoneInfo, step: timedelta) -> datetime:
    """The last quarter hour of the same bucket, going that way: in strides that grow, then shrink again."""
    bucket, stride = _bucket(quarter, bucket_width, zone), 1
    while _bucket(quarter + stride * step, bucket_width, zone) == bucket:
        quarter += stride * step
        stride *= 2
    while stride > 1:
        stride //= 2
        if _bucket(quarter + stride * step, bucket_width, zone) == bucket:
            quarter += stride * step
    return quarter


def _period_edges(
    start: datetime, end: datetime, kind: Literal["week", "month"], zone: ZoneInfo
) -> list[datetime]:
    period: Period = period_of(kind, zone.key, start)
    edges = [period.starts_at, period.ends_at]
    while edges[-1] < end:
        edges.append(period_of(kind, zone.key, edges[-1]).ends_at)
    return edges


def _whole_months(start: datetime, end: datetime, zone: ZoneInfo) -> int:
    """How many calendar months the range is; 0 where it is not whole ones."""
    first, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    if first.day != 1 or last.day != 1 or not _whole_days(start, end, zone):
        return 0
    return (last.year - first.year) * 12 + last.month - first.month


def _whole_days(start: datetime, end: datetime, zone: ZoneInfo) -> int:
    """How many calendar days the range is; 0 where it is not whole ones."""
    first, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    if _first_moment(first, zone) != start or _first_moment(last, zone) != end:
        return 0
    return (last - first).days


def _moved_back(moment: datetime, zone: ZoneInfo, by: Literal["week", "month", "year"]) -> datetime:
    local = moment.astimezone(zone)
    day = local.date()
    earlier = day - timedelta(days=7) if by == "week" else _months_before(day, _MONTHS[by])
    return datetime.combine(earlier, local.time(), zone).astimezone(UTC)


def _months_before(day: date, months: int) -> date:
    """The same day of the month so many months earlier; the last one, where that month is shorter."""
    number = day.year * 12 + day.month - 1 - months
    first = date(number // 12, number % 12 + 1, 1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(day.day, last.day))


def _first_moment(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins; a skipped midnight counts as the moment at which it was skipped."""
    return datetime.combine(day, datetime.min.time(), zone).astimezone(UTC)
