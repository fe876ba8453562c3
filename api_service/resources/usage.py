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
from api_service.fields import FilterTag, Input, MomentOrDay, Usd, View, any_of, start_of
from api_service.routing import routes_of
from api_service.services import services
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
    bucket_edges,
    zone_named,
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
    str, Field(max_length=TIMEZONE_CHARACTERS_MAX, description="An IANA zone, for example Europe/Berlin.")
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
    )
    end_time: MomentOrDay | None = Field(
        default=None,
        description="Exclusive; a day means its start, so the day before is the last counted. Widened to a"
        " whole bucket of the zone. Left out: now.",
    )
    bucket_width: Literal["1h", "1d"] = Field(default="1d", description="Hours or days of the zone.")
    timezone: Timezone = "UTC"
    group_by: list[Dimension] = Field(
        default_factory=list,
        max_length=len(GROUPABLE),
        description="One result a combination of these; several times: group_by=model&group_by=team.",
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


_SUM_FIELDS: dict[str, Any] = {
    **dict.fromkeys(SUMS, (int, ...)),
    "cost_usd": (Usd, ...),
    "estimated_cost_usd": (Usd, ...),
    "saved_usd": (Usd, ...),
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
    **{**dict.fromkeys(GROUPABLE, (str | None, ...)), **_SUM_FIELDS},
)


class BucketView(View):
    """One hour or day of the zone, half-open; no results where nothing happened, dearest first."""

    start_time: datetime
    end_time: datetime
    results: list[ResultView]  # type: ignore[valid-type]  # made from the sums themselves


class UsageView(View):
    """A page of buckets, oldest first."""

    data: list[BucketView]
    has_more: bool
    next_page: str | None


class DayView(View):
    """One day of the zone."""

    date: date
    sums: SumsView  # type: ignore[valid-type]  # made from the sums themselves


class OverviewView(View):
    """The account at a glance. `top_models` and `top_teams` are this month's dearest."""

    today: SumsView  # type: ignore[valid-type]  # made from the sums themselves
    seven_days: SumsView  # type: ignore[valid-type]  # made from the sums themselves
    month: SumsView  # type: ignore[valid-type]  # made from the sums themselves
    days: list[DayView]
    top_models: list[ResultView]  # type: ignore[valid-type]  # made from the sums themselves
    top_teams: list[ResultView]  # type: ignore[valid-type]  # made from the sums themselves


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
