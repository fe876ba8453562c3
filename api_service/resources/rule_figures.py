"""What each routing rule did: how often it fired, and what that saved."""

from datetime import datetime, timedelta
from typing import Any, Literal

from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import Usd, View
from api_service.ranges import RangeFields, shown_range
from api_service.routing import routes_of
from api_service.services import services
from api_service.sums import rate, shown_money
from api_service.tables import answer_csv, with_csv
from metering.rule_savings import RuleFigures, ServedBy, routing_figures, saved_by_routing
from metering.stats import UsageQuery

DEFAULT_RANGE = timedelta(days=30)

rule_figures = routes_of("rule-figures")

_FIGURES: dict[str, Any] = {
    "calls": 120,
    "cache_hits": 0,
    "cost_nanodollars": 1_200_000_000,
    "cost_usd": 1.2,
    "unrouted_cost_nanodollars": 3_600_000_000,
    "unrouted_cost_usd": 3.6,
    "saved_nanodollars": 2_400_000_000,
    "saved_usd": 2.4,
}
_TOLD_OF_ALL = frozenset({"requests", "routed", "blocked", "saved_nanodollars", "cache_saved_nanodollars"})
_COLUMNS = ("rule", "rule_id", *_FIGURES)


class RuleFiguresFields(RangeFields):
    """From when to when. The end left out is now; the start left out is 30 days before it.

    Both moments are widened to whole quarter hours.
    """

    format: Literal["json", "csv"] = Field(default="json", description="csv: one line a rule.")


class RuleServedView(View):
    """The part of a rule's calls that one model served."""

    provider: str = Field(description="Who served it.")
    model: str = Field(description="The model that served.")
    calls: int = Field(description="Calls.")
    cost_nanodollars: int = Field(description="Their cost.")
    cost_usd: Usd = Field(description="Their cost in US dollars, exact.")


class RuleFiguresView(View):
    """What the rule of one name did."""

    rule: str = Field(description="The name, as answers and events have it; a renamed rule is two.")
    rule_id: str | None = Field(description="The rule that has the name now; null: none has it any more.")
    calls: int = Field(description="Calls that it turned to another model.")
    cache_hits: int = Field(description="Those of them that were answered from memory.")
    cost_nanodollars: int = Field(description="What they cost.")
    cost_usd: Usd = Field(description="The same in US dollars, exact.")
    unrouted_cost_nanodollars: int = Field(description="What the same usage costs at the models asked for.")
    unrouted_cost_usd: Usd = Field(description="The same in US dollars, exact.")
    saved_nanodollars: int = Field(description="The difference; below 0: the other model was dearer.")
    saved_usd: Usd = Field(description="The same in US dollars, exact.")
    served_by: list[RuleServedView] = Field(description="The models that served them, dearest first.")


class AllRuleFiguresView(View):
    """What all rules did in a range, the greatest saving first, beside all calls."""

    model_config = with_csv(
        {
            "start_time": "2026-10-22T00:00:00Z",
            "end_time": "2026-11-21T00:00:00Z",
            "calls": 9120,
            "routed": 120,
            "routed_share": 0.013158,
            "blocked": 4,
            "saved_nanodollars": 2_400_000_000,
            "saved_usd": 2.4,
            "data": [
                {
                    "rule": "budget-downgrade",
                    "rule_id": "rule_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
                    **_FIGURES,
                    "served_by": [
                        {
                            "provider": "anthropic",
                            "model": "claude-haiku-4-5",
                            "calls": 120,
                            "cost_nanodollars": 1_200_000_000,
                            "cost_usd": 1.2,
                        }
                    ],
                }
            ],
            "has_more": False,
            "next_page": None,
        }
    )

    start_time: datetime = Field(description="Where the range begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")
    calls: int = Field(description="All calls of the range.")
    routed: int = Field(description="Those that rules turned to another model.")
    routed_share: float | None = Field(description="Their part of all, from 0 to 1; null: there were none.")
    blocked: int = Field(description="Calls that budgets refused.")
    saved_nanodollars: int = Field(description="What rules saved; below 0: they cost more.")
    saved_usd: Usd = Field(description="The same in US dollars, exact.")
    data: list[RuleFiguresView] = Field(description="The rules that fired.")
    has_more: bool = Field(description="Always false: all rules are on one page.")
    next_page: str | None = Field(description="Always null.")


@rule_figures.get("/v1/stats/routing-rules", responses={200: AllRuleFiguresView})
@needs("read")
def show_rule_figures(query: RuleFiguresFields) -> Response:
    """Show how often each routing rule fired, what its calls cost, and what that saved."""
    known, account_id = services(), visitor().account_id
    start, end = query.moments(known.clock.now(), DEFAULT_RANGE)
    UsageQuery(start=start, end=end, timezone=query.timezone).check()
    found = routing_figures(known.store, account_id, start, end, _TOLD_OF_ALL, known.day_memory)
    rules = known.files().merged(known.rulebook.policy(account_id)).routing_rules
    ids = {rule.name: rule.rule_id for rule in rules}
    data = [_shown(each, ids.get(each.name)) for each in found.rules]
    if query.format == "csv":
        return answer_csv(_COLUMNS, data, None)
    return answer_fields(
        {
            **shown_range(found.range),
            "calls": found.sums["requests"],
            "routed": found.sums["routed"],
            "routed_share": rate(found.sums["routed"], found.sums["requests"]),
            "blocked": found.sums["blocked"],
            **shown_money("saved", saved_by_routing(found.sums)),
            "data": data,
            "has_more": False,
            "next_page": None,
        }
    )


def _shown(rule: RuleFigures, rule_id: str | None) -> dict[str, object]:
    sums = rule.sums
    return {
        "rule": rule.name,
        "rule_id": rule_id,
        "calls": sums["requests"],
        "cache_hits": sums["cache_hits"],
        **shown_money("cost", sums["cost_nanodollars"]),
        **shown_money("unrouted_cost", sums["cost_nanodollars"] + rule.saved_nanodollars),
        **shown_money("saved", rule.saved_nanodollars),
        "served_by": [_shown_served(each) for each in rule.served_by],
    }


def _shown_served(each: ServedBy) -> dict[str, object]:
    return {
        "provider": each.provider,
        "model": each.model,
        "calls": each.sums["requests"],
        **shown_money("cost", each.sums["cost_nanodollars"]),
    }
