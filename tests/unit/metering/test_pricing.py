"""A call costs what the list says, to the nanodollar, by the price of its own moment and account."""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import genai_prices
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.accounts import PriceOverride, PriceSettings, UnitPrices
from metering.money import AMOUNT_NANODOLLARS_MAX
from metering.price_table import PriceTable
from metering.pricing import (
    CALL_NANODOLLARS_MAX,
    PRICE_VERSION_CHARACTERS_MAX,
    SHEETS_MAX,
    Cost,
    Pricer,
)
from metering.usage import TOKENS_MAX, Usage
from tests.unit.metering.price_names import TABLE, callable_names

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PRICER = Pricer(TABLE)
C1 = Usage(input_tokens=1000, cache_write_5m_tokens=4000, cache_read_tokens=2000, output_tokens=500)
C2 = Usage(input_tokens=200, cache_read_tokens=1000, output_tokens=300, reasoning_tokens=200)

MTOK = 1_000_000  # picodollars a token to a dollar a million tokens


def cost(usage: Usage, provider: str, model: str, *, at: datetime = NOW, **said: Any) -> Cost:
    return PRICER.cost(usage, provider=provider, model=model, at=at, **said)


def rules(cost: Cost) -> list[str]:
    """The rules that a price version names, after the table's name."""
    return cost.price_version.split(";")[1:]


GOLDEN = {
    # reference figures worked out by hand, in nanodollars
    "C1: Anthropic with cache": (C1, "anthropic", "claude-sonnet-4-6", {}, 26_100_000),
    "C2: OpenAI, cached once, reasoning not again": (C2, "openai", "gpt-4o", {}, 4_750_000),
    "a cache write is not input too": (
        Usage(input_tokens=3, cache_write_5m_tokens=12_304, output_tokens=550),
        "anthropic", "claude-3-7-sonnet-20250219", {}, 54_399_000,
    ),
    "one hour of cache costs twice the input": (
        Usage(cache_write_1h_tokens=1000), "anthropic", "claude-sonnet-4-6", {}, 6_000_000,
    ),
    "a web search": (Usage(server_tool_calls=3), "anthropic", "claude-sonnet-4-6", {}, 30_000_000),
    "an embedding": (Usage(input_tokens=1000), "openai", "text-embedding-3-small", {}, 20_000),
    "Bedrock, global profile": (C1, "bedrock", "global.anthropic.claude-sonnet-4-6-v1:0", {}, 26_100_000),
    "Bedrock, European profile": (C1, "bedrock", "eu.anthropic.claude-sonnet-4-6-v1:0", {}, 28_710_000),
    "Bedrock, bare id": (C1, "bedrock", "anthropic.claude-sonnet-4-6-v1:0", {}, 28_710_000),
    "Bedrock, profile by ARN": (
        C1, "bedrock",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-6-v1:0",
        {}, 28_710_000,
    ),
    "Azure at OpenAI's list": (C2, "azure", "gpt-4o-2024-08-06", {}, 4_750_000),
    "Anthropic, batch": (C1, "anthropic", "claude-sonnet-4-6", {"service_tier": "batch"}, 13_050_000),
    "Anthropic, US only": (C1, "anthropic", "claude-sonnet-4-6", {"region": "us"}, 28_710_000),
    "Anthropic, US only, no more for a search": (
        Usage(server_tool_calls=1), "anthropic", "claude-sonnet-4-6", {"region": "us"}, 10_000_000,
    ),
    "OpenAI, flex": (C2, "openai", "gpt-5", {"service_tier": "flex"}, 1_687_500),
    "OpenAI, priority": (C2, "openai", "gpt-4o", {"service_tier": "priority"}, 8_075_000),
    "OpenAI, batch keeps the standard cached rate": (
        C2, "openai", "gpt-4o", {"service_tier": "batch"}, 3_000_000,
    ),
    "37.5 nanodollars are 38": (
        Usage(cache_read_tokens=1), "openai", "gpt-5.4-mini", {"service_tier": "flex"}, 38,
    ),
    "62.5 nanodollars are 62": (Usage(cache_read_tokens=1), "openai", "gpt-5", {"service_tier": "flex"}, 62),
}  # fmt: skip


@pytest.mark.parametrize(("usage", "provider", "model", "said", "nanodollars"), GOLDEN.values(), ids=GOLDEN)
def test_a_known_call_costs_its_known_price(
    usage: Usage, provider: str, model: str, said: dict[str, Any], nanodollars: int
) -> None:
    result = cost(usage, provider, model, **said)

    assert (result.nanodollars, result.unpriced) == (nanodollars, False)


@pytest.mark.parametrize(
    ("prompt_tokens", "nanodollars"), [(100_000, 10_000_000), (100_001, 50_000_500)], ids=["at", "over"]
)
def test_a_long_prompt_is_charged_at_the_long_rate_as_a_whole(prompt_tokens: int, nanodollars: int) -> None:
    usage = Usage(input_tokens=prompt_tokens)

    assert cost(usage, "anthropic", "claude-haiku-5-5").nanodollars == nanodollars


def test_cached_tokens_count_towards_a_long_prompt() -> None:
    usage = Usage(input_tokens=1, cache_read_tokens=100_000, output_tokens=10)

    result = cost(usage, "anthropic", "claude-haiku-5-5")

    assert result.nanodollars == 500 + 5_000_000 + 25_000
    assert rules(result) == ["prompt>100000"]


CONTEXTS = {
    "": None,
    "standard": None,
    "default": {"service_tier": "default"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "batch": {"processing": "batch"},
    "fast": {"service_tier": "fast", "speed": "fast"},
    "unheard-of": None,
}
TOKENS = st.integers(0, 5_000) | st.sampled_from([0, 1, 99_999, 100_001, 200_001, 272_000, 272_001, 10**9])
USAGES = st.builds(
    Usage,
    input_tokens=TOKENS,
    output_tokens=TOKENS,
    cache_read_tokens=TOKENS,
    cache_write_5m_tokens=TOKENS,
    cache_write_1h_tokens=TOKENS,
    server_tool_calls=st.integers(0, 20),
)
NAMES = [(provider, name) for provider in TABLE.providers for name in callable_names(provider)]
HOURS = st.integers(0, 24 * 600).map(lambda hours: datetime(2025, 6, 1, tzinfo=UTC) + timedelta(hours=hours))
CHANGE = datetime(2026, 10, 14, tzinfo=UTC)  # the day of most changes in the list
MOMENTS = HOURS | st.sampled_from([CHANGE, CHANGE - timedelta(microseconds=1)])


@pytest.mark.battery_class("money at every boundary")
@settings(max_examples=600, deadline=None)
@given(
    usage=USAGES,
    who=st.sampled_from(NAMES),
    tier=st.sampled_from(sorted(CONTEXTS)),
    at=MOMENTS,
)
def test_every_cost_is_the_lists_own_rounded_once(
    usage: Usage, who: tuple[str, str], tier: str, at: datetime
) -> None:
    provider, name = who
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            web_searches=usage.server_tool_calls,
        ),
        model_ref=name,
        provider_id={"bedrock": "aws"}.get(provider, provider),
        genai_request_timestamp=at,
        price_context=CONTEXTS[tier],
    ).total_price.scaleb(9)

    ours = cost(usage, provider, name, at=at, service_tier=tier)

    assert ours.nanodollars == int(theirs.quantize(Decimal(1), ROUND_HALF_EVEN))


@pytest.mark.parametrize("provider", ["openai", "bedrock", "azure", "anthropic", "nobody"])
def test_an_unknown_model_is_unpriced_and_never_free(provider: str) -> None:
    result = cost(C1, provider, "zz-new")

    assert (result.nanodollars, result.unpriced) == (0, True)
    assert rules(result) == ["unknown-model"]


def test_a_free_model_costs_nothing_and_is_priced() -> None:
    result = cost(C1, "azure", "phi-4-reasoning:free")

    assert (result.nanodollars, result.unpriced) == (0, False)


def test_a_used_unit_without_a_rate_is_flagged_and_the_others_are_charged() -> None:
    result = cost(Usage(input_tokens=1000, output_tokens=1), "openai", "text-embedding-3-small")

    assert (result.nanodollars, result.unpriced) == (20_000, True)
    assert rules(result) == ["no-rate"]


def test_a_model_sold_by_a_unit_we_do_not_meter_is_unpriced_even_without_usage() -> None:
    assert cost(Usage(), "openai", "tts-1").unpriced


@pytest.mark.parametrize(
    ("provider", "model", "tier"),
    [
        ("bedrock", "anthropic.claude-opus-5", "priority"),
        ("anthropic", "claude-sonnet-4-6", "priority"),
        ("openai", "gpt-4o", "scale"),
        ("openai", "gpt-4o", "x" * 1000),
    ],
)
def test_a_tier_without_a_known_price_is_charged_at_standard_and_flagged(
    provider: str, model: str, tier: str
) -> None:
    result = cost(C1, provider, model, service_tier=tier)

    assert result.nanodollars == cost(C1, provider, model).nanodollars
    assert result.unpriced
    assert rules(result) == ["tier-at-standard"]


@pytest.mark.parametrize("tier", ["", "standard", "default", "auto", "standard_only"])
def test_these_words_mean_the_standard_tier(tier: str) -> None:
    assert cost(C1, "anthropic", "claude-sonnet-4-6", service_tier=tier) == cost(
        C1, "anthropic", "claude-sonnet-4-6"
    )


@pytest.mark.battery("C7")
def test_an_event_before_a_price_change_keeps_the_old_price() -> None:
    change = datetime(2026, 3, 13, tzinfo=UTC)
    long_prompt = Usage(input_tokens=200_001)

    after = cost(long_prompt, "anthropic", "claude-sonnet-4-6", at=change)
    before = cost(long_prompt, "anthropic", "claude-sonnet-4-6", at=change - timedelta(microseconds=1))

    assert (before.nanodollars, after.nanodollars) == (200_001 * 6_000, 200_001 * 3_000)


def test_a_new_snapshot_behind_a_known_alias_is_priced_as_asked() -> None:
    result = cost(C2, "openai", "gpt-4o-2027-01-01", requested_model="gpt-4o")

    assert (result.nanodollars, result.unpriced) == (4_750_000, False)
    assert rules(result) == ["as-requested"]


def test_the_answers_own_name_wins_over_the_requested_one() -> None:
    result = cost(C2, "openai", "gpt-4o-mini", requested_model="gpt-4o")

    assert result == cost(C2, "openai", "gpt-4o-mini")


def negotiated(*overrides: PriceOverride) -> dict[str, Any]:
    return {"settings": PriceSettings(overrides=overrides)}


HALF_INPUT = UnitPrices(input_picodollars=3 * MTOK // 2)


def test_a_negotiated_price_replaces_its_unit_and_no_other() -> None:
    own = negotiated(PriceOverride(provider="anthropic", model="claude-sonnet-4-6", prices=HALF_INPUT))

    result = cost(C1, "anthropic", "claude-sonnet-4-6-20260217", **own)

    assert result.nanodollars == 26_100_000 - 1_500_000
    assert rules(result) == ["account"]


def test_a_negotiated_price_stands_in_every_tier_region_and_prompt_length() -> None:
    own = negotiated(PriceOverride(provider="anthropic", prices=HALF_INPUT))
    usage = Usage(input_tokens=100_001)

    plain = cost(usage, "anthropic", "claude-haiku-5-5", **own)
    special = cost(usage, "anthropic", "claude-haiku-5-5", service_tier="batch", region="us", **own)

    assert plain.nanodollars == special.nanodollars == 150_001_500


def test_a_discount_is_rounded_once_with_the_whole_sum() -> None:
    own = negotiated(PriceOverride(provider="openai", discount_basis_points=1500))

    result = cost(Usage(input_tokens=3, output_tokens=1), "openai", "gpt-4o-mini", **own)

    # (3 x 150 + 600) x 0.85 = 892.5, half to even
    assert (result.nanodollars, result.unpriced) == (892, False)


def test_an_exact_model_wins_over_all_models_and_the_later_start_over_the_earlier() -> None:
    own = negotiated(
        PriceOverride(provider="openai", model="gpt-4o", discount_basis_points=2000, starts_at=NOW),
        PriceOverride(provider="openai", model="gpt-4o", discount_basis_points=1000),
        PriceOverride(provider="openai", model="*", discount_basis_points=9000, starts_at=NOW),
        PriceOverride(provider="azure", model="gpt-4o", discount_basis_points=5000),
    )

    assert cost(C2, "openai", "gpt-4o", at=NOW, **own).nanodollars == 3_800_000
    assert cost(C2, "openai", "gpt-4o", at=NOW - timedelta(seconds=1), **own).nanodollars == 4_275_000
    assert cost(C2, "openai", "gpt-5", at=NOW, **own).nanodollars == 337_500


def test_an_override_begins_at_its_start_and_is_over_at_its_end() -> None:
    ends = NOW + timedelta(days=1)
    own = negotiated(
        PriceOverride(provider="openai", discount_basis_points=10_000, starts_at=NOW, ends_at=ends)
    )

    paid = [
        cost(C2, "openai", "gpt-4o", at=at, **own).nanodollars
        for at in (NOW - timedelta(microseconds=1), NOW, ends - timedelta(microseconds=1), ends)
    ]

    assert paid == [4_750_000, 0, 0, 4_750_000]


def test_an_account_may_price_a_model_that_nobody_knows() -> None:
    prices = UnitPrices(input_picodollars=MTOK, output_picodollars=2 * MTOK)
    own = negotiated(PriceOverride(provider="bedrock", model="acme.own-v1:0", prices=prices))

    result = cost(C1, "bedrock", "acme.own-v1:0", **own)

    assert (result.nanodollars, result.unpriced) == (7_000_000 + 1_000_000, False)


def test_a_discount_alone_prices_no_unknown_model() -> None:
    own = negotiated(PriceOverride(provider="openai", discount_basis_points=1000))

    assert cost(C1, "openai", "zz-new", **own).unpriced


def test_one_accounts_prices_never_reach_another() -> None:
    first = negotiated(PriceOverride(provider="openai", discount_basis_points=5000))
    second = negotiated(PriceOverride(provider="openai", discount_basis_points=1000))

    paid = [cost(C2, "openai", "gpt-4o", **own).nanodollars for own in (first, second, {}, first)]

    assert paid == [2_375_000, 4_275_000, 4_750_000, 2_375_000]


@pytest.mark.battery_class("money at every boundary")
@settings(max_examples=200, deadline=None)
@given(
    usage=USAGES,
    discount=st.integers(0, 10_000),
    input_price=st.none() | st.integers(0, 10**9),
    output_price=st.none() | st.integers(0, 10**9),
)
def test_an_accounts_price_agrees_with_exact_decimals(
    usage: Usage, discount: int, input_price: int | None, output_price: int | None
) -> None:
    prices = UnitPrices(input_picodollars=input_price, output_picodollars=output_price)
    own = negotiated(PriceOverride(provider="anthropic", prices=prices, discount_basis_points=discount))
    share = (Decimal(10_000) - discount) / 10_000
    exact = (
        usage.input_tokens * (share * 3_000 if input_price is None else Decimal(input_price) / 1000)
        + usage.output_tokens * (share * 15_000 if output_price is None else Decimal(output_price) / 1000)
        + share * usage.cache_read_tokens * 300
        + share * usage.cache_write_5m_tokens * 3_750
        + share * usage.cache_write_1h_tokens * 6_000
        + share * usage.server_tool_calls * 10_000_000
    )

    result = cost(usage, "anthropic", "claude-sonnet-4-6", **own)

    assert result.nanodollars == int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))


@pytest.mark.battery_class("money at every boundary")
@pytest.mark.parametrize(
    ("picodollars", "nanodollars"), [(499, 0), (500, 0), (501, 1), (1_499, 1), (1_500, 2), (1_501, 2)]
)
def test_a_cost_beyond_what_floats_tell_apart_is_rounded_exactly(picodollars: int, nanodollars: int) -> None:
    # A float of a million dollars knows eighths of a nanodollar: .501 would be a tie, and .499 one, too.
    prices = UnitPrices(input_picodollars=10**9, output_picodollars=1)
    own = negotiated(PriceOverride(provider="anthropic", prices=prices))

    result = cost(
        Usage(input_tokens=10**9, output_tokens=picodollars), "anthropic", "claude-sonnet-4-6", **own
    )

    assert result.nanodollars == 10**15 + nanodollars


@pytest.mark.battery_class("money at every boundary")
@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=9_000_001, output_tokens=1),
        Usage(server_tool_calls=TOKENS_MAX),
        *[Usage(input_tokens=TOKENS_MAX * times, output_tokens=TOKENS_MAX) for times in (1, 9, 1_000)],
    ],
    ids=str,
)
def test_a_thousand_calls_cost_no_more_than_a_counter_holds(usage: Usage) -> None:
    dear = UnitPrices(
        input_picodollars=10**12, output_picodollars=10**12, server_tool_call_picodollars=10**15
    )
    own = negotiated(PriceOverride(provider="anthropic", prices=dear))

    result = cost(usage, "anthropic", "claude-sonnet-4-6", **own)

    assert 1_000 * result.nanodollars <= AMOUNT_NANODOLLARS_MAX
    assert (result.unpriced, rules(result)[-1]) == (True, "beyond-any-call")


@pytest.mark.battery_class("money at every boundary")
@pytest.mark.parametrize(("tokens", "unpriced"), [(9_000_000, False), (9_000_001, True)])
def test_the_dearest_call_is_charged_in_full_and_one_beyond_is_flagged(tokens: int, unpriced: bool) -> None:
    own = negotiated(PriceOverride(provider="anthropic", prices=UnitPrices(input_picodollars=10**12)))

    result = cost(Usage(input_tokens=tokens), "anthropic", "claude-sonnet-4-6", **own)

    assert (result.nanodollars, result.unpriced) == (CALL_NANODOLLARS_MAX, unpriced)


def test_a_price_version_is_bounded_whatever_applied() -> None:
    lines = PRICER.priced_models(NOW)
    own = negotiated(PriceOverride(provider="azure", discount_basis_points=1))
    everything = cost(
        Usage(input_tokens=300_000, server_tool_calls=1),
        "azure", "x" * 300, requested_model="grok-4.3", service_tier="priority", **own,
    )  # fmt: skip

    assert rules(everything) == [
        "tier-at-standard", "prices-of=x-ai", "as-requested", "account", "prompt>199999", "no-rate",
    ]  # fmt: skip
    assert len(everything.price_version) <= PRICE_VERSION_CHARACTERS_MAX
    assert max(len(line.service_tier) for line in lines) <= len("tier-at-standard")


def test_kept_sheets_are_bounded_and_the_answers_stay_right() -> None:
    pricer = Pricer(TABLE)

    for number in range(SHEETS_MAX + 10):
        pricer.cost(C1, provider="anthropic", model=f"zz-{number}", at=NOW)

    assert pricer.kept_sheets == SHEETS_MAX
    assert pricer.cost(C1, provider="anthropic", model="claude-sonnet-4-6", at=NOW).nanodollars == 26_100_000


def test_a_name_longer_than_any_models_is_unknown_and_not_kept() -> None:
    pricer = Pricer(TABLE)

    assert pricer.cost(C1, provider="openai", model="gpt-4o" * 1000, at=NOW).unpriced
    assert pricer.kept_sheets == 0


def test_the_price_list_shows_each_model_tier_and_prompt_length() -> None:
    lines = {
        (line.service_tier, line.prompt_tokens_above): line.prices
        for line in PRICER.priced_models(NOW)
        if (line.provider, line.model) == ("anthropic", "claude-haiku-5-5")
    }

    assert lines["standard", 0].input_picodollars == 100_000
    assert lines["batch", 100_000].output_picodollars == 1_250_000
    assert len(lines) == 4


def test_the_price_list_leaves_out_what_has_no_price() -> None:
    models = {line.model for line in PRICER.priced_models(NOW)}

    assert "tts-1" not in models
    assert "gpt-4o" in models


def test_an_empty_table_prices_nothing() -> None:
    pricer = Pricer(PriceTable("empty", (), {}))

    assert pricer.cost(C1, provider="openai", model="gpt-4o", at=NOW) == Cost(0, True, "empty;unknown-model")  # type: ignore[arg-type]  # a literal amount
