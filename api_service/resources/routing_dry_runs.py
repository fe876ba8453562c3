"""Dry runs: what a routing rule, there already or proposed, would have done in the past week."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import Input, ModelName, Usd, View, example_of, left_out
from api_service.outlook import prices_now
from api_service.ranges import shown_range
from api_service.resources.routing_rules import Models, Position, RuleName, ThresholdPercent
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from api_service.sums import shown_money
from metering.budgets import Budget
from metering.dry_run import Asked, DryRun, Reached, TurnedModel, dry_run
from metering.errors import InvalidInput, NotFound
from metering.routing import RoutingRule, RuleProvider
from metering.rule_savings import RuleFigures
from metering.rulebook import checked_rule

UNNAMED = "proposed rule"

routing_dry_runs = routes_of("routing-dry-runs")

_HOW = (
    "Each budget's spending in its period was added up again from what calls cost, quarter hour by quarter"
    " hour. A call counts as routed where a budget over it had reached the threshold when its quarter hour"
    " began and no rule asked before this one would have fired. The tokens of those calls were then priced at"
    " the standard rates of both models; the saving is the lesser of that and of what was recorded, less what"
    " the other model would have cost."
)
_ASSUMED = (
    "Today's budgets, limits, rules and prices are taken as if they had been in force all week.",
    "Calls of the quarter hour in which a budget reached the threshold are not counted as routed.",
    "The other model would have used as many tokens.",
    "Calls that a rule did route in the week stay as they were, and are told apart.",
)
_UNKNOWN = (
    "Whether the other model would have answered as well.",
    "Which calls opted out of routing, or could not have been turned (a compressed body, an answer longer"
    " than the other model gives, an item of a batch): they count as routed here.",
    "Which name of a model a call asked for: models are known by the name that answered.",
)

_EXAMPLE: dict[str, Any] = {
    "start_time": "2026-11-14T09:30:00Z",
    "end_time": "2026-11-21T09:30:00Z",
    "rule": {
        "id": None,
        "name": "budget-downgrade",
        "threshold": 70,
        "from_models": ["claude-sonnet-4-6"],
        "to_model": "claude-haiku-4-5",
        "provider": "anthropic",
        "position": 0,
    },
    "calls_named": 1204,
    "calls": 310,
    "cost_nanodollars": 9_300_000_000,
    "cost_usd": 9.3,
    "target_cost_nanodollars": 3_100_000_000,
    "target_cost_usd": 3.1,
    "saved_nanodollars": 6_200_000_000,
    "saved_usd": 6.2,
    "is_exact": True,
    "is_lower_bound": False,
    "models": [
        {
            "provider": "anthropic",
            "model": "claude-sonnet-4-6",
            "to_model": "claude-haiku-4-5",
            "calls": 310,
            "outcome": "turned",
            "cost_nanodollars": 9_300_000_000,
            "cost_usd": 9.3,
            "target_cost_nanodollars": 3_100_000_000,
            "target_cost_usd": 3.1,
            "saved_nanodollars": 6_200_000_000,
            "saved_usd": 6.2,
            "is_exact": True,
        }
    ],
    "budgets": [
        {
            "budget_id": "bud_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
            "name": "everything",
            "value": "",
            "period": "2026-11",
            "reached_at": "2026-11-19T14:15:00Z",
        }
    ],
    "budgets_followed": 1,
    "budgets_not_followed": [],
    "taken": [],
    "done": None,
    "how": _HOW,
    "assumed": list(_ASSUMED),
    "unknown": list(_UNKNOWN),
}


class DryRunFields(Input):
    """Which rule: one that there is, by `rule_id`, with the given fields changed; or a new one."""

    model_config = example_of(
        {
            "name": "budget-downgrade",
            "threshold": 70,
            "from_models": ["claude-sonnet-4-6"],
            "to_model": "claude-haiku-4-5",
            "provider": "anthropic",
            "position": 0,
        }
    )

    rule_id: str | None = Field(default=None, description="A rule that there is.")
    name: RuleName = left_out(UNNAMED)
    threshold: ThresholdPercent = left_out(0)
    from_models: Models = left_out([])
    to_model: ModelName = left_out("")
    provider: RuleProvider = left_out("")
    position: Position = left_out(0)


class DryRuleView(View):
    """The rule that was run."""

    id: str | None = Field(description="That of the rule it is, or is made of; null: it is proposed.")
    name: str = Field(description="As answers and events name it, or would.")
    threshold: int = Field(description="It fires from so many percent of a budget over the call on.")
    from_models: list[str] = Field(description="The models that it replaces.")
    to_model: str = Field(description="The model that serves the call instead.")
    provider: RuleProvider = Field(description="Only calls of this provider; empty: any.")
    position: int = Field(description="Its place among all rules, those of the file first; 0 is asked first.")


_MONEY: dict[str, str] = {
    "cost": "What these calls cost.",
    "target_cost": "What the same tokens cost at the other model's standard rates.",
    "saved": "What would have been saved; below 0: they would have cost more.",
}


class DryModelView(View):
    """Calls of one model that the rule would have routed."""

    provider: str = Field(description="Who served it.")
    model: str = Field(description="The model that served the calls.")
    to_model: str = Field(description="The model that would have.")
    calls: int = Field(description="Calls that were answered.")
    outcome: Literal["turned", "no_word", "no_price"] = Field(
        description="`turned`: it would have been; `no_word`: the account's settings name no deployment or"
        " profile of that model; `no_price`: none is known for one of the two. With these, calls stay."
    )
    cost_nanodollars: int = Field(description=_MONEY["cost"])
    cost_usd: Usd = Field(description="The same in US dollars, exact.")
    target_cost_nanodollars: int | None = Field(description=_MONEY["target_cost"] + " Null: they would stay.")
    target_cost_usd: Usd | None = Field(description="The same in US dollars, exact.")
    saved_nanodollars: int | None = Field(description=_MONEY["saved"] + " Null: they would stay.")
    saved_usd: Usd | None = Field(description="The same in US dollars, exact.")
    is_exact: bool = Field(
        description="False where a model has rates of its own for long prompts, which sums do not tell."
    )


class DryBudgetView(View):
    """A budget that had reached the threshold over calls that would have been routed."""

    budget_id: str = Field(description="The budget.")
    name: str = Field(description="Its name.")
    value: str | None = Field(
        description="Whose limit of its own; empty: it has but one; null: the one shared by further values."
    )
    period: str = Field(description="In which period.")
    reached_at: datetime = Field(description="The first quarter hour of the week that began with that.")


class DryUnfollowedView(View):
    """A budget whose spending cannot be told from sums."""

    budget_id: str = Field(description="The budget.")
    name: str = Field(description="Its name.")


class DryTakenView(View):
    """Calls that a rule asked before this one would have routed."""

    name: str = Field(description="That rule.")
    calls: int = Field(description="Calls of models that this one names, too.")


class DryDoneView(View):
    """What the rule of that name did in the week. It stays as it was, and is no part of the figures above."""

    calls: int = Field(description="Calls that it routed.")
    cost_nanodollars: int = Field(description="What they cost.")
    cost_usd: Usd = Field(description="The same in US dollars, exact.")
    saved_nanodollars: int = Field(description="What they cost less than at the models asked for.")
    saved_usd: Usd = Field(description="The same in US dollars, exact.")


class DryRunView(View):
    """What the rule would have done, how that was reckoned, and what cannot be known."""

    model_config = example_of(_EXAMPLE)

    start_time: datetime = Field(description="Where the week begins.")
    end_time: datetime = Field(description="Where it ends: the last quarter hour that is whole and at hand.")
    rule: DryRuleView = Field(description="The rule, as it was run.")
    calls_named: int = Field(description="All calls of models that it names.")
    calls: int = Field(description="Those it would have routed.")
    cost_nanodollars: int = Field(description=_MONEY["cost"])
    cost_usd: Usd = Field(description="The same in US dollars, exact.")
    target_cost_nanodollars: int = Field(description=_MONEY["target_cost"])
    target_cost_usd: Usd = Field(description="The same in US dollars, exact.")
    saved_nanodollars: int = Field(description=_MONEY["saved"])
    saved_usd: Usd = Field(description="The same in US dollars, exact.")
    is_exact: bool = Field(description="False where the prices of one of the models are not.")
    is_lower_bound: bool = Field(
        description="True where budgets over keys and others both play a part: of the calls that either would"
        " have routed, the greater number is counted."
    )
    models: list[DryModelView] = Field(description="The same by model, dearest first.")
    budgets: list[DryBudgetView] = Field(description="Which budgets had reached it, a hundred at most.")
    budgets_followed: int = Field(description="Budgets that are switched on and could be followed.")
    budgets_not_followed: list[DryUnfollowedView] = Field(
        description="Those over a key and a team or app together, which sums do not tell."
    )
    taken: list[DryTakenView] = Field(description="What rules asked before it would have taken.")
    done: DryDoneView | None = Field(description="What the rule did in the week; null: nothing.")
    how: str = Field(description="How it was reckoned.")
    assumed: list[str] = Field(description="What was taken for granted.")
    unknown: list[str] = Field(description="What sums of calls cannot tell.")


@routing_dry_runs.post(
    "/v1/routing-rules/dry-run", responses={200: DryRunView, **may_refuse(404, *OF_BODIES)}
)
@needs("read")
def run_routing_rule_dry(body: DryRunFields) -> Response:
    """Tell what a rule would have done in the past week. Nothing is kept or changed."""
    known, account_id = services(), visitor().account_id
    policy = known.files().merged(known.rulebook.policy(account_id))
    rules, place = _placed(body, policy.routing_rules)
    asked = Asked(rule=rules[place], rules=rules, budgets=policy.budgets, settings=policy.settings)
    found = dry_run(known.store, account_id, asked, prices_now(), known.clock.now())
    return answer_fields(_shown(found, body.rule_id, place))


def _placed(body: DryRunFields, rules: Sequence[RoutingRule]) -> tuple[Sequence[RoutingRule], int]:
    """All rules with the asked one among them, switched on, and its place."""
    given = body.model_dump(exclude_unset=True, exclude={"rule_id", "position"})
    if "from_models" in given:
        given["from_models"] = tuple(given["from_models"])
    first = sum(rule.source == "file" for rule in rules)
    position = body.position if "position" in body.model_fields_set else None
    if body.rule_id is None:
        rule = RoutingRule(**{"rule_id": "", "name": UNNAMED} | _complete(given))
        others, place = list(rules), len(rules) if position is None else first + position
    else:
        place = _place_of(body.rule_id, rules)
        rule, others = rules[place], [*rules[:place], *rules[place + 1 :]]
        place = place if position is None or rule.source == "file" else first + position
        rule = msgspec.structs.replace(rule, enabled=True, **given)
    place = min(place, len(others))
    return (*others[:place], checked_rule(rule), *others[place:]), place


def _complete(given: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in ("threshold", "from_models", "to_model") if name not in given]
    if missing:
        raise InvalidInput("give this, or the rule_id of a rule that has it", missing[0])
    return given


def _place_of(rule_id: str, rules: Sequence[RoutingRule]) -> int:
    for place, rule in enumerate(rules):
        if rule.rule_id == rule_id:
            return place
    raise NotFound("there is no such routing rule")


def _shown(found: DryRun, rule_id: str | None, place: int) -> dict[str, object]:
    turned = [each for each in found.models if each.switch is not None]
    switches = [each.switch for each in turned if each.switch is not None]
    rule = found.rule
    return {
        **shown_range(found.range),
        "rule": {
            "id": rule_id,
            "name": rule.name,
            "threshold": rule.threshold,
            "from_models": rule.from_models,
            "to_model": rule.to_model,
            "provider": rule.provider,
            "position": place,
        },
        "calls_named": found.named,
        "calls": sum(each.mix.answered for each in turned),
        **shown_money("cost", sum(each.mix.cost_nanodollars for each in turned)),
        **shown_money("target_cost", sum(each.target_nanodollars for each in switches)),
        **shown_money("saved", sum(each.saved_nanodollars for each in switches)),
        "is_exact": all(each.is_exact for each in switches),
        "is_lower_bound": found.is_lower_bound,
        "models": [_shown_model(each) for each in found.models],
        "budgets": [_shown_reached(each) for each in found.reached],
        "budgets_followed": found.budgets - len(found.not_followed),
        "budgets_not_followed": [_shown_budget(each) for each in found.not_followed],
        "taken": [{"name": name, "calls": calls} for name, calls in sorted(found.taken.items())],
        "done": None if found.done is None else _shown_done(found.done),
        "how": _HOW,
        "assumed": _ASSUMED,
        "unknown": _unknown(found),
    }


def _shown_model(each: TurnedModel) -> dict[str, object]:
    switch = each.switch
    return {
        "provider": each.mix.model.provider,
        "model": each.mix.model.model,
        "to_model": each.target.model,
        "calls": each.mix.answered,
        "outcome": each.why,
        **shown_money("cost", each.mix.cost_nanodollars),
        **shown_money("target_cost", None if switch is None else switch.target_nanodollars),
        **shown_money("saved", None if switch is None else switch.saved_nanodollars),
        "is_exact": switch is not None and switch.is_exact,
    }


def _shown_reached(each: Reached) -> dict[str, object]:
    told = {"value": each.value, "period": each.period.text, "reached_at": each.at}
    return {**_shown_budget(each.budget), **told}


def _shown_budget(budget: Budget) -> dict[str, object]:
    return {"budget_id": budget.budget_id, "name": budget.name}


def _shown_done(done: RuleFigures) -> dict[str, object]:
    return {
        "calls": done.sums["requests"],
        **shown_money("cost", done.sums["cost_nanodollars"]),
        **shown_money("saved", done.saved_nanodollars),
    }


def _unknown(found: DryRun) -> list[str]:
    told = list(_UNKNOWN)
    if found.collapsed:
        told.append(
            f"Whose {found.collapsed:,} calls of the week were: they are known as `other` only, since there"
            " were too many combinations, and count for budgets over everything."
        )
    if found.not_followed:
        told.append("How budgets over a key and a team or app together stood: they are left out.")
    return told
