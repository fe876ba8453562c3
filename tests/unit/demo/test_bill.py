"""The demo provider's price sheet and bill."""

from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from demo.bill import PRICE_SHEET, Bill, Sale, Tokens, price_of

_LISTED_AS = {
    "bedrock:global.claude-sonnet-4-5": "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "bedrock:global.claude-haiku-4-5": "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    "bedrock:regional.claude-sonnet-4-5": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "bedrock:regional.claude-haiku-4-5": "anthropic.claude-haiku-4-5-20251001-v1:0",
    "bedrock:amazon.nova-micro": "amazon.nova-micro-v1:0",
    "bedrock:amazon.nova-lite": "amazon.nova-lite-v1:0",
    "bedrock:amazon.nova-pro": "amazon.nova-pro-v1:0",
}
_SHORT_AND_LONG = (
    Tokens(input_tokens=1_001, output_tokens=777, cache_read_tokens=333),
    Tokens(input_tokens=250_001, output_tokens=777, cache_read_tokens=100_333),
)
_CLAUDE = Tokens(input_tokens=11, output_tokens=7, cache_write_5m_tokens=5_001, cache_write_1h_tokens=301)


def _list_price(item: str, tokens: Tokens) -> Decimal:
    written = tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens
    usage = Usage(
        input_tokens=tokens.prompt_tokens,
        output_tokens=tokens.output_tokens,
        cache_read_tokens=tokens.cache_read_tokens,
        cache_write_tokens=written or None,
        cache_write_1h_tokens=tokens.cache_write_1h_tokens or None,
    )
    provider = "anthropic" if item.startswith("claude") else "openai"
    provider = "aws" if item in _LISTED_AS else provider
    return calc_price(usage, _LISTED_AS.get(item, item), provider_id=provider).total_price * 10**9


@pytest.mark.parametrize("item", sorted(set(PRICE_SHEET) - {"demo-unlisted"}))
def test_the_sheet_charges_what_the_public_list_does(item: str) -> None:
    cases = [Tokens(input_tokens=9_999)] if "embedding" in item else list(_SHORT_AND_LONG)
    if "claude" in item:
        cases.append(_CLAUDE)

    for tokens in cases:
        assert abs(price_of(item, tokens) - _list_price(item, tokens)) <= Decimal("0.5")


@pytest.mark.parametrize(
    ("tokens", "nanodollars"),
    [(2, 18), (6, 52), (10, 88), (1, 9)],
    ids=["17.5 to even 18", "52.5 to even 52", "87.5 to even 88", "8.75 up"],
)
def test_half_a_nanodollar_goes_to_the_even_side(tokens: int, nanodollars: int) -> None:
    assert price_of("bedrock:amazon.nova-micro", Tokens(cache_read_tokens=tokens)) == nanodollars


def test_the_long_price_begins_one_token_above_the_threshold() -> None:
    at, above = (price_of("claude-sonnet-4-5", Tokens(input_tokens=count)) for count in (200_000, 200_001))

    assert at == 200_000 * 3_000
    assert above == 200_001 * 6_000


def test_a_thousand_web_searches_cost_ten_dollars() -> None:
    assert price_of("claude-sonnet-4-6", Tokens(server_tool_calls=1_000)) == 10 * 10**9


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("ab")), max_size=20))
def test_totals_are_the_sums_of_the_rows(calls: list[tuple[int, str]]) -> None:
    bill = Bill()
    for at, (tokens, customer) in enumerate(calls):
        sale = Sale(provider="openai", item="gpt-4o", model="gpt-4o", tokens=Tokens(input_tokens=tokens))
        bill.charge(sale, request_id=f"req_{at}", customer=customer)

    of_all, of_a = bill.statement(), bill.statement("a")

    assert of_all["nanodollars"] == sum(tokens * 2_500 for tokens, _ in calls)
    assert of_a["nanodollars"] == sum(tokens * 2_500 for tokens, customer in calls if customer == "a")
    assert of_all["calls"] == len(calls)
