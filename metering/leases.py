"""Leases: how instances spend from one budget at the same time, never beyond its limit, without asking.

An instance **takes** a slice of what is left by one increment of `reserved`, and admits calls against it in
memory: **hold** what a call may cost, then **settle** what it did cost, or **release** it. No store operation
is on a call's way while the slice lasts. `metering.counters` says what the documents hold.

**What may be spent.** The sums that come back with an increment are those of one moment. Increments of one
counter are serialised, and a lease's `amount` is in `reserved` from the moment it is asked for. So of its
`amount`, an owner may spend all but what `reserved` exceeds the limit by; what it was granted before stays
granted. The sum of all that is granted never passes the limit. What was asked for in vain is handed back.

**Nothing depends on an outcome.** An increment whose reply is lost, or that lands late, makes `amount` too
large, never too small: the next sync sees it, and spends it or hands it back. So amounts only ever grow by
increments. They shrink by **return** and **close** alone: written for exactly the revision that was read,
after the owner has given up what it hands back. Those never land late: any write in between changes the
revision.

**Death.** What a dead owner's lease held stays reserved until the reaper has let recovery store its events,
and closes it. A charge that is stored later yet opens the lease again, so that it is closed once more.

`Lease` has no clock and does no I/O: `now` is handed in, seconds of a monotonic clock. `carry_out` and `fold`
are all that speak to a store.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from metering.budgets import Budget
from metering.collections import budget_period_path, lease_path
from metering.counters import (
    CLOSED,
    OPEN,
    CounterKey,
    CounterTotals,
    LeaseName,
    LeaseTotals,
    Standing,
    counter_totals,
    increments_of,
    lease_named,
    lease_totals,
    standing_from,
)
from metering.errors import RevisionChanged
from metering.events import Charge, CostEvent
from metering.periods import period_named
from metering.stores import (
    STORE_TIMEOUT_SECONDS,
    Document,
    DocumentStore,
    FieldPath,
    Increment,
    Update,
    Write,
    WriteResult,
)

LEASE_SECONDS: Final = 60.0  # an owner that was silent for so long has lost its lease
EXPIRY_MARGIN_SECONDS: Final = 10.0  # so long before, it stops admitting calls
ADMITTING_SECONDS: Final = LEASE_SECONDS - EXPIRY_MARGIN_SECONDS
RENEWAL_SECONDS: Final = 30.0
REPORT_SECONDS: Final = 1.0  # times the instances: one report a second and counter, whoever many there are
REPORT_PARTS: Final = 1_000  # of the limit: less than one of them, shared by the instances, is little news
LITTLE_NEWS_SECONDS: Final = 15.0  # between reports of little news
SELDOM: Final = 2  # reports: what can wait is done no oftener than once in so many
IDLE_SECONDS: Final = 2.0  # then what is left near the limit goes back
CLOSING_SECONDS: Final = 60.0  # without a call; then the whole lease goes back
RETRY_SECONDS: Final = 1.0  # after an unknown outcome
DENIED_SECONDS: Final = 0.25  # times the instances: before asking again for what was not to be had
DENIED_SECONDS_MAX: Final = 5.0
SPENT_SECONDS: Final = 5.0  # the same where the limit is spent, and nothing will come back
SLICES: Final = 4  # what is left, in parts an instance: no slice is larger
SLICE_SECONDS: Final = 10  # nor larger than what calls hold in so long
FIRST_SLICES: Final = 4_096  # of the limit, while nobody knows how many instances there are
LOW_SLICES: Final = 4  # a slice is filled up when less than one part in so many is left
PACE_MILLISECONDS: Final = 1_000
REVISION_ATTEMPTS_MAX: Final = 8

_MINUTE = timedelta(minutes=1)
_RENEWING: Final = frozenset({"reserve", "renew"})
_USED: FieldPath = ("used",)

SyncKind = Literal["reserve", "renew", "return", "close"]


class CallHold(msgspec.Struct, frozen=True):
    """What one lease keeps back for one call, and how much more the call may draw on the overdraft."""

    nanodollars: int = 0
    overdraft_nanodollars: int = 0


NO_HOLD: Final = CallHold()


class Sync(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange of an owner with the store, to be carried out at once and one at a time a lease.

    `reserve`: reserve and report so much more. `renew`: nothing but that the owner lives, which the counter
    need not be told; it is read instead. `return`: hand back all beyond `keep`. `close`: hand back all, once
    every charge of the `keep` that were settled is stored.
    """

    kind: SyncKind
    key: CounterKey
    name: LeaseName
    begun_at: float
    reserve: int = 0
    report: int = 0
    join: int = 0
    keep: int = 0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync brought back: all of one moment, but for a renewal, which reads the counter a moment later.

    `counter` None: there was nothing to write.
    """

    lease: LeaseTotals
    counter: CounterTotals | None = None
    is_closed: bool = False


class Lease:
    """One instance's side of one counter. For one thread; `next_sync` says what the store is to be told.

    `settled` is what calls cost, `held` what is kept back for those in flight, `granted` what both together
    may come to. With a budget that only warns nothing is granted and every call admitted.
    """

    def __init__(self, key: CounterKey, budget: Budget, name: LeaseName, now: float) -> None:
        self.key = key
        self.name = name
        self.lease_id = name.lease_id
        self.budget = budget
        self.is_silent = False  # the last sync came to nothing: the store is slow or down
        self.is_done = False  # closed, to be forgotten
        self.settled = 0
        self.held = 0
        self.granted = 0
        self._overdraft_used = 0
        self._lease = LeaseTotals()
        self._counter: CounterTotals | None = None
        self._reserved_by_others = 0
        self._settled_by_others = 0
        self._news_of_others = 0  # what they settled between the last two times that we heard of them
        self._wanted = 0
        self._wanted_least = 0
        self._pace = 0  # what calls held in a second, lately
        self._held_since = 0  # what they held since then
        self._paced_at = now
        self._shared_at = now
        self._is_syncing = False
        self._is_retired = False
        self._has_synced = False
        self._renewed_at = now
        self._synced_at = now
        self._admitted_at = now
        self._not_before = now
        self._denied_until = now

    @property
    def is_known(self) -> bool:
        """Whether the store has told how the counter stands."""
        return self._counter is not None

    @property
    def spent(self) -> int:
        """What this instance has spent in truth, and all others as far as it knows."""
        return self._settled_by_others + self.settled

    @property
    def standing(self) -> Standing:
        """How the budget stands, as this instance knows it."""
        return standing_from(self.budget, self._reserved_by_others + self._entitled, self.spent)

    def need(self, expected: int, upper_bound: int | None) -> CallHold | None:
        """What is to be held for a call; None where nothing bounds it and the budget is strict.

        In normal mode the part of the bound that is not held draws on the overdraft; where too little of
        that is left, the bound is held in full. Without a bound, the whole overdraft counts as the rest.
        """
        if not self.budget.takes_leases:
            return CallHold(expected)
        if self.budget.mode == "strict":
            return None if upper_bound is None else CallHold(upper_bound)
        overdraft = self.budget.overdraft_nanodollars
        bound = expected + overdraft if upper_bound is None else max(expected, upper_bound)
        if self._overdraft_used + bound - expected <= overdraft:
            return CallHold(expected, bound - expected)
        return CallHold(bound)

    def free(self, now: float) -> int:
        """What calls may still be admitted against; 0 where the lease may have expired by now."""
        is_live = self._counter is not None and now < self._renewed_at + ADMITTING_SECONDS
        return max(0, self._free) if is_live else 0

    def admits(self, need: CallHold, now: float) -> bool:
        """Whether there is room for the call."""
        return not self.budget.takes_leases or need.nanodollars <= self.free(now)

    def room(self, now: float) -> int:
        """What a call may be let in with once the store was asked for it, as far as is known here."""
        return self.free(now) + self._left if self.is_known else 0

    def is_only_held(self, need: CallHold) -> bool:
        """Whether there would be room if nothing were held: coming back may help."""
        return self.spent + need.nanodollars <= self.budget.limit_nanodollars

    def want(self, need: CallHold) -> None:
        """A call waits for room: the next sync asks for it. To be said anew after each `next_sync`."""
        least = self._wanted_least
        self._wanted_least = min(least, need.nanodollars) if self._wanted else need.nanodollars
        self._wanted += need.nanodollars

    def hold(self, need: CallHold, now: float) -> None:
        """Keep back what the call needs. Whoever holds has asked `admits`, or serves the call unadmitted."""
        self.held += need.nanodollars
        self._overdraft_used += need.overdraft_nanodollars
        self._held_since += need.nanodollars
        self._admitted_at = now

    def settle(self, held: CallHold, cost: int) -> None:
        """The call cost so much; what was held beyond is free again."""
        self.settled += cost
        self.release(held)

    def release(self, held: CallHold) -> None:
        """The call cost nothing; what was held is free again, as far as a lowered limit has room for it."""
        self.held -= held.nanodollars
        self._overdraft_used -= held.overdraft_nanodollars
        beyond = self._settled_by_others + self.granted - self.budget.limit_nanodollars
        if beyond > 0:
            self.granted -= min(beyond, max(0, self._free))

    def govern(self, budget: Budget) -> None:
        """The budget says this from now on. Where it allows less, all that no call holds is given up."""
        allows_less = budget.limit_nanodollars < self.budget.limit_nanodollars or not budget.takes_leases
        if budget != self.budget:
            self._denied_until = self._not_before
        self.budget = budget
        if allows_less:
            self._give_up()

    def retire(self) -> None:
        """Nothing more will be held: the period is over, the budget gone, or the instance about to stop."""
        self._is_retired = True

    def next_sync(self, now: float) -> Sync | None:
        """What the store is to be told now, if anything: to be answered by `applied` or `unknown`."""
        if self._is_syncing or self.is_done or now < self._not_before:
            return None
        self._set_pace(now)
        self._rest(now)
        if self._is_retired and not (self.held or self.settled or self._has_synced):
            self.is_done = True
            return None
        sync = self._next(now)
        if sync is None:
            self._wanted = 0  # nothing is to be had now; whoever still waits says so again
        self._is_syncing = sync is not None
        self._has_synced |= self._is_syncing
        return sync

    def applied(self, sync: Sync, told: Told, now: float) -> None:
        """The sync was carried out, with this result."""
        self._is_syncing = self.is_silent = False
        if sync.kind != "renew":
            self._synced_at = now
        # Less than there was before this sync: the lease was closed by somebody who thought us dead.
        self.granted = min(self.granted, told.lease.amount - sync.reserve)
        if self._is_seeded_anew(told.counter):
            self._give_up()
        self._learn(told)
        if sync.kind in _RENEWING:
            self._renewed_at = sync.begun_at
        if sync.kind == "reserve":
            self._grant(sync, now)
        self.is_done = told.is_closed
        if sync.kind == "close":
            self._not_before = now + RETRY_SECONDS

    def unknown(self, sync: Sync, now: float) -> None:
        """Nobody knows what came of the sync; nothing is granted by it."""
        self._is_syncing = False
        self.is_silent = True
        self._wanted = 0
        self._not_before = now + RETRY_SECONDS

    @property
    def _covered(self) -> int:
        """What is spent or promised."""
        return self.settled + (self.held if self.budget.takes_leases else 0)

    @property
    def _entitled(self) -> int:
        """What `amount` should be."""
        return max(self.granted, self._covered) if self.budget.takes_leases else self.settled

    @property
    def _free(self) -> int:
        return self.granted - self._covered

    @property
    def _left(self) -> int:
        """What nobody has reserved, as far as known."""
        return max(0, self.budget.limit_nanodollars - self._reserved_by_others - self._entitled)

    @property
    def _instances(self) -> int:
        return max(1, self._counter.instances if self._counter else 1)

    @property
    def _report_seconds(self) -> float:
        """Between two reports of one instance: a counter bears about one write a second, of all together."""
        return REPORT_SECONDS * self._instances

    def _at_least(self, seconds: float) -> float:
        """So long, and longer where there are so many instances that their counter could not bear it."""
        return max(seconds, SELDOM * self._report_seconds)

    def _give_up(self) -> None:
        self.granted = min(self.granted, self._covered)

    def _set_pace(self, now: float) -> None:
        milliseconds = int((now - self._paced_at) * 1_000)
        if milliseconds >= PACE_MILLISECONDS:
            self._pace = self._held_since * 1_000 // milliseconds
            self._held_since = 0
            self._paced_at = now

    def _rest(self, now: float) -> None:
        """Give up what lies idle, and near the limit half of what will not be used soon."""
        quiet_seconds = now - self._admitted_at
        if quiet_seconds >= self._at_least(CLOSING_SECONDS) and not (self.held or self._wanted):
            self._is_retired = True
        if self._is_retired or (quiet_seconds >= IDLE_SECONDS and self._free > self._left):
            self._give_up()
        if self._instances > 1 and now >= self._shared_at + self._report_seconds:
            self._shared_at = now
            soon = max(self._pace, self._held_since) * self._instances
            self.granted -= max(0, self._free - max(self._left, soon) + 1) // 2

    def _next(self, now: float) -> Sync | None:
        if self._is_retired and not self.held:
            return self._sync("close", now, keep=self.settled)
        if self._lease.amount > self._entitled:
            return self._sync("return", now, keep=self._entitled)
        asked = self._asked(now)
        uncovered = max(0, self._entitled - self._lease.amount)
        if self.is_known and not asked and not self._has_news(uncovered, now):
            if now < self._renewed_at + RENEWAL_SECONDS:
                return None
            if not uncovered and self._lease.joined == int(not self._is_retired):
                return self._sync("renew", now)
        return self._sync(
            "reserve",
            now,
            reserve=uncovered + asked,
            report=self.settled - self._lease.reported,
            join=int(not self._is_retired) - self._lease.joined,
        )

    def _has_news(self, uncovered: int, now: float) -> bool:
        """Whether the counter is to be told now what was spent; a little is told less often.

        But for where others spend much: telling is how we hear of them, and how far the budget is spent.
        """
        unreported = self.settled - self._lease.reported
        if not (uncovered or unreported):
            return False
        news = max(abs(unreported) * self._instances, self._news_of_others)
        is_little = news * REPORT_PARTS < self.budget.limit_nanodollars
        is_covered = not (uncovered and self.budget.takes_leases)
        seconds = self._report_seconds
        if is_little and is_covered:
            seconds = self._at_least(LITTLE_NEWS_SECONDS)
        return now >= self._synced_at + seconds

    def _sync(self, kind: SyncKind, now: float, **sums: int) -> Sync:
        return Sync(kind=kind, key=self.key, name=self.name, begun_at=now, **sums)

    def _asked(self, now: float) -> int:
        """How much more is to be reserved for calls to come."""
        if self._is_retired or not self.budget.takes_leases or self._is_denied(now):
            return 0
        if not self.is_known:
            return min(self._left, max(self._wanted, self.budget.limit_nanodollars // FIRST_SLICES))
        free = max(0, self._free)
        missing = max(0, self._wanted - free)
        slice_ = min(
            self._left // (SLICES * self._instances),
            int(self._at_least(SLICE_SECONDS)) * max(self._pace, self._held_since),
        )
        if free * LOW_SLICES < slice_ and now - self._admitted_at < IDLE_SECONDS:
            missing = max(missing, slice_ - free)
        # No more than there seems to be, but for one call: others may have handed something back.
        return min(missing, max(self._left, self._wanted_least - free if self._wanted else 0))

    def _is_denied(self, now: float) -> bool:
        """Whether there was too little lately. A call may ask all the same for what is known to be left."""
        is_known_to_fit = self._wanted and self._wanted_least <= max(0, self._free) + self._left
        return now < self._denied_until and not is_known_to_fit

    def _grant(self, sync: Sync, now: float) -> None:
        before = self.granted
        overbooked = max(0, self._reserved_by_others + self._lease.amount - self.budget.limit_nanodollars)
        if self.budget.takes_leases and not self._is_retired:
            self.granted = max(before, self._lease.amount - overbooked)
            if self._wanted and self.granted > before:
                self._admitted_at = now  # or the call that waited for it would find it given up as idle
        if overbooked and sync.reserve:
            is_spent = self.spent + self._wanted_least > self.budget.limit_nanodollars
            pause = min(DENIED_SECONDS_MAX, DENIED_SECONDS * self._instances)
            self._denied_until = now + (SPENT_SECONDS if is_spent else pause)
            if self._wanted and self._free < self._wanted_least:
                self._give_up()  # too little for any call here may be enough for one elsewhere
        self._wanted = 0

    def _learn(self, told: Told) -> None:
        self._lease = told.lease
        if told.counter is not None:
            settled_by_others = told.counter.settled - told.lease.reported
            self._news_of_others = settled_by_others - self._settled_by_others if self.is_known else 0
            self._settled_by_others = settled_by_others
            self._reserved_by_others = told.counter.reserved - told.lease.amount
            self._counter = told.counter

    def _is_seeded_anew(self, counter: CounterTotals | None) -> bool:
        known = self._counter
        return counter is not None and known is not None and counter.seeded != known.seeded


def lease_expiry(at: datetime) -> datetime:
    """Until when a lease written at that moment counts as looked after: a whole minute, one to two ahead.

    Whole minutes, since the store finds leases by it: a value that rose with each write would wear its index.
    """
    return at.replace(second=0, microsecond=0) + timedelta(seconds=LEASE_SECONDS) + _MINUTE


def charge_writes(account_id: str, events: Sequence[CostEvent], *, expires_at: datetime) -> list[Increment]:
    """What the events charge to leases, one write a lease, for the commit that stores exactly these events.

    `expires_at`: until when the leases' owner looks after them (`lease_expiry`), or now where it is dead. It
    is always written: a lease that only a charge made must be found by the reaper too.
    Raises: ValueError, where a charge names no lease.
    """
    used: dict[str, int] = {}
    charges: dict[str, Charge] = {}
    for event in events:
        for charge in event.charges:
            lease_id = charge.lease_id
            used[lease_id] = used.get(lease_id, 0) + charge.nanodollars
            charges[lease_id] = charge
    return [_charge_write(account_id, charges[each], used[each], expires_at) for each in used]


def _charge_write(account_id: str, charge: Charge, used: int, expires_at: datetime) -> Increment:
    name = lease_named(charge.lease_id)
    owner = _lease_identity(account_id, charge.budget_id, charge.period, name)
    return Increment(name.path, {_USED: used}, owner | _open_until(expires_at))


def reserve_writes(sync: Sync, at: datetime) -> list[Write]:
    """The two increments of a sync that reserves and reports; their results make a `Told`."""
    key, name = sync.key, sync.name
    counter = CounterTotals(reserved=sync.reserve, settled=sync.report, instances=sync.join)
    lease = LeaseTotals(amount=sync.reserve, reported=sync.report, joined=sync.join, syncs=1)
    owner = _lease_identity(key.account_id, key.budget_id, key.period.text, name)
    return [
        Increment(key.path, increments_of(counter), key.identity),
        Increment(name.path, increments_of(lease), owner | _open_until(lease_expiry(at))),
    ]


def renewal_writes(sync: Sync, at: datetime) -> list[Write]:
    """The one increment of a sync that only renews; its result tells the lease."""
    key, name = sync.key, sync.name
    owner = _lease_identity(key.account_id, key.budget_id, key.period.text, name)
    renewed = increments_of(LeaseTotals(syncs=1))
    return [Increment(name.path, renewed, owner | _open_until(lease_expiry(at)))]


def return_writes(lease: Document, key: CounterKey, keep: int) -> list[Write]:
    """Hand back what the lease has beyond `keep`, if it is as it was read; nothing where it has no more."""
    back = lease_totals(lease.fields).amount - keep
    if back <= 0:
        return []
    return [
        Update(lease.path, {"amount": keep}, lease.revision),
        Increment(key.path, increments_of(CounterTotals(reserved=-back)), key.identity),
    ]


def fold_writes(lease: Document) -> list[Write]:
    """Close the lease, if it is as it was read, and leave its counter with what it used.

    Nothing where it is closed. For its owner, when all its charges are stored; for the reaper, when the owner
    is dead and recovery has stored what the owner left.
    """
    if lease.fields["state"] == CLOSED:
        return []
    totals = lease_totals(lease.fields)
    used = totals.used
    account_id, period = lease.fields["account_id"], period_named(lease.fields["period"])
    change = CounterTotals(
        reserved=used - totals.amount, settled=used - totals.reported, instances=-totals.joined
    )
    identity: dict[FieldPath, Any] = {
        ("budget_id",): lease.fields["budget_id"],
        ("period",): period.text,
        ("starts_at",): period.starts_at,
        ("ends_at",): period.ends_at,
    }
    return [
        Update(lease.path, {"amount": used, "reported": used, "joined": 0, "state": CLOSED}, lease.revision),
        Increment(
            budget_period_path(account_id, lease.fields["counter_id"]), increments_of(change), identity
        ),
    ]


def carry_out(
    store: DocumentStore, sync: Sync, at: datetime, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
) -> Told:
    """Tell the store what the lease's owner has to say, and what came back. Blocks.

    Raises: StoreUnavailable, RevisionChanged: the lease is to be told `unknown`, and will try again later.
    """
    if sync.kind == "reserve":
        counter, lease = store.commit(reserve_writes(sync, at), timeout_seconds=timeout_seconds)
        return Told(counter=CounterTotals(**_by_name(counter)), lease=LeaseTotals(**_by_name(lease)))
    if sync.kind == "renew":
        (lease,) = store.commit(renewal_writes(sync, at), timeout_seconds=timeout_seconds)
        known = store.get(sync.key.path, timeout_seconds=timeout_seconds)
        totals = counter_totals(known.fields) if known else None
        return Told(counter=totals, lease=LeaseTotals(**_by_name(lease)))
    for _ in range(REVISION_ATTEMPTS_MAX):
        document = store.get(sync.name.path, timeout_seconds=timeout_seconds)
        if document is None:
            return Told(lease=LeaseTotals(), is_closed=sync.kind == "close")
        try:
            return _shrink(store, sync, document, timeout_seconds)
        except RevisionChanged:
            continue  # a charge came in between
    raise RevisionChanged(sync.name.path)


def fold(store: DocumentStore, lease_id: str) -> bool:
    """Close the lease for a dead owner; whether it was open. Safe at any time and at once with anybody else.

    Raises: StoreUnavailable, RevisionChanged: to be tried again. ValueError, for what is no lease's id.
    """
    path = lease_path(lease_named(lease_id).lease_id)
    for _ in range(REVISION_ATTEMPTS_MAX):
        document = store.get(path)
        writes = fold_writes(document) if document else []
        if not writes:
            return False
        try:
            # An unknown outcome passes to the caller: reading again will tell.
            store.commit(writes)
        except RevisionChanged:
            continue
        return True
    raise RevisionChanged(path)


def _shrink(store: DocumentStore, sync: Sync, document: Document, timeout_seconds: float) -> Told:
    lease = lease_totals(document.fields)
    closes = sync.kind == "close" and lease.used >= sync.keep
    writes = fold_writes(document) if closes else return_writes(document, sync.key, sync.keep)
    counter = None
    if writes:
        results = store.commit(writes, timeout_seconds=timeout_seconds)
        counter = CounterTotals(**_by_name(results[1]))
    if closes:
        return Told(
            lease=LeaseTotals(amount=lease.used, reported=lease.used, used=lease.used),
            counter=counter,
            is_closed=True,
        )
    return Told(lease=msgspec.structs.replace(lease, amount=min(lease.amount, sync.keep)), counter=counter)


def _by_name(result: WriteResult) -> dict[str, int]:
    return {path[0]: value for path, value in result.values.items()}


def _lease_identity(account_id: str, budget_id: str, period: str, name: LeaseName) -> dict[FieldPath, Any]:
    return {
        ("account_id",): account_id,
        ("counter_id",): name.counter_id,
        ("budget_id",): budget_id,
        ("period",): period,
        ("instance",): name.instance,
    }


def _open_until(expires_at: datetime) -> dict[FieldPath, Any]:
    return {("state",): OPEN, ("expires_at",): expires_at}
