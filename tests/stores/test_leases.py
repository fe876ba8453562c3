"""Leases on both stores: charged, handed back and closed, by many at once; and what each commit weighs."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from metering.budgets import EACH_VALUES_MAX, MATCHING_BUDGETS_MAX, Budget
from metering.counters import (
    CounterKey,
    CounterTotals,
    LeaseName,
    LeaseTotals,
    counter_key,
    counter_totals,
    lease_totals,
)
from metering.errors import RevisionChanged, StoreUnavailable
from metering.events import Charge, CostEvent
from metering.leases import (
    CallHold,
    Lease,
    Sync,
    carry_out,
    charge_writes,
    fold,
    fold_writes,
    lease_expiry,
    reserve_writes,
    return_writes,
)
from metering.ledger import Ledger
from metering.periods import period_of
from metering.segments import Segment, SegmentPacker
from metering.stores import DocumentStore, Write
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore, weight_of
from tests.doubles.unreliable_store import Fate, UnreliableStore

LIMIT = 1_000
BUDGET = Budget(budget_id="budget_1", limit_nanodollars=LIMIT, mode="strict")
PERIOD = period_of("month", "UTC", AT)
KEY = counter_key(ACCOUNT_ID, BUDGET, PERIOD)
INSTANCE = "a" * 32
NAME = LeaseName(KEY.counter_id, INSTANCE, 1)
LONGEST_ZONE = "America/Argentina/ComodRivadavia"


def reserved(store: DocumentStore, nanodollars: int, name: LeaseName = NAME, *, report: int = 0) -> None:
    sync = Sync(kind="reserve", key=KEY, name=name, begun_at=0, reserve=nanodollars, report=report, join=1)
    carry_out(store, sync, AT)


def charged_event(cost: int, *lease_ids: str) -> CostEvent:
    charges = tuple(Charge("budget_1", PERIOD.text, lease_id, cost) for lease_id in lease_ids)
    return make_event(cost_nanodollars=cost, charges=charges)


def stored(store: DocumentStore, events: Sequence[CostEvent], number: int = 1) -> None:
    segment = Segment(name=f"{INSTANCE}-{number}", account_id=ACCOUNT_ID, events=tuple(events))
    Ledger(store).commit(segment, charges_of)


def charges_of(events: Sequence[CostEvent]) -> Sequence[Write]:
    return charge_writes(ACCOUNT_ID, events, expires_at=lease_expiry(AT))


def counter_of(store: DocumentStore, key: CounterKey = KEY) -> CounterTotals:
    document = store.get(key.path)
    return counter_totals(document.fields if document else None)


def lease_of(store: DocumentStore, name: LeaseName = NAME) -> LeaseTotals:
    document = store.get(name.path)
    return lease_totals(document.fields if document else None)


def test_a_sync_tells_its_owner_all_sums_of_one_moment(store: DocumentStore) -> None:
    reserved(store, 300, LeaseName(KEY.counter_id, "b" * 32, 1), report=40)
    stored(store, [charged_event(25, NAME.lease_id)])

    sync = Sync(kind="reserve", key=KEY, name=NAME, begun_at=0, reserve=100, report=20, join=1)
    told = carry_out(store, sync, AT)

    assert told.counter == CounterTotals(reserved=400, settled=60, instances=2)
    assert told.lease == LeaseTotals(amount=100, reported=20, used=25, joined=1, syncs=1)
    document = store.get(KEY.path)
    assert document is not None
    assert (document.fields["budget_id"], document.fields["ends_at"]) == ("budget_1", PERIOD.ends_at)


@pytest.mark.parametrize("fate", ["reply_lost", "not_applied", "late"])
def test_an_events_charges_count_once_however_often_it_is_stored(store: DocumentStore, fate: Fate) -> None:
    reserved(store, 100)
    unreliable = UnreliableStore(store, [fate])
    events = [charged_event(cost, NAME.lease_id) for cost in (3, 4, 5)]

    with pytest.raises(StoreUnavailable):
        stored(unreliable, events)
    stored(unreliable, events)
    unreliable.land()
    stored(unreliable, events)

    assert lease_of(store).used == 12


def test_a_closed_lease_leaves_its_counter_with_what_it_used(store: DocumentStore) -> None:
    reserved(store, 100, report=30)
    stored(store, [charged_event(45, NAME.lease_id)])

    assert fold(store, NAME.lease_id)
    assert not fold(store, NAME.lease_id)

    assert counter_of(store) == CounterTotals(reserved=45, settled=45)
    assert lease_of(store) == LeaseTotals(amount=45, reported=45, used=45, syncs=1)


def test_a_late_charge_opens_a_closed_lease_for_the_reaper(store: DocumentStore) -> None:
    reserved(store, 100)
    fold(store, NAME.lease_id)

    stored(store, [charged_event(45, NAME.lease_id)])
    document = store.get(NAME.path)
    assert document is not None
    assert (document.fields["state"], document.fields["expires_at"]) == ("open", lease_expiry(AT))
    assert fold(store, NAME.lease_id)

    assert counter_of(store) == CounterTotals(reserved=45, settled=45)


def test_a_lease_that_only_charges_made_is_closed_like_any_other(store: DocumentStore) -> None:
    stored(store, [charged_event(45, NAME.lease_id)])

    assert fold(store, NAME.lease_id)

    assert counter_of(store) == CounterTotals(reserved=45, settled=45)


@pytest.mark.parametrize("act", ["sync", "charge", "return", "close"])
def test_what_was_to_be_handed_back_is_not_once_anything_else_was_written(
    store: DocumentStore, act: str
) -> None:
    reserved(store, 100)
    document = store.get(NAME.path)
    assert document is not None
    late_return, late_close = return_writes(document, KEY, 40), fold_writes(document)
    acts: dict[str, Callable[[], object]] = {
        "sync": lambda: carry_out(store, Sync(kind="reserve", key=KEY, name=NAME, begun_at=0), AT),
        "charge": lambda: stored(store, [charged_event(5, NAME.lease_id)]),
        "return": lambda: store.commit(late_return),
        "close": lambda: store.commit(late_close),
    }

    acts[act]()
    before = counter_of(store)
    for late in (late_return, late_close):
        with pytest.raises(RevisionChanged):
            store.commit(late)

    assert counter_of(store) == before


def test_a_return_is_written_anew_where_a_charge_came_in_between(store: DocumentStore) -> None:
    reserved(store, 100)
    charges = iter([[], [charged_event(5, NAME.lease_id)]])
    busy = UnreliableStore(store, before=lambda: stored(store, next(charges, [])))

    told = carry_out(busy, Sync(kind="return", key=KEY, name=NAME, begun_at=0, keep=40), AT)

    assert told.lease == LeaseTotals(amount=40, used=5, joined=1, syncs=1)
    assert told.counter == counter_of(store) == CounterTotals(reserved=40, instances=1)


def test_owners_and_reapers_that_close_at_once_close_once(store: DocumentStore) -> None:
    names = [LeaseName(KEY.counter_id, INSTANCE, number) for number in range(4)]
    for name in names:
        reserved(store, 100, name)
    stored(store, [charged_event(30, *(name.lease_id for name in names))])

    with ThreadPoolExecutor(8) as threads:
        closed = list(threads.map(lambda name: fold(store, name.lease_id), names * 4))

    assert sum(closed) == len(names)
    assert counter_of(store) == CounterTotals(reserved=120, settled=120)


def test_instances_that_take_at_once_are_never_granted_more_than_the_limit(store: DocumentStore) -> None:
    with ThreadPoolExecutor(4) as threads:
        granted = list(threads.map(lambda number: _spent_all(store, number), range(4)))

    assert sum(granted) <= LIMIT
    assert sum(granted) >= LIMIT - 4 * 7
    assert counter_of(store) == CounterTotals(reserved=sum(granted), settled=sum(granted))


def _spent_all(store: DocumentStore, number: int) -> int:
    """An instance that lets calls of 7 through until none is granted any more; what they cost."""
    clock = ManualClock(AT)
    lease = Lease(KEY, BUDGET, LeaseName(KEY.counter_id, f"{number:032x}", 1), clock.monotonic())
    need, refused = CallHold(7), 0
    while refused < 3:
        if lease.admits(need, clock.monotonic()):
            lease.hold(need, clock.monotonic())
            lease.settle(need, 7)
            stored(store, [charged_event(7, lease.name.lease_id)], number * 1_000 + lease.settled)
        else:
            lease.want(need)
            clock.advance(10)
            _sync_all(store, lease, clock)
            refused = 0 if lease.admits(need, clock.monotonic()) else refused + 1
    lease.retire()
    _sync_all(store, lease, clock)
    assert lease.is_done
    return lease.settled


def _sync_all(store: DocumentStore, lease: Lease, clock: ManualClock) -> None:
    while (sync := lease.next_sync(clock.monotonic())) is not None:
        lease.applied(sync, carry_out(store, sync, clock.now()), clock.monotonic())


def test_a_sync_is_two_writes_of_nine_integers_and_closing_two_of_four() -> None:
    key = counter_key(ACCOUNT_ID, BUDGET, period_of("month", LONGEST_ZONE, AT), "ü" * 200)
    name = LeaseName(key.counter_id, INSTANCE, 10**18 - 1)
    sync = Sync(kind="reserve", key=key, name=name, begun_at=0, reserve=10**15, report=10**15, join=1)

    weight = weight_of(reserve_writes(sync, AT))

    assert (weight.writes, weight.transforms) == (2, 5)
    assert weight.bytes < 3_000


def test_a_commit_with_charges_to_the_most_budgets_stays_within_all_limits(
    sqlite_store: DocumentStore,
) -> None:
    counting = CountingStore(sqlite_store)
    names = [LeaseName(f"{number:032x}", INSTANCE, 1) for number in range(MATCHING_BUDGETS_MAX)]
    events = [charged_event(number, *(name.lease_id for name in names)) for number in range(1_000)]

    stored(counting, events)

    counting.check_limits()
    assert len(charges_of(events)) == MATCHING_BUDGETS_MAX
    assert {lease_of(sqlite_store, name).used for name in names} == {sum(range(1_000))}


def test_charges_to_a_thousand_values_are_cut_into_commits_within_all_limits(
    sqlite_store: DocumentStore,
) -> None:
    counting, packer = CountingStore(sqlite_store), SegmentPacker(INSTANCE)
    names = [LeaseName(f"{number:032x}", INSTANCE, 1) for number in range(EACH_VALUES_MAX)]
    for name in names:
        packer.add(charged_event(5, name.lease_id), 0.0)

    for segment in packer.drain():
        Ledger(counting).commit(segment, charges_of)

    counting.check_limits()
    assert len(counting.commits) > 1
    assert all(lease_of(sqlite_store, name).used == 5 for name in names)


def test_a_lease_is_found_when_it_has_expired_and_not_before(store: DocumentStore) -> None:
    reserved(store, 100)
    document = store.get(NAME.path)

    assert document is not None
    assert timedelta(seconds=60) <= document.fields["expires_at"] - AT <= timedelta(seconds=120)
    assert {name: document.fields[name] for name in ("account_id", "counter_id", "instance", "state")} == {
        "account_id": ACCOUNT_ID, "counter_id": KEY.counter_id, "instance": INSTANCE, "state": "open"
    }  # fmt: skip
