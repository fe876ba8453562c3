"""Names that callers could send for the models of the committed table, for tests against the list itself."""

from collections.abc import Iterator

from genai_prices import types
from genai_prices.data import providers

from metering.price_compiler import PROVIDERS
from metering.price_table import PricedModel, load_price_table

TABLE = load_price_table()

_VERSIONS = ("", "-20250929", "-2025-09-29", "-latest", "@20250929", "-v1:0", "-20250929-v1:0", "-v2:0:48k")
_PROFILES = ("", "us.", "eu.", "apac.")


def callable_names(provider: str) -> list[str]:
    """Every name of that provider's models, with the prefixes and suffixes under which they are sold."""
    models = TABLE.providers[provider]
    return sorted(
        {name for model in models for pattern in model.names for name in _spelt(pattern)} - _MISREAD
    )


# the list takes these for o4-mini, of whose name they are a part
_MISREAD = {"o4-mini-deep-research", "o4-mini-deep-research-2025-06-26"}


def _spelt(pattern: str) -> Iterator[str]:
    kind, literal = pattern[0], pattern[1:]
    if kind in "=$":
        yield literal
    elif kind == "^":
        yield from (f"{literal.rstrip('-')}{version}" for version in _VERSIONS if not literal.endswith("-"))
    elif kind == "~":
        yield from (f"{profile}{literal}{version}" for profile in _PROFILES for version in _VERSIONS)
    else:
        yield _example_of(literal)


def _example_of(expression: str) -> str:
    plain = expression.strip("^$").replace(r"\.", ".").replace("[-@]", "-")
    return plain.replace(r"\d{4}-\d{2}-\d{2}", "2026-01-02").replace(r"\d{8}", "20260102")


def listed_model(provider: str, name: str) -> types.ModelInfo | None:
    """The model that the list itself finds behind a name."""
    theirs = next(each for each in providers if each.id == PROVIDERS[provider])
    return theirs.find_model(name, all_providers=list(providers))


def table_model(provider: str, model: str) -> PricedModel:
    """The table's entry of that model."""
    return next(each for each in TABLE.providers[provider] if each.model == model)
