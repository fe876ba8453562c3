"""The ledger: cost events as they are kept, each exactly once, together with their rollups.

**Storing.** One atomic commit creates a segment's document and adds its events to the rollups, so Σ events =
Σ rollups at every moment; it opens their shard anew where that was compacted (`metering.quarters`), and notes
their day for compaction (`metering.active_days`). Names make it repeatable: a commit whose outcome is unknown
is simply made again, by the same process or by recovery, with the same or an overlapping set of events.

AlreadyExists is never success by itself: whoever came first may have known fewer events. The writer reads
what is stored under the name, drops those events from its own, and creates the rest as the next link of the
chain `<name>`, `<name>.1`, `<name>.2` … by the same rule, until nothing is left. A link never changes, and
nobody creates one without having read all before it; so an event is in exactly one link, in any order of
any writers.

**Reading.** By account, always: the account's id is a part of every path.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from metering.active_days import DayMarks
from metering.clock import Clock, SystemClock
from metering.collections import segments_collection
from metering.conservation import count_writes, day_of
from metering.errors import AlreadyExists, DocumentTooLarge, NotFound, StoreError
from metering.event_pages import EventPage, EventQuery, page_of_events
from metering.events import CostEvent
from metering.rollups import Amounts, Cell, beginning_of_day, cells_from, quarter_of, rolled_up
from metering.segments import (
    EVENTS_KEPT,
    Segment,
    first_portion,
    segment_fields,
    segment_path,
    stored_events,
    unique_events,
)
from metering.shards import Shards
from metering.stores import Create, DocumentStore, Query, Write

LINKS_MAX = 100

ExtraWrites = Callable[[Sequence[CostEvent]], Sequence[Write]]
Admitted = Callable[[str, str], int | None]  # of an account on a UTC day, by the instance that commits


class ChainTooLong(StoreError):
    """A segment has more links than any order of writers explains; its events stay in the journal."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit came to: events stored now, events found stored already, and links created now."""

    events: int
    events_found: int
    links: tuple[str, ...]


def no_writes(_events: Sequence[CostEvent]) -> Sequence[Write]:
    """Nothing besides the segment and its rollups."""
    return ()


def nobodys(_account_id: str, _day: str) -> int | None:
    """What whoever stores another instance's events knows of its admissions."""
    return None


class Ledger:
    """Keeps an account's cost events. For several threads.

    An instance that admits calls says with `admitted` how many; recovery, which stores others', does not.
    """

    def __init__(
        self,
        store: DocumentStore,
        clock: Clock | None = None,
        *,
        events_kept: timedelta = EVENTS_KEPT,
        admitted: Admitted = nobodys,
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._shards = Shards(self._clock)
        self._day_marks = DayMarks()
        self._events_kept = events_kept
        self._admitted = admitted

    def commit(self, segment: Segment, also: ExtraWrites = no_writes) -> Stored:
        """Store the segment's events, each exactly once however often and by whomever this is called.

        `also` gives the writes that belong to exactly the events it is handed (a lease's `used`); they join
        the same atomic commit.
        Raises: StoreUnavailable, the outcome is unknown: call again with the same segment, later.
        DocumentTooLarge, ChainTooLong: not even the last resort fits; calling again does not help.
        """
        waiting: Sequence[CostEvent] = unique_events(segment.events)
        count = len(waiting)
        additions = segment.additions if count == len(segment.events) else None
        found = 0
        links: list[str] = []
        link = 0
        while waiting:
            if link == LINKS_MAX:
                raise ChainTooLong(f"segment {segment.name} has {LINKS_MAX} links")
            path = segment_path(segment.account_id, segment.name, link)
            portion = waiting if additions is not None else first_portion(waiting)
            cells = rolled_up(portion) if additions is None else cells_from(additions)
            try:
                self._create(path, segment, portion, cells, also)
            except AlreadyExists:
                additions = None  # those of all events of the segment, and some are stored
                before = len(waiting)
                waiting = self._missing_in(path, waiting)
                found += before - len(waiting)
            else:
                waiting = waiting[len(portion) :]
                links.append(path.rpartition("/")[2])
            link += 1
        return Stored(events=count - found, events_found=found, links=tuple(links))

    def stretch(self, account_id: str) -> int:
        """How many times longer than usual a packer should leave the account's segments open."""
        return self._shards.stretch(account_id)

    def event(self, account_id: str, request_id: str, kept_since: datetime | None = None) -> CostEvent:
        """The event of one call. Raises: NotFound, also for another account's call and one too old."""
        query = Query(
            collection=segments_collection(account_id), contains=("request_ids", request_id), limit=1
        )
        # A store failure passes to the caller: there is nothing else to read an event from.
        for document in self._store.query(query):
            for event in stored_events(document.fields):
                if event.request_id == request_id and (kept_since is None or event.timestamp >= kept_since):
                    return event
        raise NotFound("no such event")

    def events(
        self,
        account_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
        cursor: str | None = None,
        limit: int = 100,
        kept_since: datetime | None = None,
    ) -> EventPage:
        """A page of the account's events, newest first; `EventQuery` says what the arguments mean.

        Raises: InvalidInput, with every complaint about them.
        """
        query = EventQuery(
            start=start, end=end, filters=filters or {}, cursor=cursor, limit=limit, kept_since=kept_since
        )
        return page_of_events(self._store, account_id, query)

    def _create(
        self,
        path: str,
        segment: Segment,
        events: Sequence[CostEvent],
        cells: Mapping[Cell, Amounts],
        also: ExtraWrites,
    ) -> None:
        document = Create(path, segment_fields(events, self._events_kept))
        quarter = quarter_of(events[0].timestamp)
        day = beginning_of_day(quarter)
        marks = self._day_marks.writes(segment.account_id, day, self._clock.now())
        extra = [*also(events), *self._counts(segment, events), *marks]
        has_sessions = any(event.session_id for event in events)
        for write in self._shards.writes(
            segment.account_id, quarter, segment.name, cells, has_sessions=has_sessions
        ):
            try:
                # An unknown outcome leaves at once; what the shard was to be told of new cells is forgotten.
                results = self._store.commit([document, write.increment, *extra])
            except DocumentTooLarge:
                self._shards.not_applied(write)
            except AlreadyExists:
                self._shards.not_applied(write)
                raise
            else:
                self._shards.applied(write, results[1].values)
                self._day_marks.noted(segment.account_id, day)
                return
        raise DocumentTooLarge(f"no shard of {quarter:%Y-%m-%dT%H:%M}Z takes the commit")

    def _counts(self, segment: Segment, events: Sequence[CostEvent]) -> Sequence[Write]:
        return count_writes(
            segment.account_id,
            segment.instance,
            events,
            admitted=self._admitted(segment.account_id, day_of(events[0].timestamp)),
            now=self._clock.now(),
        )

    def _missing_in(self, path: str, events: Sequence[CostEvent]) -> list[CostEvent]:
        # Gone again means that its time was over: then so was that of its events, and the next link is free.
        document = self._store.get(path)
        stored = set(document.fields["request_ids"]) if document else set()
        return [event for event in events if event.request_id not in stored]
