"""Law 5 on both stores: admitted = settled + in flight + lost, whoever stores the events."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest

from metering.compaction import run
from metering.conservation import (
    FOLDED_AT,
    QUIET_FOR,
    Admissions,
    DayCounts,
    counts_by_day,
    fold_counts,
)
from metering.errors import StoreUnavailable
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.segments import Segment
from metering.stores import DocumentStore
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.unreliable_store import Fate, UnreliableStore

DAY = date(2026, 11, 21)
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
SECOND = timedelta(seconds=1)


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


def instances_at_work(store: DocumentStore, number: int, at: datetime = AT) -> None:
    """Let so many instances admit two calls each on that day, and store one."""
    admissions = Admissions()
    for _ in range(2):
        admissions.note(ACCOUNT_ID, at)
    for instance in range(number):
        segment = Segment(
            name=f"{instance:032x}-1", account_id=ACCOUNT_ID, events=(make_event(timestamp=at),)
        )
        Ledger(store, ManualClock(at), admitted=admissions.of).commit(segment)


def test_what_quiet_instances_counted_is_read_from_one_document(store: DocumentStore) -> None:
    instances_at_work(store, FOLDED_AT)
    before = counts(store)

    assert fold_counts(store, ACCOUNT_ID, DAY, AT + QUIET_FOR - SECOND) == 0
    assert fold_counts(store, ACCOUNT_ID, DAY, AT + QUIET_FOR) == FOLDED_AT

    counting = CountingStore(store)
    assert counts(counting) == before == DayCounts(day="2026-11-21", settled=10, in_flight=10)
    assert counting.documents_read == 2
    assert fold_counts(store, ACCOUNT_ID, DAY, AT + QUIET_FOR) == 0


@pytest.mark.parametrize(("later", "folded"), [(AT + QUIET_FOR, 0), (MIDNIGHT + QUIET_FOR, 9)])
def test_a_few_are_folded_once_their_day_is_over(store: DocumentStore, later: datetime, folded: int) -> None:
    instances_at_work(store, FOLDED_AT - 1)

    assert fold_counts(store, ACCOUNT_ID, DAY, later - SECOND) == 0
    assert fold_counts(store, ACCOUNT_ID, DAY, later) == folded


def test_what_recovery_stores_of_a_folded_instance_counts_once(store: DocumentStore) -> None:
    instances_at_work(store, 2)
    fold_counts(store, ACCOUNT_ID, DAY, AT + timedelta(days=1))

    lost = Segment(name=f"{1:032x}-2", account_id=ACCOUNT_ID, events=(make_event(state="lost"),))
    Ledger(store, ManualClock(AT + timedelta(days=2))).commit(lost)

    assert counts(store) == DayCounts(day="2026-11-21", settled=2, lost=1, in_flight=1)
    assert fold_counts(store, ACCOUNT_ID, DAY, AT + timedelta(days=3)) == 1
    assert counts(store) == DayCounts(day="2026-11-21", settled=2, lost=1, in_flight=1)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_what_is_stored_while_counts_are_folded_is_not_forgotten(store: DocumentStore, call: int) -> None:
    instances_at_work(store, 2)
    calls = count(1)
    late = Segment(name=f"{1:032x}-2", account_id=ACCOUNT_ID, events=(make_event(),))

    def store_late() -> None:
        if next(calls) == call:
            Ledger(store).commit(late)

    fold_counts(UnreliableStore(store, before=store_late), ACCOUNT_ID, DAY, AT + timedelta(days=1))

    assert counts(store) == DayCounts(day="2026-11-21", settled=3, in_flight=1)
    fold_counts(store, ACCOUNT_ID, DAY, AT + timedelta(days=2))
    assert counts(store) == DayCounts(day="2026-11-21", settled=3, in_flight=1)


def test_compaction_folds_counts(store: DocumentStore) -> None:
    instances_at_work(store, 2)

    assert run(store, ManualClock(AT + timedelta(days=1))).counts == 2
    assert run(store, ManualClock(AT + timedelta(days=1))).counts == 0


@pytest.mark.parametrize(("open_max", "is_complete"), [(3, True), (2, False)])
def test_a_day_with_more_instances_than_may_be_read_says_so(
    store: DocumentStore, open_max: int, is_complete: bool
) -> None:
    instances_at_work(store, 1, AT - timedelta(days=1))
    instances_at_work(store, 2)
    counting = CountingStore(store)

    found = counts_by_day(counting, ACCOUNT_ID, DAY - timedelta(days=1), DAY, open_max=open_max)

    assert [each.is_complete for each in found] == [True, is_complete]
    assert [each.settled for each in found] == [1, 2 if is_complete else 1]
    assert counting.documents_read <= 2 + open_max + 1
