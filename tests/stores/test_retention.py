"""What is over its time is deleted on both stores, and nothing else."""

from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.accounts import Account, AccountSettings
from metering.budgets import Budget
from metering.collections import (
    LEASES,
    budget_periods_collection,
    checks_collection,
    counts_collection,
    days_collection,
    segments_collection,
    session_hours_collection,
)
from metering.compaction import run as compact
from metering.conservation import day_of
from metering.counters import counter_key
from metering.day_documents import NOT_HELD, part_fields
from metering.directory import Directory
from metering.ledger import Ledger
from metering.opening import open_store
from metering.periods import period_of
from metering.price_sheet import SINCE_EVER
from metering.retention import COUNTS_KEPT, DELETED_AT_ONCE, HISTORY_KEPT, LEASES_KEPT, run
from metering.retention_rules import RULES
from metering.segments import Segment
from metering.session_packs import hour_text, pack_path
from metering.stats import Statistics, UsageQuery
from metering.stores import DocumentStore, Increment, Put
from tests.builders import SECRET, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.stores.accounting import all_documents

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def account(store: DocumentStore, clock: ManualClock) -> Account:
    return Directory(store, clock, SECRET).create_account("Ada")


def keep_events(store: DocumentStore, clock: ManualClock, account: Account, *ages: timedelta) -> None:
    """One segment for each event of that age."""
    for number, age in enumerate(ages):
        event = make_event(account_id=account.account_id, timestamp=clock.now() - age)
        name = f"{'a' * 32}-{number}"
        Ledger(store, clock).commit(Segment(name=name, account_id=account.account_id, events=(event,)))


def deleted(store: DocumentStore, clock: ManualClock) -> Mapping[str, int]:
    return {name: count for name, count in msgspec.structs.asdict(run(store, clock)).items() if count}


@pytest.mark.battery("R3")
@pytest.mark.parametrize(("days", "least"), [(400, 400), (9, 9), (1, 8)])
def test_segments_go_when_they_are_hidden_and_recovery_is_done_with_them(
    store: DocumentStore, clock: ManualClock, account: Account, days: int, least: int
) -> None:
    settings = AccountSettings(events_kept_days=days)
    Directory(store, clock, SECRET).change_settings(account.account_id, settings)
    keep_events(store, clock, account, least * DAY + MOMENT, least * DAY)

    assert deleted(store, clock)["segments"] == 1
    assert deleted(store, clock) == {}
    assert len(all_documents(store, segments_collection(account.account_id))) == 1


def test_packs_of_sessions_go_with_their_events(
    store: DocumentStore, clock: ManualClock, account: Account
) -> None:
    Directory(store, clock, SECRET).change_settings(account.account_id, AccountSettings(events_kept_days=9))
    for hours in (9 * 24 + 1, 9 * 24):
        hour = (clock.now() - timedelta(hours=hours)).replace(minute=0)
        fields = {"hour": hour_text(hour), "packed": b""}
        store.commit([Put(pack_path(account.account_id, hour), fields)])

    assert deleted(store, clock) == {"session_packs": 1}
    assert len(all_documents(store, session_hours_collection(account.account_id))) == 1


@pytest.mark.battery("R3")
def test_all_that_is_over_its_time_goes_however_much_it_is(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    account = Directory(sqlite_store, clock, SECRET).create_account("Ada")
    keep_events(sqlite_store, clock, account, *[500 * DAY] * (2 * DELETED_AT_ONCE + 1))
    counting = CountingStore(sqlite_store)

    assert deleted(counting, clock)["segments"] == 2 * DELETED_AT_ONCE + 1
    counting.check_limits()


def test_another_accounts_events_are_judged_by_its_own_setting(
    store: DocumentStore, clock: ManualClock, account: Account
) -> None:
    other = Directory(store, clock, SECRET).create_account("Bob")
    Directory(store, clock, SECRET).change_settings(account.account_id, AccountSettings(events_kept_days=9))
    for each in (account, other):
        keep_events(store, clock, each, 10 * DAY)

    deleted(store, clock)

    assert all_documents(store, segments_collection(account.account_id)) == []
    assert len(all_documents(store, segments_collection(other.account_id))) == 1


@pytest.mark.parametrize(
    ("kind", "collection", "kept"),
    [("counts", counts_collection, COUNTS_KEPT), ("checks", checks_collection, HISTORY_KEPT)],
)
def test_counts_and_checks_go_by_their_day(
    store: DocumentStore, clock: ManualClock, account: Account, kind: str, collection: Any, kept: timedelta
) -> None:
    path = collection(account.account_id)
    for number, age in enumerate((kept, kept + DAY)):
        store.commit([Put(f"{path}/{number}", {"day": day_of(clock.now() - age)})])

    assert deleted(store, clock) == {kind: 1}
    assert [document.document_id for document in all_documents(store, path)] == ["0"]


@pytest.mark.parametrize(
    ("state", "age", "is_deleted"),
    [
        ("closed", LEASES_KEPT + MOMENT, True),
        ("closed", LEASES_KEPT, False),
        ("open", 100 * DAY, False),
    ],
)
def test_leases_go_once_they_are_closed_and_nothing_can_come_late(
    store: DocumentStore, clock: ManualClock, state: str, age: timedelta, is_deleted: bool
) -> None:
    lease = {"account_id": "acct_1", "state": state, "expires_at": clock.now() - age}
    store.commit([Put(f"{LEASES}/{'a' * 32}.{'b' * 32}.1", lease)])

    assert deleted(store, clock) == ({"leases": 1} if is_deleted else {})


def test_counters_go_long_after_their_period(
    store: DocumentStore, clock: ManualClock, account: Account
) -> None:
    budget = Budget(budget_id="bud_1", limit_nanodollars=1, period="day")
    ended = clock.now().replace(hour=0, minute=0) - HISTORY_KEPT
    for moment in (ended - DAY, ended):
        key = counter_key(account.account_id, budget, period_of("day", "UTC", moment))
        store.commit([Increment(key.path, {("settled",): 1}, key.identity)])

    assert deleted(store, clock) == {"counters": 1}
    (left,) = all_documents(store, budget_periods_collection(account.account_id))
    assert left.fields["starts_at"] == ended


@pytest.mark.battery("R3")
@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.moment])
def test_what_goes_by_a_moment_goes_then_and_not_before(
    store: DocumentStore, clock: ManualClock, account: Account, name: str
) -> None:
    rule = RULES[name]
    kept = rule.kept or timedelta(0)
    place = "" if rule.is_shared else f"accounts/{account.account_id}/"
    for collection in rule.collections:
        store.commit([Put(f"{place}{collection}/young", {rule.moment: clock.now() - kept})])
        store.commit([Put(f"{place}{collection}/old", {rule.moment: clock.now() - kept - MOMENT})])

    assert deleted(store, clock) == {name: len(rule.collections)}
    for collection in rule.collections:
        assert store.get(f"{place}{collection}/young") is not None
        assert store.get(f"{place}{collection}/old") is None


AGES = st.integers(-3 * 24 * 3600, 3 * 24 * 3600)
JUMPS = st.lists(st.integers(-40 * 24 * 3600, 40 * 24 * 3600), min_size=1, max_size=5)


@pytest.mark.battery_class("clocks that jump")
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([name for name, rule in RULES.items() if rule.moment]), st.lists(AGES, max_size=6), JUMPS
)
def test_however_a_clock_jumps_nothing_goes_before_its_time_and_all_at_it(
    name: str, ages: list[int], jumps: list[int]
) -> None:
    clock, rule = ManualClock(), RULES[name]
    over = [clock.now() + timedelta(seconds=age) for age in ages]
    with TemporaryDirectory() as folder, closing(open_store(f"sqlite:///{folder}/modeltrack.db")) as store:
        account = Directory(store, clock, SECRET).create_account("Ada")
        place = "" if rule.is_shared else f"accounts/{account.account_id}/"
        paths = {f"{place}{rule.collections[0]}/{at}": moment for at, moment in enumerate(over)}
        for path, moment in paths.items():
            store.commit([Put(path, {rule.moment: moment - (rule.kept or timedelta(0))})])
        latest = SINCE_EVER
        for jump in jumps:
            clock.jump(jump)
            latest = max(latest, clock.now())
            run(store, clock)

            there = {path for path in paths if store.get(path) is not None}
            assert there == {path for path, moment in paths.items() if moment >= latest}


def by_prompt(store: DocumentStore, account: Account, clock: ManualClock) -> Mapping[str, int]:
    query = UsageQuery(
        start=clock.now() - 31 * DAY, end=clock.now(), group_by=("prompt_template_id", "prompt_fingerprint")
    )
    groups = Statistics(store).totals(account.account_id, query).groups
    return {"".join(group.values.values()): group.sums["requests"] for group in groups}


def test_fingerprints_go_with_their_events_and_the_sums_stay(
    store: DocumentStore, clock: ManualClock, account: Account
) -> None:
    Directory(store, clock, SECRET).change_settings(account.account_id, AccountSettings(events_kept_days=20))
    prints = {"old": 22 * DAY, "ending": 20 * DAY, "young": 2 * DAY}
    for number, (prompt, age) in enumerate(prints.items()):
        event = make_event(
            account_id=account.account_id, timestamp=clock.now() - age, prompt_fingerprint=prompt
        )
        name = f"{'b' * 32}-{number}"
        Ledger(store, clock).commit(Segment(name=name, account_id=account.account_id, events=(event,)))
    compact(store, clock)

    report = deleted(store, clock)

    assert report["fingerprints"] == 1
    assert by_prompt(store, account, clock) == {"": 1, "ending": 1, "young": 1}
    assert "fingerprints" not in deleted(store, clock)


def test_a_day_that_is_damaged_keeps_no_other_fingerprints_alive(
    store: DocumentStore, clock: ManualClock, account: Account
) -> None:
    whole = part_fields(
        (clock.now() - 500 * DAY), [NOT_HELD] * 96, {"fingerprint": {(("fingerprint", "", "", "f"), 1): {}}}
    )
    for number, fields in enumerate((whole | {"packed": b"?"}, whole)):
        store.commit([Put(f"{days_collection(account.account_id)}/{number}", fields)])

    assert deleted(store, clock) == {"fingerprints": 1}
