"""Recording events: packed into segments, committed in the background, repeated until the store has them.

The store being slow or down delays commits and nothing else. A segment is repeated under its own name until
the store says that it is there, with growing, random pauses; other accounts' segments go on meanwhile. While
many wait, no more are taken from the packer, and its own bound holds: what then finds no room is left to the
journal, and counted.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

import msgspec

from metering.clock import Clock
from metering.errors import StoreUnavailable
from metering.events import CostEvent
from metering.segments import Segment, SegmentPacker
from proxy_service.tally import Tally

COMMITS_AT_ONCE: Final = 4
EVENTS_WAITING_MAX: Final = 20_000  # handed over by the packer and not yet stored
EVENTS_WHOLE_MAX: Final = 100_000  # in segments that came whole and are not yet stored: the largest batch
PAUSE_SECONDS_MIN: Final = 0.1
PAUSE_SECONDS_MAX: Final = 5.0
LOOK_SECONDS_MAX: Final = 0.25  # between two looks at what is due, while anything is held

Commit = Callable[[Segment], object]


class Recorder:
    """Takes events on the loop; commits in threads, several accounts at a time, each account in order."""

    def __init__(  # noqa: PLR0913 - what it works with, and whom it tells of what
        self,
        packer: SegmentPacker,
        commit: Commit,
        clock: Clock,
        tally: Tally,
        *,
        threads: Executor,
        on_stored: Callable[[str], None],
        on_refused: Callable[[BaseException], None],
        on_left: Callable[[Segment], None],
        on_reach: Callable[[bool], None],
    ) -> None:
        """`on_left` hears which segments nobody here will store; they are recovery's.

        `on_reach` hears, once each time, that the store gives no answer (False) and that it does again.
        """
        self._packer = packer
        self._commit = commit
        self._clock = clock
        self._tally = tally
        self._threads = threads
        self._on_stored = on_stored
        self._on_refused = on_refused
        self._on_left = on_left
        self._on_reach = on_reach
        self._is_reached = True
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._ready: deque[str] = deque()  # accounts with a segment to store that none is being stored for
        self._pauses: dict[str, float] = {}
        self._pausing: dict[str, asyncio.TimerHandle] = {}
        self._events_waiting = 0
        self._events_whole = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._look: asyncio.TimerHandle | None = None

    @property
    def is_store_reached(self) -> bool:
        """Whether the store answered the last time it was asked to store something."""
        return self._is_reached

    @property
    def segments_waiting(self) -> int:
        """How many segments are to be stored, those included that the store has at this moment."""
        return sum([len(queue) for queue in self._waiting.values()])

    @property
    def oldest_wait_seconds(self) -> float:
        """How long the oldest of them has been waiting."""
        now = self._clock.monotonic()
        return max([now - queue[0].since for queue in self._waiting.values()], default=0.0)

    @property
    def events_unstored(self) -> int:
        """How many events are in memory and not yet in the store."""
        return self._packer.events_held + self._events_waiting + self._events_whole

    def add(self, event: CostEvent, encoded_bytes: int | None = None) -> tuple[str, bool]:
        """Take an event: the name of its segment, and whether it is held here or left to the journal.

        `encoded_bytes` is the event's length as JSON, where that is known.
        """
        left_before = self._packer.events_left_to_journal
        name = self._packer.add(event, self._clock.monotonic(), encoded_bytes)
        is_held = self._packer.events_left_to_journal == left_before
        if not is_held:
            self._tally.events_left_to_journal += 1
        if self._look is None:
            self._look_later()
        return name, is_held

    def add_segment(self, segment: Segment, journal_name: str) -> None:
        """Take a segment that comes whole, of lines the journal knows under that name.

        Such segments have room of their own, so that they never take that of calls; one that finds none is
        left to the journal, and counted.
        """
        count = len(segment.events)
        if self._events_whole + count > EVENTS_WHOLE_MAX:
            self._leave(segment)
            return
        self._events_whole += count
        self._queue(_Waiting(segment, journal_name, self._clock.monotonic(), is_whole=True))

    async def flush(self, seconds: float) -> None:
        """Store everything now, for at most so long; what is not stored by then is left to the journal."""
        self._take(self._packer.drain())
        if self._look is not None:
            self._look.cancel()
        for account_id, timer in list(self._pausing.items()):
            timer.cancel()
            self._make_ready(account_id)
        deadline = asyncio.get_running_loop().time() + seconds
        while self._waiting and (left := deadline - asyncio.get_running_loop().time()) > 0:
            running = list(self._workers) or [asyncio.ensure_future(asyncio.sleep(PAUSE_SECONDS_MIN))]
            await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for worker in self._workers:
            worker.cancel()
        self._tally.events_left_to_journal += self._events_waiting + self._events_whole

    def _look_later(self) -> None:
        now = self._clock.monotonic()
        due_at = self._packer.next_due(now)
        if due_at is None:
            self._look = None
            return
        pause = min(max(due_at - now, 0.0), LOOK_SECONDS_MAX)
        self._look = asyncio.get_running_loop().call_later(pause, self._look_now)

    def _look_now(self) -> None:
        if self._events_waiting < EVENTS_WAITING_MAX:
            self._take(self._packer.due(self._clock.monotonic()))
            self._look_later()
        else:  # what is due stays due: looking for it at once would keep the loop busy
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS_MAX, self._look_now)

    def _take(self, segments: list[Segment]) -> None:
        for segment in segments:
            self._events_waiting += len(segment.events)
            self._queue(_Waiting(segment, segment.name, self._clock.monotonic(), is_whole=False))

    def _queue(self, waiting: "_Waiting") -> None:
        account_id = waiting.segment.account_id
        queue = self._waiting.get(account_id)
        if queue is None:
            self._waiting[account_id] = deque((waiting,))
            self._make_ready(account_id)
        else:
            queue.append(waiting)

    def _make_ready(self, account_id: str) -> None:
        self._pausing.pop(account_id, None)
        self._ready.append(account_id)
        if len(self._workers) < COMMITS_AT_ONCE:
            worker = asyncio.ensure_future(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while self._ready:
            await self._store_next(self._ready.popleft())

    async def _store_next(self, account_id: str) -> None:
        waiting = self._waiting[account_id][0]
        segment = waiting.segment
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._commit, segment)
        except StoreUnavailable:
            # Whether it was stored is not known: the same segment again, which the store takes only once.
            self._tally.commits_repeated += 1
            pause = self._pause(account_id)
            self._pausing[account_id] = loop.call_later(pause, self._make_ready, account_id)
            self._note_reach(is_reached=False)
        except Exception as error:  # noqa: BLE001 - a segment the store refuses must not stop the others
            self._done_with(account_id, waiting)
            self._leave(segment)
            self._on_refused(error)
        else:
            self._tally.events_stored += len(segment.events)
            self._done_with(account_id, waiting)
            self._on_stored(waiting.journal_name)
            self._note_reach(is_reached=True)

    def _leave(self, segment: Segment) -> None:
        self._tally.events_left_to_journal += len(segment.events)
        self._on_left(segment)

    def _note_reach(self, *, is_reached: bool) -> None:
        if is_reached != self._is_reached:
            self._is_reached = is_reached
            self._on_reach(is_reached)

    def _done_with(self, account_id: str, waiting: "_Waiting") -> None:
        self._pauses.pop(account_id, None)
        if waiting.is_whole:
            self._events_whole -= len(waiting.segment.events)
        else:
            self._events_waiting -= len(waiting.segment.events)
        queue = self._waiting[account_id]
        queue.popleft()
        if queue:
            self._ready.append(account_id)
        else:
            del self._waiting[account_id]

    def _pause(self, account_id: str) -> float:
        pause = self._pauses.get(account_id, PAUSE_SECONDS_MIN)
        self._pauses[account_id] = min(2 * pause, PAUSE_SECONDS_MAX)
        return pause * random.uniform(0.5, 1.0)  # nosec B311 # noqa: S311 - so that instances do not come back in step


class _Waiting(msgspec.Struct, frozen=True):
    segment: Segment
    journal_name: str
    since: float
    is_whole: bool
