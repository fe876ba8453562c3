"""Pages of statistics: of buckets, oldest first, and of rows in an order of their own."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from pydantic import Field

from api_service.access import visitor
from api_service.ranges import FilterFields
from api_service.services import services
from metering.buckets import BucketWidth, bucket_edges
from metering.errors import InvalidInput
from metering.stats import UsageBucket, UsageQuery

BUCKETS_A_PAGE_MAX = {"1h": 168, "1d": 31, "1w": 13, "1mo": 3}
DAYS_A_CSV_MAX = 92  # a file is one page: as many days as a range may have
DEFAULT_RANGE = {
    "1h": timedelta(days=1),
    "1d": timedelta(days=7),
    "1w": timedelta(days=28),
    "1mo": timedelta(days=92),
}
RESULTS_A_PAGE_MAX = 10_000
CURSOR_CHARACTERS_MAX = 64
ROW_CURSOR_CHARACTERS_MAX = 4_096
NO_SUCH_PAGE = "that is no page of this query; begin without one"

Row = TypeVar("Row")
Key = tuple[int | str, ...]


class BucketFields(FilterFields):
    """Which calls to sum up, and in buckets of what width.

    The end left out is now; the start left out is one day before it for hours, seven for days, four weeks for
    weeks, 92 days for months. Both moments are widened to whole buckets of the zone.
    """

    bucket_width: BucketWidth = Field(
        default="1d",
        description="Hours, days, weeks (from Monday) or months of the zone's own clock and calendar.",
        json_schema_extra={"example": "1d"},
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        le=max(BUCKETS_A_PAGE_MAX.values()),
        description="Buckets a page: at most (and by default) 168 hours, 31 days, 13 weeks or 3 months;"
        " as CSV, 92 days.",
    )
    page: str | None = Field(
        default=None,
        max_length=CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )
    format: Literal["json", "csv"] = Field(
        default="json",
        description="csv: one line a result, and the next page's name in the header X-Next-Page.",
    )


class BucketPage(msgspec.Struct, frozen=True):
    """Some buckets, and what names the page behind them."""

    buckets: Sequence[UsageBucket]
    next_page: str | None


def page_of_buckets(query: BucketFields, group_by: Sequence[str]) -> BucketPage:
    """The page that the query asks for, of the visitor's account. Raises: InvalidInput."""
    start, end = query.moments(services().clock.now(), DEFAULT_RANGE[query.bucket_width])
    asked = UsageQuery(
        start=start,
        end=end,
        bucket_width=query.bucket_width,
        timezone=query.timezone,
        group_by=tuple(group_by),
        filters=query.filters,
    )
    complaints = asked.complaints()
    if complaints:
        raise InvalidInput(complaints[0].message, complaints[0].param, tuple(complaints))
    is_file_of_days = query.format == "csv" and query.bucket_width == "1d"
    most = DAYS_A_CSV_MAX if is_file_of_days else BUCKETS_A_PAGE_MAX[query.bucket_width]
    edges = _edges_of_page(asked, query.page, min(query.limit or most, most))
    page = msgspec.structs.replace(asked, start=edges[0], end=edges[-1])
    buckets = _within_bound(services().statistics.usage(visitor().account_id, page).buckets)
    reached = buckets[-1].end
    has_more = reached < asked.end.astimezone(UTC)
    return BucketPage(buckets, _written_moment(reached) if has_more else None)


def page_of_rows(
    rows: Sequence[Row], key_of: Callable[[Row], Key], cursor: str | None, limit: int
) -> tuple[Sequence[Row], str | None]:
    """The rows behind the cursor, at most so many, in the order of their keys; and the next page's name.

    Keys are unique and alike in form. A page goes on behind the last row's key, wherever that one is now.
    """
    ordered = sorted(rows, key=key_of)
    if cursor is not None:
        behind = read_key(cursor)
        try:
            ordered = [row for row in ordered if key_of(row) > behind]
        except TypeError as error:  # a key of another form
            raise InvalidInput(NO_SUCH_PAGE, "page") from error
    page = ordered[:limit]
    return page, written_key(key_of(page[-1])) if len(ordered) > limit else None


def written_key(key: Key) -> str:
    """The name of the page that goes on behind the row of that key."""
    return _encoded(msgspec.msgpack.encode(key))


def read_key(cursor: str) -> Key:
    """The key behind which the page of that name goes on. Raises: InvalidInput."""
    try:
        return msgspec.msgpack.decode(_decoded(cursor), type=tuple[int | str, ...])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidInput(NO_SUCH_PAGE, "page") from error


def _edges_of_page(asked: UsageQuery, cursor: str | None, limit: int) -> list[datetime]:
    edges = bucket_edges(asked.start, asked.end, asked.bucket_width, ZoneInfo(asked.timezone))
    begin = 0
    if cursor is not None:
        began = _read_moment(cursor)
        if began not in edges[:-1]:
            raise InvalidInput(NO_SUCH_PAGE, "page")
        begin = edges.index(began)
    return edges[begin : begin + limit + 1]


def _within_bound(buckets: Sequence[UsageBucket]) -> Sequence[UsageBucket]:
    results = 0
    for number, bucket in enumerate(buckets):
        results += len(bucket.groups)
        if results > RESULTS_A_PAGE_MAX and number:
            return buckets[:number]
    return buckets


def _written_moment(moment: datetime) -> str:
    return _encoded(str(int(moment.timestamp())).encode())


def _read_moment(cursor: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(_decoded(cursor)), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(cursor: str) -> bytes:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
