"""Breakdowns: what each model, team, app and so on used and cost in a range, and what that was made of.

One shape for all of them. `data` holds the rows that have a name, `unallocated` what has none, `total` all:
rows of all pages and the unallocated line add up to the total, and nothing is spread over others.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from flask import Response
from pydantic import Field, create_model

from api_service.access import visitor
from api_service.answers import answer_fields
from api_service.fields import Usd, View
from api_service.ranges import FilterFields, GroupBy
from api_service.services import services
from api_service.sums import (
    GROUP_FIELDS,
    RESULT_EXAMPLE,
    SUM_FIELDS,
    SUM_NAMES,
    SUMS_EXAMPLE,
    SumsView,
    average,
    rate,
    shown_money,
    shown_sums,
    shown_values,
)
from api_service.tables import answer_csv, with_csv
from api_service.usage_pages import ROW_CURSOR_CHARACTERS_MAX, Key, page_of_rows
from metering.latencies import PERCENTS
from metering.stats import GROUPABLE, TOP_MAX, Breakdown, BreakdownRow, Part, UsageQuery

DEFAULT_RANGE = timedelta(days=30)
ROWS_A_PAGE = 100
ROWS_A_PAGE_MAX = 1_000

SortBy = Literal["cost", "requests", "errors", "cost_per_request"]

PARTS = ("model", "team", "app", "feature")
_NEVER_EMPTY = frozenset({"provider", "model", "deployment"})
_PART_EXAMPLE = {
    "value": "claude-sonnet-4-6",
    "requests": 1,
    "cost_nanodollars": 5_850_000,
    "cost_usd": 0.00585,
}
_INPUT_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


class BreakdownFields(FilterFields):
    """Which calls to sum up. The end left out is now; the start left out is 30 days before it.

    Both moments are widened to whole quarter hours.
    """

    sort_by: SortBy = Field(
        default="cost",
        description="What the first row has most of.",
        json_schema_extra={"example": "cost"},
    )
    limit: int = Field(default=ROWS_A_PAGE, ge=1, le=ROWS_A_PAGE_MAX, description="Rows a page at most.")
    page: str | None = Field(
        default=None,
        max_length=ROW_CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )
    format: Literal["json", "csv"] = Field(
        default="json",
        description="csv: one line a row, the unallocated one last, and the next page's name in the header"
        " X-Next-Page.",
    )


class GroupedFields(FilterFields):
    """Which calls. The end left out is now; the start left out is 30 days before it.

    Both moments are widened to whole quarter hours.
    """

    group_by: GroupBy = Field(
        default_factory=list,
        max_length=len(GROUPABLE),
        description="One row a combination of these; several times: group_by=model&group_by=team.",
        json_schema_extra={"example": ["team"]},
    )
    limit: int = Field(default=ROWS_A_PAGE, ge=1, le=ROWS_A_PAGE_MAX, description="Rows a page at most.")
    page: str | None = Field(
        default=None,
        max_length=ROW_CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )


class PartView(View):
    """What of a row has this value of a further dimension."""

    value: str = Field(description="The value; empty: none was given.")
    requests: int = Field(description="Calls.")
    cost_nanodollars: int = Field(description="Their cost.")
    cost_usd: Usd = Field(description="Their cost in US dollars, exact.")


class PercentilesView(View):
    """Milliseconds that this part of the calls stayed below, to a factor of √2; null: none was measured."""

    p50: int | None = Field(description="Half of the calls.")
    p90: int | None = Field(description="90 % of the calls.")
    p95: int | None = Field(description="95 % of the calls.")
    p99: int | None = Field(description="99 % of the calls.")


_DERIVED: dict[str, Any] = {
    "cost_per_request_nanodollars": (
        int | None,
        Field(description="The cost of a call on average, rounded; null: there were none."),
    ),
    "cost_per_request_usd": (Usd | None, Field(description="The same in US dollars.")),
    "cost_share": (
        float | None,
        Field(description="The row's part of the total cost, from 0 to 1; null: nothing cost anything."),
    ),
    "error_rate": (
        float | None,
        Field(description="The part of the calls that failed, from 0 to 1; null: there were none."),
    ),
    "average_input_tokens": (
        int | None,
        Field(description="Input of a call on average, cached or not; null: there were none."),
    ),
    "average_output_tokens": (int | None, Field(description="Output of a call on average.")),
}
_PARTS_FIELDS: dict[str, Any] = {
    f"by_{name}": (
        list[PartView] | None,
        Field(description=f"Its dearest {TOP_MAX} values of {name}; null: not told here."),
    )
    for name in PARTS
}
_LATENCY_FIELDS: dict[str, Any] = {
    "latency_ms": (PercentilesView | None, Field(description="To the last byte; null: not told here.")),
    "ttft_ms": (PercentilesView | None, Field(description="To the first byte of streams; null likewise.")),
}
_ROW_EXAMPLE: dict[str, Any] = {
    **RESULT_EXAMPLE,
    "model": None,
    "cost_per_request_nanodollars": 5_850_000,
    "cost_per_request_usd": 0.00585,
    "cost_share": 1,
    "error_rate": 0,
    "average_input_tokens": 1200,
    "average_output_tokens": 150,
    **{f"by_{name}": None for name in PARTS},
    "by_model": [_PART_EXAMPLE],
    "latency_ms": None,
    "ttft_ms": None,
}

RowView: type[View] = create_model(
    "RowView",
    __base__=View,
    __doc__="What one of them used and cost, and what that was made of.",
    **GROUP_FIELDS,
    **SUM_FIELDS,
    **_DERIVED,
    **_PARTS_FIELDS,
    **_LATENCY_FIELDS,
)


class BreakdownView(View):
    """A page of rows. Those of all pages and `unallocated` add up to `total`."""

    model_config = with_csv(
        {
            "start_time": "2026-10-22T00:00:00Z",
            "end_time": "2026-11-21T00:00:00Z",
            "data": [_ROW_EXAMPLE],
            "unallocated": None,
            "total": SUMS_EXAMPLE,
            "has_more": False,
            "next_page": None,
        }
    )

    start_time: datetime = Field(description="Where the range begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")
    data: list[RowView] = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="The rows, that first which has most of what they are sorted by."
    )
    unallocated: RowView | None = Field(  # type: ignore[valid-type]  # as above
        description="The calls that name none; null: there are none."
    )
    total: SumsView = Field(  # type: ignore[valid-type]  # as above
        description="All calls that the filters pass."
    )
    has_more: bool = Field(description="Whether more rows follow.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


def answer_breakdown(query: BreakdownFields, group_by: tuple[str, ...], within: Sequence[str]) -> Response:
    """The visitor's account by these dimensions, each row by each of `within`. Raises: InvalidInput."""
    found = services().statistics.breakdown(visitor().account_id, asked_of(query, group_by), within)
    is_always_named = bool(set(group_by) & _NEVER_EMPTY)
    named = [row for row in found.rows if is_always_named or any(row.values.values())]
    nameless = [row for row in found.rows if not is_always_named and not any(row.values.values())]
    unallocated = nameless[0] if nameless else None
    page, next_page = page_of_rows(named, lambda row: _key(row, query.sort_by), query.page, query.limit)
    if query.format == "csv":
        rows = [_shown(row, found) for row in page]
        if unallocated is not None and next_page is None:
            rows.append(_shown(unallocated, found))
        return answer_csv((*group_by, *SUM_NAMES, *_DERIVED), rows, next_page)
    return answer_fields(
        {
            "start_time": found.range.start,
            "end_time": found.range.end,
            "data": [_shown(row, found) for row in page],
            "unallocated": None if unallocated is None else _shown(unallocated, found),
            "total": shown_sums(found.sums),
            "has_more": next_page is not None,
            "next_page": next_page,
        }
    )


def asked_of(query: FilterFields, group_by: Sequence[str], length: timedelta = DEFAULT_RANGE) -> UsageQuery:
    """The question by these dimensions; where the query names no start, its range is so long."""
    start, end = query.moments(services().clock.now(), length)
    return UsageQuery(
        start=start, end=end, timezone=query.timezone, group_by=tuple(group_by), filters=query.filters
    )


def shown_percentiles(percentiles: dict[int, int]) -> dict[str, object]:
    """The percentiles by their names."""
    return {f"p{percent}": percentiles.get(percent) for percent in PERCENTS}


def _key(row: BreakdownRow, sort_by: SortBy) -> Key:
    """Most first, and then by name."""
    sums = row.sums
    most = {
        "cost": sums["cost_nanodollars"],
        "requests": sums["requests"],
        "errors": sums["errors"],
        "cost_per_request": average(sums["cost_nanodollars"], sums["requests"]) or 0,
    }[sort_by]
    return (-most, *row.values.values())


def _shown(row: BreakdownRow, found: Breakdown) -> dict[str, object]:
    sums, requests = row.sums, row.sums["requests"]
    latency = row.latency
    return {
        **shown_values(row.values),
        **shown_sums(sums),
        **shown_money("cost_per_request", average(sums["cost_nanodollars"], requests)),
        "cost_share": rate(sums["cost_nanodollars"], found.sums["cost_nanodollars"]),
        "error_rate": rate(sums["errors"], requests),
        "average_input_tokens": average(sum(sums[name] for name in _INPUT_TOKENS), requests),
        "average_output_tokens": average(sums["output_tokens"], requests),
        **{f"by_{name}": _shown_parts(row.parts.get(name)) for name in PARTS},
        "latency_ms": None if latency is None else shown_percentiles(latency.latency_ms),
        "ttft_ms": None if latency is None else shown_percentiles(latency.ttft_ms),
    }


def _shown_parts(parts: Sequence[Part] | None) -> list[dict[str, object]] | None:
    if parts is None:
        return None
    return [
        {
            "value": part.value,
            "requests": part.requests,
            **shown_money("cost", part.cost_nanodollars),
        }
        for part in parts
    ]
