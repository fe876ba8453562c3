"""The jobs that recover and reap: where they look, by what the settings say of the journal."""

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api_service.functions import reap, recover
from api_service.functions.settings import FunctionSettings
from api_service.functions.workplace import Workplace
from api_service.logs import ApiLog
from metering.accounts import LOCAL_ACCOUNT_ID
from metering.budgets import Budget
from metering.collections import RECOVERY_PATH
from metering.counters import LeaseName, counter_key
from metering.journal import settled_line
from metering.journal_files import LifeLock, journal_path
from metering.leases import Sync, lease_expiry, reserve_writes
from metering.periods import period_of
from metering.queued_recovery import LEASE_GRACE
from metering.stores import DocumentStore, Put
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.stores.accounting import all_events

INSTANCE = "a" * 32
KEY = counter_key(ACCOUNT_ID, Budget(budget_id="budget_1", limit_nanodollars=1), period_of("day", "UTC", AT))
SUBSCRIPTION = {
    "journal": "stdout",
    "journal_subscription": "projects/demo-project/subscriptions/lines",
    "journal_aside_topic": "projects/demo-project/topics/aside",
}
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(AT)


Opened = Callable[..., Workplace]


@pytest.fixture
def opened(sqlite_store: DocumentStore, clock: ManualClock, tmp_path: Path) -> Opened:
    """Makes a workplace in a folder of the test's own, told so."""

    def workplace(**told: Any) -> Workplace:
        settings = FunctionSettings(data_dir=tmp_path, **told)
        return Workplace(settings, sqlite_store, clock, ApiLog(clock, stream=io.StringIO()), Mailbox())

    return workplace


def take_lease(store: DocumentStore) -> None:
    name = LeaseName(KEY.counter_id, INSTANCE, 1)
    sync = Sync(kind="reserve", key=KEY, name=name, begun_at=0.0, reserve=1_000, join=1)
    store.commit(reserve_writes(sync, AT))


def test_files_are_recovered_where_proxies_put_them_unless_told_otherwise(
    opened: Opened, sqlite_store: DocumentStore, tmp_path: Path
) -> None:
    event = make_event(account_id=LOCAL_ACCOUNT_ID)
    journal_path(tmp_path, INSTANCE, 1).write_bytes(settled_line(event, f"{INSTANCE}-1"))

    report = recover.run(opened())

    assert (report.events_stored, all_events(sqlite_store, LOCAL_ACCOUNT_ID)) == (1, [event])


@pytest.mark.parametrize("journal", ["off", "stdout"])
def test_a_journal_that_nobody_keeps_leaves_nothing_to_recover(journal: str, opened: Opened) -> None:
    report = recover.run(opened(journal=journal))

    assert report.events_stored == 0


def test_a_lease_is_closed_once_its_instance_has_no_file_left(
    opened: Opened, sqlite_store: DocumentStore, clock: ManualClock, tmp_path: Path
) -> None:
    take_lease(sqlite_store)
    life = LifeLock(tmp_path, INSTANCE)
    life.take()
    clock.advance(3600)
    place = opened()

    while_it_lives = reap.run(place)
    life.release()
    after = reap.run(place)

    assert (while_it_lives.leases_waiting, after.leases_closed) == (1, 1)


@pytest.mark.parametrize(("early", "closed"), [(timedelta(), 1), (MICROSECOND, 0)])
def test_hosted_a_lease_is_closed_once_the_queue_is_drained_past_its_expiry_and_a_grace(
    early: timedelta,
    closed: int,
    opened: Opened,
    sqlite_store: DocumentStore,
    clock: ManualClock,
) -> None:
    take_lease(sqlite_store)
    drained = {"drained_until": lease_expiry(AT) + LEASE_GRACE - early, "held_until": AT}
    sqlite_store.commit([Put(RECOVERY_PATH, drained)])
    clock.advance(3600)

    report = reap.run(opened(**SUBSCRIPTION))

    assert (report.leases_closed, report.leases_waiting) == (closed, 1 - closed)


def test_hosted_nothing_is_closed_before_the_queue_was_ever_drained(
    opened: Opened, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    take_lease(sqlite_store)
    clock.advance(3600)

    assert reap.run(opened(**SUBSCRIPTION)).leases_waiting == 1


@pytest.mark.parametrize(("early", "closed"), [(timedelta(), 1), (MICROSECOND, 0)])
def test_without_a_journal_a_lease_is_closed_after_the_grace_alone(
    early: timedelta,
    closed: int,
    opened: Opened,
    sqlite_store: DocumentStore,
    clock: ManualClock,
) -> None:
    take_lease(sqlite_store)
    clock.advance((lease_expiry(AT) + LEASE_GRACE - early - AT).total_seconds())

    report = reap.run(opened(journal="off"))

    assert (report.leases_closed, report.leases_waiting) == (closed, 1 - closed)
