"""What days' documents came to, remembered within a process, so that a warm answer unpacks none of them.

A day that is over is asked about again and again, by many parts of one page; its document seldom changes.
Remembered is what a question about one document came to, under everything that it depends on: the document's
path, which holds the account, the kind of cell, which quarter hours go where, and the grouping; beside it
the document's revision. That is read each time, so no answer is ever older than the store's: what was made of
another revision counts as unknown. What is not asked for any more is forgotten, and so is everything with the
process: nothing is lost by that but time.

Three things are remembered: the sums that were asked for, of a document; what these came to together, of
several whole days (`Together`); and, where that is much smaller than what is stored, a document's cells with
the quarter hours added up, from which other questions are answered.

Measured: docs/decisions/0021, 0033.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar, cast

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
ROWS_TOGETHER_MAX: Final = 1_500  # about what `ENTRY_BYTES_MAX` holds

Group = TypeVar("Group", bound=Hashable)
Sums = dict[tuple[int, Group], Amounts]  # by the number of the slot and the group

GroupSums = Sums[tuple[str, ...]]

_ROWS: Final = msgspec.msgpack.Decoder(list[tuple[int, tuple[str, ...], Amounts]])
_OF_REVISION: Final = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
_OF_REVISIONS: Final = msgspec.msgpack.Decoder(tuple[list[str], msgspec.Raw])
_TOO_MANY: Final = msgspec.Raw(msgspec.msgpack.encode(None))
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

    def keep(self, key: bytes, content: bytes) -> bool:
        """Remember that instead of what was; false, and nothing, where it is larger than may be kept.

        That is `ENTRY_BYTES_MAX`, or all the room there is.
        """
        weight = _weight(key, content)
        with self._lock:
            self._forget(key)  # also where nothing follows: what has changed is not to be asked for again
            if weight > min(ENTRY_BYTES_MAX, self._bytes_max):
                return False
            while self._bytes_held + weight > self._bytes_max:
                self._forget(next(iter(self._entries)))
            self._entries[key] = content
            self._bytes_held += weight
        return True

    def _forget(self, key: bytes) -> None:
        content = self._entries.pop(key, None)
        if content is not None:
            self._bytes_held -= _weight(key, content)


NO_MEMORY: Final = DayMemory(0)


class Recalled(NamedTuple):
    """What a question about a document came to, and of which revision."""

    revision: str
    content: msgspec.Raw

    def sums(self) -> GroupSums:
        """The sums."""
        return _sums_in(self.content)


def recalled(
    memory: DayMemory,
    path: str,
    kind: Kind,
    slots: bytes,
    group_of: Grouping,
    names: Collection[str] | None = None,
) -> Recalled | None:
    """What `StoredDay.summed` last came to for the document, which may have changed since."""
    known = memory.find(_key(path, kind, slots, _asked(group_of, names)))
    return None if known is None else Recalled(*_OF_REVISION.decode(known))


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
    ) -> GroupSums:
        if not group_of.knows(kind):
            return {}
        key = _key(self._document.path, kind, slots, _asked(group_of, names))
        known = self._find(key)
        if known is not None:
            return _sums_in(known)
        found = self._smaller_sheet(kind, slots, names).summed(places(slots), group_of, names)
        self._memory.keep(key, _encode((self._document.revision, _rows_of(found))))
        return found

    def _smaller_sheet(self, kind: Kind, slots: bytes, names: Collection[str] | None) -> Sheet:
        """The sheet, with the quarter hours of each slot in one row where that makes it much smaller.

        It is not made for the sake of a few columns: to read these alone is quicker.
        """
        key = _key(self._document.path, kind, slots, [])
        known = self._find(key)
        if known is not None:
            return stored_sheet(known)
        whole = self._sheet(kind)
        if names is not None or not self._memory.has_room or not _is_worth_it(whole, slots):
            return whole
        smaller = _with_slots_in_one(whole, slots)
        self._memory.keep(key, _encode((self._document.revision, msgspec.Raw(packed_sheet(smaller)))))
        return smaller

    def _sheet(self, kind: Kind) -> Sheet:
        if self._sheets is None:
            self._sheets = stored_part(self._document.fields, self._kinds).sheets
        return self._sheets.get(kind, NO_SHEET)

    def _find(self, key: bytes) -> msgspec.Raw | None:
        known = self._memory.find(key)
        if known is None:
            return None
        revision, content = _OF_REVISION.decode(known)
        return content if revision == self._document.revision else None


class Together:
    """What a question about several days came to: `days` has each one's path, and its slots by number.

    The numbers are the same over all days, and so tell which slots of different days are one.
    """

    def __init__(
        self,
        memory: DayMemory,
        kinds: Sequence[Kind],
        days: Iterable[tuple[str, bytes, Sequence[int]]],
        group_of: Grouping,
        names: Collection[str] | None,
    ) -> None:
        self._memory = memory
        asked = _encode(("together", kinds, list(days), _asked(group_of, names)))
        self._key = hashlib.blake2b(asked, digest_size=32).digest()
        self.is_too_much = False

    def find(self, revisions: Sequence[str]) -> GroupSums | None:
        """The sums, by the numbers of slots, where the documents still are at these revisions."""
        known = self._memory.find(self._key)
        if known is None:
            return None
        made_of, content = _OF_REVISIONS.decode(known)
        if made_of != list(revisions):
            return None
        self.is_too_much = bytes(content) == bytes(_TOO_MANY)
        return None if self.is_too_much else _sums_in(content)

    def keep(self, revisions: Sequence[str], parts: Iterable[GroupSums]) -> None:
        """Remember what the parts come to; that it is too much, beyond `ROWS_TOGETHER_MAX` rows."""
        found: GroupSums = {}
        for part in parts:
            for place, sums in part.items():
                totals = found.setdefault(place, {})
                for name, amount in sums.items():
                    totals[name] = totals.get(name, 0) + amount
            if len(found) > ROWS_TOGETHER_MAX:
                break
        fits = len(found) <= ROWS_TOGETHER_MAX
        if not fits or not self._memory.keep(self._key, _encode((revisions, _rows_of(found)))):
            self._memory.keep(self._key, _encode((revisions, _TOO_MANY)))


def _key(path: str, kind: Kind, slots: bytes, asked: Sequence[object]) -> bytes:
    return _encode((path, kind, slots, asked))


def _asked(group_of: Grouping, names: Collection[str] | None) -> list[object]:
    return [*group_of.question, None if names is None else sorted(names)]


def _rows_of(sums: GroupSums) -> list[tuple[int, tuple[str, ...], Amounts]]:
    return [(slot, group, amounts) for (slot, group), amounts in sums.items()]


def _sums_in(content: msgspec.Raw) -> GroupSums:
    return {(slot, group): amounts for slot, group, amounts in _ROWS.decode(content)}


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
