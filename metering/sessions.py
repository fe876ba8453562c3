"""Sessions: what the calls that share a session id came to, without reading every event again.

Read are the packs of days and, where a range cuts a day or the day's pack is not made yet, of hours
(`metering.session_packs`); quarter hours that are not packed yet are read from their segments. A month is at
most `READS_MAX` documents: what segments that leaves no room for are the youngest calls, and `complete_to` of
the answer says so. One session's calls, one by one, are found by `event_pages` through its id.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from metering.day_documents import Rows, days_between
from metering.errors import InvalidInput
from metering.events import CostEvent
from metering.quarters import open_quarters
from metering.rollups import QUARTER, Amounts, Cell, beginning_of_day, quarter_of
from metering.segments import stored_events
from metering.session_packs import (
    FIRST,
    LAST,
    NAMELESS,
    SESSION_SUMS,
    day_pack_path,
    holds_its_hours,
    hours_of,
    pack_path,
    rows_of,
    segments_of,
    stored_sheet,
)
from metering.stores import DocumentStore

READS_MAX: Final = 100
PACKS_A_READ: Final = 12
SEGMENTS_READ_MIN: Final = 12
RANGE_MAX: Final = timedelta(days=31)
SESSIONS_MAX: Final = 1_000

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


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions of a range of whole quarter hours, latest first.

    `nameless` sums up those that no pack had room for by name. Calls before `complete_to` are all counted;
    of later ones some may be missing, until they are packed. `has_older`: there are more than were asked for.
    """

    start: datetime
    end: datetime
    sessions: tuple[SessionSums, ...]
    nameless: Amounts
    complete_to: datetime
    has_older: bool


def sessions_between(
    store: DocumentStore,
    account_id: str,
    start: datetime,
    end: datetime,
    *,
    teams: Sequence[str] = (),
    apps: Sequence[str] = (),
    limit: int = SESSIONS_MAX,
) -> SessionReport:
    """The account's sessions with calls in the range, widened to whole quarter hours; the latest `limit`.

    `teams` and `apps` pass any of their values; none given passes all. A store failure passes to the caller.
    Raises: InvalidInput, for a range beyond `RANGE_MAX`.
    """
    if not timedelta(0) < end - start <= RANGE_MAX:
        raise InvalidInput(f"ask for at most {RANGE_MAX.days} days", "start_time")
    start, end = quarter_of(start), quarter_of(end - timedelta(microseconds=1)) + QUARTER
    found = _Sessions(teams, apps, min(limit, SESSIONS_MAX))
    # The order matters: what is packed in between is read from both places, and counted from one.
    opened = open_quarters(store, account_id, start, end)
    packs = _Packs(store, account_id, start, end, opened)
    room = READS_MAX - len(opened) - 1 - packs.reads
    complete_to = _add_open_quarters(store, account_id, opened, max(SEGMENTS_READ_MIN, room), found)
    for beginning, rows in packs.latest_first():
        for cell, sums in rows:
            found.add(beginning, cell, sums)
        found.settle(beginning)
    return SessionReport(
        start=start,
        end=end,
        sessions=found.latest(),
        nameless=found.nameless,
        complete_to=complete_to or end,
        has_older=found.has_older,
    )


def session_of(session_id: str, events: Iterable[CostEvent]) -> SessionSums | None:
    """What these events of that session come to; None, where there are none."""
    found = _Sessions((), (), 1)
    for event in events:
        if event.session_id == session_id:
            beginning = beginning_of_day(event.timestamp)
            for (cell, _), sums in rows_of([event], beginning).items():
                found.add(beginning, cell, sums)
    return next(iter(found.latest()), None)


def _add_open_quarters(
    store: DocumentStore, account_id: str, opened: Iterable[datetime], most: int, found: "_Sessions"
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

    def latest_first(self) -> Iterator[tuple[datetime, Iterable[tuple[Cell, Amounts]]]]:
        """What each pack holds of the range, by the pack's beginning. Each is let go before the next."""
        hours = sorted(self._hours, reverse=True)
        days = sorted((day for day, pack in self._days.items() if pack and self._is_done(day)), reverse=True)
        for day in days:
            later = [hour for hour in hours if hour > day]
            yield from self._of_hours(later)
            hours = hours[len(later) :]
            pack = self._days.pop(day)
            if pack is not None:
                yield day, [(cell, sums) for (cell, _), sums in stored_sheet(pack).rows().items()]
        yield from self._of_hours(hours)

    def _is_done(self, day: datetime) -> bool:
        """Whether the day needs none of its hours."""
        if day not in self._days:
            return False
        pack = self._days[day]
        return pack is None or holds_its_hours(pack)

    def _of_hours(
        self, hours: Sequence[datetime]
    ) -> Iterator[tuple[datetime, Iterable[tuple[Cell, Amounts]]]]:
        for place in range(0, len(hours), PACKS_A_READ):
            paths = {pack_path(self._account_id, hour): hour for hour in hours[place : place + PACKS_A_READ]}
            packs = self._store.get_many(list(paths))
            for path, hour in paths.items():
                if path in packs:
                    yield hour, self._counted(hour, stored_sheet(packs[path]).rows())

    def _counted(self, hour: datetime, rows: Rows) -> Iterator[tuple[Cell, Amounts]]:
        """Those rows whose quarter hour lies in the range, and is not read from segments."""
        for (cell, number), sums in rows.items():
            quarter = hour + number * QUARTER
            if self._start <= quarter < self._end and quarter not in self._opened:
                yield cell, sums


class _Sessions:
    """Sessions as they are added up, from the latest packs to the earliest; only the latest `limit` stay."""

    def __init__(self, teams: Sequence[str], apps: Sequence[str], limit: int) -> None:
        self.nameless: Amounts = dict.fromkeys(SESSION_SUMS, 0)
        self.has_older = False
        self._teams = frozenset(teams)
        self._apps = frozenset(apps)
        self._limit = limit
        self._is_full = False
        self._found: dict[str, _Session] = {}

    def add(self, beginning: datetime, cell: Cell, sums: Mapping[str, Any]) -> None:
        """Add a row of a pack that begins there."""
        session_id, team, app, model = cell
        if cell == NAMELESS:
            for name in SESSION_SUMS:
                self.nameless[name] += sums.get(name, 0)
        elif (not self._teams or team in self._teams) and (not self._apps or app in self._apps):
            first = beginning + sums.get(FIRST, 0) * _MILLISECOND
            last = beginning + sums.get(LAST, 0) * _MILLISECOND
            session = self._found.get(session_id)
            if session is None and self._is_full:
                self.has_older = True
                return
            if session is None:
                session = self._found[session_id] = _Session(first, last)
            session.add(team, app, model, first, last, sums)

    def settle(self, beginning: datetime) -> None:
        """All is added from that moment on. What can not be among the latest any more is let go."""
        later = [session.last for session in self._found.values() if session.last >= beginning]
        if len(later) >= self._limit:
            self._is_full = True
            self._keep_latest()

    def latest(self) -> tuple[SessionSums, ...]:
        """The sessions, latest first."""
        self._keep_latest()
        return tuple(session.told(session_id) for session_id, session in self._found.items())

    def _keep_latest(self) -> None:
        ordered = sorted(self._found.items(), key=lambda each: (each[1].last, each[0]), reverse=True)
        self.has_older = self.has_older or len(ordered) > self._limit
        self._found = dict(ordered[: self._limit])


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
