"""Usage and cost, summed up: what was used, when and by whom, and an account at a glance.

Both read rollups, never events. The shape of `/v1/usage` is that of the providers' own usage APIs: buckets of
time, each with one result a combination of the values grouped by.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from flask import Response
from pydantic import Field, create_model

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import FilterTag, Input, MomentOrDay, Usd, View, any_of, example_of, start_of
from api_service.routing import routes_of
from api_service.services import services
from metering.buckets import bucket_edges, zone_named
from metering.errors import InvalidInput
from metering.events import Provider
from metering.money import usd_text
from metering.rollups import SUMS
from metering.stats import (
    FILTER_VALUES_MAX,
    GROUPABLE,
    UsageBucket,
    UsageGroup,
    UsageQuery,
)

BUCKETS_A_PAGE_MAX = {"1h": 168, "1d": 31}
DEFAULT_RANGE = {"1h": timedelta(days=1), "1d": timedelta(days=7)}
RESULTS_A_PAGE_MAX = 10_000
CURSOR_CHARACTERS_MAX = 64
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

usage = routes_of("usage")


class UsageFields(Input):
    """What to sum up. Filters and `group_by` may be given several times (`group_by[]` is read too).

    `end_time` left out is now; `start_time` left out is seven days before the end, or one day for hours.
    Both moments are widened to whole buckets of the zone.
    """

    start_time: MomentOrDay | None = Field(
        default=None,
        description="A day of the zone, from its start (2026-11-21), a moment (2026-11-21T00:00:00Z) or unix"
        " seconds; widened to a whole bucket of the zone. Left out: seven days before the end, or one day for"
        " hours.",
        json_schema_extra={"example": "2026-11-20"},
    )
    end_time: MomentOrDay | None = Field(
        default=None,
        description="Exclusive; a day means its start, so the day before is the last counted. Widened to a"
        " whole bucket of the zone. Left out: now.",
    )
    bucket_width: Literal["1h", "1d"] = Field(
        default="1d", description="Hours or days of the zone.", json_schema_extra={"example": "1d"}
    )
    timezone: Timezone = "UTC"
    group_by: list[Dimension] = Field(
        default_factory=list,
        max_length=len(GROUPABLE),
        description="One result a combination of these; several times: group_by=model&group_by=team.",
        json_schema_extra={"example": ["model", "team"]},
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        le=max(BUCKETS_A_PAGE_MAX.values()),
        description="Buckets a page: at most (and by default) 168 hours or 31 days.",
    )
    page: str | None = Field(
        default=None,
        max_length=CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )
    provider: list[Provider] = any_of("calls to this provider", FILTER_VALUES_MAX)
    model: list[FilterTag] = any_of("calls of this model, as its answer named it", FILTER_VALUES_MAX)
    team: list[FilterTag] = any_of("this team", FILTER_VALUES_MAX)
    app: list[FilterTag] = any_of("this app", FILTER_VALUES_MAX)
    feature: list[FilterTag] = any_of("this feature", FILTER_VALUES_MAX)
    customer_tier: list[FilterTag] = any_of("this customer tier", FILTER_VALUES_MAX)
    deployment: list[FilterTag] = any_of("this deployment, as the key pins it", FILTER_VALUES_MAX)
    key_id: list[FilterTag] = any_of("calls by the key of this id", FILTER_VALUES_MAX)
    prompt_template_id: list[FilterTag] = any_of("this prompt template", FILTER_VALUES_MAX)


class OverviewFields(Input):
    """In whose days to count."""

    timezone: Timezone = "UTC"


_SUM_MEANINGS = {
    "requests": "Calls.",
    "errors": "Calls that failed: status 400 and above, cut answers, refusals.",
    "input_tokens": "Input that was neither read from nor written to a prompt cache.",
    "output_tokens": "Output, reasoning included.",
    "cache_read_tokens": "Input read from the provider's prompt cache.",
    "cache_write_5m_tokens": "Input written to the provider's prompt cache for five minutes.",
    "cache_write_1h_tokens": "Input written to the provider's prompt cache for an hour.",
    "reasoning_tokens": "The part of output_tokens that was reasoning.",
    "server_tool_calls": "Calls of the provider's own tools.",
    "cost_nanodollars": "The cost.",
    "estimated_cost_nanodollars": "The part of the cost that rests on estimates.",
    "unpriced_requests": "Calls of models without a known price, whose cost is not in the sum.",
    "saved_nanodollars": "What the cache and routing saved.",
    "cache_saved_nanodollars": "The part that answers from memory saved; routing saved the rest.",
    "cache_hits": "Calls answered from memory.",
    "routed": "Calls for which a rule chose another model.",
    "cost_usd": "The cost in US dollars, exact.",
    "estimated_cost_usd": "That part in US dollars, exact.",
    "saved_usd": "The saving in US dollars, exact.",
    "cache_saved_usd": "The cache's part in US dollars, exact.",
}
_SUM_FIELDS: dict[str, Any] = {
    name: (Usd if name.endswith("_usd") else int, Field(description=_SUM_MEANINGS[name]))
    for name in (*SUMS, "cost_usd", "estimated_cost_usd", "saved_usd", "cache_saved_usd")
}
_GROUP_FIELDS: dict[str, Any] = {
    name: (str | None, Field(description=f"The {name} of these calls; null: not grouped by that."))
    for name in GROUPABLE
}
_SUMS_EXAMPLE = {
    **dict.fromkeys(_SUM_MEANINGS, 0),
    "requests": 1,
    "input_tokens": 1200,
    "output_tokens": 150,
    "cost_nanodollars": 5_850_000,
    "cost_usd": 0.00585,
}
_RESULT_EXAMPLE = {
    **dict.fromkeys(GROUPABLE),
    "model": "claude-sonnet-4-6",
    "team": "search",
    **_SUMS_EXAMPLE,
}
_USAGE_EXAMPLE = {
    "data": [
        {
            "start_time": "2026-11-21T00:00:00Z",
            "end_time": "2026-11-22T00:00:00Z",
            "results": [_RESULT_EXAMPLE],
        }
    ],
    "has_more": False,
    "next_page": None,
}
_OVERVIEW_EXAMPLE = {
    "today": _SUMS_EXAMPLE,
    "seven_days": _SUMS_EXAMPLE,
    "month": _SUMS_EXAMPLE,
    "days": [{"date": "2026-11-21", "sums": _SUMS_EXAMPLE}],
    "top_models": [_RESULT_EXAMPLE],
    "top_teams": [_RESULT_EXAMPLE],
}

SumsView: type[View] = create_model(
    "SumsView",
    __base__=View,
    __doc__="Sums of calls. Money is in US dollars (exact) and nanodollars; estimates are a part of cost.",
    **_SUM_FIELDS,
)
ResultView: type[View] = create_model(
    "ResultView",
    __base__=View,
    __doc__="The sums of one combination of the values grouped by; null: not grouped by that.",
    **_GROUP_FIELDS,
    **_SUM_FIELDS,
)


class BucketView(View):
    """One hour or day of the zone, half-open; no results where nothing happened, dearest first."""

    start_time: datetime = Field(description="Where it begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")
    results: list[ResultView] = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="One a combination, dearest first; empty: nothing happened."
    )


class UsageView(View):
    """A page of buckets, oldest first."""

    model_config = example_of(_USAGE_EXAMPLE)

    data: list[BucketView] = Field(description="The buckets, oldest first.")
    has_more: bool = Field(description="Whether later ones follow.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


class DayView(View):
    """One day of the zone."""

    date: Annotated[date, Field(description="The day, in the asked zone.")]
    sums: SumsView = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="What was used on it."
    )


class OverviewView(View):
    """The account at a glance. `top_models` and `top_teams` are this month's dearest."""

    model_config = example_of(_OVERVIEW_EXAMPLE)

    today: SumsView = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="The present day so far."
    )
    seven_days: SumsView = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="The last seven days, today included."
    )
    month: SumsView = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="The present month so far."
    )
    days: list[DayView] = Field(description="Each of the last days, oldest first.")
    top_models: list[ResultView] = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="This month's dearest models."
    )
    top_teams: list[ResultView] = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="This month's dearest teams."
    )


@usage.get("/v1/usage", responses={200: UsageView})
@needs("read")
def sum_up_usage(query: UsageFields) -> Response:
    """Sum up usage and cost in hours or days of any zone."""
    zone = zone_named(query.timezone) or UTC  # an unknown zone is complained of with everything else
    end = services().clock.now() if query.end_time is None else start_of(query.end_time, zone)
    asked = UsageQuery(
        start=end - DEFAULT_RANGE[query.bucket_width]
        if query.start_time is None
        else start_of(query.start_time, zone),
        end=end,
        bucket_width=query.bucket_width,
        timezone=query.timezone,
        group_by=tuple(query.group_by),
        filters={name: getattr(query, name) for name in GROUPABLE if getattr(query, name)},
    )
    complaints = asked.complaints()
    if complaints:
        raise InvalidInput(complaints[0].message, complaints[0].param, tuple(complaints))
    edges = _edges_of_page(asked, query.page, query.limit)
    page = msgspec.structs.replace(asked, start=edges[0], end=edges[-1])
    buckets = _within_bound(services().statistics.usage(visitor().account_id, page).buckets)
    reached = buckets[-1].end
    has_more = reached < asked.end.astimezone(UTC)
    return answer_fields(
        {
            "data": [_shown_bucket(each) for each in buckets],
            "has_more": has_more,
            "next_page": _written_cursor(reached) if has_more else None,
        }
    )


@usage.get("/v1/stats/overview", responses={200: OverviewView})
@needs("read")
def show_overview(query: OverviewFields) -> Response:
    """Show the account at a glance: today, seven days, this month, and what was dearest."""
    known = services()
    overview = known.statistics.overview(visitor().account_id, known.clock.now(), query.timezone)
    return answer_fields(
        {
            "today": _shown_sums(overview.today),
            "seven_days": _shown_sums(overview.seven_days),
            "month": _shown_sums(overview.month),
            "days": [{"date": each.day, "sums": _shown_sums(each.sums)} for each in overview.days],
            "top_models": [_shown_group(each) for each in overview.top_models],
            "top_teams": [_shown_group(each) for each in overview.top_teams],
        }
    )


def _edges_of_page(asked: UsageQuery, cursor: str | None, limit: int | None) -> list[datetime]:
    edges = bucket_edges(asked.start, asked.end, asked.bucket_width, ZoneInfo(asked.timezone))
    begin = 0
    if cursor is not None:
        began = _read_cursor(cursor)
        if began not in edges[:-1]:
            raise InvalidInput("that is no page of this query; begin without one", "page")
        begin = edges.index(began)
    most = BUCKETS_A_PAGE_MAX[asked.bucket_width]
    return edges[begin : begin + min(limit or most, most) + 1]


def _within_bound(buckets: Sequence[UsageBucket]) -> Sequence[UsageBucket]:
    results = 0
    for number, bucket in enumerate(buckets):
        results += len(bucket.groups)
        if results > RESULTS_A_PAGE_MAX and number:
            return buckets[:number]
    return buckets


def _written_cursor(moment: datetime) -> str:
    return base64.urlsafe_b64encode(str(int(moment.timestamp())).encode()).rstrip(b"=").decode()


def _read_cursor(cursor: str) -> datetime | None:
    try:
        seconds = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _shown_bucket(bucket: UsageBucket) -> dict[str, object]:
    return {
        "start_time": bucket.start,
        "end_time": bucket.end,
        "results": [_shown_group(each) for each in bucket.groups],
    }


def _shown_group(group: UsageGroup) -> dict[str, object]:
    return {**dict.fromkeys(GROUPABLE), **group.values, **_shown_sums(group.sums)}


def _shown_sums(sums: Mapping[str, int]) -> dict[str, object]:
    usd = {
        name.replace("_nanodollars", "_usd"): msgspec.Raw(usd_text(amount).encode())
        for name, amount in sums.items()
        if name.endswith("_nanodollars")
    }
    return {**sums, **usd}
