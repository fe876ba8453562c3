"""Segments: an account's cost events packed into single documents, sealed before any limit of a commit.

A segment belongs to one account and one quarter hour (of admission), so that storing it touches one rollup
shard and its moments span at most 15 minutes, which readers of ranges rely on. Its name is
`<instance>-<number>`; the journal's `settled` line carries it, so that recovery stores an event under the
same name as the process that died.

An open segment is **sealed** at the first of `EVENTS_MAX` events, `ENCODED_BYTES_MAX`, `DOCUMENTS_MAX`
documents touched, `INCREMENTS_MAX` increments on its rollup shard, or its age: 250 ms where the account was
quiet for 5 s (a lone call shows at once), else 2.5 s; longer, where so many instances write of one account
that its rollup shards are too few (`stretch`, docs/decisions/0031). Here is no I/O and no clock: `now` is
handed in, seconds of a monotonic clock.

`ENCODED_BYTES_MAX` counts JSON before compression, since names are given before it. Measured on 1,000 usual
events: 642 kB of JSON, 68 kB stored (zstd, level 1), 0.9 ms for both. A segment that does not compress at
all still fits a document.
"""

import hashlib
import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import compress
from typing import Any

import msgspec
import zstandard

from metering.collections import segments_collection
from metering.events import CostEvent, encoded_event
from metering.rollups import (
    QUARTER,
    SUMS,
    Additions,
    Alike,
    Cell,
    cells_of,
    combination_of,
    histogram_counters,
    latency_cell,
    quarter_of,
    sums_of,
)

EVENTS_MAX = 1_000
ENCODED_BYTES_MAX = 768 * 1024
DOCUMENTS_MAX = 300
INCREMENTS_MAX = 400
QUIET_SECONDS = 5.0
AGE_QUIET_SECONDS = 0.25
AGE_BUSY_SECONDS = 2.5
EVENTS_HELD_MAX = 20_000
EVENTS_KEPT = timedelta(days=400)
EVENTS_KEPT_MIN = timedelta(days=8)  # recovery must find what it is to compare with
DECOMPRESSED_BYTES_MAX = 4 * 1024 * 1024

_COMPRESSION_LEVEL = 1
_DOCUMENTS_BESIDE_LEASES = 4  # the segment, its rollup shard, its instance's count and its active day
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(list[CostEvent])


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one account that are stored together, under a name that is theirs whatever happens."""

    name: str
    account_id: str
    events: tuple[CostEvent, ...]
    additions: Additions | None = None  # of exactly these events, where they were packed for one commit

    @property
    def instance(self) -> str:
        """The process that packed it."""
        return self.name.rpartition("-")[0]


class SegmentPacker:
    """Packs events into segments. For one thread.

    Holds at most `events_held_max` events, open and sealed together. At that bound `add` still names a
    segment, but the event stays with the journal alone (recovery stores it under that name) and is counted
    in `events_left_to_journal`. It never is the name of a segment held here: that one's chain might outgrow
    `metering.ledger.LINKS_MAX`. Accounts are bounded by it too: an open segment holds an event.
    """

    def __init__(
        self,
        instance: str,
        *,
        events_held_max: int = EVENTS_HELD_MAX,
        stretch: Callable[[str], int] = lambda _account_id: 1,
    ) -> None:
        """`stretch` says of an account how many times longer than usual its segments are left open."""
        self.events_held = 0
        self.events_left_to_journal = 0
        self._instance = instance
        self._events_held_max = events_held_max
        self._stretch = stretch
        self._numbers = 0
        self._journal_name = ""
        self._journal_name_uses = 0
        self._open: dict[tuple[str, datetime], _OpenSegment] = {}
        self._ages: list[tuple[float, int, tuple[str, datetime]]] = []  # heap of (due at, number, key)
        self._sealed: list[Segment] = []
        self._last_event_at: OrderedDict[str, float] = OrderedDict()
        self._begins = self._ends = datetime.min.replace(tzinfo=UTC)  # the last event's quarter hour

    def add(self, event: CostEvent, now: float, encoded_bytes: int | None = None) -> str:
        """Put the event into a segment; its name. `encoded_bytes` is its length as JSON, where known."""
        if encoded_bytes is None:
            encoded_bytes = len(encoded_event(event))
        key = (event.account_id, self._quarter_of(event.timestamp))
        segment = self._open.get(key)
        if self.events_held >= self._events_held_max:
            self.events_left_to_journal += 1
            return self._name_of_event_left_to_journal()
        if segment is None or not segment.load.takes(event, encoded_bytes):
            if segment is not None:
                self._seal(key)
            segment = self._begin(key, now)
            segment.load.takes(event, encoded_bytes)
        segment.events.append(event)
        self.events_held += 1
        self._note_activity(event.account_id, now)
        if segment.load.is_full:
            self._seal(key)
        return segment.name

    def due(self, now: float) -> list[Segment]:
        """The segments to be stored now, handed over: the packer holds them no longer."""
        self._forget_quiet_accounts(now)
        while self._ages and (self._ages[0][0] <= now or self._is_stale(self._ages[0])):
            entry = heapq.heappop(self._ages)
            if not self._is_stale(entry):
                self._seal(entry[2])
        return self._handed_over()

    def next_due(self, now: float) -> float | None:
        """When `due` will next have something, on the clock of `now`; None while nothing is held."""
        if self._sealed:
            return now
        while self._ages and self._is_stale(self._ages[0]):
            heapq.heappop(self._ages)
        return self._ages[0][0] if self._ages else None

    def drain(self) -> list[Segment]:
        """Every segment, whatever its age."""
        for key in list(self._open):
            self._seal(key)
        self._ages.clear()
        return self._handed_over()

    def _begin(self, key: tuple[str, datetime], now: float) -> "_OpenSegment":
        last = self._last_event_at.get(key[0])
        is_quiet = last is None or now - last >= QUIET_SECONDS
        segment = _OpenSegment(self._next_name(), self._numbers)
        self._open[key] = segment
        stretch = self._stretch(key[0])
        age = AGE_QUIET_SECONDS if is_quiet and stretch == 1 else AGE_BUSY_SECONDS * stretch
        heapq.heappush(self._ages, (now + age, segment.number, key))
        return segment

    def _next_name(self) -> str:
        self._numbers += 1
        return f"{self._instance}-{self._numbers}"

    def _seal(self, key: tuple[str, datetime]) -> None:
        segment = self._open.pop(key)
        self._sealed.append(
            Segment(
                name=segment.name,
                account_id=key[0],
                events=tuple(segment.events),
                additions=segment.load.additions,
            )
        )

    def _handed_over(self) -> list[Segment]:
        sealed, self._sealed = self._sealed, []
        self.events_held -= sum(len(segment.events) for segment in sealed)
        return sealed

    def _quarter_of(self, moment: datetime) -> datetime:
        """The quarter hour, mostly that of the event before."""
        if not self._begins <= moment < self._ends:
            self._begins = quarter_of(moment)
            self._ends = self._begins + QUARTER
        return self._begins

    def _is_stale(self, entry: tuple[float, int, tuple[str, datetime]]) -> bool:
        segment = self._open.get(entry[2])
        return segment is None or segment.number != entry[1]

    def _name_of_event_left_to_journal(self) -> str:
        # One name serves a run of such events, whosever they are: names are an account's own.
        if self._journal_name_uses % EVENTS_MAX == 0:
            self._journal_name = self._next_name()
        self._journal_name_uses += 1
        return self._journal_name

    def _note_activity(self, account_id: str, now: float) -> None:
        self._last_event_at[account_id] = now
        self._last_event_at.move_to_end(account_id)

    def _forget_quiet_accounts(self, now: float) -> None:
        while self._last_event_at:
            account_id, last = next(iter(self._last_event_at.items()))
            if now - last < QUIET_SECONDS:
                return
            del self._last_event_at[account_id]


class _OpenSegment:
    __slots__ = ("events", "load", "name", "number")

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.events: list[CostEvent] = []
        self.load = CommitLoad()


class CommitLoad:
    """What storing some events in one commit will take, held below every limit of a store."""

    __slots__ = (
        "_begins", "_encoded_bytes", "_ends", "_events", "_increments", "_lease_ids", "_written", "additions",
    )  # fmt: skip

    def __init__(self) -> None:
        self.additions: Additions = {}
        self._events = 0
        self._encoded_bytes = 0
        self._increments = 0
        self._lease_ids: set[str] = set()
        self._written: dict[Cell, set[str]] = {}  # which sums of which cells
        self._begins: datetime | None = None  # the quarter hour, and its end
        self._ends: datetime | None = None

    @property
    def is_full(self) -> bool:
        """Whether no further event can fit."""
        return self._events >= EVENTS_MAX or self._encoded_bytes >= ENCODED_BYTES_MAX

    def takes(self, event: CostEvent, encoded_bytes: int) -> bool:
        """Count the event in, if it fits; whether it did. The first one always fits."""
        combination, sums, counters = combination_of(event), sums_of(event), histogram_counters(event)
        pattern = (tuple(compress(SUMS, sums)), counters)
        alike = self.additions.get(combination)
        new = [] if alike and pattern in alike.patterns else self._new(combination, *pattern)
        new_leases = {charge.lease_id for charge in event.charges if charge.lease_id not in self._lease_ids}
        encoded_bytes += self._encoded_bytes + 1
        increments = self._increments + sum([len(names) for _, names in new])
        if self._events and (
            not self._holds(event.timestamp)
            or self._events >= EVENTS_MAX
            or encoded_bytes > ENCODED_BYTES_MAX
            or len(self._lease_ids) + len(new_leases) + _DOCUMENTS_BESIDE_LEASES > DOCUMENTS_MAX
            or increments > INCREMENTS_MAX
        ):
            return False
        if not self._events:
            self._begins = quarter_of(event.timestamp)
            self._ends = self._begins + QUARTER
        if alike is None:
            alike = self.additions[combination] = Alike()
        self._events += 1
        self._encoded_bytes, self._increments = encoded_bytes, increments
        if new_leases:
            self._lease_ids |= new_leases
        for cell, names in new:
            self._written.setdefault(cell, set()).update(names)
        alike.patterns.add(pattern)
        alike.add(sums, counters)
        return True

    def _holds(self, moment: datetime) -> bool:
        """Whether the moment lies in the quarter hour of the events so far."""
        return self._begins is not None and self._ends is not None and self._begins <= moment < self._ends

    def _new(
        self, combination: tuple[str, ...], sums: Sequence[str], counters: Sequence[str]
    ) -> list[tuple[Cell, Sequence[str]]]:
        """To which sums of which cells nothing has been added yet."""
        adds = [(cell, sums) for cell in cells_of(combination)]
        if counters:
            adds.append((latency_cell(combination), counters))
        return [
            (cell, [name for name in names if name not in self._written.get(cell, ())])
            for cell, names in adds
        ]


def first_portion(events: Sequence[CostEvent]) -> Sequence[CostEvent]:
    """As many of the first events as one commit can store; at least one."""
    load = CommitLoad()
    for place, event in enumerate(events):
        if not load.takes(event, len(encoded_event(event))):
            return events[:place]
    return events


def segment_path(account_id: str, name: str, link: int = 0) -> str:
    """Where the segment, or a later link of its chain, is stored."""
    return f"{segments_collection(account_id)}/{name}" + (f".{link}" if link else "")


def segment_fields(events: Sequence[CostEvent], events_kept: timedelta = EVENTS_KEPT) -> dict[str, Any]:
    """The document of these events. Session ids are hashed: users choose how long those are."""
    moments = [event.timestamp for event in events]
    packed = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress(_ENCODER.encode(events))
    return {
        "events": packed,
        "request_ids": [event.request_id for event in events],
        "session_ids": sorted({session_hash(event.session_id) for event in events if event.session_id}),
        "first_at": min(moments),
        "last_at": max(moments),
        "count": len(events),
        "kept_until": max(moments) + max(events_kept, EVENTS_KEPT_MIN),
    }


def stored_events(fields: dict[str, Any]) -> list[CostEvent]:
    """The events of a segment's document, in the order they were packed."""
    packed = zstandard.ZstdDecompressor().decompress(fields["events"], DECOMPRESSED_BYTES_MAX)
    return _DECODER.decode(packed)


def session_hash(session_id: str) -> str:
    """What a segment is found by for one of its sessions."""
    return hashlib.blake2b(session_id.encode(), digest_size=12).hexdigest()


def unique_events(events: Iterable[CostEvent]) -> list[CostEvent]:
    """The events, each request once: the first seen of it."""
    seen: dict[str, CostEvent] = {}
    for event in events:
        seen.setdefault(event.request_id, event)
    return list(seen.values())
