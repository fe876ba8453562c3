"""How figures read."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_service.dashboard import formats
from metering.money import nanodollars_from_usd

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("nanodollars", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (5_850_000, "$0.00585"),
        (12_345_678, "$0.0123"),
        (99_949_999, "$0.0999"),
        (100_000_000, "$0.10"),
        (994_999_999, "$0.99"),
        (999_999_999, "$1.00"),
        (1_005_000_000, "$1.00"),
        (1_015_000_000, "$1.02"),
        (1_234_567_890_000_000, "$1,234,567.89"),
        (-2_500_000_000, "\u2212$2.50"),
        (None, "–"),
    ],
)
def test_money_reads_to_cents_and_small_money_to_what_tells_something(
    nanodollars: int | None, text: str
) -> None:
    assert formats.money(nanodollars) == text


@given(st.integers(0, 2**63 - 1))
def test_money_is_never_further_off_than_half_of_its_last_digit(nanodollars: int) -> None:
    text = formats.money(nanodollars).removeprefix("$").replace(",", "")
    places = len(text.partition(".")[2])

    assert abs(nanodollars_from_usd(text) - nanodollars) * 2 <= max(10 ** (9 - places), 10**6 * 2 - 1)


@given(st.integers(-(2**63), 2**63 - 1))
def test_exact_money_is_exact(nanodollars: int) -> None:
    text = formats.exact_money(nanodollars).replace("$", "").replace(",", "").replace("\u2212", "-")

    assert Decimal(text) * 10**9 == nanodollars


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (999, "999"), (9_999, "9,999"), (10_000, "10k"), (12_345, "12.3k"), (999_949, "999.9k"),
        (1_000_000, "1M"), (4_560_000, "4.6M"), (7_800_000_000, "7.8B"), (None, "–"),
    ],
)  # fmt: skip
def test_counts_are_short(number: int | None, text: str) -> None:
    assert formats.short_count(number) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (Decimal("0.1234"), "+12.3%"),
        (0.0, "+0.0%"),
        (-0.5, "\u221250.0%"),
        (Decimal("3.479"), "+348%"),
        (None, "–"),
    ],
)
def test_a_change_has_its_sign(rate: Decimal | float | None, text: str) -> None:
    assert formats.change(rate) == text


@pytest.mark.parametrize(
    ("part", "whole", "percent"), [(0, 5, 0), (5, 0, 0), (1, 3, "33.33"), (7, 5, 100), (-1, 5, 0)]
)
def test_a_bar_is_from_nothing_to_whole(part: int, whole: int, percent: object) -> None:
    assert formats.part_of(part, whole) == Decimal(str(percent))


def test_a_moment_reads_by_the_clock_of_its_zone() -> None:
    assert formats.moment("2026-11-21T23:30:00Z", "Asia/Kolkata") == "22 Nov 2026, 05:00"
    assert formats.moment(None) == "–"


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=59), "just now"), (timedelta(seconds=60), "1 minute ago"),
        (timedelta(hours=5, minutes=59), "5 hours ago"), (timedelta(days=60), "60 days ago"),
        (timedelta(days=61), "21 Sep 2026"), (timedelta(seconds=-5), "just now"),
    ],
)  # fmt: skip
def test_an_age_is_told_in_its_largest_unit(ago: timedelta, text: str) -> None:
    assert formats.age(NOW - ago, NOW) == text


def test_what_never_was_has_no_age() -> None:
    assert formats.age(None, NOW) == "never"


@pytest.mark.parametrize(
    ("left", "text"),
    [(timedelta(0), "now"), (timedelta(seconds=9), "in a moment"), (timedelta(days=1), "in 1 day")],
)
def test_what_is_to_come_is_told_alike(left: timedelta, text: str) -> None:
    assert formats.until(NOW + left, NOW) == text
