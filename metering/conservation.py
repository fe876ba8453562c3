"""Law 5: of the calls that were admitted, each is settled, still in flight, or lost.

What an instance admitted for an account on a UTC day (of admission) is kept beside what of it is stored: one
document an instance and day, its **count**, written in the same atomic commit as the segment.

| field | who writes it | how |
|---|---|---|
| `settled`, `lost` | whoever stores the events, also recovery | added to: each event once, as it is stored |
| `admitted` | the instance alone | as it stands there, replaced each time |

Instances come and go, so a day may have many counts. Compaction puts those that nobody wrote to for a while
into one document of the day (`fold_counts`); their own stay, as what recovery adds to. A count that has an
`open_day` is to be read; folding takes that away, on condition that the count is as it was read, and every
commit puts it back. So a reader takes the open ones as they are, and all others from the day's document.

In flight is what is left: `admitted - settled - lost`. Once an instance is gone and its journal is drained,
that is 0, or a call vanished. A killed instance may not have written its last `admitted`: what it stored
beyond was admitted, too.

Counted are calls that may cost money: not those refused or answered from memory, and no items of batches,
which nobody admitted one by one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from metering.collections import counts_collection
from metering.errors import AlreadyExists, DocumentMissing, RevisionChanged
from metering.events import CostEvent
from metering.ids import repeatable_digest
from metering.rollups import BATCH_TIER
from metering.stores import Create, Document, DocumentStore, FieldPath, Increment, Put, Query, Update

ACCOUNTS_A_DAY_MAX = 100_000
COUNTS_A_READ = 300
COUNTS_READ_MAX = 30_000
QUIET_FOR = timedelta(minutes=15)
FOLDED_AT = 10  # so many quiet ones of a day are worth a commit; all are once it is over
FOLDED_A_COMMIT_MAX = 300
FOLDED_A_DAY_MAX = 10_000  # what a document has room for; later ones stay open

Count = tuple[int, int, int]  # settled, lost and admitted, as an instance's own count says

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(dict[str, Count])
_NEVER_ADMITTED = frozenset({"refused", "cache_hit"})
_SETTLED: FieldPath = ("settled",)
_LOST: FieldPath = ("lost",)


def day_of(moment: datetime) -> str:
    """The UTC day of the moment, aware UTC, as counts and checks name it: `2026-11-21`."""
    return moment.date().isoformat()


class Admissions:
    """How many calls this instance admitted, by account and UTC day of admission.

    Counted on one thread, read on any. Two days are kept. Accounts beyond `ACCOUNTS_A_DAY_MAX` are not
    counted, and a count without `admitted` is complete by definition.
    """

    def __init__(self) -> None:
        self._days: dict[date, dict[str, int]] = {}

    def note(self, account_id: str, at: datetime) -> None:
        """A call of the account was admitted at that moment."""
        day = at.date()
        counts = self._days.get(day)
        if counts is None:
            kept = sorted(self._days)[-1:]
            counts = {}
            self._days = {each: self._days[each] for each in kept} | {day: counts}
        if account_id in counts or len(counts) < ACCOUNTS_A_DAY_MAX:
            counts[account_id] = counts.get(account_id, 0) + 1

    def of(self, account_id: str, day: str) -> int | None:
        """How many calls of the account were admitted that day; None where that is not known (any more)."""
        return self._days.get(date.fromisoformat(day), {}).get(account_id)


class DayCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the calls that were admitted on one UTC day."""

    day: str
    settled: int = 0
    lost: int = 0
    in_flight: int = 0
    is_complete: bool = True  # False: of some instances only

    @property
    def admitted(self) -> int:
        """All of them."""
        return self.settled + self.lost + self.in_flight


def calls_of(events: Iterable[CostEvent]) -> tuple[int, int]:
    """How many calls that were admitted one by one the events are of: settled ones, and lost ones."""
    settled = lost = 0
    for event in events:
        if event.state == "lost":
            lost += 1
        elif event.state not in _NEVER_ADMITTED and not _is_item_of_batch(event):
            settled += 1
    return settled, lost


def _is_item_of_batch(event: CostEvent) -> bool:
    """Whether nobody waited for it."""
    return event.service_tier == BATCH_TIER and event.state == "completed" and event.latency_ms == 0


def count_writes(
    account_id: str,
    instance: str,
    events: Sequence[CostEvent],
    *,
    admitted: int | None = None,
    now: datetime,
) -> list[Increment]:
    """What storing these events, all of one day, adds to their instance's count; nothing where none counts.

    `admitted` is for the instance itself to give.
    """
    settled, lost = calls_of(events)
    if not (settled or lost):
        return []
    day = day_of(events[0].timestamp)
    merge: dict[FieldPath, Any] = {
        ("instance",): instance,
        ("day",): day,
        ("open_day",): day,
        ("written_at",): now,
    }
    if admitted is not None:
        merge[("admitted",)] = admitted
    path = f"{counts_collection(account_id)}/{repeatable_digest('count', instance, day)}"
    return [Increment(path, {_SETTLED: settled, _LOST: lost}, merge)]


def counts_by_day(
    store: DocumentStore, account_id: str, first: date, last: date, *, open_max: int = COUNTS_READ_MAX
) -> list[DayCounts]:
    """What became of the account's calls, by UTC day of admission, both days included; all days are there.

    Reads a document a day, and those of instances that were at work lately, at most `open_max`; a day that
    has more of these says so. A store failure passes to the caller: no figure is made up.
    """
    # The order matters: what is folded in between is known from both, and counted from one.
    opened = [each.fields for each in _open_counts(store, account_id, first, last, open_max + 1)]
    incomplete_from = opened.pop()["day"] if len(opened) > open_max else None
    days = [date.fromordinal(number).isoformat() for number in range(first.toordinal(), last.toordinal() + 1)]
    paths = {day: day_counts_path(account_id, day) for day in days}
    folded = store.get_many(list(paths.values()))
    counts = {day: _folded(folded.get(path)) for day, path in paths.items()}
    for fields in opened:
        counts[fields["day"]][fields["instance"]] = _count(fields)
    return [
        _day_counts(day, counts[day].values(), is_complete=incomplete_from is None or day < incomplete_from)
        for day in days
    ]


def fold_counts(store: DocumentStore, account_id: str, day: date, now: datetime) -> int:
    """Put the counts of quiet instances into their day's document; how many.

    Fewer than were quiet where others wrote meanwhile, or there are very many: the next run goes on. A store
    failure passes to the caller: what was not folded is read as before.
    """
    path = day_counts_path(account_id, day.isoformat())
    opened = _open_counts(store, account_id, day, day, COUNTS_READ_MAX)
    quiet = [each for each in opened if each.fields["written_at"] <= now - QUIET_FOR][:FOLDED_A_COMMIT_MAX]
    if len(quiet) < FOLDED_AT and (not quiet or day_of(now - QUIET_FOR) <= day.isoformat()):
        return 0
    document = store.get(path)
    counts = _folded(document) | {each.fields["instance"]: _count(each.fields) for each in quiet}
    if len(counts) > FOLDED_A_DAY_MAX:
        return 0
    fields = {"day": day.isoformat(), "instances": _ENCODER.encode(counts)}
    put = Create(path, fields) if document is None else Put(path, fields, document.revision)
    closing = [Update(each.path, {"open_day": None}, each.revision) for each in quiet]
    try:
        store.commit([put, *closing])
    except (AlreadyExists, RevisionChanged, DocumentMissing):
        return 0
    return len(quiet)


def day_counts_path(account_id: str, day: str) -> str:
    """Where the folded counts of that day are kept."""
    return f"{counts_collection(account_id)}/{repeatable_digest('day_counts', day)}"


def _count(fields: Mapping[str, Any]) -> Count:
    return fields["settled"], fields["lost"], fields.get("admitted", 0)


def _folded(document: Document | None) -> dict[str, Count]:
    """Counts by instance."""
    return {} if document is None else _DECODER.decode(document.fields["instances"])


def _day_counts(day: str, counts: Iterable[Count], *, is_complete: bool) -> DayCounts:
    settled = lost = in_flight = 0
    for its_settled, its_lost, its_admitted in counts:
        settled += its_settled
        lost += its_lost
        in_flight += max(0, its_admitted - its_settled - its_lost)
    return DayCounts(day=day, settled=settled, lost=lost, in_flight=in_flight, is_complete=is_complete)


def _open_counts(
    store: DocumentStore, account_id: str, first: date, last: date, most: int
) -> Iterator[Document]:
    after: tuple[str, str] | None = None
    while most > 0:
        query = Query(
            collection=counts_collection(account_id),
            order_by="open_day",
            at_least=first.isoformat(),
            below=date.fromordinal(last.toordinal() + 1).isoformat(),
            after=after,
            limit=min(most, COUNTS_A_READ),
        )
        found = store.query(query)
        yield from found
        if len(found) < query.limit:
            return
        most -= len(found)
        after = (found[-1].fields["open_day"], found[-1].document_id)
