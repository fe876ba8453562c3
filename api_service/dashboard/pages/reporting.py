"""Reports: of which periods there are some, one of them, by which schedules they are sent, and exports."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from flask import Response

from api_service.dashboard.figures import Chart, Point
from api_service.dashboard.formats import day
from api_service.dashboard.pages.narrowing import answer_address
from api_service.dashboard.reading import Fields, Section, answer_of, section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ZONES, ViewState
from api_service.resources.report_schedules import list_report_schedules
from api_service.resources.reports import list_reports, show_report

KINDS: Final = {"monthly": "Months", "quarterly": "Quarters", "weekly": "Weeks"}
CUTS: Final = {
    "team": ("Teams", "/teams", "no team named"),
    "model": ("Models", "/models", "no model named"),
    "feature": ("Features", "/features", "no feature named"),
}
PERIODS_SHOWN: Final = 6  # of a kind, before one asks for the rest
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@page("reports")
def show_reports(state: ViewState) -> Response:
    """List the reports, their schedules, and what can be exported of the range."""
    listed = section_of(list_reports, query={"timezone": state.zone})
    return render(
        "reports.html",
        reports=listed,
        kinds=KINDS,
        of_kind=lambda kind: [each for each in listed["data"] if each["kind"] == kind],
        named=_named,
        periods_shown=PERIODS_SHOWN,
        schedules=section_of(list_report_schedules),
        weekdays=[(str(number), name) for number, name in enumerate(WEEKDAYS, 1)],
        hours=[(str(hour), f"{hour:02d}:00") for hour in range(24)],
        zone_choices=[(zone, zone) for zone in dict.fromkeys((state.zone, state.zone_of_browser, *ZONES))],
        exports=_exports(state),
    )


@page("report")
def show_one_report(state: ViewState, period: str) -> Response:
    """Show the report of a period, beside the period before it."""
    query = {"timezone": state.zone}
    report = answer_of(show_report, path={"period": period}, query=query)
    address = f"/v1/reports/{report['period']}"
    csv = answer_address(address, {**query, "format": "csv"})
    return render(
        "report.html",
        report=report,
        heading=_named(report),
        chart=_by_day(report, csv, state),
        cuts=CUTS,
        beside=_beside(section_of(list_reports, query={**query, "kind": [report["kind"]]}), report),
        csv=csv,
        json=answer_address(address, query),
        days_of={"from": state.day_of(report["start_time"]), "to": _last_day(report, state)},
    )


def _named(period: Fields) -> str:
    """The period as people call it: October 2026, week 47 of 2026, third quarter of 2026."""
    text = str(period["period"])
    year, _, rest = text.partition("-")
    if rest.startswith("W"):
        return f"Week {int(rest[1:])} of {year}"
    if rest.startswith("Q"):
        return f"{('First', 'Second', 'Third', 'Fourth')[int(rest[1:]) - 1]} quarter of {year}"
    return f"{date.fromisoformat(f'{text}-01'):%B %Y}"


def _by_day(report: Fields, csv: str, state: ViewState) -> Chart:
    return Chart(
        title="Cost by day",
        of="Day",
        series=["Cost"],
        points=[
            Point(
                day(each["date"]).rsplit(" ", 1)[0],
                [each["cost_nanodollars"]],
                href=state.address(
                    "/overview", **{"range": "custom", "from": each["date"], "to": each["date"]}
                ),
            )
            for each in report["by_day"]
        ],
        csv=csv,
    )


def _last_day(report: Fields, state: ViewState) -> str:
    """The last day of the report that anything is told of."""
    days: Sequence[Any] = report["by_day"]
    return str(days[-1]["date"]) if days else state.day_of(report["start_time"])


def _beside(listed: Section, report: Fields) -> dict[str, Fields | None]:
    """The period after it and the one before it, where there are reports of them."""
    periods = list(listed["data"] or ())
    names = [each["period"] for each in periods]
    if report["period"] not in names:
        return {"later": None, "earlier": None}
    place = names.index(report["period"])
    return {
        "later": periods[place - 1] if place else None,
        "earlier": periods[place + 1] if place + 1 < len(periods) else None,
    }


def _exports(state: ViewState) -> list[tuple[str, str, str]]:
    """What of the range can be taken away: what it is, in which form, and where."""
    events = state.query
    return [
        ("Every call", "CSV", answer_address("/v1/exports/events", {**events, "format": "csv"})),
        ("Every call", "NDJSON", answer_address("/v1/exports/events", {**events, "format": "ndjson"})),
        ("Charges, FOCUS 1.2", "CSV", answer_address("/v1/exports/focus", state.time)),
        ("Sums by day, team and model", "CSV", answer_address(
            "/v1/usage", {**events, "bucket_width": "1d", "group_by": ["team", "model"], "format": "csv"})),
    ]  # fmt: skip
