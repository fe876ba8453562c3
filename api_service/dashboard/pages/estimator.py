"""Estimator: what calls would cost that nobody makes yet, on any model that has a price."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from flask import Response, request

from api_service.dashboard.pages.narrowing import answer_address
from api_service.dashboard.reading import Section, section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.estimates import list_estimator_models, show_estimate

MODEL: Final = "anthropic/claude-sonnet-4-5"  # what is shown before anything is asked
DEFAULTS: Final[Mapping[str, str]] = {
    "of": MODEL,
    "input_tokens": "3000",
    "output_tokens": "400",
    "requests_per_day": "10000",
    "service_tier": "standard",
    "cached_input_tokens": "0",
    "prompt_cache_hit_percent": "0",
    "cache_write": "5m",
    "answered_from_memory_percent": "0",
    "compare": "provider",
}
COMPARED_SHOWN: Final = 25  # before one asks for the rest


@page("estimator")
def show_estimator(state: ViewState) -> Response:
    """Estimate calls by what the address says of them."""
    asked = {name: _asked(name) or each for name, each in DEFAULTS.items()}
    provider, _, model = asked["of"].partition("/")
    query = {"provider": provider, "model": model, **asked}
    del query["of"]
    listed = section_of(list_estimator_models)
    found = section_of(show_estimate, query=query)
    return render(
        "estimator.html",
        asked=asked,
        models=listed,
        listed=_of(listed, provider, model),
        estimate=found,
        problems=_problems(found),
        shown=COMPARED_SHOWN,
        dollars=_dollars,
        csv=answer_address("/v1/estimates", {**query, "format": "csv"}),
        with_model=lambda each: state.address(
            request.path, **{**asked, "of": f"{each['provider']}/{each['model']}"}
        ),
    )


def _asked(name: str) -> str:
    return next(iter(request.args.getlist(name)), "").strip()


def _of(models: Section, provider: str, model: str) -> Mapping[str, object] | None:
    """The list's entry of that model."""
    listed = models["data"] or ()
    return next((each for each in listed if (each["provider"], each["model"]) == (provider, model)), None)


def _dollars(amount: Decimal | int | None) -> str:
    """A price, with at least its cents: $3.00, $0.075."""
    if amount is None:
        return "unknown"
    whole, _, fraction = f"{Decimal(amount):f}".partition(".")
    return f"${int(whole):,}.{fraction:0<2}"


def _problems(found: Section) -> dict[str, str]:
    """What is wrong, by the field that it is wrong with."""
    if found.refusal is None:
        return {}
    refusal = found.refusal
    if refusal.details:
        return {each.param: each.message for each in refusal.details}
    return {refusal.param or "": refusal.message}
