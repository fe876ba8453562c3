"""What days' documents came to, remembered within a process, so that a warm answer unpacks none of them.

A day that is over is asked about again and again, by many parts of one page; its document seldom changes.
Remembered is what a question about one document came to, under everything that it depends on: the document's
path, which holds the account, its revision, the kind of cell, which quarter hours go where, and the grouping.
The document itself is read each time, and its revision with it, so no answer is ever older than the store's;
one that was written since is another key. What is not asked for any more is forgotten, and so is everything
with the process: nothing is lost by that but time.

Two things are remembered of a document: the sums that were asked for, and, where that is much smaller than
what is stored, its cells with the quarter hours added up, from which other questions are answered.

Measured: docs/decisions/0021.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Final, TypeVar, cast

import msgspec

from metering.day_documents import (
    NO_SHEET,
    Sheet,
    packed_sheet,
    sheet_of,
    stored_part,
    stored_sheet,
)
from metering.rollups import Amounts, Cell, Kind
from metering.stores import Document
from metering.usage_groups import Grouping

DAY_MEMORY_BYTES_MAX: Final = 48 * 1024 * 1024
ENTRY_BYTES_MAX: Final = 512 * 1024
ENTRY_OVERHEAD_BYTES: Final = 256  # of two objects and their place, beside what they hold
NO_SLOT: Final = 255  # no day has so many slots

Group = TypeVar("Group", bound=Hashable)
Sums = dict[tuple[int, Group], Amounts]  # by the number of the slot and the group

_SUMS: Final = msgspec.msgpack.Decoder(list[tuple[int, tuple[str, ...], Amounts]])
_encode: Final = msgspec.msgpack.Encoder().encode


class DayMemory:
    """Bytes by key, at most `bytes_max` with all that they cost; the least recently used go first.

    Safe to share between threads. Without a `bytes_max` above 0 it remembers nothing.
    """

    def __init__(self, bytes_max: int = DAY_MEMORY_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes_held = 0

    @property
    def has_room(self) -> bool:
        """Whether it ever remembers anything."""
        return self._bytes_max > 0

    @property
    def bytes_held(self) -> int:
        """What all entries cost now."""
        return self._bytes_held

    def find(self, key: bytes) -> bytes | None:
        """What was kept under that key, where it is still known."""
        with self._lock:
            content = self._entries.get(key)
            if content is not None:
                self._entries.move_to_end(key)
            return content

    def keep(self, key: bytes, content: bytes) -> None:
        """Remember that; one that is larger than `ENTRY_BYTES_MAX`, or than there is room, is not kept."""
        weight = _weight(key, content)
        if weight > min(ENTRY_BYTES_MAX, self._bytes_max):
            return
        with self._lock:
            self._forget(key)
            while self._bytes_held + weight > self._bytes_max:
                self._forget(next(iter(self._entries)))
            self._entries[key] = content
            self._bytes_held += weight

    def _forget(self, key: bytes) -> None:
        content = self._entries.pop(key, None)
        if content is not None:
            self._bytes_held -= _weight(key, content)


NO_MEMORY: Final = DayMemory(0)


class StoredDay:
    """One of a day's documents: what its cells of each kind come to, unpacked where nobody remembers that.

    Every method raises DayUnreadable where it is not as it was written.
    """

    def __init__(self, document: Document, kinds: Collection[Kind], memory: DayMemory) -> None:
        self._document = document
        self._kinds = kinds
        self._memory = memory
        self._sheets: dict[str, Sheet] | None = None

    def summed(
        self,
        kind: Kind,
        slots: bytes,
        group_of: Callable[[Cell], Group | None],
        names: Collection[str] | None = None,
    ) -> Sums[Group]:
        """The cells of the kind added up as by `Sheet.summed`; `slots` has a byte for each quarter hour.

        Only what is grouped by a `Grouping` is remembered: it says what its answer depends on.
        """
        if not isinstance(group_of, Grouping):
            return self._smaller_sheet(kind, slots, names).summed(places(slots), group_of, names)
        return cast("Sums[Group]", self._grouped(kind, slots, group_of, names))

    def _grouped(
        self, kind: Kind, slots: bytes, group_of: Grouping, names: Collection[str] | None
    ) -> Sums[tuple[str, ...]]:
        if not group_of.knows(kind):
            return {}
        key = self._key(kind, slots, [*group_of.question, None if names is None else sorted(names)])
        known = self._memory.find(key)
        if known is not None:
            return {(slot, group): sums for slot, group, sums in _SUMS.decode(known)}
        found = self._smaller_sheet(kind, slots, names).summed(places(slots), group_of, names)
        self._memory.keep(key, _encode([(slot, group, sums) for (slot, group), sums in found.items()]))
        return found

    def _smaller_sheet(self, kind: Kind, slots: bytes, names: Collection[str] | None) -> Sheet:
        """The sheet, with the quarter hours of each slot in one row where that makes it much smaller.

        It is not made for the sake of a few columns: to read these alone is quicker.
        """
        key = self._key(kind, slots, [])
        known = self._memory.find(key)
        if known is not None:
            return stored_sheet(msgspec.Raw(known))
        whole = self._sheet(kind)
        if names is not None or not self._memory.has_room or not _is_worth_it(whole, slots):
            return whole
        smaller = _with_slots_in_one(whole, slots)
        self._memory.keep(key, packed_sheet(smaller))
        return smaller

    def _sheet(self, kind: Kind) -> Sheet:
        if self._sheets is None:
            self._sheets = stored_part(self._document.fields, self._kinds).sheets
        return self._sheets.get(kind, NO_SHEET)

    def _key(self, kind: Kind, slots: bytes, question: Sequence[object]) -> bytes:
        return _encode((self._document.path, self._document.revision, kind, slots, question))


def places(slots: bytes) -> list[int | None]:
    """The slot of each quarter hour; None for those that count nowhere."""
    return [None if slot == NO_SLOT else slot for slot in slots]


def _is_worth_it(sheet: Sheet, slots: bytes) -> bool:
    """Whether one row a cell and slot is at most half of what there is."""
    return 2 * len(sheet.cells) * len({*slots} - {NO_SLOT}) <= len(sheet.cell_of)


def _with_slots_in_one(sheet: Sheet, slots: bytes) -> Sheet:
    """The sheet with each slot's sums in its first quarter hour."""
    summed = sheet.summed(places(slots), lambda cell: cell)
    return sheet_of({(cell, slots.index(slot)): sums for (slot, cell), sums in summed.items()})


def _weight(key: bytes, content: bytes) -> int:
    return len(key) + len(content) + ENTRY_OVERHEAD_BYTES
