"""Recovery from a queue on both stores: in whatever order lines come, each call is one event."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from metering.directory import Directory
from metering.errors import StoreUnavailable
from metering.events import CostEvent
from metering.journal import Admitted, Hold, admitted_line, settled_line
from metering.ledger import Ledger
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.queued_recovery import (
    CALL_AGE_MAX,
    CLAIM_SECONDS,
    DRAIN_SECONDS_MAX,
    DRAINED_AGE,
    EMPTY_PULLS,
    HIDDEN_SECONDS,
    LINE_AGE_MIN,
    Delivery,
    QueueUnavailable,
    drain,
    drained_until,
    run,
)
from metering.recovery import RecoveryReport
from metering.segments import Segment
from metering.stores import DocumentStore
from tests.builders import ACCOUNT_ID, AT, SECRET, make_event, make_id, make_overcharged_event
from tests.doubles.clock import ManualClock
from tests.doubles.journal_queue import MemoryQueue
from tests.doubles.unreliable_store import UnreliableStore
from tests.stores.accounting import all_events, assert_each_event_counted_once

INSTANCE = "a" * 32
SEGMENT = f"{INSTANCE}-1"
MICROSECOND = timedelta(microseconds=1)


class Platform:
    """A queue of lines, a store with one account, and the recovery of the one into the other."""

    def __init__(self, store: DocumentStore) -> None:
        self.store = store
        self.clock = ManualClock(AT + timedelta(minutes=5))
        self.queue = MemoryQueue(self.clock)
        directory = Directory(store, self.clock, SECRET)
        directory.change(lambda: directory.creation_of_account("Example", ACCOUNT_ID))

    def recover(self, store: DocumentStore | None = None) -> RecoveryReport:
        return run(store or self.store, self.clock, self.queue, lambda: Pricer(load_price_table()))

    def recover_after(self, passed: timedelta) -> RecoveryReport:
        self.clock.advance(passed.total_seconds())
        return self.recover()

    @property
    def events(self) -> list[CostEvent]:
        return all_events(self.store, ACCOUNT_ID)


@pytest.fixture
def platform(store: DocumentStore) -> Platform:
    return Platform(store)


def make_call(**changes: Any) -> Admitted:
    fields: dict[str, Any] = {
        "request_id": make_id("req"),
        "timestamp": AT,
        "account_id": ACCOUNT_ID,
        "provider": "openai",
        "instance": INSTANCE,
        "estimate_nanodollars": 500,
    }
    return Admitted(**fields | changes)


def admitted(event: CostEvent) -> bytes:
    return admitted_line(make_call(request_id=event.request_id, timestamp=event.timestamp))


def test_settled_lines_are_stored_and_their_calls_acknowledged(platform: Platform) -> None:
    events = [make_event() for _ in range(3)]
    platform.queue.publish(*[admitted(event) for event in events])
    platform.queue.publish(*[settled_line(event, SEGMENT) for event in events])

    report = platform.recover()

    assert report == RecoveryReport(events_stored=3)
    assert_each_event_counted_once(platform.store, ACCOUNT_ID, events)
    assert platform.queue.lines == []


def test_what_the_process_had_stored_is_acknowledged_and_not_stored_again(platform: Platform) -> None:
    events = [make_event() for _ in range(3)]
    Ledger(platform.store).commit(Segment(name=SEGMENT, account_id=ACCOUNT_ID, events=tuple(events)))
    platform.queue.publish(*[settled_line(event, SEGMENT) for event in events])

    report = platform.recover()

    assert (report.events_found, platform.queue.lines) == (3, [])
    assert_each_event_counted_once(platform.store, ACCOUNT_ID, events)


def test_a_line_delivered_twice_is_stored_once(platform: Platform) -> None:
    event = make_event()
    platform.queue.publish(settled_line(event, SEGMENT), settled_line(event, SEGMENT))

    platform.recover()

    assert_each_event_counted_once(platform.store, ACCOUNT_ID, [event])


@pytest.mark.parametrize(("early", "stored"), [(timedelta(), 1), (MICROSECOND, 0)])
def test_lines_younger_than_two_minutes_are_left_to_their_process(
    platform: Platform, early: timedelta, stored: int
) -> None:
    platform.queue.publish(settled_line(make_event(), SEGMENT), age=LINE_AGE_MIN - early)

    report = platform.recover()

    assert (len(platform.events), report.lines_waiting) == (stored, 1 - stored)
    assert platform.recover_after(LINE_AGE_MIN).events_stored == 1 - stored


@pytest.mark.parametrize(("early", "lost"), [(timedelta(), 1), (MICROSECOND, 0)])
def test_a_call_is_lost_once_the_queue_was_empty_after_the_longest_a_call_can_take(
    platform: Platform, early: timedelta, lost: int
) -> None:
    call = make_call(holds=(Hold("budget_1", "2026-11", f"{'c' * 32}.{INSTANCE}.1", 900),))
    platform.queue.publish(admitted_line(call))
    platform.clock.advance((AT + CALL_AGE_MAX + DRAINED_AGE - early - platform.clock.now()).total_seconds())

    first = platform.recover()
    second = platform.recover_after(timedelta(seconds=HIDDEN_SECONDS))

    assert (first.events_lost, first.lines_waiting, second.events_lost) == (0, 1, lost)
    assert [event.state for event in platform.events] == ["lost"] * lost
    assert len(platform.queue.lines) == 1 - lost


class SlowQueue(MemoryQueue):
    """Each pull takes its time."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        super().__init__(clock)
        self.clock, self.seconds = clock, seconds

    def pull(self, count: int) -> Sequence[Delivery]:
        self.clock.advance(self.seconds)
        return super().pull(count)


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of two lines."""
    monkeypatch.setattr("metering.queued_recovery.LINES_A_RUN_MAX", 2)
    monkeypatch.setattr("metering.queued_recovery.LINES_A_PULL", 2)


@pytest.mark.usefixtures("small_runs")
def test_a_full_run_is_followed_by_another_until_the_queue_is_drained(platform: Platform) -> None:
    calls = [make_event() for _ in range(5)]
    platform.queue.publish(*(settled_line(call, SEGMENT) for call in calls))

    report = drain(platform.store, platform.clock, platform.queue, lambda: Pricer(load_price_table()))

    assert (report.events_stored, report.runs_full) == (5, 2)
    assert platform.queue.lines == []
    assert drained_until(platform.store) == platform.clock.now() - DRAINED_AGE


@pytest.mark.parametrize(("seconds", "runs"), [(DRAIN_SECONDS_MAX - 1, 2), (DRAIN_SECONDS_MAX, 1)])
@pytest.mark.usefixtures("small_runs")
def test_runs_follow_each_other_for_a_time_only(platform: Platform, seconds: float, runs: int) -> None:
    queue = SlowQueue(platform.clock, seconds)
    queue.publish(*(settled_line(make_event(), SEGMENT) for _ in range(9)))

    report = drain(platform.store, platform.clock, queue, lambda: Pricer(load_price_table()))

    assert report.runs_full == runs
    assert len(queue.lines) == 9 - 2 * runs


def test_while_lines_may_still_be_on_their_way_no_call_is_lost(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.queued_recovery.LINES_A_RUN_MAX", 2)
    event = make_event()
    platform.clock.advance(2 * CALL_AGE_MAX.total_seconds())
    platform.queue.publish(admitted(event), *[settled_line(make_event(), SEGMENT) for _ in range(4)])
    platform.queue.publish(settled_line(event, SEGMENT))
    monkeypatch.setattr("metering.queued_recovery.LINES_A_PULL", 2)

    reports = [platform.recover() for _ in range(4)] + [platform.recover_after(timedelta(minutes=10))]

    assert sum(report.events_lost for report in reports) == 0
    assert (len(platform.events), platform.queue.lines) == (5, [])


def test_an_admitted_line_goes_once_its_call_is_stored_whoever_stored_it(platform: Platform) -> None:
    event = make_event()
    platform.queue.publish(admitted(event))
    assert platform.recover().lines_waiting == 1
    Ledger(platform.store).commit(Segment(name=SEGMENT, account_id=ACCOUNT_ID, events=(event,)))

    platform.recover_after(timedelta(seconds=HIDDEN_SECONDS))

    assert (platform.queue.lines, platform.events) == ([], [event])


def test_what_is_no_line_is_set_aside_and_harms_no_other(platform: Platform) -> None:
    event = make_event()
    platform.queue.publish(b"no line", settled_line(event, SEGMENT))

    report = platform.recover()

    assert (report.lines_bad, platform.queue.aside, platform.queue.lines) == (1, [b"no line"], [])
    assert platform.events == [event]


def test_what_the_store_does_not_take_is_set_aside(platform: Platform) -> None:
    line = settled_line(make_overcharged_event(), SEGMENT)
    platform.queue.publish(line)

    report = platform.recover()

    assert (report.lines_not_taken, platform.queue.aside, platform.queue.lines) == (1, [line], [])


def test_a_bad_line_that_cannot_be_set_aside_stays_in_the_queue(platform: Platform) -> None:
    platform.queue.publish(b"no line")
    platform.queue.failing = {"set_aside"}

    with pytest.raises(QueueUnavailable):
        platform.recover()

    assert platform.queue.lines == [b"no line"]


def test_while_the_store_is_silent_nothing_is_pulled(platform: Platform) -> None:
    def be_silent() -> None:
        raise StoreUnavailable("no answer came")

    platform.queue.publish(settled_line(make_event(), SEGMENT))

    with pytest.raises(StoreUnavailable):
        platform.recover(UnreliableStore(platform.store, before=be_silent))

    assert platform.queue.pulls == 0


def test_what_a_store_falling_silent_left_over_is_given_back_at_once(platform: Platform) -> None:
    event = make_event()
    platform.queue.publish(settled_line(event, SEGMENT))

    with pytest.raises(StoreUnavailable):  # the claim is taken, the segment is not
        platform.recover(UnreliableStore(platform.store, ["applied", "not_applied"]))

    assert platform.recover().events_stored == 1
    assert_each_event_counted_once(platform.store, ACCOUNT_ID, [event])


def test_an_acknowledgement_that_is_lost_stores_nothing_twice(platform: Platform) -> None:
    event = make_event()
    platform.queue.publish(settled_line(event, SEGMENT))
    platform.queue.failing = {"acknowledge"}
    with pytest.raises(QueueUnavailable):
        platform.recover()

    platform.queue.failing = set()
    platform.recover()

    assert platform.queue.lines == []
    assert_each_event_counted_once(platform.store, ACCOUNT_ID, [event])


def test_who_dies_with_lines_in_hand_keeps_others_out_until_they_have_come_back(platform: Platform) -> None:
    event = make_event()
    platform.queue.publish(settled_line(event, SEGMENT))
    platform.queue.failing = {"acknowledge", "give_back"}
    with pytest.raises(QueueUnavailable):
        platform.recover()
    platform.queue.failing = set()

    just_before = platform.recover_after(timedelta(seconds=CLAIM_SECONDS) - MICROSECOND)
    after = platform.recover_after(MICROSECOND)

    assert (just_before.runs_elsewhere, after.runs_elsewhere, after.events_found) == (1, 0, 1)
    assert platform.queue.lines == []


def test_the_queue_is_known_to_be_drained_only_after_several_empty_pulls(platform: Platform) -> None:
    platform.queue.publish(settled_line(make_event(), SEGMENT))
    platform.queue.empty_pulls = EMPTY_PULLS - 1

    platform.recover()

    assert len(platform.events) == 1
    assert drained_until(platform.store) == platform.clock.now() - DRAINED_AGE


def test_a_line_that_is_hidden_for_its_youth_is_not_taken_for_recovered(platform: Platform) -> None:
    platform.queue.publish(settled_line(make_event(), SEGMENT), age=LINE_AGE_MIN - MICROSECOND)
    published_at = platform.clock.now() - LINE_AGE_MIN + MICROSECOND
    platform.recover()

    report = platform.recover_after(LINE_AGE_MIN - MICROSECOND)  # it comes back a moment later

    assert report.events_stored == 0
    assert drained_until(platform.store) < published_at


def test_a_failed_run_drains_nothing(platform: Platform) -> None:
    before = drained_until(platform.store)
    platform.queue.failing = {"pull"}

    with pytest.raises(QueueUnavailable):
        platform.recover()

    assert drained_until(platform.store) == before < AT
