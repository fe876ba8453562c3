"""Latency: how fast models answered, and how many calls failed. From rollups, histograms among them."""

from datetime import datetime, timedelta
from typing import Any, Literal

from flask import Response
from pydantic import Field, create_model

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.breakdowns import (
    DEFAULT_RANGE,
    PercentilesView,
    shown_percentiles,
)
from api_service.fields import FilterTag, View, any_of, example_of
from api_service.ranges import RangeFields, shown_range
from api_service.routing import routes_of
from api_service.services import services
from api_service.sums import rate
from metering.errors import InvalidInput
from metering.events import Provider
from metering.latencies import Latency
from metering.stats import FILTER_VALUES_MAX, UsageQuery

HOURS_OF_LATENCY_MAX = timedelta(days=7)

latency = routes_of("latency")


class LatencyFields(RangeFields):
    """Which models. The end left out is now; the start left out is 30 days before it, 7 with bucket_width=1h.

    Both moments are widened to whole buckets of the zone.
    """

    bucket_width: Literal["1h", "1d", "1w", "1mo"] | None = Field(
        default=None,
        description="Tell each bucket of the zone, too: hours (of at most 7 days), days, weeks or months.",
        json_schema_extra={"example": "1d"},
    )
    provider: list[Provider] = any_of("calls to this provider", FILTER_VALUES_MAX)
    model: list[FilterTag] = any_of("calls of this model, as its answer named it", FILTER_VALUES_MAX)


_LATENCY: dict[str, Any] = {
    "requests": (int, Field(description="Calls.")),
    "errors": (int, Field(description="Calls that failed: status 400 and above, cut answers, refusals.")),
    "error_rate": (
        float | None,
        Field(description="The part of the calls that failed, from 0 to 1; null: there were none."),
    ),
    "measured": (
        int,
        Field(description="Calls that the latencies tell of: those answered whole, and not from memory."),
    ),
    "latency_ms": (PercentilesView, Field(description="From admission to the last byte.")),
    "ttft_ms": (PercentilesView, Field(description="From admission to the first byte of a stream.")),
}
_LATENCY_EXAMPLE = {
    "requests": 40,
    "errors": 1,
    "error_rate": 0.025,
    "measured": 39,
    "latency_ms": {"p50": 1024, "p90": 2048, "p95": 2896, "p99": 4096},
    "ttft_ms": {"p50": 362, "p90": 512, "p95": 724, "p99": 724},
}
LatencyBucketView: type[View] = create_model(
    "LatencyBucketView",
    __base__=View,
    __doc__="One bucket of the zone in which the model had calls.",
    start_time=(datetime, Field(description="Where it begins.")),
    end_time=(datetime, Field(description="Where it ends, exclusive.")),
    **_LATENCY,
)
ModelLatencyView: type[View] = create_model(
    "ModelLatencyView",
    __base__=View,
    __doc__="How fast one model answered, and how often it did not.",
    provider=(str, Field(description="The provider.")),
    model=(str, Field(description="The model.")),
    **_LATENCY,
    buckets=(
        list[LatencyBucketView],  # type: ignore[valid-type]  # made from fields above
        Field(description="Its buckets with calls, oldest first; empty without bucket_width."),
    ),
)


class LatenciesView(View):
    """The models, most used first. Percentiles are exact to a factor of √2, and never too small."""

    model_config = example_of(
        {
            "data": [
                {
                    "provider": "anthropic",
                    "model": "claude-sonnet-4-6",
                    **_LATENCY_EXAMPLE,
                    "buckets": [
                        {
                            "start_time": "2026-11-21T00:00:00Z",
                            "end_time": "2026-11-22T00:00:00Z",
                            **_LATENCY_EXAMPLE,
                        }
                    ],
                }
            ],
            "has_more": False,
            "next_page": None,
        }
    )

    data: list[ModelLatencyView] = Field(  # type: ignore[valid-type]  # made from fields above
        description="The models."
    )
    has_more: bool = Field(description="Always false: all models are on one page.")
    next_page: str | None = Field(description="Always null.")


@latency.get("/v1/stats/latency", responses={200: LatenciesView})
@needs("read")
def show_latency(query: LatencyFields) -> Response:
    """Show how fast models answered, and how many calls failed."""
    known = services()
    length = HOURS_OF_LATENCY_MAX if query.bucket_width == "1h" else DEFAULT_RANGE
    start, end = query.moments(known.clock.now(), length)
    if query.bucket_width == "1h" and end - start > HOURS_OF_LATENCY_MAX:
        raise InvalidInput("with bucket_width=1h, ask for at most 7 days", "start_time")
    asked = UsageQuery(
        start=start,
        end=end,
        bucket_width=query.bucket_width or "1d",
        timezone=query.timezone,
        filters={name: getattr(query, name) for name in ("provider", "model") if getattr(query, name)},
    )
    models = known.statistics.latency(visitor().account_id, asked, in_buckets=query.bucket_width is not None)
    data = [
        {
            "provider": each.provider,
            "model": each.model,
            **_shown_latency(each),
            "buckets": [
                {**shown_range(bucket.range), **_shown_latency(bucket.latency)} for bucket in each.buckets
            ],
        }
        for each in models
    ]
    return answer_fields({"data": data, "has_more": False, "next_page": None})


def _shown_latency(latency: Latency) -> dict[str, object]:
    return {
        "requests": latency.requests,
        "errors": latency.errors,
        "error_rate": rate(latency.errors, latency.requests),
        "measured": latency.measured,
        "latency_ms": shown_percentiles(latency.latency_ms),
        "ttft_ms": shown_percentiles(latency.ttft_ms),
    }
