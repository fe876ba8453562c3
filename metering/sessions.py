"""Sessions: what the calls that share a session id came to, without reading every event again.

Read are the packs of days and, where a range cuts a day or the day's pack is not made yet, of hours
(`metering.session_packs`); quarter hours that are not packed yet are read from their segments. A month is at
most `READS_MAX` documents: what segments that leaves no room for are the youngest calls, and `complete_to` of
the answer says so.

A page begins at the latest call and unpacks until it is full; of what lies before, however much that is, it
unpacks only packs that have one of its own sessions. So it works as much as its own sessions are busy, and
those of the pages before it; no page lies behind the latest `SESSIONS_MAX`.

Which sessions cost most is known only once all of the range are added up: each pack is unpacked for its costs
then, and those that hold the page's sessions a second time, from memory. So what is put in order by cost is
bounded: `ROWS_IN_ORDER_MAX` rows, beyond which a shorter range has to be asked for.

One session's calls, one by one, are found by `event_pages` through its id.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import msgspec

from metering.day_documents import days_between
from metering.errors import InvalidInput
from metering.events import CostEvent
from metering.quarters import DOCUMENTS_AN_ANSWER, DOCUMENTS_OF_WHO_ASKS, open_quarters
from metering.rollups import QUARTER, Amounts, Cell, beginning_of_day, quarter_of
from metering.segments import stored_events
from metering.session_packs import (
    FIRST,
    LAST,
    NAMELESS,
    SESSION_SUMS,
    checksum,
    contents_of,
    day_pack_path,
    holds_its_hours,
    hours_of,
    pack_path,
    rows_of,
    segments_of,
    stored_sheet,
)
from metering.stores import Document, DocumentStore

READS_MAX: Final = DOCUMENTS_AN_ANSWER - DOCUMENTS_OF_WHO_ASKS
PACKS_A_READ: Final = 12
SEGMENTS_READ_MIN: Final = 12
RANGE_MAX: Final = timedelta(days=31, hours=1)  # of days one of which may have 25 hours
SESSIONS_MAX: Final = 1_000
ROWS_IN_ORDER_MAX: Final = 300_000

Order = Literal["latest", "cost"]
Place = tuple[int, str]  # where a session stands among the others: the latest first, or the dearest

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MILLISECOND: Final = timedelta(milliseconds=1)


class SessionSums(msgspec.Struct, frozen=True, kw_only=True):
    """What one session came to in a range: `SESSION_SUMS`, and the first and last admission."""

    session_id: str
    teams: tuple[str, ...]
    apps: tuple[str, ...]
    models: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    sums: Amounts

    @property
    def place(self) -> Place:
        """Where it stands among the others, the latest first."""
        return _place(self.last_at, self.session_id)

    @property
    def place_by_cost(self) -> Place:
        """Where it stands among the others, the dearest first."""
        return -self.sums["cost_nanodollars"], self.session_id


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the sessions of a range of whole quarter hours, in the order that was asked for.

    `nameless` sums up those of the range that no pack had room for by name. Calls before `complete_to` are
    all counted; of later ones some may be missing, until they are packed. `has_more`: another page follows.
    `has_older`, on the last page: there are sessions that no page tells.
    """

    start: datetime
    end: datetime
    sessions: tuple[SessionSums, ...]
    nameless: Amounts
    complete_to: datetime
    has_more: bool
    has_older: bool


def sessions_between(  # noqa: PLR0913 - a query and its page, by name
    store: DocumentStore,
    account_id: str,
    start: datetime,
    end: datetime,
    *,
    teams: Sequence[str] = (),
    apps: Sequence[str] = (),
    order: Order = "latest",
    limit: int = SESSIONS_MAX,
    behind: Place | None = None,
) -> SessionReport:
    """The account's sessions with calls in the range, widened to whole quarter hours.

    At most `limit` of them: the first in that order, or those behind that place, the last one of the page
    before. `teams` and `apps` pass any of their values; none given passes all. A store failure passes to the
    caller. Raises: InvalidInput, for a range beyond `RANGE_MAX`, or with more than can be put in order.
    """
    if not timedelta(0) < end - start <= RANGE_MAX:
        raise InvalidInput(f"ask for at most {RANGE_MAX.days} days", "start_time")
    start, end = quarter_of(start), quarter_of(end - timedelta(microseconds=1)) + QUARTER
    found: _Sessions | _Dearest = (
        _Sessions(teams, apps, limit, behind) if order == "latest" else _Dearest(teams, apps, limit, behind)
    )
    # The order matters: what is packed in between is read from both places, and counted from one.
    opened = open_quarters(store, account_id, start, end)
    packs = _Packs(store, account_id, start, end, opened)
    room = READS_MAX - len(opened) - 1 - packs.reads
    complete_to = _add_open_quarters(store, account_id, opened, max(SEGMENTS_READ_MIN, room), found)
    for pack in packs.latest_first():
        found.add_pack(pack)
    page, has_more = found.page()
    return SessionReport(
        start=start,
        end=end,
        sessions=page,
        nameless=found.nameless,
        complete_to=complete_to or end,
        has_more=has_more,
        has_older=found.has_older and not has_more,
    )


def session_of(session_id: str, events: Iterable[CostEvent]) -> SessionSums | None:
    """What these events of that session come to; None, where there are none."""
    found = _Sessions((), (), 1, None)
    for event in events:
        if event.session_id == session_id:
            beginning = beginning_of_day(event.timestamp)
            for (cell, _), sums in rows_of([event], beginning).items():
                found.add(beginning, cell, sums)
    return next(iter(found.page()[0]), None)


def _place(last: datetime, session_id: str) -> Place:
    return (_EPOCH - last) // _MILLISECOND, session_id


def _add_open_quarters(
    store: DocumentStore,
    account_id: str,
    opened: Iterable[datetime],
    most: int,
    found: "_Sessions | _Dearest",
) -> datetime | None:
    """Add what is not packed yet, at most so many segments; from where on some may be missing."""
    for quarter in sorted(opened):
        for document in segments_of(store, account_id, quarter, most):
            most -= 1
            for (cell, _), sums in rows_of(stored_events(document.fields), quarter).items():
                found.add(quarter, cell, sums)
        if most <= 0:
            return quarter
    return None


class _Pack(NamedTuple):
    """A pack, and which of its quarter hours count; None: all do."""

    beginning: datetime
    document: Document
    counted: frozenset[int] | None

    def rows(self, is_wanted: Callable[[Cell], bool]) -> Iterator[tuple[Cell, Amounts]]:
        """Those of its rows that count and whose cell is wanted."""
        sheet = stored_sheet(self.document)
        wanted = [is_wanted(cell) for cell in sheet.cells]
        for row, (cell, number) in enumerate(zip(sheet.cell_of, sheet.quarter_of, strict=True)):
            if wanted[cell] and (self.counted is None or number in self.counted):
                yield sheet.cells[cell], {name: column[row] for name, column in sheet.columns.items()}

    def add_costs(self, costs: dict[str, int], is_wanted: Callable[[Cell], bool]) -> int:
        """Add what rows that count and are wanted cost to their sessions; how many rows there are in all."""
        sheet = stored_sheet(self.document)
        wanted = [cell[0] if cell != NAMELESS and is_wanted(cell) else None for cell in sheet.cells]
        spent = sheet.columns.get("cost_nanodollars") or [0] * len(sheet.cell_of)
        for cell, number, cost in zip(sheet.cell_of, sheet.quarter_of, spent, strict=True):
            session_id = wanted[cell]
            if session_id is not None and (self.counted is None or number in self.counted):
                costs[session_id] = costs.get(session_id, 0) + cost
        return len(sheet.cell_of)


class _Packs:
    """The packs that a range is read from, beside its open quarter hours. `reads`: documents, all in all."""

    def __init__(
        self, store: DocumentStore, account_id: str, start: datetime, end: datetime, opened: set[datetime]
    ) -> None:
        self._store = store
        self._account_id = account_id
        self._start = start
        self._end = end
        self._opened = opened
        not_whole = {beginning_of_day(quarter) for quarter in opened}
        days = days_between(start, end)
        whole = [day for day in days if start <= day and day + _DAY <= end and day not in not_whole]
        paths = {day: day_pack_path(account_id, day) for day in whole}
        found = store.get_many(list(paths.values())) if paths else {}
        # None: no hour of that day was ever packed.
        self._days = {day: found.get(path) for day, path in paths.items()}
        self._hours = [
            hour
            for day in days
            if not self._is_done(day)
            for hour in hours_of(day)
            if start < hour + _HOUR and hour < end
        ]
        self.reads = len(self._days) + len(self._hours)

    def latest_first(self) -> Iterator[_Pack]:
        """The packs, the latest first. Each is let go before the next."""
        hours = sorted(self._hours, reverse=True)
        days = sorted((day for day, pack in self._days.items() if pack and self._is_done(day)), reverse=True)
        for day in days:
            later = [hour for hour in hours if hour > day]
            yield from self._of_hours(later)
            hours = hours[len(later) :]
            pack = self._days.pop(day)
            if pack is not None:
                yield _Pack(day, pack, None)
        yield from self._of_hours(hours)

    def _is_done(self, day: datetime) -> bool:
        """Whether the day needs none of its hours."""
        if day not in self._days:
            return False
        pack = self._days[day]
        return pack is None or holds_its_hours(pack)

    def _of_hours(self, hours: Sequence[datetime]) -> Iterator[_Pack]:
        for place in range(0, len(hours), PACKS_A_READ):
            paths = {pack_path(self._account_id, hour): hour for hour in hours[place : place + PACKS_A_READ]}
            packs = self._store.get_many(list(paths))
            for path, hour in paths.items():
                if path in packs:
                    yield _Pack(hour, packs[path], self._counted(hour))

    def _counted(self, hour: datetime) -> frozenset[int] | None:
        """Which of its quarter hours lie in the range, and are not read from segments."""
        quarters = [hour + number * QUARTER for number in range(_HOUR // QUARTER)]
        counted = frozenset(
            number
            for number, quarter in enumerate(quarters)
            if self._start <= quarter < self._end and quarter not in self._opened
        )
        return None if len(counted) == len(quarters) else counted


class _Sessions:
    """Sessions as they are added up, from the latest packs to the earliest: a page, and those before it."""

    def __init__(
        self,
        teams: Sequence[str],
        apps: Sequence[str],
        limit: int,
        behind: Place | None,
        only: frozenset[str] | None = None,
    ) -> None:
        self.nameless: Amounts = dict.fromkeys(SESSION_SUMS, 0)
        self.has_older = False
        self._teams = frozenset(teams)
        self._apps = frozenset(apps)
        self._limit = limit
        self._behind = behind
        self._found: dict[str, _Session] = {}
        self._only = only
        # Of those that are wanted, once there will be no others.
        self._checksums = None if only is None else frozenset(map(checksum, only))

    def add_pack(self, pack: _Pack) -> None:
        """Add a pack; no later one comes after it."""
        contents = None if self._checksums is None or pack.counted is not None else contents_of(pack.document)
        if contents is not None and contents.checksums.isdisjoint(self._checksums or ()):
            self._add_nameless(contents.nameless)
            return
        for cell, sums in pack.rows(self._is_wanted):
            self.add(pack.beginning, cell, sums)
        if self._checksums is None:
            self._settle(pack.beginning)

    def add(self, beginning: datetime, cell: Cell, sums: Mapping[str, Any]) -> None:
        """Add a row of a pack that begins there."""
        session_id, team, app, model = cell
        if cell == NAMELESS:
            self._add_nameless(sums)
        elif self._is_wanted(cell):
            first = beginning + sums.get(FIRST, 0) * _MILLISECOND
            last = beginning + sums.get(LAST, 0) * _MILLISECOND
            session = self._found.get(session_id)
            if session is None:
                session = self._found[session_id] = _Session(first, last)
            session.add(team, app, model, first, last, sums)

    def told(self, session_id: str) -> SessionSums:
        """One of those that were found."""
        return self._found[session_id].told(session_id)

    def page(self) -> tuple[tuple[SessionSums, ...], bool]:
        """The page's sessions, latest first, and whether more follow."""
        ordered = self._ordered()
        self.has_older = len(ordered) > SESSIONS_MAX
        follow = [each for each in ordered[:SESSIONS_MAX] if self._is_behind(each)]
        page = tuple(self._found[session_id].told(session_id) for _, session_id in follow[: self._limit])
        return page, len(follow) > self._limit

    def _is_wanted(self, cell: Cell) -> bool:
        session_id, team, app, _ = cell
        if cell == NAMELESS:
            return True
        if self._checksums is not None and session_id not in (self._only or self._found):
            return False
        return (not self._teams or team in self._teams) and (not self._apps or app in self._apps)

    def _add_nameless(self, sums: Mapping[str, int]) -> None:
        for name in SESSION_SUMS:
            self.nameless[name] += sums.get(name, 0)

    def _settle(self, beginning: datetime) -> None:
        """All is added from that moment on: where that is enough for the page, look for no more sessions."""
        earliest = _place(beginning, "")[0]
        ordered = self._ordered()
        settled = sum(place[0] <= earliest for place in ordered)
        follow = [number for number, place in enumerate(ordered[:settled]) if self._is_behind(place)]
        enough = min([SESSIONS_MAX, *follow[self._limit : self._limit + 1]]) + 1
        if settled >= enough:
            self._found = {session_id: self._found[session_id] for _, session_id in ordered[:enough]}
            self._checksums = frozenset(map(checksum, self._found))

    def _ordered(self) -> list[Place]:
        return sorted(_place(session.last, session_id) for session_id, session in self._found.items())

    def _is_behind(self, place: Place) -> bool:
        return self._behind is None or place > self._behind


class _Dearest:
    """Sessions in the order of their cost: what all of the range cost first, then the page's own whole."""

    def __init__(self, teams: Sequence[str], apps: Sequence[str], limit: int, behind: Place | None) -> None:
        self.nameless: Amounts = dict.fromkeys(SESSION_SUMS, 0)
        self.has_older = False
        self._teams = frozenset(teams)
        self._apps = frozenset(apps)
        self._limit = limit
        self._behind = behind
        self._costs: dict[str, int] = {}
        self._rows = 0
        self._opened: list[tuple[datetime, Cell, Mapping[str, Any]]] = []
        self._packs: list[_Pack] = []

    def add(self, beginning: datetime, cell: Cell, sums: Mapping[str, Any]) -> None:
        """Add a row that is in no pack yet."""
        if self._is_wanted(cell):
            self._opened.append((beginning, cell, sums))
            self._costs[cell[0]] = self._costs.get(cell[0], 0) + sums.get("cost_nanodollars", 0)
            self._count(1)

    def add_pack(self, pack: _Pack) -> None:
        """Add a pack. Raises: InvalidInput, where there is more than can be put in order."""
        self._packs.append(pack)
        self._count(pack.add_costs(self._costs, self._is_wanted))

    def page(self) -> tuple[tuple[SessionSums, ...], bool]:
        """The page's sessions, dearest first, and whether more follow."""
        ordered = heapq.nsmallest(SESSIONS_MAX, ((-cost, name) for name, cost in self._costs.items()))
        self.has_older = len(self._costs) > SESSIONS_MAX
        follow = [name for cost, name in ordered if self._behind is None or (cost, name) > self._behind]
        page = follow[: self._limit]
        found = _Sessions((*self._teams,), (*self._apps,), self._limit, None, frozenset(page))
        for row in self._opened:
            found.add(*row)
        for pack in self._packs:
            found.add_pack(pack)
        self.nameless = found.nameless
        return tuple(map(found.told, page)), len(follow) > self._limit

    def _is_wanted(self, cell: Cell) -> bool:
        _, team, app, _ = cell
        return (not self._teams or team in self._teams) and (not self._apps or app in self._apps)

    def _count(self, rows: int) -> None:
        self._rows += rows
        if self._rows > ROWS_IN_ORDER_MAX:
            raise InvalidInput(
                "there is more than one answer can put in order by cost; ask for a shorter range",
                "start_time",
            )


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
