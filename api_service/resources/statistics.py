"""Statistics: an account at a glance, and by model, team, app, feature, customer tier, deployment and key.

Also how fast models answer, what the cache and routing save, and how a range compares with the one before.
All from rollups: thirty days are at most 100 documents.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from flask import Response
from pydantic import Field, create_model

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.breakdowns import (
    DEFAULT_RANGE,
    ROWS_A_PAGE,
    ROWS_A_PAGE_MAX,
    BreakdownFields,
    BreakdownView,
    PercentilesView,
    answer_breakdown,
    shown_percentiles,
)
from api_service.fields import FilterTag, Input, Usd, View, any_of, example_of
from api_service.ranges import Dimension, FilterFields, RangeFields, Timezone
from api_service.routing import routes_of
from api_service.services import services
from api_service.sums import (
    GROUP_FIELDS,
    RESULT_EXAMPLE,
    SUMS_EXAMPLE,
    ResultView,
    SumsView,
    rate,
    shown_money,
    shown_sums,
    shown_values,
)
from api_service.usage_pages import ROW_CURSOR_CHARACTERS_MAX, page_of_rows
from metering.buckets import Earlier, Range
from metering.errors import InvalidInput
from metering.events import Provider
from metering.latencies import Latency
from metering.periods import is_timezone, period_of
from metering.rollups import Amounts
from metering.stats import FILTER_VALUES_MAX, GROUPABLE, ComparedGroup, UsageQuery
from metering.usage_groups import UsageGroup

HOURS_OF_LATENCY_MAX = timedelta(days=7)

statistics = routes_of("statistics")


class OverviewFields(Input):
    """In whose days to count."""

    timezone: Timezone = "UTC"


class DayView(View):
    """One day of the zone."""

    date: Annotated[date, Field(description="The day, in the asked zone.")]
    sums: SumsView = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="What was used on it."
    )


class OverviewView(View):
    """The account at a glance. `top_models` and `top_teams` are this month's dearest."""

    model_config = example_of(
        {
            "today": SUMS_EXAMPLE,
            "seven_days": SUMS_EXAMPLE,
            "month": SUMS_EXAMPLE,
            "unallocated": {**dict.fromkeys(SUMS_EXAMPLE, 0)},
            "days": [{"date": "2026-11-21", "sums": SUMS_EXAMPLE}],
            "top_models": [RESULT_EXAMPLE],
            "top_teams": [RESULT_EXAMPLE],
        }
    )

    today: SumsView = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="The present day so far."
    )
    seven_days: SumsView = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="The last seven days, today included."
    )
    month: SumsView = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="The present month so far."
    )
    unallocated: SumsView = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="What of the present month names no team."
    )
    days: list[DayView] = Field(description="Each of the last days, oldest first.")
    top_models: list[ResultView] = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="This month's dearest models."
    )
    top_teams: list[ResultView] = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="This month's dearest teams; one with an empty name: calls that name none."
    )


@statistics.get("/v1/stats/overview", responses={200: OverviewView})
@needs("read")
def show_overview(query: OverviewFields) -> Response:
    """Show the account at a glance: today, seven days, this month, and what was dearest."""
    known = services()
    overview = known.statistics.overview(visitor().account_id, known.clock.now(), query.timezone)
    return answer_fields(
        {
            "today": shown_sums(overview.today),
            "seven_days": shown_sums(overview.seven_days),
            "month": shown_sums(overview.month),
            "unallocated": shown_sums(overview.unallocated),
            "days": [{"date": each.day, "sums": shown_sums(each.sums)} for each in overview.days],
            "top_models": [_shown_group(each) for each in overview.top_models],
            "top_teams": [_shown_group(each) for each in overview.top_teams],
        }
    )


@statistics.get("/v1/stats/models", responses={200: BreakdownView})
@needs("read")
def show_models(query: BreakdownFields) -> Response:
    """Sum up by provider and model: by whom each was used, and how fast it answered.

    Latencies are told where the calls are not narrowed by anything but provider and model.
    """
    return answer_breakdown(query, ("provider", "model"), ("team", "feature"))


@statistics.get("/v1/stats/providers", responses={200: BreakdownView})
@needs("read")
def show_providers(query: BreakdownFields) -> Response:
    """Sum up by provider, and by which of its models."""
    return answer_breakdown(query, ("provider",), ("model", "team"))


@statistics.get("/v1/stats/teams", responses={200: BreakdownView})
@needs("read")
def show_teams(query: BreakdownFields) -> Response:
    """Sum up by team, and by which models and apps."""
    return answer_breakdown(query, ("team",), ("model", "app", "feature"))


@statistics.get("/v1/stats/apps", responses={200: BreakdownView})
@needs("read")
def show_apps(query: BreakdownFields) -> Response:
    """Sum up by app, and by which models and teams."""
    return answer_breakdown(query, ("app",), ("model", "team", "feature"))


@statistics.get("/v1/stats/features", responses={200: BreakdownView})
@needs("read")
def show_features(query: BreakdownFields) -> Response:
    """Sum up by feature, and by which models, teams and apps.

    One feature over time: `/v1/usage?feature=…`.
    """
    return answer_breakdown(query, ("feature",), ("model", "team", "app"))


@statistics.get("/v1/stats/customer-tiers", responses={200: BreakdownView})
@needs("read")
def show_customer_tiers(query: BreakdownFields) -> Response:
    """Sum up by tier of the callers' customers, and by which models and features."""
    return answer_breakdown(query, ("customer_tier",), ("model", "feature"))


@statistics.get("/v1/stats/deployments", responses={200: BreakdownView})
@needs("read")
def show_deployments(query: BreakdownFields) -> Response:
    """Sum up by deployment, as keys pin it, and by which models and teams."""
    return answer_breakdown(query, ("deployment",), ("model", "team"))


@statistics.get("/v1/stats/keys", responses={200: BreakdownView})
@needs("read")
def show_keys(query: BreakdownFields) -> Response:
    """Sum up by key, and by which models. Calls that needed no key are unallocated.

    Of a key's calls only provider and model are known here, and nothing else filters them.
    """
    return answer_breakdown(query, ("key_id",), ("model",))


class LatencyFields(RangeFields):
    """Which models. The end left out is now; the start left out is 30 days before it, 7 with bucket_width=1h.

    Both moments are widened to whole buckets of the zone.
    """

    bucket_width: Literal["1h", "1d", "1w", "1mo"] | None = Field(
        default=None,
        description="Tell each bucket of the zone, too: hours (of at most 7 days), days, weeks or months.",
        json_schema_extra={"example": "1d"},
    )
    provider: list[Provider] = any_of("calls to this provider", FILTER_VALUES_MAX)
    model: list[FilterTag] = any_of("calls of this model, as its answer named it", FILTER_VALUES_MAX)


_LATENCY: dict[str, Any] = {
    "requests": (int, Field(description="Calls.")),
    "errors": (int, Field(description="Calls that failed: status 400 and above, cut answers, refusals.")),
    "error_rate": (
        float | None,
        Field(description="The part of the calls that failed, from 0 to 1; null: there were none."),
    ),
    "measured": (
        int,
        Field(description="Calls that the latencies tell of: those answered whole, and not from memory."),
    ),
    "latency_ms": (PercentilesView, Field(description="From admission to the last byte.")),
    "ttft_ms": (PercentilesView, Field(description="From admission to the first byte of a stream.")),
}
_LATENCY_EXAMPLE = {
    "requests": 40,
    "errors": 1,
    "error_rate": 0.025,
    "measured": 39,
    "latency_ms": {"p50": 1024, "p90": 2048, "p95": 2896, "p99": 4096},
    "ttft_ms": {"p50": 362, "p90": 512, "p95": 724, "p99": 724},
}
LatencyBucketView: type[View] = create_model(
    "LatencyBucketView",
    __base__=View,
    __doc__="One bucket of the zone in which the model had calls.",
    start_time=(datetime, Field(description="Where it begins.")),
    end_time=(datetime, Field(description="Where it ends, exclusive.")),
    **_LATENCY,
)
ModelLatencyView: type[View] = create_model(
    "ModelLatencyView",
    __base__=View,
    __doc__="How fast one model answered, and how often it did not.",
    provider=(str, Field(description="The provider.")),
    model=(str, Field(description="The model.")),
    **_LATENCY,
    buckets=(
        list[LatencyBucketView],  # type: ignore[valid-type]  # made from fields above
        Field(description="Its buckets with calls, oldest first; empty without bucket_width."),
    ),
)


class LatenciesView(View):
    """The models, most used first. Percentiles are exact to a factor of √2, and never too small."""

    model_config = example_of(
        {
            "data": [
                {
                    "provider": "anthropic",
                    "model": "claude-sonnet-4-6",
                    **_LATENCY_EXAMPLE,
                    "buckets": [
                        {
                            "start_time": "2026-11-21T00:00:00Z",
                            "end_time": "2026-11-22T00:00:00Z",
                            **_LATENCY_EXAMPLE,
                        }
                    ],
                }
            ],
            "has_more": False,
            "next_page": None,
        }
    )

    data: list[ModelLatencyView] = Field(  # type: ignore[valid-type]  # made from fields above
        description="The models."
    )
    has_more: bool = Field(description="Always false: all models are on one page.")
    next_page: str | None = Field(description="Always null.")


@statistics.get("/v1/stats/latency", responses={200: LatenciesView})
@needs("read")
def show_latency(query: LatencyFields) -> Response:
    """Show how fast models answered, and how many calls failed."""
    known = services()
    length = HOURS_OF_LATENCY_MAX if query.bucket_width == "1h" else DEFAULT_RANGE
    start, end = query.moments(known.clock.now(), length)
    if query.bucket_width == "1h" and end - start > HOURS_OF_LATENCY_MAX:
        raise InvalidInput("with bucket_width=1h, ask for at most 7 days", "start_time")
    asked = UsageQuery(
        start=start,
        end=end,
        bucket_width=query.bucket_width or "1d",
        timezone=query.timezone,
        filters={name: getattr(query, name) for name in ("provider", "model") if getattr(query, name)},
    )
    models = known.statistics.latency(visitor().account_id, asked, in_buckets=query.bucket_width is not None)
    data = [
        {
            "provider": each.provider,
            "model": each.model,
            **_shown_latency(each),
            "buckets": [
                {**_shown_range(bucket.range), **_shown_latency(bucket.latency)} for bucket in each.buckets
            ],
        }
        for each in models
    ]
    return answer_fields({"data": data, "has_more": False, "next_page": None})


class SavingsFields(FilterFields):
    """Which calls. The end left out is now; the start left out is 30 days before it.

    Both moments are widened to whole quarter hours.
    """

    group_by: list[Dimension] = Field(
        default_factory=list,
        max_length=len(GROUPABLE),
        description="One row a combination of these; several times: group_by=model&group_by=team.",
        json_schema_extra={"example": ["team"]},
    )
    limit: int = Field(default=ROWS_A_PAGE, ge=1, le=ROWS_A_PAGE_MAX, description="Rows a page at most.")
    page: str | None = Field(
        default=None,
        max_length=ROW_CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )


class CacheSavingsView(View):
    """What answers from memory saved: the cost that their calls had when they were made first."""

    hits: int = Field(description="Calls answered from memory.")
    hit_rate: float | None = Field(description="Their part of all calls, from 0 to 1; null: there were none.")
    saved_nanodollars: int = Field(description="What they would have cost.")
    saved_usd: Usd = Field(description="The same in US dollars, exact.")


class RoutingSavingsView(View):
    """What rules that chose another model saved: the same usage at the model asked for, less the cost."""

    routed: int = Field(description="Calls for which a rule chose another model.")
    saved_nanodollars: int = Field(description="What they cost less; below 0: they cost more.")
    saved_usd: Usd = Field(description="The same in US dollars, exact.")


class PromptCacheView(View):
    """The providers' own prompt caches. What they save is in their prices already, and in no saving here."""

    read_tokens: int = Field(description="Input read from a prompt cache.")
    write_tokens: int = Field(description="Input written to one.")
    read_share: float | None = Field(
        description="The part of all input that was read from one, from 0 to 1; null: there was no input."
    )


_SAVINGS: dict[str, Any] = {
    "cache": (CacheSavingsView, Field(description="Our own response cache.")),
    "routing": (RoutingSavingsView, Field(description="Our own routing.")),
    "prompt_cache": (PromptCacheView, Field(description="The providers' prompt caches.")),
}
_SAVINGS_EXAMPLE = {
    "cache": {"hits": 12, "hit_rate": 0.1, "saved_nanodollars": 60_000_000, "saved_usd": 0.06},
    "routing": {"routed": 3, "saved_nanodollars": 9_000_000, "saved_usd": 0.009},
    "prompt_cache": {"read_tokens": 3000, "write_tokens": 1000, "read_share": 0.3},
}
SavingsRowView: type[View] = create_model(
    "SavingsRowView",
    __base__=View,
    __doc__="What one combination saved; null: not grouped by that.",
    **GROUP_FIELDS,
    **_SAVINGS,
)


class SavingsView(View):
    """Savings, each kind apart: none is an estimate of what might be, and none counts twice."""

    model_config = example_of(
        {
            "start_time": "2026-10-22T00:00:00Z",
            "end_time": "2026-11-21T00:00:00Z",
            **_SAVINGS_EXAMPLE,
            "data": [{**dict.fromkeys(GROUPABLE), "team": "search", **_SAVINGS_EXAMPLE}],
            "has_more": False,
            "next_page": None,
        }
    )

    start_time: datetime = Field(description="Where the range begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")
    cache: CacheSavingsView = Field(description="Our own response cache, all in all.")
    routing: RoutingSavingsView = Field(description="Our own routing, all in all.")
    prompt_cache: PromptCacheView = Field(description="The providers' prompt caches, all in all.")
    data: list[SavingsRowView] = Field(  # type: ignore[valid-type]  # made from fields above
        description="The same by what is grouped by, largest saving first; empty without group_by."
    )
    has_more: bool = Field(description="Whether more rows follow.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


@statistics.get("/v1/stats/savings", responses={200: SavingsView})
@needs("read")
def show_savings(query: SavingsFields) -> Response:
    """Show what the response cache and routing saved, each apart, beside the providers' prompt caches."""
    known = services()
    totals = known.statistics.totals(visitor().account_id, _asked(query, query.group_by))
    rows, next_page = page_of_rows(
        totals.groups if query.group_by else (),
        lambda group: (-group.sums["saved_nanodollars"], *group.values.values()),
        query.page,
        query.limit,
    )
    return answer_fields(
        {
            **_shown_range(totals.range),
            **_shown_savings(totals.sums),
            "data": [{**shown_values(row.values), **_shown_savings(row.sums)} for row in rows],
            "has_more": next_page is not None,
            "next_page": next_page,
        }
    )


class ComparisonFields(SavingsFields):
    """Which calls, and with when to compare them.

    The end left out is now. The start left out is 30 days before it; with `compare_to=month` the beginning of
    its month, so that the month so far is compared with as much of the month before; with `week` seven days.
    """

    compare_to: Earlier = Field(
        default="period",
        description="`period`: the range that ends where this one starts, as many calendar months or days of"
        " the zone where it is whole ones, else of the same length. `week`, `month`, `year`: the same dates"
        " that much earlier; the range may not be longer than that.",
        json_schema_extra={"example": "month"},
    )


_CHANGE: dict[str, Any] = {
    "sums": (SumsView, Field(description="What was used and spent in the range.")),
    "sums_before": (SumsView, Field(description="The same of the range before.")),
    "change_nanodollars": (int, Field(description="By how much the cost rose; below 0: it fell.")),
    "change_usd": (Usd, Field(description="The same in US dollars, exact.")),
    "change_rate": (
        float | None,
        Field(description="The change as a part of the cost before (0.1: 10 %); null: there was none."),
    ),
}
_CHANGE_EXAMPLE = {
    "sums": SUMS_EXAMPLE,
    "sums_before": SUMS_EXAMPLE,
    "change_nanodollars": 0,
    "change_usd": 0,
    "change_rate": 0,
}
ComparedView: type[View] = create_model(
    "ComparedView",
    __base__=View,
    __doc__="One combination in both ranges; null: not grouped by that.",
    **GROUP_FIELDS,
    **_CHANGE,
)


class BeforeView(View):
    """The range compared with."""

    start_time: datetime = Field(description="Where it begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")


class _ComparisonBase(View):
    model_config = example_of(
        {
            "start_time": "2026-11-01T00:00:00Z",
            "end_time": "2026-11-21T00:00:00Z",
            "before": {"start_time": "2026-10-01T00:00:00Z", "end_time": "2026-10-21T00:00:00Z"},
            **_CHANGE_EXAMPLE,
            "data": [{**dict.fromkeys(GROUPABLE), "team": "search", **_CHANGE_EXAMPLE}],
            "has_more": False,
            "next_page": None,
        }
    )


ComparisonView: type[View] = create_model(
    "ComparisonView",
    __base__=_ComparisonBase,
    __doc__="A range beside an earlier one.",
    start_time=(datetime, Field(description="Where the range begins.")),
    end_time=(datetime, Field(description="Where it ends, exclusive.")),
    before=(BeforeView, Field(description="The range compared with.")),
    **_CHANGE,
    data=(
        list[ComparedView],  # type: ignore[valid-type]  # made from fields above
        Field(description="The same by what is grouped by, dearest now first; empty without group_by."),
    ),
    has_more=(bool, Field(description="Whether more rows follow.")),
    next_page=(str | None, Field(description="What `page` takes for those; null: there are none.")),
)


@statistics.get("/v1/stats/comparison", responses={200: ComparisonView})
@needs("read")
def show_comparison(query: ComparisonFields) -> Response:
    """Compare a range with an earlier one, true to the calendar of the zone."""
    known = services()
    asked = _asked(query, query.group_by, _compared_length(query, known.clock.now()))
    found = known.statistics.comparison(visitor().account_id, asked, query.compare_to)
    rows, next_page = page_of_rows(
        found.groups if query.group_by else (), _key_of_compared, query.page, query.limit
    )
    return answer_fields(
        {
            **_shown_range(found.range),
            "before": _shown_range(found.range_before),
            **_shown_change(found.sums, found.sums_before),
            "data": [
                {**shown_values(row.values), **_shown_change(row.sums, row.sums_before)} for row in rows
            ],
            "has_more": next_page is not None,
            "next_page": next_page,
        }
    )


def _compared_length(query: ComparisonFields, now: datetime) -> timedelta:
    """How long the range is, where its start is left out."""
    if query.compare_to == "week":
        return timedelta(days=7)
    if query.compare_to != "month":
        return DEFAULT_RANGE
    _, end = query.moments(now, DEFAULT_RANGE)
    timezone = query.timezone if is_timezone(query.timezone) else "UTC"
    return end - period_of("month", timezone, end - timedelta(microseconds=1)).starts_at


def _asked(query: FilterFields, group_by: list[Dimension], length: timedelta = DEFAULT_RANGE) -> UsageQuery:
    start, end = query.moments(services().clock.now(), length)
    return UsageQuery(
        start=start, end=end, timezone=query.timezone, group_by=tuple(group_by), filters=query.filters
    )


def _key_of_compared(row: ComparedGroup) -> tuple[int | str, ...]:
    return (-row.sums["cost_nanodollars"], -row.sums_before["cost_nanodollars"], *row.values.values())


def _shown_group(group: UsageGroup) -> dict[str, object]:
    return {**shown_values(group.values), **shown_sums(group.sums)}


def _shown_range(range_: Range) -> dict[str, object]:
    return {"start_time": range_.start, "end_time": range_.end}


def _shown_latency(latency: Latency) -> dict[str, object]:
    return {
        "requests": latency.requests,
        "errors": latency.errors,
        "error_rate": rate(latency.errors, latency.requests),
        "measured": latency.measured,
        "latency_ms": shown_percentiles(latency.latency_ms),
        "ttft_ms": shown_percentiles(latency.ttft_ms),
    }


def _shown_savings(sums: Amounts) -> dict[str, object]:
    saved_by_cache = sums["cache_saved_nanodollars"]
    read = sums["cache_read_tokens"]
    written = sums["cache_write_5m_tokens"] + sums["cache_write_1h_tokens"]
    return {
        "cache": {
            "hits": sums["cache_hits"],
            "hit_rate": rate(sums["cache_hits"], sums["requests"]),
            **shown_money("saved", saved_by_cache),
        },
        "routing": {
            "routed": sums["routed"],
            **shown_money("saved", sums["saved_nanodollars"] - saved_by_cache),
        },
        "prompt_cache": {
            "read_tokens": read,
            "write_tokens": written,
            "read_share": rate(read, read + written + sums["input_tokens"]),
        },
    }


def _shown_change(sums: Mapping[str, int], before: Mapping[str, int]) -> dict[str, object]:
    change = sums["cost_nanodollars"] - before["cost_nanodollars"]
    return {
        "sums": shown_sums(sums),
        "sums_before": shown_sums(before),
        **shown_money("change", change),
        "change_rate": rate(change, before["cost_nanodollars"]),
    }
