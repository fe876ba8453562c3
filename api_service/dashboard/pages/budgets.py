"""Budgets: how each stands, a new one, and one of them changed or deleted."""

from typing import Final

from flask import Response

from api_service.access import visitor
from api_service.dashboard.reading import Fields, Section, answer_of, section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ZONES, ViewState
from api_service.resources.budgets import list_budgets, show_budget
from api_service.resources.keys import list_keys

ACTIONS: Final = (
    ("block", "refuse calls"),
    ("downgrade", "take the cheaper models of the routing rules, then refuse"),
    ("warn", "let calls pass, and say so"),
)
MODES: Final = (
    ("normal", "normal: holds what a call is expected to cost"),
    ("strict", "strict: holds the most a call can cost, and refuses what has no bound"),
)
PERIODS: Final = (("day", "day"), ("week", "week"), ("month", "month"))
EACH: Final = (
    ("", "one limit for all of them"),
    ("team", "each team has the limit"),
    ("app", "each app has the limit"),
    ("key_id", "each key has the limit"),
    ("model", "each model has the limit"),
)


@page("budgets")
def show_budgets(state: ViewState) -> Response:
    """List the budgets, those nearest to their limit first."""
    budgets = section_of(list_budgets)
    return render(
        "budgets.html",
        budgets=budgets,
        nearest=_nearest_first(budgets),
        may_change=visitor().may("write"),
    )


@page("new_budget")
def show_new_budget(state: ViewState) -> Response:
    """Let somebody make a budget."""
    zones = dict.fromkeys(("UTC", state.zone, *ZONES))
    return render(
        "new_budget.html",
        calendars=[(each, each) for each in zones],
        actions=ACTIONS,
        modes=MODES,
        periods=PERIODS,
        each_of=EACH,
        keys=_keys(),
    )


@page("budget")
def show_budget_page(state: ViewState, budget_id: str) -> Response:
    """Show a budget, and let those who may change or delete it."""
    budget = answer_of(show_budget, path={"budget_id": budget_id})
    return render(
        "budget.html",
        budget=budget,
        events=state.address("/events", **_calls_of(state, budget)),
        refused=state.address("/events", state="refused", **_calls_of(state, budget)),
        may_change=visitor().may("write") and budget["source"] == "api",
        actions=ACTIONS,
        modes=MODES,
    )


def _keys() -> list[tuple[str, str]]:
    listed = section_of(list_keys)["data"] or []
    live = [
        (each["id"], each["name"] or f"mt_…{each['hint']}") for each in listed if each["status"] == "live"
    ]
    return [("", "any"), *live]


def _nearest_first(budgets: Section) -> list[Fields]:
    """Those in force before those that are not, by how much of their limit is spent."""
    listed: list[Fields] = budgets["data"] or []
    return sorted(listed, key=lambda each: (not each["enabled"], -each["percent"], each["name"]))


def _calls_of(state: ViewState, budget: Fields) -> dict[str, object]:
    """The range and filters that show the calls which count in the present period."""
    scope: Fields = budget["scope"]
    named: dict[str, object] = {name: each for name, each in scope.items() if isinstance(each, str) and each}
    if scope["unattributed"]:
        named["team"] = ""
    first, last = state.day_of(budget["counting_from"]), state.now.astimezone(state.tzinfo).date()
    return {"range": "custom", "from": first, "to": last.isoformat(), **named}
