"""What a call costs: its usage at the rates in force at its moment, in integers from end to end.

The rules, in the order they are applied:

1. **Model.** The name is looked up in the price table (`metering.price_table`). Unknown: the call is
   `unpriced`, never free, unless the account states a price of its own. `requested_model` is asked only
   where the name in the answer is unknown (a provider's newest snapshot behind a known alias).
2. **Moment.** The rates in force on the UTC day of `at`, so yesterday's call keeps yesterday's cost.
3. **Service tier.** `standard`, `default`, `auto` and silence are the standard rates. A tier the list knows
   changes the rates it names. A tier without a known price is charged at standard rates and flagged
   `unpriced`: the figure is the best known, not the bill.
4. **Region.** What a provider charges more for a region named by the answer (overlay, dated). On Bedrock
   the region is part of the model's id (`us.`, `eu.`, `global.`) and priced by it.
5. **Account.** The account's own price of a unit stands for every tier, region and prompt length; its
   discount is taken off the list rates. An override of the exact model wins over `*`.
6. **Units without a rate.** A cache write of one hour costs as any cache write, a cache write or read as
   plain input, exactly as genai-prices decides. A used unit with no rate at all flags the call `unpriced`;
   the others are charged.
7. **Prompt length.** Where the list has long-prompt rates, the whole call is charged at them once the whole
   prompt (cached or not) exceeds the threshold.
8. **Beyond any call.** What comes to more than nine million dollars is a fault of a figure or of an
   account's own price. It is charged as that and flagged `unpriced`: no call fills its account's counters.

The sum is rounded once, half to even, to nanodollars. `price_version` says what was applied, for instance
`genai-prices-0.2.3+overlay-2026-11-21-5f0c9a1e;tier=batch;prompt>200000`: the table (sources, date of the
overlay, digest), then the rules that were not the plain standard rate, in this order and from this list:

    tier=<tier>        rates of that service tier
    tier-at-standard   a tier without a known price, at standard rates (unpriced)
    region=<region>    with the provider's extra charge for that region
    prices-of=<name>   rates of that provider's list, as the serving one publishes none
    as-requested       priced by the name that was asked for, the answer's own being unknown
    account            a negotiated price or discount of the account
    prompt><tokens>    rates for prompts above that many tokens
    no-rate            some used unit has no rate (unpriced)
    unknown-model      nothing is known (unpriced, 0)
    beyond-any-call    cut to what the dearest call may cost (unpriced)
"""

import re
import threading
from datetime import datetime

import msgspec

from metering.accounts import PriceSettings, UnitPrices
from metering.events import CostEvent
from metering.model_names import priced_name
from metering.money import Nanodollars
from metering.price_sheet import (
    LIST_PRICES,
    Cost,
    DearestRates,
    Line,
    PriceSheet,
    Question,
    dearest_rates,
    price_sheet,
)
from metering.price_table import NameIndex, PricedModel, PriceTable
from metering.usage import Usage

__all__ = ["LIST_PRICES", "Cost", "Line", "ModelPrice", "Pricer"]

SHEETS_MAX = 4096  # price sheets kept in memory; the oldest leaves first
PRICE_VERSION_CHARACTERS_MAX = 192
CALL_NANODOLLARS_MAX = 9 * 10**15  # a thousand of them, a segment's, still fit a store's counter
WORD_CHARACTERS_MAX = 256  # a longer model, tier or region is nobody's, and is not kept

_Key = tuple[str, str, str, str, str, int]
_Asked = tuple[str, str, int]
_SNAPSHOT = re.compile(r"-(?:\d{4}|\d{8}|\d{4}-\d{2}-\d{2})")  # behind a model's name: one of its own


class ModelPrice(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the price list: a model's unit prices in a service tier, above a prompt length."""

    provider: str
    model: str
    service_tier: str = "standard"
    prompt_tokens_above: int = 0
    prices: UnitPrices


class SummedCost(msgspec.Struct, frozen=True):
    """What many calls cost together, but for the rounding of each, at most half a nanodollar a call.

    `is_exact` is false where the model has rates of its own for long prompts.
    """

    nanodollars: int
    unpriced: bool
    is_exact: bool


class Pricer:
    """Prices calls by one table; the module says by which rules. Safe to share between threads."""

    def __init__(self, table: PriceTable) -> None:
        self.version = table.version
        self._providers = {provider: NameIndex(models) for provider, models in table.providers.items()}
        self._factors = {(factor.provider, factor.region): factor for factor in table.region_factors}
        self._models = table.providers
        self._sheets: dict[_Key, PriceSheet] = {}
        self._dearest: dict[_Asked, DearestRates] = {}
        self._making = threading.Lock()

    def cost(  # noqa: PLR0913  # one call asks one question; the last four have answers of their own
        self,
        usage: Usage,
        *,
        provider: str,
        model: str,
        at: datetime,
        service_tier: str = "",
        region: str = "",
        settings: PriceSettings = LIST_PRICES,
        requested_model: str = "",
    ) -> Cost:
        """What that usage of that model costs at that moment (aware UTC, the call's admission).

        `model` is the serving one (`metering.model_names.served_model`), `service_tier` and `region` the
        provider's own words in the answer. An empty usage tells whether a call would be priced at all.
        """
        sheet = self._sheet_of((provider, model, requested_model, service_tier, region), at, settings)
        cost = sheet.cost(usage)
        if cost.nanodollars <= CALL_NANODOLLARS_MAX:
            return cost
        version = f"{cost.price_version};beyond-any-call"
        return Cost(Nanodollars(CALL_NANODOLLARS_MAX), unpriced=True, price_version=version)

    def lines(self, event: CostEvent, settings: PriceSettings = LIST_PRICES) -> tuple[Line, ...]:
        """What the cost of a recorded call is made of, by the prices in force at its moment.

        Their sum differs from the recorded cost where the list has changed since.
        """
        asked = (event.provider, event.model, event.requested_model, event.service_tier, event.region)
        return self._sheet_of(asked, event.timestamp, settings).lines(event.usage)

    def _sheet_of(
        self, asked: tuple[str, str, str, str, str], at: datetime, settings: PriceSettings
    ) -> PriceSheet:
        # a kept sheet holds its settings, so their id stands for them and for nothing else
        key = (*asked, id(settings) if settings.overrides else 0)
        sheet = self._sheets.get(key)
        if sheet is None or not sheet.since <= at < sheet.until:
            sheet = self._keep(key, self._sheet(key, at, settings))
        return sheet

    def summed_cost(
        self,
        usage: Usage,
        calls: int,
        *,
        provider: str,
        model: str,
        at: datetime,
        service_tier: str = "",
        settings: PriceSettings = LIST_PRICES,
    ) -> SummedCost:
        """What so many calls that used that much together would cost, each at the rates of that moment.

        Which of them are long prompts a sum does not tell: all are as long as their average.
        """
        sheet = self._sheet((provider, model, "", service_tier, "", 0), at, settings)
        cost = sheet.cost(usage, usage.prompt_tokens // max(1, calls))
        return SummedCost(cost.nanodollars, cost.unpriced, is_exact=not sheet.bands)

    def listed_models(self, provider: str) -> tuple[str, ...]:
        """What the price list calls the provider's models, whether or not they have a rate at present."""
        return tuple(model.model for model in self._models.get(provider, ()))

    def listed_name(self, provider: str, model: str) -> str | None:
        """What the price list calls the model, None where it lacks it."""
        found = self._listed(provider, model)
        return None if found is None else found.model

    def dearest(
        self, provider: str, model: str, at: datetime, settings: PriceSettings = LIST_PRICES
    ) -> DearestRates | None:
        """The most that the units of a call can cost, None where a call of that model may be unpriced.

        It covers every service tier and region, the model's snapshots that the list prices by themselves,
        and the account's prices of any of them, since the answer decides about all of these.
        """
        owner = id(settings) if settings.overrides else 0
        asked = (provider, model, owner)
        dearest = self._dearest.get(asked)
        if dearest is None or not dearest.since <= at < dearest.until:
            found = self._dearest_rates(provider, model, at, settings)
            if found is None:
                return None
            dearest = self._keep_dearest(asked, found)
        return dearest

    def _dearest_rates(
        self, provider: str, model: str, at: datetime, settings: PriceSettings
    ) -> DearestRates | None:
        models = self._may_serve(provider, model)
        index = self._providers.get(provider)
        names = [model, *(each.model for each in models)] + [
            override.model
            for override in settings.overrides
            if index is not None and override.provider == provider and index.find(override.model) in models
        ]
        tiers = sorted({"", *(tier for each in models for tier in each.tiers)})
        regions = ["", *(region for charging, region in self._factors if charging == provider)]
        sheets = [
            self._sheet((provider, name, model, tier, region, 0), at, settings)
            for name in dict.fromkeys(names)
            for tier in tiers
            for region in regions
        ]
        if not sheets or any(sheet.is_unpriced for sheet in sheets):
            return None
        return dearest_rates(sheets, tuple(each.model for each in models))

    def _may_serve(self, provider: str, model: str) -> list[PricedModel]:
        """The model of that name on the list, and its snapshots that have lines of their own."""
        found = self._listed(provider, model)
        if found is None:
            return []
        return [found] + [
            other
            for other in self._models[provider]
            if other.model.startswith(found.model) and _SNAPSHOT.fullmatch(other.model[len(found.model) :])
        ]

    def _listed(self, provider: str, model: str) -> PricedModel | None:
        index = self._providers.get(provider)
        name = priced_name(provider, model)
        return index.find(name) if index and 0 < len(name) <= WORD_CHARACTERS_MAX else None

    def _keep_dearest(self, asked: _Asked, dearest: DearestRates) -> DearestRates:
        if len(asked[1]) > WORD_CHARACTERS_MAX:
            return dearest
        with self._making:
            self._dearest.pop(asked, None)
            while len(self._dearest) >= SHEETS_MAX:
                del self._dearest[next(iter(self._dearest))]
            self._dearest[asked] = dearest
        return dearest

    @property
    def kept_sheets(self) -> int:
        """How many price sheets are in memory, at most `SHEETS_MAX`."""
        return len(self._sheets)

    def priced_models(self, at: datetime) -> tuple[ModelPrice, ...]:
        """The price list in force at that moment, a line for each model, service tier and prompt length."""
        return tuple(
            line
            for provider, models in self._models.items()
            for model in models
            for tier in ("standard", *model.tiers)
            for line in self._lines(provider, model, tier, at)
        )

    def _lines(self, provider: str, model: PricedModel, tier: str, at: datetime) -> list[ModelPrice]:
        sheet = price_sheet(Question(provider, (), model, at, tier), self.version)
        return [
            ModelPrice(
                provider=provider,
                model=model.model,
                service_tier=tier,
                prompt_tokens_above=band.above,
                prices=band.unit_prices(),
            )
            for band in (sheet.base, *reversed(sheet.bands))
            if not sheet.is_unpriced
        ]

    def _sheet(self, key: _Key, at: datetime, settings: PriceSettings) -> PriceSheet:
        provider, model, requested_model, service_tier, region, _ = key
        index = self._providers.get(provider)
        names = [priced_name(provider, name) for name in (model, requested_model)]
        found = [
            index.find(name) if index and 0 < len(name) <= WORD_CHARACTERS_MAX else None for name in names
        ]
        return price_sheet(
            Question(
                provider,
                names=_names(names, found),
                model=found[0] or found[1],
                at=at,
                service_tier=service_tier,
                is_as_requested=found[0] is None and found[1] is not None,
                factor=self._factors.get((provider, region)),
                settings=settings,
            ),
            self.version,
        )

    def _keep(self, key: _Key, sheet: PriceSheet) -> PriceSheet:
        if any(len(str(word)) > WORD_CHARACTERS_MAX for word in key):
            return sheet
        with self._making:
            self._sheets.pop(key, None)
            while len(self._sheets) >= SHEETS_MAX:
                del self._sheets[next(iter(self._sheets))]
            self._sheets[key] = sheet
        return sheet


def _names(given: list[str], found: list[PricedModel | None]) -> tuple[str, ...]:
    """What an account's override may call the model: the given name, then the price list's own."""
    serving, requested = given
    if found[0] is not None:
        return (serving.lower(), found[0].model)
    return (serving.lower(), requested.lower(), *(model.model for model in found[1:] if model is not None))
