"""Reaping on both stores: what dead instances held goes back, once their journals are recovered."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

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
from metering.events import Charge
from metering.leases import Sync, charge_writes, lease_expiry, reserve_writes
from metering.periods import period_of
from metering.reaping import ReapingReport, run
from metering.stores import DocumentStore, Put
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.unreliable_store import UnreliableStore

BUDGET = Budget(budget_id="budget_1", limit_nanodollars=10_000)
KEY = counter_key(ACCOUNT_ID, BUDGET, period_of("month", "UTC", AT))
DEAD, LIVING = "d" * 32, "e" * 32
MICROSECOND = timedelta(microseconds=1)


def take(store: DocumentStore, instance: str, *, reserve: int, used: int, number: int = 1) -> LeaseName:
    """A lease as its owner took it, and the charges stored against it."""
    name = LeaseName(KEY.counter_id, instance, number)
    sync = Sync(kind="reserve", key=KEY, name=name, begun_at=0.0, reserve=reserve, join=1)
    store.commit(reserve_writes(sync, AT))
    charge(store, name, used, lease_expiry(AT))
    return name


def charge(store: DocumentStore, name: LeaseName, used: int, expires_at: datetime) -> None:
    event = make_event(charges=(Charge("budget_1", KEY.period.text, name.lease_id, used),))
    store.commit(charge_writes(ACCOUNT_ID, [event], expires_at=expires_at))


def reap(store: DocumentStore, at: datetime, *drained: str) -> ReapingReport:
    return run(store, ManualClock(at), lambda instance, _: instance in drained)


def counter(store: DocumentStore, key: CounterKey = KEY) -> CounterTotals:
    document = store.get(key.path)
    return counter_totals(document.fields if document else None)


def lease(store: DocumentStore, name: LeaseName) -> LeaseTotals:
    document = store.get(name.path)
    return lease_totals(document.fields if document else None)


@pytest.mark.battery("B3")
@pytest.mark.parametrize(("early", "closed"), [(MICROSECOND, 0), (timedelta(), 0), (-MICROSECOND, 1)])
def test_what_a_dead_instance_did_not_use_goes_back_once_its_lease_has_expired(
    store: DocumentStore, early: timedelta, closed: int
) -> None:
    name = take(store, DEAD, reserve=1_000, used=300)

    report = reap(store, lease_expiry(AT) - early, DEAD)

    assert report == ReapingReport(leases_closed=closed)
    assert counter(store).reserved == (300 if closed else 1_000)
    assert lease(store, name).amount == counter(store).reserved


def test_a_closed_lease_leaves_what_it_used_settled_and_nobody_joined(store: DocumentStore) -> None:
    take(store, DEAD, reserve=1_000, used=300)
    take(store, LIVING, reserve=500, used=100)

    reap(store, AT + timedelta(minutes=3), DEAD)

    assert counter(store) == CounterTotals(reserved=300 + 500, settled=300, instances=1)


def test_while_there_is_something_to_recover_the_lease_stays_held(store: DocumentStore) -> None:
    take(store, DEAD, reserve=1_000, used=300)

    report = reap(store, AT + timedelta(minutes=3))

    assert (report, counter(store).reserved) == (ReapingReport(leases_waiting=1), 1_000)


def test_a_charge_that_comes_after_is_counted_and_the_lease_closed_again(store: DocumentStore) -> None:
    name = take(store, DEAD, reserve=1_000, used=300)
    later = AT + timedelta(minutes=3)
    reap(store, later, DEAD)
    charge(store, name, 50, later)

    report = reap(store, later + MICROSECOND, DEAD)

    assert report.leases_closed == 1
    assert counter(store) == CounterTotals(reserved=350, settled=350)
    assert reap(store, later + timedelta(hours=1), DEAD) == ReapingReport()


def test_two_reapers_at_once_give_back_once(store: DocumentStore) -> None:
    for number in range(1, 6):
        take(store, DEAD, reserve=1_000, used=100, number=number)

    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(reap, store, AT + timedelta(minutes=3), DEAD) for _ in range(3)]
        closed = sum(each.result().leases_closed for each in runs)

    assert closed == 5
    assert counter(store) == CounterTotals(reserved=500, settled=500)


def test_what_is_no_lease_of_ours_keeps_no_other_from_being_closed(store: DocumentStore) -> None:
    take(store, DEAD, reserve=1_000, used=300)
    foreign = {"state": "open", "expires_at": AT, "account_id": ACCOUNT_ID}
    store.commit([Put("leases/foreign", foreign)])

    report = reap(store, AT + timedelta(minutes=3), DEAD)

    assert report == ReapingReport(leases_closed=1, leases_unclosable=1)


def test_more_leases_than_one_read_are_reaped_in_one_run(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.reaping.LEASES_A_READ", 2)
    for number in range(1, 6):
        take(store, DEAD, reserve=10, used=1, number=number)

    assert reap(store, AT + timedelta(minutes=3), DEAD).leases_closed == 5


def test_leases_that_wait_for_recovery_keep_none_of_later_reads_from_being_closed(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.reaping.LEASES_A_READ", 2)
    for number in range(1, 6):
        take(store, LIVING, reserve=10, used=1, number=number)
    take(store, DEAD, reserve=10, used=1)
    reap(store, AT, DEAD)

    report = reap(store, AT + timedelta(minutes=3), DEAD)

    assert report == ReapingReport(leases_closed=1, leases_waiting=5)


def test_a_lease_that_changes_all_the_time_keeps_no_other_from_being_closed(store: DocumentStore) -> None:
    busy, still = (take(store, DEAD, reserve=1_000, used=300, number=number) for number in (1, 2))
    later = AT + timedelta(minutes=3)
    charged = UnreliableStore(store, before=lambda: charge(store, busy, 1, AT))

    report = reap(charged, later, DEAD)

    assert report == ReapingReport(leases_closed=1, leases_unclosable=1)
    assert lease(store, still).amount == 300


def test_a_lease_that_is_closed_is_not_looked_at_again(store: DocumentStore) -> None:
    take(store, DEAD, reserve=1_000, used=300)
    later = AT + timedelta(minutes=3)
    reap(store, later, DEAD)

    assert reap(store, later) == ReapingReport()
