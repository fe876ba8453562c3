"""Reading a range of rollups within a bound, on both stores: whole quarter hours, and how far they reach."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from metering.compaction import run
from metering.ledger import Ledger
from metering.quarters import Within, rollups_within
from metering.questions import Question
from metering.rollups import QUARTER
from metering.segments import Segment
from metering.shards import SHARDS_MAX, Shards
from metering.stores import DocumentStore
from tests.builders import ACCOUNT_ID, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
START, END = NOON - timedelta(days=2), NOON + 5 * QUARTER
DAYS = 3

_numbers: Iterator[int] = count(1)


def keep(store: DocumentStore, quarter: datetime, cost: int, shards: int = 1) -> None:
    """Store a call in each of so many shards of the quarter hour, by the commits of as many writers."""
    for shard in range(shards):
        ledger = Ledger(store, ManualClock(quarter))
        ledger._shards._widths[ACCOUNT_ID] = SHARDS_MAX
        event = make_event(timestamp=quarter, cost_nanodollars=cost)
        segment = Segment(name=_name_for(ledger._shards, shard), account_id=ACCOUNT_ID, events=(event,))
        ledger.commit(segment)


def _name_for(shards: Shards, shard: int) -> str:
    names = (f"{'e' * 32}-{number}" for number in _numbers)
    return next(name for name in names if shards._shard_of(ACCOUNT_ID, name) == shard)


def read(store: DocumentStore, open_max: int) -> tuple[Within, int]:
    """What was read, and what it cost."""
    within = rollups_within(store, ACCOUNT_ID, START, END, "main", open_max=open_max)
    asked = Question(lambda _: True, lambda cell: cell[:1])
    sums = [day.summed(asked) for day in within.days]
    return within, sum(each["cost_nanodollars"] for found in sums for each in found.values())


def test_all_of_the_range_is_read_where_the_bound_allows_it(store: DocumentStore) -> None:
    keep(store, START, 1)
    run(store, ManualClock(NOON))
    keep(store, NOON, 10, shards=2)
    keep(store, NOON + QUARTER, 100, shards=2)

    within, cost = read(store, open_max=4)

    assert (within.complete_to, within.opened, cost) == (END, 4, 221)


@pytest.mark.parametrize("open_max", [2, 3])
def test_a_quarter_hour_beyond_the_bound_is_left_out_as_a_whole(store: DocumentStore, open_max: int) -> None:
    keep(store, START, 1)
    run(store, ManualClock(NOON))
    keep(store, NOON, 10, shards=2)
    keep(store, NOON + QUARTER, 100, shards=2)
    counting = CountingStore(store)

    within, cost = read(counting, open_max)

    assert (within.complete_to, cost) == (NOON + QUARTER, 21)
    assert counting.documents_read <= DAYS + open_max + 2


@pytest.mark.parametrize(("open_max", "complete_to", "cost"), [(3, NOON, 1), (4, END, 141)])
def test_what_came_late_is_read_with_all_of_its_quarter_hour_or_not_at_all(
    store: DocumentStore, open_max: int, complete_to: datetime, cost: int
) -> None:
    keep(store, START, 1)
    keep(store, NOON, 10, shards=3)
    run(store, ManualClock(NOON + timedelta(hours=1)))
    keep(store, NOON, 110)  # into the first of the three: one shard is open, and three are to be read
    counting = CountingStore(store)

    within, found = read(counting, open_max)

    assert (within.complete_to, found) == (complete_to, cost)
    assert counting.documents_read <= DAYS + open_max + 2


@pytest.mark.parametrize(("apart", "complete_to", "cost"), [(3, NOON, 0), (4, END, 220)])
def test_where_compaction_is_an_hour_behind_all_is_read(
    store: DocumentStore, apart: int, complete_to: datetime, cost: int
) -> None:
    keep(store, NOON, 10, shards=2)
    keep(store, NOON + apart * QUARTER, 100, shards=2)

    within, found = read(store, open_max=1)

    assert (within.complete_to, found) == (complete_to, cost)


@pytest.mark.parametrize(("apart", "complete_to", "cost"), [(3, NOON, 0), (4, END, 131)])
def test_what_came_late_long_before_is_read_all_the_same(
    store: DocumentStore, apart: int, complete_to: datetime, cost: int
) -> None:
    keep(store, NOON, 10, shards=2)
    run(store, ManualClock(NOON + timedelta(hours=1)))
    keep(store, NOON, 11)
    keep(store, NOON + apart * QUARTER, 100)

    within, found = read(store, open_max=2)

    assert (within.complete_to, found) == (complete_to, cost)


def test_what_is_not_read_now_is_read_once_it_is_compacted(store: DocumentStore) -> None:
    keep(store, NOON, 10, shards=3)
    before, _ = read(store, open_max=2)

    run(store, ManualClock(NOON + timedelta(hours=1)))
    after, cost = read(store, open_max=2)

    assert (before.complete_to, after.complete_to, cost) == (NOON, END, 30)
