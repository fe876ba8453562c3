"""Routing rules: when a call is served by a cheaper model than the one it asks for.

A rule fires when the percentage spent of the strictest budget over the call is at or above its threshold. The
first rule that fires, in their order, decides. Rules do not chain.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

RULES_MAX: Final = 100  # of an account
FROM_MODELS_MAX: Final = 50

RuleProvider = Literal["", "anthropic", "openai"]


class RoutingRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule. `provider` "" matches any; Bedrock counts as anthropic, Azure as openai.

    `name` is of plain ASCII, as it stands in answers and events.
    """

    rule_id: str
    name: str
    description: str = ""
    trigger: Literal["budget_percent_above"] = "budget_percent_above"
    threshold: int  # percent, 0 to 100
    from_models: tuple[str, ...]
    to_model: str
    provider: RuleProvider = ""
    action: Literal["downgrade"] = "downgrade"
    enabled: bool = True
    source: Literal["api", "file"] = "api"


RULE_PROVIDER: Final[dict[str, RuleProvider]] = {
    "anthropic": "anthropic",
    "bedrock": "anthropic",
    "openai": "openai",
    "azure": "openai",
}


def applicable(rules: Iterable[RoutingRule], provider: str, names: frozenset[str]) -> tuple[RoutingRule, ...]:
    """The rules that name a call's model, in their order; `names` are all that the model is known by."""
    return tuple(
        rule
        for rule in rules
        if rule.enabled
        and rule.provider in ("", RULE_PROVIDER.get(provider))
        and rule.to_model not in names
        and not names.isdisjoint(rule.from_models)
    )


def choose(rules: Iterable[RoutingRule], has_reached: Callable[[int], bool]) -> RoutingRule | None:
    """The first of the applicable rules that fires; `has_reached` says whether that percentage is spent."""
    return next((rule for rule in rules if has_reached(rule.threshold)), None)
