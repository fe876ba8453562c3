"""Values as bytes that sort as the values do."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from metering.sqlite.entries import entries_of, sortable

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"))
MOMENTS = st.datetimes(timezones=st.just(UTC))


@given(st.tuples(INTEGERS, INTEGERS) | st.tuples(MOMENTS, MOMENTS) | st.tuples(st.booleans(), st.booleans()))
def test_values_of_a_type_sort_as_they_do(pair: tuple[int, int]) -> None:
    assert (sortable(pair[0]) < sortable(pair[1])) == (pair[0] < pair[1])


@given(TEXTS, TEXTS)
def test_texts_sort_by_their_utf_8(one: str, other: str) -> None:
    assert (sortable(one) < sortable(other)) == (one.encode() < other.encode())


def test_types_sort_as_in_firestore() -> None:
    values = [None, False, True, -(2**63), 2**63 - 1, datetime(1, 1, 1, tzinfo=UTC), "", b""]

    assert [sortable(value) for value in values] == sorted(sortable(value) for value in values)


def test_a_list_is_found_by_each_element_and_never_as_a_whole() -> None:
    fields = {"request_ids": ["r1", "r2", "r1"], "last_at": "r1", "other": 1}

    entries = entries_of("accounts/a/segments", "s", fields)

    assert len(entries) == 3
    assert len({value for _, _, value, _ in entries}) == 3
