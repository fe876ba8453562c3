"""What a feature would cost before it is deployed, on any model that has a price."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, get_args

import msgspec
from flask import Response
from pydantic import Field, StrictInt, ValidationError, model_validator

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.errors import invalid_fields
from api_service.fields import Form, Input, ModelName, Usd, View, decimal_between, decimal_text, example_of
from api_service.outlook import (
    MODEL_EXAMPLE,
    ModelView,
    Nanodollars,
    estimator_now,
    outlooks,
    price_list,
    shown_model,
)
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from api_service.sums import shown_money
from api_service.tables import answer_csv, with_csv
from metering.accounts import UnitPrices
from metering.errors import InvalidInput
from metering.estimates import (
    BASIS_POINTS,
    SIMILAR_MAX,
    SIMILAR_PERCENT,
    Amount,
    Compared,
    Estimator,
    SimilarFeature,
    Workload,
    similar_features,
)
from metering.events import Provider
from metering.mixes import Model
from metering.model_limits import ModelLimits
from metering.outlooks import MIX_DAYS
from metering.pricing import ModelPrice

TOKENS_MAX = 10_000_000
REQUESTS_A_DAY_MAX = 1_000_000_000
COMPARED_MAX = 100
PERCENT_PLACES = 2
PER_MILLION_PLACES = 6
PER_THOUSAND_PLACES = 9

estimates = routes_of("estimates")

Tokens = Annotated[StrictInt, Field(ge=0, le=TOKENS_MAX)]
Percent = Annotated[Decimal, decimal_between(0, 100, PERCENT_PLACES)]
Tier = Annotated[str, Form(r"[a-z][a-z_]{0,31}", "give a service tier, for example standard or batch")]

_WORKLOAD_EXAMPLE: dict[str, Any] = {
    **MODEL_EXAMPLE,
    "input_tokens": 3_000,
    "output_tokens": 400,
    "requests_per_day": 10_000,
    "cached_input_tokens": 2_000,
    "prompt_cache_hit_percent": 90,
}


class ModelFields(Input):
    """One provider's model."""

    provider: Provider = Field(description="Whose model it is.")
    model: ModelName = Field(description="The model, as its provider names it.")


class WorkloadFields(ModelFields):
    """Calls that are to be made: how many, how long, on which model, and what of them is to be had cheaper.

    Of the calls, `prompt_cache_hit_percent` find the first `cached_input_tokens` of their prompt in the
    provider's cache, the others write them there. `answered_from_memory_percent` never reach the provider.
    """

    model_config = example_of(_WORKLOAD_EXAMPLE)

    input_tokens: Tokens
    output_tokens: Tokens
    requests_per_day: Annotated[StrictInt, Field(ge=1, le=REQUESTS_A_DAY_MAX)]
    service_tier: Tier = "standard"
    cached_input_tokens: Tokens = 0
    prompt_cache_hit_percent: Percent = Decimal(0)
    cache_write: Literal["5m", "1h"] = "5m"
    answered_from_memory_percent: Percent = Decimal(0)
    compare: Annotated[list[ModelFields], Field(max_length=COMPARED_MAX)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _caches_no_more_than_there_is(self) -> Self:
        if self.cached_input_tokens > self.input_tokens:
            raise ValueError("cached_input_tokens is a part of input_tokens, and no more than that")
        return self


class EstimateFields(ModelFields):
    """The calls that `WorkloadFields` describes, in an address, and beside which other models to set them."""

    input_tokens: int = Field(
        ge=0, le=TOKENS_MAX, description="How long prompts are.", json_schema_extra={"example": 3_000}
    )
    output_tokens: int = Field(
        ge=0, le=TOKENS_MAX, description="How long answers are.", json_schema_extra={"example": 400}
    )
    requests_per_day: int = Field(
        ge=1, le=REQUESTS_A_DAY_MAX, description="How many calls.", json_schema_extra={"example": 10_000}
    )
    service_tier: Tier = Field(default="standard", description="The provider's service tier.")
    cached_input_tokens: int = Field(
        default=0, ge=0, le=TOKENS_MAX, description="How much of the prompt repeats."
    )
    prompt_cache_hit_percent: Percent = Field(
        default=Decimal(0), description="How many of the calls find that part in the provider's cache."
    )
    cache_write: Literal["5m", "1h"] = Field(default="5m", description="For how long it is cached.")
    answered_from_memory_percent: Percent = Field(
        default=Decimal(0), description="How many of the calls never reach the provider."
    )
    compare: Literal["provider", "all"] = Field(
        default="provider",
        description="With which models that are known to take such calls: the provider's own, or all.",
    )
    format: Literal["json", "csv"] = Field(
        default="json", description="csv: the comparison, one line a model, the one asked for first."
    )

    @property
    def workload(self) -> WorkloadFields:
        """The calls. Raises: ValidationError."""
        return WorkloadFields.model_validate(self.model_dump(exclude={"compare", "format"}))


class EstimatorModelsFields(Input):
    """Whose models to list."""

    provider: Provider | None = Field(
        default=None,
        description="Only this provider's models.",
        json_schema_extra={"example": "anthropic"},
    )


_PRICE_EXAMPLE = {
    "service_tier": "standard",
    "prompt_tokens_above": 0,
    "input_usd_per_million": 3,
    "output_usd_per_million": 15,
    "cache_read_usd_per_million": 0.3,
    "cache_write_5m_usd_per_million": 3.75,
    "cache_write_1h_usd_per_million": 6,
    "server_tool_call_usd_per_thousand": 10,
}
_LISTED_EXAMPLE = {
    **MODEL_EXAMPLE,
    "context_tokens": 1_000_000,
    "output_tokens_max": 64_000,
    "prices": [_PRICE_EXAMPLE],
}
_AMOUNT_EXAMPLE = {
    "period": "day",
    "days": 1,
    "requests": 10_000,
    "cost_nanodollars": 150_000_000_000,
    "cost_usd": 150,
}
_ESTIMATE_EXAMPLE = {
    **MODEL_EXAMPLE,
    "service_tier": "standard",
    "price_version": "genai-prices-0.2.3+overlay-2026-11-21-5f0c9a1e",
    "fits": True,
    "request_nanodollars": 15_000_000,
    "request_usd": 0.015,
    "plain": [_AMOUNT_EXAMPLE],
    "with_prompt_cache": [{**_AMOUNT_EXAMPLE, "cost_nanodollars": 102_900_000_000, "cost_usd": 102.9}],
    "with_answers_from_memory": None,
    "comparison": [
        {
            "provider": "anthropic",
            "model": "claude-haiku-4-5",
            "fits": True,
            "request_nanodollars": 5_000_000,
            "request_usd": 0.005,
            "month_nanodollars": 1_500_000_000_000,
            "month_usd": 1500,
        }
    ],
    "similar_features": [
        {
            "feature": "chat",
            "answered": 12_000,
            "prompt_tokens": 2_800,
            "output_tokens": 420,
            "days": MIX_DAYS,
            "cost_nanodollars": 176_400_000_000,
            "cost_usd": 176.4,
            "dearest_model": MODEL_EXAMPLE,
        }
    ],
}


class PriceView(View):
    """List prices of one service tier and prompt length; null: the list has none for that unit."""

    service_tier: str = Field(description="The provider's service tier.")
    prompt_tokens_above: int = Field(description="For prompts longer than that; 0: for all others.")
    input_usd_per_million: Usd | None = Field(description="Uncached input.")
    output_usd_per_million: Usd | None = Field(description="Output, reasoning included.")
    cache_read_usd_per_million: Usd | None = Field(description="Input read from the prompt cache.")
    cache_write_5m_usd_per_million: Usd | None = Field(description="Input cached for five minutes.")
    cache_write_1h_usd_per_million: Usd | None = Field(description="Input cached for an hour.")
    server_tool_call_usd_per_thousand: Usd | None = Field(description="Calls of the provider's own tools.")


class ListedModelView(ModelView):
    """A model with a price."""

    context_tokens: int | None = Field(
        description="What prompt and answer may be long together; null: unknown."
    )
    output_tokens_max: int | None = Field(description="How long an answer may be; null: unknown.")
    prices: list[PriceView] = Field(description="Its list prices in force, the standard tier first.")


class EstimatorModelsView(View):
    """Every model with a price, by provider and name."""

    model_config = example_of({"data": [_LISTED_EXAMPLE], "has_more": False, "next_page": None})

    data: list[ListedModelView] = Field(description="The models.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


class EstimatedAmountView(View):
    """What the calls of one period cost."""

    period: Literal["day", "week", "month", "quarter", "year"] = Field(description="Which period.")
    days: int = Field(description="How many days it is taken for.")
    requests: int = Field(description="How many calls that are.")
    cost_nanodollars: Nanodollars = Field(description="What they cost.")
    cost_usd: Usd = Field(description="The same in US dollars, exact.")


class ComparedModelView(ModelView):
    """The same calls on another model, without any cache."""

    fits: bool | None = Field(
        description="Whether it takes prompts and gives answers so long; null: unknown."
    )
    request_nanodollars: Nanodollars = Field(description="What one call costs.")
    request_usd: Usd = Field(description="The same in US dollars, exact.")
    month_nanodollars: Nanodollars = Field(description="What 30 days cost.")
    month_usd: Usd = Field(description="The same in US dollars, exact.")


class SimilarFeatureView(View):
    """A feature in use whose average call is about as long."""

    feature: str = Field(description="The feature.")
    answered: int = Field(description="Its calls that were answered by a provider.")
    prompt_tokens: int = Field(description="The average length of their prompts, cached or not.")
    output_tokens: int = Field(description="The average length of their answers.")
    days: int = Field(description="Over how many days.")
    cost_nanodollars: Nanodollars = Field(description="What it cost in these days.")
    cost_usd: Usd = Field(description="The same in US dollars, exact.")
    dearest_model: ModelView = Field(description="The model that cost most of that.")


class EstimateView(ModelView):
    """What the calls would cost, exactly as such calls would be recorded."""

    model_config = with_csv(_ESTIMATE_EXAMPLE)

    service_tier: str = Field(description="In which service tier.")
    price_version: str = Field(description="By which price list and rules.")
    fits: bool | None = Field(description="Whether the model takes calls so long; null: unknown.")
    request_nanodollars: Nanodollars = Field(description="One call, nothing cached.")
    request_usd: Usd = Field(description="The same in US dollars, exact.")
    plain: list[EstimatedAmountView] = Field(description="Nothing cached.")
    with_prompt_cache: list[EstimatedAmountView] | None = Field(
        description="With the provider's prompt cache, its writes included; null: nothing is to be cached."
    )
    with_answers_from_memory: list[EstimatedAmountView] | None = Field(
        description="With answers from the proxy's memory, and no prompt cache; null: none are expected."
    )
    comparison: list[ComparedModelView] = Field(
        description="The same calls on other models, cheapest first: those asked for, else the provider's own"
        " that are known to take them. Those without a price are left out."
    )
    similar_features: list[SimilarFeatureView] = Field(
        description=f"Features in use whose prompts and answers are within {SIMILAR_PERCENT} % of these, at"
        f" most {SIMILAR_MAX}."
    )


@estimates.get("/v1/estimator/models", responses={200: EstimatorModelsView})
@needs("read")
def list_estimator_models(query: EstimatorModelsFields) -> Response:
    """List every model that has a price, with its list prices in force.

    Estimates also know the account's own prices (`prices.overrides` of its settings).
    """
    estimator = estimator_now()
    listed: dict[Model, list[ModelPrice]] = {}
    for line in price_list().priced_models(services().clock.now()):
        if query.provider in (None, line.provider):
            listed.setdefault(Model(line.provider, line.model), []).append(line)
    data = [_shown_listed(model, lines, estimator.limits(model)) for model, lines in sorted(listed.items())]
    return answer_fields({"data": data, "has_more": False, "next_page": None})


@estimates.post("/v1/estimates", responses={200: EstimateView, **may_refuse(*OF_BODIES)})
@needs("read")
def estimate(body: WorkloadFields) -> Response:
    """Estimate what calls would cost before any is made. Nothing is kept.

    The prompt cache of the provider and answers from the proxy's memory are shown each by itself.
    """
    others = [Model(each.provider, each.model) for each in body.compare]
    return answer_fields(_estimated(body, others))


@estimates.get("/v1/estimates", responses={200: EstimateView})
@needs("read")
def show_estimate(query: EstimateFields) -> Response:
    """Show the same estimate at an address of its own, also beside all models that have a price."""
    try:
        body = query.workload
    except ValidationError as error:
        raise invalid_fields(error) from error
    others = _all_alternatives(body) if query.compare == "all" else []
    found = _estimated(body, others)
    if query.format == "csv":
        asked = {**dict.fromkeys(_COLUMNS), **{name: found[name] for name in _COLUMNS if name in found}}
        month = next(each for each in found["plain"] if each["period"] == "month")
        asked |= {f"month_{unit}": month[f"cost_{unit}"] for unit in ("nanodollars", "usd")}
        return answer_csv(_COLUMNS, [asked, *found["comparison"]], None)
    return answer_fields(found)


_COLUMNS = (
    "provider", "model", "fits", "request_nanodollars", "request_usd", "month_nanodollars", "month_usd",
)  # fmt: skip


def _all_alternatives(body: WorkloadFields) -> list[Model]:
    """Every provider's models that are known to take such calls, but for the one asked for."""
    estimator, workload = estimator_now(), _workload(body)
    found = (each for name in get_args(Provider) for each in estimator.alternatives(workload, name))
    return [each for each in found if each != Model(body.provider, body.model)]


def _estimated(body: WorkloadFields, others: Sequence[Model]) -> dict[str, Any]:
    """The estimate, beside those models, or the provider's own where there are none. Raises: InvalidInput."""
    estimator = estimator_now()
    workload, model = _workload(body), Model(body.provider, body.model)
    found = estimator.estimate(workload, model)
    if found.unpriced:
        raise _unpriced(estimator, workload, model)
    compared = others or estimator.alternatives(workload, model.provider)
    mixes = outlooks().mixes(visitor().account_id, services().clock.now())
    return {
        **shown_model(model),
        "service_tier": body.service_tier,
        "price_version": found.price_version,
        "fits": estimator.fits(workload, model),
        **shown_money("request", found.request_nanodollars),
        "plain": _shown_amounts(found.plain),
        "with_prompt_cache": _shown_amounts(found.with_prompt_cache) if body.cached_input_tokens else None,
        "with_answers_from_memory": _shown_amounts(found.with_memory)
        if body.answered_from_memory_percent
        else None,
        "comparison": [_shown_compared(each) for each in estimator.compared(workload, compared)],
        "similar_features": [_shown_similar(each) for each in similar_features(workload, mixes)],
    }


def _unpriced(estimator: Estimator, workload: Workload, model: Model) -> InvalidInput:
    standard = msgspec.structs.replace(workload, service_tier="")
    if not estimator.estimate(standard, model).unpriced:
        return InvalidInput("this model has no known price in this service tier", "service_tier")
    return InvalidInput(
        "this model has no known price for such calls; GET /v1/estimator/models lists those that have",
        "model",
    )


def _workload(body: WorkloadFields) -> Workload:
    return Workload(
        input_tokens=body.input_tokens,
        output_tokens=body.output_tokens,
        requests_per_day=body.requests_per_day,
        cached_input_tokens=body.cached_input_tokens,
        prompt_cache_basis_points=int(body.prompt_cache_hit_percent * BASIS_POINTS / 100),
        cache_write=body.cache_write,
        memory_basis_points=int(body.answered_from_memory_percent * BASIS_POINTS / 100),
        service_tier=body.service_tier,
    )


def _shown_listed(model: Model, lines: Sequence[ModelPrice], limits: ModelLimits | None) -> dict[str, object]:
    return {
        **shown_model(model),
        "context_tokens": limits and limits.context_tokens,
        "output_tokens_max": limits and limits.output_tokens,
        "prices": [
            {
                "service_tier": line.service_tier,
                "prompt_tokens_above": line.prompt_tokens_above,
                **_shown_prices(line.prices),
            }
            for line in lines
        ],
    }


def _shown_prices(prices: UnitPrices) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in UnitPrices.__struct_fields__:
        unit, is_call = name.removesuffix("_picodollars"), name.startswith("server_tool_call")
        places = PER_THOUSAND_PLACES if is_call else PER_MILLION_PLACES
        found[f"{unit}_usd_per_{'thousand' if is_call else 'million'}"] = _exact(
            getattr(prices, name), places
        )
    return found


def _exact(amount: int | None, places: int) -> msgspec.Raw | None:
    return None if amount is None else msgspec.Raw(decimal_text(amount, places).encode())


def _shown_amounts(amounts: Sequence[Amount]) -> list[dict[str, object]]:
    return [
        {
            "period": each.period,
            "days": each.days,
            "requests": each.requests,
            **shown_money("cost", each.nanodollars),
        }
        for each in amounts
    ]


def _shown_compared(each: Compared) -> dict[str, object]:
    return {
        **shown_model(each.model),
        "fits": each.fits,
        **shown_money("request", each.request_nanodollars),
        **shown_money("month", each.month_nanodollars),
    }


def _shown_similar(each: SimilarFeature) -> dict[str, object]:
    return {
        "feature": each.feature,
        "answered": each.answered,
        "prompt_tokens": each.prompt_tokens,
        "output_tokens": each.output_tokens,
        "days": MIX_DAYS,
        **shown_money("cost", each.cost_nanodollars),
        "dearest_model": shown_model(each.dearest_model),
    }
