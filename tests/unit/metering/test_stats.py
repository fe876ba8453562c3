"""Questions about rollups say all that is wrong with them."""

from datetime import datetime, timedelta

import pytest

from metering.buckets import BUCKET_WIDTHS, EARLIEST, LATEST, RANGE_MAX
from metering.rollups import QUARTER
from metering.stats import GROUPABLE, UsageQuery
from tests.builders import AT


def test_every_complaint_about_a_query_comes_at_once() -> None:
    query = UsageQuery(
        start=AT, end=AT - timedelta(days=1), bucket_width="1m", timezone="../etc/passwd",
        group_by=("team", "team", "prompt"), filters={"app": [], "session": ["x"], "key_id": ["key_1"]},
    )  # fmt: skip

    assert [each.param for each in query.complaints()] == [
        "bucket_width", "end_time", "timezone", "group_by", "session", "group_by", "app", "key_id",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "utc ", "/etc/localtime", "Europe", "Europe/Berlin\0"])
def test_only_zones_that_exist_are_taken(name: str) -> None:
    query = UsageQuery(start=AT, end=AT + timedelta(days=1), timezone=name)

    assert [each.param for each in query.complaints()] == ["timezone"]


@pytest.mark.parametrize("width", BUCKET_WIDTHS)
def test_a_range_has_a_longest_length(width: str) -> None:
    longest = UsageQuery(start=AT, end=AT + RANGE_MAX[width], bucket_width=width)
    longer = UsageQuery(start=AT, end=AT + RANGE_MAX[width] + timedelta(microseconds=1), bucket_width=width)

    assert longest.complaints() == []
    assert [each.param for each in longer.complaints()] == ["start_time"]


@pytest.mark.parametrize(
    ("start", "end", "params"),
    [
        (EARLIEST, EARLIEST + QUARTER, []),
        (EARLIEST - QUARTER, EARLIEST + QUARTER, ["start_time"]),
        (LATEST - QUARTER, LATEST, []),
        (LATEST - QUARTER, LATEST + QUARTER, ["end_time"]),
        (AT, AT, ["end_time"]),
        (AT.replace(tzinfo=None), AT, ["start_time"]),
    ],
)
def test_a_range_is_of_moments_that_can_be_asked_about(
    start: datetime, end: datetime, params: list[str]
) -> None:
    assert [each.param for each in UsageQuery(start=start, end=end).complaints()] == params


@pytest.mark.parametrize("name", GROUPABLE)
def test_every_dimension_goes_with_provider_and_model(name: str) -> None:
    group_by = tuple(dict.fromkeys((name, "provider", "model")))

    assert UsageQuery(start=AT, end=AT + QUARTER, group_by=group_by).complaints() == []
