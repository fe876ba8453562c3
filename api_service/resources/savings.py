"""Savings: what the response cache and routing saved, each apart, beside the providers' prompt caches."""

from datetime import datetime
from typing import Any

from flask import Response
from pydantic import Field, create_model

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.breakdowns import (
    GroupedFields,
    asked_of,
)
from api_service.fields import Usd, View, example_of
from api_service.ranges import shown_range
from api_service.routing import routes_of
from api_service.services import services
from api_service.sums import GROUP_FIELDS, rate, shown_money, shown_values
from api_service.usage_pages import page_of_rows
from metering.rollups import Amounts
from metering.stats import GROUPABLE

savings = routes_of("savings")


class CacheSavingsView(View):
    """What answers from memory saved: the cost that their calls had when they were made first."""

    hits: int = Field(description="Calls answered from memory.")
    hit_rate: float | None = Field(description="Their part of all calls, from 0 to 1; null: there were none.")
    saved_nanodollars: int = Field(description="What they would have cost.")
    saved_usd: Usd = Field(description="The same in US dollars, exact.")


class RoutingSavingsView(View):
    """What rules that chose another model saved: the same usage at the model asked for, less the cost."""

    routed: int = Field(description="Calls for which a rule chose another model.")
    saved_nanodollars: int = Field(description="What they cost less; below 0: they cost more.")
    saved_usd: Usd = Field(description="The same in US dollars, exact.")


class PromptCacheView(View):
    """The providers' own prompt caches. What they save is in their prices already, and in no saving here."""

    read_tokens: int = Field(description="Input read from a prompt cache.")
    write_tokens: int = Field(description="Input written to one.")
    read_share: float | None = Field(
        description="The part of all input that was read from one, from 0 to 1; null: there was no input."
    )


_SAVINGS: dict[str, Any] = {
    "cache": (CacheSavingsView, Field(description="Our own response cache.")),
    "routing": (RoutingSavingsView, Field(description="Our own routing.")),
    "prompt_cache": (PromptCacheView, Field(description="The providers' prompt caches.")),
}
_SAVINGS_EXAMPLE = {
    "cache": {"hits": 12, "hit_rate": 0.1, "saved_nanodollars": 60_000_000, "saved_usd": 0.06},
    "routing": {"routed": 3, "saved_nanodollars": 9_000_000, "saved_usd": 0.009},
    "prompt_cache": {"read_tokens": 3000, "write_tokens": 1000, "read_share": 0.3},
}
SavingsRowView: type[View] = create_model(
    "SavingsRowView",
    __base__=View,
    __doc__="What one combination saved; null: not grouped by that.",
    **GROUP_FIELDS,
    **_SAVINGS,
)


class SavingsView(View):
    """Savings, each kind apart: none is an estimate of what might be, and none counts twice."""

    model_config = example_of(
        {
            "start_time": "2026-10-22T00:00:00Z",
            "end_time": "2026-11-21T00:00:00Z",
            **_SAVINGS_EXAMPLE,
            "data": [{**dict.fromkeys(GROUPABLE), "team": "search", **_SAVINGS_EXAMPLE}],
            "has_more": False,
            "next_page": None,
        }
    )

    start_time: datetime = Field(description="Where the range begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")
    cache: CacheSavingsView = Field(description="Our own response cache, all in all.")
    routing: RoutingSavingsView = Field(description="Our own routing, all in all.")
    prompt_cache: PromptCacheView = Field(description="The providers' prompt caches, all in all.")
    data: list[SavingsRowView] = Field(  # type: ignore[valid-type]  # made from fields above
        description="The same by what is grouped by, largest saving first; empty without group_by."
    )
    has_more: bool = Field(description="Whether more rows follow.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


@savings.get("/v1/stats/savings", responses={200: SavingsView})
@needs("read")
def show_savings(query: GroupedFields) -> Response:
    """Show what the response cache and routing saved, each apart, beside the providers' prompt caches."""
    known = services()
    totals = known.statistics.totals(visitor().account_id, asked_of(query, query.group_by))
    rows, next_page = page_of_rows(
        totals.groups if query.group_by else (),
        lambda group: (-group.sums["saved_nanodollars"], *group.values.values()),
        query.page,
        query.limit,
    )
    return answer_fields(
        {
            **shown_range(totals.range),
            **_shown_savings(totals.sums),
            "data": [{**shown_values(row.values), **_shown_savings(row.sums)} for row in rows],
            "has_more": next_page is not None,
            "next_page": next_page,
        }
    )


def _shown_savings(sums: Amounts) -> dict[str, object]:
    saved_by_cache = sums["cache_saved_nanodollars"]
    read = sums["cache_read_tokens"]
    written = sums["cache_write_5m_tokens"] + sums["cache_write_1h_tokens"]
    return {
        "cache": {
            "hits": sums["cache_hits"],
            "hit_rate": rate(sums["cache_hits"], sums["requests"]),
            **shown_money("saved", saved_by_cache),
        },
        "routing": {
            "routed": sums["routed"],
            **shown_money("saved", sums["saved_nanodollars"] - saved_by_cache),
        },
        "prompt_cache": {
            "read_tokens": read,
            "write_tokens": written,
            "read_share": rate(read, read + written + sums["input_tokens"]),
        },
    }
