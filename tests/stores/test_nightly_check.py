"""The nightly check on both stores: silent while the books are right, exact where they are not."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from metering.accounts import Account
from metering.budgets import Budget
from metering.collections import account_path, quarters_collection, segments_collection
from metering.conservation import Admissions
from metering.counters import CounterKey, LeaseName, counter_key
from metering.directory import Directory
from metering.errors import StoreUnavailable
from metering.events import Charge, CostEvent
from metering.leases import charge_writes, fold
from metering.ledger import Ledger
from metering.nightly_check import Check, Difference, check_of, last_check, run
from metering.periods import period_of
from metering.segments import Segment
from metering.stores import Delete, DocumentStore, Increment, Update, Write
from tests.builders import SECRET, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.unreliable_store import UnreliableStore
from tests.stores.accounting import all_documents

DAY = date(2026, 11, 21)
INSTANCE = "a" * 32
BUDGET = Budget(budget_id="bud_1", limit_nanodollars=10**12, period="day")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def account(store: DocumentStore, clock: ManualClock) -> Account:
    return Directory(store, clock, SECRET).create_account("Ada")


class Books:
    """Keeps an account's events as an instance does."""

    def __init__(self, store: DocumentStore, clock: ManualClock, account: Account) -> None:
        self.admissions = Admissions()
        self._ledger = Ledger(store, clock, admitted=self.admissions.of)
        self._clock = clock
        self._account_id = account.account_id
        self._numbers = 0

    def keep(self, *changes: dict[str, Any], instance: str = INSTANCE) -> Sequence[CostEvent]:
        events = [
            make_event(account_id=self._account_id, timestamp=self._clock.now(), **each) for each in changes
        ]
        for event in (each for each in events if each.state != "refused"):
            self.admissions.note(self._account_id, event.timestamp)
        self._numbers += 1
        name = f"{instance}-{self._numbers}"
        segment = Segment(name=name, account_id=self._account_id, events=tuple(events))
        self._ledger.commit(segment, also=self._charges)
        return events

    def _charges(self, stored: Sequence[CostEvent]) -> Sequence[Write]:
        return charge_writes(self._account_id, stored, expires_at=self._clock.now())


@pytest.fixture
def books(store: DocumentStore, clock: ManualClock, account: Account) -> Books:
    return Books(store, clock, account)


def checked(store: DocumentStore, clock: ManualClock) -> tuple[dict[str, int], list[Check]]:
    unsound: list[Check] = []
    report = run(store, clock, lambda _, check: unsound.append(check))
    return {
        name: getattr(report, name) for name in report.__struct_fields__ if getattr(report, name)
    }, unsound


def test_a_day_whose_books_are_right_is_checked_once_and_never_complained_of(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    books.keep({}, {"key_id": ""}, {"prompt_template_id": "t", "state": "lost"}, {"state": "refused"})
    books.keep({"prompt_fingerprint": "f" * 32})
    clock.advance(24 * 3600)

    assert checked(store, clock) == ({"days": 1, "events": 5}, [])
    assert checked(store, clock) == ({}, [])
    last = last_check(store, account.account_id)
    assert last is not None
    assert (last.day, last.events, last.cost_nanodollars) == ("2026-11-21", 5, 50_000_000)


@pytest.mark.parametrize(("hours", "days"), [(20.49, 0), (20.5, 1)])
def test_a_day_is_checked_six_hours_after_its_end(
    store: DocumentStore, clock: ManualClock, books: Books, hours: float, days: int
) -> None:
    books.keep({})
    clock.advance(hours * 3600)  # from half past nine

    assert checked(store, clock)[0].get("days", 0) == days


def test_an_account_without_calls_leaves_no_result(
    store: DocumentStore, clock: ManualClock, account: Account
) -> None:
    clock.advance(24 * 3600)

    assert checked(store, clock) == ({}, [])
    assert last_check(store, account.account_id) is None


def test_rollups_that_lack_an_event_are_found_in_each_kind(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    (event,) = books.keep({})
    for shard in all_documents(store, quarters_collection(account.account_id)):
        store.commit([Delete(shard.path)])
    clock.advance(24 * 3600)

    _, (check,) = checked(store, clock)

    lacking = {each.what: (each.by_events, each.by_books) for each in check.differences}
    for kind in ("main", "key", "template"):
        assert lacking[f"{kind} requests"] == (1, 0)
        assert lacking[f"{kind} cost_nanodollars"] == (event.cost_nanodollars, 0)


def test_an_event_that_is_gone_is_found_by_rollups_and_counts(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    books.keep({})
    for segment in all_documents(store, segments_collection(account.account_id)):
        store.commit([Delete(segment.path)])
    clock.advance(24 * 3600)

    _, (check,) = checked(store, clock)

    assert Difference(what="main requests", by_events=0, by_books=1) in check.differences
    assert Difference(what="calls settled", by_events=0, by_books=1) in check.differences


def test_a_call_that_vanished_is_told_of_each_day_until_it_is_found(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    books.admissions.note(account.account_id, clock.now())
    (event,) = books.keep({})
    clock.advance(24 * 3600)
    figures, (check,) = checked(store, clock)
    assert (figures["calls_unaccounted"], check.in_flight, check.differences) == (1, 1, ())
    clock.advance(19.9 * 3600)
    assert checked(store, clock) == ({}, [])
    clock.advance(0.1 * 3600)
    assert checked(store, clock)[0]["calls_unaccounted"] == 1

    late = make_event(account_id=account.account_id, timestamp=event.timestamp, state="lost")
    name = f"{INSTANCE}-{10**12}"
    Ledger(store, clock).commit(Segment(name=name, account_id=account.account_id, events=(late,)))
    clock.advance(20 * 3600)

    assert checked(store, clock) == ({"days": 1, "events": 2}, [])


def charged(key: CounterKey, nanodollars: int) -> dict[str, Any]:
    lease = LeaseName(key.counter_id, INSTANCE, 1)
    charge = Charge(BUDGET.budget_id, key.period.text, lease.lease_id, nanodollars)
    return {"charges": (charge,), "cost_nanodollars": nanodollars}


def test_a_lost_call_whose_event_is_gone_is_found_by_counts(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    books.keep({"state": "lost"})
    for segment in all_documents(store, segments_collection(account.account_id)):
        store.commit([Delete(segment.path)])
    clock.advance(24 * 3600)

    _, (check,) = checked(store, clock)

    assert Difference(what="calls lost", by_events=0, by_books=1) in check.differences


def test_a_budget_of_a_day_is_checked_with_that_day_and_with_no_other(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    for nanodollars in (7, 11):
        key = counter_key(account.account_id, BUDGET, period_of("day", "UTC", clock.now()))
        books.keep(charged(key, nanodollars))
        fold(store, LeaseName(key.counter_id, INSTANCE, 1).lease_id)
        clock.advance(24 * 3600)

    assert checked(store, clock) == ({"days": 2, "events": 2, "counters": 2}, [])
    last = last_check(store, account.account_id)
    assert last is not None
    assert (last.day, last.cost_nanodollars) == ("2026-11-22", 11)


def test_a_budget_that_no_call_was_charged_to_is_checked_too(
    store: DocumentStore, clock: ManualClock, account: Account
) -> None:
    key = counter_key(account.account_id, BUDGET, period_of("day", "UTC", clock.now()))
    store.commit([Increment(key.path, {("reserved",): 5, ("settled",): 5, ("seeded",): 5}, key.identity)])
    clock.advance(24 * 3600)

    assert checked(store, clock) == ({"days": 1, "counters": 1}, [])


def test_more_documents_than_one_read_are_all_checked(
    store: DocumentStore,
    clock: ManualClock,
    account: Account,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("metering.nightly_check.DOCUMENTS_A_READ", 2)
    monkeypatch.setattr("metering.nightly_check.SEGMENTS_A_READ", 2)
    day = period_of("day", "UTC", clock.now())
    for value in ("a", "b", "c", "d", "e"):
        key = counter_key(account.account_id, BUDGET, day, value)
        books.keep(charged(key, 7))  # to a lease that stays open
        store.commit([Increment(key.path, {("reserved",): 7, ("settled",): 0}, key.identity)])
    clock.advance(24 * 3600)

    assert checked(store, clock) == ({"days": 1, "events": 5, "counters": 5}, [])


@pytest.mark.parametrize("is_folded", [True, False])
def test_a_budget_whose_period_ended_has_spent_what_its_calls_were_charged(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books, is_folded: bool
) -> None:
    key = counter_key(account.account_id, BUDGET, period_of("day", "UTC", clock.now()))
    books.keep(charged(key, 7), charged(key, 11))
    store.commit([Increment(key.path, {("reserved",): 5, ("settled",): 5, ("seeded",): 5}, key.identity)])
    if is_folded:
        fold(store, LeaseName(key.counter_id, INSTANCE, 1).lease_id)
    clock.advance(24 * 3600)

    assert checked(store, clock) == ({"days": 1, "events": 2, "counters": 1}, [])


def test_a_budget_that_counts_otherwise_is_named(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    key = counter_key(account.account_id, BUDGET, period_of("day", "UTC", clock.now()))
    books.keep(charged(key, 7))
    store.commit([Increment(key.path, {("settled",): 1}, key.identity)])
    clock.advance(24 * 3600)

    _, (check,) = checked(store, clock)

    (difference,) = check.differences
    assert difference == Difference(what="budget spent", by_events=7, by_books=8, counter_id=key.counter_id)


def test_a_months_budget_is_held_against_all_of_its_days(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    monthly = Budget(budget_id="bud_2", limit_nanodollars=10**12, period="month")
    key = counter_key(account.account_id, monthly, period_of("month", "UTC", clock.now()))
    books.keep(charged(key, 7))
    clock.advance(9 * 24 * 3600)  # the last of November
    books.keep(charged(key, 11))
    fold(store, LeaseName(key.counter_id, INSTANCE, 1).lease_id)

    check = check_of(store, account, date(2026, 11, 30), clock.now())

    assert (check.counters, check.events, check.is_sound) == (1, 1, True)


def test_a_budget_whose_first_events_are_deleted_by_now_is_left_alone(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    settings = type(account.settings)(events_kept_days=9)
    Directory(store, clock, SECRET).change_settings(account.account_id, settings)
    monthly = Budget(budget_id="bud_2", limit_nanodollars=10**12, period="month")
    key = counter_key(account.account_id, monthly, period_of("month", "UTC", clock.now()))
    store.commit([Increment(key.path, {("settled",): 1}, key.identity)])
    clock.advance(10 * 24 * 3600)
    assert store.get(account_path(account.account_id)) is not None

    assert checked(store, clock) == ({}, [])


def test_what_is_stored_while_it_reads_is_no_difference(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    account = Directory(sqlite_store, clock, SECRET).create_account("Ada")
    books = Books(sqlite_store, clock, account)
    books.keep({})
    looks = iter([dict[str, Any](), None, None])

    class Meddled:
        """Between reading events and reading rollups, one more event is stored."""

        kind = sqlite_store.kind

        def __getattr__(self, name: str) -> Any:
            return getattr(sqlite_store, name)

        def query(self, query: Any, **options: Any) -> Any:
            found = sqlite_store.query(query, **options)
            if query.collection.endswith("segments"):
                happens = next(looks)
                _ = happens is not None and books.keep(happens)
            return found

    meddled: Any = Meddled()
    check = check_of(meddled, account, DAY, clock.now())

    assert (check.events, check.is_sound) == (2, True)


def test_several_days_are_made_up_for_where_nothing_ran(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    for _ in range(7):
        books.keep({})
        clock.advance(24 * 3600)

    assert checked(store, clock) == ({"days": 6, "events": 6}, [])


def test_a_document_that_cannot_be_read_is_told_of_and_leaves_no_other_account_unchecked(
    store: DocumentStore, clock: ManualClock, account: Account, books: Books
) -> None:
    books.keep({})
    for segment in all_documents(store, segments_collection(account.account_id)):
        store.commit([Update(segment.path, {"events": b"damaged"})])
    Books(store, clock, Directory(store, clock, SECRET).create_account("Bob")).keep({})
    clock.advance(24 * 3600)

    figures, (check,) = checked(store, clock)

    assert figures == {"days": 2, "events": 1, "differences": 1}
    assert check.differences[0].what.startswith("unreadable: ")


def test_a_store_that_gives_no_answer_ends_the_run_and_leaves_no_result(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    account = Directory(sqlite_store, clock, SECRET).create_account("Ada")
    Books(sqlite_store, clock, account).keep({})
    clock.advance(24 * 3600)

    with pytest.raises(StoreUnavailable):
        checked(UnreliableStore(sqlite_store, ["not_applied"]), clock)

    assert last_check(sqlite_store, account.account_id) is None
    assert checked(sqlite_store, clock) == ({"days": 1, "events": 1}, [])


@pytest.mark.parametrize("reads", range(2, 8))
def test_a_store_that_falls_silent_midway_is_no_damage(
    sqlite_store: DocumentStore, clock: ManualClock, reads: int
) -> None:
    account = Directory(sqlite_store, clock, SECRET).create_account("Ada")
    Books(sqlite_store, clock, account).keep({})
    clock.advance(24 * 3600)
    numbers = iter(range(100))

    def fall_silent() -> None:
        if next(numbers) == reads:  # and answer again after
            raise StoreUnavailable("no answer came")

    with pytest.raises(StoreUnavailable):
        checked(UnreliableStore(sqlite_store, before=fall_silent), clock)

    assert last_check(sqlite_store, account.account_id) is None
