"""How sums of calls are shown: counts, tokens, and money twice, in nanodollars and in exact US dollars."""

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import Field, create_model

from api_service.fields import Usd, View
from metering.money import rounded_half_even, usd_text
from metering.rollups import SUMS
from metering.stats import GROUPABLE

RATE_PLACES = 6

SUM_MEANINGS = {
    "requests": "Calls.",
    "errors": "Calls that failed: status 400 and above, cut answers, refusals.",
    "input_tokens": "Input that was neither read from nor written to a prompt cache.",
    "output_tokens": "Output, reasoning included.",
    "cache_read_tokens": "Input read from the provider's prompt cache.",
    "cache_write_5m_tokens": "Input written to the provider's prompt cache for five minutes.",
    "cache_write_1h_tokens": "Input written to the provider's prompt cache for an hour.",
    "reasoning_tokens": "The part of output_tokens that was reasoning.",
    "server_tool_calls": "Calls of the provider's own tools.",
    "cost_nanodollars": "The cost.",
    "estimated_cost_nanodollars": "The part of the cost that rests on estimates.",
    "unpriced_requests": "Calls of models without a known price, whose cost is not in the sum.",
    "saved_nanodollars": "What the cache and routing saved.",
    "cache_saved_nanodollars": "The part that answers from memory saved; routing saved the rest.",
    "cache_hits": "Calls answered from memory.",
    "routed": "Calls for which a rule chose another model.",
    "blocked": "Calls that a budget refused.",
    "cost_usd": "The cost in US dollars, exact.",
    "estimated_cost_usd": "That part in US dollars, exact.",
    "saved_usd": "The saving in US dollars, exact.",
    "cache_saved_usd": "The cache's part in US dollars, exact.",
}
_USD_NAMES = {name: name.replace("_nanodollars", "_usd") for name in SUMS if "_nanodollars" in name}
SUM_NAMES = (*SUMS, *_USD_NAMES.values())
SUM_FIELDS: dict[str, Any] = {
    name: (Usd if name.endswith("_usd") else int, Field(description=SUM_MEANINGS[name])) for name in SUM_NAMES
}
GROUP_FIELDS: dict[str, Any] = {
    name: (str | None, Field(description=f"The {name} of these calls; null: not grouped by that."))
    for name in GROUPABLE
}
SUMS_EXAMPLE: dict[str, Any] = {
    **dict.fromkeys(SUM_NAMES, 0),
    "requests": 1,
    "input_tokens": 1200,
    "output_tokens": 150,
    "cost_nanodollars": 5_850_000,
    "cost_usd": 0.00585,
}
RESULT_EXAMPLE: dict[str, Any] = {
    **dict.fromkeys(GROUPABLE),
    "model": "claude-sonnet-4-6",
    "team": "search",
    **SUMS_EXAMPLE,
}

SumsView: type[View] = create_model(
    "SumsView",
    __base__=View,
    __doc__="Sums of calls. Money is in US dollars (exact) and nanodollars; estimates are a part of cost.",
    **SUM_FIELDS,
)
ResultView: type[View] = create_model(
    "ResultView",
    __base__=View,
    __doc__="The sums of one combination of the values grouped by; null: not grouped by that.",
    **GROUP_FIELDS,
    **SUM_FIELDS,
)


def shown_sums(sums: Mapping[str, int]) -> dict[str, object]:
    """The sums, each amount of money in US dollars, too."""
    usd = {
        usd_name: msgspec.Raw(usd_text(sums[name]).encode())
        for name, usd_name in _USD_NAMES.items()
        if name in sums
    }
    return {**sums, **usd}


def shown_values(values: Mapping[str, str]) -> dict[str, object]:
    """The values grouped by, and null for every other dimension."""
    return {**dict.fromkeys(GROUPABLE), **values}


def shown_money(name: str, nanodollars: int | None) -> dict[str, object]:
    """An amount twice: `<name>_nanodollars` and `<name>_usd`; null where there is none."""
    usd = None if nanodollars is None else msgspec.Raw(usd_text(nanodollars).encode())
    return {f"{name}_nanodollars": nanodollars, f"{name}_usd": usd}


def rate(part: int, whole: int) -> float | None:
    """The part as a fraction of the whole, rounded; None of nothing."""
    return round(part / whole, RATE_PLACES) if whole else None


def average(amount: int, count: int) -> int | None:
    """The whole number nearest to what each of so many had; None where there were none."""
    return rounded_half_even(amount, count) if count else None
