"""Ranges of whole UTC days: what comes from elsewhere by the day, such as providers' bills."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from api_service.fields import Input, MomentOrDay, start_of
from metering.errors import InvalidInput

DAYS_DEFAULT = 30
DAYS_MAX = 92

_DAY = timedelta(days=1)


class DayRangeFields(Input):
    """From which day to which, in UTC; moments are widened to whole days.

    The end left out is the end of today; the start left out lies 30 days before the end.
    """

    start_time: MomentOrDay | None = Field(
        default=None,
        description="A day (2026-11-21), a moment or unix seconds; inclusive.",
        json_schema_extra={"example": "2026-11-20"},
    )
    end_time: MomentOrDay | None = Field(
        default=None,
        description="Exclusive; a day means its start, so the day before is the last. Left out: today is.",
    )
    starting_at: MomentOrDay | None = Field(default=None, description="Another name of start_time.")
    ending_at: MomentOrDay | None = Field(default=None, description="Another name of end_time.")

    @field_validator("starting_at", "ending_at")
    @classmethod
    def _is_given_by_one_name(cls, value: object, info: ValidationInfo) -> object:
        other = {"starting_at": "start_time", "ending_at": "end_time"}[info.field_name or ""]
        if value is not None and info.data.get(other) is not None:
            raise ValueError(f"give {other} or {info.field_name}, not both")
        return value

    def days(self, now: datetime) -> Sequence[date]:
        """The days of the range, at least one. Raises: InvalidInput."""
        last, first = self.end_time or self.ending_at, self.start_time or self.starting_at
        end = _ceiling(now if last is None else start_of(last, UTC))
        start = end - DAYS_DEFAULT * _DAY if first is None else _floor(start_of(first, UTC))
        if start >= end:
            raise InvalidInput("end_time must lie after start_time", "end_time")
        if end - start > DAYS_MAX * _DAY:
            raise InvalidInput(f"ask for at most {DAYS_MAX} days", "start_time")
        return [(start + number * _DAY).date() for number in range((end - start) // _DAY)]


def _floor(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _ceiling(moment: datetime) -> datetime:
    return _floor(moment + _DAY - timedelta(microseconds=1))
