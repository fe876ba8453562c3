"""Recovery of journal files on both stores: each call one event, whatever its lines' and its store's fate."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import astuple

from metering.accounts import LOCAL_ACCOUNT_ID, AccountSettings, PriceOverride, PriceSettings, UnitPrices
from metering.budgets import Budget, Scope
from metering.collections import account_path, key_path, lease_path, segments_collection
from metering.counters import LeaseName, counter_key
from metering.directory import Directory
from metering.errors import StoreUnavailable
from metering.events import Charge, CostEvent
from metering.journal import Admitted, Hold, admitted_line, settled_line
from metering.journal_files import LeftLines, LifeLock, instances_in, journal_path, left_path
from metering.keys import KeyRecord
from metering.leases import LEASE_SECONDS, lease_expiry
from metering.ledger import Ledger
from metering.periods import period_of
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.reaping import run as reap
from metering.recovery import LATE_COMMIT_SECONDS, LINE_AGE_MAX, RecoveryReport, run
from metering.rollups import QUARTER, quarter_of
from metering.segments import Segment
from metering.standings import standings_of
from metering.stores import Delete, DocumentStore, Put
from tests.builders import (
    ACCOUNT_ID,
    AT,
    SECRET,
    make_event,
    make_id,
    make_key_record,
    make_overcharged_event,
)
from tests.doubles.clock import ManualClock
from tests.doubles.unreliable_store import Fate, UnreliableStore
from tests.stores.accounting import all_documents, all_events, assert_each_event_counted_once

INSTANCE = "a" * 32
OTHER_INSTANCE = "b" * 32
SEGMENT = f"{INSTANCE}-1"
FILE_BYTES_MAX = 10_000
LEASE = LeaseName("c" * 32, INSTANCE, 1)
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class Machine:
    """A directory of journals, a store with one account, and the recovery of the one into the other."""

    def __init__(self, directory: Path, store: DocumentStore) -> None:
        self.directory = directory
        self.store = store
        self.clock = ManualClock(AT + MINUTE)
        make_account(store)

    def write(self, lines: Iterable[bytes], *, instance: str = INSTANCE, number: int = 1) -> Path:
        """A file as a process that is dead left it."""
        path = journal_path(self.directory, instance, number)
        path.write_bytes(b"".join(lines))
        return path

    def recover(self, store: DocumentStore | None = None) -> RecoveryReport:
        return run(store or self.store, self.clock, self.directory, lambda: Pricer(load_price_table()))

    def recover_late(self) -> RecoveryReport:
        """Recover, and again when no commit of the dead can land any more; what both came to."""
        first = self.recover()
        self.clock.advance(LATE_COMMIT_SECONDS)
        both = zip(astuple(first), astuple(self.recover()), strict=True)
        return RecoveryReport(**dict(zip(first.__struct_fields__, map(sum, both), strict=True)))

    @property
    def events(self) -> list[CostEvent]:
        return all_events(self.store, ACCOUNT_ID)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def machine(tmp_path: Path, store: DocumentStore) -> Machine:
    directory = tmp_path / "journal"
    directory.mkdir()
    return Machine(directory, store)


@pytest.fixture
def life(machine: Machine) -> Iterator[LifeLock]:
    """The lock of a process `INSTANCE` that lives until it is released."""
    lock = LifeLock(machine.directory, INSTANCE)
    lock.take()
    yield lock
    lock.release()


def make_admitted(**changes: Any) -> Admitted:
    fields: dict[str, Any] = {
        "request_id": make_id("req"),
        "timestamp": AT,
        "account_id": ACCOUNT_ID,
        "provider": "openai",
        "model": "gpt-4o",
        "instance": INSTANCE,
        "estimate_nanodollars": 500,
    }
    return Admitted(**fields | changes)


def admitted(event: CostEvent, **changes: Any) -> bytes:
    """The line of the call that the event is of."""
    fields = {"request_id": event.request_id, "timestamp": event.timestamp, "account_id": event.account_id}
    return admitted_line(make_admitted(**fields | changes))


def both(events: Iterable[CostEvent], segment: str = SEGMENT) -> list[bytes]:
    return [line for event in events for line in (admitted(event), settled_line(event, segment))]


def test_a_dead_processs_settled_calls_are_stored_as_they_were(machine: Machine) -> None:
    events = [make_event() for _ in range(5)]
    machine.write(both(events))

    report = machine.recover()

    assert report == RecoveryReport(events_stored=5, files_removed=1)
    assert_each_event_counted_once(machine.store, ACCOUNT_ID, events)
    assert machine.names == []


@pytest.mark.parametrize("stored", [0, 2, 5])
def test_what_the_process_had_stored_already_is_found_and_not_stored_again(
    machine: Machine, stored: int
) -> None:
    events = [make_event() for _ in range(5)]
    machine.write(both(events))
    Ledger(machine.store).commit(Segment(name=SEGMENT, account_id=ACCOUNT_ID, events=tuple(events[:stored])))

    report = machine.recover()

    assert (report.events_stored, report.events_found) == (5 - stored, stored)
    assert_each_event_counted_once(machine.store, ACCOUNT_ID, events)


def test_events_that_the_journal_lacks_and_the_store_has_stay_as_they_are(machine: Machine) -> None:
    events = [make_event() for _ in range(4)]
    machine.write(both(events[2:]))
    Ledger(machine.store).commit(Segment(name=SEGMENT, account_id=ACCOUNT_ID, events=tuple(events[:3])))

    machine.recover()

    assert_each_event_counted_once(machine.store, ACCOUNT_ID, events)


def test_a_call_of_a_dead_process_that_never_settled_is_one_lost_event_of_its_estimate(
    machine: Machine,
) -> None:
    call = make_admitted(team="search", streaming=True, requested_model="gpt-4o-mini")
    machine.write([admitted_line(call)])

    report = machine.recover_late()

    (event,) = machine.events
    assert (report.events_lost, report.events_stored, machine.names) == (1, 1, [])
    assert (event.request_id, event.state, event.estimate_method) == (call.request_id, "lost", "hold")
    assert (event.cost_nanodollars, event.unpriced, event.estimated) == (500, False, True)
    assert (event.team, event.model, event.requested_model) == ("search", "gpt-4o", "gpt-4o-mini")
    assert_each_event_counted_once(machine.store, ACCOUNT_ID, [event])


def test_a_lost_call_without_an_estimate_is_unpriced_and_never_free(machine: Machine) -> None:
    machine.write([admitted_line(make_admitted(estimate_nanodollars=0))])

    machine.recover_late()

    assert [event.unpriced for event in machine.events] == [True]


def test_a_lost_call_is_charged_to_the_leases_that_held_it(machine: Machine) -> None:
    hold = Hold("budget_1", "2026-11", LEASE.lease_id, 900)
    machine.write([admitted_line(make_admitted(holds=(hold,)))])

    machine.recover_late()

    (event,) = machine.events
    lease = machine.store.get(LEASE.path)
    assert event.charges == (Charge("budget_1", "2026-11", LEASE.lease_id, 500),)
    assert lease is not None
    assert lease.fields["used"] == 500
    assert lease.fields["expires_at"] <= machine.clock.now()


def test_a_recovered_charge_is_due_to_be_closed_once_its_owner_is_dead(machine: Machine) -> None:
    charge = Charge("budget_1", "2026-11", LEASE.lease_id, 7)
    machine.write(both([make_event(charges=(charge,))]))

    machine.recover()
    machine.recover()

    lease = machine.store.get(lease_path(LEASE.lease_id))
    assert lease is not None
    assert (lease.fields["used"], lease.fields["expires_at"]) == (7, machine.clock.now())


def test_a_call_whose_event_is_stored_is_not_lost_although_its_line_is(machine: Machine) -> None:
    event = make_event()
    machine.write([admitted(event)])
    Ledger(machine.store).commit(Segment(name=SEGMENT, account_id=ACCOUNT_ID, events=(event,)))

    report = machine.recover_late()

    assert (report.events_lost, machine.events, machine.names) == (0, [event], [])


def test_a_call_is_lost_only_once_no_commit_of_the_dead_process_can_land_any_more(
    tmp_path: Path, firestore_store: DocumentStore
) -> None:
    machine = Machine(tmp_path, firestore_store)
    path = machine.write([admitted_line(make_admitted())])

    machine.recover()
    machine.clock.advance(LATE_COMMIT_SECONDS - 0.001)
    early = machine.recover()
    assert path.exists()
    machine.clock.advance(0.001)
    late = machine.recover()

    assert (early.events_lost, late.events_lost, machine.names) == (0, 1, [])


def test_calls_that_the_store_does_not_take_as_lost_are_kept_aside(machine: Machine) -> None:
    leases = (LeaseName(f"{number:032x}", INSTANCE, 1).lease_id for number in range(500))
    bad = make_admitted(holds=tuple(Hold("budget_1", "2026-11", lease, 1) for lease in leases))
    machine.write([admitted_line(bad)])

    report = machine.recover_late()

    (aside,) = machine.directory.glob("*.bad")
    assert aside.read_bytes() == admitted_line(bad)
    assert (report.files_removed, report.events_lost, report.lines_not_taken) == (1, 0, 1)


def test_files_of_more_lines_than_are_held_in_memory_at_once_are_stored_whole(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.recovery.LINES_AT_ONCE", 2)
    events = [make_event() for _ in range(5)]
    machine.write(both(events))

    machine.recover_late()

    assert_each_event_counted_once(machine.store, ACCOUNT_ID, events)


def test_lost_calls_of_several_quarter_hours_find_their_places(machine: Machine) -> None:
    calls = [make_admitted(timestamp=AT - number * QUARTER) for number in range(3)]
    machine.write([admitted_line(call) for call in calls])

    machine.recover_late()

    segments = all_documents(machine.store, segments_collection(ACCOUNT_ID))
    assert len(segments) == 3
    assert_each_event_counted_once(machine.store, ACCOUNT_ID, machine.events)


def test_a_lost_call_counts_as_its_files_instances_where_its_line_names_none(machine: Machine) -> None:
    machine.write([admitted_line(make_admitted(instance=""))])

    machine.recover_late()

    (segment,) = all_documents(machine.store, segments_collection(ACCOUNT_ID))
    assert segment.document_id.startswith(f"{INSTANCE}-")


def test_what_is_stored_already_is_recovered_without_a_commit(machine: Machine) -> None:
    events = [make_event() for _ in range(3)]
    Ledger(machine.store, machine.clock).commit(
        Segment(name=SEGMENT, account_id=ACCOUNT_ID, events=tuple(events))
    )
    machine.write(both(events))
    watched = UnreliableStore(machine.store)

    report = machine.recover(watched)

    assert (report.events_found, watched.commits) == (3, [])


def test_where_the_store_dies_with_the_process_its_calls_are_lost_at_once(
    tmp_path: Path, sqlite_store: DocumentStore
) -> None:
    machine = Machine(tmp_path, sqlite_store)
    machine.write([admitted_line(make_admitted())])

    assert machine.recover().events_lost == 1


def test_a_call_that_settled_in_a_later_file_is_not_lost(machine: Machine) -> None:
    event, other = make_event(), make_event()
    machine.write([admitted(event)])
    machine.write([*both([other]), settled_line(event, SEGMENT)], number=2)

    machine.recover_late()

    assert_each_event_counted_once(machine.store, ACCOUNT_ID, [event, other])
    assert machine.names == []


def test_more_files_than_nine_are_read_in_the_order_in_which_they_were_begun(machine: Machine) -> None:
    events = [make_event() for _ in range(11)]
    machine.write([admitted(event) for event in events])
    for number, event in enumerate(events, 2):
        machine.write([settled_line(event, SEGMENT)], number=number)

    report = machine.recover_late()

    assert_each_event_counted_once(machine.store, ACCOUNT_ID, events)
    assert machine.names == []
    assert report.events_lost == 0


def test_a_torn_last_line_is_kept_aside_and_its_call_is_lost(machine: Machine) -> None:
    whole, torn = make_event(), make_event()
    machine.write([*both([whole]), admitted(torn), settled_line(torn, SEGMENT)[:-30]])

    machine.recover_late()

    assert sorted(event.state for event in machine.events) == ["completed", "lost"]
    assert {event.request_id for event in machine.events} == {whole.request_id, torn.request_id}
    (aside,) = machine.directory.glob("*.bad")
    assert aside.read_bytes() == settled_line(torn, SEGMENT)[:-30] + b"\n"


@pytest.mark.parametrize("bad", [b"\n", b"x" * 200_000 + b"\n", b'{"line":"other"}\n', b"\xff\x00\n"])
def test_bad_lines_are_counted_kept_aside_and_harm_no_other(machine: Machine, bad: bytes) -> None:
    events = [make_event(), make_event()]
    machine.write([*both(events[:1]), bad, *both(events[1:])])

    report = machine.recover()

    assert report.lines_bad >= 1
    assert report.events_stored == 2
    assert machine.names == [f"cost_events-{INSTANCE}.bad"]
    assert (machine.directory / machine.names[0]).read_bytes().replace(b"\n", b"") == bad[:-1]


def test_lines_that_the_store_does_not_take_are_kept_aside_and_harm_no_other(machine: Machine) -> None:
    bad = make_overcharged_event()
    good = [make_event() for _ in range(4)]
    machine.write([*both(good[:3]), settled_line(bad, SEGMENT), *both(good[3:])])

    report = machine.recover_late()

    assert_each_event_counted_once(machine.store, ACCOUNT_ID, good)
    (aside,) = machine.directory.glob("*.bad")
    assert aside.read_bytes() == settled_line(bad, SEGMENT)
    assert (report.files_removed, report.events_lost, report.lines_not_taken) == (1, 0, 1)


@pytest.mark.parametrize("bad", [{"cost_nanodollars": 2**63 - 1}, {"timestamp": END_OF_TIME}])
def test_a_line_that_no_sum_could_hold_keeps_no_other_from_the_store(
    machine: Machine, bad: dict[str, Any]
) -> None:
    good = make_event()
    machine.write([settled_line(msgspec.structs.replace(make_event(), **bad), SEGMENT), *both([good])])

    report = machine.recover_late()

    assert machine.events == [good]
    assert report.lines_bad >= 1


@pytest.mark.parametrize("moment", ["2026-11-21", "9999-12-31T23:59:59+00:00", "no moment", "\xff"])
def test_a_lock_that_tells_no_moment_of_death_keeps_nothing_from_recovery(
    machine: Machine, moment: str
) -> None:
    call = make_admitted()
    path = machine.write([admitted_line(call)])
    path.with_suffix(".lock").write_bytes(moment.encode("latin-1"))

    report = machine.recover_late()

    assert [event.state for event in machine.events] == ["lost"]
    assert (report.files_unreadable, machine.names) == (0, [])


def test_what_is_no_file_is_left_alone_and_keeps_nothing_from_recovery(
    machine: Machine, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("not ours")
    os.mkfifo(journal_path(machine.directory, "c" * 32, 1))
    journal_path(machine.directory, "d" * 32, 1).symlink_to("/dev/zero")
    machine.write([b"bad"], instance=OTHER_INSTANCE).with_suffix(".lock").symlink_to(other)
    event = make_event()
    machine.write(both([event]))

    report = machine.recover()

    assert (machine.events, report.files_unreadable, other.read_text()) == ([event], 3, "not ours")


@pytest.mark.parametrize(("older_by", "stored"), [(timedelta(), 1), (timedelta(microseconds=1), 0)])
def test_lines_older_than_six_days_are_refused_and_counted(
    machine: Machine, older_by: timedelta, stored: int
) -> None:
    event = make_event(timestamp=machine.clock.now() - LINE_AGE_MAX - older_by)
    machine.write([settled_line(event, SEGMENT)])

    report = machine.recover()

    assert (report.events_stored, report.lines_too_old, machine.names) == (stored, 1 - stored, [])


def test_lines_of_an_erased_account_are_refused_and_counted(machine: Machine) -> None:
    machine.store.commit([Delete(account_path(ACCOUNT_ID))])
    machine.write([*both([make_event()]), admitted_line(make_admitted())])

    report = machine.recover_late()

    assert report.lines_of_no_account >= 2
    assert (machine.events, machine.names) == ([], [])


def test_the_machines_own_account_may_be_made_after_its_first_calls(machine: Machine) -> None:
    event = make_event(account_id=LOCAL_ACCOUNT_ID)
    machine.write([settled_line(event, SEGMENT)])

    machine.recover()

    assert all_events(machine.store, LOCAL_ACCOUNT_ID) == [event]


def test_a_call_by_an_unseen_key_becomes_its_accounts_with_the_keys_pins(machine: Machine) -> None:
    key = make_key_record(team="pinned", deployment="eu")
    keep_key(machine.store, key)
    event = make_event(account_id="", key_id="", team="claimed", app="web")
    line = admitted(event, key_hash=key.key_hash, account_id="")
    machine.write([line, settled_line(event, SEGMENT, key_hash=key.key_hash)])

    machine.recover()

    (stored,) = machine.events
    assert (stored.account_id, stored.key_id, stored.deployment) == (ACCOUNT_ID, key.key_id, "eu")
    assert (stored.team, stored.app, stored.cost_nanodollars) == ("pinned", "web", event.cost_nanodollars)
    assert machine.names == []


def test_what_the_key_pins_wins_over_what_an_unseen_keys_call_claimed(machine: Machine) -> None:
    key = make_key_record(app="pinned")
    keep_key(machine.store, key)
    event = make_event(account_id="", key_id="", team="search", app="claimed")
    line = admitted(event, key_hash=key.key_hash, account_id="")
    machine.write([line, settled_line(event, SEGMENT, key_hash=key.key_hash)])

    machine.recover()

    assert [(stored.team, stored.app) for stored in machine.events] == [("search", "pinned")]


def test_a_lost_call_by_an_unseen_key_becomes_its_accounts(machine: Machine) -> None:
    key = make_key_record()
    keep_key(machine.store, key)
    machine.write([admitted_line(make_admitted(account_id="", key_hash=key.key_hash))])

    machine.recover_late()

    assert [(event.key_id, event.state) for event in machine.events] == [(key.key_id, "lost")]


def test_an_unseen_keys_call_gets_its_accounts_own_price(machine: Machine) -> None:
    key = make_key_record()
    keep_key(machine.store, key)
    prices = UnitPrices(input_picodollars=1_000_000, output_picodollars=2_000_000)
    override = PriceOverride(provider="anthropic", model="claude-sonnet-4-5", prices=prices)
    settings = AccountSettings(prices=PriceSettings(overrides=(override,)))
    Directory(machine.store, machine.clock, SECRET).change_settings(ACCOUNT_ID, settings)
    event = make_event(account_id="", key_id="", input_tokens=1_000, output_tokens=200)
    machine.write([settled_line(event, SEGMENT, key_hash=key.key_hash)])

    machine.recover()

    assert [stored.cost_nanodollars for stored in machine.events] == [1_000 * 1_000 + 200 * 2_000]


def test_what_was_expected_of_a_call_stays_its_cost_whatever_its_accounts_prices_are(
    machine: Machine,
) -> None:
    key = make_key_record()
    keep_key(machine.store, key)
    override = PriceOverride(provider="anthropic", prices=UnitPrices(input_picodollars=1))
    settings = AccountSettings(prices=PriceSettings(overrides=(override,)))
    Directory(machine.store, machine.clock, SECRET).change_settings(ACCOUNT_ID, settings)
    event = make_event(account_id="", key_id="", cost_nanodollars=500, estimate_method="hold")
    machine.write([settled_line(event, SEGMENT, key_hash=key.key_hash)])

    machine.recover()

    assert [stored.cost_nanodollars for stored in machine.events] == [500]


def test_a_lost_call_by_an_unseen_key_keeps_its_estimate_whatever_its_accounts_prices_are(
    machine: Machine,
) -> None:
    key = make_key_record()
    keep_key(machine.store, key)
    override = PriceOverride(
        provider="anthropic",
        model="claude-sonnet-4-5",
        prices=UnitPrices(input_picodollars=1, output_picodollars=1),
    )
    settings = AccountSettings(prices=PriceSettings(overrides=(override,)))
    Directory(machine.store, machine.clock, SECRET).change_settings(ACCOUNT_ID, settings)
    call = make_admitted(account_id="", key_hash=key.key_hash, key_id="", estimate_nanodollars=500)
    machine.write([admitted_line(call)])

    machine.recover_late()

    assert [(stored.state, stored.cost_nanodollars) for stored in machine.events] == [("lost", 500)]


@pytest.mark.parametrize(
    ("created_at", "charged"),
    [(None, True), (AT, True), (AT + MICROSECOND, True), (quarter_of(AT) + QUARTER, False)],
    ids=[
        "of a file",
        "at the moment of the call",
        "after the call in its quarter hour",
        "after it, so that what came before is seeded",
    ],
)
def test_an_unseen_keys_call_is_charged_to_the_budgets_over_it(
    machine: Machine, created_at: datetime | None, charged: bool
) -> None:
    key = make_key_record(team="search")
    keep_key(machine.store, key)
    budget = make_budget(scope=Scope(team="search"), each="app", created_at=created_at)
    keep_budget(machine.store, budget)
    event = make_event(account_id="", key_id="", app="web")
    machine.write([settled_line(event, SEGMENT, key_hash=key.key_hash)])

    machine.recover()
    machine.recover()
    machine.clock.advance(LEASE_SECONDS)
    reap(machine.store, machine.clock, lambda _instance, _expired_at: True)

    (standing,) = standings_of(machine.store, ACCOUNT_ID, [budget], AT).values()
    spent = [(each.value, each.standing.spent_nanodollars) for each in standing.values]
    assert spent == [("web", event.cost_nanodollars) if charged else ("", 0)]


def test_a_recovered_charge_to_a_counter_that_nobody_has_written_shows(machine: Machine) -> None:
    budget = make_budget()
    counter = counter_key(ACCOUNT_ID, budget, period_of("month", "UTC", AT))
    lease = LeaseName(counter.counter_id, INSTANCE, 1)
    charge = Charge(budget.budget_id, counter.period.text, lease.lease_id, 500)
    machine.write(both([make_event(cost_nanodollars=500, charges=(charge,))]))

    machine.recover()
    machine.clock.advance(1)
    reap(machine.store, machine.clock, lambda _instance, _expired_at: True)

    (standing,) = standings_of(machine.store, ACCOUNT_ID, [budget], AT).values()
    assert [each.standing.spent_nanodollars for each in standing.values] == [500]


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({"revoked_at": AT + MINUTE}, 1),
        ({"revoked_at": AT}, 0),
        ({"expires_at": AT + MINUTE}, 1),
        ({"expires_at": AT}, 0),
        ({"scopes": ("read",)}, 0),
        (None, 0),
    ],
    ids=["revoked after", "revoked before", "expired after", "expired before", "not for calls", "unknown"],
)
def test_an_unseen_keys_call_is_nobodys_unless_the_key_was_live_then(
    machine: Machine, changes: dict[str, Any] | None, stored: int
) -> None:
    key = make_key_record(**changes or {})
    if changes is not None:
        keep_key(machine.store, key)
    event = make_event(account_id="", key_id="")
    machine.write([settled_line(event, SEGMENT, key_hash=key.key_hash)])

    report = machine.recover()

    assert (len(machine.events), report.lines_of_no_key, machine.names) == (stored, 1 - stored, [])


@pytest.mark.usefixtures("life")
def test_a_living_processs_files_are_left_alone_and_none_of_its_calls_is_lost(machine: Machine) -> None:
    path = machine.write([*both([make_event()]), admitted_line(make_admitted())])

    report = machine.recover_late()

    assert (report, machine.events, path.exists()) == (RecoveryReport(), [], True)


@pytest.mark.usefixtures("life")
def test_what_a_living_process_left_to_recovery_is_stored_while_it_lives(machine: Machine) -> None:
    charge = Charge("budget_1", "2026-11", LEASE.lease_id, 7)
    event, open_call = make_event(charges=(charge,)), make_admitted()
    machine.write([admitted(event), admitted_line(open_call)])
    left = LeftLines(machine.directory, INSTANCE, FILE_BYTES_MAX)
    left.append(settled_line(event, SEGMENT))

    machine.recover_late()

    lease = machine.store.get(LEASE.path)
    assert machine.events == [event]
    assert not left_path(machine.directory, INSTANCE, 1).exists()
    assert lease is not None
    assert lease.fields["expires_at"] > machine.clock.now()
    assert lease_expiry(machine.clock.now() + MINUTE) > lease.fields["expires_at"]
    left.close()


def test_a_call_whose_line_was_recovered_while_its_process_lived_is_not_lost_when_it_dies(
    machine: Machine, life: LifeLock
) -> None:
    event = make_event()
    machine.write([admitted(event)])
    left = LeftLines(machine.directory, INSTANCE, FILE_BYTES_MAX)
    left.append(settled_line(event, SEGMENT))
    machine.recover()
    left.close()
    life.release()

    machine.recover_late()

    assert (machine.events, machine.names) == ([event], [])


def test_lines_left_by_a_process_that_died_settle_its_calls(machine: Machine) -> None:
    event = make_event()
    machine.write([admitted(event)])
    left_path(machine.directory, INSTANCE, 2).write_bytes(settled_line(event, SEGMENT))

    machine.recover_late()

    assert (machine.events, machine.names) == ([event], [])


@pytest.mark.usefixtures("life")
def test_a_living_process_and_recovery_may_store_the_same_segment_at_once(machine: Machine) -> None:
    events = [make_event() for _ in range(40)]
    left_path(machine.directory, INSTANCE, 1).write_bytes(b"".join(both(events[10:])[1::2]))
    segment = Segment(name=SEGMENT, account_id=ACCOUNT_ID, events=tuple(events[:30]))

    _at_once([lambda: Ledger(machine.store).commit(segment), machine.recover])

    assert_each_event_counted_once(machine.store, ACCOUNT_ID, events)


def test_two_recoverers_at_once_store_each_event_once(machine: Machine) -> None:
    events = [make_event() for _ in range(30)]
    machine.write([*both(events[:10]), admitted_line(make_admitted())])
    machine.write(both(events[10:], f"{OTHER_INSTANCE}-1"), instance=OTHER_INSTANCE)

    _at_once([machine.recover] * 4)
    machine.recover_late()

    settled = [event for event in machine.events if event.state != "lost"]
    assert sorted(event.request_id for event in settled) == sorted(event.request_id for event in events)
    assert len(machine.events) == 31
    assert machine.names == []


@pytest.mark.parametrize("commits", range(5))
def test_a_recoverer_that_dies_midway_leaves_the_rest_to_the_next(machine: Machine, commits: int) -> None:
    first, second = [make_event() for _ in range(3)], [make_event() for _ in range(3)]
    machine.write([*both(first), *both(second, f"{INSTANCE}-2"), admitted_line(make_admitted())])
    last: Fate = "reply_lost" if commits % 2 else "not_applied"
    fates: list[Fate] = [("applied" if number < commits else last) for number in range(99)]
    with suppress(StoreUnavailable):  # with fates enough it gets through
        machine.recover(UnreliableStore(machine.store, fates))

    machine.recover_late()

    lost = [event for event in machine.events if event.state == "lost"]
    assert len(lost) == 1
    assert_each_event_counted_once(machine.store, ACCOUNT_ID, [*first, *second, *lost])
    assert machine.names == []


def test_while_the_store_is_silent_nothing_is_removed(machine: Machine) -> None:
    def be_silent() -> None:
        raise StoreUnavailable("no answer came")

    path = machine.write([*both([make_event()]), admitted_line(make_admitted())])

    with pytest.raises(StoreUnavailable):
        machine.recover(UnreliableStore(machine.store, before=be_silent))

    assert path.exists()
    assert machine.recover_late().files_removed == 1


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_recovered(machine: Machine) -> None:
    journal_path(machine.directory, INSTANCE, 1).mkdir()
    event = make_event()
    machine.write(both([event], f"{OTHER_INSTANCE}-1"), instance=OTHER_INSTANCE)

    report = machine.recover()

    assert (report.files_unreadable, machine.events) == (1, [event])


def test_without_a_directory_there_is_nothing_to_recover(machine: Machine) -> None:
    machine.directory.rmdir()

    assert machine.recover() == RecoveryReport()


def test_events_of_several_accounts_and_quarters_in_one_file_find_their_places(machine: Machine) -> None:
    other_account = make_id("acct")
    make_account(machine.store, other_account)
    own = [make_event(timestamp=AT + timedelta(minutes=15 * number)) for number in range(3)]
    others = [make_event(account_id=other_account) for _ in range(3)]
    machine.clock.advance(3600)
    machine.write(both([event for pair in zip(own, others, strict=True) for event in pair]))

    machine.recover()

    assert_each_event_counted_once(machine.store, ACCOUNT_ID, own)
    assert_each_event_counted_once(machine.store, other_account, others)


def test_an_instance_leaves_no_trace_once_it_is_recovered(machine: Machine) -> None:
    lock = LifeLock(machine.directory, INSTANCE)
    lock.take()
    machine.write(both([make_event()]))
    lock.release()
    assert instances_in(machine.directory) == [INSTANCE]

    machine.recover()

    assert instances_in(machine.directory) == []


def _at_once(work: list[Callable[[], Any]]) -> None:
    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(each) for each in work]:
            done.result()


def make_account(store: DocumentStore, account_id: str = ACCOUNT_ID) -> Directory:
    directory = Directory(store, ManualClock(AT), SECRET)
    directory.change(lambda: directory.creation_of_account("Example", account_id))
    return directory


def keep_key(store: DocumentStore, record: KeyRecord) -> None:
    store.commit([Put(key_path(record.key_hash), msgspec.to_builtins(record, builtin_types=(datetime,)))])


def make_budget(**changes: Any) -> Budget:
    fields: dict[str, Any] = {"budget_id": make_id("budget"), "limit_nanodollars": 10**9}
    return Budget(**fields | changes)


def keep_budget(store: DocumentStore, budget: Budget) -> None:
    directory = Directory(store, ManualClock(AT), SECRET)
    directory.change(
        lambda: directory.edition_of_policy(
            ACCOUNT_ID, lambda policy: msgspec.structs.replace(policy, budgets=(budget,))
        )
    )
