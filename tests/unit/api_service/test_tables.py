"""CSV: every figure as it is, and no text that a spreadsheet takes for a formula."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from api_service.tables import csv_text

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def _read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(texts, min_size=1, max_size=4))
def test_a_text_is_read_again_as_it_was_or_behind_an_apostrophe(values: list[str]) -> None:
    columns = [str(number) for number in range(len(values))]

    names, cells = _read(csv_text(columns, [dict(zip(columns, values, strict=True))]))

    assert names == columns
    for value, cell in zip(values, cells, strict=True):
        assert cell in {value, f"'{value}"}
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_numbers_moments_and_nothing_are_written_plainly() -> None:
    east = timezone(timedelta(hours=2))
    row = {
        "money": msgspec.Raw(b"-0.000000001"),
        "count": -5,
        "rate": 0.25,
        "at": datetime(2026, 11, 21, 2, 0, tzinfo=east),
        "exact": datetime(2026, 11, 21, 0, 0, 0, 125_000, tzinfo=UTC),
        "none": None,
    }

    assert csv_text(list(row), [row]).splitlines() == [
        "money,count,rate,at,exact,none",
        "-0.000000001,-5,0.25,2026-11-21T00:00:00Z,2026-11-21T00:00:00.125000Z,",
    ]


def test_a_table_without_rows_has_its_columns() -> None:
    assert csv_text(["a", "b"], []) == "a,b\r\n"
