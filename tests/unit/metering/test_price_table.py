"""A name finds its own model's price and never a neighbour's."""

import random

import pytest

from metering.price_table import NameIndex, PricedModel
from tests.unit.metering.price_names import TABLE, callable_names, listed_model

PROVIDERS = sorted(TABLE.providers)
INDEXES = {provider: NameIndex(models) for provider, models in TABLE.providers.items()}


def found(provider: str, name: str) -> str | None:
    model = INDEXES[provider].find(name)
    return None if model is None else model.model


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_name_finds_the_model_that_the_list_means(provider: str) -> None:
    names = callable_names(provider)

    wrong = {
        name: found(provider, name)
        for name in names
        if found(provider, name) != getattr(listed_model(provider, name), "id", None)
    }

    assert len(names) > 90
    assert wrong == {}


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai", "gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "GPT-4o", "gpt-4o"),
        ("openai", "gpt-5.2-20251211", "gpt-5.2"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::9xYz", "ft:gpt-4o-mini"),
        ("anthropic", "claude-sonnet-4-6", "claude-sonnet-4-6"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("bedrock", "amazon.nova-lite-v1:0:300k", "amazon.nova-lite-v1:0"),
        ("bedrock", "global.anthropic.claude-opus-5-5", "global.anthropic.claude-opus-5-5"),
        ("azure", "o4-mini-deep-research", "o4-mini-deep-research"),
    ],
)  # fmt: skip
def test_a_snapshot_is_priced_as_its_own_model(provider: str, name: str, model: str) -> None:
    assert found(provider, name) == model


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "gpt-4o-mini-tiny"),
        ("openai", "gpt-4o-audio-preview-lite"),
        ("openai", "ft:gpt-4o-mini:acme::9xYz"),
        ("openai", "my-gpt-4o"),
        ("anthropic", "claude-sonnet-4-6-mini"),
        ("anthropic", "claude-opus-4-10"),
        ("anthropic", "xclaude-sonnet-4-6"),
        ("bedrock", "xyz.anthropic.claude-opus-5"),
        ("bedrock", "us.moonshotai.kimi-k3.12"),
        ("azure", "team-o4-mini"),
        ("azure", "production"),
        ("openai", ""),
    ],
)
def test_a_name_that_is_nearly_known_is_unknown(provider: str, name: str) -> None:
    assert found(provider, name) is None


@pytest.mark.parametrize("provider", ["anthropic", "openai", "bedrock"])
def test_the_order_of_the_list_decides_nothing(provider: str) -> None:
    models = list(TABLE.providers[provider])
    random.Random(7).shuffle(models)  # noqa: S311  # a fixed order, not a secret
    shuffled = NameIndex(tuple(models))

    moved = [name for name in callable_names(provider) if shuffled.find(name) != INDEXES[provider].find(name)]

    assert moved == []


def test_the_longest_known_part_of_a_name_decides() -> None:
    index = NameIndex(
        (PricedModel(model="short", names=("^model",)), PricedModel(model="long", names=("^model-2",)))
    )

    model = index.find("model-2-2026")

    assert model is not None
    assert model.model == "long"
