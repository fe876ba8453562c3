"""Amounts of money as others write them, exact decimals of US dollars, in nanodollars."""

from decimal import Decimal

from metering.money import NANODOLLARS_PER_DOLLAR, rounded_half_even, usd_text


def nanodollars(usd: Decimal) -> int:
    """The amount in nanodollars, the nearest; a tie goes to the even one."""
    numerator, denominator = usd.as_integer_ratio()
    return rounded_half_even(numerator * NANODOLLARS_PER_DOLLAR, denominator)


def rounded_text(usd: Decimal) -> str:
    """The amount rounded to the nanodollar, as a decimal text."""
    return usd_text(nanodollars(usd))
