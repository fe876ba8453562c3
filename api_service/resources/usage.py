"""Usage, summed up: what was used, when and by whom. Reads rollups, never events.

The shape of `/v1/usage` is that of the providers' own usage APIs: buckets of time, each with one result a
combination of the values grouped by.
"""

from collections.abc import Sequence
from datetime import datetime

from flask import Response
from pydantic import Field

from api_service.access import needs
from api_service.answers import answer_fields
from api_service.fields import View
from api_service.ranges import GroupBy
from api_service.routing import routes_of
from api_service.sums import RESULT_EXAMPLE, SUM_NAMES, ResultView, shown_sums, shown_values
from api_service.tables import answer_csv, with_csv
from api_service.usage_pages import BucketFields, BucketPage, page_of_buckets
from metering.stats import GROUPABLE, UsageBucket
from metering.usage_groups import UsageGroup

usage = routes_of("usage")


class UsageFields(BucketFields):
    """What to sum up. Filters and `group_by` may be given several times (`group_by[]` is read too).

    The end left out is now; the start left out is before it by 24 hours, 7 days, 4 weeks or, in months, 92
    days. Both moments are widened to whole buckets.
    """

    group_by: GroupBy = Field(
        default_factory=list,
        max_length=len(GROUPABLE),
        description="One result a combination of these; several times: group_by=model&group_by=team.",
        json_schema_extra={"example": ["model", "team"]},
    )


class BucketView(View):
    """One bucket of the zone, half-open; no results where nothing happened, dearest first."""

    start_time: datetime = Field(description="Where it begins.")
    end_time: datetime = Field(description="Where it ends, exclusive.")
    results: list[ResultView] = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="One a combination, dearest first; empty: nothing happened."
    )


class UsageView(View):
    """A page of buckets, oldest first."""

    model_config = with_csv(
        {
            "data": [
                {
                    "start_time": "2026-11-21T00:00:00Z",
                    "end_time": "2026-11-22T00:00:00Z",
                    "results": [RESULT_EXAMPLE],
                }
            ],
            "has_more": False,
            "next_page": None,
        }
    )

    data: list[BucketView] = Field(description="The buckets, oldest first.")
    has_more: bool = Field(description="Whether later ones follow.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


@usage.get("/v1/usage", responses={200: UsageView})
@needs("read")
def sum_up_usage(query: UsageFields) -> Response:
    """Sum up usage and cost in hours, days, weeks or months of any zone.

    What names no team (or whatever is grouped by) is a result of its own, with an empty value. `other` is
    what was too manifold to be told apart.
    """
    page = page_of_buckets(query, query.group_by)
    if query.format == "csv":
        return _csv(page, query.group_by)
    return answer_fields(
        {
            "data": [_shown_bucket(each) for each in page.buckets],
            "has_more": page.next_page is not None,
            "next_page": page.next_page,
        }
    )


def _csv(page: BucketPage, group_by: Sequence[str]) -> Response:
    rows = (
        {"start_time": bucket.start, "end_time": bucket.end, **_shown_group(group)}
        for bucket in page.buckets
        for group in bucket.groups
    )
    return answer_csv(("start_time", "end_time", *group_by, *SUM_NAMES), rows, page.next_page)


def _shown_bucket(bucket: UsageBucket) -> dict[str, object]:
    return {
        "start_time": bucket.start,
        "end_time": bucket.end,
        "results": [_shown_group(each) for each in bucket.groups],
    }


def _shown_group(group: UsageGroup) -> dict[str, object]:
    return {**shown_values(group.values), **shown_sums(group.sums)}
