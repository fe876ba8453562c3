from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltrack_cli.amounts import nanodollars


@pytest.mark.parametrize(
    ("usd", "expected"),
    [
        ("0", 0),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("-0.0000000015", -2),
        ("0.13080438340307526401", 130_804_383),
        ("12.5", 12_500_000_000),
    ],
)
def test_an_amount_is_rounded_to_the_nearest_nanodollar_a_tie_to_the_even_one(
    usd: str, expected: int
) -> None:
    assert nanodollars(Decimal(usd)) == expected


@given(st.decimals(min_value=-1_000_000, max_value=1_000_000, places=25))
def test_rounding_loses_half_a_nanodollar_at_most(usd: Decimal) -> None:
    assert abs(Decimal(nanodollars(usd)).scaleb(-9) - usd) <= Decimal("0.5e-9")
