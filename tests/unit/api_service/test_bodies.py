import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_service.bodies import (
    DEPTH_MAX,
    EXPONENT_MAX,
    FIELDS_MAX,
    NUMBER_CHARACTERS_MAX,
    VALUES_MAX,
    decoded_object,
)
from api_service.errors import Refused

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**38), 10**38) | TEXTS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXTS, children, max_size=4),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict | list):
        children = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth_of, children), default=0)
    return 0


@pytest.mark.battery_class("bodies of any JSON and any bytes")
@given(st.dictionaries(TEXTS, VALUES, max_size=5).filter(lambda value: depth_of(value) <= DEPTH_MAX))
def test_every_plain_object_is_read_as_it_was_written(value: dict[str, Any]) -> None:
    assert decoded_object(json.dumps(value).encode()) == value


@pytest.mark.battery_class("bodies of any JSON and any bytes")
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_nothing_else(raw: bytes) -> None:
    with suppress(Refused):
        assert isinstance(decoded_object(raw), dict)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=0, max_value=10**9))
def test_a_number_with_a_fraction_is_exactly_what_was_written(number: Decimal) -> None:
    value = decoded_object(f'{{"price": {number:f}}}'.encode())["price"]

    assert value == number
    assert isinstance(value, Decimal)


def named(count: int) -> str:
    return ",".join(f'"{number}": 0' for number in range(count))


@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        ("[" * (DEPTH_MAX - 1) + "]" * (DEPTH_MAX - 1), "[" * DEPTH_MAX + "]" * DEPTH_MAX),
        ("9" * NUMBER_CHARACTERS_MAX, "9" * (NUMBER_CHARACTERS_MAX + 1)),
        (f"1e{EXPONENT_MAX}", f"1e{EXPONENT_MAX + 1}"),
        (f"[{','.join('0' * VALUES_MAX)}]", f"[{','.join('0' * (VALUES_MAX + 1))}]"),
        (f"{{{named(FIELDS_MAX)}}}", f"{{{named(FIELDS_MAX + 1)}}}"),
        (f"1e-{EXPONENT_MAX}", f"1e-{EXPONENT_MAX + 1}"),
    ],
    ids=["depth", "length of a number", "exponent", "values", "fields", "negative exponent"],
)
def test_each_limit_is_reached_and_not_crossed(fits: str, too_much: str) -> None:
    decoded_object(f'{{"a": {fits}}}'.encode())

    with pytest.raises(Refused):
        decoded_object(f'{{"a": {too_much}}}'.encode())
