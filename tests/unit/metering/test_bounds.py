"""The upper bound is one: no usage within a call's extent costs more, whatever tier, region and bucket."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.accounts import PriceOverride, PriceSettings, UnitPrices
from metering.bounds import FRAME_TOKENS, TOOLS_TOKENS, Bound, Bounds, Extent
from metering.model_limits import Limits, ModelLimits, ModelLimitsTable, load_model_limits
from metering.price_table import load_price_table
from metering.pricing import LIST_PRICES, Pricer
from metering.usage import Usage
from tests.builders import AT

PRICER = Pricer(load_price_table())
BOUNDS = Bounds(PRICER, load_model_limits())
SONNET, HAIKU = "claude-sonnet-4-6", "claude-haiku-4-5"
DOLLAR = 1_000_000_000  # nanodollars


def extent(**changes: Any) -> Extent:
    fields: dict[str, Any] = {
        "prompt_bytes": 1_000,
        "answer_tokens_max": 100,
        "answer_param": "max_tokens",
    }
    return Extent(**fields | changes)


def bound(
    reach: Extent, model: str = HAIKU, settings: PriceSettings = LIST_PRICES, provider: str = "anthropic"
) -> Bound:
    return BOUNDS.upper_bound(reach, provider, model, AT, settings)


def nanodollars(reach: Extent, model: str = HAIKU, **more: Any) -> int:
    found = bound(reach, model, **more).nanodollars
    assert found is not None
    return found


def limits(model: str, context_tokens: int, output_tokens: int) -> Limits:
    return Limits(
        models=(model,),
        context_tokens=context_tokens,
        output_tokens=output_tokens,
        source="a test",
        read_on=AT.date(),
    )


def test_each_byte_of_the_prompt_may_be_a_token_of_the_dearest_kind() -> None:
    # Haiku 4.5: cache writes of an hour at $2, answers at $5 a million, and a tenth more in the US
    assert nanodollars(extent()) == (1_000 + FRAME_TOKENS) * 2_200 + 100 * 5_500


def test_tools_are_explained_to_the_model_by_its_provider() -> None:
    assert nanodollars(extent(has_tools=True)) - nanodollars(extent()) == TOOLS_TOKENS * 2_200


def test_a_long_prompt_is_no_longer_than_the_context_window() -> None:
    assert nanodollars(extent(prompt_bytes=10**7)) == 200_000 * 2_200 + 100 * 5_500


def test_many_prompts_in_one_call_are_held_by_no_window() -> None:
    reach = extent(prompt_bytes=10**7, is_one_prompt=False)

    assert nanodollars(reach) == (10**7 + FRAME_TOKENS) * 2_200 + 100 * 5_500


def test_content_elsewhere_fills_the_context_window_each_time_it_is_read() -> None:
    assert nanodollars(extent(prompt_bytes=None, prompt_reads=3)) == 3 * 200_000 * 2_200 + 100 * 5_500


def test_an_answer_without_a_limit_is_the_models_longest_each_time() -> None:
    reach = extent(answer_tokens_max=None, answers=2)

    assert nanodollars(reach) == (1_000 + FRAME_TOKENS) * 2_200 + 2 * 64_000 * 5_500


def test_what_is_answered_beside_and_tool_calls_come_on_top() -> None:
    assert nanodollars(extent(answer_tokens_beside=10, tool_calls=2)) - nanodollars(extent()) == (
        10 * 5_500 + 2 * 10_000_000
    )


@pytest.mark.parametrize(
    ("reach", "model", "param"),
    [
        (extent(unbounded_param="mcp_servers"), HAIKU, "mcp_servers"),
        (extent(), "claude-of-tomorrow", "model"),
        (extent(prompt_bytes=None, elsewhere_param="messages"), "claude-2", "messages"),
        (extent(answer_tokens_max=None), "claude-2", "max_tokens"),
    ],
    ids=["says so", "no price", "no window", "no longest answer"],
)
def test_where_nothing_bounds_a_call_the_field_at_fault_is_named(
    reach: Extent, model: str, param: str
) -> None:
    assert bound(reach, model) == Bound(None, param)


@pytest.mark.parametrize(
    ("reach", "provider", "model"),
    [
        (extent(answer_tokens_max=1), "azure", "davinci-002"),
        (extent(tool_calls=1), "openai", "gpt-4"),
    ],
    ids=["answers", "tool calls"],
)
def test_what_is_used_without_a_known_rate_is_bounded_by_nothing(
    reach: Extent, provider: str, model: str
) -> None:
    plain = extent(answer_tokens_max=0)

    assert bound(plain, model, provider=provider).nanodollars is not None
    assert bound(reach, model, provider=provider) == Bound(None, "model")


def test_a_model_without_known_limits_is_bounded_by_what_the_call_says() -> None:
    assert bound(extent(), "claude-2").nanodollars is not None


def test_long_prompts_are_dearer_from_the_first_token_that_may_make_them_long() -> None:
    # Sonnet 4.5 above 200,000 tokens; FRAME_TOKENS count, too
    at_most = nanodollars(extent(prompt_bytes=200_000 - FRAME_TOKENS), "claude-sonnet-4-5")
    one_more = nanodollars(extent(prompt_bytes=200_001 - FRAME_TOKENS), "claude-sonnet-4-5")

    assert at_most == 200_000 * 6_600 + 100 * 16_500
    assert one_more == 200_001 * 13_200 + 100 * 24_750


def test_snapshots_that_cost_more_by_themselves_count() -> None:
    # gpt-4o may be answered by gpt-4o-2024-05-13, at twice the price
    dearest = PRICER.dearest("openai", "gpt-4o", AT)

    assert dearest is not None
    assert dearest.listed_names == ("gpt-4o", "gpt-4o-2024-05-13")


@pytest.mark.parametrize("swapped", [False, True])
def test_a_call_reaches_as_far_as_the_widest_of_what_may_serve_it(swapped: bool) -> None:
    models = ("gpt-4o", "gpt-4o-2024-05-13")
    first, second = reversed(models) if swapped else models
    bounds = Bounds(PRICER, ModelLimitsTable((limits(first, 2_000, 10), limits(second, 1_000, 20))))
    dearest = PRICER.dearest("openai", "gpt-4o", AT)

    assert dearest is not None
    assert bounds.limits(dearest) == ModelLimits(context_tokens=2_000, output_tokens=20)


@pytest.mark.parametrize("known", ["gpt-4o", "gpt-4o-2024-05-13"])
def test_where_the_limits_of_one_that_may_serve_a_call_are_not_known_there_are_none(known: str) -> None:
    bounds = Bounds(PRICER, ModelLimitsTable((limits(known, 2_000, 10),)))
    dearest = PRICER.dearest("openai", "gpt-4o", AT)

    assert dearest is not None
    assert bounds.limits(dearest) is None


def test_the_accounts_own_prices_count_also_of_a_snapshot() -> None:
    own = PriceOverride(
        provider="anthropic", model=f"{HAIKU}-20251001", prices=UnitPrices(output_picodollars=99_000_000)
    )

    assert nanodollars(extent(), settings=PriceSettings(overrides=(own,))) == (
        (1_000 + FRAME_TOKENS) * 2_200 + 100 * 99_000
    )


@pytest.mark.parametrize(
    "reach",
    [
        extent(answer_tokens_max=64_000),
        extent(answer_tokens_max=None),
        extent(answer_tokens_max=64_000, answers=3, answer_tokens_beside=50, tool_calls=1),
        extent(prompt_bytes=None, answer_tokens_max=None),
    ],
    ids=["limited", "not limited", "several answers", "a prompt elsewhere"],
)
def test_the_longest_answer_within_an_amount_fits_and_one_token_more_does_not(reach: Extent) -> None:
    amount = 1_500_000_000 if reach.prompt_bytes is None else 50_000_000
    longest = BOUNDS.longest_answer(reach, "anthropic", HAIKU, AT, LIST_PRICES, amount)
    assert longest is not None
    as_sent = reach.limited_to(longest)

    assert nanodollars(as_sent) <= amount
    assert nanodollars(msgspec.structs.replace(as_sent, answer_tokens_max=longest + 1)) > amount


@pytest.mark.parametrize(
    ("reach", "amount"),
    [
        (extent(), (1_000 + FRAME_TOKENS) * 2_200),
        (extent(answer_param="model", answer_tokens_max=None), DOLLAR),
        (extent(answer_param="context_management", answer_tokens_max=None), DOLLAR),
        (extent(unbounded_param="mcp_servers"), DOLLAR),
        (extent(prompt_bytes=None, elsewhere_param="messages"), 10_000_000),
    ],
    ids=["the prompt alone", "no field limits it", "one that is passed over", "unbounded", "elsewhere"],
)
def test_where_no_shorter_answer_would_help_there_is_none(reach: Extent, amount: int) -> None:
    assert BOUNDS.longest_answer(reach, "anthropic", HAIKU, AT, LIST_PRICES, amount) is None


MODELS = [
    (provider, model.model)
    for provider, models in load_price_table().providers.items()
    for model in models
    if PRICER.dearest(provider, model.model, AT) is not None
]


@given(
    priced=st.sampled_from(MODELS),
    buckets=st.lists(st.integers(0, 300_000), min_size=4, max_size=4),
    output=st.integers(0, 64_000),
    calls=st.integers(0, 5),
    tier=st.sampled_from(["", "standard", "batch", "flex", "priority", "fast", "on_demand"]),
    region=st.sampled_from(["", "us", "eu"]),
    discount=st.integers(0, 3_000),
)
def test_no_usage_within_the_extent_costs_more(  # the parts of one example
    priced: tuple[str, str],
    buckets: list[int],
    output: int,
    calls: int,
    tier: str,
    region: str,
    discount: int,
) -> None:
    provider, model = priced
    settings = PriceSettings(
        overrides=(PriceOverride(provider=provider, discount_basis_points=discount),) if discount else ()
    )
    plain, read, written, kept = buckets
    usage = Usage(
        input_tokens=plain,
        cache_read_tokens=read,
        cache_write_5m_tokens=written,
        cache_write_1h_tokens=kept,
        output_tokens=output,
        server_tool_calls=calls,
    )
    reach = Extent(
        prompt_bytes=usage.prompt_tokens, is_one_prompt=False, answer_tokens_max=output, tool_calls=calls
    )

    cost = PRICER.cost(
        usage, provider=provider, model=model, at=AT, service_tier=tier, region=region, settings=settings
    )
    most = bound(reach, model, settings=settings, provider=provider).nanodollars

    assert cost.nanodollars <= most if most is not None else output or calls
