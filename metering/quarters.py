"""An account's rollups by quarter hour, wherever they lie: in documents of their day, or still in shards.

**What is where.** A shard is found by its `starts_at` while it has sums that its day's documents lack: it is
**open**. Compaction takes `starts_at` away in the very commit that puts the shard's sums into the day's
documents, on condition that the shard has not changed; every commit of events puts it back. So no clock
decides what is fresh, and at every moment a quarter hour that has no open shard is complete in its day's
documents.

**Reading**, in this order, so that writers and compactions in between can only add: the open shards of the
range; the days' documents; and, for quarter hours that are held but have been opened again, all their
shards. Whoever sums up rollups does it here, and not by reading shards: most of them are not open, and eight
days after their compaction they are gone.

**How much.** An account that many instances write for has up to sixteen shards a quarter hour: with two or
three quarter hours that are not compacted yet, some fifty documents beside those of the days. Whoever reads
more days than leave room for them reads `rollups_within` a bound, and is told up to when that is complete.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

import msgspec

from metering.collections import quarters_collection
from metering.day_documents import (
    NO_PART,
    NOT_HELD,
    PART_OF,
    QUARTERS_A_DAY,
    SHARDS_GONE,
    day_path,
    days_between,
    number_of,
    stored_shards,
)
from metering.day_memory import NO_MEMORY, NO_SLOT, DayMemory, Recalled, StoredDay
from metering.errors import InvalidInput
from metering.questions import ALL_DAY, AnyQuestion, Question, Slots, Stretch
from metering.rollups import CELLS, QUARTER, VALUES, Amounts, Cell, Kind, beginning_of_day
from metering.settled_days import Answer, SettledDay, SettledRun
from metering.shards import SHARDS_MAX, ShardKey
from metering.stores import Document, DocumentStore, Query

DOCUMENTS_A_READ: Final = 100
SHARDS_A_READ: Final = 200
OPEN_SHARDS_MAX: Final = 20_000
OPEN_QUARTERS_MAX: Final = 400
DOCUMENTS_AN_ANSWER: Final = 100
DOCUMENTS_OF_WHO_ASKS: Final = 6  # of these
OPEN_ROOM_MIN: Final = 4
OPEN_FOR: Final = timedelta(hours=1)  # longer than any quarter hour is, where compaction runs

_DAY: Final = timedelta(days=1)
Group = TypeVar("Group", bound=Hashable)
Slot = TypeVar("Slot", bound=Hashable)

ShardCells = list[tuple[Cell, Amounts]]
_Open = dict[datetime, dict[int, ShardCells]]  # quarter hour → number of the shard → cells


class DayRollups(Protocol):
    """The cells of the kinds asked for in one UTC day or several, as far as they lie in the range."""

    def summed(self, question: Question[Slot, Group]) -> dict[tuple[Slot, Group], Amounts]:
        """What the question comes to, but for what another part of the range tells.

        Sums that are 0 are not named. Raises: ValueError, where questions were announced, and this is none.
        """


class _SeveralDays:
    """Whole days, of which is known what they come to together."""

    def __init__(self, told: Mapping[AnyQuestion, Answer], announced: Collection[AnyQuestion]) -> None:
        self._told = told
        self._announced = announced

    def summed(self, question: Question[Slot, Group]) -> dict[tuple[Slot, Group], Amounts]:
        _check(question, self._announced)
        return self._told.get(question, {})


class _Day(msgspec.Struct, frozen=True, kw_only=True):
    """One day: what is stored of it, or known; `told` questions are answered elsewhere."""

    day: datetime
    stored: StoredDay | None
    known: Mapping[AnyQuestion, Sequence[Recalled]] = {}
    slots: Mapping[AnyQuestion, Slots[Any]] = {}  # of what is stored, where these are known
    kinds: tuple[Kind, ...]  # of what is stored
    held: tuple[Stretch, ...]  # the quarter hours that count of what is stored
    opened: Sequence[tuple[int, ShardCells]]  # by the number of the quarter hour
    range: Stretch
    announced: Collection[AnyQuestion]
    told: Collection[AnyQuestion] = ()

    def summed(self, question: Question[Slot, Group]) -> dict[tuple[Slot, Group], Amounts]:
        _check(question, self.announced)
        found: dict[tuple[Slot, Group], Amounts] = {}
        if question in self.told:
            return found
        if question in self.known:
            for each in self.known[question]:
                _add_all(found, self.slots[question], cast("dict[tuple[int, Group], Amounts]", each.sums()))
        elif self.stored is not None and self.held:
            slots = self.slots.get(question) or Slots(self.day, self.held, question)
            for kind in self.kinds:
                sums = self.stored.summed(kind, slots.places, question.group_of, question.names)
                _add_all(found, slots, sums)
        if self.opened:
            _add_opened(found, self.opened, Slots(self.day, (self.range,), question), question)
        return found


def _check(question: AnyQuestion, announced: Collection[AnyQuestion]) -> None:
    if announced and question not in announced:
        raise ValueError("questions were announced, and this is none of them")


def _add_all(
    found: dict[tuple[Slot, Group], Amounts], slots: Slots[Slot], more: Mapping[tuple[int, Group], Amounts]
) -> None:
    for (number, group), sums in more.items():
        totals = found.setdefault((slots.named[number], group), sums)
        if totals is not sums:
            for name, amount in sums.items():
                totals[name] = totals.get(name, 0) + amount


def _add_opened(
    found: dict[tuple[Slot, Group], Amounts],
    opened: Sequence[tuple[int, ShardCells]],
    slots: Slots[Slot],
    question: Question[Slot, Group],
) -> None:
    for number, cells in opened:
        place = slots.places[number]
        if place == NO_SLOT:
            continue
        for cell, sums in cells:
            group = question.group_of(cell)
            wanted = sums if question.names is None else _only(sums, question.names)
            if group is not None and wanted:
                totals = found.setdefault((slots.named[place], group), {})
                for name, amount in wanted.items():
                    totals[name] = totals.get(name, 0) + amount


def _only(sums: Amounts, names: Collection[str]) -> Amounts:
    return {name: amount for name, amount in sums.items() if name in names}


def rollups_between(
    store: DocumentStore,
    account_id: str,
    start: datetime,
    end: datetime,
    *kinds: Kind,
    memory: DayMemory = NO_MEMORY,
    questions: Sequence[AnyQuestion] = (),
) -> Iterator[DayRollups]:
    """The account's cells of those kinds from `start` (inclusive) to `end`, whole quarter hours, in parts.

    Reads a document a UTC day, beside the open shards; so several kinds must be of one document. Where all
    `questions` are announced, days that have not changed since they were asked are told from memory. A store
    failure passes to the caller, and so does DayUnreadable: no figure is made up. Raises: InvalidInput, for
    more open shards than one answer reads.
    """
    return _Reader(store, account_id, start, end, kinds, memory, questions).all_days()


def open_room(*ranges: tuple[datetime, datetime]) -> int:
    """How many open documents an answer from these ranges may be made of, beside those of their days.

    So many that it is made of `DOCUMENTS_AN_ANSWER` in all; a few also where the days alone are as many.
    """
    days = sum(len(days_between(start, end)) for start, end in ranges)
    return max(OPEN_ROOM_MIN, DOCUMENTS_AN_ANSWER - DOCUMENTS_OF_WHO_ASKS - days - 2 * len(ranges))


class Within(NamedTuple):
    """A range's rollups up to `complete_to`, all of them, in at most so many documents.

    `opened` is how many were read beside those of the days.
    """

    complete_to: datetime
    opened: int
    days: Iterator[DayRollups]


def rollups_within(
    store: DocumentStore,
    account_id: str,
    start: datetime,
    end: datetime,
    *kinds: Kind,
    open_max: int,
    memory: DayMemory = NO_MEMORY,
    questions: Sequence[AnyQuestion] = (),
) -> Within:
    """As `rollups_between`, with at most `open_max` documents (and two more) beside those of the days.

    What these do not reach is left out: the last quarter hours of the range, until they are compacted. Where
    compaction is behind, and that were more than `OPEN_FOR`, all is read.
    """
    return _Reader(store, account_id, start, end, kinds, memory, questions).within(open_max)


def open_quarters(store: DocumentStore, account_id: str, start: datetime, end: datetime) -> set[datetime]:
    """The quarter hours of the range that have an open shard. Raises: InvalidInput, for too many.

    They are few, but may have many shards each: one document a quarter hour is read, and one more.
    """
    found: set[datetime] = set()
    while len(found) <= OPEN_QUARTERS_MAX:
        documents = store.query(open_shards_query(account_id, start, end, limit=1))
        if not documents:
            return found
        found.add(documents[0].fields["starts_at"])
        start = documents[0].fields["starts_at"] + QUARTER
        if start >= end:
            return found
    raise _too_much()


def shard_number(document: Document) -> int:
    """Which shard of its quarter hour the document is."""
    number: int = document.fields["shard"]
    return number


def shard_cells(document: Document, kinds: Collection[Kind] | None = None) -> ShardCells:
    """A shard's cells, of these kinds where they are given."""
    cells = []
    for stored in document.fields[CELLS].values():
        if kinds is not None and stored[VALUES][0] not in kinds:
            continue
        sums = dict(stored)
        cells.append((tuple(sums.pop(VALUES)), sums))
    return cells


def open_shards_query(
    account_id: str,
    start: datetime,
    end: datetime,
    after: tuple[datetime, str] | None = None,
    limit: int = DOCUMENTS_A_READ,
) -> Query:
    """The open shards of a range, by their quarter hour."""
    return Query(
        collection=quarters_collection(account_id),
        order_by="starts_at",
        at_least=start,
        below=end,
        after=after,
        limit=limit,
    )


def shards_named(account_id: str, quarter: datetime, shards: int) -> list[str]:
    """The paths of the shards whose numbers are the bits of `shards`."""
    return [
        ShardKey(account_id, quarter, number).path for number in range(SHARDS_MAX) if shards >> number & 1
    ]


def _held(shards: Sequence[int], first: int, end: int, reopened: Collection[int]) -> tuple[Stretch, ...]:
    """The stretches of these quarter hours that count as the day's document has them."""
    if first < end and NOT_HELD not in shards and not reopened:
        return ((first, end),)
    found: list[Stretch] = []
    for number in range(first, end):
        # What came after its quarter hour's shards were deleted is beside what the day holds of it.
        if shards[number] == SHARDS_GONE or (shards[number] != NOT_HELD and number not in reopened):
            begins = found.pop()[0] if found and found[-1][1] == number else number
            found.append((begins, number + 1))
    return tuple(found)


def _too_much() -> InvalidInput:
    return InvalidInput("that is more than one answer can sum up; ask for a shorter range", "start_time")


class _Reader:
    """One reading of a range."""

    def __init__(
        self,
        store: DocumentStore,
        account_id: str,
        start: datetime,
        end: datetime,
        kinds: tuple[Kind, ...],
        memory: DayMemory,
        questions: Sequence[AnyQuestion],
    ) -> None:
        self._questions = questions
        self._store = store
        self._account_id = account_id
        self._start = start
        self._end = end
        self._kinds = kinds
        self._memory = memory
        (self._part,) = {PART_OF[kind] for kind in kinds}
        self._opened = 0

    def within(self, open_max: int) -> Within:
        """The range up to where so many documents reach."""
        query = open_shards_query(self._account_id, self._start, self._end, limit=open_max + 1)
        found = self._store.query(query)
        self._opened = len(found)
        if len(found) > open_max:
            end = found[-1].fields["starts_at"]  # maybe not whole
            query = open_shards_query(self._account_id, end + OPEN_FOR, self._end, limit=1)
            if end + OPEN_FOR < self._end and self._store.query(query):
                return Within(self._end, self._opened, self.all_days())
            self._end = end
        opened: _Open = defaultdict(dict)
        for document in found:
            if document.fields["starts_at"] < self._end:
                opened[document.fields["starts_at"]][shard_number(document)] = self._cells(document)
        days = self.days(days_between(self._start, self._end), opened, open_max)
        return Within(self._end, self._opened, days)

    def all_days(self) -> Iterator[DayRollups]:
        """The range, however many shards are open in it."""
        days = days_between(self._start, self._end)
        for until, opened in self.open_shards():
            whole = [day for day in days if day + _DAY <= until]
            days = days[len(whole) :]
            if whole:
                yield from self.days(whole, opened)

    def open_shards(self) -> Iterator[tuple[datetime, _Open]]:
        """Moments, rising, with all open shards before them that were not handed out before."""
        opened: _Open = defaultdict(dict)
        after: tuple[datetime, str] | None = None
        for _ in range(0, OPEN_SHARDS_MAX, DOCUMENTS_A_READ):
            query = open_shards_query(self._account_id, self._start, self._end, after, DOCUMENTS_A_READ)
            found = self._store.query(query)
            for document in found:
                opened[document.fields["starts_at"]][shard_number(document)] = self._cells(document)
            if len(found) < DOCUMENTS_A_READ:
                yield beginning_of_day(self._end) + _DAY, opened
                return
            after = (found[-1].fields["starts_at"], found[-1].document_id)
            today = beginning_of_day(after[0])
            yield today, {quarter: shards for quarter, shards in opened.items() if quarter < today}
            opened = defaultdict(
                dict, {quarter: shards for quarter, shards in opened.items() if quarter >= today}
            )
        raise _too_much()

    def days(
        self, days: Sequence[datetime], opened: _Open, open_max: int | None = None
    ) -> Iterator[DayRollups]:
        """These days, read at once and unpacked one by one: compressed, a day is small."""
        paths = {day: day_path(self._account_id, day, self._part) for day in days}
        settled = self._settled(paths, opened)
        known = {paths[day]: each.revision for day, each in settled.items() if each.revision is not None}
        # A store failure passes to the caller.
        documents = self._store.get_many(list(paths.values()), known=known)
        held = {
            day: NO_PART.shards
            if day in settled or path not in documents
            else stored_shards(documents[path].fields)
            for day, path in paths.items()
        }
        opened = self._complete(opened, held, open_max)
        return self._told(paths, settled, documents, held, opened)

    def _told(
        self,
        paths: Mapping[datetime, str],
        settled: Mapping[datetime, SettledDay],
        documents: dict[str, Document],
        held: Mapping[datetime, tuple[int, ...]],
        opened: _Open,
    ) -> Iterator[DayRollups]:
        """The days in their order; those that follow one another settled and are known together, at once."""
        revisions = {path: document.revision for path, document in documents.items()}
        for is_settled, each in groupby(paths, lambda day: day in settled and day + _DAY <= self._end):
            days = list(each)
            if not is_settled:
                for day in days:
                    yield self._day(day, documents.pop(paths[day], None), held[day], opened)
                continue
            run = SettledRun([settled[day] for day in days], self._kinds, self._memory, self._questions)
            at = [revisions.get(paths[day], "") for day in days]
            told = run.found(at)
            if told:
                yield _SeveralDays(told, self._questions)
            if len(told) < len(self._questions):
                for day in days:
                    yield self._settled_day(settled[day], documents.pop(paths[day], None), told)
                run.keep(at, told)

    def _settled(self, paths: Mapping[datetime, str], opened: _Open) -> dict[datetime, SettledDay]:
        """The days of which all lies in the range and nothing is open, where questions are announced."""
        if not self._memory.has_room or not self._questions:
            return {}
        not_settled = {beginning_of_day(quarter) for quarter in opened}
        return {
            day: SettledDay(day, path, self._kinds, self._memory, self._questions)
            for day, path in paths.items()
            if self._start <= day and day + _DAY <= self._end and day not in not_settled
        }

    def _complete(
        self, opened: _Open, held_of: dict[datetime, tuple[int, ...]], open_max: int | None
    ) -> _Open:
        """The open quarter hours with all their shards, so that none of them is wanted from its day.

        Where there is a bound, the range ends before the first of the last that would be beyond it.
        """
        complete: _Open = {}
        paths: dict[str, datetime] = {}
        for quarter, shards in sorted(opened.items()):
            held = held_of[beginning_of_day(quarter)][number_of(quarter)]
            if held == NOT_HELD:
                complete[quarter] = shards
                continue
            numbers = held | sum(1 << number for number in shards)
            wanted_of = shards_named(self._account_id, quarter, numbers)
            is_recent = max(opened) - quarter < OPEN_FOR
            if open_max is not None and is_recent and self._opened + len(paths) + len(wanted_of) > open_max:
                self._end = quarter
                break
            complete[quarter] = {}
            paths |= dict.fromkeys(wanted_of, quarter)
        self._opened += len(paths)
        wanted = list(paths)
        for place in range(0, len(wanted), SHARDS_A_READ):
            found = self._store.get_many(wanted[place : place + SHARDS_A_READ])
            for path, document in found.items():
                complete[paths[path]][shard_number(document)] = self._cells(document)
        return complete

    def _day(
        self, day: datetime, document: Document | None, shards: Sequence[int], opened: _Open
    ) -> DayRollups:
        first = max(0, (self._start - day) // QUARTER)
        end = min(QUARTERS_A_DAY, (self._end - day) // QUARTER)
        reopened = {
            number_of(quarter): found for quarter, found in opened.items() if beginning_of_day(quarter) == day
        }
        return _Day(
            day=day,
            stored=None if document is None else StoredDay(document, self._kinds, self._memory),
            kinds=self._kinds,
            held=_held(shards, first, end, reopened),
            opened=[
                (number, cells)
                for number, found in reopened.items()
                if first <= number < end
                for cells in found.values()
            ],
            range=(first, end),
            announced=self._questions,
        )

    def _settled_day(
        self, day: SettledDay, document: Document | None, told: Collection[AnyQuestion]
    ) -> DayRollups:
        """The day, from what is known of it where its document still is as it was then."""
        is_known = document is not None and document.revision == day.revision
        has_fields = document is not None and not is_known
        return _Day(
            day=day.day,
            stored=StoredDay(document, self._kinds, self._memory) if document and has_fields else None,
            known=day.known if is_known else {},
            slots=day.slots,
            kinds=self._kinds,
            held=(ALL_DAY,),
            opened=(),
            range=ALL_DAY,
            announced=self._questions,
            told=told,
        )

    def _cells(self, document: Document) -> ShardCells:
        return shard_cells(document, self._kinds)
