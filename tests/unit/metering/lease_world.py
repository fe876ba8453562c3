"""A world of instances that spend from one budget and die, and a plain ledger that knows what is true.

Every step is one thing that may happen; after each, `check` holds the documents against their definitions
and the truth against the limit. `settle_down` lets everything end, and holds the totals against the ledger.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from metering.budgets import Budget
from metering.collections import segments_collection
from metering.counters import CounterKey, LeaseName, counter_key, counter_totals, lease_totals
from metering.errors import AlreadyExists, StoreError, StoreUnavailable
from metering.events import Charge, CostEvent
from metering.leases import (
    CallHold,
    Lease,
    carry_out,
    charge_writes,
    fold,
    lease_expiry,
)
from metering.periods import period_of
from metering.stores import Create, Increment, Update
from tests.builders import ACCOUNT_ID, make_event, make_id
from tests.doubles.clock import ManualClock
from tests.doubles.model_store import ModelStore
from tests.doubles.unreliable_store import Fate

SYNCS_TO_END_MAX = 20


@dataclass
class Call:
    """A call in flight. Its journal line, `admitted`, is written by the time this exists."""

    lease: Lease
    hold: CallHold
    bound: int
    at: datetime
    request_id: str = field(default_factory=lambda: make_id("req"))

    def event(self, cost: int) -> CostEvent:
        key = self.lease.key
        charge = Charge(key.budget_id, key.period.text, self.lease.name.lease_id, cost)
        return make_event(
            request_id=self.request_id, timestamp=self.at, cost_nanodollars=cost, charges=(charge,)
        )


@dataclass
class Instance:
    """One process start. `unstored` are settled events: also in its journal, which survives it."""

    name: str
    budget: Budget
    leases: dict[CounterKey, Lease] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    unstored: list[CostEvent] = field(default_factory=list)
    numbers: int = 0
    is_alive: bool = True


class World:
    """Instances, a store between which and them things go wrong, and what each call cost in truth."""

    def __init__(
        self,
        budget: Budget,
        instances: int = 2,
        *,
        serves_unadmitted: bool = False,
        reaps_the_living: bool = False,
    ) -> None:
        self.serves_unadmitted = serves_unadmitted
        self.reaps_the_living = reaps_the_living
        self.clock = ManualClock()
        self.store = ModelStore()
        self.budget = budget
        self.instances: list[Instance] = []
        self.costs: Counter[CounterKey] = Counter()  # of every call that has settled, or was found lost
        self.seeds: Counter[CounterKey] = Counter()
        self.keys: set[CounterKey] = set()
        self.admitted = self.refused = 0
        self._exposed: dict[CounterKey, tuple[int, int]] = {}
        for _ in range(instances):
            self.start()

    # What happens to calls

    def admit(self, place: int, expected: int, bound: int) -> bool:
        """A call asks; whether it was let through. Refused, it would wait for the next sync."""
        instance = self._living(place)
        lease = self._lease(instance)
        need = lease.need(expected, bound)
        assert need is not None
        now = self.clock.monotonic()
        serves_unadmitted = lease.is_silent and self.serves_unadmitted
        if not lease.admits(need, now) and not serves_unadmitted:
            lease.want(need)
            self.refused += 1
            return False
        lease.hold(need, now)
        instance.calls.append(Call(lease, need, bound, self.clock.now()))
        self.admitted += 1
        return True

    def settle(self, place: int, number: int, part: int) -> None:
        """A call ends and costs `part` hundredths of its bound."""
        instance = self._living(place)
        if instance.calls:
            call = instance.calls.pop(number % len(instance.calls))
            cost = call.bound * part // 100
            call.lease.settle(call.hold, cost)
            self.costs[call.lease.key] += cost
            instance.unstored.append(call.event(cost))

    def release(self, place: int, number: int) -> None:
        instance = self._living(place)
        if instance.calls:
            call = instance.calls.pop(number % len(instance.calls))
            call.lease.release(call.hold)

    def store_events(self, place: int, fate: Fate) -> None:
        """The oldest settled event is stored; where nobody knows, it is tried again later."""
        instance = self._living(place)
        if instance.unstored:
            self.store.fate = fate
            if self._is_stored(instance.unstored[0], lease_expiry(self.clock.now())):
                del instance.unstored[0]

    # What happens to leases

    def sync(self, place: int, number: int, fate: Fate) -> bool:
        """One of an instance's leases tells the store what it has to tell; whether it had anything."""
        instance = self._living(place)
        leases = list(instance.leases.values())
        if not leases:
            return False
        lease = leases[number % len(leases)]
        return self._sync(instance, lease, fate)

    def land(self, number: int) -> None:
        """A commit whose outcome nobody knew is carried out yet."""
        if self.store.in_flight:
            self.store.land(number % len(self.store.in_flight))

    def reap(self, number: int, fate: Fate) -> None:
        """Close an expired lease of an instance that is dead and whose journal is stored (or of any)."""
        now = self.clock.now()
        reaped = {each.name for each in self.instances if self.reaps_the_living or self._is_drained(each)}
        expired = [
            path
            for path, fields in self._documents("leases/").items()
            if fields["state"] == "open" and fields["expires_at"] <= now and fields["instance"] in reaped
        ]
        if expired:
            self.store.fate = fate
            try:
                fold(self.store, expired[number % len(expired)].rpartition("/")[2])
            except StoreUnavailable:
                return

    # What happens to instances and budgets

    def start(self) -> None:
        self.instances.append(Instance(f"{len(self.instances) + 1:032x}", self.budget))

    def crash(self, place: int) -> None:
        """An instance dies; another takes its place. Its calls and events are in its journal alone."""
        self._living(place).is_alive = False
        self.start()

    def recover(self, number: int, fate: Fate) -> None:
        """One line of a dead instance's journal is stored; a call in flight becomes a lost event."""
        dead = [each for each in self.instances if not each.is_alive and (each.calls or each.unstored)]
        if not dead:
            return
        instance = dead[number % len(dead)]
        if instance.calls:
            call = instance.calls.pop()
            cost = call.hold.nanodollars
            self.costs[call.lease.key] += cost
            instance.unstored.append(call.event(cost))
        self.store.fate = fate
        if self._is_stored(instance.unstored[-1], self.clock.now()):
            del instance.unstored[-1]

    def limit(self, nanodollars: int) -> None:
        """Somebody changes the limit; instances hear of it one by one."""
        self.budget = msgspec.structs.replace(self.budget, limit_nanodollars=nanodollars)

    def hear(self, place: int) -> None:
        """An instance hears of the budget as it is now."""
        instance = self._living(place)
        instance.budget = self.budget
        for lease in instance.leases.values():
            lease.govern(self.budget)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for instance in self.instances:
            for key, lease in instance.leases.items():
                if not key.period.holds(self.clock.now()):
                    lease.retire()

    def seed(self, nanodollars: int) -> None:
        """What calls before the budget cost is counted in, as an absolute value."""
        key = self._key()
        document = self.store.get(key.path)
        if document is not None:
            more = nanodollars - counter_totals(document.fields).seeded
            self.store.fate = "applied"
            self.store.commit(
                [
                    Update(key.path, {"seeded": nanodollars}, document.revision),
                    Increment(key.path, {("reserved",): more, ("settled",): more}),
                ]
            )
            self.seeds[key] = nanodollars

    # What must hold

    def check(self, *, thoroughly: bool = True) -> None:
        """Nobody may spend beyond the limit; and, `thoroughly`, documents are what they are defined to be."""
        for key in self.keys:
            if thoroughly:
                self._check_documents(key)
            if self._holds_the_limit and (thoroughly or key.period.holds(self.clock.now())):
                self._check_exposure(key)

    def settle_down(self) -> None:
        """Everything ends: totals must be those of the plain ledger, and nothing may stay reserved."""
        while self.store.in_flight:
            self.land(0)
        while self._alive():
            self._end_first()
        while any(not each.is_alive and (each.calls or each.unstored) for each in self.instances):
            self.recover(0, "applied")
        self.advance(600)
        open_leases = sum(fields["state"] == "open" for fields in self._documents("leases/").values())
        for _ in range(open_leases):
            self.reap(0, "applied")
        self.check()
        for key in self.keys:
            truth = self.costs[key] + self.seeds[key]
            totals = counter_totals(self.store.documents.get(key.path))
            assert (totals.settled, totals.reserved, totals.instances) == (truth, truth, 0)

    @property
    def _holds_the_limit(self) -> bool:
        return self.budget.takes_leases and not (self.serves_unadmitted or self.reaps_the_living)

    def _end_first(self) -> None:
        instance = self._alive()[0]
        while instance.calls:
            self.settle(0, 0, 50)
        while instance.unstored:
            self.store_events(0, "applied")
        for lease in instance.leases.values():
            lease.retire()
        for lease in list(instance.leases.values()):
            for _ in range(SYNCS_TO_END_MAX):
                self.clock.advance(5)
                self._sync(instance, lease, "applied")
            assert lease.is_done
        instance.is_alive = False

    def _check_documents(self, key: CounterKey) -> None:
        counter = counter_totals(self.store.documents.get(key.path))
        leases = [
            each for each in self._documents("leases/").values() if each["counter_id"] == key.counter_id
        ]
        totals = [(each["state"] == "open", lease_totals(each)) for each in leases]
        seeded = counter.seeded
        assert counter.reserved == seeded + sum(t.amount if is_open else t.used for is_open, t in totals)
        assert counter.settled == seeded + sum(t.reported for _, t in totals)
        assert counter.instances == sum(t.joined for _, t in totals)
        stored = sum(
            fields["cost"]
            for path, fields in self._documents(segments_collection(ACCOUNT_ID)).items()
            if fields["counter_id"] == key.counter_id
        )
        assert counter.settled + sum(t.unreported for is_open, t in totals if is_open) == stored + seeded

    def _check_exposure(self, key: CounterKey) -> None:
        """What is spent, promised or may be promised never grows beyond a limit that somebody works by."""
        exposed = self.costs[key] + self.seeds[key]
        for instance in self.instances:
            exposed += sum(call.hold.nanodollars for call in instance.calls if call.lease.key == key)
            lease = instance.leases.get(key)
            if lease is not None and instance.is_alive:
                exposed += max(0, lease.granted - lease.settled - lease.held)
        limit = max((self._limit_of(each) for each in self._alive()), default=0)
        before, seeded_before = self._exposed.get(key, (0, 0))
        allowed = max(limit, before + self.seeds[key] - seeded_before)
        assert exposed <= allowed, f"{exposed} may be spent where {allowed} is the limit"
        self._exposed[key] = (exposed, self.seeds[key])

    def _limit_of(self, instance: Instance) -> int:
        overdrafts = instance.budget.overdraft_nanodollars * len(self.instances)
        return instance.budget.limit_nanodollars + overdrafts

    def _sync(self, instance: Instance, lease: Lease, fate: Fate) -> bool:
        now = self.clock.monotonic()
        sync = lease.next_sync(now)
        if sync is not None:
            self.store.fate = fate
            try:
                lease.applied(sync, carry_out(self.store, sync, self.clock.now()), now)
            except StoreError:
                lease.unknown(sync, now)
        if lease.is_done and instance.leases.get(lease.key) is lease:
            del instance.leases[lease.key]
        return sync is not None

    def _is_stored(self, event: CostEvent, expires_at: datetime) -> bool:
        (charge,) = event.charges
        segment = Create(
            f"{segments_collection(ACCOUNT_ID)}/{event.request_id}",
            {"counter_id": charge.lease_id.partition(".")[0], "cost": charge.nanodollars},
        )
        try:
            self.store.commit([segment, *charge_writes(ACCOUNT_ID, [event], expires_at=expires_at)])
        except AlreadyExists:
            return True
        except StoreUnavailable:
            return False
        return True

    def _lease(self, instance: Instance) -> Lease:
        key = self._key()
        if key not in instance.leases:
            instance.numbers += 1
            name = LeaseName(key.counter_id, instance.name, instance.numbers)
            instance.leases[key] = Lease(key, instance.budget, name, self.clock.monotonic())
            self.keys.add(key)
        return instance.leases[key]

    def _key(self) -> CounterKey:
        period = period_of(self.budget.period, self.budget.timezone, self.clock.now())
        return counter_key(ACCOUNT_ID, self.budget, period)

    def _living(self, place: int) -> Instance:
        alive = self._alive()
        return alive[place % len(alive)]

    def _alive(self) -> list[Instance]:
        return [each for each in self.instances if each.is_alive]

    def _is_drained(self, instance: Instance) -> bool:
        return not (instance.is_alive or instance.calls or instance.unstored)

    def _documents(self, prefix: str) -> dict[str, dict[str, Any]]:
        return {path: fields for path, fields in self.store.documents.items() if path.startswith(prefix)}
