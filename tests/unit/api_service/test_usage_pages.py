"""Pages of rows: every row once, in order, and no page that there is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_service.usage_pages import Key, page_of_rows
from metering.errors import InvalidInput

keys = st.lists(st.tuples(st.integers(-(2**62), 2**62), st.text(max_size=4)), max_size=20, unique=True)


def _same(key: Key) -> Key:
    return key


@given(keys, st.integers(1, 7))
def test_pages_show_every_row_once_in_the_order_of_the_keys(rows: list[Key], limit: int) -> None:
    seen: list[Key] = []
    cursor: str | None = None
    for _ in range(len(rows) + 1):
        page, cursor = page_of_rows(rows, _same, cursor, limit)
        seen += page
        if cursor is None:
            break

    assert seen == sorted(rows)


def test_a_page_goes_on_behind_a_row_that_has_gone() -> None:
    rows: list[Key] = [(1, "a"), (2, "b"), (3, "c")]
    _, cursor = page_of_rows(rows, _same, None, 2)

    assert page_of_rows([(1, "a"), (3, "c"), (4, "d")], _same, cursor, 5) == ([(3, "c"), (4, "d")], None)


@pytest.mark.parametrize("cursor", ["!", "x", "gaE", "AAAA", "wA", "é", "=", "A" * 4096])
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        page_of_rows([(1, "a")], _same, cursor, 5)

    assert caught.value.param == "page"


@given(st.text(max_size=30))
def test_whatever_a_cursor_says_the_answer_is_rows_or_a_refusal(cursor: str) -> None:
    try:
        rows, _ = page_of_rows([(1, "a"), (2, "b")], _same, cursor, 5)
    except InvalidInput:
        return
    assert set(rows) <= {(1, "a"), (2, "b")}
