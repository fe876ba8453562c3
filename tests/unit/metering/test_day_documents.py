"""A day's documents: columns say what rows said, sums survive whatever has to collapse."""

import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from metering.day_documents import (
    FINGERPRINT_ROWS_MAX,
    FINGERPRINTS_DAY,
    NOT_HELD,
    PART_BYTES_MAX,
    QUARTERS_A_DAY,
    DayUnreadable,
    Rows,
    day_path,
    days_between,
    fewer_rows,
    fields_without_fingerprints,
    number_of,
    packed,
    part_fields,
    sheet_of,
    stored_part,
    stored_shards,
)
from metering.documents import document_bytes
from metering.rollups import OTHER, Cell, Kind
from metering.stores import DOCUMENT_BYTES_MAX
from tests.builders import ACCOUNT_ID

DAY = datetime(2026, 11, 21, tzinfo=UTC)

names = st.sampled_from(["a", "b", "", "ü"])
cells = st.tuples(st.just("key"), names, names, names)
sums = st.dictionaries(
    st.sampled_from(["requests", "cost_nanodollars", "errors"]), st.integers(1, 2**62), min_size=1
)
rows_of_a_day = st.dictionaries(st.tuples(cells, st.integers(0, QUARTERS_A_DAY - 1)), sums, max_size=12)


def _totals(rows: Rows) -> Counter[str]:
    totals: Counter[str] = Counter()
    for amounts in rows.values():
        totals.update(amounts)
    return totals


def _row(number: int, cost: int) -> dict[str, int]:
    return {"requests": 1 + number % 7, "cost_nanodollars": cost, "input_tokens": cost // 3}


def _main(*values: str) -> Cell:
    return ("main", *values)


@given(rows_of_a_day)
def test_a_document_gives_back_the_rows_it_was_made_of(rows: Rows) -> None:
    shards = [NOT_HELD] * 95 + [3]

    part = stored_part(part_fields(DAY, shards, {"key": rows, "template": {}}))

    assert part.shards == tuple(shards)
    assert part.sheets["key"].rows() == rows
    assert part.sheets["template"].rows() == {}


fingerprinted = st.tuples(st.sampled_from(["template", "fingerprint"]), names, names, names)


@given(st.dictionaries(st.tuples(fingerprinted, st.integers(0, QUARTERS_A_DAY - 1)), sums, max_size=12))
def test_a_day_without_its_fingerprints_sums_to_the_same(rows: Rows) -> None:
    kinds: dict[Kind, Rows] = {
        "template": {key: each for key, each in rows.items() if key[0][0] == "template"},
        "fingerprint": {key: each for key, each in rows.items() if key[0][0] == "fingerprint"},
    }
    before = part_fields(DAY, [3] * 96, kinds)

    after = fields_without_fingerprints(before)

    assert before.get(FINGERPRINTS_DAY) == ("2026-11-21" if kinds["fingerprint"] else None)
    assert FINGERPRINTS_DAY not in after
    assert (after["day"], after["shards"]) == (before["day"], before["shards"])
    sheets = stored_part(after).sheets
    assert sheets["fingerprint"].rows() == {}
    assert _totals(sheets["template"].rows()) == _totals(rows)
    assert kinds["template"].keys() <= sheets["template"].rows().keys()


def test_very_many_fingerprints_a_day_leave_room_to_keys() -> None:
    rows: Rows = {
        (("fingerprint", "openai", "gpt", f"{number:032x}"), number % 96): _row(number, number)
        for number in range(2 * FINGERPRINT_ROWS_MAX)
    }

    sheet = stored_part(part_fields(DAY, [3] * 96, {"fingerprint": rows})).sheets["fingerprint"]

    assert len(sheet.rows()) <= FINGERPRINT_ROWS_MAX
    assert _totals(sheet.rows()) == _totals(rows)
    assert ("fingerprint", "openai", "gpt", OTHER) in sheet.cells


@given(rows_of_a_day, st.integers(1, 96))
def test_columns_add_up_to_what_rows_add_up_to(rows: Rows, quarters_a_slot: int) -> None:
    slots = [None if number > 80 else number // quarters_a_slot for number in range(QUARTERS_A_DAY)]
    expected: dict[tuple[int, str], Counter[str]] = {}
    for (cell, number), amounts in rows.items():
        slot = slots[number]
        if slot is not None and cell[1] != "b":
            expected.setdefault((slot, cell[2]), Counter()).update(amounts)

    found = sheet_of(rows).summed(slots, lambda cell: None if cell[1] == "b" else cell[2])

    assert found == expected


@given(rows_of_a_day)
def test_sums_that_nobody_asks_for_are_left_out_and_the_others_stay(rows: Rows) -> None:
    sheet, slots = sheet_of(rows), [0] * QUARTERS_A_DAY

    whole = sheet.summed(slots, lambda _: "")
    asked = sheet.summed(slots, lambda _: "", {"cost_nanodollars"})

    costs = {key: sums["cost_nanodollars"] for key, sums in whole.items() if "cost_nanodollars" in sums}
    assert asked == {key: {"cost_nanodollars": cost} for key, cost in costs.items()}


def test_what_costs_least_collapses_first_and_only_as_far_as_it_must() -> None:
    rows: Rows = {
        (_main("p", "m", "t", "a", f"feature {number}", "", "d"), 5): _row(number, 10**number)
        for number in range(9)
    }

    fewer = fewer_rows(rows, 4)

    assert _totals(fewer) == _totals(rows)
    assert {cell[5] for cell, _ in fewer} == {"feature 8", "feature 7", "feature 6", OTHER}
    assert {cell[3] for cell, _ in fewer} == {"t"}


@pytest.mark.parametrize("rows_max", [0, 1, 2, 9, 60, 299, 300])
def test_fewer_rows_lose_nothing(rows_max: int) -> None:
    rows: Rows = {
        (_main("p", f"m{number % 3}", f"t{number}", "a", "", "", "d"), number % 2): _row(number, number)
        for number in range(300)
    }

    fewer = fewer_rows(rows, rows_max)

    assert _totals(fewer) == _totals(rows)
    assert len(fewer) <= max(rows_max, 2)  # a row a quarter hour is the least


@pytest.mark.parametrize("combinations", [500, 2_000])
def test_a_document_stays_below_its_cap_and_keeps_its_sums(combinations: int) -> None:
    chance = random.Random(7)  # noqa: S311 - figures of a test
    rows: Rows = {
        (_main("p", f"model {number % 9}", f"{chance.random()}", "", "", "", "d"), quarter): {
            name: chance.randrange(1, 10**9)
            for name in ("requests", "input_tokens", "output_tokens", "cost_nanodollars")
        }
        for number in range(combinations)
        for quarter in range(0, QUARTERS_A_DAY, 2)
    }

    fields = part_fields(DAY, [1] * QUARTERS_A_DAY, {"main": rows, "latency": {}})
    kept = stored_part(fields).sheets["main"].rows()

    assert len(fields["packed"]) <= PART_BYTES_MAX
    assert document_bytes(day_path(ACCOUNT_ID, DAY, "main"), fields) <= DOCUMENT_BYTES_MAX
    assert _totals(kept) == _totals(rows)
    assert (len(kept) == len(rows)) is (combinations == 500)
    assert len(fields["packed"]) > PART_BYTES_MAX // 2  # no more is given up than must be


def test_even_rows_that_nothing_makes_small_fit_in_the_end() -> None:
    chance = random.Random(7)  # noqa: S311 - figures of a test
    rows: Rows = {
        (("key", "p", "m", f"{number}"), number % QUARTERS_A_DAY): {
            f"latency_{bucket:02d}": chance.randrange(2**54) for bucket in range(40)
        }
        for number in range(20_000)
    }

    assert len(packed({"key": rows})) <= PART_BYTES_MAX


@pytest.mark.parametrize(("combinations", "are_whole"), [(60, True), (120, False)])
def test_what_compresses_very_well_is_bounded_by_what_its_reader_holds(
    combinations: int, are_whole: bool
) -> None:
    rows: Rows = {
        (("key", "p", "m", f"{number} " + "x" * 1_500), quarter): {"requests": 1, "cost_nanodollars": 1}
        for number in range(combinations)
        for quarter in range(QUARTERS_A_DAY)
    }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metering.day_documents.CONTENT_BYTES_MAX", 150_000)
        fields = part_fields(DAY, [1] * QUARTERS_A_DAY, {"key": rows})
        kept = stored_part(fields).sheets["key"].rows()

    assert _totals(kept) == _totals(rows)
    assert (len(kept) == len(rows)) is are_whole


@pytest.mark.parametrize("broken", [{}, {"shards": [1]}, {"shards": [1], "packed": b"not compressed"}])
def test_a_document_that_is_not_as_it_was_written_is_told(broken: Mapping[str, object]) -> None:
    with pytest.raises(DayUnreadable):
        stored_part(broken)


def test_a_column_that_is_not_as_it_was_written_is_told_when_it_is_read() -> None:
    sheet = ([("key", "a", "b", "c")], [0], [0], {"requests": ["one"], "errors": [1]})
    small = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode({"key": sheet}))
    kept = stored_part({"shards": [1] * QUARTERS_A_DAY, "packed": small}).sheets["key"]

    found = kept.summed([0] * QUARTERS_A_DAY, lambda cell: cell[:1], {"errors"})

    assert found == {(0, ("key",)): {"errors": 1}}
    with pytest.raises(DayUnreadable):
        kept.rows()


@pytest.mark.parametrize("broken", [{}, {"shards": 7}])
def test_a_document_that_does_not_say_what_it_holds_is_told(broken: Mapping[str, object]) -> None:
    with pytest.raises(DayUnreadable):
        stored_shards(broken)


def test_a_range_touches_the_utc_days_it_begins_and_ends_in() -> None:
    quarter = timedelta(minutes=15)

    assert days_between(DAY, DAY + quarter) == [DAY]
    assert days_between(DAY - quarter, DAY + timedelta(days=1)) == [DAY - timedelta(days=1), DAY]
    assert len(days_between(DAY, DAY + timedelta(days=1) + quarter)) == 2
    assert number_of(DAY) == 0
    assert number_of(DAY - quarter) == 95


def test_each_day_part_and_account_has_a_document_of_its_own() -> None:
    paths = {
        day_path(account_id, DAY + timedelta(days=number), part)
        for account_id in ("acct_a", "acct_b")
        for number in range(3)
        for part in ("main", "key")
    }

    assert len(paths) == 12
