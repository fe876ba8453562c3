"""What a question about usage names: a range of time in some zone, and whose calls count."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from api_service.fields import FilterTag, Input, MomentOrDay, any_of, start_of
from metering.buckets import Range, zone_named
from metering.events import Provider
from metering.stats import FILTER_VALUES_MAX, GROUPABLE

TIMEZONE_CHARACTERS_MAX = 64

Dimension = Literal[
    "provider",
    "model",
    "team",
    "app",
    "feature",
    "customer_tier",
    "deployment",
    "key_id",
    "prompt_template_id",
]
Timezone = Annotated[
    str,
    Field(
        max_length=TIMEZONE_CHARACTERS_MAX,
        description="An IANA zone, for example Europe/Berlin.",
        json_schema_extra={"example": "Europe/Berlin"},
    ),
]


class RangeFields(Input):
    """From when to when. Moments are given by either family of names, `start_time` or `starting_at`."""

    start_time: MomentOrDay | None = Field(
        default=None,
        description="A day of the zone, from its start (2026-11-21), a moment (2026-11-21T00:00:00Z) or unix"
        " seconds; inclusive.",
        json_schema_extra={"example": "2026-11-20"},
    )
    end_time: MomentOrDay | None = Field(
        default=None,
        description="Exclusive; a day means its start, so the day before is the last counted. Left out: now.",
    )
    starting_at: MomentOrDay | None = Field(default=None, description="Another name of start_time.")
    ending_at: MomentOrDay | None = Field(default=None, description="Another name of end_time.")
    timezone: Timezone = "UTC"

    @field_validator("starting_at", "ending_at")
    @classmethod
    def _is_given_by_one_name(cls, value: object, info: ValidationInfo) -> object:
        other = {"starting_at": "start_time", "ending_at": "end_time"}[info.field_name or ""]
        if value is not None and info.data.get(other) is not None:
            raise ValueError(f"give {other} or {info.field_name}, not both")
        return value

    def moments(self, now: datetime, length: timedelta) -> tuple[datetime, datetime]:
        """Start and end; left out, the end is `now`, and the start lies `length` before the end.

        A zone that there is not counts as UTC here: whoever is asked complains of it with everything else.
        """
        zone = zone_named(self.timezone) or UTC
        last = self.end_time or self.ending_at
        end = now if last is None else start_of(last, zone)
        first = self.start_time or self.starting_at
        return end - length if first is None else start_of(first, zone), end


class FilterFields(RangeFields):
    """Whose calls count. A filter that is given several times passes any of its values."""

    provider: list[Provider] = any_of("calls to this provider", FILTER_VALUES_MAX)
    model: list[FilterTag] = any_of("calls of this model, as its answer named it", FILTER_VALUES_MAX)
    team: list[FilterTag] = any_of("this team", FILTER_VALUES_MAX)
    app: list[FilterTag] = any_of("this app", FILTER_VALUES_MAX)
    feature: list[FilterTag] = any_of("this feature", FILTER_VALUES_MAX)
    customer_tier: list[FilterTag] = any_of("this customer tier", FILTER_VALUES_MAX)
    deployment: list[FilterTag] = any_of("this deployment, as the key pins it", FILTER_VALUES_MAX)
    key_id: list[FilterTag] = any_of("calls by the key of this id", FILTER_VALUES_MAX)
    prompt_template_id: list[FilterTag] = any_of("this prompt template", FILTER_VALUES_MAX)

    @property
    def filters(self) -> dict[str, list[str]]:
        """The filters that are given."""
        return {name: getattr(self, name) for name in GROUPABLE if getattr(self, name)}


def shown_range(range_: Range) -> dict[str, object]:
    """Where the range begins and ends."""
    return {"start_time": range_.start, "end_time": range_.end}
