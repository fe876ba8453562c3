"""What a feature would cost that is not deployed yet: so many calls a day, of such length, on any model.

Pure. A call is priced exactly as a real one would be, and calls are multiplied, so the figures are those that
would be recorded if every call were as described. Two ways to save are kept apart, as they are different
things: the provider's **prompt cache**, where a part of each prompt is read at a lower price, after some call
has written it at a higher one; and **answers from memory** (the proxy's own cache), which cost nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from metering.accounts import PriceSettings
from metering.mixes import Mix, Model
from metering.model_limits import ModelLimits, ModelLimitsTable
from metering.money import rounded_half_even
from metering.pricing import Cost, Pricer
from metering.usage import Usage

BASIS_POINTS: Final = 10_000
PERIOD_DAYS: Final = {"day": 1, "week": 7, "month": 30, "quarter": 90, "year": 365}
SIMILAR_MAX: Final = 5
SIMILAR_PERCENT: Final = 30  # how far a feature's average call may be from the described one, either way
SIMILAR_ANSWERED_MIN: Final = 10

CacheWrite = Literal["5m", "1h"]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that are to be made, all alike.

    `cached_input_tokens` is the part of each prompt that repeats; of the calls, `prompt_cache_basis_points`
    hundredths of a percent find it in the provider's cache, the others write it there. As many as
    `memory_basis_points` are answered from the proxy's memory.
    """

    input_tokens: int
    output_tokens: int
    requests_per_day: int
    cached_input_tokens: int = 0
    prompt_cache_basis_points: int = 0
    cache_write: CacheWrite = "5m"
    memory_basis_points: int = 0
    service_tier: str = ""


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls of one period cost. A month is 30 days, a quarter 90, a year 365."""

    period: str
    days: int
    requests: int
    nanodollars: int


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls would cost: plainly, with the prompt cache, and with answers from memory, each apart.

    `request_nanodollars` is one plain call. `unpriced` says that the model, or this tier of it, has no price.
    """

    model: Model
    price_version: str
    unpriced: bool
    request_nanodollars: int
    plain: tuple[Amount, ...]
    with_prompt_cache: tuple[Amount, ...]
    with_memory: tuple[Amount, ...]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The same calls on another model, over a month. `fits` None: its limits are not known."""

    model: Model
    fits: bool | None
    request_nanodollars: int
    month_nanodollars: int


class SimilarFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature in use whose average answered call is about as long; its figures are of the last 30 days."""

    feature: str
    answered: int
    prompt_tokens: int
    output_tokens: int
    cost_nanodollars: int
    dearest_model: Model


class Estimator:
    """Prices workloads at one moment, by the list and the account's own prices."""

    def __init__(
        self, pricer: Pricer, limits: ModelLimitsTable, at: datetime, settings: PriceSettings
    ) -> None:
        self._pricer = pricer
        self._limits = limits
        self._at = at
        self._settings = settings

    def estimate(self, workload: Workload, model: Model) -> Estimate:
        """What the workload would cost on a model."""
        cached = workload.cached_input_tokens
        fresh = workload.input_tokens - cached
        written = {f"cache_write_{workload.cache_write}_tokens": cached}
        plain = self._cost(workload, model, Usage(input_tokens=workload.input_tokens))
        hit = self._cost(workload, model, Usage(input_tokens=fresh, cache_read_tokens=cached))
        miss = self._cost(workload, model, Usage(input_tokens=fresh, **written))
        share, memory = workload.prompt_cache_basis_points, workload.memory_basis_points
        return Estimate(
            model=model,
            price_version=plain.price_version,
            unpriced=plain.unpriced,
            request_nanodollars=plain.nanodollars,
            plain=_amounts(workload, BASIS_POINTS * plain.nanodollars),
            with_prompt_cache=_amounts(
                workload, share * hit.nanodollars + (BASIS_POINTS - share) * miss.nanodollars
            ),
            with_memory=_amounts(workload, (BASIS_POINTS - memory) * plain.nanodollars),
        )

    def compared(self, workload: Workload, models: Iterable[Model]) -> list[Compared]:
        """The workload on other models, the cheapest first; those without a price for it are left out."""
        found = []
        for model in dict.fromkeys(models):
            estimate = self.estimate(workload, model)
            if not estimate.unpriced and estimate.request_nanodollars:
                found.append(
                    Compared(
                        model=model,
                        fits=self.fits(workload, model),
                        request_nanodollars=estimate.request_nanodollars,
                        month_nanodollars=_of_period(estimate.plain, "month"),
                    )
                )
        return sorted(found, key=lambda each: (each.request_nanodollars, each.model))

    def alternatives(self, workload: Workload, provider: str) -> list[Model]:
        """The provider's listed models that such calls fit, as far as their limits are known."""
        listed = [Model(provider, name) for name in self._pricer.listed_models(provider)]
        return [model for model in listed if self.fits(workload, model)]

    def limits(self, model: Model) -> ModelLimits | None:
        """The model's context window and longest answer, where they are known."""
        return self._limits.find(self._pricer.listed_name(model.provider, model.model) or model.model)

    def fits(self, workload: Workload, model: Model) -> bool | None:
        """Whether the model takes prompts and gives answers so long; None where that is not known."""
        limits = self.limits(model)
        if limits is None:
            return None
        is_short = workload.output_tokens <= limits.output_tokens
        return is_short and workload.input_tokens + workload.output_tokens <= limits.context_tokens

    def _cost(self, workload: Workload, model: Model, prompt: Usage) -> Cost:
        return self._pricer.cost(
            prompt + Usage(output_tokens=workload.output_tokens),
            provider=model.provider,
            model=model.model,
            at=self._at,
            service_tier=workload.service_tier,
            settings=self._settings,
        )


def similar_features(workload: Workload, mixes: Sequence[Mix]) -> list[SimilarFeature]:
    """The features whose average prompt and answer are within `SIMILAR_PERCENT` of the workload's.

    The nearest first, at most `SIMILAR_MAX`.
    """
    features: dict[str, list[Mix]] = {}
    for mix in mixes:
        if mix.feature:
            features.setdefault(mix.feature, []).append(mix)
    found = []
    for feature, parts in features.items():
        answered = sum(mix.answered for mix in parts)
        if answered < SIMILAR_ANSWERED_MIN:
            continue
        prompt = sum(mix.usage.prompt_tokens for mix in parts) // answered
        output = sum(mix.usage.output_tokens for mix in parts) // answered
        apart = max(_apart(prompt, workload.input_tokens), _apart(output, workload.output_tokens))
        if apart <= SIMILAR_PERCENT:
            similar = SimilarFeature(
                feature=feature,
                answered=answered,
                prompt_tokens=prompt,
                output_tokens=output,
                cost_nanodollars=sum(mix.cost_nanodollars for mix in parts),
                dearest_model=max(parts, key=lambda mix: (mix.cost_nanodollars, mix.model)).model,
            )
            found.append((apart, feature, similar))
    return [similar for _, _, similar in sorted(found, key=lambda each: each[:2])[:SIMILAR_MAX]]


def _apart(found: int, described: int) -> int:
    """How far apart, in percent of what was described, rounded up."""
    return -(-100 * abs(found - described) // max(1, described))


def _amounts(workload: Workload, request_basis_points: int) -> tuple[Amount, ...]:
    """The periods' costs; a request costs so many ten-thousandths of a nanodollar on average."""
    return tuple(
        Amount(
            period=period,
            days=days,
            requests=workload.requests_per_day * days,
            nanodollars=rounded_half_even(
                workload.requests_per_day * days * request_basis_points, BASIS_POINTS
            ),
        )
        for period, days in PERIOD_DAYS.items()
    )


def _of_period(amounts: Sequence[Amount], period: str) -> int:
    return next(each.nanodollars for each in amounts if each.period == period)
