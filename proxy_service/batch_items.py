"""The items of a message batch, recorded when its results are fetched: each once, however often that happens.

Fetching is a free call and passes like any other; what is read here is a copy, behind the caller's. Each item
that succeeded becomes one cost event at batch prices, of the moment of the fetch that first showed it, with
that fetch's key and tags. Nobody waited for it, so it has no latency.

**Once.** An item's request id and the name of its segment follow from the batch and the item alone, so every
fetch by any instance names them alike, and the ledger's chain rule drops what is stored already
(`metering.ledger`). An item's portion, one segment of `PORTIONS`, follows from the item too: results come in
no promised order. The account is in neither name, since it is not known yet where the store could not say
whose key it is; segments lie below their account anyway.

**Budgets** are charged with each item, once, as it is stored; none is asked, since the batch has run.

**Turns.** Reading an item takes longer than passing it on, so a piece is read in slices, and other calls get
their turn between them. What comes faster than that is read at once, beyond `BACKLOG_BYTES_MAX`.

**When something fails.** A fetch that breaks off records the items it showed; the next one adds the others.
Each item has its `settled` line, so a kill before the commit loses nothing that recovery, or just another
fetch, would not record. The store being down delays commits; what finds no room is left to the journal. What
cannot be read passes all the same, and is counted.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

import msgspec

from metering.budgets import Subject
from metering.clock import Clock
from metering.events import CostEvent
from metering.ids import repeatable_digest
from metering.journal import settled_line
from metering.segments import Segment
from proxy_service.call import Call, Errand
from proxy_service.decoding import Undecodable
from proxy_service.desk import Desk
from proxy_service.journal import Entry, Journal, Ticket
from proxy_service.providers import Ask
from proxy_service.providers.batches import BatchItem, BatchResults, batch_of_results
from proxy_service.recorder import Recorder
from proxy_service.settlement import ERROR, OK, Admitted, Outcome, Settlement
from proxy_service.tally import Tally
from proxy_service.wire import ResponseHead, header

PORTIONS: Final = 16  # of a batch's items: a segment each, whose chain the largest batch does not fill
SLICE_BYTES: Final = 4 * 1024
BACKLOG_BYTES_MAX: Final = 256 * 1024  # of one fetch, passed on and not yet read
ITEMS_HELD_MAX: Final = 900 * PORTIONS  # of all fetches: handed over by then, each portion fits one commit


class BatchItems:
    """Records the items that fetches show. On the loop."""

    def __init__(
        self,
        settlement: Settlement,
        recorder: Recorder,
        journal: Journal,
        tally: Tally,
        clock: Clock,
        *,
        desk: Desk,
    ) -> None:
        self._desk = desk
        self._settlement = settlement
        self._recorder = recorder
        self._journal = journal
        self._tally = tally
        self._clock = clock
        self._fetches: set[Fetch] = set()

    def fetched(
        self, call: Call, errand: Errand, head: ResponseHead
    ) -> "AbstractAsyncContextManager[Fetch | None]":
        """What is to hear the answer's bytes, while it is entered; None where they are no batch's results."""
        is_answer = errand.route.provider == "anthropic" and OK <= head.status < ERROR
        batch_id = batch_of_results(errand.route.target) if is_answer and call.head.method == b"GET" else None
        if batch_id is None:
            return nullcontext()
        try:
            results = BatchResults(header(head.headers, b"content-encoding"))
        except Undecodable:
            self._tally.batch_fetches_unread += 1
            return nullcontext()
        fetch = Fetch(self, results, batch_id, errand.admission(call, Ask(model="")), call.unseen_key_hash)
        self._fetches.add(fetch)
        return fetch

    def event(self, admitted: Admitted, item: BatchItem, request_id: str) -> CostEvent:
        """The item's cost event."""
        outcome = Outcome(
            state="completed",  # of the item: it has run and is billed, whether or not the caller stays
            status_code=OK,
            reading=item.reading,
            ended_at=self._clock.now(),
            latency_ms=0,
        )
        event = self._settlement.settle(msgspec.structs.replace(admitted, request_id=request_id), outcome)
        if not admitted.policy.budgets or not event.cost_nanodollars:
            return event
        subject = Subject(team=event.team, app=event.app, key_id=event.key_id, model=event.model)
        stakes = self._desk.stakes(admitted.policy, subject, event.timestamp)
        return msgspec.structs.replace(event, charges=self._desk.charge(stakes, event.cost_nanodollars))

    def written(self, entries: list[Entry]) -> Ticket:
        """Hand the lines to the journal; the ticket of the last."""
        for entry in entries[:-1]:
            self._journal.append(entry)
        self._tally.batch_items_read += len(entries)
        return self._journal.append_and_tell(entries[-1])

    def make_room(self) -> None:
        """Where more is held than may be, the fetch that holds most hands its own over."""
        while sum(fetch.items_held for fetch in self._fetches) > ITEMS_HELD_MAX:
            max(self._fetches, key=lambda fetch: fetch.items_held).hand_over()

    def store(self, segment: Segment, journal_name: str) -> None:
        """Have the segment stored."""
        self._recorder.add_segment(segment, journal_name)

    def over(self, fetch: "Fetch", *, has_failed: bool, skipped_lines: int) -> None:
        """The fetch is over."""
        self._fetches.discard(fetch)
        self._tally.batch_fetches_unread += has_failed
        self._tally.batch_lines_unread += skipped_lines


class Fetch:
    """One fetch of a batch's results: hears the answer's bytes, and holds the items until it is left.

    `ticket` is that of the last item's line; None while there is no item.
    """

    def __init__(
        self,
        items: BatchItems,
        results: BatchResults,
        batch_id: str,
        admitted: Admitted,
        unseen_key_hash: str,
    ) -> None:
        self.items_held = 0
        self.ticket: Ticket | None = None
        self._items = items
        self._results = results
        self._batch_id = batch_id
        self._segments = repeatable_digest("batch", batch_id)
        self._admitted = admitted
        self._unseen_key_hash = unseen_key_hash
        self._portions: dict[int, list[CostEvent]] = {}
        self._hand_overs = 0
        self._has_failed = False
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._turn: asyncio.Handle | None = None

    async def __aenter__(self) -> "Fetch":
        return self

    async def __aexit__(self, *_: object) -> None:
        """No more bytes will come, or nobody is left to want them."""
        try:
            while self._backlog:  # noqa: ASYNC110 - each turn reads a slice, and lets others have theirs
                await asyncio.sleep(0)
        finally:
            self._read_down_to(0)
            self._finish()

    def _finish(self) -> None:
        self._hear(self._results.finish)
        self.hand_over()
        self._items.over(self, has_failed=self._has_failed, skipped_lines=self._results.skipped_lines)

    def feed(self, data: bytes) -> None:
        """The next bytes of the answer, as they came off the wire. Never raises."""
        if self._has_failed:
            return
        self._backlog += [data[at : at + SLICE_BYTES] for at in range(0, len(data), SLICE_BYTES)]
        self._backlog_bytes += len(data)
        self._read_down_to(BACKLOG_BYTES_MAX)
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        if self._backlog:
            self._read_slice()
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _read_down_to(self, size_bytes: int) -> None:
        while self._backlog_bytes > size_bytes:
            self._read_slice()

    def _read_slice(self) -> None:
        data = self._backlog.popleft()
        self._backlog_bytes -= len(data)
        if not self._has_failed:
            self._hear(lambda: self._results.feed(data))

    def hand_over(self) -> None:
        """Let go of the items that are held: to be stored now."""
        account_id = self._admitted.caller.account_id
        for portion, events in self._portions.items():
            segment = Segment(name=self._segment(portion), account_id=account_id, events=tuple(events))
            self._items.store(segment, self._journal_name(portion))
        self._portions, self.items_held = {}, 0
        self._hand_overs += 1

    def _hear(self, hear: Callable[[], list[BatchItem]]) -> None:
        try:
            found = hear()
            if found:
                self.ticket = self._items.written([self._entry(item) for item in found])
                self._items.make_room()
        except Exception:  # noqa: BLE001 - this is an edge: whatever fails here, the call goes on
            self._has_failed = True

    def _entry(self, item: BatchItem) -> Entry:
        """The item's line; the item is held, unless its account is for recovery to find."""
        portion = int(item.item_id[:8], 16) % PORTIONS
        request_id = f"req_{repeatable_digest('batch item', self._batch_id, item.item_id)}"
        event = self._items.event(self._admitted, item, request_id)
        line = settled_line(event, self._segment(portion), key_hash=self._unseen_key_hash)
        if not self._unseen_key_hash:
            self._portions.setdefault(portion, []).append(event)
            self.items_held += 1
        return Entry(line, request_id, self._journal_name(portion), is_held=not self._unseen_key_hash)

    def _segment(self, portion: int) -> str:
        return f"{self._segments}-{portion}"

    def _journal_name(self, portion: int) -> str:
        """Other fetches' lines, and later ones, are needed still when these are stored."""
        return f"{self._segment(portion)}/{self._admitted.request_id}/{self._hand_overs}"
