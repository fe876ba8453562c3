"""The models that the demo serves: as asked for, as its answers name them, as its bill prices them."""

import re

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model. `item` is its line on the price sheet; `dimensions` is 0 unless it makes embeddings."""

    served_as: str
    item: str
    is_reasoning: bool = False
    writes_cache: bool = False
    dimensions: int = 0


def _dated(item: str, date: str, *, is_reasoning: bool = False, writes_cache: bool = False) -> Model:
    return Model(
        served_as=f"{item}-{date}" if date else item,
        item=item,
        is_reasoning=is_reasoning,
        writes_cache=writes_cache,
    )


def _by_both_names(models: dict[str, Model]) -> dict[str, Model]:
    return models | {model.served_as: model for model in models.values()}


ANTHROPIC = _by_both_names(
    {
        "claude-opus-4-1": _dated("claude-opus-4-1", "20250805"),
        "claude-opus-4-5": _dated("claude-opus-4-5", "20251101"),
        "claude-sonnet-4-5": _dated("claude-sonnet-4-5", "20250929"),
        "claude-opus-4-6": _dated("claude-opus-4-6", ""),
        "claude-sonnet-4-6": _dated("claude-sonnet-4-6", ""),
        "claude-haiku-4-5": _dated("claude-haiku-4-5", "20251001"),
        "claude-3-5-haiku-latest": Model(
            served_as="claude-3-5-haiku-20241022", item="claude-3-5-haiku-latest"
        ),
        "claude-demo-unlisted": Model(served_as="claude-demo-unlisted", item="demo-unlisted"),
    }
)

OPENAI = _by_both_names(
    {
        "gpt-4o": _dated("gpt-4o", "2024-08-06"),
        "gpt-4o-mini": _dated("gpt-4o-mini", "2024-07-18"),
        "gpt-4.1": _dated("gpt-4.1", "2025-04-14"),
        "gpt-4.1-mini": _dated("gpt-4.1-mini", "2025-04-14"),
        "gpt-4.1-nano": _dated("gpt-4.1-nano", "2025-04-14"),
        "gpt-5": _dated("gpt-5", "2025-08-07", is_reasoning=True),
        "gpt-5-mini": _dated("gpt-5-mini", "2025-08-07", is_reasoning=True),
        "gpt-5.4": _dated("gpt-5.4", "2026-03-05", is_reasoning=True),
        "gpt-6-sol": _dated("gpt-6-sol", "", is_reasoning=True, writes_cache=True),
        "o3": _dated("o3", "2025-04-16", is_reasoning=True),
        "o4-mini": _dated("o4-mini", "2025-04-16", is_reasoning=True),
        "text-embedding-3-small": Model(
            served_as="text-embedding-3-small", item="text-embedding-3-small", dimensions=1536
        ),
        "text-embedding-3-large": Model(
            served_as="text-embedding-3-large", item="text-embedding-3-large", dimensions=3072
        ),
        "gpt-demo-unlisted": Model(served_as="gpt-demo-unlisted", item="demo-unlisted"),
    }
)

# An Azure tenant names its deployments as it likes; only the tenant knows which model is behind.
AZURE_DEPLOYMENTS = {
    "chat-production": "gpt-4o",
    "chat-small": "gpt-4o-mini",
    "search": "text-embedding-3-small",
}

_BEDROCK_CLAUDE = {
    "anthropic.claude-sonnet-4-5-20250929-v1:0": ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    "anthropic.claude-haiku-4-5-20251001-v1:0": ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
}
_BEDROCK_NOVA = re.compile(r"(amazon\.nova-(?:micro|lite|pro))-v1:0")
_BEDROCK_PLACE = re.compile(r"(global|us|eu|apac|jp|au)\.(.+)")


def azure_model(deployment: str) -> Model | None:
    """The model behind a deployment of the demo's Azure resource; an OpenAI model's name is one too."""
    return OPENAI.get(AZURE_DEPLOYMENTS.get(deployment, deployment))


def bedrock_model(model_id: str) -> Model | None:
    """The model of a Bedrock id, with or without a region or `global.` before it."""
    placed = _BEDROCK_PLACE.fullmatch(model_id)
    place, bare = placed.groups() if placed else ("", model_id)
    if bare in _BEDROCK_CLAUDE:
        name, served_as = _BEDROCK_CLAUDE[bare]
        tariff = "global" if place == "global" else "regional"
        return Model(served_as=served_as, item=f"bedrock:{tariff}.{name}")
    nova = _BEDROCK_NOVA.fullmatch(bare)
    return Model(served_as=model_id, item=f"bedrock:{nova.group(1)}") if nova else None
