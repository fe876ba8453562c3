"""Which rule decides about a call, by provider, model, order and the percentage that is spent."""

from typing import Any

import pytest

from metering.routing import RoutingRule, applicable, choose


def rule(rule_id: str = "rule_1", **changes: Any) -> RoutingRule:
    fields: dict[str, Any] = {
        "rule_id": rule_id,
        "name": rule_id,
        "threshold": 70,
        "from_models": ("claude-sonnet-4-6",),
        "to_model": "claude-haiku-4-5",
    }
    return RoutingRule(**fields | changes)


SONNET = frozenset(("claude-sonnet-4-6",))


def applies(one: RoutingRule, provider: str = "anthropic", names: frozenset[str] = SONNET) -> bool:
    return applicable((one,), provider, names) == (one,)


def test_a_rule_applies_to_the_models_it_names_and_to_no_other() -> None:
    assert applies(rule())
    assert applies(rule(), names=frozenset(("arn:aws:bedrock:::inference-profile/a", "claude-sonnet-4-6")))
    assert not applies(rule(), names=frozenset(("claude-sonnet-4",)))
    assert not applies(rule(), names=frozenset())


@pytest.mark.parametrize(
    ("of_the_rule", "of_the_call", "does_apply"),
    [
        ("", "anthropic", True),
        ("", "azure", True),
        ("anthropic", "anthropic", True),
        ("anthropic", "bedrock", True),
        ("anthropic", "openai", False),
        ("openai", "openai", True),
        ("openai", "azure", True),
        ("openai", "bedrock", False),
    ],
)
def test_bedrock_counts_as_anthropic_and_azure_as_openai(
    of_the_rule: str, of_the_call: str, does_apply: bool
) -> None:
    assert applies(rule(provider=of_the_rule), of_the_call) is does_apply


def test_a_disabled_rule_and_one_to_the_same_model_apply_to_nothing() -> None:
    assert not applies(rule(enabled=False))
    assert not applies(rule(to_model="claude-sonnet-4-6"))


def test_a_rule_fires_at_its_threshold_and_not_below() -> None:
    assert choose((rule(),), lambda threshold: threshold <= 70) == rule()
    assert choose((rule(),), lambda threshold: threshold <= 69) is None


def test_the_first_rule_that_fires_decides_whatever_its_threshold() -> None:
    dear, cheap = rule("rule_a", threshold=90), rule("rule_b", threshold=70)

    assert choose((dear, cheap), lambda threshold: threshold <= 75) == cheap
    assert choose((dear, cheap), lambda threshold: threshold <= 95) == dear
