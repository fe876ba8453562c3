"""Late commits, two compactions and readers in any order: no sum is ever wrong, and none ever shrinks.

Store calls interleave as drawn, and commits meet faults. Every reading is compared with what was stored when
it began and when it ended. A second test drives the same operations one after the other, with time passing
and shards deleted, against a plain ledger.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.compaction import compact_day, delete_old_shards, run
from metering.errors import StoreUnavailable
from metering.ledger import Ledger
from metering.opening import open_store
from metering.rollups import QUARTER
from metering.segments import Segment, stored_events
from metering.session_packs import pack_day
from metering.sessions import sessions_between
from metering.stats import Statistics, UsageQuery
from metering.stores import STORE_TIMEOUT_SECONDS, Create, DocumentStore, Write, WriteResult
from tests.builders import make_event, make_id
from tests.doubles.clock import ManualClock
from tests.doubles.turns import Turns
from tests.doubles.unreliable_store import FATES, Fate, UnreliableStore

DAY = datetime(2026, 11, 20, tzinfo=UTC)
NEXT_DAY = DAY + timedelta(days=1)
ZONES = ["UTC", "Asia/Kolkata", "America/New_York"]
KINDS = ["team", "key_id", "prompt_template_id", "prompt_fingerprint"]

_numbers = count(1)


class WatchedStore(UnreliableStore):
    """Knows what the events of all commits that were applied cost."""

    def __init__(self, inner: DocumentStore) -> None:
        super().__init__(inner)
        self.stored = 0

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        results = super().commit(writes, timeout_seconds=timeout_seconds)
        for write in writes:
            if isinstance(write, Create) and "request_ids" in write.fields:
                self.stored += sum(event.cost_nanodollars for event in stored_events(dict(write.fields)))
        return results


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compactions in several commits, so that one may be between two while another is in the middle."""
    monkeypatch.setattr("metering.compaction.SHARDS_A_COMMIT", 5)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> DocumentStore:
    path: Path = tmp_path_factory.mktemp("compactions")
    return open_store(f"sqlite:///{path}/modeltrack.db")


def _segment(account_id: str, moment: datetime, cost: int) -> Segment:
    event = make_event(
        account_id=account_id,
        timestamp=moment,
        cost_nanodollars=cost,
        team=f"team {cost % 2}",
        session_id="a session",
        prompt_fingerprint=str(cost % 3 or ""),
    )
    return Segment(name=f"{'d' * 32}-{next(_numbers)}", account_id=account_id, events=(event,))


def _read(store: DocumentStore, account_id: str, reading: int) -> int:
    """All that the account spent, by one of the ways to ask."""
    if reading == len(KINDS):
        report = sessions_between(store, account_id, DAY, NEXT_DAY)
        return sum(session.sums["cost_nanodollars"] for session in report.sessions)
    query = UsageQuery(start=DAY, end=NEXT_DAY, group_by=(KINDS[reading],))
    return Statistics(store).usage(account_id, query).sums["cost_nanodollars"]


Step = Callable[[], None]


def _ledger(store: DocumentStore, account_id: str) -> Ledger:
    """A ledger that finds the account busy: its commits go to four shards."""
    ledger = Ledger(store, ManualClock(DAY))
    ledger._shards._widths[account_id] = 4
    return ledger


def _writer(
    store: WatchedStore, account_id: str, quarters: Sequence[int], fates: Sequence[Fate], ways: list[Step]
) -> Callable[[Step], None]:
    def work(step: Step) -> None:
        way = UnreliableStore(store, fates, before=step)
        ways.append(way.land)
        ledger = _ledger(way, account_id)
        for number in quarters:
            segment = _segment(account_id, DAY + number * QUARTER, 10**number)
            for _ in range(4):
                try:
                    ledger.commit(segment)
                except StoreUnavailable:
                    continue
                break

    return work


def _compactor(
    store: WatchedStore, account_id: str, fates: Sequence[Fate], ways: list[Step]
) -> Callable[[Step], None]:
    def work(step: Step) -> None:
        way = UnreliableStore(store, fates, before=step)
        ways.append(way.land)
        for _ in range(4):
            try:
                compact_day(way, account_id, DAY, NEXT_DAY)
                pack_day(way, account_id, DAY)
            except StoreUnavailable:
                continue

    return work


def _reader(store: WatchedStore, account_id: str, readings: Sequence[int]) -> Callable[[Step], None]:
    def work(step: Step) -> None:
        way = UnreliableStore(store, before=step)
        least = 0
        for reading in readings:
            least = max(least, store.stored)
            found = _read(way, account_id, reading)
            assert least <= found <= store.stored
            least = found

    return work


fates = st.lists(st.sampled_from(FATES), max_size=5)


@pytest.mark.battery_class("requests interleaved in any order")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writers=st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=3), fates), min_size=1, max_size=2),
    compactors=st.lists(fates, min_size=2, max_size=2),
    readings=st.lists(st.integers(0, len(KINDS)), min_size=1, max_size=4),
    order=st.lists(st.integers(0, 4), max_size=60),
    stored_before=st.lists(st.integers(0, 3), max_size=3),
    compacted_before=st.booleans(),
)
def test_no_reader_ever_sees_a_sum_that_was_not_true_while_it_read(
    one_store: DocumentStore,
    writers: list[tuple[list[int], list[Fate]]],
    compactors: list[list[Fate]],
    readings: list[int],
    order: list[int],
    stored_before: list[int],
    compacted_before: bool,
) -> None:
    account_id = make_id("acct")
    store, turns, ways = WatchedStore(one_store), Turns(), list[Step]()
    for number in stored_before:
        _ledger(store, account_id).commit(_segment(account_id, DAY + number * QUARTER, 10**number))
    if compacted_before:
        compact_day(store, account_id, DAY, NEXT_DAY)
    for quarters, met in writers:
        turns.add(_writer(store, account_id, quarters, met, ways))
    for met in compactors:
        turns.add(_compactor(store, account_id, met, ways))
    turns.add(_reader(store, account_id, readings))

    turns.run(order)
    for land in ways:
        land()
    compact_day(store, account_id, DAY, NEXT_DAY)

    assert {_read(store, account_id, reading) for reading in range(len(KINDS) + 1)} == {store.stored}


@pytest.mark.parametrize("order", [[0, 1, 2, 3] * 12, [1, 1, 0, 2, 3] * 8, [3, 0, 1, 0, 2] * 8], ids=str)
def test_the_same_holds_on_either_store(store: DocumentStore, order: list[int]) -> None:
    account_id = make_id("acct")
    watched, turns, ways = WatchedStore(store), Turns(), list[Step]()
    for number in (0, 0, 1):
        _ledger(watched, account_id).commit(_segment(account_id, DAY + number * QUARTER, 10**number))
    compact_day(watched, account_id, DAY, NEXT_DAY)
    turns.add(_writer(watched, account_id, [0, 2, 1], ["reply_lost", "late"], ways))
    turns.add(_compactor(watched, account_id, ["late", "reply_lost"], ways))
    turns.add(_compactor(watched, account_id, ["not_applied"], ways))
    turns.add(_reader(watched, account_id, [0, 1, 2, 3, 0]))

    turns.run(order)
    for land in ways:
        land()
    compact_day(watched, account_id, DAY, NEXT_DAY)

    assert {_read(watched, account_id, reading) for reading in range(len(KINDS) + 1)} == {watched.stored}


operations = st.one_of(
    st.tuples(st.just("keep"), st.integers(0, 5 * 96 - 1), st.integers(1, 10**12)),
    st.tuples(st.just("compact"), st.just(0), st.just(0)),
    st.tuples(st.just("delete"), st.just(0), st.just(0)),
    st.tuples(st.just("pass"), st.sampled_from([1, 30, 24 * 60, 9 * 24 * 60]), st.just(0)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(operations, min_size=4, max_size=25), zone=st.sampled_from(ZONES))
def test_a_day_in_any_zone_adds_up_whatever_was_compacted_and_deleted(
    one_store: DocumentStore, operations: list[tuple[str, int, int]], zone: str
) -> None:
    account_id = make_id("acct")
    clock = ManualClock(DAY)
    ledger = Ledger(one_store, clock)
    by_day: dict[date, int] = {}
    for name, number, cost in operations:
        if name == "keep":
            # around New York's change of clocks as well as on plain days
            moment = DAY - timedelta(days=21) + number * QUARTER
            ledger.commit(_segment(account_id, moment, cost))
            day = moment.astimezone(ZoneInfo(zone)).date()
            by_day[day] = by_day.get(day, 0) + cost
        elif name == "pass":
            clock.advance(60 * number)
        elif name == "compact":
            run(one_store, clock)
        else:
            delete_old_shards(one_store, clock)
        assert _by_day(one_store, account_id, zone) == by_day


def _by_day(store: DocumentStore, account_id: str, zone: str) -> dict[date, int]:
    query = UsageQuery(start=DAY - timedelta(days=23), end=DAY - timedelta(days=14), timezone=zone)
    report = Statistics(store).usage(account_id, query)
    return {
        bucket.start.astimezone(ZoneInfo(zone)).date(): bucket.groups[0].sums["cost_nanodollars"]
        for bucket in report.buckets
        if bucket.groups
    }
