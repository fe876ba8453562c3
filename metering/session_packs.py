"""Packs: sums of calls by session, team, app and model, made by compaction so that readers need no events.

An **hour's pack** is one document: rows for each of the hour's quarters, made anew from the segments of a
quarter hour before its shards leave the list of open ones (`metering.quarters`). So a quarter hour that has
no open shard is complete in its hour's pack.

A **day's pack** adds its hours up, once the UTC day is over. It counts in `changes` how often an hour of it
was packed, in the same commits, and says in `held` how far it goes: only where both are equal is it what its
hours are, and whoever packs an hour later takes that away again. No hour of a day without such a document
was ever packed.

Both have the room of a day's document: sessions that cost least beyond that are told in one sum, without
their names. Beside the rows stand that sum and checksums of the sessions, so that whoever looks for some of
them need not unpack what has none (`contents_of`). Packs lie in one collection, and go with the events they
tell of (`metering.retention`).
"""

import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import zstandard

from metering.collections import segments_collection, session_hours_collection
from metering.day_documents import (
    CONTENT_BYTES_MAX,
    FITTING_PERCENT,
    FITTINGS_MAX,
    Rows,
    Sheet,
    compressed,
    sheet_of,
)
from metering.errors import AlreadyExists, RevisionChanged, StoreError
from metering.events import CostEvent
from metering.ids import repeatable_digest
from metering.rollups import QUARTER, USAGE_SUMS, Amounts, Cell, is_error, quarter_of
from metering.segments import stored_events
from metering.stores import Create, Document, DocumentStore, Increment, Put, Query

PACK_ATTEMPTS_MAX: Final = 3
SEGMENTS_A_READ: Final = 50
SEGMENTS_A_QUARTER_MAX: Final = 20_000
ROWS_A_QUARTER_MAX: Final = 100_000
HOURS_A_DAY: Final = 24
CHECKSUMS_MAX: Final = (
    25_000  # beside the rows, within a document; a pack of more sessions is always unpacked
)

SESSION_SUMS: Final = ("requests", "errors", *USAGE_SUMS, "cost_nanodollars", "saved_nanodollars")
NAMELESS: Final[Cell] = ("", "", "", "")  # session, team, app, model of those beyond the bound
FIRST, LAST = "first_ms", "last_ms"  # admissions, counted from the pack's beginning; no sums, but ends

_HOUR: Final = timedelta(hours=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DECODER: Final = msgspec.msgpack.Decoder(Sheet)


class PackUnreadable(StoreError):
    """A pack is not as it was written; nothing is read from it or put into it."""


def pack_sessions(store: DocumentStore, account_id: str, quarters: Iterable[datetime]) -> int:
    """Make the packs of these quarter hours hold what their segments hold now; how many were written.

    Raises: RevisionChanged or AlreadyExists, when others made the same pack each time: make it again later.
    Other store failures pass to the caller: the packs that were written are right as they are.
    """
    hours: dict[datetime, list[datetime]] = defaultdict(list)
    for quarter in quarters:
        hours[quarter.replace(minute=0)].append(quarter)
    return sum(_pack(store, account_id, hour, its) for hour, its in hours.items())


def pack_day(store: DocumentStore, account_id: str, day: datetime) -> bool:
    """Add the packed hours of a UTC day up, where that is not done; whether it was now.

    False also where an hour was packed meanwhile: the next run does it again. Raises: PackUnreadable. Store
    failures pass to the caller: readers go on with the hours.
    """
    path = day_pack_path(account_id, day)
    # The day's revision is read before its hours: whoever packs one of them later changes it.
    document = store.get(path)
    if document is None or holds_its_hours(document):
        return False
    paths = {pack_path(account_id, hour): hour for hour in hours_of(day)}
    rows: Rows = {}
    for hour_path, pack in store.get_many(list(paths)).items():
        offset = (paths[hour_path] - day) // _MILLISECOND
        for (cell, _), sums in stored_sheet(pack).rows().items():
            moved = sums | {FIRST: sums.get(FIRST, 0) + offset, LAST: sums.get(LAST, 0) + offset}
            _merge(rows.setdefault((cell, 0), {}), moved)
    changes = document.fields["changes"]
    fields = {"hour": day_text(day), "changes": changes, "held": changes, **_packed(rows)}
    try:
        store.commit([Put(path, fields, document.revision)])
    except RevisionChanged:
        return False
    return True


def holds_its_hours(day_pack: Document) -> bool:
    """Whether the day's pack is what its hours are now."""
    return bool(day_pack.fields.get("held") == day_pack.fields["changes"])


def pack_path(account_id: str, hour: datetime) -> str:
    """Where the sessions of that hour are packed."""
    return f"{session_hours_collection(account_id)}/{repeatable_digest('session_hour', hour.isoformat())}"


def day_pack_path(account_id: str, day: datetime) -> str:
    """Where the sessions of that UTC day are packed."""
    return f"{session_hours_collection(account_id)}/{repeatable_digest('session_day', day.isoformat())}"


def hours_of(day: datetime) -> list[datetime]:
    """The hours of a UTC day."""
    return [day + number * _HOUR for number in range(HOURS_A_DAY)]


def hour_text(moment: datetime) -> str:
    """How a pack names the UTC hour that the moment lies in; rises with time."""
    return f"{moment:%Y-%m-%dT%H}"


def day_text(day: datetime) -> str:
    """How a day's pack names its day: behind all of its hours, so that it goes when the last of them does."""
    return f"{day:%Y-%m-%d}T{HOURS_A_DAY}"


def stored_sheet(pack: Document) -> Sheet:
    """The rows of a pack. Raises: PackUnreadable."""
    try:
        content = zstandard.ZstdDecompressor().decompress(pack.fields["packed"], CONTENT_BYTES_MAX)
        return _DECODER.decode(content)
    except (KeyError, TypeError, zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise PackUnreadable("sessions are not packed as they were written") from error


class Contents(NamedTuple):
    """What a pack says of itself without being unpacked: checksums of its sessions, and the nameless sum."""

    checksums: frozenset[int]
    nameless: Amounts


def contents_of(pack: Document) -> Contents | None:
    """What the pack says of itself; None where it does not, and has to be unpacked."""
    checksums, nameless = pack.fields.get("checksums"), pack.fields.get("nameless")
    if not isinstance(checksums, bytes) or not isinstance(nameless, dict):
        return None
    return Contents(frozenset(struct.unpack(f"<{len(checksums) // 4}I", checksums)), nameless)


def checksum(session_id: str) -> int:
    """By which packs that do not have the session are told, nearly always."""
    return zlib.crc32(session_id.encode())


def rows_of(events: Iterable[CostEvent], beginning: datetime) -> Rows:
    """The rows of these events by the quarter hours after `beginning`; calls without a session have none."""
    rows: Rows = {}
    for event in events:
        if not event.session_id:
            continue
        cell = (event.session_id, event.team, event.app, event.model)
        at = (event.timestamp - beginning) // _MILLISECOND
        sums = {name: getattr(event, name) for name in SESSION_SUMS[2:]}
        sums |= {"requests": 1, "errors": int(is_error(event)), FIRST: at, LAST: at}
        _merge(rows.setdefault((cell, (quarter_of(event.timestamp) - beginning) // QUARTER), {}), sums)
    return rows


def segments_of(store: DocumentStore, account_id: str, quarter: datetime, most: int) -> Iterator[Document]:
    """The quarter hour's segments, at most so many."""
    after: tuple[datetime, str] | None = None
    while most > 0:
        query = Query(
            collection=segments_collection(account_id),
            order_by="last_at",
            at_least=quarter,
            below=quarter + QUARTER,
            after=after,
            limit=min(SEGMENTS_A_READ, most),
        )
        found = store.query(query)
        yield from found
        if len(found) < query.limit:
            return
        most -= len(found)
        after = (found[-1].fields["last_at"], found[-1].document_id)


def _pack(store: DocumentStore, account_id: str, hour: datetime, quarters: Sequence[datetime]) -> bool:
    path = pack_path(account_id, hour)
    day = hour.replace(hour=0)
    is_changed = Increment(
        day_pack_path(account_id, day), {("changes",): 1}, merge={("hour",): day_text(day)}
    )
    numbers = {(quarter - hour) // QUARTER for quarter in quarters}
    for attempt in range(PACK_ATTEMPTS_MAX):
        # The pack's revision is read before the segments: whoever packs later has seen no fewer of them.
        document = store.get(path)
        rows: Rows = {}
        if document is not None:
            kept = stored_sheet(document).rows()
            rows = {key: sums for key, sums in kept.items() if key[1] not in numbers}
        for quarter in quarters:
            rows |= _quarter_rows(store, account_id, hour, quarter)
        if not rows and document is None:
            return False
        fields: Mapping[str, Any] = {"hour": hour_text(hour), **_packed(rows)}
        put = Create(path, fields) if document is None else Put(path, fields, document.revision)
        try:
            store.commit([put, is_changed])
        except (AlreadyExists, RevisionChanged):
            if attempt == PACK_ATTEMPTS_MAX - 1:
                raise
        else:
            return True
    raise AssertionError("the last attempt returns or raises")


def _quarter_rows(store: DocumentStore, account_id: str, hour: datetime, quarter: datetime) -> Rows:
    rows: Rows = {}
    for document in segments_of(store, account_id, quarter, SEGMENTS_A_QUARTER_MAX):
        if document.fields["session_ids"]:
            for key, sums in rows_of(stored_events(document.fields), hour).items():
                place = key if key in rows or len(rows) < ROWS_A_QUARTER_MAX else (NAMELESS, key[1])
                _merge(rows.setdefault(place, {}), sums)
    return rows


def _merge(totals: Amounts, sums: Mapping[str, int]) -> None:
    first, last = sums.get(FIRST, 0), sums.get(LAST, 0)
    first, last = min(totals.get(FIRST, first), first), max(totals.get(LAST, last), last)
    for name, amount in sums.items():
        totals[name] = totals.get(name, 0) + amount
    totals[FIRST], totals[LAST] = first, last


def _packed(rows: Rows) -> dict[str, Any]:
    """The pack's fields; the cheapest sessions are without their names where not all have room."""
    content, percent = compressed(sheet_of(rows))
    for _ in range(FITTINGS_MAX):
        if percent <= 100:
            break
        rows = _dearest(rows, len(rows) * FITTING_PERCENT // percent)
        content, percent = compressed(sheet_of(rows))
    if percent > 100:
        rows = _dearest(rows, 0)
        content, _ = compressed(sheet_of(rows))
    return {"packed": content, **_contents(rows)}


def _contents(rows: Rows) -> dict[str, Any]:
    nameless: Amounts = {}
    sessions = set()
    for (cell, _), sums in rows.items():
        if cell == NAMELESS:
            for name in SESSION_SUMS:
                nameless[name] = nameless.get(name, 0) + sums.get(name, 0)
        else:
            sessions.add(cell[0])
    checksums = sorted({checksum(session_id) for session_id in sessions})
    if len(checksums) > CHECKSUMS_MAX:
        return {}
    return {"checksums": struct.pack(f"<{len(checksums)}I", *checksums), "nameless": nameless}


def _dearest(rows: Rows, most: int) -> Rows:
    ordered = sorted(rows, key=lambda key: (key[0] == NAMELESS, -rows[key].get("cost_nanodollars", 0), key))
    kept = {key: rows[key] for key in ordered[:most]}
    for key in ordered[most:]:
        _merge(kept.setdefault((NAMELESS, key[1]), {}), rows[key])
    return kept
