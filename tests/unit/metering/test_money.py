"""Money never loses or invents a nanodollar."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.money import (
    AMOUNT_NANODOLLARS_MAX,
    PICODOLLARS_PER_NANODOLLAR,
    nanodollars_from_usd,
    rounded_half_even,
    usd_text,
)


@given(st.integers(-AMOUNT_NANODOLLARS_MAX, AMOUNT_NANODOLLARS_MAX))
def test_an_amount_survives_being_printed_and_read_again(amount: int) -> None:
    assert nanodollars_from_usd(usd_text(amount)) == amount


@pytest.mark.battery_class("money at every boundary")
@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_rounding_agrees_with_decimal_half_even(numerator: int, denominator: int) -> None:
    # Scaling avoids division: the nearest integer is never further than half the denominator away.
    rounded = rounded_half_even(numerator, denominator)

    assert abs(2 * (rounded * denominator - numerator)) <= denominator


@given(st.integers(-(10**24), 10**24))
def test_picodollars_round_to_nanodollars_as_decimal_does(amount: int) -> None:
    exact = Decimal(amount).scaleb(-3)

    assert rounded_half_even(amount, PICODOLLARS_PER_NANODOLLAR) == int(
        exact.quantize(Decimal(1), ROUND_HALF_EVEN)
    )


@pytest.mark.parametrize(
    ("picodollars", "nanodollars"),
    [(499, 0), (500, 0), (501, 1), (1500, 2), (2500, 2), (2501, 3), (-500, 0), (-1500, -2)],
)
def test_ties_go_to_the_even_neighbour(picodollars: int, nanodollars: int) -> None:
    assert rounded_half_even(picodollars, PICODOLLARS_PER_NANODOLLAR) == nanodollars


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (26_100_000, "0.0261"), (1_000_000_000, "1"), (-1, "-0.000000001"), (12_500_000_000, "12.5")],
)
def test_an_amount_is_printed_without_trailing_zeros(amount: int, text: str) -> None:
    assert usd_text(amount) == text


@pytest.mark.parametrize(
    "amount",
    [
        *("", "ten", "NaN", "Infinity", "-inf", "1.0000000001", "1e400", "9223372036.854775808", "1,5"),
        *("9e999999", "1e999980", "1e-999999", "9e999999999999999999999999"),
        *("0.99999999999999999999999999999999999", "1.0000000000000000000000000000000001"),
    ],
)
def test_an_amount_that_is_no_exact_sum_of_money_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        nanodollars_from_usd(amount)


@pytest.mark.parametrize(
    ("amount", "nanodollars"),
    [("1.50000000000000000000000000000000000000", 15 * 10**8), ("0e99", 0), ("-0", 0)],
)
def test_zeros_make_no_amount_finer_or_larger(amount: str, nanodollars: int) -> None:
    assert nanodollars_from_usd(amount) == nanodollars


def test_the_largest_amount_fits_a_signed_counter_and_one_more_does_not() -> None:
    assert nanodollars_from_usd("9223372036.854775807") == AMOUNT_NANODOLLARS_MAX
    with pytest.raises(ValueError, match="too large"):
        nanodollars_from_usd("9223372036.854775808")
