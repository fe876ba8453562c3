"""Reports of calendar weeks, months and quarters, each beside the period before it. Reads rollups."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from flask import Response
from pydantic import Field, create_model

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import Input, Usd, View, example_of
from api_service.ranges import Timezone
from api_service.routing import may_refuse, routes_of
from api_service.services import services
from api_service.sums import SUMS_EXAMPLE, SumsView, shown_money, shown_sums
from api_service.tables import answer_csv, with_csv
from metering.reports import (
    CUTS,
    LISTED,
    REPORT_KINDS,
    TOP_MAX,
    FindingKind,
    Report,
    ReportKind,
    ReportPeriod,
    Reports,
    listed_periods,
    period_named,
)
from metering.stats import ComparedGroup
from metering.usage_groups import total

REST: Final = "(the rest)"  # of a report's groups, beyond the dearest

reports = routes_of("reports")

_PERIOD_EXAMPLE: dict[str, Any] = {
    "period": "2026-10",
    "kind": "monthly",
    "timezone": "UTC",
    "start_time": "2026-10-01T00:00:00Z",
    "end_time": "2026-11-01T00:00:00Z",
    "is_complete": True,
}
_GROUP_EXAMPLE = {
    "value": "search",
    "requests": 1,
    "cost_nanodollars": 5_850_000,
    "cost_usd": 0.00585,
    "cost_before_nanodollars": 0,
    "cost_before_usd": 0,
    "change_nanodollars": 5_850_000,
    "change_usd": 0.00585,
}


class ReportsQuery(Input):
    """Which reports there are."""

    kind: list[ReportKind] = Field(
        default_factory=list, max_length=len(REPORT_KINDS), description="Only these kinds; left out: all."
    )
    timezone: Timezone = "UTC"


class ReportQuery(Input):
    """In which zone, and how it is shown."""

    timezone: Timezone = "UTC"
    format: Literal["json", "csv"] = Field(
        default="json", description="csv: one line a day and group, with the total first."
    )


class ReportPath(Input):
    """Which period."""

    period: str = Field(
        description="A week of ISO 8601 (2026-W47), a month (2026-11) or a quarter (2026-Q4).",
        json_schema_extra={"example": "2026-11"},
    )


class ReportPeriodView(View):
    """One calendar period of a zone."""

    period: str = Field(description="Its name: what `GET /v1/reports/{period}` takes.")
    kind: ReportKind = Field(description="How long it is.")
    timezone: str = Field(description="In which zone.")
    start_time: datetime = Field(description="Where it begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")
    is_complete: bool = Field(description="Whether it is over.")


class ReportsView(View):
    """The periods there are reports of: the present one of each kind, and those before it; latest first."""

    model_config = example_of({"data": [_PERIOD_EXAMPLE], "has_more": False, "next_page": None})

    data: list[ReportPeriodView] = Field(description="The periods.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


class CoveredView(View):
    """A stretch of time."""

    period: str = Field(description="The period that it is, or is the beginning of.")
    start_time: datetime = Field(description="Where it begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")


_MONEY_MEANINGS = {
    "cost": "What it cost",
    "cost_before": "What it cost before",
    "change": "How much more that is",
}
_GROUP_FIELDS: dict[str, Any] = {
    "value": (str, Field(description=f"Its name; empty: named by nobody. {REST}: all beyond the dearest.")),
    "requests": (int, Field(description="Calls.")),
    **{
        f"{name}_{unit}": (kind, Field(description=f"{meaning}, in {words}."))
        for name, meaning in _MONEY_MEANINGS.items()
        for unit, kind, words in (("nanodollars", int, "nanodollars"), ("usd", Usd, "US dollars, exact"))
    },
}
ReportGroupView: type[View] = create_model(
    "ReportGroupView",
    __base__=View,
    __doc__="What one team, model or feature cost, and cost before.",
    **_GROUP_FIELDS,
)
ReportDayView: type[View] = create_model(
    "ReportDayView",
    __base__=View,
    __doc__="One day of the zone.",
    date=(str, Field(description="The day.")),
    requests=(int, Field(description="Calls.")),
    cost_nanodollars=(int, Field(description="The cost in nanodollars.")),
    cost_usd=(Usd, Field(description="The cost in US dollars, exact.")),
)


class RecommendationView(View):
    """Something that the figures speak for."""

    kind: FindingKind = Field(description="What was found.")
    subject: str = Field(description="The team, model or feature that it is about; empty: the account.")
    title: str = Field(description="What to do.")
    how: str = Field(description="From which figures that follows.")


class ReportView(ReportPeriodView):
    """What a period cost, beside the one before it. A running one is compared with as much of that."""

    model_config = with_csv(
        {
            **_PERIOD_EXAMPLE,
            "covered": {k: _PERIOD_EXAMPLE[k] for k in ("period", "start_time", "end_time")},
            "compared_with": {
                "period": "2026-09",
                "start_time": "2026-09-01T00:00:00Z",
                "end_time": "2026-10-01T00:00:00Z",
            },
            "total": SUMS_EXAMPLE,
            "total_before": {**SUMS_EXAMPLE, "requests": 0, "cost_nanodollars": 0, "cost_usd": 0},
            "change_nanodollars": 5_850_000,
            "change_usd": 0.00585,
            "by_team": [_GROUP_EXAMPLE],
            "by_model": [_GROUP_EXAMPLE | {"value": "claude-sonnet-4-6"}],
            "by_feature": [_GROUP_EXAMPLE | {"value": "chat"}],
            "by_day": [
                {"date": "2026-10-01", "requests": 1, "cost_nanodollars": 5_850_000, "cost_usd": 0.00585}
            ],
            "recommendations": [
                {
                    "kind": "one_model",
                    "subject": "claude-sonnet-4-6",
                    "title": "See whether all calls of claude-sonnet-4-6 need it: it is 100 % of spend",
                    "how": "$0.00585 of $0.00585.",
                }
            ],
        }
    )

    covered: CoveredView = Field(
        description="What is told of: all of it, or up to now; for an account that many instances serve, an"
        " hour less at most."
    )
    compared_with: CoveredView = Field(description="The period before it, or as much of it.")
    total: SumsView = Field(description="All calls.")  # type: ignore[valid-type]  # made from the sums
    total_before: SumsView = Field(description="All calls before.")  # type: ignore[valid-type]  # as above
    change_nanodollars: int = Field(description="How much more was spent than before, in nanodollars.")
    change_usd: Usd = Field(description="The same in US dollars, exact.")
    by_team: list[ReportGroupView] = Field(description="Teams, dearest first.")  # type: ignore[valid-type]
    by_model: list[ReportGroupView] = Field(description="Models, dearest first.")  # type: ignore[valid-type]
    by_feature: list[ReportGroupView] = Field(description="Features, dearest first.")  # type: ignore[valid-type]
    by_day: list[ReportDayView] = Field(description="Days of the zone.")  # type: ignore[valid-type]
    recommendations: list[RecommendationView] = Field(description="What the figures speak for.")


@reports.get("/v1/reports", responses={200: ReportsView})
@needs("read")
def list_reports(query: ReportsQuery) -> Response:
    """List the periods there are reports of: 26 weeks, 6 months and 4 quarters, and the present ones."""
    now = services().clock.now()
    found = [
        _shown_period(period, now)
        for kind in LISTED
        if not query.kind or kind in query.kind
        for period in listed_periods(kind, query.timezone, now)
    ]
    return answer_fields({"data": found, "has_more": False, "next_page": None})


@reports.get("/v1/reports/<period>", responses={200: ReportView, **may_refuse(404)})
@needs("read")
def show_report(path: ReportPath, query: ReportQuery) -> Response:
    """Show what a calendar week, month or quarter cost, beside the true period before it."""
    now = services().clock.now()
    period = period_named(path.period, query.timezone)
    reports = Reports(services().store, services().day_memory)
    report = reports.report(visitor().account_id, period, now, in_few_reads=True)
    if query.format == "csv":
        return answer_csv(_CSV_COLUMNS, list(_csv_rows(report)), None)
    return answer_fields(shown_report(report, now))


def shown_report(report: Report, now: datetime) -> dict[str, Any]:
    """The report as it is answered."""
    change = _cost(report.sums) - _cost(report.sums_before)
    return {
        **_shown_period(report.period, now),
        "covered": {
            "period": report.period.text,
            "start_time": report.covered.start,
            "end_time": report.covered.end,
        },
        "compared_with": {
            "period": report.before.text,
            "start_time": report.covered_before.start,
            "end_time": report.covered_before.end,
        },
        "total": shown_sums(report.sums),
        "total_before": shown_sums(report.sums_before),
        **shown_money("change", change),
        **{f"by_{name}": [*_shown_groups(name, report.cuts[name])] for name in CUTS},
        "by_day": [
            {
                "date": each.day.isoformat(),
                "requests": each.sums["requests"],
                **shown_money("cost", _cost(each.sums)),
            }
            for each in report.days
        ],
        "recommendations": [msgspec.structs.asdict(each) for each in report.recommendations],
    }


_CSV_COLUMNS = (
    "section", "value", "requests", "cost_nanodollars", "cost_usd", "cost_before_nanodollars",
    "cost_before_usd", "change_nanodollars", "change_usd", "how",
)  # fmt: skip


def _csv_rows(report: Report) -> Iterator[dict[str, object]]:
    empty: dict[str, object] = dict.fromkeys(_CSV_COLUMNS)
    yield {
        **empty,
        "section": "total",
        "value": report.period.text,
        **_shown_change(report.sums, report.sums_before),
    }
    for name in CUTS:
        for group in _shown_groups(name, report.cuts[name]):
            yield {**empty, "section": name, **group}
    for day in report.days:
        cost = shown_money("cost", _cost(day.sums))
        yield {
            **empty, "section": "day", "value": day.day.isoformat(), "requests": day.sums["requests"], **cost
        }  # fmt: skip
    for each in report.recommendations:
        yield {**empty, "section": "recommendation", "value": each.title, "how": each.how}


def _shown_groups(name: str, groups: tuple[ComparedGroup, ...]) -> Iterator[dict[str, object]]:
    """The dearest, and all others in one: they add up to the total."""
    for each in groups[:TOP_MAX]:
        yield {"value": each.values[name], **_shown_change(each.sums, each.sums_before)}
    rest = groups[TOP_MAX:]
    if rest:
        now, before = total(each.sums for each in rest), total(each.sums_before for each in rest)
        yield {"value": REST, **_shown_change(now, before)}


def _shown_change(sums: dict[str, int], sums_before: dict[str, int]) -> dict[str, object]:
    return {
        "requests": sums["requests"],
        **shown_money("cost", _cost(sums)),
        **shown_money("cost_before", _cost(sums_before)),
        **shown_money("change", _cost(sums) - _cost(sums_before)),
    }


def _cost(sums: dict[str, int]) -> int:
    return sums["cost_nanodollars"]


def _shown_period(period: ReportPeriod, now: datetime) -> dict[str, Any]:
    return {
        "period": period.text,
        "kind": period.kind,
        "timezone": period.timezone,
        "start_time": period.start,
        "end_time": period.end,
        "is_complete": period.is_over(now),
    }
