"""Statistics: an account at a glance, and by model, team, app, feature, customer tier, deployment and key.

Also how fast models answer, what the cache and routing save, and how a range compares with the one before.
All from rollups: thirty days are at most 100 documents.
"""

from datetime import date
from typing import Annotated

from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.breakdowns import (
    BreakdownFields,
    BreakdownView,
    answer_breakdown,
)
from api_service.fields import Input, View, example_of
from api_service.ranges import Timezone
from api_service.routing import routes_of
from api_service.services import services
from api_service.sums import (
    RESULT_EXAMPLE,
    SUMS_EXAMPLE,
    ResultView,
    SumsView,
    shown_sums,
    shown_values,
)
from metering.usage_groups import UsageGroup

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


def _shown_group(group: UsageGroup) -> dict[str, object]:
    return {**shown_values(group.values), **shown_sums(group.sums)}
