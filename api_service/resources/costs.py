"""Costs, in the shape of the providers' own cost APIs: an amount a bucket and line. Reads rollups."""

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Response
from pydantic import AfterValidator, Field, create_model

from api_service.access import needs
from api_service.answers import answer_fields
from api_service.fields import Usd, View
from api_service.ranges import Dimension, by_our_names
from api_service.routing import routes_of
from api_service.sums import GROUP_FIELDS, shown_money, shown_values
from api_service.tables import answer_csv, with_csv
from api_service.usage_pages import BucketFields, page_of_buckets
from metering.stats import GROUPABLE
from metering.usage_groups import UsageGroup

costs = routes_of("costs")

_LINE = ("provider", "model")
_AMOUNTS: dict[str, Any] = {
    "requests": (int, Field(description="Calls.")),
    "unpriced_requests": (
        int,
        Field(description="Calls of models without a known price, whose cost is not in the amount."),
    ),
    "cost_nanodollars": (int, Field(description="The amount in nanodollars.")),
    "cost_usd": (Usd, Field(description="The amount in US dollars, exact.")),
    "estimated_cost_nanodollars": (int, Field(description="The part of it that rests on estimates.")),
    "estimated_cost_usd": (Usd, Field(description="That part in US dollars, exact.")),
}
_LINE_ITEM: dict[str, Any] = {
    "line_item": (
        str | None,
        Field(
            description="Provider and model, as `anthropic, claude-sonnet-4-6`; null: not grouped by that."
        ),
    )
}
_RESULT_EXAMPLE = {
    "amount": {"value": 0.00585, "currency": "usd"},
    "line_item": "anthropic, claude-sonnet-4-6",
    **dict.fromkeys(GROUPABLE),
    "provider": "anthropic",
    "model": "claude-sonnet-4-6",
    "requests": 1,
    "unpriced_requests": 0,
    "cost_nanodollars": 5_850_000,
    "cost_usd": 0.00585,
    "estimated_cost_nanodollars": 0,
    "estimated_cost_usd": 0,
}


class CostFields(BucketFields):
    """Which costs to show. Filters and `group_by` may be given several times (`group_by[]` is read too).

    The end left out is now; the start left out is before it by 24 hours, 7 days, 4 weeks or, in months, 92
    days. Both moments are widened to whole buckets.
    """

    group_by: Annotated[list[Dimension | Literal["line_item"]], AfterValidator(by_our_names)] = Field(
        default_factory=list,
        max_length=len(GROUPABLE) + 1,
        description="One result a combination of these; line_item means provider and model.",
        json_schema_extra={"example": ["line_item", "team"]},
    )


class AmountView(View):
    """An amount of money."""

    value: Usd = Field(description="The amount, exact.")
    currency: Literal["usd"] = Field(description="Always usd.")


CostView: type[View] = create_model(
    "CostView",
    __base__=View,
    __doc__="What one combination cost; null: not grouped by that.",
    amount=(AmountView, Field(description="The cost, as the providers' own cost APIs show it.")),
    **_LINE_ITEM,
    **GROUP_FIELDS,
    **_AMOUNTS,
)


class CostBucketView(View):
    """One bucket of the zone, half-open; no results where nothing happened, dearest first."""

    start_time: datetime = Field(description="Where it begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")
    results: list[CostView] = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="One a combination, dearest first; empty: nothing happened."
    )


class CostsView(View):
    """A page of buckets, oldest first."""

    model_config = with_csv(
        {
            "data": [
                {
                    "start_time": "2026-11-21T00:00:00Z",
                    "end_time": "2026-11-22T00:00:00Z",
                    "results": [_RESULT_EXAMPLE],
                }
            ],
            "has_more": False,
            "next_page": None,
        }
    )

    data: list[CostBucketView] = Field(description="The buckets, oldest first.")
    has_more: bool = Field(description="Whether later ones follow.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


@costs.get("/v1/costs", responses={200: CostsView})
@needs("read")
def show_costs(query: CostFields) -> Response:
    """Show what calls cost in hours, days, weeks or months of any zone.

    The same sums as `/v1/usage`, without tokens. What names no team is a result of its own.
    """
    has_lines = "line_item" in query.group_by
    named = [name for name in query.group_by if name != "line_item"]
    group_by = list(dict.fromkeys((*_LINE, *named))) if has_lines else named
    page = page_of_buckets(query, group_by)
    if query.format == "csv":
        columns = ("start_time", "end_time", *(["line_item"] if has_lines else []), *group_by, *_AMOUNTS)
        rows = (
            {"start_time": bucket.start, "end_time": bucket.end, **_shown(group, has_lines=has_lines)}
            for bucket in page.buckets
            for group in bucket.groups
        )
        return answer_csv(columns, rows, page.next_page)
    return answer_fields(
        {
            "data": [
                {
                    "start_time": bucket.start,
                    "end_time": bucket.end,
                    "results": [_shown(group, has_lines=has_lines) for group in bucket.groups],
                }
                for bucket in page.buckets
            ],
            "has_more": page.next_page is not None,
            "next_page": page.next_page,
        }
    )


def _shown(group: UsageGroup, *, has_lines: bool) -> dict[str, object]:
    cost = shown_money("cost", group.sums["cost_nanodollars"])
    return {
        "amount": {"value": cost["cost_usd"], "currency": "usd"},
        "line_item": ", ".join(group.values[name] for name in _LINE) if has_lines else None,
        **shown_values(group.values),
        "requests": group.sums["requests"],
        "unpriced_requests": group.sums["unpriced_requests"],
        **cost,
        **shown_money("estimated_cost", group.sums["estimated_cost_nanodollars"]),
    }
