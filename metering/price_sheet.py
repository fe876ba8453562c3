"""A price sheet: every rule that sets a call's rates applied once, so that a call is multiply and add.

`metering.pricing` states the rules. A sheet holds for one model, service tier, region and account over one
period; amounts inside are whole picodollars times a scale that makes discounts and factors exact.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from metering.accounts import PriceOverride, PriceSettings, UnitPrices
from metering.money import NANODOLLARS_PER_DOLLAR, PICODOLLARS_PER_NANODOLLAR, Nanodollars, rounded_half_even
from metering.price_table import DatedRates, PricedModel, Rate, Rates, RegionFactor
from metering.usage import Usage

BASIS_POINTS = 10_000
LIST_PRICES: Final = PriceSettings()
STANDARD_TIERS = frozenset({"", "standard", "standard_only", "default", "auto"})

SINCE_EVER = datetime.min.replace(tzinfo=UTC)
FOR_EVER = datetime.max.replace(tzinfo=UTC)

_UNITS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "server_tool_call")
_USED = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "server_tool_calls",
)
_FREE = Rates(**dict.fromkeys(_UNITS, 0))


class Cost(msgspec.Struct, frozen=True):
    """What a call costs, in nanodollars, and by which price.

    `unpriced` says that the figure is not the whole truth: 0 where nothing is known, else the part that is.
    """

    nanodollars: Nanodollars
    unpriced: bool
    price_version: str


class Question(NamedTuple):
    """What a sheet is made for: everything that sets a rate, but for the usage."""

    provider: str
    names: tuple[str, ...]  # what an override may call the model, the most exact first, in lower case
    model: PricedModel | None
    at: datetime
    service_tier: str
    is_as_requested: bool = False  # found by the name that was asked for, not by the answer's
    factor: RegionFactor | None = None
    settings: PriceSettings = LIST_PRICES


class Band(NamedTuple):
    """Rates for prompts above a length; 0 where there is none, and then `missing` names the usage field."""

    above: int
    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    server_tool_call: int
    price_version: str
    missing: tuple[str, ...]

    def unit_prices(self) -> UnitPrices:
        """The rates as unit prices, None where there is none."""
        return UnitPrices(
            **{
                f"{unit}_picodollars": getattr(self, unit)
                for unit, used in zip(_UNITS, _USED, strict=True)
                if used not in self.missing
            }
        )


class Line(NamedTuple):
    """One part of a call's cost: so many of a unit, named by its usage field, at so many US dollars each."""

    used: str
    quantity: int
    unit_usd: Decimal


class PriceSheet(NamedTuple):
    """The rates of one `Question`, good from `since` until just before `until`.

    `bands` are those of long prompts, the longest first; `base` is that of all others.
    """

    base: Band
    bands: tuple[Band, ...]
    denominator: int  # rate units to a nanodollar
    is_unpriced: bool
    since: datetime
    until: datetime
    settings: PriceSettings

    def cost(self, usage: Usage, prompt_tokens: int | None = None) -> Cost:
        """What that usage costs; `prompt_tokens` is the prompt's length where the usage is not one call's."""
        band = self.base
        if self.bands:
            band = self._band(usage.prompt_tokens if prompt_tokens is None else prompt_tokens)
        amount = (
            usage.input_tokens * band.input
            + usage.output_tokens * band.output
            + usage.cache_read_tokens * band.cache_read
            + usage.cache_write_5m_tokens * band.cache_write_5m
            + usage.cache_write_1h_tokens * band.cache_write_1h
            + usage.server_tool_calls * band.server_tool_call
        )
        nanodollars = Nanodollars(rounded_half_even(amount, self.denominator))
        if band.missing and any(getattr(usage, used) for used in band.missing):
            return Cost(nanodollars, unpriced=True, price_version=f"{band.price_version};no-rate")
        return Cost(nanodollars, self.is_unpriced, band.price_version)

    def lines(self, usage: Usage) -> tuple[Line, ...]:
        """What one call's cost is made of, exactly: their sum rounded is the cost."""
        band = self._band(usage.prompt_tokens)
        rates_a_dollar = self.denominator * NANODOLLARS_PER_DOLLAR
        return tuple(
            Line(used, getattr(usage, used), Decimal(getattr(band, unit)) / rates_a_dollar)
            for unit, used in zip(_UNITS, _USED, strict=True)
            if getattr(usage, used)
        )

    def _band(self, prompt_tokens: int) -> Band:
        for each in self.bands:
            if prompt_tokens > each.above:
                return each
        return self.base


class DearestRates(NamedTuple):
    """The most that a model's units can cost, good from `since` until just before `until`.

    `bands` are (prompts above, prompt token, output token, tool call), ascending, in whole picodollars; each
    is at least as dear as those below it. `listed_names` are the price list's for what may serve the call.
    `missing` are the usage fields that may have no rate: what uses them is `unpriced`.
    """

    bands: tuple[tuple[int, int, int, int], ...]
    listed_names: tuple[str, ...]
    missing: frozenset[str]
    since: datetime
    until: datetime
    settings: PriceSettings

    def nanodollars(self, *, prompt_tokens: int, output_tokens: int, tool_calls: int) -> int:
        """What so many tokens and calls cost at most, rounded up."""
        reached = self.bands[0]
        for band in self.bands[1:]:
            if prompt_tokens > band[0]:
                reached = band
        _, prompt, output, call = reached
        amount = prompt_tokens * prompt + output_tokens * output + tool_calls * call
        return -(-amount // PICODOLLARS_PER_NANODOLLAR)


def dearest_rates(sheets: Sequence[PriceSheet], listed_names: tuple[str, ...]) -> DearestRates:
    """The rates that no call exceeds which is priced by one of these sheets."""
    bands = [(band, sheet.denominator) for sheet in sheets for band in (sheet.base, *sheet.bands)]
    dearest = []
    for above in sorted({band.above for band, _ in bands}):
        reached = [(band, denominator) for band, denominator in bands if band.above <= above]
        dearest.append(
            (
                above,
                max(_up(_dearest_prompt_rate(band), denominator) for band, denominator in reached),
                max(_up(band.output, denominator) for band, denominator in reached),
                max(_up(band.server_tool_call, denominator) for band, denominator in reached),
            )
        )
    return DearestRates(
        bands=tuple(dearest),
        listed_names=listed_names,
        missing=frozenset(used for band, _ in bands for used in band.missing),
        since=max(sheet.since for sheet in sheets),
        until=min(sheet.until for sheet in sheets),
        settings=sheets[0].settings,
    )


def _dearest_prompt_rate(band: Band) -> int:
    return max(band.input, band.cache_read, band.cache_write_5m, band.cache_write_1h)


def _up(rate: int, denominator: int) -> int:
    """Whole picodollars, rounded up, of a sheet's rate."""
    return -(-rate * PICODOLLARS_PER_NANODOLLAR // denominator)


def price_sheet(question: Question, table_version: str) -> PriceSheet:
    """The sheet that answers a question."""
    bounds = _Bounds(question.at)
    override = _override_in_force(question, bounds)
    factor = question.factor
    if factor is not None and factor.starts_on and not bounds.has_begun(_midnight(factor.starts_on)):
        factor = None
    rates, is_tier_known = _list_rates(question, bounds)
    own = (override and override.prices) or UnitPrices()

    rules = [table_version, *_rules(question, override, factor, is_tier_known=is_tier_known)]
    is_tier_known = is_tier_known or own != UnitPrices()
    scaled, scale = _scaled(rates, own, override, factor)
    is_priced = any(rate is not None for rate in scaled.values())
    if not is_priced:
        rules.append("unknown-model" if question.model is None else "no-rate")
    base, *longer = _bands(scaled, ";".join(rules))
    return PriceSheet(
        base=base if is_priced else base._replace(missing=()),
        bands=tuple(reversed(longer)),
        denominator=PICODOLLARS_PER_NANODOLLAR * scale,
        is_unpriced=not (is_priced and is_tier_known),
        since=bounds.since,
        until=bounds.until,
        settings=question.settings,
    )


class _Bounds:
    """The period around a moment in which no rate changes."""

    def __init__(self, at: datetime) -> None:
        self._at = at
        self.since = SINCE_EVER
        self.until = FOR_EVER

    def has_begun(self, moment: datetime) -> bool:
        """Whether that moment has come, remembering it as one at which rates change."""
        if moment <= self._at:
            self.since = max(self.since, moment)
            return True
        self.until = min(self.until, moment)
        return False


def _rules(
    question: Question,
    override: PriceOverride | None,
    factor: RegionFactor | None,
    *,
    is_tier_known: bool,
) -> list[str]:
    model, tier = question.model, question.service_tier
    rules = []
    if not is_tier_known:
        rules.append("tier-at-standard")
    elif tier not in STANDARD_TIERS:
        rules.append(f"tier={tier}")
    if factor is not None:
        rules.append(f"region={factor.region}")
    if model is not None and model.lender:
        rules.append(f"prices-of={model.lender}")
    if question.is_as_requested:
        rules.append("as-requested")
    if override is not None:
        rules.append("account")
    return rules


def _override_in_force(question: Question, bounds: _Bounds) -> PriceOverride | None:
    """The account's override that applies: an exact name before "*", then the one that began last."""
    best: tuple[int, datetime, int] | None = None
    chosen = None
    for position, override in enumerate(question.settings.overrides):
        name = override.model.lower()
        if override.provider != question.provider or name not in (*question.names, "*"):
            continue
        begins, ends = _moment(override.starts_at, SINCE_EVER), _moment(override.ends_at, FOR_EVER)
        has_begun, has_ended = bounds.has_begun(begins), bounds.has_begun(ends)
        closeness = -len(question.names) if name == "*" else -question.names.index(name)
        rank = (closeness, begins, position)
        if has_begun and not has_ended and (best is None or rank > best):
            best, chosen = rank, override
    return chosen


def _moment(given: datetime | None, otherwise: datetime) -> datetime:
    if given is None:
        return otherwise
    return given if given.tzinfo is not None else given.replace(tzinfo=UTC)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _list_rates(question: Question, bounds: _Bounds) -> tuple[dict[str, Rate], bool]:
    """The list's rates by unit (absent: none of its own), and whether the service tier has known ones."""
    model, tier = question.model, question.service_tier
    if model is None:
        return {}, tier in STANDARD_TIERS
    if model.free:
        return dict.fromkeys(_UNITS, 0), True
    rates = _named_rates(_latest(model.prices, bounds) or (model.prices[0] if model.prices else None))
    if tier in STANDARD_TIERS:
        return rates, True
    change = _latest(model.tiers.get(tier, ()), bounds)
    return {**rates, **_named_rates(change)}, change is not None


def _latest(dated: tuple[DatedRates, ...], bounds: _Bounds) -> DatedRates | None:
    latest = None
    for each in dated:  # ascending by day
        if each.starts_on is None or bounds.has_begun(_midnight(each.starts_on)):
            latest = each
    return latest


def _named_rates(dated: DatedRates | None) -> dict[str, Rate]:
    if dated is None:
        return {}
    named = {unit: getattr(dated.rates, unit) for unit in Rates.__struct_fields__}
    return {unit: rate for unit, rate in named.items() if rate is not None}


def _scaled(
    rates: dict[str, Rate],
    own: UnitPrices,
    override: PriceOverride | None,
    factor: RegionFactor | None,
) -> tuple[dict[str, Rate | None], int]:
    """The rates of `_UNITS` times a scale: list rates with factor and discount, the account's as they are."""
    scale, token_factor, tool_factor = 1, 1, 1
    if override is not None or factor is not None:
        discounted = BASIS_POINTS - min(override.discount_basis_points if override else 0, BASIS_POINTS)
        scale = BASIS_POINTS * BASIS_POINTS
        tool_factor = discounted * BASIS_POINTS
        token_factor = discounted * (factor.basis_points if factor else BASIS_POINTS)
    scaled: dict[str, Rate] = {
        unit: _times(rate, tool_factor if unit == "server_tool_call" else token_factor)
        for unit, rate in rates.items()
    }
    for unit in _UNITS:
        price = getattr(own, f"{unit}_picodollars")
        if price is not None:
            scaled[unit] = price * scale
    plain, written = scaled.get("input"), scaled.get("cache_write")
    written = plain if written is None else written
    instead = {"cache_read": plain, "cache_write_5m": written, "cache_write_1h": written}
    return {unit: scaled.get(unit, instead.get(unit)) for unit in _UNITS}, scale


def _times(rate: Rate, factor: int) -> Rate:
    if isinstance(rate, int):
        return rate * factor
    base, *steps = rate
    scaled = [each * factor if position % 2 else each for position, each in enumerate(steps)]
    return (base * factor, *scaled)


def _bands(rates: dict[str, Rate | None], version: str) -> list[Band]:
    """One band for each prompt length at which some rate changes, the shortest first."""
    lengths = sorted({above for rate in rates.values() if isinstance(rate, tuple) for above in rate[1::2]})
    missing = tuple(used for unit, used in zip(_UNITS, _USED, strict=True) if rates[unit] is None)
    return [
        Band(
            above=above,
            **{unit: _rate_above(rates[unit], above) for unit in _UNITS},
            price_version=f"{version};prompt>{above}" if above else version,
            missing=missing,
        )
        for above in (0, *lengths)
    ]


def _rate_above(rate: Rate | None, prompt_tokens: int) -> int:
    """The rate of prompts longer than that many tokens, and shorter than the next step."""
    if rate is None or isinstance(rate, int):
        return rate or 0
    found = rate[0]
    for above, stepped in zip(rate[1::2], rate[2::2], strict=True):
        if prompt_tokens >= above:
            found = stepped
    return found
