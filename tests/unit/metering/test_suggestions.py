"""Suggestions and switches: the tokens that were used, priced again to the nanodollar."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.mixes import Mix, Model, Prices, by_model, mix_of, switched
from metering.price_table import load_price_table
from metering.pricing import LIST_PRICES, Pricer
from metering.suggestions import ANSWERED_MIN, Suggestion, cheapest_switch, suggestions
from metering.usage import Usage

AT = datetime(2026, 11, 21, tzinfo=UTC)
PRICER = Pricer(load_price_table())
PRICES = Prices(PRICER, AT, LIST_PRICES)
OPUS, SONNET, HAIKU = (
    Model("anthropic", f"claude-{name}") for name in ("opus-4-5", "sonnet-4-5", "haiku-4-5")
)
GPT = Model("openai", "gpt-4o")

tokens = st.integers(0, 200_000)


def mix(model: Model = OPUS, feature: str = "", calls: int = 1_000, **usage: int) -> Mix:
    """Calls at list prices, unless the cost is given."""
    cost = usage.pop("cost_nanodollars", None)
    used = Usage(**usage)
    listed = PRICES.of(used, calls, model).nanodollars
    return Mix(
        model=model,
        feature=feature,
        requests=calls,
        answered=calls,
        usage=used,
        cost_nanodollars=listed if cost is None else cost,
    )


def found_of(*mixes: Mix) -> dict[str, Suggestion]:
    return {each.kind: each for each in suggestions(mixes, PRICES)}


@given(
    st.lists(
        st.builds(Usage, input_tokens=tokens, output_tokens=tokens, cache_read_tokens=tokens), max_size=30
    )
)
def test_a_sum_of_calls_costs_what_the_calls_cost_but_for_their_rounding(calls: list[Usage]) -> None:
    singly = sum(
        PRICER.cost(usage, provider=HAIKU.provider, model=HAIKU.model, at=AT).nanodollars for usage in calls
    )

    together = PRICES.of(sum(calls, Usage()), len(calls), HAIKU)

    assert together.is_exact
    assert abs(together.nanodollars - singly) <= (len(calls) + 1) / 2


def test_many_short_prompts_are_no_long_one() -> None:
    listed = next(line for line in PRICER.priced_models(AT) if line.prompt_tokens_above)
    short = Usage(input_tokens=1_000)
    model = Model(listed.provider, listed.model)
    one = PRICER.cost(short, provider=model.provider, model=model.model, at=AT).nanodollars

    many = PRICES.of(Usage(input_tokens=1_000_000), 1_000, model)

    assert many.nanodollars == 1_000 * one
    assert not many.is_exact


def test_a_switch_is_priced_on_the_very_tokens() -> None:
    found = switched(mix(input_tokens=10_000_000, output_tokens=2_000_000), HAIKU, PRICES)

    assert found is not None
    assert found.source_nanodollars == 50_000_000_000 + 50_000_000_000
    assert found.target_nanodollars == 10_000_000_000 + 10_000_000_000
    assert (found.saved_nanodollars, found.is_exact) == (80_000_000_000, True)


def test_sums_do_not_tell_which_prompts_were_long() -> None:
    found = switched(mix(input_tokens=10_000_000, output_tokens=2_000_000), SONNET, PRICES)

    assert found is not None
    assert (found.saved_nanodollars, found.is_exact) == (40_000_000_000, False)


def test_a_switch_never_saves_more_than_was_spent() -> None:
    batched = mix(input_tokens=10_000_000, output_tokens=2_000_000, cost_nanodollars=50_000_000_000)

    found = switched(batched, SONNET, PRICES)

    assert found is not None
    assert found.saved_nanodollars == -10_000_000_000


def test_another_vendor_counts_tokens_its_own_way() -> None:
    found = switched(mix(input_tokens=10_000_000), GPT, PRICES)

    assert found is not None
    assert not found.is_exact
    azure = switched(mix(GPT, input_tokens=10_000_000), Model("azure", "gpt-4o-mini"), PRICES)
    assert azure is not None
    assert azure.is_exact


@pytest.mark.parametrize(
    ("source", "target"), [(Model("openai", "unheard-of"), GPT), (OPUS, Model("openai", "unheard-of"))]
)
def test_without_a_price_there_is_no_switch(source: Model, target: Model) -> None:
    assert switched(mix(source, input_tokens=1_000_000), target, PRICES) is None


def test_calls_whose_cost_is_not_wholly_known_are_not_switched() -> None:
    unknown = Mix(model=OPUS, answered=5, usage=Usage(input_tokens=5), unpriced_requests=1)
    collapsed = Mix(model=Model("anthropic", "other"), answered=5, usage=Usage(input_tokens=5))

    assert switched(unknown, SONNET, PRICES) is None
    assert switched(collapsed, SONNET, PRICES) is None


def test_a_dearer_model_is_held_against_those_the_account_uses() -> None:
    found = found_of(
        mix(OPUS, input_tokens=10_000_000, output_tokens=2_000_000),
        mix(HAIKU, input_tokens=1_000_000, output_tokens=1_000),
        mix(GPT, input_tokens=1_000_000, output_tokens=1_000),
    )["cheaper_model"]

    assert found.target == HAIKU
    assert found.saved_nanodollars == 80_000_000_000
    assert found.is_exact
    assert "$100.00" in found.how
    assert "$20.00" in found.how


def test_features_do_not_hide_what_a_model_costs_in_all() -> None:
    parts = [mix(OPUS, feature, input_tokens=5_000_000, output_tokens=1_000_000) for feature in ("a", "b")]

    found = cheapest_switch([*parts, mix(SONNET, input_tokens=1_000, output_tokens=10)], PRICES)

    assert found is not None
    assert found.saved_nanodollars == 40_000_000_000
    assert [(each.model, each.requests) for each in by_model(parts)] == [(OPUS, 2_000)]


def test_a_model_that_answers_nothing_in_words_is_no_target() -> None:
    embeddings = mix(Model("openai", "text-embedding-3-small"), input_tokens=10_000_000)

    assert cheapest_switch([mix(GPT, input_tokens=10_000_000, output_tokens=1), embeddings], PRICES) is None


def test_a_model_that_was_hardly_tried_is_no_target() -> None:
    tried = mix(HAIKU, calls=ANSWERED_MIN - 1, input_tokens=1_000, output_tokens=10)

    assert "cheaper_model" not in found_of(mix(OPUS, input_tokens=10_000_000, output_tokens=1_000_000), tried)


def test_a_cache_that_costs_more_than_it_saves_is_told_to_the_nanodollar() -> None:
    found = found_of(mix(HAIKU, "chat", cache_write_5m_tokens=40_000_000, cache_read_tokens=1_000_000))

    loses = found["prompt_cache_loses"]
    assert loses.saved_nanodollars == 40_000_000 * (1_250 - 1_000) - 1_000_000 * (1_000 - 100)
    assert loses.is_exact


def test_a_cache_that_pays_is_left_alone() -> None:
    assert not found_of(mix(SONNET, cache_write_5m_tokens=4_000_000, cache_read_tokens=90_000_000))


@pytest.mark.parametrize(("prompt", "is_told"), [(2_047, False), (2_048, True)])
def test_long_prompts_without_a_cache_are_told_what_there_is_to_gain_at_most(
    prompt: int, is_told: bool
) -> None:
    found = found_of(mix(SONNET, "chat", input_tokens=1_000 * prompt, output_tokens=1_000)).get(
        "prompt_cache"
    )

    assert (found is not None) == is_told
    if found is not None:
        assert found.saved_nanodollars == 1_000 * prompt * (3_000 - 300)
        assert not found.is_exact


def test_batches_are_priced_by_their_own_rates_and_not_suggested_twice() -> None:
    usage = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    found = found_of(mix(SONNET, "digest", **usage))["batch"]

    assert found.saved_nanodollars == 9_000_000_000
    assert not found.is_exact
    assert "batch" not in found_of(mix(SONNET, "digest", **usage, cost_nanodollars=9_000_000_000))
    assert "batch" not in found_of(mix(SONNET, "", **usage))


def test_answers_that_are_mostly_reasoning_are_told() -> None:
    half = mix(GPT, output_tokens=1_000_000, reasoning_tokens=500_000)
    less = mix(GPT, output_tokens=1_000_000, reasoning_tokens=499_999)

    assert found_of(half)["reasoning"].saved_nanodollars == 5_000_000_000
    assert "reasoning" not in found_of(less)


def test_a_saving_below_a_dollar_is_not_worth_reading() -> None:
    assert not suggestions([mix(SONNET, "chat", input_tokens=370_000, calls=100)], PRICES)
    assert suggestions([mix(SONNET, "chat", input_tokens=371_000, calls=100)], PRICES)


def test_the_greatest_saving_comes_first_and_keeps_its_id() -> None:
    mixes = [mix(SONNET, f"f{n}", input_tokens=n * 10_000_000) for n in range(1, 4)]
    found = suggestions(mixes, PRICES)

    savings = [each.saved_nanodollars for each in found]
    assert savings == sorted(savings, reverse=True)
    assert {each.suggestion_id for each in found} == {
        each.suggestion_id for each in suggestions([*reversed(mixes)], PRICES)
    }
    assert len({each.suggestion_id for each in found}) == len(found)


def test_calls_that_failed_or_came_from_memory_were_not_answered_by_a_provider() -> None:
    found = mix_of(
        ("openai", "gpt-4o", "chat"), {"requests": 10, "errors": 2, "cache_hits": 3, "input_tokens": 7}
    )

    assert (found.model, found.feature, found.answered) == (GPT, "chat", 5)
    assert found.usage == Usage(input_tokens=7)
