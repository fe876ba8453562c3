"""Estimates: a described call costs what a real one would, and two ways of caching are two figures."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.accounts import PriceOverride, PriceSettings, UnitPrices
from metering.estimates import Estimator, Workload, similar_features
from metering.mixes import Mix, Model
from metering.model_limits import load_model_limits
from metering.price_table import load_price_table
from metering.pricing import LIST_PRICES, Pricer
from metering.usage import Usage

AT = datetime(2026, 11, 21, tzinfo=UTC)
SONNET = Model("anthropic", "claude-sonnet-4-5")  # $3, $15, read $0.30, written $3.75 a million
PRICER = Pricer(load_price_table())
LIMITS = load_model_limits()


def estimator(prices: PriceSettings = LIST_PRICES) -> Estimator:
    return Estimator(PRICER, LIMITS, AT, prices)


def workload(**changes: int | str) -> Workload:
    fields = {"input_tokens": 3_000, "output_tokens": 400, "requests_per_day": 1_000} | changes
    return Workload(**fields)  # type: ignore[arg-type]  # a test names what matters to it


def by_period(amounts: object) -> dict[str, int]:
    return {each.period: each.nanodollars for each in amounts}  # type: ignore[attr-defined]  # of Amount


def test_a_call_costs_what_it_would_be_recorded_at_times_the_calls() -> None:
    found = estimator().estimate(workload(), SONNET)

    assert found.request_nanodollars == 9_000_000 + 6_000_000
    assert by_period(found.plain) == {
        "day": 15_000_000_000,
        "week": 105_000_000_000,
        "month": 450_000_000_000,
        "quarter": 1_350_000_000_000,
        "year": 5_475_000_000_000,
    }


def test_the_prompt_cache_is_written_by_those_that_miss_it() -> None:
    found = estimator().estimate(workload(cached_input_tokens=2_000, prompt_cache_basis_points=9_000), SONNET)

    hit, miss = 3_000_000 + 600_000 + 6_000_000, 3_000_000 + 7_500_000 + 6_000_000
    assert by_period(found.with_prompt_cache)["day"] == 900 * hit + 100 * miss
    assert by_period(found.with_memory) == by_period(found.plain)


def test_a_cache_that_nobody_hits_costs_more_than_none() -> None:
    found = estimator().estimate(workload(cached_input_tokens=3_000), SONNET)

    assert by_period(found.with_prompt_cache)["day"] > by_period(found.plain)["day"]


def test_a_cache_of_an_hour_is_written_at_its_own_price() -> None:
    long = estimator().estimate(workload(cached_input_tokens=2_000, cache_write="1h"), SONNET)
    short = estimator().estimate(workload(cached_input_tokens=2_000), SONNET)

    assert by_period(long.with_prompt_cache)["day"] - by_period(short.with_prompt_cache)["day"] == 1_000 * (
        2_000 * (6_000 - 3_750)
    )


def test_answers_from_memory_cost_nothing() -> None:
    found = estimator().estimate(workload(memory_basis_points=2_500), SONNET)

    assert by_period(found.with_memory)["day"] == 750 * found.request_nanodollars


def test_the_accounts_own_prices_count() -> None:
    override = PriceOverride(
        provider="anthropic", model="claude-sonnet-4-5", prices=UnitPrices(output_picodollars=0)
    )

    found = estimator(PriceSettings(overrides=(override,))).estimate(workload(), SONNET)

    assert found.request_nanodollars == 9_000_000


def test_a_model_without_a_price_is_unpriced_and_never_free() -> None:
    assert estimator().estimate(workload(), Model("openai", "gpt-unheard-of")).unpriced
    assert estimator().estimate(workload(service_tier="unheard-of"), SONNET).unpriced
    assert estimator().compared(workload(), [Model("openai", "gpt-unheard-of")]) == []


def test_long_prompts_cost_what_long_prompts_cost() -> None:
    lines = [line for line in PRICER.priced_models(AT) if line.prompt_tokens_above]
    line = next(each for each in lines if each.service_tier == "standard")
    above = workload(input_tokens=line.prompt_tokens_above + 1, output_tokens=0)
    model = Model(line.provider, line.model)

    found = estimator().estimate(above, model)

    assert line.prices.input_picodollars is not None
    assert found.request_nanodollars == pytest.approx(
        (line.prompt_tokens_above + 1) * line.prices.input_picodollars / 1_000, abs=1
    )


def test_models_that_such_calls_do_not_fit_are_no_alternatives() -> None:
    short = {model.model for model in estimator().alternatives(workload(), "openai")}
    long = {model.model for model in estimator().alternatives(workload(input_tokens=200_000), "openai")}

    assert {"gpt-4o", "gpt-4.1"} <= short
    assert "gpt-4.1" in long
    assert "gpt-4o" not in long


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000), st.integers(0, 10_000), st.integers(1, 10**6))
def test_every_priced_model_is_compared_at_a_true_call_times_the_calls(
    prompt: int, answer: int, calls: int
) -> None:
    described = workload(input_tokens=prompt, output_tokens=answer, requests_per_day=calls)

    for each in estimator().compared(described, estimator().alternatives(described, "anthropic")):
        cost = PRICER.cost(
            Usage(input_tokens=prompt, output_tokens=answer),
            provider="anthropic",
            model=each.model.model,
            at=AT,
        )
        assert each.request_nanodollars == cost.nanodollars
        assert each.month_nanodollars == 30 * calls * cost.nanodollars


def feature_mix(feature: str, prompt: int, answer: int, answered: int = 100) -> Mix:
    usage = Usage(input_tokens=prompt * answered, output_tokens=answer * answered)
    return Mix(
        model=SONNET, feature=feature, requests=answered, answered=answered, usage=usage, cost_nanodollars=7
    )


def test_similar_features_are_those_in_use_within_thirty_percent() -> None:
    mixes = [
        feature_mix("alike", 3_100, 390),
        feature_mix("at the edge", 3_900, 400),
        feature_mix("beyond the edge", 3_901, 400),
        feature_mix("longer answers", 3_000, 600),
        feature_mix("hardly used", 3_000, 400, answered=9),
        feature_mix("", 3_000, 400),
    ]

    found = similar_features(workload(), mixes)

    assert [each.feature for each in found] == ["alike", "at the edge"]
    assert (found[0].prompt_tokens, found[0].output_tokens, found[0].cost_nanodollars) == (3_100, 390, 7)


def test_a_features_cached_prompts_count_as_prompts() -> None:
    cached = Mix(
        model=SONNET,
        feature="cached",
        answered=10,
        usage=Usage(input_tokens=10_000, cache_read_tokens=20_000, output_tokens=4_000),
    )

    assert [each.feature for each in similar_features(workload(), [cached])] == ["cached"]
