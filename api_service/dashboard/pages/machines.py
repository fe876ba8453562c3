"""Infrastructure: what machines cost beside calls, whose they are, and what providers billed."""

from typing import Final

from flask import Response, request

from api_service.dashboard.figures import Chart, Point
from api_service.dashboard.formats import day
from api_service.dashboard.pages.narrowing import answer_address
from api_service.dashboard.reading import Fields, Section, section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.infrastructure import show_infrastructure, show_namespace_map
from api_service.resources.reconciliations import show_drift
from api_service.services import services

BILLED: Final = ("openai", "anthropic")


@page("infrastructure")
def show_machines(state: ViewState) -> Response:
    """Show costs of machines, the map of namespaces, and how far bills and records are apart."""
    days = {name: value for name, value in state.time.items() if name != "timezone"}
    costs = section_of(show_infrastructure, query=days)
    csv = answer_address("/v1/infrastructure", {**days, "format": "csv"})
    asked = next(iter(request.args.getlist("bill")), "")
    billed = asked if asked in BILLED else BILLED[0]
    drift = section_of(show_drift, query={**days, "provider": billed})
    drift_csv = answer_address("/v1/reconciliations", {**days, "provider": billed, "format": "csv"})
    return render(
        "infrastructure.html",
        costs=costs,
        csv=csv,
        trend=_trend(costs, csv, state),
        services=_ranks(costs, "service"),
        teams=_ranks(costs, "team"),
        namespaces=section_of(show_namespace_map),
        unmapped=_unmapped(costs),
        drift=drift,
        drift_csv=drift_csv,
        bills=_bills(drift, drift_csv),
        billed=billed,
        providers=BILLED,
        site=services().settings.base_url,
    )


def _trend(costs: Section, csv: str, state: ViewState) -> Chart | None:
    if costs.fields is None:
        return None
    points = [
        Point(
            day(each["day"]).rsplit(" ", 1)[0],
            [each["cost_nanodollars"]],
            href=state.address(request.path, **{"range": "custom", "from": each["day"], "to": each["day"]}),
        )
        for each in costs["daily_trend"]
    ]
    return Chart("Cost of machines by day", "UTC day", ["Cost"], points, csv=csv)


def _ranks(costs: Section, name: str) -> list[Fields]:
    return list(costs[f"by_{name}"] or ())


def _unmapped(costs: Section) -> list[str]:
    """Namespaces of machines that are of nobody."""
    gpus = costs["gpu_utilization"] or ()
    return list(dict.fromkeys(each["namespace"] for each in gpus if each["namespace"] and not each["team"]))


def _bills(drift: Section, csv: str) -> Chart | None:
    """What was billed beside what was recorded, on days that have a bill."""
    if drift.fields is None or not drift["days_billed"]:
        return None
    points = [
        Point(
            day(each["day"]).rsplit(" ", 1)[0],
            [each["total"][f"{name}_nanodollars"] for name in ("billed", "recorded")],
        )
        for each in drift["days"]
        if each["total"] is not None
    ]
    return Chart("Billed and recorded, by day", "UTC day", ["Billed", "Recorded"], points, csv=csv)
