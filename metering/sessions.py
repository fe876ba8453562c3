"""Sessions: what the calls that share a session id came to, without reading every event again.

**Packs.** An hour of an account's sessions is one document: rows by session, team, app and model for each of
the hour's quarters. Compaction makes them anew from the segments of a quarter hour, before it takes the
quarter hour's shards off the list of open ones (`metering.quarters`). So a quarter hour that has no open
shard is complete in its pack, and readers take the events of the others from segments.

A pack has the room of a day's document: sessions that cost least beyond that are told in one sum, without
their names. One session's calls, one by one, are found by `event_pages` through its id.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

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
from metering.errors import AlreadyExists, InvalidInput, RevisionChanged, StoreError
from metering.events import CostEvent
from metering.ids import repeatable_digest
from metering.quarters import open_quarters
from metering.rollups import QUARTER, USAGE_SUMS, Amounts, Cell, is_error, quarter_of
from metering.segments import stored_events
from metering.stores import Create, Document, DocumentStore, Put, Query

PACK_ATTEMPTS_MAX: Final = 3
PACKS_A_READ: Final = 100
SEGMENTS_A_READ: Final = 50
SEGMENTS_A_QUARTER_MAX: Final = 20_000
SEGMENTS_OF_OPEN_QUARTERS_MAX: Final = 2_000
ROWS_A_QUARTER_MAX: Final = 100_000
RANGE_MAX: Final = timedelta(days=7)
SESSIONS_MAX: Final = 1_000

SESSION_SUMS: Final = ("requests", "errors", *USAGE_SUMS, "cost_nanodollars", "saved_nanodollars")

_HOUR: Final = timedelta(hours=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_NAMELESS: Final[Cell] = ("", "", "", "")  # session, team, app, model of those beyond the bound
_FIRST, _LAST = "first_ms", "last_ms"  # admissions, counted from the hour's beginning; no sums, but ends
_DECODER: Final = msgspec.msgpack.Decoder(Sheet)


class PackUnreadable(StoreError):
    """An hour's pack is not as it was written; nothing is read from it or put into it."""


class SessionSums(msgspec.Struct, frozen=True, kw_only=True):
    """What one session came to in a range: `SESSION_SUMS`, and the first and last admission."""

    session_id: str
    teams: tuple[str, ...]
    apps: tuple[str, ...]
    models: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    sums: Amounts


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions of a range of whole quarter hours, latest first.

    `nameless` sums up those that no pack had room for by name. `is_complete` is False where quarter hours
    that are not packed yet have more segments than one answer reads.
    """

    start: datetime
    end: datetime
    sessions: tuple[SessionSums, ...]
    nameless: Amounts
    is_complete: bool


def pack_sessions(store: DocumentStore, account_id: str, quarters: Iterable[datetime]) -> int:
    """Make the packs of these quarter hours hold what their segments hold now; how many were written.

    Raises: RevisionChanged or AlreadyExists, when others made the same pack each time: make it again later.
    Other store failures pass to the caller: the packs that were written are right as they are.
    """
    hours: dict[datetime, list[datetime]] = defaultdict(list)
    for quarter in quarters:
        hours[quarter.replace(minute=0)].append(quarter)
    return sum(_pack(store, account_id, hour, its) for hour, its in hours.items())


def sessions_between(
    store: DocumentStore,
    account_id: str,
    start: datetime,
    end: datetime,
    *,
    teams: Sequence[str] = (),
    apps: Sequence[str] = (),
    limit: int = 50,
) -> SessionReport:
    """The account's sessions with calls in the range, widened to whole quarter hours.

    `teams` and `apps` pass any of their values; none given passes all. A store failure passes to the caller.
    Raises: InvalidInput, for a range beyond `RANGE_MAX`.
    """
    if not timedelta(0) < end - start <= RANGE_MAX:
        raise InvalidInput(f"ask for at most {RANGE_MAX.days} days", "start_time")
    start, end = quarter_of(start), quarter_of(end - timedelta(microseconds=1)) + QUARTER
    found = _Sessions(teams, apps)
    # The order matters: what is packed in between is read from both places, and counted from one.
    opened = open_quarters(store, account_id, start, end)
    for hour, sheet in _packs(store, account_id, start, end):
        for (cell, number), sums in sheet.rows().items():
            quarter = hour + number * QUARTER
            if start <= quarter < end and quarter not in opened:
                found.add(hour, cell, sums)
    left = SEGMENTS_OF_OPEN_QUARTERS_MAX
    for quarter in sorted(opened):
        hour = quarter.replace(minute=0)
        for document in _segments(store, account_id, quarter, left):
            left -= 1
            for (cell, _), sums in _rows(stored_events(document.fields), hour).items():
                found.add(hour, cell, sums)
    return SessionReport(
        start=start,
        end=end,
        sessions=found.latest(min(limit, SESSIONS_MAX)),
        nameless=found.nameless,
        is_complete=left > 0,
    )


def pack_path(account_id: str, hour: datetime) -> str:
    """Where the sessions of that hour are packed."""
    return f"{session_hours_collection(account_id)}/{repeatable_digest('session_hour', hour.isoformat())}"


def hour_text(moment: datetime) -> str:
    """How a pack names the UTC hour that the moment lies in; rises with time."""
    return f"{moment:%Y-%m-%dT%H}"


def _pack(store: DocumentStore, account_id: str, hour: datetime, quarters: Sequence[datetime]) -> bool:
    path = pack_path(account_id, hour)
    numbers = {(quarter - hour) // QUARTER for quarter in quarters}
    for attempt in range(PACK_ATTEMPTS_MAX):
        # The pack's revision is read before the segments: whoever packs later has seen no fewer of them.
        document = store.get(path)
        rows: Rows = {}
        if document is not None:
            kept = _stored_sheet(document).rows()
            rows = {key: sums for key, sums in kept.items() if key[1] not in numbers}
        for quarter in quarters:
            rows |= _quarter_rows(store, account_id, hour, quarter)
        if not rows and document is None:
            return False
        fields = {"hour": hour_text(hour), "packed": _packed(rows)}
        try:
            store.commit([Create(path, fields) if document is None else Put(path, fields, document.revision)])
        except (AlreadyExists, RevisionChanged):
            if attempt == PACK_ATTEMPTS_MAX - 1:
                raise
        else:
            return True
    raise AssertionError("the last attempt returns or raises")


def _quarter_rows(store: DocumentStore, account_id: str, hour: datetime, quarter: datetime) -> Rows:
    rows: Rows = {}
    for document in _segments(store, account_id, quarter, SEGMENTS_A_QUARTER_MAX):
        if document.fields["session_ids"]:
            for key, sums in _rows(stored_events(document.fields), hour).items():
                place = key if key in rows or len(rows) < ROWS_A_QUARTER_MAX else (_NAMELESS, key[1])
                _merge(rows.setdefault(place, {}), sums)
    return rows


def _segments(store: DocumentStore, account_id: str, quarter: datetime, most: int) -> Iterator[Document]:
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
        if len(found) < SEGMENTS_A_READ:
            return
        most -= len(found)
        after = (found[-1].fields["last_at"], found[-1].document_id)


def _rows(events: Iterable[CostEvent], hour: datetime) -> Rows:
    rows: Rows = {}
    for event in events:
        if not event.session_id:
            continue
        cell = (event.session_id, event.team, event.app, event.model)
        at = (event.timestamp - hour) // _MILLISECOND
        sums = {name: getattr(event, name) for name in SESSION_SUMS[2:]}
        sums |= {"requests": 1, "errors": int(is_error(event)), _FIRST: at, _LAST: at}
        _merge(rows.setdefault((cell, (quarter_of(event.timestamp) - hour) // QUARTER), {}), sums)
    return rows


def _merge(totals: Amounts, sums: Mapping[str, int]) -> None:
    first, last = sums.get(_FIRST, 0), sums.get(_LAST, 0)
    first, last = min(totals.get(_FIRST, first), first), max(totals.get(_LAST, last), last)
    for name, amount in sums.items():
        totals[name] = totals.get(name, 0) + amount
    totals[_FIRST], totals[_LAST] = first, last


def _packed(rows: Rows) -> bytes:
    """The rows, compressed; the cheapest sessions without their names, where not all have room."""
    content, percent = compressed(sheet_of(rows))
    for _ in range(FITTINGS_MAX):
        if percent <= 100:
            return content
        rows = _dearest(rows, len(rows) * FITTING_PERCENT // percent)
        content, percent = compressed(sheet_of(rows))
    return compressed(sheet_of(_dearest(rows, 0)))[0]


def _dearest(rows: Rows, most: int) -> Rows:
    ordered = sorted(rows, key=lambda key: (key[0] == _NAMELESS, -rows[key].get("cost_nanodollars", 0), key))
    kept = {key: rows[key] for key in ordered[:most]}
    for key in ordered[most:]:
        _merge(kept.setdefault((_NAMELESS, key[1]), {}), rows[key])
    return kept


def _packs(
    store: DocumentStore, account_id: str, start: datetime, end: datetime
) -> Iterator[tuple[datetime, Sheet]]:
    first = start.replace(minute=0)
    hours = [first + number * _HOUR for number in range(-((first - end) // _HOUR))]
    paths = {pack_path(account_id, hour): hour for hour in hours}
    wanted = list(paths)
    for place in range(0, len(wanted), PACKS_A_READ):
        for path, document in store.get_many(wanted[place : place + PACKS_A_READ]).items():
            yield paths[path], _stored_sheet(document)


def _stored_sheet(document: Document) -> Sheet:
    try:
        content = zstandard.ZstdDecompressor().decompress(document.fields["packed"], CONTENT_BYTES_MAX)
        return _DECODER.decode(content)
    except (KeyError, TypeError, zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise PackUnreadable("an hour's sessions are not as they were written") from error


class _Sessions:
    """Sessions as they are added up."""

    def __init__(self, teams: Sequence[str], apps: Sequence[str]) -> None:
        self.nameless: Amounts = dict.fromkeys(SESSION_SUMS, 0)
        self._teams = frozenset(teams)
        self._apps = frozenset(apps)
        self._found: dict[str, _Session] = {}

    def add(self, hour: datetime, cell: Cell, sums: Mapping[str, Any]) -> None:
        session_id, team, app, model = cell
        if cell == _NAMELESS:
            for name in SESSION_SUMS:
                self.nameless[name] += sums.get(name, 0)
        elif (not self._teams or team in self._teams) and (not self._apps or app in self._apps):
            first = hour + sums.get(_FIRST, 0) * _MILLISECOND
            last = hour + sums.get(_LAST, 0) * _MILLISECOND
            session = self._found.setdefault(session_id, _Session(first, last))
            session.add(team, app, model, first, last, sums)

    def latest(self, limit: int) -> tuple[SessionSums, ...]:
        ordered = sorted(self._found.items(), key=lambda each: (each[1].last, each[0]), reverse=True)
        return tuple(session.told(session_id) for session_id, session in ordered[:limit])


class _Session:
    def __init__(self, first: datetime, last: datetime) -> None:
        self.first = first
        self.last = last
        self._names: tuple[set[str], set[str], set[str]] = (set(), set(), set())
        self._sums: Amounts = dict.fromkeys(SESSION_SUMS, 0)

    def add(
        self, team: str, app: str, model: str, first: datetime, last: datetime, sums: Mapping[str, int]
    ) -> None:
        self.first, self.last = min(self.first, first), max(self.last, last)
        for names, name in zip(self._names, (team, app, model), strict=True):
            names.add(name)
        for name in SESSION_SUMS:
            self._sums[name] += sums.get(name, 0)

    def told(self, session_id: str) -> SessionSums:
        teams, apps, models = (tuple(sorted(names)) for names in self._names)
        return SessionSums(
            session_id=session_id,
            teams=teams,
            apps=apps,
            models=models,
            first_at=self.first,
            last_at=self.last,
            sums=self._sums,
        )
