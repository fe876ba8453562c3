"""Routing rules: when a call is served by a cheaper model. The first that fires, in their order, decides."""

from typing import Annotated, Any, Literal

import msgspec
from flask import Response
from pydantic import Field, StrictBool

from api_service.access import needs, require_unpinned, visitor
from api_service.answers import answer, nothing
from api_service.fields import Form, Input, ModelName, Tag, View, example_of, left_out
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from metering.budgets import Source
from metering.errors import Conflict, NotFound
from metering.routing import FROM_MODELS_MAX, RULES_MAX, RoutingRule, RuleProvider

routing_rules = routes_of("routing-rules")

RuleName = Annotated[
    str, Form(r"[!-~]([ -~]{0,98}[!-~])?", "give a name of 1 to 100 printable ASCII characters")
]
ThresholdPercent = Annotated[
    int,
    Field(
        strict=True, ge=0, le=100, description="Percent of the strictest budget over the call that are spent."
    ),
]
Models = Annotated[list[ModelName], Field(min_length=1, max_length=FROM_MODELS_MAX)]
Position = Annotated[
    int,
    Field(
        strict=True, ge=0, le=RULES_MAX, description="Its place among the rules made here; 0 is asked first."
    ),
]

_NEW_RULE_EXAMPLE: dict[str, Any] = {
    "name": "budget-downgrade",
    "threshold": 70,
    "from_models": ["claude-sonnet-4-6"],
    "to_model": "claude-haiku-4-5",
    "provider": "anthropic",
}
_RULE_EXAMPLE: dict[str, Any] = {
    "id": "rule_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "name": "budget-downgrade",
    "description": "",
    "trigger": "budget_percent_above",
    "threshold": 70,
    "from_models": ["claude-sonnet-4-6"],
    "to_model": "claude-haiku-4-5",
    "provider": "anthropic",
    "action": "downgrade",
    "enabled": True,
    "source": "api",
    "position": 0,
}


class NewRule(Input):
    """What the rule is to be. `provider` empty matches any; Bedrock counts as anthropic, Azure as openai."""

    model_config = example_of(_NEW_RULE_EXAMPLE)

    name: RuleName
    description: Tag = ""
    trigger: Literal["budget_percent_above"] = "budget_percent_above"
    threshold: ThresholdPercent
    from_models: Models
    to_model: ModelName
    provider: RuleProvider = ""
    action: Literal["downgrade"] = "downgrade"
    enabled: StrictBool = True
    position: Position | None = None


class RulePatch(Input):
    """What to change of the rule; what is left out stays. `from_models` replaces the whole list."""

    model_config = example_of({"threshold": 80, "position": 0})

    name: RuleName = left_out("")
    description: Tag = left_out("")
    trigger: Literal["budget_percent_above"] = left_out("budget_percent_above")
    threshold: ThresholdPercent = left_out(0)
    from_models: Models = left_out([])
    to_model: ModelName = left_out("")
    provider: RuleProvider = left_out("")
    action: Literal["downgrade"] = left_out("downgrade")
    enabled: StrictBool = left_out(True)
    position: Position = left_out(0)


class RulePath(Input):
    """Which rule."""

    rule_id: str = Field(
        description="The `id` that creating and listing rules show.",
        json_schema_extra={"example": _RULE_EXAMPLE["id"]},
    )


class RuleView(View):
    """A routing rule."""

    model_config = example_of(_RULE_EXAMPLE)

    id: str = Field(description="Names the rule.")
    name: str = Field(description="As answers and events name it.")
    description: str = Field(description="What its maker said of it.")
    trigger: Literal["budget_percent_above"] = Field(description="What makes it fire.")
    threshold: int = Field(description="It fires from so many percent of the strictest budget on.")
    from_models: list[str] = Field(description="The models that it replaces.")
    to_model: str = Field(description="The model that serves the call instead.")
    provider: RuleProvider = Field(description="Only calls of this provider; empty: any.")
    action: Literal["downgrade"] = Field(description="What it does.")
    enabled: bool = Field(description="Switched off, it never fires.")
    source: Source = Field(description="`file`: from routing.json of this machine, and read-only here.")
    position: int | None = Field(
        description="Its place among the rules made here; null: it is of the file, and asked before those."
    )


class RulesView(View):
    """All routing rules in the order in which they are asked."""

    model_config = example_of({"data": [_RULE_EXAMPLE], "has_more": False, "next_page": None})

    data: list[RuleView] = Field(description="The rules, those of the file first.")
    has_more: bool = Field(description="Always false: all rules are on one page.")
    next_page: str | None = Field(description="Always null.")


@routing_rules.get("/v1/routing-rules", responses={200: RulesView})
@needs("read")
def list_routing_rules() -> Response:
    """List the routing rules in the order in which they are asked."""
    return answer(RulesView(data=_all_rules(), has_more=False, next_page=None))


@routing_rules.post("/v1/routing-rules", responses={201: RuleView, **may_refuse(409, *OF_BODIES)})
@needs("write")
def create_routing_rule(body: NewRule) -> Response:
    """Make a rule: at `position`, or last. Every instance of the proxy goes by it within a second."""
    require_unpinned(visitor())
    terms = RoutingRule(
        rule_id="", **(body.model_dump(exclude={"position"}) | {"from_models": tuple(body.from_models)})
    )
    made = services().rulebook.create_rule(visitor().account_id, terms, body.position)
    return answer(_rule_named(made.rule_id), 201)


@routing_rules.get("/v1/routing-rules/<rule_id>", responses={200: RuleView, **may_refuse(404)})
@needs("read")
def show_routing_rule(path: RulePath) -> Response:
    """Show a rule."""
    return answer(_rule_named(path.rule_id))


@routing_rules.patch(
    "/v1/routing-rules/<rule_id>", responses={200: RuleView, **may_refuse(404, 409, *OF_BODIES)}
)
@needs("write")
def change_routing_rule(path: RulePath, body: RulePatch) -> Response:
    """Change a rule, or move it; what is left out stays."""
    require_unpinned(visitor())
    _refuse_files_own(path.rule_id)
    given = body.model_dump(exclude_unset=True)
    position = given.pop("position", None)
    if "from_models" in given:
        given["from_models"] = tuple(given["from_models"])
    services().rulebook.change_rule(
        visitor().account_id,
        path.rule_id,
        lambda rule: msgspec.structs.replace(rule, **given),
        position,
    )
    return answer(_rule_named(path.rule_id))


@routing_rules.delete("/v1/routing-rules/<rule_id>", responses={204: None, **may_refuse(404, 409)})
@needs("write")
def delete_routing_rule(path: RulePath) -> Response:
    """Delete a rule."""
    require_unpinned(visitor())
    _refuse_files_own(path.rule_id)
    services().rulebook.delete_rule(visitor().account_id, path.rule_id)
    return nothing()


def _all_rules() -> list[RuleView]:
    known = services()
    rules = known.files().merged(known.rulebook.policy(visitor().account_id)).routing_rules
    first = sum(each.source == "file" for each in rules)
    return [_shown(rule, place - first) for place, rule in enumerate(rules)]


def _rule_named(rule_id: str) -> RuleView:
    for each in _all_rules():
        if each.id == rule_id:
            return each
    raise NotFound("there is no such routing rule")


def _refuse_files_own(rule_id: str) -> None:
    if _rule_named(rule_id).source == "file":
        raise Conflict("this rule is of routing.json; change it there")


def _shown(rule: RoutingRule, position: int) -> RuleView:
    fields = {name: getattr(rule, name) for name in rule.__struct_fields__ if name != "rule_id"}
    fields["from_models"] = list(rule.from_models)
    return RuleView(id=rule.rule_id, position=None if rule.source == "file" else position, **fields)
