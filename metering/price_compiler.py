"""Compiles `price_table.json` from the pinned genai-prices package and our overlay: `make prices`.

A build step. Nothing that runs imports this module, and only this module imports genai_prices. It fails
loudly on everything the table could not say exactly: a price finer than a picodollar, a unit, a condition or
a kind of name it does not know. Source: https://github.com/pydantic/genai-prices, of the version that
requirements/dev.txt pins.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from importlib.metadata import version as installed_version
from pathlib import Path

import msgspec
from genai_prices import types
from genai_prices.data import providers as listed_providers

from metering.money import PICODOLLARS_PER_DOLLAR
from metering.price_table import TABLE_FILE, DatedRates, PricedModel, PriceTable, Rate, Rates, RegionFactor

OVERLAY_FILE = Path(__file__).with_name("price_overlay.toml")

# our provider → the list's
PROVIDERS = {"anthropic": "anthropic", "openai": "openai", "bedrock": "aws", "azure": "azure"}

# the list's price key → our unit, and how many units the price is for
_UNITS = {
    "input_mtok": ("input", 1_000_000),
    "output_mtok": ("output", 1_000_000),
    "cache_read_mtok": ("cache_read", 1_000_000),
    "cache_write_mtok": ("cache_write", 1_000_000),
    "cache_write_5m_mtok": ("cache_write_5m", 1_000_000),
    "cache_write_1h_mtok": ("cache_write_1h", 1_000_000),
    "web_searches_kcount": ("server_tool_call", 1_000),
}

# Sold by units the meter does not count apart (it counts all tokens of a call as text, and says so).
_UNITS_NOT_METERED = frozenset(
    {
        "audio_hours", "cache_audio_read_mtok", "cache_image_read_mtok", "input_audio_hours",
        "input_audio_mtok", "input_image_mtok", "input_mchars", "input_text_messages_kcount",
        "output_audio_mtok", "output_image_mtok", "storage_searches_kcount",
    }
)  # fmt: skip

_TIER_KEYS = frozenset({"service_tier", "processing", "speed"})  # of a price variant's condition


class UncompilablePrice(Exception):
    """The list says something that the table cannot say exactly; the message names it."""


def compile_table(
    providers: Iterable[types.Provider] = tuple(listed_providers), overlay: str | None = None
) -> PriceTable:
    """The table as it should be, from the installed list and the overlay's text (default: ours).

    Raises: UncompilablePrice.
    """
    listed = {provider.id: provider for provider in providers}
    models = {ours: _models(ours, listed[theirs], listed) for ours, theirs in PROVIDERS.items()}
    if overlay is None:
        overlay = OVERLAY_FILE.read_text()
    said = msgspec.convert(tomllib.loads(overlay), _Overlay)
    for entry in said.rates:
        models[entry.provider] = _overlaid(models[entry.provider], entry)
    factors = tuple(
        RegionFactor(entry.provider, entry.region, _basis_points(entry.percent), entry.starts_on)
        for entry in said.region_factor
    )
    unnamed = PriceTable("", factors, {provider: tuple(each) for provider, each in models.items()})
    digest = hashlib.sha256(table_text(unnamed).encode()).hexdigest()[:8]
    read_on = [*(entry.read_on for entry in said.rates), *(entry.read_on for entry in said.region_factor)]
    overlaid = max(map(str, read_on), default="none")
    version = f"genai-prices-{installed_version('genai-prices')}+overlay-{overlaid}-{digest}"
    return msgspec.structs.replace(unnamed, version=version)


def table_text(table: PriceTable) -> str:
    """The table as it is committed: JSON, one line a model, so that a change of price is one line's diff."""

    def lines(each: Iterable[object]) -> str:
        return ",\n".join(msgspec.json.encode(one).decode() for one in each)

    providers = ",\n".join(
        f'"{provider}":[\n{lines(models)}\n]' for provider, models in table.providers.items()
    )
    return (
        f'{{"version":"{table.version}",\n'
        f'"region_factors":[\n{lines(table.region_factors)}\n],\n'
        f'"providers":{{\n{providers}\n}}}}\n'
    )


def _models(ours: str, provider: types.Provider, listed: Mapping[str, types.Provider]) -> list[PricedModel]:
    models = [_model(ours, model) for model in provider.models]
    for lender in provider.fallback_model_providers or ():
        # the list borrows standard rates only, and a lender's hours of the day are not the borrower's
        models += [
            msgspec.structs.replace(_model(ours, model), tiers={}, lender=lender)
            for model in listed[lender].models
            if not _has_hours(model)
        ]
    return models


def _has_hours(model: types.ModelInfo) -> bool:
    conditions = model.prices if isinstance(model.prices, list) else []
    return any(isinstance(each.constraint, types.TimeOfDateConstraint) for each in conditions)


def _model(ours: str, model: types.ModelInfo) -> PricedModel:
    where = f"{ours} {model.id}"
    dated = model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]
    prices = tuple(DatedRates(_day(each.constraint, where), _rates(each.prices, where)) for each in dated)
    if prices[0].starts_on is not None or [each.starts_on for each in prices[1:]] != sorted(
        each.starts_on for each in prices[1:] if each.starts_on is not None
    ):
        raise UncompilablePrice(f"{where}: dated prices are not in order")
    is_free = not any(vars(each.prices) for each in dated)
    tiers: dict[str, tuple[DatedRates, ...]] = {}
    for variant in model.price_variants or ():
        tier = _tier(variant.when, where)
        if tier in tiers:
            raise UncompilablePrice(f"{where}: two prices for the tier {tier}")
        tiers[tier] = (DatedRates(_day(variant.constraint, where), _rates(variant.prices, where)),)
    if tiers.pop("default", None) not in {None, (DatedRates(None, Rates()),)}:
        raise UncompilablePrice(f"{where}: the default tier is not the standard price")
    return PricedModel(
        model=model.id,
        names=tuple(_names(ours, model.match, where)),
        prices=() if is_free else tuple(each for each in prices if each.rates != Rates()),
        tiers=tiers,
        free=is_free,
    )


def _day(constraint: object, where: str) -> date | None:
    if constraint is None:
        return None
    if isinstance(constraint, types.StartDateConstraint):
        return constraint.start_date
    raise UncompilablePrice(f"{where}: prices depend on {type(constraint).__name__}")


def _tier(when: Mapping[str, str], where: str) -> str:
    (key, tier), *more = when.items()
    if more or key not in _TIER_KEYS:
        raise UncompilablePrice(f"{where}: prices depend on {dict(when)}")
    return tier


def _rates(prices: types.ModelPrice, where: str) -> Rates:
    rates: dict[str, Rate] = {}
    for key, price in vars(prices).items():
        if price is None or key in _UNITS_NOT_METERED:
            continue
        if key not in _UNITS:
            raise UncompilablePrice(f"{where}: is sold by {key}, which is no unit of ours")
        unit, count = _UNITS[key]
        if isinstance(price, types.TieredPrices):
            steps = [
                each for tier in price.tiers for each in (tier.start, _picodollars(tier.price, count, where))
            ]
            rates[unit] = (_picodollars(price.base, count, where), *steps)
        else:
            rates[unit] = _picodollars(price, count, where)
    return Rates(**rates)


def _picodollars(price: Decimal, count: int, where: str) -> int:
    exact = price * PICODOLLARS_PER_DOLLAR / count
    if exact != int(exact) or exact < 0:
        raise UncompilablePrice(f"{where}: {price} for {count} is no whole number of picodollars")
    return int(exact)


_KINDS: Mapping[type, tuple[str, str]] = {
    types.ClauseEquals: ("=", "equals"),
    types.ClauseStartsWith: ("^", "starts_with"),
    types.ClauseEndsWith: ("$", "ends_with"),
    types.ClauseContains: ("~", "contains"),
}


def _names(ours: str, match: object, where: str) -> Iterable[str]:
    if isinstance(match, types.ClauseOr):
        for clause in match.or_:
            yield from _names(ours, clause, where)
        return
    if isinstance(match, types.ClauseRegex):
        yield f"/{match.regex}"
        return
    if type(match) not in _KINDS:
        raise UncompilablePrice(f"{where}: is named by a {type(match).__name__}")
    kind, field = _KINDS[type(match)]
    # on Azure the tenant names the deployment: a part of its name says nothing of the model
    yield f"{'=' if ours == 'azure' and kind == '~' else kind}{getattr(match, field).lower()}"


class _RegionFactorEntry(msgspec.Struct, forbid_unknown_fields=True):
    provider: str
    region: str
    percent: str
    source: str
    read_on: date
    starts_on: date | None = None


class _RatesEntry(msgspec.Struct, forbid_unknown_fields=True):
    provider: str
    model: str
    rates: dict[str, str]
    source: str
    read_on: date
    names: tuple[str, ...] = ()
    tier: str = ""
    starts_on: date | None = None


class _Overlay(msgspec.Struct, forbid_unknown_fields=True):
    rates: tuple[_RatesEntry, ...] = ()
    region_factor: tuple[_RegionFactorEntry, ...] = ()


def _basis_points(percent: str) -> int:
    exact = Decimal(percent) * 100
    if exact != int(exact):
        raise UncompilablePrice(f"{percent} percent is finer than a basis point")
    return int(exact)


def _overlaid(models: list[PricedModel], entry: _RatesEntry) -> list[PricedModel]:
    """The models with one entry's rates added: to the listed model, or as a new one where it has names."""
    where = f"overlay {entry.provider} {entry.model}"
    prices = types.ModelPrice(**{f"{unit}_mtok": Decimal(price) for unit, price in entry.rates.items()})
    added = DatedRates(entry.starts_on, _rates(prices, where))
    listed = next((model for model in models if model.model == entry.model), None)
    if (listed is None) != bool(entry.names):
        raise UncompilablePrice(f"{where}: a new model needs names, and a listed one has them")
    if listed is None:
        return [PricedModel(model=entry.model, names=entry.names, prices=(added,)), *models]
    if entry.tier:
        tiers = {**listed.tiers, entry.tier: _in_order((*listed.tiers.get(entry.tier, ()), added), where)}
        changed = msgspec.structs.replace(listed, tiers=tiers)
    else:
        changed = msgspec.structs.replace(listed, prices=_in_order((*listed.prices, added), where))
    return [changed if model is listed else model for model in models]


def _in_order(dated: tuple[DatedRates, ...], where: str) -> tuple[DatedRates, ...]:
    days = [each.starts_on or date.min for each in dated]
    if days != sorted(days):
        raise UncompilablePrice(f"{where}: starts before the rates it follows")
    return dated


if __name__ == "__main__":
    TABLE_FILE.write_text(table_text(compile_table()))
