"""The first page: what was spent, what it is heading for, by whom, and whether the books agree."""

import calendar
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from flask import Response

from api_service.dashboard.figures import Chart, Point, Rank
from api_service.dashboard.formats import bucket_label
from api_service.dashboard.reading import Section, section_of, whole_list_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.budgets import list_budgets
from api_service.resources.comparison import show_comparison
from api_service.resources.conservation import show_conservation
from api_service.resources.forecasts import show_forecast
from api_service.resources.savings import show_savings
from api_service.resources.usage import sum_up_usage

TOP: Final = 6
BUDGETS_SHOWN: Final = 4

Sums = dict[str, int]


@page("overview")
def show_overview(state: ViewState) -> Response:
    """Show where the money goes."""
    today = state.now.astimezone(state.tzinfo).date()
    calls = {"timezone": state.zone, **state.filters}
    compared = {**state.query, "compare_to": state.compare_to, "group_by": ["model"], "limit": TOP}
    costs = whole_list_of(
        sum_up_usage, {**state.query, "bucket_width": state.bucket_width, "group_by": ["team"]}
    )
    return render(
        "overview.html",
        comparison=section_of(show_comparison, query=compared),
        today=section_of(
            show_comparison, query={**calls, "start_time": today.isoformat(), "compare_to": "week"}
        ),
        month=section_of(show_comparison, query={**calls, "compare_to": "month"}),
        forecast=section_of(show_forecast, query={**calls, "horizon_days": _days_left(today)}),
        month_name=f"{today:%B}",
        trend=_trend(state, costs),
        top_models=_top_models,
        teams=_teams(costs),
        top_teams=_top_teams,
        budgets=section_of(list_budgets),
        nearest=_nearest_budgets,
        savings=section_of(show_savings, query=state.query),
        conservation=section_of(show_conservation),
        counted=_counted,
    )


def _days_left(today: date) -> int:
    """The days of the month that are not over, today included."""
    return calendar.monthrange(today.year, today.month)[1] - today.day + 1


def _trend(state: ViewState, found: Section) -> Section:
    """The range's cost in buckets, beside that of as many days before."""
    width = {"bucket_width": state.bucket_width}
    before = whole_list_of(sum_up_usage, {**state.query, "end_time": None, **state.time_before, **width})
    if found.fields is None or before.fields is None:
        return found if found.fields is None else before
    earlier = [_cost(each) for each in before["data"]]
    names = [state.title, "Period before"][: 2 if any(earlier) else 1]
    points = [
        Point(
            bucket_label(each["start_time"], state.bucket_width, state.zone),
            [_cost(each), earlier[place] if place < len(earlier) else None][: len(names)],
            href=_narrowed(state, each),
        )
        for place, each in enumerate(found["data"])
    ]
    chart = Chart(
        title="Cost over time",
        of={"1h": "Hour", "1d": "Day", "1w": "Week from", "1mo": "Month"}[state.bucket_width],
        series=names,
        faint=names[1:],
        points=points,
        csv=state.answer_address("/v1/usage", format="csv", **width),
    )
    return Section({"chart": chart})


def _cost(bucket: dict[str, Any]) -> int:
    return sum(each["cost_nanodollars"] for each in bucket["results"])


def _narrowed(state: ViewState, bucket: dict[str, Any]) -> str:
    """The same page for that bucket's day alone; an hour leads nowhere."""
    if state.bucket_width != "1d":
        return ""
    day = state.day_of(bucket["start_time"])
    return state.address("/overview", **{"range": "custom", "from": day, "to": day})


def _teams(costs: Section) -> Section:
    """What each team cost in all buckets together, dearest first; the one without a name is `unallocated`."""
    if costs.fields is None:
        return costs
    teams: dict[str, Sums] = defaultdict(lambda: {"requests": 0, "cost_nanodollars": 0})
    for bucket in costs["data"]:
        for each in bucket["results"]:
            for name in ("requests", "cost_nanodollars"):
                teams[each["team"]][name] += each[name]
    unallocated = teams.pop("", None)
    named = sorted(teams.items(), key=lambda item: (-item[1]["cost_nanodollars"], item[0]))
    return Section({"named": named, "unallocated": unallocated})


def _top_teams(state: ViewState, teams: Section) -> list[Rank]:
    """The dearest teams, and what names none."""
    rows = [_rank(state, "team", "/teams", name, sums) for name, sums in teams["named"][:TOP]]
    rest: Sums | None = teams["unallocated"]
    if rest:
        rows.append(Rank("no team named", rest["cost_nanodollars"], rest["requests"], is_unnamed=True))
    return rows


def _top_models(state: ViewState, comparison: Section) -> list[Rank]:
    """The dearest models of the range."""
    rows = [each for each in comparison["data"] if each["sums"]["requests"]]
    return [_rank(state, "model", "/models", each["model"], each["sums"]) for each in rows]


def _rank(state: ViewState, dimension: str, path: str, name: str, sums: Mapping[str, int]) -> Rank:
    href = state.address(path, **{dimension: [name]})
    return Rank(name, sums["cost_nanodollars"], sums["requests"], href)


def _nearest_budgets(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The budgets in force that are nearest to their limit."""
    enabled = [each for each in fields["data"] if each["enabled"]]
    return sorted(enabled, key=lambda each: -each["percent"])[:BUDGETS_SHOWN]


def _counted(fields: dict[str, Any]) -> dict[str, int]:
    """What became of the calls of all days shown."""
    names = ("admitted", "settled", "in_flight", "lost")
    return {name: sum(day[name] for day in fields["data"]) for name in names}
