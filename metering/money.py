"""Money as integers: nanodollars for amounts, picodollars for unit prices.

A nanodollar is 1e-9 US dollar: the grain of `google.type.Money`, and integers add exactly in a store's
counter where floats do not. Unit prices need a finer grain ($0.0375 a million tokens is 37.5 nanodollars
a token), so prices are picodollars (1e-12 USD) a unit; a sum is rounded to nanodollars once, half to even.
"""

from decimal import Decimal, InvalidOperation
from typing import NewType

Nanodollars = NewType("Nanodollars", int)
Picodollars = NewType("Picodollars", int)

NANODOLLARS_PER_DOLLAR = 1_000_000_000
PICODOLLARS_PER_NANODOLLAR = 1_000
PICODOLLARS_PER_DOLLAR = NANODOLLARS_PER_DOLLAR * PICODOLLARS_PER_NANODOLLAR
AMOUNT_NANODOLLARS_MAX = 2**63 - 1  # what a store's signed counter holds

_NANODOLLAR = Decimal("1e-9")
_EXPONENT_MAX = 9  # of the largest amount, in dollars
_AMOUNT_WANTED = "give the amount in US dollars as a decimal number, for example 12.50"


def rounded_half_even(numerator: int, denominator: int) -> int:
    """The integer nearest to numerator / denominator; a tie goes to the even neighbour."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient % 2):
        return quotient + 1
    return quotient


def nanodollars_from_usd(amount: str | int | Decimal) -> Nanodollars:
    """The exact nanodollars of an amount in US dollars.

    Raises: ValueError when the amount is not a finite decimal number, is finer than a nanodollar, or does
    not fit a signed 64-bit counter. Floats are refused by type: they have lost the figure already.
    """
    try:
        exact = Decimal(amount)
    except (InvalidOperation, ValueError) as error:
        raise ValueError(_AMOUNT_WANTED) from error
    if not exact.is_finite():
        raise ValueError(_AMOUNT_WANTED)
    # By its exponent first: to make a whole number of 1e999999 would take minutes.
    if exact and exact.adjusted() > _EXPONENT_MAX:
        raise ValueError("the amount is too large")
    rounded = exact.quantize(_NANODOLLAR)
    if rounded != exact:
        raise ValueError("an amount has at most nine decimal places")
    whole = int(rounded.scaleb(-_NANODOLLAR.adjusted()))
    if abs(whole) > AMOUNT_NANODOLLARS_MAX:
        raise ValueError("the amount is too large")
    return Nanodollars(whole)


def usd_text(amount: int) -> str:
    """The amount in US dollars as an exact decimal text without trailing zeros: 26100000 gives "0.0261"."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), NANODOLLARS_PER_DOLLAR)
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:09d}".rstrip("0")
