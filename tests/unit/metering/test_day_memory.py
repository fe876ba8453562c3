"""What days came to is remembered by document and question alone, within its bytes, whoever asks at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.day_documents import QUARTERS_A_DAY, DayUnreadable, Rows, day_path, part_fields
from metering.day_memory import (
    ENTRY_BYTES_MAX,
    ENTRY_OVERHEAD_BYTES,
    NO_MEMORY,
    NO_SLOT,
    DayMemory,
    StoredDay,
)
from metering.rollups import Cell, Kind
from metering.stores import Document
from metering.usage_groups import Grouping
from tests.builders import ACCOUNT_ID

DAY = datetime(2026, 11, 20, tzinfo=UTC)
MAIN: Final[tuple[Kind, ...]] = ("main",)
ALL_DAY = bytes(QUARTERS_A_DAY)
BY_TEAM = Grouping("main", ("team",), {})

values = st.sampled_from(["a", "b", ""])
cells = st.tuples(st.just("main"), *[values] * 3, *[st.just("")] * 4)
sums = st.dictionaries(
    st.sampled_from(["requests", "cost_nanodollars", "saved_nanodollars"]), st.integers(-5, 2**62), min_size=1
)
rows_of_a_day = st.dictionaries(st.tuples(cells, st.integers(0, QUARTERS_A_DAY - 1)), sums, max_size=30)
slots_of_a_day = st.lists(st.integers(0, 3), min_size=QUARTERS_A_DAY, max_size=QUARTERS_A_DAY).map(
    lambda drawn: bytes(NO_SLOT if each == 3 else each for each in sorted(drawn))
)


def main_cell(team: str) -> Cell:
    return ("main", "openai", "gpt-4o", team, "", "", "", "")


def stored(rows: Rows, account_id: str = ACCOUNT_ID, revision: str = "1") -> Document:
    fields = part_fields(DAY, [1] * QUARTERS_A_DAY, {"main": rows})
    return Document(day_path(account_id, DAY, "main"), fields, revision)


def spent(
    document: Document, memory: DayMemory, group_of: Callable[[Cell], tuple[str, ...] | None] = BY_TEAM
) -> object:
    found = StoredDay(document, MAIN, memory).summed("main", ALL_DAY, group_of)
    return {key: amounts.get("cost_nanodollars", 0) for key, amounts in found.items()}


def costing(nanodollars: int) -> Rows:
    """A team's calls, in so many quarter hours that adding them up pays."""
    return {(main_cell("search"), number): {"cost_nanodollars": nanodollars} for number in range(4)}


@given(rows_of_a_day, slots_of_a_day, st.sampled_from([None, ("requests",)]))
def test_what_is_remembered_is_what_the_document_says(
    rows: Rows, slots: bytes, names: tuple[str, ...] | None
) -> None:
    memory, document = DayMemory(), stored(rows)

    for group_of in (BY_TEAM, Grouping("main", ("model",), {"team": ["a", ""]}), lambda cell: cell[3]):
        expected = StoredDay(document, MAIN, NO_MEMORY).summed("main", slots, group_of, names)
        for _ in range(2):
            assert StoredDay(document, MAIN, memory).summed("main", slots, group_of, names) == expected


def test_what_is_known_of_a_document_is_not_unpacked_again() -> None:
    memory, document = DayMemory(), stored(costing(5))
    asked = spent(document, memory)
    damaged = Document(document.path, {**document.fields, "packed": b"damaged"}, document.revision)

    assert spent(damaged, memory) == asked == {(0, ("search",)): 20}
    with pytest.raises(DayUnreadable):
        spent(damaged, DayMemory())


def test_another_question_is_answered_from_what_was_added_up() -> None:
    memory, document = DayMemory(), stored(costing(5))
    spent(document, memory)
    damaged = Document(document.path, {**document.fields, "packed": b"damaged"}, document.revision)

    assert spent(damaged, memory, Grouping("main", ("model",), {})) == {(0, ("gpt-4o",)): 20}


def test_a_document_that_was_written_since_is_read_anew() -> None:
    memory = DayMemory()

    before = spent(stored(costing(5), revision="1"), memory)
    after = spent(stored(costing(7), revision="2"), memory)

    assert (before, after) == ({(0, ("search",)): 20}, {(0, ("search",)): 28})


def test_accounts_days_of_one_revision_are_told_apart() -> None:
    memory = DayMemory()

    mine = spent(stored(costing(5), ACCOUNT_ID), memory)
    theirs = spent(stored(costing(7), f"acct_{'f' * 32}"), memory)

    assert (mine, theirs) == ({(0, ("search",)): 20}, {(0, ("search",)): 28})


def test_filters_and_slots_are_part_of_the_question() -> None:
    memory, document = DayMemory(), stored(costing(5))
    spent(document, memory)

    assert spent(document, memory, Grouping("main", ("team",), {"team": ["ads"]})) == {}
    half = bytes([0]) * 2 + bytes([NO_SLOT]) * (QUARTERS_A_DAY - 2)
    found = StoredDay(document, MAIN, memory).summed("main", half, BY_TEAM)
    assert found == {(0, ("search",)): {"cost_nanodollars": 10}}


def test_whoever_changes_an_answer_changes_no_other() -> None:
    memory, document = DayMemory(), stored(costing(5))

    for _ in range(2):
        found = StoredDay(document, MAIN, memory).summed("main", ALL_DAY, BY_TEAM)
        assert found == {(0, ("search",)): {"cost_nanodollars": 20}}
        found[0, ("search",)]["cost_nanodollars"] = 0


def test_the_least_recently_used_goes_first_and_the_bound_holds() -> None:
    memory = DayMemory(bytes_max=2 * (1 + 10 + ENTRY_OVERHEAD_BYTES))

    memory.keep(b"a", bytes(10))
    memory.keep(b"b", bytes(10))
    memory.find(b"a")
    memory.keep(b"c", bytes(10))

    assert [memory.find(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    assert memory.bytes_held == 2 * (1 + 10 + ENTRY_OVERHEAD_BYTES)


def test_what_is_too_large_is_not_kept_and_drives_nothing_out() -> None:
    memory = DayMemory()
    memory.keep(b"a", b"small")
    room = ENTRY_BYTES_MAX - ENTRY_OVERHEAD_BYTES - 1

    memory.keep(b"b", bytes(room))
    memory.keep(b"c", bytes(room + 1))

    assert [memory.find(key) is not None for key in (b"a", b"b", b"c")] == [True, True, False]


def test_what_is_too_large_takes_what_it_replaces_with_it() -> None:
    memory = DayMemory()
    memory.keep(b"a", b"of an old revision")

    assert not memory.keep(b"a", bytes(ENTRY_BYTES_MAX))

    assert memory.find(b"a") is None
    assert memory.bytes_held == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3_000)), max_size=60))
def test_it_never_holds_more_than_its_bytes(kept: list[tuple[int, int]]) -> None:
    memory, last = DayMemory(bytes_max=5_000), dict[bytes, bytes]()

    for number, size in kept:
        key = b"%d" % number
        last[key] = bytes(size)
        memory.keep(key, last[key])

        assert memory.bytes_held <= 5_000
        assert memory.find(key) == last[key]
    held = [(key, found) for key in last if (found := memory.find(key)) is not None]
    assert all(found == last[key] for key, found in held)
    assert memory.bytes_held == sum(len(key) + len(each) + ENTRY_OVERHEAD_BYTES for key, each in held)


def test_without_room_nothing_is_remembered() -> None:
    NO_MEMORY.keep(b"a", b"")

    assert (NO_MEMORY.find(b"a"), NO_MEMORY.bytes_held) == (None, 0)


def test_several_threads_at_once_get_each_documents_own_figures() -> None:
    memory = DayMemory(bytes_max=4_000)  # so little that they drive each other's out
    documents = [stored(costing(number + 1), revision=str(number)) for number in range(8)]

    def ask(turn: int) -> bool:
        number = turn % 8
        return spent(documents[number], memory) == {(0, ("search",)): 4 * (number + 1)}

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(400)))
    assert 0 < memory.bytes_held <= 4_000
