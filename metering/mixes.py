"""What an account's calls used of each model over some weeks, and what the same would cost elsewhere. Pure.

Rollups keep tokens by kind, so any model's price can be put on the very mix that was used. What they do not
keep is said where it matters: service tiers and regions (everything is priced again at standard rates, the
model that was used as well, so that like is compared with like), and the length of single prompts.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from metering.accounts import PriceSettings
from metering.model_limits import vendors_name
from metering.pricing import Pricer, SummedCost
from metering.rollups import OTHER, USAGE_SUMS, Amounts
from metering.usage import Usage


class Model(msgspec.Struct, frozen=True, order=True):
    """One provider's model."""

    provider: str
    model: str


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls of one model, or of one feature with it, used and cost.

    `answered` counts the calls that its provider answered: neither failed nor answered from memory.
    """

    model: Model
    feature: str = ""
    requests: int = 0
    answered: int = 0
    usage: Usage = Usage()
    cost_nanodollars: int = 0
    unpriced_requests: int = 0

    @property
    def is_known(self) -> bool:
        """Whether it is one model's, and all of it has a price."""
        return OTHER not in (self.model.provider, self.model.model) and not self.unpriced_requests


class Prices(msgspec.Struct, frozen=True):
    """By what mixes are priced again: the list and the account's own prices, at one moment."""

    pricer: Pricer
    at: datetime
    settings: PriceSettings

    def of(self, usage: Usage, calls: int, model: Model, service_tier: str = "") -> SummedCost:
        """What that many calls with that usage would cost on a model."""
        return self.pricer.summed_cost(
            usage,
            calls,
            provider=model.provider,
            model=model.model,
            at=self.at,
            service_tier=service_tier,
            settings=self.settings,
        )


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """The same calls on another model, token for token, both at standard rates.

    `saved_nanodollars` is below 0 where the other is dearer; it is reckoned from what was recorded where that
    is less than the standard rates come to (a batch, a discount of the provider's). `is_exact` is false where
    one of the two has rates of its own for long prompts, or another vendor counts the tokens.
    """

    mix: Mix
    target: Model
    source_nanodollars: int
    target_nanodollars: int
    is_exact: bool

    @property
    def saved_nanodollars(self) -> int:
        """What the other model would have saved."""
        return min(self.source_nanodollars, self.mix.cost_nanodollars) - self.target_nanodollars


def mix_of(values: tuple[str, ...], sums: Amounts) -> Mix:
    """The mix of rollups that were grouped by provider and model, and by feature where that is given."""
    provider, model, *feature = values
    requests = sums.get("requests", 0)
    return Mix(
        model=Model(provider, model),
        feature=feature[0] if feature else "",
        requests=requests,
        answered=max(0, requests - sums.get("errors", 0) - sums.get("cache_hits", 0)),
        usage=Usage(**{name: sums.get(name, 0) for name in USAGE_SUMS}),
        cost_nanodollars=sums.get("cost_nanodollars", 0),
        unpriced_requests=sums.get("unpriced_requests", 0),
    )


def by_model(mixes: Iterable[Mix]) -> list[Mix]:
    """The mixes with the features of each model added up, dearest first."""
    found: dict[Model, Mix] = {}
    for mix in mixes:
        found[mix.model] = _added(found.get(mix.model, Mix(model=mix.model)), mix)
    return dearest(found.values())


def dearest(mixes: Iterable[Mix]) -> list[Mix]:
    """The mixes in the order of their cost, dearest first."""
    return sorted(mixes, key=lambda mix: (-mix.cost_nanodollars, mix.model, mix.feature))


def switched(mix: Mix, target: Model, prices: Prices) -> Switch | None:
    """The mix on another model; None where either has no price for what was used."""
    if not mix.is_known:
        return None
    source_cost, target_cost = (prices.of(mix.usage, mix.answered, each) for each in (mix.model, target))
    if source_cost.unpriced or target_cost.unpriced:
        return None
    return Switch(
        mix=mix,
        target=target,
        source_nanodollars=source_cost.nanodollars,
        target_nanodollars=target_cost.nanodollars,
        is_exact=source_cost.is_exact and target_cost.is_exact and _vendor(mix.model) == _vendor(target),
    )


def _added(one: Mix, other: Mix) -> Mix:
    return Mix(
        model=one.model,
        requests=one.requests + other.requests,
        answered=one.answered + other.answered,
        usage=one.usage + other.usage,
        cost_nanodollars=one.cost_nanodollars + other.cost_nanodollars,
        unpriced_requests=one.unpriced_requests + other.unpriced_requests,
    )


def _vendor(model: Model) -> str:
    """Who made the model, as far as its tokens are concerned."""
    if model.provider == "bedrock":
        return "anthropic" if vendors_name(model.model).startswith("claude") else model.model
    return {"azure": "openai"}.get(model.provider, model.provider)
