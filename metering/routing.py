"""Routing rules: when a call is served by a cheaper model than the one it asks for.

A rule fires when the percentage spent of the strictest budget over the call is at or above its threshold. The
first rule that fires, in their order, decides. Rules do not chain.
"""

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
