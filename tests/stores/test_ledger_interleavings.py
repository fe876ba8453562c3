"""Writers of one segment with overlapping sets of events, in any order, with any faults: each event once.

The live process and recovery are such writers; so is a process that repeats a commit whose outcome it does
not know. Each works against its own unreliable way to one store, and their store calls interleave as drawn.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.errors import StoreUnavailable
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.opening import open_store
from metering.segments import Segment
from metering.stores import DocumentStore
from tests.builders import make_event, make_id
from tests.doubles.turns import Turns
from tests.doubles.unreliable_store import FATES, Fate, UnreliableStore
from tests.stores.accounting import assert_each_event_counted_once

EVENTS = 8
NAME = "f" * 32 + "-7"

writers = st.lists(
    st.tuples(
        st.sets(st.integers(0, EVENTS - 1), min_size=1),  # the events it knows
        st.lists(st.sampled_from(FATES), max_size=5),  # what its commits meet
        st.integers(1, 4),  # how often it tries before it crashes
    ),
    min_size=2,
    max_size=3,
)
orders = st.lists(st.integers(0, 2), max_size=30)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> DocumentStore:
    path: Path = tmp_path_factory.mktemp("interleavings")
    return open_store(f"sqlite:///{path}/modeltrack.db")


def _events(account_id: str) -> list[CostEvent]:
    return [
        make_event(
            account_id=account_id,
            team=f"team {number % 3}",
            cost_nanodollars=10**number,
            estimated=number % 2 == 0,
        )
        for number in range(EVENTS)
    ]


def _tries(
    store: DocumentStore, fates: Sequence[Fate], segment: Segment, tries: int, ways: list[UnreliableStore]
) -> Callable[[Callable[[], None]], None]:
    def work(step: Callable[[], None]) -> None:
        way = UnreliableStore(store, fates, before=step)
        ways.append(way)
        ledger = Ledger(way)
        for _ in range(tries):
            try:
                ledger.commit(segment)
            except StoreUnavailable:
                continue
            return

    return work


@pytest.mark.battery_class("requests interleaved in any order")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writers=writers, order=orders, late_first=st.booleans())
def test_any_writers_in_any_order_store_each_event_once(
    one_store: DocumentStore,
    writers: list[tuple[set[int], list[Fate], int]],
    order: list[int],
    late_first: bool,
) -> None:
    account_id = make_id("acct")
    events = _events(account_id)
    turns, ways = Turns(), list[UnreliableStore]()
    for known, fates, tries in writers:
        segment = Segment(
            name=NAME, account_id=account_id, events=tuple(events[number] for number in sorted(known))
        )
        turns.add(_tries(one_store, fates, segment, tries, ways))

    turns.run(order)
    for way in ways if late_first else ():
        way.land()
    Ledger(one_store).commit(Segment(name=NAME, account_id=account_id, events=tuple(events)))
    for way in ways:
        way.land()

    assert_each_event_counted_once(one_store, account_id, events)


@pytest.mark.battery_class("requests interleaved in any order")
@pytest.mark.parametrize("order", [[0] * 9, [1] * 9, [0, 1] * 9, [0, 1, 1, 0, 0, 1]], ids=str)
@pytest.mark.parametrize("fates", [["reply_lost", "late"], ["not_applied", "reply_lost"]], ids=str)
def test_two_writers_with_faults_on_either_store(
    store: DocumentStore, order: list[int], fates: list[Fate]
) -> None:
    account_id = make_id("acct")
    events = _events(account_id)
    turns, ways = Turns(), list[UnreliableStore]()
    for known in (events[:5], events[3:]):
        segment = Segment(name=NAME, account_id=account_id, events=tuple(known))
        turns.add(_tries(store, fates, segment, 4, ways))

    turns.run(order)
    for way in ways:
        way.land()

    assert_each_event_counted_once(store, account_id, events)
