"""Recovery from a queue: where proxies have no disk, the platform hands their journal's lines to one.

**Settled lines** are stored as those of files are (`metering.recovery`), and acknowledged then. Lines younger
than `LINE_AGE_MIN` are given back: their process has most likely just not stored them yet.

**Admitted lines** stay in the queue until an event of their call is stored. A call is lost when it was
admitted more than `CALL_AGE_MAX` ago, no call lasts as long, and the queue was found empty since: else its
settled line might still be on its way.

**One at a time.** A line that one recoverer has pulled is hidden from all others, so a queue that seems empty
is empty only for the one who knows that nobody else is at it. A claim in the store says who is; whoever dies
with it holds it until all that he had pulled has come back.

What is no line, or what the store does not take, goes to where the queue sets things aside.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar

import msgspec

from metering.clock import Clock
from metering.collections import RECOVERY_PATH
from metering.errors import AlreadyExists, MeteringError, RevisionChanged, StoreError
from metering.ids import new_id
from metering.journal import Admitted, Settled
from metering.pricing import Pricer
from metering.recovery import Recoverer, RecoveryReport
from metering.stores import Create, DocumentStore, Put, Update

LINE_AGE_MIN: Final = timedelta(minutes=2)
CALL_AGE_MAX: Final = timedelta(minutes=65)  # the platform ends a request after an hour
DRAINED_AGE: Final = 2 * LINE_AGE_MIN + timedelta(minutes=1)  # younger lines may be hidden as too young
HIDDEN_SECONDS: Final = 600  # a line that was pulled, or waits for its call to settle, comes back after
CLAIM_SECONDS: Final = HIDDEN_SECONDS + 60
LINES_A_PULL: Final = 1_000
LINES_A_RUN_MAX: Final = 10_000
DRAIN_SECONDS_MAX: Final = 240.0  # far below what a function's request may take
EMPTY_PULLS: Final = 3  # one alone may be empty although there are lines
LEASE_GRACE: Final = timedelta(minutes=15)

_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


class QueueUnavailable(MeteringError):
    """The queue gave no answer in time, or refused. What was asked of it may or may not have been done."""


class Delivery(msgspec.Struct, frozen=True):
    """A line as the queue handed it over, to be acknowledged or given back by its `handle`."""

    handle: str
    line: bytes
    published_at: datetime


class JournalQueue(Protocol):
    """Lines, each delivered until it is acknowledged. Raises from every method: QueueUnavailable."""

    def pull(self, count: int) -> Sequence[Delivery]:
        """At most so many lines, hidden from others for `HIDDEN_SECONDS`; maybe none although there are."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """These are not needed any more."""

    def give_back(self, deliveries: Sequence[Delivery], seconds: int) -> None:
        """These are to be delivered again, so many seconds from now."""

    def set_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Keep a copy of these for a person to look at."""


def drain(
    store: DocumentStore, clock: Clock, queue: JournalQueue, pricer: Callable[[], Pricer]
) -> RecoveryReport:
    """Run again as long as a run was full, for `DRAIN_SECONDS_MAX`; what all of it came to.

    What a run took is handled or hidden, so the next one finds other lines. Raises: as `run`.
    """
    began = clock.monotonic()
    total = latest = run(store, clock, queue, pricer)
    while latest.runs_full and clock.monotonic() - began < DRAIN_SECONDS_MAX:
        latest = run(store, clock, queue, pricer)
        total = total.plus(latest)
    return total


def run(
    store: DocumentStore, clock: Clock, queue: JournalQueue, pricer: Callable[[], Pricer]
) -> RecoveryReport:
    """Recover what the queue holds, up to `LINES_A_RUN_MAX` lines. Where another is at it, nothing.

    While the store is silent nothing is pulled. Raises: StoreUnavailable, QueueUnavailable; what was
    stored stays so, and what was not acknowledged is delivered again.
    """
    claim = _claimed(store, clock.now())
    if claim is None:
        return RecoveryReport(runs_elsewhere=1)
    recoverer = Recoverer(store, clock, pricer)
    this = _Run(recoverer, queue, clock.now(), claim.drained_until)
    try:
        this.recover()
    finally:
        if not this.is_holding:
            _release(store, clock.now(), claim, this.drained_until)
    return recoverer.report()


def drained_until(store: DocumentStore) -> datetime:
    """Lines that were published before are recovered, but for calls that may still be under way."""
    document = store.get(RECOVERY_PATH)
    return _NEVER if document is None else _drained_until(document.fields["drained_until"])


class _Claim(msgspec.Struct, frozen=True):
    revision: str
    drained_until: datetime


def _drained_until(value: object) -> datetime:
    return msgspec.convert(value, datetime)


def _claimed(store: DocumentStore, now: datetime) -> _Claim | None:
    """The claim, where nobody else has it. Its revision shows later that it is still ours."""
    document = store.get(RECOVERY_PATH)
    if document is not None and document.fields["held_until"] > now:
        return None
    before = _NEVER if document is None else _drained_until(document.fields["drained_until"])
    fields = {
        "holder": new_id("run"),
        "held_until": now + timedelta(seconds=CLAIM_SECONDS),
        "drained_until": before,
    }
    try:
        if document is None:
            store.commit([Create(RECOVERY_PATH, fields)])
        else:
            store.commit([Put(RECOVERY_PATH, fields, document.revision)])
    except (AlreadyExists, RevisionChanged):
        return None
    claimed = store.get(RECOVERY_PATH)
    if claimed is None or claimed.fields["holder"] != fields["holder"]:
        return None
    return _Claim(claimed.revision, before)


def _release(store: DocumentStore, now: datetime, claim: _Claim, drained_until: datetime) -> None:
    """Let others at the queue. Whatever the store says to that, the claim ends by itself."""
    with suppress(StoreError):
        released = {"held_until": now, "drained_until": drained_until}
        store.commit([Update(RECOVERY_PATH, released, claim.revision)])


class _Run:
    """One run over the queue, by the only one who is at it."""

    def __init__(
        self, recoverer: Recoverer, queue: JournalQueue, now: datetime, drained_before: datetime
    ) -> None:
        self._recoverer = recoverer
        self._queue = queue
        self.drained_until = drained_before
        self._now = now
        self._drained_before = drained_before
        self._pulled: dict[str, Delivery] = {}  # and neither acknowledged nor given back

    @property
    def is_holding(self) -> bool:
        """Whether lines are hidden that were neither handled nor given back."""
        return bool(self._pulled)

    def recover(self) -> None:
        """Handle what the queue holds."""
        try:
            is_drained = self._pull()
            self._give_back_young()
            self._handle()
        except MeteringError:
            with suppress(QueueUnavailable):  # else they come back by themselves
                self._queue.give_back(list(self._pulled.values()), 0)
                self._pulled.clear()
            raise
        if is_drained:
            self.drained_until = max(self._drained_before, self._now - DRAINED_AGE)
        else:
            self._recoverer.figures["runs_full"] += 1

    def _pull(self) -> bool:
        """Pull lines; whether there are no more."""
        empty = 0
        while len(self._pulled) < LINES_A_RUN_MAX:
            found = self._queue.pull(LINES_A_PULL)
            self._pulled |= {delivery.handle: delivery for delivery in found}
            empty = 0 if found else empty + 1
            if empty == EMPTY_PULLS:
                return True
        return False

    def _give_back_young(self) -> None:
        young = [each for each in self._pulled.values() if self._now - each.published_at < LINE_AGE_MIN]
        self._wait(young, int(LINE_AGE_MIN.total_seconds()))

    def _handle(self) -> None:
        settled: list[tuple[Settled, Delivery]] = []
        admitted: list[tuple[Admitted, Delivery]] = []
        bad: list[Delivery] = []
        for delivery in self._pulled.values():
            line = self._recoverer.parsed(delivery.line)
            if isinstance(line, Settled):
                settled.append((line, delivery))
            elif line is None:
                bad.append(delivery)
            else:
                admitted.append((line, delivery))
        self._done(bad, aside=bad)
        not_taken = self._recoverer.store([line for line, _ in settled], is_owner_dead=False)
        self._done([delivery for _, delivery in settled], aside=_deliveries_of(not_taken, settled))
        self._handle_admitted(admitted, {line.event.request_id for line, _ in settled})

    def _handle_admitted(self, admitted: Sequence[tuple[Admitted, Delivery]], settled: set[str]) -> None:
        over: list[Delivery] = []
        waiting: list[Delivery] = []
        lost: list[tuple[Admitted, Delivery]] = []
        for call, delivery in admitted:
            if call.request_id in settled or self._recoverer.is_over(call):
                over.append(delivery)
            elif self._may_lose(call):
                lost.append((call, delivery))
            else:
                waiting.append(delivery)
        not_taken = self._recoverer.lose([call for call, _ in lost])
        over += [delivery for _, delivery in lost]
        self._done(over, aside=_deliveries_of(not_taken, lost))
        self._wait(waiting, HIDDEN_SECONDS)

    def _may_lose(self, call: Admitted) -> bool:
        return call.timestamp + CALL_AGE_MAX <= min(self._now, self._drained_before)

    def _done(self, deliveries: Sequence[Delivery], *, aside: Sequence[Delivery]) -> None:
        """These are handled: nothing of them is needed but what is kept aside."""
        if aside:
            self._queue.set_aside(aside)
        if deliveries:
            self._queue.acknowledge(deliveries)
        self._forget(deliveries)

    def _wait(self, deliveries: Sequence[Delivery], seconds: int) -> None:
        if deliveries:
            self._queue.give_back(deliveries, seconds)
        self._recoverer.figures["lines_waiting"] += len(deliveries)
        self._forget(deliveries)

    def _forget(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            del self._pulled[delivery.handle]


def _deliveries_of(lines: Iterable[T], among: Iterable[tuple[T, Delivery]]) -> list[Delivery]:
    wanted = {id(line) for line in lines}
    return [delivery for line, delivery in among if id(line) in wanted]
