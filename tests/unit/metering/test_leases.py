"""One lease, step by step: what it admits, what it tells the store, and what it makes of the answers."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from metering.budgets import Budget
from metering.counters import (
    CounterKey,
    CounterTotals,
    LeaseName,
    LeaseTotals,
    counter_key,
    counter_totals,
    lease_totals,
)
from metering.errors import RevisionChanged, StoreError
from metering.events import Charge
from metering.leases import (
    CLOSING_SECONDS,
    DENIED_SECONDS,
    DENIED_SECONDS_MAX,
    EXPIRY_MARGIN_SECONDS,
    FIRST_SLICES,
    IDLE_SECONDS,
    LEASE_SECONDS,
    LITTLE_NEWS_SECONDS,
    LOW_SLICES,
    NO_HOLD,
    RENEWAL_SECONDS,
    REPORT_PARTS,
    REPORT_SECONDS,
    RETRY_SECONDS,
    SELDOM,
    SLICE_SECONDS,
    SLICES,
    SPENT_SECONDS,
    CallHold,
    Lease,
    Sync,
    Told,
    carry_out,
    charge_writes,
    fold,
    fold_writes,
    lease_expiry,
    return_writes,
)
from metering.periods import period_of
from metering.stores import Increment
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.model_store import ModelStore
from tests.doubles.unreliable_store import Fate, UnreliableStore

LIMIT = 409_600
FIRST_SLICE = LIMIT // FIRST_SLICES
NEWS = LIMIT // REPORT_PARTS + 1  # so much is told soon, where there is one instance
PERIOD = period_of("month", "UTC", AT)


def make_budget(**changes: Any) -> Budget:
    fields: dict[str, Any] = {"budget_id": "budget_1", "limit_nanodollars": LIMIT, "mode": "strict"}
    return Budget(**fields | changes)


WARNING = make_budget(action="warn")  # it takes no slices: what it tells the store are reports alone


@dataclass
class Owner:
    """An instance with one lease; carries its syncs out."""

    number: int
    store: ModelStore
    clock: ManualClock
    budget: Budget = field(default_factory=make_budget)

    def __post_init__(self) -> None:
        name = LeaseName(self.key.counter_id, f"{self.number:032x}", 1)
        self.lease = Lease(self.key, self.budget, name, self.clock.monotonic())

    @property
    def key(self) -> CounterKey:
        return counter_key(ACCOUNT_ID, self.budget, PERIOD)

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def next(self) -> Sync | None:
        return self.lease.next_sync(self.now)

    def sync(self, fate: Fate = "applied") -> Sync | None:
        sync = self.next()
        if sync is not None:
            self.store.fate = fate
            try:
                self.lease.applied(sync, carry_out(self.store, sync, self.clock.now()), self.now)
            except StoreError:
                self.lease.unknown(sync, self.now)
            self.store.fate = "applied"
        return sync

    def sync_until_quiet(self) -> list[str]:
        """The kinds of what there was to tell."""
        kinds: list[str] = []
        while (sync := self.sync()) is not None:
            kinds.append(sync.kind)
            assert len(kinds) < 10, kinds
        return kinds

    def take(self, nanodollars: int) -> CallHold:
        """Have a call of that bound admitted, asking the store where need be."""
        need = CallHold(nanodollars)
        if not self.lease.admits(need, self.now):
            self.lease.want(need)
            self.sync()
        assert self.lease.admits(need, self.now)
        self.lease.hold(need, self.now)
        return need

    def spend(self, nanodollars: int, *, is_stored: bool = True) -> None:
        """A call that costs what it holds."""
        self.lease.settle(self.take(nanodollars), nanodollars)
        if is_stored:
            self.charge(nanodollars)

    def charge(self, nanodollars: int) -> None:
        charge = Charge(self.budget.budget_id, PERIOD.text, self.lease.name.lease_id, nanodollars)
        expires_at = lease_expiry(self.clock.now())
        self.store.commit(charge_writes(ACCOUNT_ID, [make_event(charges=(charge,))], expires_at=expires_at))

    @property
    def counter(self) -> CounterTotals:
        return counter_totals(self.store.documents.get(self.key.path))

    @property
    def amount(self) -> int:
        return lease_totals(self.store.documents.get(self.lease.name.path)).amount


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(AT)


@pytest.fixture
def owner(clock: ManualClock) -> Owner:
    return Owner(1, ModelStore(), clock)


@pytest.fixture
def other(owner: Owner) -> Owner:
    return Owner(2, owner.store, owner.clock)


def test_nothing_is_admitted_before_the_store_has_told_how_the_budget_stands(owner: Owner) -> None:
    assert not owner.lease.is_known
    assert owner.lease.free(owner.now) == 0
    assert not owner.lease.admits(CallHold(1), owner.now)


def test_the_first_sync_takes_a_small_slice_against_which_calls_are_admitted_to_the_last_bit(
    owner: Owner,
) -> None:
    owner.sync()

    assert owner.amount == owner.lease.granted == FIRST_SLICE
    assert owner.lease.admits(CallHold(FIRST_SLICE), owner.now)
    assert not owner.lease.admits(CallHold(FIRST_SLICE + 1), owner.now)


def test_a_settled_call_frees_what_it_held_beyond_its_cost(owner: Owner) -> None:
    owner.sync()
    need = owner.take(FIRST_SLICE)

    owner.lease.settle(need, 30)

    assert owner.lease.free(owner.now) == FIRST_SLICE - 30
    assert owner.lease.spent == 30


def test_a_released_call_frees_all(owner: Owner) -> None:
    owner.sync()
    owner.lease.release(owner.take(FIRST_SLICE))

    assert (owner.lease.free(owner.now), owner.lease.spent) == (FIRST_SLICE, 0)


def test_a_slice_that_runs_low_is_filled_up_before_it_is_used_up(owner: Owner) -> None:
    owner.sync()
    owner.take(20)  # so that a slice is what ten such calls a second hold
    assert owner.lease.free(owner.now) == 80
    owner.take(FIRST_SLICE - 20 - 50)
    assert owner.lease.free(owner.now) == 50
    assert 50 * LOW_SLICES < SLICE_SECONDS * 50

    sync = owner.sync()

    assert sync is not None
    assert owner.lease.free(owner.now) == SLICE_SECONDS * 50


def test_a_slice_is_no_more_than_a_share_of_what_is_left(owner: Owner, other: Owner) -> None:
    other.take(LIMIT - 800 - FIRST_SLICE)
    owner.sync()
    owner.take(FIRST_SLICE)
    owner.sync()

    assert owner.lease.free(owner.now) == 800 // (SLICES * 2)


def test_near_the_limit_half_of_what_is_not_used_soon_goes_back_time_and_again(
    owner: Owner, other: Owner
) -> None:
    other.take(LIMIT // 2)
    owner.lease.release(owner.take(LIMIT // 2 - 100))
    free = [owner.lease.free(owner.now)]

    for _ in range(12):
        owner.clock.advance(REPORT_SECONDS)
        owner.lease.release(owner.take(10))
        owner.sync_until_quiet()
        free.append(owner.lease.free(owner.now))

    assert free == sorted(free, reverse=True)
    assert free[0] > free[-1] > 0
    assert owner.counter.reserved == LIMIT // 2 + free[-1]
    assert free[-1] <= LIMIT - owner.counter.reserved  # no more than all others can still take


def test_what_a_waiting_call_was_granted_is_not_given_up_as_idle(owner: Owner, other: Owner) -> None:
    other.take(LIMIT - 100)
    owner.sync_until_quiet()
    owner.clock.advance(IDLE_SECONDS * 2)
    owner.sync_until_quiet()
    owner.lease.want(CallHold(100))
    owner.sync()

    assert owner.sync_until_quiet() == []
    assert owner.lease.admits(CallHold(100), owner.now)


def test_what_lies_beyond_the_limit_is_not_granted_and_goes_back_at_once(owner: Owner, other: Owner) -> None:
    other.take(LIMIT - 40)
    owner.lease.want(CallHold(FIRST_SLICE + 1))

    owner.lease.want(CallHold(30))
    owner.sync()
    assert (owner.amount, owner.lease.granted) == (FIRST_SLICE + 31, 40)
    returned = owner.sync()

    assert returned is not None
    assert returned.kind == "return"
    assert owner.amount == 40
    assert owner.counter.reserved == LIMIT


@pytest.mark.parametrize("wanted", [(41,), (41, 50), (50, 41)])
def test_a_grant_that_is_too_little_for_any_call_goes_back_whole(
    owner: Owner, other: Owner, wanted: tuple[int, ...]
) -> None:
    other.take(LIMIT - 40)
    for each in wanted:
        owner.lease.want(CallHold(each))

    owner.sync_until_quiet()

    assert owner.amount == owner.lease.granted == 0
    assert owner.counter.reserved == LIMIT - 40


def test_a_grant_that_is_enough_for_the_least_of_the_calls_that_wait_is_kept(
    owner: Owner, other: Owner
) -> None:
    other.take(LIMIT - 40)
    for each in (30, 41):
        owner.lease.want(CallHold(each))

    owner.sync_until_quiet()

    assert owner.lease.free(owner.now) == 40


def test_a_take_of_unknown_outcome_grants_nothing_until_a_later_sync_shows_it(owner: Owner) -> None:
    owner.sync("reply_lost")
    assert (owner.amount, owner.lease.granted) == (FIRST_SLICE, 0)
    assert owner.lease.is_silent
    assert owner.next() is None

    owner.clock.advance(RETRY_SECONDS)
    owner.sync()

    assert not owner.lease.is_silent
    assert owner.lease.granted == owner.amount == 2 * FIRST_SLICE


def test_a_take_that_lands_late_beyond_the_limit_is_handed_back(owner: Owner, other: Owner) -> None:
    owner.lease.want(CallHold(LIMIT // 2))
    owner.sync("late")
    other.take(LIMIT)
    owner.store.land(0)
    assert owner.counter.reserved == LIMIT + LIMIT // 2

    owner.clock.advance(RETRY_SECONDS)
    owner.sync_until_quiet()

    assert owner.lease.granted == owner.amount == 0
    assert owner.counter.reserved == LIMIT


def test_a_return_never_lands_after_a_later_sync(owner: Owner) -> None:
    owner.take(100)
    owner.sync()
    owner.lease.govern(make_budget(limit_nanodollars=LIMIT - 1))
    owner.clock.advance(RENEWAL_SECONDS)
    returned = owner.sync("late")
    assert returned is not None
    assert returned.kind == "return"
    owner.clock.advance(RETRY_SECONDS)
    owner.lease.hold(CallHold(LIMIT // 2), owner.now)  # unadmitted: the next sync is to reserve
    owner.sync()
    amount = owner.amount

    owner.store.land(0)

    assert owner.amount == amount


def test_a_sync_that_changes_no_sum_leaves_another_revision_all_the_same(owner: Owner) -> None:
    owner.sync_until_quiet()
    before = owner.store.get(owner.lease.name.path)
    sync = Sync(kind="reserve", key=owner.key, name=owner.lease.name, begun_at=owner.now)
    carry_out(owner.store, sync, owner.clock.now())

    after = owner.store.get(owner.lease.name.path)

    assert before is not None
    assert after is not None
    assert before.revision != after.revision


def test_a_lease_admits_until_ten_seconds_before_it_expires(owner: Owner) -> None:
    owner.sync()

    owner.clock.advance(LEASE_SECONDS - EXPIRY_MARGIN_SECONDS - 0.1)
    assert owner.lease.free(owner.now) == FIRST_SLICE
    owner.clock.advance(0.1)
    assert owner.lease.free(owner.now) == 0


def test_a_sync_renews_a_lease_from_when_it_was_begun(owner: Owner) -> None:
    sync = owner.next()
    assert sync is not None
    owner.clock.advance(5)
    owner.lease.applied(sync, carry_out(owner.store, sync, owner.clock.now()), owner.now)

    owner.clock.advance(LEASE_SECONDS - EXPIRY_MARGIN_SECONDS - 5)

    assert owner.lease.free(owner.now) == 0


def test_a_lease_is_renewed_each_half_minute(owner: Owner) -> None:
    owner.take(FIRST_SLICE)
    owner.sync_until_quiet()

    owner.clock.advance(RENEWAL_SECONDS - 0.1)
    assert owner.sync_until_quiet() == []
    owner.clock.advance(0.1)
    assert owner.sync_until_quiet() == ["renew"]


def test_a_renewal_writes_the_lease_alone_and_hears_how_the_counter_stands(
    owner: Owner, other: Owner
) -> None:
    owner.take(FIRST_SLICE)
    owner.sync_until_quiet()
    other.take(1_000)
    counting = CountingStore(owner.store)
    owner.clock.advance(RENEWAL_SECONDS)
    sync = owner.next()
    assert sync is not None

    owner.lease.applied(sync, carry_out(counting, sync, owner.clock.now()), owner.now)

    assert [weight.writes for weight in counting.commits] == [1]
    assert owner.lease.standing.held_nanodollars == owner.counter.reserved
    owner.clock.advance(LEASE_SECONDS - EXPIRY_MARGIN_SECONDS - 0.1)
    assert owner.lease.free(owner.now) > 0
    owner.clock.advance(0.1)
    assert owner.lease.free(owner.now) == 0


def test_a_renewal_makes_no_closed_lease_spendable(owner: Owner) -> None:
    owner.sync()
    owner.clock.advance(RENEWAL_SECONDS)
    sync = owner.next()
    assert sync is not None
    assert sync.kind == "renew"
    fold(owner.store, owner.lease.name.lease_id)

    owner.lease.applied(sync, carry_out(owner.store, sync, owner.clock.now()), owner.now)

    assert (owner.lease.granted, owner.lease.free(owner.now)) == (0, 0)
    assert owner.counter == CounterTotals()


def test_a_renewal_whose_counter_is_gone_keeps_what_is_known(owner: Owner) -> None:
    owner.sync()
    owner.store.documents.pop(owner.key.path)
    owner.clock.advance(RENEWAL_SECONDS)

    owner.sync()

    assert owner.lease.is_known
    assert owner.lease.free(owner.now) == FIRST_SLICE


def test_an_owner_that_slept_learns_that_its_lease_was_closed_and_admits_only_what_it_gets_anew(
    owner: Owner, other: Owner
) -> None:
    held = owner.take(1_000)
    owner.clock.advance(200)
    fold(owner.store, owner.lease.name.lease_id)
    other.take(LIMIT - 400)

    owner.sync()
    assert (owner.lease.granted, owner.lease.free(owner.now)) == (0, 0)
    owner.clock.advance(2 * REPORT_SECONDS)
    owner.sync()
    assert (owner.lease.granted, owner.lease.free(owner.now)) == (400, 0)
    assert owner.amount == 1_000  # what is held counts, whether there was room or not
    owner.lease.release(held)

    assert owner.lease.free(owner.now) == 400


def test_a_closed_lease_is_opened_anew_for_a_charge_and_closed_with_it(owner: Owner) -> None:
    owner.spend(60)
    fold(owner.store, owner.lease.name.lease_id)
    assert owner.counter == CounterTotals(reserved=60, settled=60)

    owner.charge(15)
    assert fold(owner.store, owner.lease.name.lease_id)
    assert not fold(owner.store, owner.lease.name.lease_id)

    assert owner.counter == CounterTotals(reserved=75, settled=75)


@pytest.mark.parametrize(("cost", "free"), [(0, 300), (299, 1), (300, 0), (500, 0)])
def test_what_a_call_held_while_the_limit_was_lowered_is_freed_up_to_the_new_limit_alone(
    owner: Owner, cost: int, free: int
) -> None:
    owner.spend(100)
    in_flight = owner.take(500)
    owner.lease.govern(make_budget(limit_nanodollars=400))

    owner.lease.settle(in_flight, cost)

    assert owner.lease.free(owner.now) == free


def test_below_what_others_have_spent_a_lowered_limit_leaves_nothing_of_what_a_call_held(
    owner: Owner, other: Owner
) -> None:
    other.spend(1_000)
    other.clock.advance(REPORT_SECONDS)
    other.sync_until_quiet()
    in_flight = owner.take(500)
    owner.lease.govern(make_budget(limit_nanodollars=1_000))

    owner.lease.release(in_flight)

    assert owner.lease.free(owner.now) == 0


def test_a_lowered_limit_gives_back_all_that_no_call_holds(owner: Owner) -> None:
    owner.take(500)
    owner.sync_until_quiet()
    assert owner.amount > 500

    owner.lease.govern(make_budget(limit_nanodollars=100))
    owner.sync_until_quiet()

    assert owner.amount == owner.lease.granted == 500
    assert owner.lease.free(owner.now) == 0


def test_a_raised_limit_is_asked_for_at_once(owner: Owner, other: Owner) -> None:
    other.take(LIMIT)
    owner.lease.want(CallHold(50))
    owner.sync_until_quiet()
    assert not owner.lease.admits(CallHold(50), owner.now)

    owner.lease.govern(make_budget(limit_nanodollars=LIMIT + 50))
    owner.take(50)


def test_giving_up_never_grants(owner: Owner) -> None:
    owner.sync()
    unadmitted = CallHold(LIMIT)
    owner.lease.hold(unadmitted, owner.now)
    owner.lease.govern(make_budget(limit_nanodollars=LIMIT - 1))
    owner.lease.release(unadmitted)

    assert owner.lease.granted == FIRST_SLICE


def test_what_calls_before_the_budget_cost_takes_its_room(owner: Owner) -> None:
    owner.take(10)
    owner.sync_until_quiet()
    owner.spend(10)
    assert owner.lease.free(owner.now) >= FIRST_SLICE - 20
    seeds: dict[tuple[str, ...], int] = dict.fromkeys((("seeded",), ("reserved",), ("settled",)), LIMIT - 20)
    owner.store.commit([Increment(owner.key.path, seeds)])

    owner.clock.advance(LITTLE_NEWS_SECONDS)
    owner.sync_until_quiet()

    assert owner.lease.free(owner.now) == 0
    assert owner.counter.reserved == LIMIT
    assert owner.lease.spent == LIMIT - 10


def test_refused_calls_ask_again_after_a_pause_only(owner: Owner, other: Owner) -> None:
    other.take(LIMIT)
    owner.lease.want(CallHold(50))
    owner.sync_until_quiet()
    pause = DENIED_SECONDS * 2  # two instances are known

    owner.clock.advance(pause - 0.1)
    owner.lease.want(CallHold(50))
    assert owner.next() is None
    owner.clock.advance(0.1)
    owner.lease.want(CallHold(50))

    sync = owner.next()
    assert sync is not None
    assert sync.reserve == 50


def test_what_refused_calls_wanted_does_not_add_up(owner: Owner, other: Owner) -> None:
    other.take(LIMIT)
    owner.lease.want(CallHold(50))
    owner.sync_until_quiet()
    for _ in range(100):
        owner.lease.want(CallHold(50))
        owner.next()

    other.lease.govern(make_budget(limit_nanodollars=0))
    other.lease.release(CallHold(LIMIT))
    other.lease.retire()
    other.sync_until_quiet()
    owner.clock.advance(SPENT_SECONDS)
    owner.take(50)

    assert owner.amount == 50


def test_where_the_limit_is_spent_the_pause_is_longer(owner: Owner, other: Owner) -> None:
    other.spend(LIMIT)
    other.clock.advance(REPORT_SECONDS)
    other.sync_until_quiet()
    owner.lease.want(CallHold(50))
    owner.sync_until_quiet()

    owner.clock.advance(SPENT_SECONDS - 0.1)
    owner.lease.want(CallHold(50))
    assert owner.next() is None
    owner.clock.advance(0.1)
    owner.lease.want(CallHold(50))

    sync = owner.next()
    assert sync is not None
    assert sync.reserve == 50


@pytest.mark.parametrize(("spent", "is_only_held"), [(LIMIT - 50, True), (LIMIT - 49, False)])
def test_a_refusal_tells_what_is_held_from_what_is_spent(
    owner: Owner, other: Owner, spent: int, is_only_held: bool
) -> None:
    other.spend(spent)
    other.clock.advance(REPORT_SECONDS)
    other.sync_until_quiet()
    owner.sync_until_quiet()

    assert owner.lease.is_only_held(CallHold(50)) is is_only_held


def test_what_one_instance_spent_is_known_to_the_others_and_never_counted_twice(
    owner: Owner, other: Owner
) -> None:
    owner.sync_until_quiet()
    other.spend(300)
    other.clock.advance(2 * REPORT_SECONDS)
    other.sync()
    owner.spend(100, is_stored=False)
    owner.clock.advance(RENEWAL_SECONDS)
    owner.sync()
    owner.spend(7, is_stored=False)

    assert owner.lease.spent == 407
    assert owner.lease.standing.percent == 407 * 100 // LIMIT


def test_what_settles_while_the_store_is_being_told_is_counted_once(owner: Owner, other: Owner) -> None:
    other.spend(300)
    other.clock.advance(REPORT_SECONDS)
    other.sync_until_quiet()
    held = owner.take(50)
    owner.clock.advance(RENEWAL_SECONDS)
    sync = owner.next()
    assert sync is not None

    owner.lease.settle(held, 40)
    owner.lease.applied(sync, carry_out(owner.store, sync, owner.clock.now()), owner.now)

    assert owner.lease.spent == 340


def test_a_report_of_unknown_outcome_is_counted_once_in_the_end(owner: Owner) -> None:
    owner.spend(100)
    owner.clock.advance(LITTLE_NEWS_SECONDS)
    owner.sync("late")
    owner.clock.advance(RETRY_SECONDS)
    owner.sync()
    owner.store.land(0)
    assert owner.counter.settled == 200

    owner.clock.advance(RENEWAL_SECONDS)
    owner.sync_until_quiet()
    owner.clock.advance(REPORT_SECONDS)
    owner.sync_until_quiet()

    assert owner.counter.settled == owner.lease.spent == 100


@pytest.mark.parametrize("instances", [1, 2])
def test_reports_are_as_rare_as_there_are_instances(clock: ManualClock, instances: int) -> None:
    store = ModelStore()
    owner, *others = [Owner(number, store, clock, WARNING) for number in range(instances)]
    for other in others:
        other.sync()
    owner.sync_until_quiet()
    owner.spend(NEWS // instances)

    owner.clock.advance(REPORT_SECONDS * instances - 0.1)
    assert owner.next() is None
    owner.clock.advance(0.1)

    sync = owner.next()
    assert sync is not None
    assert (sync.kind, sync.report) == ("reserve", NEWS // instances)


@pytest.mark.parametrize("instances", [1, 2, 14])
def test_a_little_that_was_spent_is_told_less_often(clock: ManualClock, instances: int) -> None:
    owner = Owner(1, ModelStore(), clock, WARNING)
    owner.store.commit([Increment(owner.key.path, {("instances",): instances - 1})])
    owner.sync_until_quiet()
    owner.spend((NEWS - 1) // instances)
    seconds = max(LITTLE_NEWS_SECONDS, SELDOM * REPORT_SECONDS * instances)

    owner.clock.advance(seconds - 0.1)
    assert owner.next() is None or seconds > RENEWAL_SECONDS
    owner.lease.hold(CallHold(1), owner.now)  # it is not to be closed meanwhile
    owner.clock.advance(0.1)

    assert "reserve" in owner.sync_until_quiet()


@pytest.mark.parametrize(("news", "is_told_soon"), [(NEWS, True), (NEWS - 1, False)])
def test_while_others_spend_much_a_little_is_told_soon_so_that_theirs_is_heard(
    clock: ManualClock, news: int, *, is_told_soon: bool
) -> None:
    owner, other = (Owner(number, store, clock, WARNING) for store in [ModelStore()] for number in (1, 2))
    for each in (owner, other):
        each.sync_until_quiet()
    clock.advance(LITTLE_NEWS_SECONDS)
    other.spend(news)
    other.sync_until_quiet()
    owner.spend(1)
    owner.sync_until_quiet()  # hears of it

    owner.spend(1)
    clock.advance(2 * REPORT_SECONDS)

    assert owner.sync_until_quiet() == ["reserve"] * is_told_soon


def test_what_is_spent_without_room_is_told_soon_however_little_it_is(owner: Owner) -> None:
    owner.sync()
    owner.lease.hold(CallHold(FIRST_SLICE + 1), owner.now)  # unadmitted
    owner.clock.advance(REPORT_SECONDS)

    assert "reserve" in owner.sync_until_quiet()
    assert owner.amount >= FIRST_SLICE + 1


def test_where_there_are_many_instances_a_slice_lasts_as_long_as_two_reports(owner: Owner) -> None:
    owner.store.commit([Increment(owner.key.path, {("instances",): 19})])
    owner.sync()
    owner.clock.advance(10)
    owner.take(FIRST_SLICE)

    owner.sync()

    assert owner.lease.free(owner.now) == SELDOM * REPORT_SECONDS * 20 * FIRST_SLICE // 10


def test_where_there_are_many_instances_a_lease_is_closed_later(owner: Owner) -> None:
    owner.store.commit([Increment(owner.key.path, {("instances",): 99})])
    owner.sync_until_quiet()
    owner.clock.advance(SELDOM * REPORT_SECONDS * 100 - 0.1)
    assert "close" not in owner.sync_until_quiet()
    owner.clock.advance(0.1)

    assert "close" in owner.sync_until_quiet()


def test_two_hundred_instances_that_begin_at_once_leave_most_of_the_limit(clock: ManualClock) -> None:
    store = ModelStore()
    owners = [Owner(number, store, clock, make_budget()) for number in range(200)]

    for owner in owners:
        owner.sync()

    assert all(owner.lease.free(owner.now) == FIRST_SLICE for owner in owners)
    assert owners[0].counter.reserved * 20 < LIMIT


def test_an_idle_slice_near_the_limit_goes_back_after_two_seconds(owner: Owner, other: Owner) -> None:
    other.take(LIMIT - 300)
    owner.spend(100)
    owner.take(100)
    owner.lease.want(CallHold(100))
    owner.sync_until_quiet()
    assert owner.lease.free(owner.now) > 0

    owner.clock.advance(IDLE_SECONDS - 0.1)
    assert "return" not in owner.sync_until_quiet()
    owner.clock.advance(0.1)

    assert "return" in owner.sync_until_quiet()
    assert owner.amount == 200


def test_an_idle_slice_far_from_the_limit_stays(owner: Owner) -> None:
    owner.take(10)
    owner.sync_until_quiet()

    owner.clock.advance(IDLE_SECONDS * 2)

    assert owner.next() is None


def test_a_lease_without_calls_is_closed_after_a_minute(owner: Owner) -> None:
    owner.spend(60)
    owner.sync_until_quiet()
    owner.clock.advance(CLOSING_SECONDS - 0.1)
    owner.sync_until_quiet()
    assert not owner.lease.is_done

    owner.clock.advance(0.1)
    owner.sync_until_quiet()

    assert owner.lease.is_done
    assert owner.counter == CounterTotals(reserved=60, settled=60)


def test_a_call_that_waits_keeps_its_lease_from_closing(owner: Owner) -> None:
    owner.sync_until_quiet()
    owner.clock.advance(CLOSING_SECONDS * 2)

    owner.take(FIRST_SLICE)

    assert not owner.lease.is_done


def test_a_lease_whose_charges_are_not_all_stored_is_not_closed_but_emptied(owner: Owner) -> None:
    owner.spend(60, is_stored=False)
    owner.lease.retire()

    owner.sync_until_quiet()
    assert not owner.lease.is_done
    assert (owner.amount, owner.counter.reserved) == (60, 60)

    owner.charge(60)
    owner.clock.advance(RETRY_SECONDS)
    owner.sync_until_quiet()
    assert owner.lease.is_done
    assert owner.counter == CounterTotals(reserved=60, settled=60)


def test_a_lease_with_calls_in_flight_is_kept_after_its_period(owner: Owner) -> None:
    held = owner.take(60)
    owner.lease.retire()
    owner.sync_until_quiet()
    owner.clock.advance(CLOSING_SECONDS * 3)
    assert owner.sync_until_quiet() == ["reserve"]  # renewed: its call goes on
    assert owner.amount == 60

    owner.lease.settle(held, 45)
    owner.charge(45)
    owner.sync_until_quiet()

    assert owner.lease.is_done
    assert owner.counter == CounterTotals(reserved=45, settled=45)


def test_a_lease_that_was_never_used_ends_without_asking_the_store(owner: Owner) -> None:
    owner.lease.retire()

    assert owner.next() is None
    assert owner.lease.is_done
    assert not owner.store.documents


def test_one_sync_at_a_time(owner: Owner) -> None:
    assert owner.next() is not None
    assert owner.next() is None


def test_a_strict_budget_holds_the_upper_bound_and_refuses_what_has_none(owner: Owner) -> None:
    assert owner.lease.need(10, 70) == CallHold(70)
    assert owner.lease.need(10, None) is None


def test_a_normal_budget_holds_the_expected_cost_while_the_overdraft_bears_the_rest(
    clock: ManualClock,
) -> None:
    owner = Owner(1, ModelStore(), clock, make_budget(mode="normal", limit_nanodollars=6_400))
    overdraft = owner.budget.overdraft_nanodollars
    assert overdraft == 320

    held = owner.lease.need(10, 10 + overdraft)
    assert held == CallHold(10, overdraft)
    owner.lease.hold(held, owner.now)
    assert owner.lease.need(10, 11) == CallHold(11)
    owner.lease.release(held)

    assert owner.lease.need(10, 10 + overdraft + 1) == CallHold(10 + overdraft + 1)
    assert owner.lease.need(10, 4) == CallHold(10)


def test_a_call_without_a_bound_counts_the_whole_overdraft(clock: ManualClock) -> None:
    owner = Owner(1, ModelStore(), clock, make_budget(mode="normal"))
    overdraft = owner.budget.overdraft_nanodollars

    first = owner.lease.need(10, None)
    assert first == CallHold(10, overdraft)
    owner.lease.hold(first, owner.now)

    assert owner.lease.need(10, None) == CallHold(10 + overdraft)


def test_what_was_served_unadmitted_is_reserved_as_soon_as_the_store_answers(owner: Owner) -> None:
    owner.sync("not_applied")
    owner.lease.hold(CallHold(2 * LIMIT), owner.now)
    owner.lease.settle(CallHold(2 * LIMIT), 2 * LIMIT)
    owner.charge(2 * LIMIT)

    owner.clock.advance(RETRY_SECONDS)
    owner.sync()

    assert owner.counter.reserved == owner.counter.settled == 2 * LIMIT
    assert owner.lease.free(owner.now) == 0
    assert owner.next() is None


def test_what_is_held_beyond_the_limit_goes_back_when_it_is_released(owner: Owner, other: Owner) -> None:
    other.take(LIMIT)
    owner.sync_until_quiet()
    for nanodollars in (1_000, 500):
        owner.lease.hold(CallHold(nanodollars), owner.now)
    owner.clock.advance(REPORT_SECONDS * 2)
    owner.sync_until_quiet()
    assert owner.amount == 1_500

    owner.lease.release(CallHold(500))

    assert owner.sync_until_quiet() == ["return"]
    assert owner.amount == 1_000


def test_a_budget_that_warns_admits_everything_and_counts_it(clock: ManualClock) -> None:
    owner = Owner(1, ModelStore(), clock, make_budget(action="warn", mode="normal"))
    need = owner.lease.need(3 * LIMIT, None)
    assert need is not None
    assert owner.lease.admits(need, owner.now)
    owner.sync()
    owner.lease.hold(need, owner.now)
    owner.lease.settle(need, 2 * LIMIT)
    owner.charge(2 * LIMIT)

    owner.clock.advance(REPORT_SECONDS)
    owner.sync_until_quiet()

    assert owner.counter == CounterTotals(reserved=2 * LIMIT, settled=2 * LIMIT, instances=1)
    assert owner.lease.standing.percent == 200


def test_a_budget_that_begins_to_block_takes_slices_from_then_on(clock: ManualClock) -> None:
    warning = make_budget(action="warn", mode="normal")
    owner = Owner(1, ModelStore(), clock, warning)
    owner.sync()
    owner.lease.hold(CallHold(5), owner.now)
    assert not owner.counter.reserved

    owner.lease.govern(make_budget())
    assert owner.lease.free(owner.now) == 0
    owner.take(100)
    owner.lease.govern(warning)
    owner.lease.release(CallHold(105))
    owner.sync_until_quiet()

    assert owner.amount == 0


def test_instances_are_counted_while_they_have_a_lease(owner: Owner, other: Owner) -> None:
    owner.sync()
    other.sync("reply_lost")
    other.clock.advance(RETRY_SECONDS)
    other.sync()
    assert owner.counter.instances == 3  # counted twice, until it next has something to say
    other.clock.advance(RENEWAL_SECONDS)
    other.sync()
    assert owner.counter.instances == 2

    other.lease.retire()
    other.sync_until_quiet()

    assert owner.counter.instances == 1


def test_a_lease_that_only_a_charge_made_is_found_by_the_reaper_too(owner: Owner) -> None:
    owner.charge(25)

    (fields,) = owner.store.documents.values()
    assert fields["state"] == "open"
    assert fields["expires_at"] == lease_expiry(owner.clock.now())
    assert fold(owner.store, owner.lease.name.lease_id)
    assert owner.counter == CounterTotals(reserved=25, settled=25)


def test_charges_of_one_lease_are_one_write(owner: Owner) -> None:
    lease_ids = [owner.lease.name.lease_id, msgspec.structs.replace(owner.lease.name, number=2).lease_id]
    events = [
        make_event(charges=tuple(Charge("budget_1", PERIOD.text, lease_id, cost) for lease_id in lease_ids))
        for cost in (3, 4)
    ]

    writes = charge_writes(ACCOUNT_ID, events, expires_at=AT)

    assert [write.path for write in writes] == [f"leases/{lease_id}" for lease_id in lease_ids]
    assert [write.amounts for write in writes] == [{("used",): 7}] * 2


def test_a_charge_to_no_lease_is_refused() -> None:
    event = make_event(charges=(Charge("budget_1", "2026-11", "../accounts", 1),))

    with pytest.raises(ValueError, match="lease"):
        charge_writes(ACCOUNT_ID, [event], expires_at=AT)


def test_a_lease_expires_one_to_two_minutes_after_it_was_written_on_a_whole_minute() -> None:
    whole = AT.replace(second=0, microsecond=0)

    assert lease_expiry(whole) == whole + timedelta(minutes=2)
    assert lease_expiry(whole + timedelta(seconds=59.9)) == whole + timedelta(minutes=2)


def test_a_closed_lease_needs_no_closing(owner: Owner) -> None:
    owner.spend(5)
    fold(owner.store, owner.lease.name.lease_id)
    document = owner.store.get(owner.lease.name.path)

    assert document is not None
    assert fold_writes(document) == []
    assert not fold(owner.store, LeaseName("0" * 32, "1" * 32, 1).lease_id)


def test_of_two_that_close_a_lease_at_once_one_does(owner: Owner) -> None:
    owner.spend(5)
    document = owner.store.get(owner.lease.name.path)
    assert document is not None

    owner.store.commit(fold_writes(document))
    with pytest.raises(RevisionChanged):
        owner.store.commit(fold_writes(document))

    assert owner.counter == CounterTotals(reserved=5, settled=5)


def test_a_call_that_holds_nothing_may_cost_something(owner: Owner) -> None:
    owner.sync()
    owner.lease.settle(NO_HOLD, 12)

    assert owner.lease.spent == 12
    assert owner.lease.free(owner.now) == FIRST_SLICE - 12


@pytest.mark.parametrize("ends", ["settled", "released"])
def test_what_a_call_draws_on_the_overdraft_is_there_again_once_it_is_over(
    clock: ManualClock, ends: str
) -> None:
    owner = Owner(1, ModelStore(), clock, make_budget(mode="normal"))
    held = owner.lease.need(10, None)
    assert held is not None
    owner.lease.hold(held, owner.now)

    if ends == "settled":
        owner.lease.settle(held, 10)
    else:
        owner.lease.release(held)

    assert owner.lease.need(10, None) == held


def test_a_call_whose_period_ends_before_the_store_was_ever_asked_keeps_its_lease(clock: ManualClock) -> None:
    owner = Owner(1, ModelStore(), clock, make_budget(action="warn"))
    held = CallHold(10)
    owner.lease.hold(held, owner.now)

    owner.lease.retire()
    owner.sync_until_quiet()
    assert not owner.lease.is_done
    owner.lease.settle(held, 7)
    owner.charge(7)
    owner.sync_until_quiet()

    assert owner.lease.is_done
    assert owner.counter == CounterTotals(reserved=7, settled=7)


def test_what_a_call_wanted_that_found_room_is_not_asked_for_later(owner: Owner) -> None:
    owner.sync()

    for _ in range(3):
        owner.lease.want(CallHold(FIRST_SLICE - 10))
        assert owner.next() is None


def test_what_was_wanted_when_the_store_was_silent_does_not_add_up(owner: Owner) -> None:
    for _ in range(3):
        owner.lease.want(CallHold(300))
        assert owner.sync("not_applied") is not None
        owner.clock.advance(RETRY_SECONDS)

    owner.lease.want(CallHold(300))
    sync = owner.next()

    assert sync is not None
    assert sync.reserve == 300


def test_a_call_asks_for_no_more_than_its_slice_lacks(owner: Owner) -> None:
    owner.sync()

    owner.lease.want(CallHold(FIRST_SLICE + 50))
    sync = owner.next()

    assert sync is not None
    assert sync.reserve == 50


def test_calls_that_wait_ask_together_for_no_more_than_there_seems_to_be(owner: Owner, other: Owner) -> None:
    other.take(LIMIT - FIRST_SLICE - 30)
    owner.sync()
    owner.take(FIRST_SLICE)

    for _ in range(3):
        owner.lease.want(CallHold(20))
    sync = owner.next()

    assert sync is not None
    assert sync.reserve == 30


def test_an_owner_whose_lease_was_closed_may_spend_nothing_of_what_it_asks_for_in_vain(
    owner: Owner, other: Owner
) -> None:
    owner.sync()
    owner.clock.advance(200)
    fold(owner.store, owner.lease.name.lease_id)
    other.take(LIMIT)

    for _ in range(4):
        owner.lease.want(CallHold(60))
    owner.sync()

    assert owner.lease.free(owner.now) == 0


def test_what_was_granted_stays_so_while_others_ask_in_vain(owner: Owner, other: Owner) -> None:
    owner.sync()
    other.take(LIMIT - FIRST_SLICE)
    other.lease.want(CallHold(40))
    other.clock.advance(SPENT_SECONDS)
    other.sync()
    assert owner.counter.reserved == LIMIT + 40

    owner.clock.advance(RENEWAL_SECONDS)
    owner.sync()

    assert owner.lease.granted == FIRST_SLICE


def test_who_asked_for_nothing_is_denied_nothing(owner: Owner, other: Owner) -> None:
    owner.take(FIRST_SLICE)
    other.take(LIMIT - FIRST_SLICE)
    other.lease.want(CallHold(40))
    owner.clock.advance(RENEWAL_SECONDS)
    other.sync()
    owner.sync()

    owner.lease.want(CallHold(50))

    assert owner.next() is not None


def test_however_many_instances_there_are_a_refused_call_asks_again_within_seconds(
    owner: Owner, other: Owner
) -> None:
    other.take(LIMIT)
    owner.store.commit([Increment(owner.key.path, {("instances",): 1_000})])
    owner.lease.want(CallHold(50))
    owner.sync_until_quiet()

    owner.clock.advance(DENIED_SECONDS_MAX)
    owner.lease.want(CallHold(50))

    assert owner.next() is not None


def test_a_slice_grows_with_what_calls_hold_in_a_second_however_long_nobody_looked(owner: Owner) -> None:
    owner.sync()
    owner.clock.advance(10)
    owner.take(FIRST_SLICE)

    owner.sync()

    assert owner.lease.free(owner.now) == SLICE_SECONDS * FIRST_SLICE // 10


def test_an_instance_that_is_alone_shares_with_nobody(owner: Owner) -> None:
    owner.take(LIMIT - 100)
    owner.lease.release(owner.take(100))

    for _ in range(10):
        owner.clock.advance(REPORT_SECONDS)
        owner.lease.release(owner.take(1))
        assert "return" not in owner.sync_until_quiet()


def test_what_calls_will_need_until_it_is_shared_again_is_kept(owner: Owner, other: Owner) -> None:
    other.take(LIMIT - 400)
    owner.take(200)
    held = owner.take(200)
    owner.lease.release(held)
    owner.sync_until_quiet()

    for _ in range(6):
        owner.clock.advance(REPORT_SECONDS)
        owner.lease.release(owner.take(100))  # twice as much by when it is shared again
        assert "return" not in owner.sync_until_quiet()


def test_a_lease_that_only_waits_for_its_last_call_counts_as_no_instance(owner: Owner) -> None:
    owner.take(10)
    assert owner.counter.instances == 1

    owner.lease.retire()
    owner.clock.advance(RENEWAL_SECONDS)
    owner.sync_until_quiet()

    assert not owner.lease.is_done
    assert owner.counter.instances == 0


def test_a_lease_that_has_no_more_than_it_keeps_returns_nothing(owner: Owner) -> None:
    owner.sync()
    document = owner.store.get(owner.lease.name.path)
    assert document is not None

    assert return_writes(document, owner.key, FIRST_SLICE) == []
    assert return_writes(document, owner.key, FIRST_SLICE - 1) != []


def test_a_return_from_a_lease_that_is_gone_does_not_end_it(owner: Owner) -> None:
    back = Sync(kind="return", key=owner.key, name=owner.lease.name, begun_at=owner.now, keep=5)
    end = msgspec.structs.replace(back, kind="close")

    assert carry_out(owner.store, back, owner.clock.now()) == Told(lease=LeaseTotals())
    assert carry_out(owner.store, end, owner.clock.now()).is_closed


def test_a_return_from_a_lease_that_somebody_closed_tells_what_it_has(owner: Owner) -> None:
    owner.spend(5)
    fold(owner.store, owner.lease.name.lease_id)
    back = Sync(kind="return", key=owner.key, name=owner.lease.name, begun_at=owner.now, keep=50)

    assert carry_out(owner.store, back, owner.clock.now()).lease.amount == 5


def test_a_charge_that_comes_while_a_lease_is_being_closed_is_counted(owner: Owner) -> None:
    owner.spend(5)
    charges = iter([0, 7])  # before it is read, and before it is written
    busy = UnreliableStore(owner.store, before=lambda: owner.charge(next(charges, 0)))

    assert fold(busy, owner.lease.name.lease_id)

    assert owner.counter == CounterTotals(reserved=12, settled=12)


def test_a_budget_that_warned_for_a_moment_may_not_spend_what_went_back_meanwhile(owner: Owner) -> None:
    owner.sync()
    owner.lease.govern(make_budget(action="warn"))
    returned = owner.sync("reply_lost")
    assert returned is not None
    assert returned.kind == "return"

    owner.lease.govern(make_budget())

    assert owner.lease.free(owner.now) == 0


def test_what_was_spent_is_told_once_a_second_and_no_more_often(clock: ManualClock) -> None:
    owner = Owner(1, ModelStore(), clock, WARNING)
    owner.sync()
    for _ in range(3):
        owner.spend(NEWS)
        assert owner.sync() is None
        owner.clock.advance(REPORT_SECONDS)
        assert owner.sync() is not None


def test_an_idle_slice_no_larger_than_what_is_left_stays(owner: Owner, other: Owner) -> None:
    other.take(LIMIT - 2 * FIRST_SLICE)
    owner.sync()

    owner.clock.advance(IDLE_SECONDS)

    assert "return" not in owner.sync_until_quiet()


def test_a_slice_that_was_filled_up_only_in_part_is_kept(owner: Owner, other: Owner) -> None:
    owner.spend(300)
    other.take(LIMIT - 300 - 40)

    owner.sync_until_quiet()

    assert owner.lease.free(owner.now) == 40
