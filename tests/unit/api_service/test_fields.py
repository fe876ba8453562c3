from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api_service.fields import EARLIEST, LATEST, Moment, decimal_between, decimal_text

MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)
PERCENT: TypeAdapter[Decimal] = TypeAdapter(Annotated[Decimal, decimal_between(0, 100, 2)])


@given(
    st.datetimes(
        datetime(2000, 1, 2),  # noqa: DTZ001 - hypothesis wants its bounds naive
        datetime(2099, 12, 30),  # noqa: DTZ001 - hypothesis wants its bounds naive
        timezones=st.timezones(),
    )
)
def test_a_moment_of_any_zone_is_read_as_the_moment_it_is(moment: datetime) -> None:
    whole = moment.replace(microsecond=0).astimezone(UTC)

    assert MOMENT.validate_python(whole.isoformat()) == whole
    assert MOMENT.validate_python(int(whole.timestamp())) == whole
    assert MOMENT.validate_python(str(int(whole.timestamp()))) == whole


@pytest.mark.parametrize("moment", [EARLIEST, datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_the_first_and_the_last_moment_are_taken(moment: datetime) -> None:
    assert MOMENT.validate_python(moment.isoformat()) == moment


@pytest.mark.parametrize(
    "value",
    [
        "1999-12-31T23:59:59Z", LATEST.isoformat(), 946_684_799, int(LATEST.timestamp()), -1, "", "now", True,
        None, 1.5, "2026-11-21", "2026-11-21T09:30:00", "2026-13-01T00:00:00Z", "2026-11-21T25:00:00Z",
        "2026-11-21T09:30:60Z", "2026-11-21T09:30:00+25:00", "2026-11-21 09:30:00Z", "20261121T093000Z",
        "2026-W47-6T09:30:00Z", "٢٠٢٦-11-21T09:30:00Z", [], "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_moment_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="RFC 3339"):
        MOMENT.validate_python(value)


@given(st.integers(0, 10_000))
def test_a_decimal_comes_back_as_it_was(hundredths: int) -> None:
    text = decimal_text(hundredths, 2)

    assert int(PERCENT.validate_python(text).scaleb(2)) == hundredths
    assert "E" not in text


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "-0.01",
        "100.01",
        "1.001",
        "1e3",
        "NaN",
        "sNaN",
        "Infinity",
        True,
        None,
        1.5,
        [],
        "1" * 50,
        101,
    ],
)
def test_what_is_no_decimal_in_the_range_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="decimal number from 0 to 100"):
        PERCENT.validate_python(value)
