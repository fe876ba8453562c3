"""Law 5 on both stores: admitted = settled + in flight + lost, whoever stores the events."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest

from metering.conservation import Admissions, DayCounts, counts_by_day
from metering.errors import StoreUnavailable
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.segments import Segment
from metering.stores import DocumentStore
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.counting_store import CountingStore
from tests.doubles.unreliable_store import Fate, UnreliableStore

DAY = date(2026, 11, 21)


def of_instance(events: Sequence[CostEvent], instance: str = "a", number: int = 1) -> Segment:
    return Segment(name=f"{instance * 32}-{number}", account_id=ACCOUNT_ID, events=tuple(events))


def counts(store: DocumentStore, day: date = DAY) -> DayCounts:
    return counts_by_day(store, ACCOUNT_ID, day, day)[0]


def admitted(calls: int) -> Admissions:
    admissions = Admissions()
    for _ in range(calls):
        admissions.note(ACCOUNT_ID, AT)
    return admissions


def test_what_is_not_stored_yet_is_in_flight(store: DocumentStore) -> None:
    Ledger(store, admitted=admitted(5).of).commit(of_instance([make_event(), make_event()]))

    assert counts(store) == DayCounts(day="2026-11-21", settled=2, in_flight=3)
    assert counts(store).admitted == 5


def test_what_recovery_stores_of_a_dead_instance_is_in_flight_no_longer(store: DocumentStore) -> None:
    Ledger(store, admitted=admitted(5).of).commit(of_instance([make_event(), make_event()]))

    Ledger(store).commit(of_instance([make_event(), make_event(state="lost")], number=2))
    assert counts(store) == DayCounts(day="2026-11-21", settled=3, lost=1, in_flight=1)
    Ledger(store).commit(of_instance([make_event(state="lost")], number=3))

    assert counts(store) == DayCounts(day="2026-11-21", settled=3, lost=2)


def test_what_an_instance_could_not_tell_before_it_died_was_admitted_too(store: DocumentStore) -> None:
    Ledger(store, admitted=admitted(1).of).commit(of_instance([make_event()]))

    Ledger(store).commit(of_instance([make_event(), make_event(state="lost")], number=2))

    assert counts(store) == DayCounts(day="2026-11-21", settled=2, lost=1)


def test_instances_add_up_and_one_never_covers_anothers_missing_calls(store: DocumentStore) -> None:
    Ledger(store, admitted=admitted(4).of).commit(of_instance([make_event()], "a"))
    Ledger(store).commit(of_instance([make_event() for _ in range(9)], "b"))

    assert counts(store) == DayCounts(day="2026-11-21", settled=10, in_flight=3)


def test_more_counts_than_one_read_all_add_up(store: DocumentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metering.conservation.COUNTS_A_READ", 2)
    for instance in "abcd":
        Ledger(store, admitted=admitted(3).of).commit(of_instance([make_event()], instance))

    assert counts(store) == DayCounts(day="2026-11-21", settled=4, in_flight=8)


@pytest.mark.parametrize("fate", ["reply_lost", "not_applied", "late"])
def test_a_commit_of_unknown_outcome_counts_once(store: DocumentStore, fate: Fate) -> None:
    unreliable = UnreliableStore(store, [fate])
    ledger, segment = Ledger(unreliable, admitted=admitted(2).of), of_instance([make_event(), make_event()])

    with pytest.raises(StoreUnavailable):
        ledger.commit(segment)
    ledger.commit(segment)
    unreliable.land()

    assert counts(store) == DayCounts(day="2026-11-21", settled=2)


def test_days_are_those_of_admission_and_all_that_were_asked_for(store: DocumentStore) -> None:
    before = make_event(timestamp=AT - timedelta(days=1), ended_at=AT)
    Ledger(store).commit(of_instance([before]))
    Ledger(store).commit(of_instance([make_event()], number=2))

    found = counts_by_day(store, ACCOUNT_ID, DAY - timedelta(days=2), DAY)

    assert [(each.day, each.settled) for each in found] == [
        ("2026-11-19", 0),
        ("2026-11-20", 1),
        ("2026-11-21", 1),
    ]


def test_counting_costs_one_write_of_two_increments_a_commit(store: DocumentStore) -> None:
    counting = CountingStore(store)
    ledger = Ledger(counting, admitted=admitted(1).of)

    for number, state in enumerate(("completed", "refused", "completed")):
        ledger.commit(of_instance([make_event(state=state)], number=number))

    counting.check_limits()
    _, uncounted, counted = (weight.writes for weight in counting.commits)
    assert counted == uncounted + 1
