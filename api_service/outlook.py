"""What routes about days ahead, odd hours, prices and savings share."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from api_service.access import visitor
from api_service.fields import View, example_of
from api_service.services import services
from api_service.sums import shown_money
from metering.estimates import Estimator
from metering.mixes import Model, Prices
from metering.model_limits import ModelLimitsTable, load_model_limits
from metering.outlooks import Outlooks
from metering.price_table import load_price_table
from metering.pricing import Pricer

Nanodollars = Annotated[int, WithJsonSchema({"type": "integer"})]

MODEL_EXAMPLE = {"provider": "anthropic", "model": "claude-sonnet-4-6"}


class ModelView(View):
    """One provider's model."""

    model_config = example_of(MODEL_EXAMPLE)

    provider: str = Field(description="Who serves it.")
    model: str = Field(description="Its name, as recorded or as the price list has it.")


def outlooks() -> Outlooks:
    """Who answers about the account's days ahead."""
    return Outlooks(services().store, services().day_memory)


def prices_now() -> Prices:
    """The list and the visitor's own prices, as they are in force."""
    return Prices(price_list(), services().clock.now(), visitor().account.settings.prices)


def estimator_now() -> Estimator:
    """Who prices workloads, by the same."""
    prices = prices_now()
    return Estimator(prices.pricer, _model_limits(), prices.at, prices.settings)


@cache
def price_list() -> Pricer:
    """The price list that ships with this release, read when it is first asked for."""
    return Pricer(load_price_table())


@cache
def _model_limits() -> ModelLimitsTable:
    return load_model_limits()


def shown_model(model: Model) -> dict[str, object]:
    """The model's fields."""
    return {"provider": model.provider, "model": model.model}


def shown_range(low: int | None, predicted: int, high: int | None) -> Mapping[str, Any]:
    """A forecast amount with its interval, each twice."""
    return {
        **shown_money("predicted", predicted),
        **shown_money("low", low),
        **shown_money("high", high),
    }
