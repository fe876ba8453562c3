"""Comparison: a range beside an earlier one, true to the calendar of the zone."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from flask import Response
from pydantic import Field, create_model

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.breakdowns import (
    DEFAULT_RANGE,
    GroupedFields,
    asked_of,
)
from api_service.fields import Usd, View, example_of
from api_service.ranges import shown_range
from api_service.routing import routes_of
from api_service.services import services
from api_service.sums import GROUP_FIELDS, SUMS_EXAMPLE, SumsView, rate, shown_money, shown_sums, shown_values
from api_service.usage_pages import page_of_rows
from metering.buckets import Earlier
from metering.periods import is_timezone, period_of
from metering.stats import GROUPABLE, ComparedGroup

comparison = routes_of("comparison")


class ComparisonFields(GroupedFields):
    """Which calls, and with when to compare them.

    The end left out is now. The start left out is 30 days before it; with `compare_to=month` the beginning of
    its month, so that the month so far is compared with as much of the month before; with `week` seven days.
    """

    compare_to: Earlier = Field(
        default="period",
        description="`period`: the range that ends where this one starts, as many calendar months or days of"
        " the zone where it is whole ones, else of the same length. `week`, `month`, `year`: the same dates"
        " that much earlier; the range may not be longer than that.",
        json_schema_extra={"example": "month"},
    )


_CHANGE: dict[str, Any] = {
    "sums": (SumsView, Field(description="What was used and spent in the range.")),
    "sums_before": (SumsView, Field(description="The same of the range before.")),
    "change_nanodollars": (int, Field(description="By how much the cost rose; below 0: it fell.")),
    "change_usd": (Usd, Field(description="The same in US dollars, exact.")),
    "change_rate": (
        float | None,
        Field(description="The change as a part of the cost before (0.1: 10 %); null: there was none."),
    ),
}
_CHANGE_EXAMPLE = {
    "sums": SUMS_EXAMPLE,
    "sums_before": SUMS_EXAMPLE,
    "change_nanodollars": 0,
    "change_usd": 0,
    "change_rate": 0,
}
ComparedView: type[View] = create_model(
    "ComparedView",
    __base__=View,
    __doc__="One combination in both ranges; null: not grouped by that.",
    **GROUP_FIELDS,
    **_CHANGE,
)


class BeforeView(View):
    """The range compared with."""

    start_time: datetime = Field(description="Where it begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")


class _ComparisonBase(View):
    model_config = example_of(
        {
            "start_time": "2026-11-01T00:00:00Z",
            "end_time": "2026-11-21T00:00:00Z",
            "complete_to": "2026-11-21T00:00:00Z",
            "before": {"start_time": "2026-10-01T00:00:00Z", "end_time": "2026-10-21T00:00:00Z"},
            **_CHANGE_EXAMPLE,
            "data": [{**dict.fromkeys(GROUPABLE), "team": "search", **_CHANGE_EXAMPLE}],
            "has_more": False,
            "next_page": None,
        }
    )


ComparisonView: type[View] = create_model(
    "ComparisonView",
    __base__=_ComparisonBase,
    __doc__="A range beside an earlier one.",
    start_time=(datetime, Field(description="Where the range begins.")),
    end_time=(datetime, Field(description="Where it ends, exclusive.")),
    complete_to=(
        datetime,
        Field(
            description="Calls before this moment, which is never ahead, are counted: up to its end, or to an"
            " hour before where many instances serve the account."
        ),
    ),
    before=(BeforeView, Field(description="The range compared with.")),
    **_CHANGE,
    data=(
        list[ComparedView],  # type: ignore[valid-type]  # made from fields above
        Field(description="The same by what is grouped by, dearest now first; empty without group_by."),
    ),
    has_more=(bool, Field(description="Whether more rows follow.")),
    next_page=(str | None, Field(description="What `page` takes for those; null: there are none.")),
)


@comparison.get("/v1/stats/comparison", responses={200: ComparisonView})
@needs("read")
def show_comparison(query: ComparisonFields) -> Response:
    """Compare a range with an earlier one, true to the calendar of the zone."""
    known = services()
    now = known.clock.now()
    asked = asked_of(query, query.group_by, _compared_length(query, now))
    found = known.statistics.comparison(visitor().account_id, asked, query.compare_to)
    rows, next_page = page_of_rows(
        found.groups if query.group_by else (), _key_of_compared, query.page, query.limit
    )
    return answer_fields(
        {
            **shown_range(found.range),
            "complete_to": min(found.complete_to, now),
            "before": shown_range(found.range_before),
            **_shown_change(found.sums, found.sums_before),
            "data": [
                {**shown_values(row.values), **_shown_change(row.sums, row.sums_before)} for row in rows
            ],
            "has_more": next_page is not None,
            "next_page": next_page,
        }
    )


def _compared_length(query: ComparisonFields, now: datetime) -> timedelta:
    """How long the range is, where its start is left out."""
    if query.compare_to == "week":
        return timedelta(days=7)
    if query.compare_to != "month":
        return DEFAULT_RANGE
    _, end = query.moments(now, DEFAULT_RANGE)
    timezone = query.timezone if is_timezone(query.timezone) else "UTC"
    return end - period_of("month", timezone, end - timedelta(microseconds=1)).starts_at


def _key_of_compared(row: ComparedGroup) -> tuple[int | str, ...]:
    return (-row.sums["cost_nanodollars"], -row.sums_before["cost_nanodollars"], *row.values.values())


def _shown_change(sums: Mapping[str, int], before: Mapping[str, int]) -> dict[str, object]:
    change = sums["cost_nanodollars"] - before["cost_nanodollars"]
    return {
        "sums": shown_sums(sums),
        "sums_before": shown_sums(before),
        **shown_money("change", change),
        "change_rate": rate(change, before["cost_nanodollars"]),
    }
