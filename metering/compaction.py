"""Compaction: closed quarter hours are added up into one pair of documents a UTC day.

A run goes through the open days of all accounts (`metering.active_days`) and takes what shards are open there
(`metering.quarters`), of quarter hours that ended a while ago: their sums replace what the day held of those
quarter hours, and in the same commit the shards stop being open, each on condition that it is still as it was
read. Whoever commits events in between makes that commit fail, and it is made again. So it may run at any
time, twice, and on several machines at once; a run that dies leaves nothing half done, and a day whose time
has come to be closed is opened anew by whatever comes late.

The waiting is economy, not correctness: a shard that is compacted early is only compacted twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from metering.active_days import CLOSED_AFTER, ActiveDay, active_days
from metering.clock import Clock
from metering.conservation import fold_counts
from metering.day_documents import (
    NO_PART,
    NOT_HELD,
    PARTS,
    QUARTERS_A_DAY,
    SHARDS_GONE,
    DayPart,
    DayUnreadable,
    Part,
    Rows,
    added_up,
    day_path,
    number_of,
    part_fields,
    stored_part,
)
from metering.errors import AlreadyExists, DocumentMissing, RevisionChanged
from metering.ids import repeatable_digest
from metering.quarters import open_shards_query, shard_cells, shard_number, shards_named
from metering.rollups import QUARTER, Kind, quarter_of
from metering.session_packs import PackUnreadable, pack_day, pack_sessions
from metering.stores import Create, Delete, Document, DocumentStore, Put, Update, Write

SETTLED_AFTER: Final = timedelta(minutes=15)  # from a quarter hour's end to its compaction
SHARDS_A_COMMIT: Final = 128  # eight whole quarter hours of the widest account
ATTEMPTS_MAX: Final = 3
RUN_SECONDS_MAX: Final = 240.0
SHARDS_KEPT: Final = timedelta(days=8)  # longer than recovery accepts lines of the journal
QUARTERS_A_DELETION: Final = 18  # at most 288 shards a commit

_DAY: Final = timedelta(days=1)


class CompactionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did: quarter hours and shards put into their days' documents, days closed, counts folded.

    `overtaken`: commits given up since events kept coming; `unreadable`: days whose documents are damaged;
    `days_left`: 1 where the time was over before the last day. The next run goes on with all of them.
    """

    days: int = 0
    quarters: int = 0
    shards: int = 0
    days_closed: int = 0
    counts: int = 0
    overtaken: int = 0
    unreadable: int = 0
    days_left: int = 0


class DeletionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run deleted: shards, and days that have none any more. `days_left` as in compaction."""

    shards: int = 0
    days: int = 0
    days_left: int = 0


class DayCompacted(msgspec.Struct, frozen=True, kw_only=True):
    """What was put into one day's documents."""

    quarters: int = 0
    shards: int = 0
    overtaken: int = 0


def run(store: DocumentStore, clock: Clock) -> CompactionReport:
    """Compact what is due, of all accounts. Safe to repeat, and at once with others.

    A store failure passes to the caller: what was committed stays, the next run does the rest. Runs begin at
    different accounts, so that one that ends early keeps none waiting for ever.
    """
    report = CompactionReport()
    deadline = clock.monotonic() + RUN_SECONDS_MAX
    for day in active_days(store, "open", begin_at=_somewhere(clock)):
        if clock.monotonic() > deadline:
            return _plus(report, days_left=1)
        try:
            done = compact_day(store, day.account_id, day.day, clock.now())
            if clock.now() >= day.ends_at + SETTLED_AFTER:
                pack_day(store, day.account_id, day.day)
            counts = fold_counts(store, day.account_id, day.day.date(), clock.now())
        except (DayUnreadable, PackUnreadable):
            report = _plus(report, days=1, unreadable=1)
            continue
        closed = done == DayCompacted() and _close(store, day, clock.now())
        done_of_day = {"days_closed": int(closed), "counts": counts, **msgspec.structs.asdict(done)}
        report = _plus(report, days=1, **done_of_day)
    return report


def compact_day(store: DocumentStore, account_id: str, day: datetime, now: datetime) -> DayCompacted:
    """Put the open shards of an account's UTC day, as far as their time has come, into its documents.

    Raises: DayUnreadable, PackUnreadable.
    """
    done = DayCompacted()
    start, horizon = day, min(day + _DAY, quarter_of(now - SETTLED_AFTER))
    while start < horizon:  # each turn moves it on by a quarter hour at least
        put, start = _put_first(store, account_id, day, start, horizon)
        done = DayCompacted(
            quarters=done.quarters + put.quarters,
            shards=done.shards + put.shards,
            overtaken=done.overtaken + put.overtaken,
        )
    return done


def delete_old_shards(store: DocumentStore, clock: Clock) -> DeletionReport:
    """Delete the shards of days that were compacted `SHARDS_KEPT` ago; their documents stay.

    Safe to repeat, and at once with others. A store failure passes to the caller.
    """
    report = DeletionReport()
    deadline = clock.monotonic() + RUN_SECONDS_MAX
    for day in active_days(store, "compacted", begin_at=_somewhere(clock)):
        if clock.monotonic() > deadline:
            return DeletionReport(shards=report.shards, days=report.days, days_left=1)
        if day.compacted_at is not None and clock.now() >= day.compacted_at + SHARDS_KEPT:
            shards, is_over = _delete_shards(store, day)
            report = DeletionReport(shards=report.shards + shards, days=report.days + is_over)
    return report


def _somewhere(clock: Clock) -> str:
    return repeatable_digest("begin", clock.now().isoformat())


def _plus(report: CompactionReport, **more: int) -> CompactionReport:
    sums = {name: getattr(report, name) + amount for name, amount in more.items()}
    return msgspec.structs.replace(report, **sums)


def _put_first(
    store: DocumentStore, account_id: str, day: datetime, start: datetime, end: datetime
) -> tuple[DayCompacted, datetime]:
    """Put the first open quarter hours of the range into the day; from where on there may be more."""
    put = DayCompacted()
    following = end
    for _ in range(ATTEMPTS_MAX):
        batch = _first_open(store, account_id, start, end)
        if not batch:
            return DayCompacted(), end
        following = max(batch) + QUARTER
        put = _put_into_day(store, account_id, day, batch)
        if not put.overtaken:
            break
    return put, following


def _first_open(
    store: DocumentStore, account_id: str, start: datetime, end: datetime
) -> dict[datetime, list[Document]]:
    """The first quarter hours of the range that have open shards, with all of these."""
    found = store.query(open_shards_query(account_id, start, end, limit=SHARDS_A_COMMIT))
    if len(found) == SHARDS_A_COMMIT:
        last = found[-1].fields["starts_at"]  # maybe not whole
        found = [document for document in found if document.fields["starts_at"] < last]
    quarters: dict[datetime, list[Document]] = {}
    for document in found:
        quarters.setdefault(document.fields["starts_at"], []).append(document)
    return quarters


def _put_into_day(
    store: DocumentStore, account_id: str, day: datetime, batch: Mapping[datetime, Sequence[Document]]
) -> DayCompacted:
    """Put these quarter hours into the day. The order of reading is that of `quarters`."""
    paths = {part: day_path(account_id, day, part) for part in PARTS}
    documents = store.get_many(list(paths.values()))
    stored = {part: documents.get(path) for part, path in paths.items()}
    parts = {
        part: NO_PART if document is None else stored_part(document.fields)
        for part, document in stored.items()
    }
    shards = list(parts["main"].shards)
    whole = _whole(store, account_id, shards, batch)
    if not whole:
        return DayCompacted()
    for quarter, found in whole.items():
        shards[number_of(quarter)] = sum(1 << shard_number(document) for document in found)
    writes: list[Write] = []
    for part, path in paths.items():
        fields = part_fields(day, shards, _rows(part, parts[part], whole))
        document = stored[part]
        writes.append(Create(path, fields) if document is None else Put(path, fields, document.revision))
    closing = [document for found in whole.values() for document in found if document.fields["starts_at"]]
    writes += [Update(document.path, {"starts_at": None}, document.revision) for document in closing]
    try:
        # Packs come first: a quarter hour without open shards is complete in its pack, too.
        pack_sessions(
            store, account_id, [quarter for quarter, found in whole.items() if _has_sessions(found)]
        )
        # An unknown outcome passes to the caller; the next run finds the shards open, or has nothing to do.
        store.commit(writes)
    except (AlreadyExists, RevisionChanged, DocumentMissing):
        return DayCompacted(overtaken=1)
    return DayCompacted(quarters=len(whole), shards=len(closing))


def _whole(
    store: DocumentStore,
    account_id: str,
    shards: Sequence[int],
    batch: Mapping[datetime, Sequence[Document]],
) -> dict[datetime, Sequence[Document]]:
    """The quarter hours with all their shards, but for those whose shards are gone: they stay as they are."""
    whole: dict[datetime, Sequence[Document]] = {}
    for quarter, found in batch.items():
        held = shards[number_of(quarter)]
        if held == NOT_HELD:
            whole[quarter] = found
        elif held != SHARDS_GONE:
            numbers = held | sum(1 << shard_number(document) for document in found)
            paths = shards_named(account_id, quarter, numbers)
            whole[quarter] = list(store.get_many(paths).values())
    return whole


def _has_sessions(shards: Iterable[Document]) -> bool:
    return any(document.fields.get("has_sessions") for document in shards)


def _rows(part: Part, stored: DayPart, whole: Mapping[datetime, Sequence[Document]]) -> dict[Kind, Rows]:
    """What the part is to hold: as it did, but for the quarter hours that are put in."""
    replaced = {number_of(quarter) for quarter in whole}
    rows: dict[Kind, Rows] = {}
    for kind in PARTS[part]:
        sheet = stored.sheets.get(kind)
        kept = {} if sheet is None else sheet.rows()
        rows[kind] = {key: sums for key, sums in kept.items() if key[1] not in replaced}
    for quarter, found in whole.items():
        number = number_of(quarter)
        cells = [each for document in found for each in shard_cells(document)]
        for kind in PARTS[part]:
            rows[kind] |= added_up(((cell, number), sums) for cell, sums in cells if cell[0] == kind)
    return rows


def _close(store: DocumentStore, day: ActiveDay, now: datetime) -> bool:
    """Take a day without open shards off the list of open ones, if it ended long ago."""
    if now < day.ends_at + CLOSED_AFTER:
        return False
    try:
        store.commit([day.put("compacted", now)])
    except RevisionChanged:
        return False  # opened anew, or closed by another run
    return True


def _delete_shards(store: DocumentStore, day: ActiveDay) -> tuple[int, bool]:
    """How many shards of the day were deleted, and whether it has none any more."""
    deleted = 0
    for first in range(0, QUARTERS_A_DAY, QUARTERS_A_DELETION):
        deleted += _delete_quarters(
            store, day, range(first, min(QUARTERS_A_DAY, first + QUARTERS_A_DELETION))
        )
    document = store.get(day_path(day.account_id, day.day, "main"))
    if document is None or any(held > SHARDS_GONE for held in stored_part(document.fields).shards):
        return deleted, False
    try:
        store.commit([day.put("shards_gone")])
    except RevisionChanged:
        return deleted, False  # opened anew
    return deleted, True


def _delete_quarters(store: DocumentStore, day: ActiveDay, numbers: range) -> int:
    """Delete the shards of these quarter hours, and say so in the day's documents; how many they were."""
    documents = store.get_many([day_path(day.account_id, day.day, part) for part in PARTS])
    if len(documents) < len(PARTS):
        return 0
    shards = list(stored_part(next(iter(documents.values())).fields).shards)
    paths = {
        path: number
        for number in numbers
        if shards[number] > SHARDS_GONE
        for path in shards_named(day.account_id, day.day + number * QUARTER, shards[number])
    }
    found = store.get_many(list(paths)) if paths else {}
    opened = {paths[path] for path, document in found.items() if document.fields["starts_at"]}
    closed = {path: document for path, document in found.items() if paths[path] not in opened}
    for number in {*paths.values()} - opened:
        shards[number] = SHARDS_GONE
    if not closed:
        return 0
    writes: list[Write] = [
        Update(document.path, {"shards": shards}, document.revision) for document in documents.values()
    ]
    writes += [Delete(path, document.revision) for path, document in closed.items()]
    try:
        store.commit(writes)
    except (RevisionChanged, DocumentMissing):
        return 0  # something came late, or another run was first; the next run sees
    return len(closed)
