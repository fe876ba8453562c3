"""Report periods: whole ones of a zone's calendar, each beside the true one before it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.errors import InvalidInput, NotFound
from metering.reports import (
    LISTED,
    REPORT_KINDS,
    ReportKind,
    listed_periods,
    period_before,
    period_named,
    report_period,
    usd,
)
from tests.builders import AT

ZONES = ["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia"]

zones = st.sampled_from(ZONES)
kinds = st.sampled_from(REPORT_KINDS)
moments = st.datetimes(datetime(2021, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(kinds, zones, moments)
def test_a_period_holds_its_moment_and_is_found_by_its_text(
    kind: ReportKind, zone: str, moment: datetime
) -> None:
    period = report_period(kind, zone, moment)

    assert period.start <= moment < period.end
    assert period_named(period.text, zone) == period


@given(kinds, zones, moments)
def test_the_period_before_ends_where_the_period_begins(
    kind: ReportKind, zone: str, moment: datetime
) -> None:
    period = report_period(kind, zone, moment)
    before = period_before(period)

    assert before.end == period.start
    assert before.text != period.text


@pytest.mark.parametrize(
    ("kind", "text", "before"),
    [
        ("monthly", "2026-03", "2026-02"),
        ("monthly", "2026-01", "2025-12"),
        ("quarterly", "2026-Q1", "2025-Q4"),
        ("quarterly", "2026-Q3", "2026-Q2"),
        ("weekly", "2027-W01", "2026-W53"),
    ],
)
def test_what_a_period_is_compared_with(kind: ReportKind, text: str, before: str) -> None:
    assert period_before(period_named(text, "America/New_York")).text == before


@pytest.mark.parametrize("kind", REPORT_KINDS)
def test_the_present_period_and_so_many_before_it_are_listed(kind: ReportKind) -> None:
    periods = listed_periods(kind, "UTC", AT)

    assert len(periods) == LISTED[kind] + 1
    assert [period.is_over(AT) for period in periods] == [False] + [True] * LISTED[kind]


def test_a_quarter_of_new_york_has_both_its_clock_changes_right() -> None:
    period = period_named("2026-Q4", "America/New_York")

    assert period.start == datetime(2026, 10, 1, 4, tzinfo=UTC)
    assert period.end - period.start == timedelta(days=92, hours=1)


@pytest.mark.parametrize(
    "text",
    ["2026-W54", "2026-13", "2026-Q5", "2026", "", "26-11", "2026-W00", "0001-01", "９999-01", "2026-Q0"],
)
def test_what_names_no_period_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        period_named(text, "UTC")


def test_a_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidInput):
        report_period("weekly", "Mars/Base", AT)
    with pytest.raises(InvalidInput):
        period_named("2026-11", "Mars/Base")


@pytest.mark.parametrize(
    ("nanodollars", "text"),
    [(0, "$0.00"), (5, "$5e-9"), (12_340_000, "$0.01234"), (1_234_560_000_000, "$1,234.56")],
)
def test_amounts_are_told_for_reading(nanodollars: int, text: str) -> None:
    assert usd(nanodollars) == text
