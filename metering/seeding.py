"""Seeding: a budget made in the middle of a period counts what its calls had cost before.

A counter's `seeded` is what matching events of the period cost that carry no charge for the budget: those
from before it was made, and those of calls that were under way when it was. It is found anew as a whole each
time and written as such, so seeding is repeated at will; it is repeated until `STRAGGLERS` after the budget
was made, when calls that were under way are over and those of instances that died are recovered.

Whole hours of a period before the budget was made are summed from rollups. Where these do not tell (a scope
of a key and a team; values collapsed into `other`), and from `rolled_until` on, single events are read, and
those that carry no charge for the budget count.

A budget that is switched off neither limits nor counts. Switched on again, it counts from the period's
beginning what it has not counted, the pause included.

One document a budget, `seedings/<budget id>`, says how far that is. Whoever seeds commits on the condition
that nobody else did meanwhile, so two at once are as good as one, and a commit of unknown outcome is found
to have happened or not by the next.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import msgspec

from metering.budgets import EACH_VALUES_MAX, Budget, Subject
from metering.clock import Clock
from metering.collections import (
    SEEDINGS,
    budget_periods_collection,
    policy_path,
    seeding_path,
    segments_collection,
)
from metering.counters import CounterKey, CounterTotals, counter_key, counter_totals
from metering.directory import policy_from
from metering.errors import AlreadyExists, DocumentMissing, RevisionChanged
from metering.events import CostEvent
from metering.periods import Period, period_of
from metering.rollups import DIMENSIONS, OTHER, QUARTER, quarter_of
from metering.segments import EVENTS_KEPT_MIN, stored_events
from metering.stats import Statistics, UsageBucket, UsageQuery
from metering.stores import Create, Document, DocumentStore, Increment, Put, Query, Update, Write

STRAGGLERS: Final = timedelta(hours=2)  # longer than recovery waits for a call of a dead instance to settle
CLOCKS_APART: Final = timedelta(minutes=5)
REPEAT_MIN, REPEAT_MAX = timedelta(seconds=15), timedelta(minutes=15)
NEVER: Final = datetime(2100, 1, 1, tzinfo=UTC)
ALWAYS: Final = datetime(2000, 1, 1, tzinfo=UTC)

BUDGETS_A_RUN_MAX: Final = 100
COUNTERS_A_COMMIT: Final = 100
ATTEMPTS_MAX: Final = 8
SEGMENTS_A_READ: Final = 50
SEGMENTS_READ_MAX: Final = 50_000
COUNTERS_A_READ: Final = 500
COUNTERS_READ_MAX: Final = 20_000  # instances choose by themselves whose limits are values' own
_HOURS_A_QUERY: Final = timedelta(days=30)
_ROLLED_UP: Final = (frozenset(DIMENSIONS["main"]), frozenset(DIMENSIONS["key"]))
_MOMENT: Final = timedelta(microseconds=1)


class Seeding(msgspec.Struct, frozen=True, kw_only=True):
    """How far the seeding of a budget is.

    `since`: when it began to count, lately; `rolled_until`: before that, in the period of `since`, no call
    was charged to it. `paused_at`: since when it is switched off. `counting_from` is true of the period that
    `since` lies in; every later one is counted from its beginning. `next_at`: when to seed it next.
    """

    account_id: str
    budget: Budget
    since: datetime
    rolled_until: datetime
    counting_from: datetime
    paused_at: datetime | None = None
    next_at: datetime
    passes: int = 0

    @property
    def period(self) -> Period:
        """The period that is seeded."""
        return period_of(self.budget.period, self.budget.timezone, self.since)

    def counting_from_in(self, period: Period) -> datetime:
        """Since when the budget counts what is spent in that period."""
        return self.counting_from if self.period == period else period.starts_at

    def write(self) -> Write:
        """The write that keeps it."""
        return Put(*_document(self))


class SeedingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to."""

    budgets_seeded: int = 0
    counters_changed: int = 0
    seedings_ended: int = 0
    budgets_put_off: int = 0


def begun(account_id: str, budget: Budget, now: datetime) -> Seeding:
    """The seeding of a budget that is new; where it is switched off, of one that never counted a call."""
    return Seeding(
        account_id=account_id,
        budget=budget,
        since=now,
        rolled_until=_rolled_until(now),
        counting_from=now,
        paused_at=None if budget.enabled else ALWAYS,
        next_at=now if budget.enabled else NEVER,
    )


def paused(seeding: Seeding, now: datetime) -> Seeding:
    """The seeding of a budget that is switched off now."""
    return msgspec.structs.replace(seeding, paused_at=seeding.paused_at or now, next_at=NEVER)


def resumed(seeding: Seeding, budget: Budget, now: datetime) -> Seeding:
    """The seeding of a budget that is switched on again now."""
    if seeding.paused_at is None:
        return seeding
    period = period_of(budget.period, budget.timezone, now)
    counting_from = now
    if seeding.paused_at + STRAGGLERS <= period.starts_at:
        rolled_until = _rolled_until(now)
    elif period == seeding.period:
        rolled_until, counting_from = seeding.rolled_until, seeding.counting_from
    else:
        rolled_until = period.starts_at  # calls of this period were charged before the pause
    return msgspec.structs.replace(
        seeding,
        budget=budget,
        since=now,
        rolled_until=rolled_until,
        counting_from=counting_from,
        paused_at=None,
        next_at=now,
    )


def seeding_of(document: Document) -> Seeding:
    """The seeding that a document of `seedings` holds."""
    fields = document.fields
    budget = msgspec.json.decode(fields["budget"], type=Budget)
    return msgspec.convert({**fields, "budget": budget}, Seeding)


class Seeder:
    """Seeds budgets in a store. A store failure passes to the caller: call again."""

    def __init__(self, store: DocumentStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._statistics = Statistics(store)

    def run(self) -> SeedingReport:
        """Seed every budget that is due, at most `BUDGETS_A_RUN_MAX`."""
        now = self._clock.now()
        due = self._store.query(
            Query(collection=SEEDINGS, order_by="next_at", below=now + _MOMENT, limit=BUDGETS_A_RUN_MAX)
        )
        seeded = changed = ended = put_off = 0
        for document in due:
            seeding = seeding_of(document)
            if now >= seeding.period.ends_at + STRAGGLERS:
                ended += self._end(document, seeding)
                continue
            counters = self.seed(seeding.budget.budget_id)
            put_off += counters is None
            seeded += counters is not None
            changed += counters or 0
        return SeedingReport(
            budgets_seeded=seeded, counters_changed=changed, seedings_ended=ended, budgets_put_off=put_off
        )

    def seed(self, budget_id: str) -> int | None:
        """Seed one budget now: how many of its counters were set otherwise; None where others were faster."""
        for _ in range(ATTEMPTS_MAX):
            document = self._store.get(seeding_path(budget_id))
            if document is None:
                return 0
            seeding = seeding_of(document)
            if seeding.paused_at is not None:
                return 0
            now = self._clock.now()
            found = _Found(self._store, self._statistics, seeding, now)
            try:
                return self._set(document, seeding, found, now)
            except (RevisionChanged, DocumentMissing):
                continue  # somebody else seeded it, paused it or deleted it: look again
        return None

    def adopt(self, account_id: str, budget: Budget, since: datetime) -> None:
        """Make known a budget of a file, which counts since then; one that was gone counts again."""
        for _ in range(ATTEMPTS_MAX):
            document = self._store.get(seeding_path(budget.budget_id))
            if document is None:
                write: Write = Create(*_document(begun(account_id, budget, since)))
            elif (seeding := seeding_of(document)).paused_at is None:
                return
            else:
                again = resumed(seeding, budget, since)
                write = Put(*_document(again), if_revision=document.revision)
            try:
                self._store.commit([write])
            except (AlreadyExists, RevisionChanged):
                continue  # another process of this machine was faster
            return

    def part_with(self, budget_id: str, now: datetime) -> None:
        """A budget of a file is gone from it: it counts no longer."""
        document = self._store.get(seeding_path(budget_id))
        if document is None:
            return
        after = paused(seeding_of(document), now)
        # Somebody else changed it: another process of this machine, to the same.
        with contextlib.suppress(RevisionChanged):
            self._store.commit([Put(*_document(after), if_revision=document.revision)])

    def _end(self, document: Document, seeding: Seeding) -> int:
        """Its period is over: the budget counts every other one from its beginning."""
        later = Update(document.path, {"next_at": NEVER}, if_revision=document.revision)
        try:
            self._store.commit([later])
        except (RevisionChanged, DocumentMissing):
            return 0  # it was begun anew meanwhile, or its budget deleted
        return 1

    def _set(self, document: Document, seeding: Seeding, found: "_Found", now: datetime) -> int:
        amounts = found.amounts()
        changes = list(self._increments(seeding, amounts))
        passes, revision = seeding.passes, document.revision
        for start in range(0, max(1, len(changes)), COUNTERS_A_COMMIT):
            portion = changes[start : start + COUNTERS_A_COMMIT]
            is_last = start + COUNTERS_A_COMMIT >= len(changes)
            passes += 1
            fields: dict[str, Any] = {"passes": passes}
            if is_last:
                fields |= {"counting_from": found.counting_from, "next_at": _next_pass(seeding, now)}
            # An unknown outcome passes to the caller; the next pass finds what happened.
            self._store.commit([Update(document.path, fields, if_revision=revision), *portion])
            if not is_last:
                revision = self._revision_of(document.path, passes)
        return len(changes)

    def _revision_of(self, path: str, passes: int) -> str:
        document = self._store.get(path)
        if document is None or document.fields["passes"] != passes:
            raise RevisionChanged(path)
        return document.revision

    def _increments(self, seeding: Seeding, amounts: Mapping[str, int]) -> Iterator[Increment]:
        """What makes each counter's `seeded` the amount of its value."""
        counters = budget_counters(self._store, seeding.account_id, seeding.budget, seeding.period)
        stored = {document.path: counter_totals(document.fields) for document in counters}
        for key, amount in _wanted(seeding, amounts, counters).items():
            seeded = stored.get(key.path, CounterTotals()).seeded
            if amount != seeded:
                more = amount - seeded
                yield Increment(
                    key.path, {("seeded",): more, ("settled",): more, ("reserved",): more}, key.identity
                )


def budget_counters(store: DocumentStore, account_id: str, budget: Budget, period: Period) -> list[Document]:
    """The documents of the budget's counters in that period, one a value, at most `COUNTERS_READ_MAX`."""
    if budget.each is None:
        found = store.get(counter_key(account_id, budget, period).path)
        return [] if found is None else [found]
    counters: list[Document] = []
    after: tuple[str, str] | None = None
    while len(counters) < COUNTERS_READ_MAX:
        page = store.query(
            Query(
                collection=budget_periods_collection(account_id),
                equal={"budget_id": budget.budget_id, "period": period.text},
                after=after,
                limit=COUNTERS_A_READ,
            )
        )
        counters += page
        if len(page) < COUNTERS_A_READ:
            break
        after = ("", page[-1].document_id)
    return counters


class _Found:
    """What the matching events of a period cost that were never charged, by the value that counts.

    `counting_from` is since when they were all found; it moves where there are more of them than are read,
    and where single events had to be read that are deleted by now.
    """

    def __init__(self, store: DocumentStore, statistics: Statistics, seeding: Seeding, now: datetime) -> None:
        self._store = store
        self._statistics = statistics
        self._seeding = seeding
        self._budget = seeding.budget
        self._period = seeding.period
        self._now = now
        self._until = min(self._period.ends_at, now, seeding.since + STRAGGLERS)
        self._sums: dict[str, int] = {}
        self._segments_left = SEGMENTS_READ_MAX
        self.counting_from = self._period.starts_at

    def amounts(self) -> Mapping[str, int]:
        """Value → nanodollars; the value is "" where the budget has but one limit."""
        for start, end in reversed(_joined([*self._untold_hours(), self._latest])):
            if not self._segments_left:
                self.counting_from = end
                break
            if start < self._kept_since:
                self.counting_from = max(self.counting_from, min(end, self._kept_since))
            self._add_events(start, end)
        return self._sums

    @cached_property
    def _kept_since(self) -> datetime:
        """The oldest admission of an event that is surely still there."""
        document = self._store.get(policy_path(self._seeding.account_id))
        kept = (
            timedelta(0) if document is None else timedelta(policy_from(document).settings.events_kept_days)
        )
        return self._now - max(kept, EVENTS_KEPT_MIN)

    @property
    def _latest(self) -> tuple[datetime, datetime]:
        return (max(self._period.starts_at, self._seeding.rolled_until), self._until)

    def _untold_hours(self) -> Iterator[tuple[datetime, datetime]]:
        """Add up what rollups tell; gives the stretches that they do not tell enough of."""
        start, end = self._period.starts_at, self._latest[0]
        used = _dimensions(self._budget)
        if start >= end or not any(used <= kind for kind in _ROLLED_UP):
            yield (start, end)
            return
        while start < end:
            buckets = self._hours(start, min(end, start + _HOURS_A_QUERY), used)
            for bucket in buckets:
                if bucket.start >= start and bucket.end <= end and not _has_collapsed(bucket):
                    self._add_bucket(bucket)
                else:
                    yield (max(bucket.start, start), min(bucket.end, end))
            start = buckets[-1].end

    def _hours(self, start: datetime, end: datetime, used: frozenset[str]) -> Sequence[UsageBucket]:
        query = UsageQuery(
            start=start,
            end=end,
            bucket_width="1h",
            timezone=self._budget.timezone,
            group_by=tuple(sorted(used)),
        )
        return self._statistics.usage(self._seeding.account_id, query).buckets

    def _add_bucket(self, bucket: UsageBucket) -> None:
        for group in bucket.groups:
            self._add(Subject(**group.values), group.sums["cost_nanodollars"])

    def _add_events(self, start: datetime, end: datetime) -> None:
        for event in self._events(start, end):
            if not any(charge.budget_id == self._budget.budget_id for charge in event.charges):
                subject = Subject(team=event.team, app=event.app, key_id=event.key_id, model=event.model)
                self._add(subject, event.cost_nanodollars)

    def _add(self, subject: Subject, nanodollars: int) -> None:
        if nanodollars and self._budget.covers(subject):
            value = self._budget.value_of(subject)
            self._sums[value] = self._sums.get(value, 0) + nanodollars

    def _events(self, start: datetime, end: datetime) -> Iterator[CostEvent]:
        """The events admitted in the range, latest segments first, as far as the bound allows."""
        after: tuple[datetime, str] | None = None
        while start < end:
            if not self._segments_left:
                self.counting_from = after[0] if after else end
                return
            limit = min(SEGMENTS_A_READ, self._segments_left)
            found = self._store.query(
                Query(
                    collection=segments_collection(self._seeding.account_id),
                    order_by="last_at",
                    descending=True,
                    at_least=start,
                    below=quarter_of(end) + QUARTER,  # a segment lies within one quarter hour
                    after=after,
                    limit=limit,
                )
            )
            self._segments_left -= len(found)
            for document in found:
                yield from (each for each in stored_events(document.fields) if start <= each.timestamp < end)
            if len(found) < limit:
                return
            after = (found[-1].fields["last_at"], found[-1].document_id)


def _dimensions(budget: Budget) -> frozenset[str]:
    """What of a call decides whether, and for which value, it counts."""
    scope = budget.scope
    used = {name for name in ("team", "app", "key_id", "model") if getattr(scope, name)}
    return frozenset(
        used | ({"team"} if scope.unattributed else set()) | ({budget.each} if budget.each else set())
    )


def _has_collapsed(bucket: UsageBucket) -> bool:
    return any(OTHER in group.values.values() for group in bucket.groups)


def _joined(stretches: Sequence[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """The stretches in order, those that touch made one, empty ones left out."""
    joined: list[tuple[datetime, datetime]] = []
    for start, end in sorted(stretches):
        if start >= end:
            continue
        if joined and joined[-1][1] >= start:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _wanted(
    seeding: Seeding, amounts: Mapping[str, int], counters: Sequence[Document]
) -> dict[CounterKey, int]:
    """What each counter's `seeded` should be: of values that have one, then of the dearest, then shared."""
    account_id, budget, period = seeding.account_id, seeding.budget, seeding.period
    shared = counter_key(account_id, budget, period, is_shared=True)
    known = [each.fields.get("value", "") for each in counters if each.path != shared.path]
    others = sorted(amounts.keys() - set(known), key=lambda value: (-amounts[value], value))
    room = max(0, EACH_VALUES_MAX - len(known))
    wanted = {
        counter_key(account_id, budget, period, value): amounts.get(value, 0)
        for value in (*known, *others[:room])
    }
    if budget.each is not None:
        wanted[shared] = sum(amounts[value] for value in others[room:])
    return wanted


def _rolled_until(now: datetime) -> datetime:
    """Until when no instance can have charged a call to a budget made now, whatever its clock says."""
    return quarter_of(now - CLOCKS_APART)


def _next_pass(seeding: Seeding, now: datetime) -> datetime:
    elapsed = now - seeding.since
    if elapsed >= STRAGGLERS or now >= seeding.period.ends_at + STRAGGLERS:
        return seeding.period.ends_at + STRAGGLERS
    return min(now + max(REPEAT_MIN, min(elapsed, REPEAT_MAX)), seeding.since + STRAGGLERS)


def _document(seeding: Seeding) -> tuple[str, dict[str, Any]]:
    fields: dict[str, Any] = msgspec.to_builtins(seeding, builtin_types=(datetime,))
    fields["budget"] = msgspec.json.encode(seeding.budget).decode()
    return seeding_path(seeding.budget.budget_id), fields
