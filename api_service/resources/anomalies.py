"""Hours in which a team spent far more than it does at such hours."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import Usd, View, decimal_between, example_of
from api_service.outlook import MODEL_EXAMPLE, ModelView, Nanodollars, outlooks, shown_model
from api_service.ranges import RangeFields
from api_service.routing import routes_of
from api_service.services import services
from api_service.sums import shown_money
from metering.anomalies import FACTOR_CRITICAL
from metering.money import nanodollars_from_usd
from metering.outlooks import ANOMALIES_MAX, TeamAnomaly

DEFAULT_RANGE = timedelta(days=1)
MATERIAL_USD = Decimal("0.1")
MATERIAL_USD_MAX = 1_000_000
USD_PLACES = 9

anomalies = routes_of("anomalies")

_HOUR = timedelta(hours=1)
_ANOMALY_EXAMPLE = {
    "id": "8b1f3c2a1b47d6e8f90a1b2c3d4e5f60",
    "team": "search",
    "start_time": "2026-11-21T08:00:00Z",
    "end_time": "2026-11-21T09:00:00Z",
    "level": "critical",
    "spent_nanodollars": 42_000_000_000,
    "spent_usd": 42,
    "expected_nanodollars": 3_500_000_000,
    "expected_usd": 3.5,
    "factor": 12.0,
    "requests": 8_400,
    "top_model": {
        **MODEL_EXAMPLE,
        "cost_nanodollars": 40_000_000_000,
        "cost_usd": 40,
    },
    "compared_hours": 57,
    "basis": "same_hours",
}


class AnomalyFields(RangeFields):
    """Which hours to judge, on which zone's clock: at most seven days; left out, the last 24 hours."""

    minimum_usd: Annotated[
        Decimal,
        decimal_between(0, MATERIAL_USD_MAX, USD_PLACES),
        Field(description="What an hour must cost above the expected to be told at all."),
    ] = MATERIAL_USD


class TopModelView(ModelView):
    """The model that cost most in the hour."""

    cost_nanodollars: Nanodollars = Field(description="What it cost in the hour.")
    cost_usd: Usd = Field(description="The same in US dollars, exact.")


class AnomalyView(View):
    """An hour of a team that stands out, and what it was held against."""

    id: str = Field(description="The same for the same team and hour, whenever it is asked for.")
    team: str = Field(description="The team; empty: calls that name none.")
    start_time: datetime = Field(description="Where the hour begins.")
    end_time: datetime = Field(description="Where it ends; in the future: it is not over yet.")
    level: Literal["warning", "critical"] = Field(
        description=f"`critical`: at least {FACTOR_CRITICAL} times the expected."
    )
    spent_nanodollars: Nanodollars = Field(description="What the hour cost, so far.")
    spent_usd: Usd = Field(description="The same in US dollars, exact.")
    expected_nanodollars: Nanodollars = Field(description="The median of the hours it is held against.")
    expected_usd: Usd = Field(description="The same in US dollars.")
    factor: float = Field(description="Spent by expected.")
    requests: int = Field(description="The hour's calls.")
    top_model: TopModelView = Field(description="The model that cost most in it.")
    compared_hours: int = Field(description="How many earlier hours with cost it is held against.")
    basis: Literal["same_hours", "all_hours"] = Field(
        description="`same_hours`: hours of the same time of day, on working days or on week-ends alike, of"
        " the last four weeks; `all_hours`: all hours with cost of these, as of the same there are too few."
    )


class AnomaliesView(View):
    """Odd hours, the latest first."""

    model_config = example_of(
        {
            "start_time": "2026-11-20T09:30:00Z",
            "end_time": "2026-11-21T09:30:00Z",
            "data": [_ANOMALY_EXAMPLE],
            "has_more": False,
            "next_page": None,
        }
    )

    start_time: datetime = Field(description="From when on hours were judged.")
    end_time: datetime = Field(description="Up to when.")
    data: list[AnomalyView] = Field(description=f"The odd hours, at most {ANOMALIES_MAX}.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


@anomalies.get("/v1/anomalies", responses={200: AnomaliesView})
@needs("read")
def list_anomalies(query: AnomalyFields) -> Response:
    """List the hours in which a team spent far more than it does at such hours.

    An hour is odd when it lies far beyond what such hours of the team differ by, costs at least twice the
    expected, and is not usual for its place in the week. Hours without cost are not compared with.
    """
    now = services().clock.now()
    start, end = query.moments(now, DEFAULT_RANGE)
    end = min(end, now)
    found = outlooks().anomalies(
        visitor().account_id,
        start,
        end,
        query.timezone,
        material=nanodollars_from_usd(query.minimum_usd),
    )
    return answer_fields(
        {
            "start_time": start,
            "end_time": end,
            "data": [_shown(each) for each in found],
            "has_more": False,
            "next_page": None,
        }
    )


def _shown(each: TeamAnomaly) -> dict[str, object]:
    anomaly = each.anomaly
    return {
        "id": each.anomaly_id,
        "team": each.team,
        "start_time": anomaly.starts_at,
        "end_time": anomaly.starts_at + _HOUR,
        "level": anomaly.level,
        **shown_money("spent", anomaly.spent),
        **shown_money("expected", anomaly.expected),
        "factor": anomaly.factor,
        "requests": each.requests,
        "top_model": {**shown_model(each.top_model), **shown_money("cost", each.top_model_nanodollars)},
        "compared_hours": anomaly.compared,
        "basis": anomaly.basis,
    }
