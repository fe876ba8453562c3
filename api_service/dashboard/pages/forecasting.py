"""Forecast: what the days ahead will cost, how far off that was before, and what if things changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from flask import Response, request

from api_service.dashboard.figures import Chart, Point
from api_service.dashboard.pages.narrowing import TAGS, answer_address, narrowed
from api_service.dashboard.reading import Fields, Section, section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.estimates import list_estimator_models
from api_service.resources.forecasts import show_forecast, show_scenarios
from api_service.resources.statistics import show_models

HORIZONS: Final = (30, 90, 180, 365)
HORIZON: Final = 90
WIDTHS: Final = {"1d": "days", "1w": "weeks", "1mo": "months"}
USED_MODELS: Final = 50
FILTERS: Final = (*TAGS, "key_id")
SERIES: Final = ("Recorded", "Forecast", "Interval, low", "Interval, high")


@page("forecast")
def show_days_ahead(state: ViewState) -> Response:
    """Forecast the cost of the days ahead."""
    horizon, width = _horizon(), _width()
    known = narrowed(state, FILTERS)
    ahead = {"horizon_days": horizon, "timezone": state.zone}
    query = {**ahead, "bucket_width": width, **known.filters}
    forecast = section_of(show_forecast, query=query)
    return render(
        "forecast.html",
        forecast=forecast,
        chart=_chart(forecast, width, answer_address("/v1/forecast", {**query, "format": "csv"})),
        horizon=horizon,
        width=width,
        horizons=[(str(days), f"{days} days") for days in HORIZONS],
        widths=list(WIDTHS.items()),
        asked={name: _asked(name) for name in ("times", "switch_from", "switch_to")},
        what_if=_what_if(ahead) if _asked("what_if") else None,
        what_if_address=state.address(
            request.path, **{"days": horizon, "in": width, "what_if": "shown"}, **_asked_changes()
        ),
        passed_over=known.passed_over,
    )


@dataclass(frozen=True)
class WhatIf:
    """Scenarios, the models that calls could be switched from, and those they could be switched to."""

    scenarios: Section
    used: Section
    priced: Section


def _what_if(ahead: Mapping[str, object]) -> WhatIf:
    """What is asked for by itself, once one looks at it: it reads as much as the rest of the page."""
    return WhatIf(
        scenarios=section_of(show_scenarios, query={**ahead, **_changes()}),
        used=section_of(show_models, query={"limit": USED_MODELS}),
        priced=section_of(list_estimator_models),
    )


def _asked_changes() -> Mapping[str, object]:
    return {name: _asked(name) or None for name in ("times", "switch_from", "switch_to")}


def _asked(name: str) -> str:
    return next(iter(request.args.getlist(name)), "")


def _horizon() -> int:
    return next((days for days in HORIZONS if str(days) == _asked("days")), HORIZON)


def _width() -> str:
    return next((width for width in WIDTHS if width == _asked("in")), "1d")


def _changes() -> Mapping[str, object]:
    """What the scenarios are to change; a model is given as provider/model."""
    changes: dict[str, object] = {"traffic_factor": _asked("times") or None}
    if _asked("switch_from") and _asked("switch_to"):
        for side in ("from", "to"):
            provider, _, model = _asked(f"switch_{side}").partition("/")
            changes |= {f"{side}_provider": provider, f"{side}_model": model}
    return changes


def _chart(forecast: Section, width: str, csv: str) -> Chart | None:
    """What was and what is to come on one line of time; None: there is no forecast."""
    if forecast.fields is None or not forecast["forecast"]:
        return None
    return Chart(
        title=f"Cost by {WIDTHS[width].removesuffix('s')}",
        of=WIDTHS[width].removesuffix("s").capitalize(),
        series=SERIES,
        points=list(_points(forecast.fields, width)),
        kind="lines" if width == "1d" else "stacked",
        faint=SERIES[2:],
        csv=csv,
    )


def _points(fields: Fields, width: str) -> Iterator[Point]:
    for each in fields["history"]:
        yield Point(_label(each, width), [each["cost_nanodollars"], None, None, None])
    for each in fields["forecast"]:
        amounts = [each[f"{name}_nanodollars"] for name in ("predicted", "low", "high")]
        yield Point(_label(each, width), [None, *amounts])


def _label(bucket: Mapping[str, Any], width: str) -> str:
    """A bucket's days: 21 Nov, 16–22 Nov, 21 Nov – 4 Dec; a whole month by its name."""
    first, end = (date.fromisoformat(bucket[name]) for name in ("start_date", "end_date"))
    last = end - timedelta(1)
    if first == last:
        return f"{last.day} {last:%b}"
    if width == "1mo" and first.day == 1 and end.day == 1:
        return f"{first:%b %Y}"
    month = "" if first.month == last.month else f" {first:%b} "
    return f"{first.day}{month}\u2013{' ' if month else ''}{last.day} {last:%b}"
