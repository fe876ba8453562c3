"""Recovery: what journals hold and the store does not, stored. Safe to repeat, at any moment, twice at once.

**Settled lines** go into the store under their segment's name by the ledger's own rule, so an event that is
there already is found and not stored again, whoever stored it, and however much of its segment he knew.

**Calls that never settled** of an instance that is dead become one event each, `lost`: nothing is known of
them but what they were admitted with, so they cost what they were expected to (what they could at most, where
a strict budget held that), and are charged to the leases that held it. Not where an event of that request is
in the store: its line was lost, or its file recovered before. Their segment has a name of the instance's that
follows from the quarter hour alone.

**Lines of unseen keys** name a key's hash: the account, the key's pins and the account's own prices are
looked up now. A key that is unknown, or was not live at the time of the call, is nobody's: counted, and never
given to a guess.

**Refused** and counted are lines older than `LINE_AGE_MAX`, since what they would be compared with may be
gone, and lines of accounts that are no more. What is no line, and what the store does not take, is kept
aside. Everything else stays where it is until it is stored; a store that gives no answer ends the run.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from metering.accounts import LOCAL_ACCOUNT_ID, Policy
from metering.budgets import Subject, matching
from metering.clock import Clock
from metering.collections import account_path, key_path, policy_path, segments_collection
from metering.counters import CounterKey, CounterTotals, LeaseName, counter_key, increments_of
from metering.directory import key_from, policy_from
from metering.errors import StoreError, StoreUnavailable
from metering.events import Charge, CostEvent
from metering.ids import repeatable_digest
from metering.journal import Admitted, BadJournalLine, Line, Settled, admitted_line, parse_line, settled_line
from metering.journal_files import (
    DeadJournal,
    dead_journal,
    instances_in,
    keep_aside,
    left_lines,
    left_paths,
    lines_of,
)
from metering.keys import KeyRecord
from metering.leases import charge_writes, lease_expiry
from metering.ledger import ExtraWrites, Ledger
from metering.periods import period_of
from metering.pricing import Pricer
from metering.rollups import QUARTER, quarter_of
from metering.segments import Segment, segment_path
from metering.stores import STORE_TIMEOUT_SECONDS, DocumentStore, Increment, Query, Write

LINE_AGE_MAX: Final = timedelta(days=6)  # below the days that segments are kept at least
LINES_AT_ONCE: Final = 2_000  # in memory; those of one segment mostly stand together
REMEMBERED_MAX: Final = 10_000  # accounts and keys a run has looked up
FIRST_NUMBER_OF_LOST: Final = 10**12  # of segments: far above any that an instance gives itself
NUMBER_OF_UNSEEN: Final = 0  # of leases: those of an instance begin with 1
LATE_COMMIT_SECONDS: Final = STORE_TIMEOUT_SECONDS + 2  # by then a dead process's last commit has landed

_BILLED_STATES: Final = frozenset({"completed", "client_closed", "upstream_truncated", "drained"})

T = TypeVar("T")


class RecoveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to. Bad lines and refused ones are counted each time they are met."""

    events_stored: int = 0
    events_found: int = 0  # stored already
    events_lost: int = 0
    lines_bad: int = 0
    lines_too_old: int = 0
    lines_of_no_account: int = 0
    lines_of_no_key: int = 0
    lines_not_taken: int = 0  # by the store: kept aside
    lines_waiting: int = 0  # in a queue, for their call to settle, or to be old enough
    runs_elsewhere: int = 0  # this one did nothing, since another is at the queue
    runs_full: int = 0  # took from a queue as many lines as a run may; there may be more
    files_removed: int = 0
    files_unreadable: int = 0

    def plus(self, other: "RecoveryReport") -> "RecoveryReport":
        """What both came to."""
        names = self.__struct_fields__
        return RecoveryReport(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Recoverer:
    """Stores what lines say. For one run and one thread.

    Raises from every method: StoreUnavailable. What was stored by then stays stored.
    """

    def __init__(self, store: DocumentStore, clock: Clock, pricer: Callable[[], Pricer]) -> None:
        """`pricer` is asked for where an account has prices of its own."""
        self.figures: Counter[str] = Counter()
        self._store = store
        self._clock = clock
        self._pricer = pricer
        self._ledger = Ledger(store, clock)
        self._accounts: dict[str, bool] = {}
        self._keys: dict[str, KeyRecord | None] = {}
        self._policies: dict[str, Policy | None] = {}
        self._counters: dict[str, CounterKey] = {}  # of the leases that only this run charges

    def report(self) -> RecoveryReport:
        """What the run came to so far."""
        return RecoveryReport(**self.figures)

    def parsed(self, raw: bytes) -> Line | None:
        """The line; None, and counted, where it is none of ours."""
        try:
            return parse_line(raw)
        except BadJournalLine:
            self.figures["lines_bad"] += 1
            return None

    def store(self, lines: Iterable[Settled], *, is_owner_dead: bool) -> list[Settled]:
        """Store the lines' events; those lines that the store does not take, whatever is tried."""
        events = [(line, self._owned(line.event, line.key_hash, line.segment)) for line in lines]
        return self._commit(
            [(line, line.segment, event) for line, event in events if event is not None],
            is_owner_dead=is_owner_dead,
        )

    def lose(self, calls: Iterable[Admitted]) -> list[Admitted]:
        """Store one event `lost` for each of the calls that has none; those that the store does not take."""
        members: list[tuple[Admitted, str, CostEvent]] = []
        for call in calls:
            event = self._owned(lost_event(call), call.key_hash, segment_of_lost(call))
            if event is not None and not self._is_stored(event):
                members.append((call, segment_of_lost(call), event))
        return self._commit(members, is_owner_dead=True)

    def is_over(self, call: Admitted) -> bool:
        """Whether the call needs no event any more: it has one, or its line is refused."""
        event = self._owned(lost_event(call), call.key_hash, segment_of_lost(call))
        return event is None or self._is_stored(event)

    def _is_stored(self, event: CostEvent) -> bool:
        query = Query(
            collection=segments_collection(event.account_id),
            contains=("request_ids", event.request_id),
            limit=1,
        )
        return bool(self._store.query(query))

    def _commit(self, members: Sequence[tuple[T, str, CostEvent]], *, is_owner_dead: bool) -> list[T]:
        segments: dict[tuple[str, str], list[tuple[T, CostEvent]]] = {}
        for line, name, event in members:
            segments.setdefault((event.account_id, name), []).append((line, event))
        return [
            line
            for (account_id, name), found in segments.items()
            for line in self._commit_one(account_id, name, found, is_owner_dead=is_owner_dead)
        ]

    def _commit_one(
        self, account_id: str, name: str, found: Sequence[tuple[T, CostEvent]], *, is_owner_dead: bool
    ) -> list[T]:
        """Store what belongs to one segment; those lines that the store does not take, and no others."""
        events = tuple(event for _, event in found)
        segment = Segment(name=name, account_id=account_id, events=events)
        if self._has_whole(segment):
            self.figures["events_found"] += len(found)
            return []
        try:
            stored = self._ledger.commit(segment, self._charges(account_id, is_owner_dead=is_owner_dead))
        except StoreUnavailable:  # the run ends; the same lines are stored by the next
            raise
        except (StoreError, ValueError, OverflowError):  # trying the same again would not help
            if len(found) == 1:
                self.figures["lines_not_taken"] += 1
                return [found[0][0]]
            half = len(found) // 2
            return [
                line
                for part in (found[:half], found[half:])
                for line in self._commit_one(account_id, name, part, is_owner_dead=is_owner_dead)
            ]
        self.figures["events_stored"] += stored.events
        self.figures["events_found"] += stored.events_found
        if events[0].state == "lost":
            self.figures["events_lost"] += stored.events
        return []

    def _has_whole(self, segment: Segment) -> bool:
        """Whether its first link holds it all: the usual case, told without a commit."""
        document = self._store.get(segment_path(segment.account_id, segment.name))
        stored = set(document.fields["request_ids"]) if document else set()
        return all(event.request_id in stored for event in segment.events)

    def _charges(self, account_id: str, *, is_owner_dead: bool) -> ExtraWrites:
        """A dead owner's lease is due to be closed at once; a living one renews its own."""
        now = self._clock.now()
        expires_at = now if is_owner_dead else lease_expiry(now)

        def writes(events: Sequence[CostEvent]) -> list[Write]:
            charged = {charge.lease_id for event in events for charge in event.charges}
            counters = [self._counters[lease_id] for lease_id in charged & self._counters.keys()]
            nothing = increments_of(CounterTotals())
            return [
                *charge_writes(account_id, events, expires_at=expires_at),
                *(Increment(key.path, nothing, key.identity) for key in counters),
            ]

        return writes

    def _owned(self, event: CostEvent, key_hash: str, segment: str) -> CostEvent | None:
        """The event, as its account's; None, and counted, where it is refused."""
        if self._clock.now() - event.timestamp > LINE_AGE_MAX:
            self.figures["lines_too_old"] += 1
            return None
        if key_hash:
            key = self._remembered(self._keys, key_hash, self._key)
            if key is None or not _was_live(key, event.timestamp):
                self.figures["lines_of_no_key"] += 1
                return None
            event = _attributed(event, key)
        if not self._remembered(self._accounts, event.account_id, self._has_account):
            self.figures["lines_of_no_account"] += 1
            return None
        return self._charged(self._repriced(event), segment) if key_hash else event

    def _repriced(self, event: CostEvent) -> CostEvent:
        """An unseen key's call was priced by the list, since nobody knew of the account's own prices.

        What was expected of a call stays: its usage tells less than that.
        """
        if event.estimate_method == "hold" or event.state not in _BILLED_STATES:
            return event
        policy = self._remembered(self._policies, event.account_id, self._policy)
        if policy is None or not policy.settings.prices.overrides:
            return event
        cost = self._pricer().cost(
            event.usage,
            provider=event.provider,
            model=event.model,
            at=event.timestamp,
            service_tier=event.service_tier,
            region=event.region,
            settings=policy.settings.prices,
            requested_model=event.requested_model,
        )
        return msgspec.structs.replace(
            event,
            cost_nanodollars=cost.nanodollars,
            unpriced=cost.unpriced,
            price_version=cost.price_version,
        )

    def _charged(self, event: CostEvent, segment: str) -> CostEvent:
        """An unseen key's call met no budget: those over it are charged now, by a lease of nothing else.

        Those made later count it already, as all that came before them.
        """
        policy = self._remembered(self._policies, event.account_id, self._policy)
        subject = Subject(team=event.team, app=event.app, key_id=event.key_id, model=event.model)
        charges: list[Charge] = []
        for budget in matching(policy.budgets if policy else (), subject):
            if budget.created_at is None or quarter_of(budget.created_at) <= quarter_of(event.timestamp):
                period = period_of(budget.period, budget.timezone, event.timestamp)
                key = counter_key(event.account_id, budget, period, budget.value_of(subject))
                lease = LeaseName(key.counter_id, segment.partition("-")[0], NUMBER_OF_UNSEEN)
                self._counters[lease.lease_id] = key
                charges.append(Charge(budget.budget_id, period.text, lease.lease_id, event.cost_nanodollars))
        return msgspec.structs.replace(event, charges=tuple(charges))

    def _key(self, hashed: str) -> KeyRecord | None:
        document = self._store.get(key_path(hashed))
        return None if document is None else key_from(document)

    def _policy(self, account_id: str) -> Policy | None:
        document = self._store.get(policy_path(account_id))
        return None if document is None else policy_from(document)

    def _has_account(self, account_id: str) -> bool:
        # The machine's own account may be made later than its first calls.
        return account_id == LOCAL_ACCOUNT_ID or self._store.get(account_path(account_id)) is not None

    def _remembered(self, memory: dict[str, T], name: str, look_up: Callable[[str], T]) -> T:
        if name not in memory:
            if len(memory) >= REMEMBERED_MAX:
                memory.clear()
            memory[name] = look_up(name)
        return memory[name]


def lost_event(call: Admitted) -> CostEvent:
    """The event of a call that never settled: what it was admitted to cost, charged where that was held."""
    cost = call.estimate_nanodollars
    return CostEvent(
        request_id=call.request_id,
        timestamp=call.timestamp,
        ended_at=call.timestamp,  # nobody knows
        account_id=call.account_id,
        key_id=call.key_id,
        deployment=call.deployment,
        provider=call.provider,
        model=call.model,
        requested_model=call.requested_model,
        streaming=call.streaming,
        team=call.team,
        app=call.app,
        feature=call.feature,
        customer_tier=call.customer_tier,
        session_id=call.session_id,
        trace_id=call.trace_id,
        prompt_template_id=call.prompt_template_id,
        prompt_fingerprint=call.prompt_fingerprint,
        cost_nanodollars=cost,
        unpriced=not cost,
        estimated=True,
        estimate_method="hold",
        state="lost",
        charges=tuple(Charge(hold.budget_id, hold.period, hold.lease_id, cost) for hold in call.holds),
    )


def segment_of_lost(call: Admitted) -> str:
    """The segment that the call's event goes into when it is lost: the same for whoever finds that."""
    instance = call.instance or repeatable_digest("lost", call.request_id)
    quarter = int(quarter_of(call.timestamp).timestamp() // QUARTER.total_seconds())
    return f"{instance}-{FIRST_NUMBER_OF_LOST + quarter}"


def _was_live(key: KeyRecord, at: datetime) -> bool:
    """Whether the proxy would have let it in then, had it known it."""
    is_revoked = key.revoked_at is not None and key.revoked_at <= at
    is_expired = key.expires_at is not None and key.expires_at <= at
    return "proxy" in key.scopes and not is_revoked and not is_expired


def _attributed(event: CostEvent, key: KeyRecord) -> CostEvent:
    return msgspec.structs.replace(
        event,
        account_id=key.account_id,
        key_id=key.key_id,
        deployment=key.deployment,
        team=key.team or event.team,
        app=key.app or event.app,
    )


def run(store: DocumentStore, clock: Clock, directory: Path, pricer: Callable[[], Pricer]) -> RecoveryReport:
    """Recover the files of a directory: all of dead instances, and what living ones left to recovery.

    A file is removed once all that it holds is stored, refused or kept aside. A file that cannot be read is
    counted and left. Raises: StoreUnavailable; what was stored stays so, and the next run does the rest.
    """
    recoverer = Recoverer(store, clock, pricer)
    for instance in instances_in(directory):
        try:
            _recover_instance(recoverer, directory, instance, clock.now(), is_local=store.kind == "sqlite")
        except OSError:
            recoverer.figures["files_unreadable"] += 1
    return recoverer.report()


def _recover_instance(
    recoverer: Recoverer, directory: Path, instance: str, now: datetime, *, is_local: bool
) -> None:
    with dead_journal(directory, instance) as journal:
        if journal is not None:
            # A commit that the process had sent may land after its death, unless the store died with it.
            late = timedelta() if is_local else timedelta(seconds=LATE_COMMIT_SECONDS)
            may_lose = now >= journal.found_dead_at(now) + late
            _DeadInstance(recoverer, journal, may_lose=may_lose).recover()
            return
    for path in left_paths(directory, instance):
        with left_lines(path) as is_ours:
            if is_ours:
                file = _FileLines(recoverer, path)
                file.store(file.lines(), is_owner_dead=False)
                file.remove()


class _FileLines:
    """The lines of one file, and those of them that are to be kept aside when it goes."""

    def __init__(self, recoverer: Recoverer, path: Path) -> None:
        self._recoverer = recoverer
        self._path = path
        self._aside: list[bytes] = []

    def lines(self) -> Iterator[Line]:
        """The lines, one after the other; bad ones are put aside."""
        for raw in lines_of(self._path):
            line = self._recoverer.parsed(raw)
            if line is None:
                self._aside.append(raw)
            else:
                yield line

    def store(self, lines: Iterable[Line], *, is_owner_dead: bool) -> None:
        """Store the settled ones among the lines; what the store does not take is put aside."""
        settled = (line for line in lines if isinstance(line, Settled))
        while portion := list(islice(settled, LINES_AT_ONCE)):
            for line in self._recoverer.store(portion, is_owner_dead=is_owner_dead):
                self._aside.append(settled_line(line.event, line.segment, key_hash=line.key_hash))

    def lose(self, calls: Iterable[Admitted]) -> None:
        """Store the calls as lost; those that the store does not take are put aside."""
        self._aside += [admitted_line(call) for call in self._recoverer.lose(calls)]

    def remove(self) -> None:
        """Nothing in the file is needed any more; what was put aside is kept beside it."""
        if self._aside:
            keep_aside(self._path, self._aside)
        self._path.unlink(missing_ok=True)
        self._recoverer.figures["files_removed"] += 1


class _DeadInstance:
    """Recovers all files of one dead instance, one after the other."""

    def __init__(self, recoverer: Recoverer, journal: DeadJournal, *, may_lose: bool) -> None:
        self._recoverer = recoverer
        self._journal = journal
        self._may_lose = may_lose
        self._open: dict[_FileLines, dict[str, Admitted]] = {}  # by the file that they were admitted in
        self._settled: set[str] = set()

    def recover(self) -> None:
        """Store what settled; then, since no more lines can come, lose what did not."""
        for path in self._journal.paths():
            file = _FileLines(self._recoverer, path)
            self._open[file] = {}
            file.store(self._noted(file), is_owner_dead=True)
            for each in [each for each, calls in self._open.items() if not calls]:
                self._remove(each)
        if self._may_lose:
            for file, calls in list(self._open.items()):
                file.lose(calls.values())
                self._remove(file)

    def _noted(self, file: _FileLines) -> Iterator[Line]:
        for line in file.lines():
            if isinstance(line, Settled):
                self._settled.add(line.event.request_id)
                for calls in self._open.values():
                    calls.pop(line.event.request_id, None)
            elif line.request_id not in self._settled:
                owner = line.instance or self._journal.instance
                self._open[file][line.request_id] = msgspec.structs.replace(line, instance=owner)
            yield line

    def _remove(self, file: _FileLines) -> None:
        del self._open[file]
        file.remove()
