"""What a question about usage names: a range of time in some zone, and whose calls count.

The providers' own usage APIs have other names for some of it, which are read as well (`OTHER_NAMES`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

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
    "prompt_fingerprint",
    "api_key_id",
]
# Filter, and dimension to group by, of the providers' usage APIs → ours.
OTHER_NAMES: Final = {"models": "model", "api_key_ids": "key_id"}
_OTHER_DIMENSIONS: Final = {"api_key_id": "key_id"}


def by_our_names(dimensions: Sequence[str]) -> list[str]:
    """The dimensions, each by our own name of it."""
    return [_OTHER_DIMENSIONS.get(name, name) for name in dimensions]


GroupBy = Annotated[list[Dimension], AfterValidator(by_our_names)]
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
    prompt_fingerprint: list[FilterTag] = any_of(
        "calls of this fingerprint that name no prompt template", FILTER_VALUES_MAX
    )
    models: list[FilterTag] = Field(
        default_factory=list, max_length=FILTER_VALUES_MAX, description="Another name of model."
    )
    api_key_ids: list[FilterTag] = Field(
        default_factory=list, max_length=FILTER_VALUES_MAX, description="Another name of key_id."
    )

    @field_validator(*OTHER_NAMES)
    @classmethod
    def _is_filtered_by_one_name(cls, values: list[str], info: ValidationInfo) -> list[str]:
        name = info.field_name or ""
        if values and info.data.get(OTHER_NAMES[name]):
            raise ValueError(f"give {OTHER_NAMES[name]} or {name}, not both")
        return values

    @property
    def filters(self) -> dict[str, list[str]]:
        """The filters that are given, by our own names."""
        others = {ours: getattr(self, name) for name, ours in OTHER_NAMES.items()}
        given = {name: getattr(self, name) or others.get(name) for name in GROUPABLE}
        return {name: values for name, values in given.items() if values}


def shown_range(range_: Range) -> dict[str, object]:
    """Where the range begins and ends."""
    return {"start_time": range_.start, "end_time": range_.end}
