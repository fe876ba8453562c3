"""Pages of an account's cost events, newest first.

The order is that of segments, by their latest admission, and within a segment by admission; segments that
several instances filled at the same time may overlap by seconds (by the length of a call at most), so a page
is sorted by admission while neighbouring pages may interleave a little. No event is shown twice or skipped:
a segment never changes, and a cursor names a place in one.

A page scans at most `SEGMENTS_A_PAGE_MAX` segments. Where filters leave little, it holds fewer events than
asked for, even none, with a cursor to go on and `scanned_to`, the moment down to which all was looked at.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from metering.collections import segments_collection
from metering.errors import InvalidInput
from metering.events import CostEvent
from metering.rollups import QUARTER, quarter_of
from metering.segments import session_hash, stored_events
from metering.stores import Document, DocumentStore, Query

EVENTS_A_PAGE_MAX = 1_000
SEGMENTS_A_PAGE_MAX = 100
SEGMENTS_READ_FIRST = 10  # doubled with every further read of a page
FILTER_VALUES_MAX = 100
CURSOR_CHARACTERS_MAX = 512

FILTERS = (
    "provider", "model", "requested_model", "key_id", "deployment", "team", "app", "feature",
    "customer_tier", "session_id", "trace_id", "prompt_template_id", "prompt_fingerprint", "state",
    "status_code", "service_tier", "region", "routing_rule", "streaming", "cache_hit", "routed", "estimated",
    "unpriced",
)  # fmt: skip

LATEST = datetime(2100, 1, 1, tzinfo=UTC)

_SEGMENT_ID = re.compile(r"[A-Za-z0-9-]{1,128}(?:\.[0-9]{1,3})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to show.

    `start` (inclusive) and `end` (exclusive) bound the admission. `filters` maps names of `FILTERS` to the
    values that pass, as text: numbers in digits, claims as `true` or `false`. `cursor` is the
    `next_cursor` of an earlier page of the same query. Older events than `kept_since` are not there any more,
    whether or not they are deleted yet; it may move on between pages.
    """

    start: datetime | None = None
    end: datetime | None = None
    filters: Mapping[str, Sequence[str]] = {}
    cursor: str | None = None
    limit: int = 100
    kept_since: datetime | None = None

    @property
    def oldest(self) -> datetime | None:
        """The first admission that is shown; None: there is no bound."""
        bounds = [moment.astimezone(UTC) for moment in (self.start, self.kept_since) if moment is not None]
        return max(bounds, default=None)

    def complaints(self) -> list[InvalidInput]:
        """Everything that is wrong with the query, but for its cursor."""
        found: list[InvalidInput] = []
        for name, moment in (("start_time", self.start), ("end_time", self.end)):
            if moment is not None and moment.utcoffset() is None:
                found.append(InvalidInput("give the moment's offset from UTC, for example …T00:00:00Z", name))
            elif moment is not None and not _EPOCH <= moment <= LATEST:
                found.append(InvalidInput(f"give a moment from {_EPOCH.year} to {LATEST.year}", name))
        if not found and self.start is not None and self.end is not None and self.start >= self.end:
            found.append(InvalidInput("end_time must lie after start_time", "end_time"))
        for name, values in self.filters.items():
            if name not in FILTERS:
                found.append(InvalidInput(f"filter by one of {', '.join(FILTERS)}", name))
            elif not 1 <= len(values) <= FILTER_VALUES_MAX:
                found.append(InvalidInput(f"give 1 to {FILTER_VALUES_MAX} values", name))
        if not 1 <= self.limit <= EVENTS_A_PAGE_MAX:
            found.append(InvalidInput(f"give a number from 1 to {EVENTS_A_PAGE_MAX}", "limit"))
        return found

    def shows(self, event: CostEvent) -> bool:
        """Whether the event lies in the range and passes every filter."""
        return (
            (self.oldest is None or event.timestamp >= self.oldest)
            and (self.end is None or event.timestamp < self.end)
            and all(_text(getattr(event, name)) in values for name, values in self.filters.items())
        )


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events, newest first. `next_cursor` None: there are no more. `scanned_to` None: all were looked at."""

    events: tuple[CostEvent, ...]
    next_cursor: str | None = None
    scanned_to: datetime | None = None


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Behind so many events of a segment; behind the whole segment where `events_shown` is None."""

    last_at: datetime
    segment_id: str
    events_shown: int | None


def page_of_events(store: DocumentStore, account_id: str, query: EventQuery) -> EventPage:
    """The page that the query asks for.

    Raises: InvalidInput, with every complaint. A store failure passes to the caller: nothing was read.
    """
    complaints = query.complaints()
    if complaints:
        raise InvalidInput(complaints[0].message, complaints[0].param, tuple(complaints))
    place = _read_cursor(query, account_id) if query.cursor is not None else None
    skip = place.events_shown if place and place.events_shown else 0
    events: list[CostEvent] = []
    for document in _segments(store, account_id, query, place):
        if document is None or len(events) == query.limit:
            return _page(events, account_id, query, place)
        shown = [event for event in _newest_first(document) if query.shows(event)]
        stop = skip + query.limit - len(events)
        events += shown[skip:stop]
        last_at: datetime = document.fields["last_at"]
        place = _Place(last_at, document.document_id, stop if stop < len(shown) else None)
        if place.events_shown is not None:
            return _page(events, account_id, query, place)
        skip = 0
    return _page(events, account_id, query, None)


def _page(events: list[CostEvent], account_id: str, query: EventQuery, place: "_Place | None") -> EventPage:
    events.sort(key=lambda event: event.timestamp, reverse=True)
    if place is None:
        return EventPage(events=tuple(events))
    cursor = _written_cursor(place, account_id, query)
    return EventPage(events=tuple(events), next_cursor=cursor, scanned_to=place.last_at)


def _newest_first(segment: Document) -> list[CostEvent]:
    return sorted(stored_events(segment.fields), key=lambda event: event.timestamp, reverse=True)


def _segments(
    store: DocumentStore, account_id: str, query: EventQuery, place: "_Place | None"
) -> Iterator[Document | None]:
    """The segments from that place on, newest first; None at last, where a page may not scan them all."""
    collection = segments_collection(account_id)
    left = SEGMENTS_A_PAGE_MAX
    if place is not None and place.events_shown is not None:
        # Gone means that its time was over meanwhile; the page goes on behind it.
        begun = store.get(f"{collection}/{place.segment_id}")
        left -= 1
        if begun is not None:
            yield begun
    after = None if place is None else (place.last_at, place.segment_id)
    limit = SEGMENTS_READ_FIRST
    while left:
        limit = min(limit, left)
        found = store.query(_segment_query(collection, query, after, limit))
        yield from found
        if len(found) < limit:
            return
        after = (found[-1].fields["last_at"], found[-1].document_id)
        left -= limit
        limit *= 2
    yield None


def _segment_query(
    collection: str, query: EventQuery, after: tuple[datetime, str] | None, limit: int
) -> Query:
    sessions = query.filters.get("session_id", ())
    return Query(
        collection=collection,
        contains=("session_ids", session_hash(sessions[0])) if len(sessions) == 1 and sessions[0] else None,
        order_by="last_at",
        descending=True,
        at_least=query.oldest,
        # A segment lies in one quarter hour, so what began before `end` is in one that ends by then.
        below=query.end and quarter_of(query.end.astimezone(UTC) - _MICROSECOND) + QUARTER,
        after=after,
        limit=limit,
    )


def _written_cursor(place: _Place, account_id: str, query: EventQuery) -> str:
    moment = (place.last_at - _EPOCH) // _MICROSECOND
    shown = -1 if place.events_shown is None else place.events_shown
    content = msgspec.msgpack.encode((_seal(account_id, query), moment, place.segment_id, shown))
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _read_cursor(query: EventQuery, account_id: str) -> _Place:
    try:
        seal, moment, segment_id, shown = _cursor_content(query.cursor or "")
        place = _Place(_EPOCH + moment * _MICROSECOND, segment_id, None if shown == -1 else shown)
        is_ours = seal == _seal(account_id, query) and _SEGMENT_ID.fullmatch(segment_id) and shown >= -1
    except (ValueError, OverflowError, msgspec.MsgspecError):
        is_ours = False
    if not is_ours:
        message = "that is no page of this query; begin without a cursor, or repeat the query unchanged"
        raise InvalidInput(message, "cursor")
    return place


def _cursor_content(cursor: str) -> tuple[bytes, int, str, int]:
    padded = cursor[:CURSOR_CHARACTERS_MAX] + "=" * (-len(cursor) % 4)
    content = base64.b64decode(padded, altchars=b"-_", validate=True)
    return msgspec.msgpack.decode(content, type=tuple[bytes, int, str, int])


def _seal(account_id: str, query: EventQuery) -> bytes:
    """Binds a cursor to its account and query, so that it is never taken for a place in another one."""
    filters = sorted((name, *values) for name, values in query.filters.items())
    asked = msgspec.json.encode((account_id, query.start, query.end, filters))
    return hashlib.blake2b(asked, digest_size=8).digest()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
