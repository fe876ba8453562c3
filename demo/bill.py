"""The demo provider's own bill: what it charges for each answered call, from its own price sheet.

Nothing here knows ModelTrack. The sheet is written by hand from the providers' public list prices, and money
is worked out another way than the proxy's, so that two bills that agree to the nanodollar say something.

Figures: US dollars a million tokens, web searches a thousand; a long-context price holds for the whole call
once its prompt (cached tokens included) is longer than the threshold.
"""

from collections import deque
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache

import msgspec

CALLS_MAX = 200_000  # the oldest rows go first; totals keep counting
_NANODOLLARS_PER_DOLLAR = Decimal(10**9)
_TOKENS_PER_PRICE = Decimal(10**6)
_SEARCHES_PER_PRICE = Decimal(10**3)


class ListPrice(msgspec.Struct, frozen=True):
    """What one model costs. A bucket that the provider does not sell costs what plain input costs."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    web_search: Decimal = Decimal(10)
    long_context_above: int | None = None
    long_context: "ListPrice | None" = None


def _listed(figures: str, *, long_context: "tuple[int, ListPrice] | None" = None) -> ListPrice:
    """Input, output, cache read, cache write 5 min, cache write 1 h; the price above a prompt's length."""
    plain, answer, read, write_5m, write_1h = (Decimal(figure) for figure in figures.split())
    above, long_price = long_context or (None, None)
    return ListPrice(
        plain, answer, read, write_5m, write_1h, long_context_above=above, long_context=long_price
    )


PRICE_SHEET: dict[str, ListPrice] = {
    "claude-opus-4-1": _listed("15 75 1.5 18.75 30"),
    "claude-opus-4-5": _listed("5 25 0.5 6.25 10"),
    "claude-sonnet-4-5": _listed("3 15 0.3 3.75 6", long_context=(200_000, _listed("6 22.5 0.6 7.5 12"))),
    "claude-opus-4-6": _listed("5 25 0.5 6.25 10"),
    "claude-sonnet-4-6": _listed("3 15 0.3 3.75 6"),  # since 2026-03-13 at one price whatever the length
    "claude-haiku-4-5": _listed("1 5 0.1 1.25 2"),
    "claude-3-5-haiku-latest": _listed("0.8 4 0.08 1 1.6"),
    "gpt-4o": _listed("2.5 10 1.25 2.5 2.5"),
    "gpt-4o-mini": _listed("0.15 0.6 0.075 0.15 0.15"),
    "gpt-4.1": _listed("2 8 0.5 2 2"),
    "gpt-4.1-mini": _listed("0.4 1.6 0.1 0.4 0.4"),
    "gpt-4.1-nano": _listed("0.1 0.4 0.025 0.1 0.1"),
    "gpt-5": _listed("1.25 10 0.125 1.25 1.25"),
    "gpt-5-mini": _listed("0.25 2 0.025 0.25 0.25"),
    "gpt-6-sol": _listed("2 10 0.2 2.5 2.5", long_context=(272_000, _listed("4 15 0.4 5 5"))),
    "gpt-5.4": _listed("2.5 15 0.25 2.5 2.5", long_context=(272_000, _listed("5 22.5 0.5 5 5"))),
    "o3": _listed("2 8 0.5 2 2"),
    "o4-mini": _listed("1.1 4.4 0.275 1.1 1.1"),
    "text-embedding-3-small": _listed("0.02 0 0.02 0.02 0.02"),
    "text-embedding-3-large": _listed("0.13 0 0.13 0.13 0.13"),
    # Bedrock: Anthropic's newer models cost a tenth more unless the id begins with `global.`
    "bedrock:global.claude-sonnet-4-5": _listed("3 15 0.3 3.75 6"),
    "bedrock:global.claude-haiku-4-5": _listed("1 5 0.1 1.25 2"),
    "bedrock:regional.claude-sonnet-4-5": _listed("3.3 16.5 0.33 4.125 6.6"),
    "bedrock:regional.claude-haiku-4-5": _listed("1.1 5.5 0.11 1.375 2.2"),
    "bedrock:amazon.nova-micro": _listed("0.035 0.14 0.00875 0.035 0.035"),
    "bedrock:amazon.nova-lite": _listed("0.06 0.24 0.015 0.06 0.06"),
    "bedrock:amazon.nova-pro": _listed("0.8 3.2 0.2 0.8 0.8"),
    # On no public list: what the proxy cannot price, the provider bills all the same.
    "demo-unlisted": _listed("7 7 7 7 7"),
}


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a call used, in disjoint buckets; reasoning is a part of output, told apart for information."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    server_tool_calls: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Everything the model read."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
        )


@lru_cache(maxsize=4096)
def price_of(item: str, tokens: Tokens, *, is_batch: bool = False) -> int:
    """What the call costs, in nanodollars: summed exactly, rounded half to even once.

    In a batch, tokens cost half; searches cost what they always do.
    """
    price = PRICE_SHEET[item]
    if price.long_context is not None and tokens.prompt_tokens > (price.long_context_above or 0):
        price = price.long_context
    per_million = (
        tokens.input_tokens * price.input
        + tokens.output_tokens * price.output
        + tokens.cache_read_tokens * price.cache_read
        + tokens.cache_write_5m_tokens * price.cache_write_5m
        + tokens.cache_write_1h_tokens * price.cache_write_1h
    )
    if is_batch:
        per_million /= 2
    dollars = (
        per_million / _TOKENS_PER_PRICE + tokens.server_tool_calls * price.web_search / _SEARCHES_PER_PRICE
    )
    return int((dollars * _NANODOLLARS_PER_DOLLAR).quantize(Decimal(1), ROUND_HALF_EVEN))


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer sells: the sheet's item, the model as the answer names it, and what it used."""

    provider: str
    item: str
    model: str
    tokens: Tokens
    is_streaming: bool = False
    is_batch: bool = False


class BilledCall(msgspec.Struct):
    """One row of the bill. `customer` is a digest of the caller's credential; the credential is not kept.

    `is_delivered_whole` turns true when the connection has taken the answer's last byte.
    """

    request_id: str
    customer: str
    sale: Sale
    nanodollars: int
    is_delivered_whole: bool = False

    def as_row(self) -> dict[str, object]:
        """The row as `GET /demo/bill` shows it."""
        return {
            "request_id": self.request_id,
            "customer": self.customer,
            "provider": self.sale.provider,
            "model": self.sale.model,
            **msgspec.structs.asdict(self.sale.tokens),
            "nanodollars": self.nanodollars,
            "streaming": self.sale.is_streaming,
            "delivered_whole": self.is_delivered_whole,
        }


class Bill:
    """All calls billed since the start or the last `clear`, at most `CALLS_MAX` rows of them."""

    def __init__(self) -> None:
        self._calls: deque[BilledCall] = deque(maxlen=CALLS_MAX)
        self._count = 0
        self._nanodollars = 0

    def charge(self, sale: Sale, *, request_id: str, customer: str) -> BilledCall:
        """Bill a call at the moment its answer begins; the row comes back for its end to be noted."""
        call = BilledCall(
            request_id, customer, sale, price_of(sale.item, sale.tokens, is_batch=sale.is_batch)
        )
        self._calls.append(call)
        self._count += 1
        self._nanodollars += call.nanodollars
        return call

    def clear(self) -> None:
        """Forget every call."""
        self._calls.clear()
        self._count = self._nanodollars = 0

    def total(self) -> dict[str, int]:
        """How many calls were billed and for how much, rows that have gone included."""
        return {"calls": self._count, "nanodollars": self._nanodollars}

    def statement(self, customer: str | None = None) -> dict[str, object]:
        """Totals and rows: of everybody, or of the customer with that digest."""
        if customer is None:
            return self.total() | _rows(self._calls)
        rows = [call for call in self._calls if call.customer == customer]
        total = {"calls": len(rows), "nanodollars": sum(call.nanodollars for call in rows)}
        return total | _rows(rows)


def _rows(calls: Iterable[BilledCall]) -> dict[str, object]:
    return {"data": [call.as_row() for call in calls]}
