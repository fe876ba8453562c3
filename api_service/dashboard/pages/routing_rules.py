"""Routing rules: what there is, what each saved, and what one would have done before it is kept."""

from typing import Any, Final
from urllib.parse import urlencode

from flask import Response, request

from api_service.access import visitor
from api_service.dashboard.reading import Section, answer_of, section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.routing_dry_runs import run_routing_rule_dry
from api_service.resources.routing_rules import list_routing_rules, show_routing_rule
from api_service.resources.rule_figures import show_rule_figures
from api_service.resources.statistics import show_models

MODELS_OFFERED: Final = 50
_TEXTS: Final = ("rule_id", "name", "to_model", "provider")


@page("routing_rules")
def show_routing_rules(state: ViewState) -> Response:
    """List the rules in their order, with what each did."""
    figures = section_of(show_rule_figures, query=state.time)
    return render(
        "routing_rules.html",
        rules=section_of(list_routing_rules),
        figures=figures,
        by_name={each["rule"]: each for each in figures["data"] or []},
        may_change=visitor().may("write"),
        csv=_csv(state),
    )


@page("new_routing_rule")
def show_new_routing_rule(state: ViewState) -> Response:
    """Let somebody make a rule, and try it first."""
    return render("routing_rule.html", rule=None, may_change=True, models=_models(), run=None)


@page("routing_rule")
def show_one_routing_rule(state: ViewState, rule_id: str) -> Response:
    """Show a rule, and let those who may change it; one of the file is only shown."""
    rule = answer_of(show_routing_rule, path={"rule_id": rule_id})
    may_change = visitor().may("write") and rule["source"] == "api"
    return render("routing_rule.html", rule=rule, may_change=may_change, models=_models(), run=None)


@page("routing_dry_run")
def show_routing_dry_run(state: ViewState) -> Response:
    """Show what the rule that the address describes would have done in the past week."""
    return render("routing_dry_run.html", run=_dry_run(), asked=request.args.get("to_model", ""))


def _csv(state: ViewState) -> str:
    return f"/v1/stats/routing-rules?{urlencode({**state.time, 'format': 'csv'})}"


def _models() -> list[str]:
    """Names of models to offer: those of the last 30 days."""
    found = section_of(show_models, query={"limit": MODELS_OFFERED})
    return sorted({each["model"] for each in found["data"] or []})


def _dry_run() -> Section:
    given: dict[str, Any] = {name: request.args[name] for name in _TEXTS if request.args.get(name)}
    given |= {
        name: _whole(request.args[name]) for name in ("threshold", "position") if request.args.get(name)
    }
    models = [each.strip() for each in request.args.get("from_models", "").split("\n") if each.strip()]
    return section_of(run_routing_rule_dry, body=given | ({"from_models": models} if models else {}))


def _whole(text: str) -> int | str:
    """The number, as the API takes it; what is none is left for it to refuse."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else text
