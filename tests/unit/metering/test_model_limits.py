"""The file of limits: every fact has a source, every model is one of the price list's, none stands twice."""

from collections import Counter

import pytest

from metering.model_limits import ModelLimits, limits_entries, load_model_limits, vendors_name
from metering.price_table import load_price_table

TABLE = load_model_limits()
LISTED = {vendors_name(model.model) for models in load_price_table().providers.values() for model in models}


def test_each_entry_says_where_and_when_it_was_read() -> None:
    for entry in limits_entries():
        assert entry.source.startswith("https://")
        assert entry.read_on.isoformat() >= "2026-11-21"


def test_each_model_stands_once_and_can_be_priced() -> None:
    named = Counter(model for entry in limits_entries() for model in entry.models)

    assert [model for model, times in named.items() if times > 1] == []
    assert set(named) <= LISTED


def test_an_answer_lies_within_the_context_window() -> None:
    assert all(entry.output_tokens <= entry.context_tokens for entry in limits_entries())


@pytest.mark.parametrize(
    ("model", "limits"),
    [
        ("claude-haiku-4-5", ModelLimits(200_000, 64_000)),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", ModelLimits(200_000, 64_000)),
        ("regional.anthropic.claude-opus-4-5-v1:0", ModelLimits(200_000, 64_000)),
        ("gpt-4o-mini", ModelLimits(128_000, 16_384)),
        ("global.openai.gpt-6.1-sol", ModelLimits(1_050_000, 128_000)),
        ("text-embedding-3-small", ModelLimits(8_192, 0)),
        ("claude-of-tomorrow", None),
        ("amazon.nova-pro-v1:0", None),
    ],
)
def test_a_model_has_the_same_limits_wherever_it_is_served(model: str, limits: ModelLimits | None) -> None:
    assert TABLE.find(model) == limits
