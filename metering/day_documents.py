"""A UTC day's rollups in two documents, so that a month is read in a few dozen documents.

`main` holds the cells of kinds main, latency and rule, `key` those of key, template and fingerprint: a
question asks for one kind, and so reads one document a day. Sums stand in columns (`Sheet`), compressed. Both
documents name, by `shards`, what of which quarter hour they hold: an integer a quarter, whose bits are the
numbers of the shards that were added up; `NOT_HELD`, or `SHARDS_GONE` once the shards themselves have been
deleted.

A document stays below `PART_BYTES_MAX`, and below `CONTENT_BYTES_MAX` once it is read: where a day has more
cells than fit, those that cost least collapse into `other` step by step, as in a full shard; sums are
complete all the same. Fingerprints go when their time is over (`fields_without_fingerprints`): a document
that holds any says so by `fingerprints_day`, by which it is found.

Measured: docs/decisions/0013.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import msgspec
import zstandard

from metering.collections import days_collection
from metering.errors import StoreError
from metering.ids import repeatable_digest
from metering.rollups import (
    COLLAPSE_ALL,
    QUARTER,
    Amounts,
    Cell,
    Kind,
    beginning_of_day,
    collapsed,
    without_fingerprint,
)

Part = Literal["main", "key"]
Rows = dict[tuple[Cell, int], Amounts]  # (cell, number of the quarter hour in its day) → sums
Group = TypeVar("Group", bound=Hashable)
Slot = TypeVar("Slot", bound=Hashable)

PARTS: Final[dict[Part, tuple[Kind, ...]]] = {
    "main": ("main", "latency", "rule"),
    "key": ("key", "template", "fingerprint"),
}
PART_OF: Final[dict[Kind, Part]] = {kind: part for part, kinds in PARTS.items() for kind in kinds}
QUARTERS_A_DAY: Final = 96
NOT_HELD: Final = -1
SHARDS_GONE: Final = 0
PART_BYTES_MAX: Final = 900 * 1024
CONTENT_BYTES_MAX: Final = 16 * 1024 * 1024  # before compression: what a reader has to hold
FITTINGS_MAX: Final = 12
FITTING_PERCENT: Final = 97  # what a fitting aims at
FINGERPRINT_ROWS_MAX: Final = 10_000  # a day: they compress badly, and leave room to keys and templates
FINGERPRINTS_DAY: Final = "fingerprints_day"

_COMPRESSION_LEVEL: Final = 6
_DAY: Final = timedelta(days=1)


class DayUnreadable(StoreError):
    """A day's document is not as it was written; nothing is read from it or put into it."""


class Sheet(msgspec.Struct, frozen=True, array_like=True):
    """Cells of one kind over a day, by columns.

    Row r is what `cells[cell_of[r]]` holds in the quarter hour number `quarter_of[r]`; rows are in the order
    of these two. A sum that is 0 in all rows has no column.
    """

    cells: list[Cell]
    cell_of: list[int]
    quarter_of: list[int]
    columns: Mapping[str, list[int]]

    def summed(
        self,
        slot_of: Sequence[Slot | None],
        group_of: Callable[[Cell], Group | None],
        names: Collection[str] | None = None,
    ) -> dict[tuple[Slot, Group], Amounts]:
        """The rows added up by the slot of their quarter hour and the group of their cell; None leaves out.

        Sums that are 0 are not named, nor are others than `names`, where these are given.
        """
        slots, slot_numbers = _numbered(slot_of)
        groups, group_numbers = _numbered([group_of(cell) for cell in self.cells])
        runs = list(self._runs(slot_numbers, group_numbers, len(groups)))
        found: defaultdict[int, Amounts] = defaultdict(dict)
        for name in self.columns:
            if names is not None and name not in names:
                continue
            column = self.columns[name]
            totals: dict[int, int] = {}
            for place, first, end in runs:
                totals[place] = totals.get(place, 0) + sum(column[first:end])
            for place, total in totals.items():
                if total:
                    found[place][name] = total
        return {
            (slots[place // len(groups)], groups[place % len(groups)]): sums for place, sums in found.items()
        }

    def _runs(
        self, slot_numbers: Sequence[int], group_numbers: Sequence[int], groups: int
    ) -> Iterator[tuple[int, int, int]]:
        """Rows of one cell that go to one place: the place, the first row, and the one behind the last."""
        stretches = _stretches(slot_numbers)
        begin = 0
        for cell, group in enumerate(group_numbers):
            end = bisect_right(self.cell_of, cell, begin)
            if group >= 0:
                first = begin
                for slot, until in stretches:
                    following = bisect_left(self.quarter_of, until, first, end)
                    if slot >= 0 and following > first:
                        yield slot * groups + group, first, following
                    first = following
            begin = end

    def rows(self) -> Rows:
        """The sheet row by row."""
        found: Rows = {
            (self.cells[cell], quarter): {}
            for cell, quarter in zip(self.cell_of, self.quarter_of, strict=True)
        }
        for name, column in self.columns.items():
            for sums, amount in zip(found.values(), column, strict=True):
                if amount:
                    sums[name] = amount
        return found


class DayPart(msgspec.Struct, frozen=True, kw_only=True):
    """One of a day's documents: what it holds of each quarter hour, and the cells by kind."""

    shards: tuple[int, ...]
    sheets: dict[str, Sheet]


class _Columns(Mapping[str, list[int]]):
    """Columns as they were stored, each read when it is asked for: most questions want one or two."""

    def __init__(self, stored: Mapping[str, msgspec.Raw]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> list[int]:
        try:
            return _COLUMN_DECODER.decode(self._stored[name])
        except msgspec.MsgspecError as error:
            raise DayUnreadable("a day's document is not as it was written") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


NO_PART: Final = DayPart(shards=(NOT_HELD,) * QUARTERS_A_DAY, sheets={})
NO_SHEET: Final = Sheet([], [], [], {})

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_SHEET_DECODER: Final = msgspec.msgpack.Decoder(
    tuple[list[Cell], list[int], list[int], dict[str, msgspec.Raw]]
)
_COLUMN_DECODER: Final = msgspec.msgpack.Decoder(list[int])


def days_between(start: datetime, end: datetime) -> list[datetime]:
    """The UTC days that a range, half-open, touches."""
    first = beginning_of_day(start)
    return [first + number * _DAY for number in range(-((first - end) // _DAY))]


def number_of(quarter: datetime) -> int:
    """Which quarter hour of its UTC day it is, from 0."""
    return (quarter - beginning_of_day(quarter)) // QUARTER


def day_path(account_id: str, day: datetime, part: Part) -> str:
    """Where that document of an account's UTC day is stored."""
    name = repeatable_digest("day", f"{day:%Y-%m-%d}", part)
    return f"{days_collection(account_id)}/{name}"


def sheet_of(rows: Mapping[tuple[Cell, int], Amounts]) -> Sheet:
    """The rows by columns, in the order of cells and hours, which compresses best."""
    ordered = sorted(rows)
    cells: dict[Cell, int] = {}
    cell_of = [cells.setdefault(cell, len(cells)) for cell, _ in ordered]
    names = sorted({name for sums in rows.values() for name in sums})
    columns = {name: [rows[key].get(name, 0) for key in ordered] for name in names}
    return Sheet(list(cells), cell_of, [quarter for _, quarter in ordered], columns)


def part_fields(day: datetime, shards: Sequence[int], rows: Mapping[Kind, Rows]) -> dict[str, Any]:
    """The document; cells that do not fit it have become `other`."""
    fields = {"day": f"{day:%Y-%m-%d}", "shards": list(shards)}
    fingerprints = rows.get("fingerprint")
    if fingerprints:
        rows = {**rows, "fingerprint": fewer_rows(fingerprints, FINGERPRINT_ROWS_MAX)}
        fields[FINGERPRINTS_DAY] = fields["day"]
    return {**fields, "packed": packed(rows)}


def fields_without_fingerprints(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The document of that kind, its calls with fingerprints told as such that have none.

    Raises: DayUnreadable.
    """
    part = stored_part(fields)
    rows = {kind: sheet.rows() for kind, sheet in part.sheets.items()}
    without = added_up(
        ((without_fingerprint(cell), quarter), sums)
        for kind in ("template", "fingerprint")
        for (cell, quarter), sums in rows.pop(kind, {}).items()
    )
    kinds: dict[Kind, Rows] = {kind: rows.get(kind, {}) for kind in PARTS["key"]}
    kept = {name: value for name, value in fields.items() if name != FINGERPRINTS_DAY}
    return {**kept, "packed": packed({**kinds, "template": without, "fingerprint": {}})}


def stored_part(fields: Mapping[str, Any], kinds: Collection[str] | None = None) -> DayPart:
    """What a day's document holds, of these kinds where they are given. Raises: DayUnreadable."""
    try:
        content = zstandard.ZstdDecompressor().decompress(fields["packed"], CONTENT_BYTES_MAX)
        sheets = {
            kind: stored_sheet(sheet)
            for kind, sheet in _DECODER.decode(content).items()
            if kinds is None or kind in kinds
        }
        return DayPart(shards=tuple(fields["shards"]), sheets=sheets)
    except (KeyError, TypeError, zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise DayUnreadable("a day's document is not as it was written") from error


def stored_sheet(stored: msgspec.Raw) -> Sheet:
    """The sheet of these bytes, its columns read when they are asked for. Raises: msgspec.MsgspecError."""
    cells, cell_of, quarter_of, columns = _SHEET_DECODER.decode(stored)
    return Sheet(cells, cell_of, quarter_of, _Columns(columns))


def packed_sheet(sheet: Sheet) -> bytes:
    """The sheet as `stored_sheet` reads it; not compressed."""
    return _ENCODER.encode(sheet)


def stored_shards(fields: Mapping[str, Any]) -> tuple[int, ...]:
    """What a day's document holds of each quarter hour, without its sums. Raises: DayUnreadable."""
    try:
        return tuple(fields["shards"])
    except (KeyError, TypeError) as error:
        raise DayUnreadable("a day's document is not as it was written") from error


def packed(rows: Mapping[Kind, Rows]) -> bytes:
    """The rows of each kind, compressed, within `PART_BYTES_MAX` and `CONTENT_BYTES_MAX`."""
    content, percent = compressed(_sheets(rows))
    room = sum(map(len, rows.values()))
    for _ in range(FITTINGS_MAX):
        if percent <= 100:
            return content
        before = room
        room = room * FITTING_PERCENT // percent
        rows = {kind: fewer_rows(each, len(each) * room // before) for kind, each in rows.items()}
        room = sum(map(len, rows.values()))
        content, percent = compressed(_sheets(rows))
    # Not reached by anything that shards can hold: a row a quarter hour and kind remains.
    return compressed(_sheets({kind: fewer_rows(each, 0) for kind, each in rows.items()}))[0]


def compressed(content: Sheet | Mapping[Kind, Sheet]) -> tuple[bytes, int]:
    """The content as it is stored, and how much of a document's room it takes: percent, rounded up."""
    plain = _ENCODER.encode(content)
    small = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress(plain)
    return small, max(-(-100 * len(small) // PART_BYTES_MAX), -(-100 * len(plain) // CONTENT_BYTES_MAX))


def fewer_rows(rows: Rows, rows_max: int) -> Rows:
    """The rows with their cheapest cells collapsed, as few steps as will do; about `rows_max` are left."""
    if len(rows) <= rows_max:
        return rows
    for steps in range(1, COLLAPSE_ALL + 1):
        others = len({(collapsed(cell, steps), quarter) for cell, quarter in rows})
        if 2 * others <= rows_max:
            break
    kept = _dearest(rows, rows_max - others)
    return added_up(
        ((cell if cell in kept else collapsed(cell, steps), quarter), sums)
        for (cell, quarter), sums in rows.items()
    )


def added_up(rows: Iterable[tuple[tuple[Cell, int], Amounts]]) -> Rows:
    """The rows with those of one cell and quarter hour added up. The amounts handed in stay as they are."""
    found: Rows = {}
    for key, sums in rows:
        totals = found.setdefault(key, {})
        for name, amount in sums.items():
            totals[name] = totals.get(name, 0) + amount
    return found


def _dearest(rows: Rows, rows_max: int) -> set[Cell]:
    """The cells that cost most over the day, ties by requests, as many as have so many rows together."""
    totals: dict[Cell, list[int]] = {}
    for (cell, _), sums in rows.items():
        total = totals.setdefault(cell, [0, 0, 0])
        total[0] += sums.get("cost_nanodollars", 0)
        total[1] += sums.get("requests", 0)
        total[2] += 1
    kept: set[Cell] = set()
    for cell in sorted(totals, key=lambda each: totals[each], reverse=True):
        rows_max -= totals[cell][2]
        if rows_max < 0:
            break
        kept.add(cell)
    return kept


def _sheets(rows: Mapping[Kind, Rows]) -> dict[Kind, Sheet]:
    return {kind: sheet_of(each) for kind, each in rows.items()}


def _stretches(slot_numbers: Sequence[int]) -> list[tuple[int, int]]:
    """The slots of a day's quarter hours one after the other, each with the quarter hour behind its last."""
    ends = [*range(1, len(slot_numbers) + 1)]
    return [
        (slot, end)
        for slot, end in zip(slot_numbers, ends, strict=True)
        if end == len(slot_numbers) or slot_numbers[end] != slot
    ]


def _numbered(keys: Sequence[Slot | None]) -> tuple[list[Slot], list[int]]:
    """The different keys, and for each place the number of its key; -1 for None."""
    numbers: dict[Slot, int] = {}
    places = [-1 if key is None else numbers.setdefault(key, len(numbers)) for key in keys]
    return list(numbers), places
