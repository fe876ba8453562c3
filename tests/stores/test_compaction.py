"""Compaction on both stores: the same sums from fewer documents, whatever comes late."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from metering.active_days import CLOSED_AFTER, PUT_AGAIN_AFTER, active_days
from metering.collections import quarters_collection
from metering.compaction import (
    SETTLED_AFTER,
    SHARDS_A_COMMIT,
    SHARDS_KEPT,
    CompactionReport,
    compact_day,
    delete_old_shards,
    run,
)
from metering.day_documents import day_path
from metering.errors import RevisionChanged, StoreUnavailable
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.opening import open_store
from metering.quarters import DOCUMENTS_AN_ANSWER, DOCUMENTS_OF_WHO_ASKS
from metering.rollups import QUARTER, quarter_of, rolled_up
from metering.segments import Segment
from metering.shards import SHARDS_MAX, Shards
from metering.stats import Statistics, UsageQuery
from metering.stores import DocumentStore, Put
from tests.builders import ACCOUNT_ID, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.unreliable_store import UnreliableStore
from tests.stores.accounting import all_documents, all_events

DAY = datetime(2026, 11, 20, tzinfo=UTC)
NOON = DAY + timedelta(hours=12)
LATER = timedelta(hours=2)

_numbers: Iterator[int] = count(1)


def _keep(store: DocumentStore, *events: CostEvent, now: datetime | None = None) -> None:
    clock = ManualClock(now or events[0].timestamp)
    segment = Segment(name=f"{'e' * 32}-{next(_numbers)}", account_id=events[0].account_id, events=events)
    Ledger(store, clock).commit(segment)


def _spent(store: DocumentStore, account_id: str = ACCOUNT_ID, group: str = "team") -> dict[str, int]:
    query = UsageQuery(start=DAY, end=DAY + timedelta(days=2), group_by=(group,))
    report = Statistics(store).usage(account_id, query)
    found: dict[str, int] = {}
    for bucket in report.buckets:
        for each in bucket.groups:
            name = each.values[group]
            found[name] = found.get(name, 0) + each.sums["cost_nanodollars"]
    return found


def _open_shards(store: DocumentStore) -> int:
    return sum(
        document.fields["starts_at"] is not None
        for document in all_documents(store, quarters_collection(ACCOUNT_ID))
    )


def test_what_is_compacted_is_read_as_before_from_one_document(store: DocumentStore) -> None:
    moments = [NOON + number * QUARTER for number in range(4)]
    for number, moment in enumerate(moments):
        _keep(store, make_event(timestamp=moment, team=f"team {number % 2}", cost_nanodollars=10**number))
    before = _spent(store), _spent(store, group="key_id"), _spent(store, group="prompt_template_id")

    report = run(store, ManualClock(NOON + LATER))

    assert (report.days, report.quarters, report.shards) == (1, 4, 4)
    assert (_spent(store), _spent(store, group="key_id"), _spent(store, group="prompt_template_id")) == before
    counting = CountingStore(store)
    _spent(counting)
    assert counting.documents_read == 3  # no open shard; two days asked for
    assert _open_shards(store) == 0


def test_latencies_are_compacted_too(store: DocumentStore) -> None:
    _keep(store, *(make_event(timestamp=NOON, latency_ms=latency) for latency in (100, 100, 4_000)))
    query = UsageQuery(start=DAY, end=DAY + timedelta(days=1))
    before = Statistics(store).latency(ACCOUNT_ID, query)

    run(store, ManualClock(NOON + LATER))

    assert Statistics(store).latency(ACCOUNT_ID, query) == before
    assert before[0].requests == 3


@pytest.mark.parametrize(("seconds_short", "quarters"), [(0, 1), (1, 0)])
def test_a_quarter_hour_is_left_alone_until_a_while_after_its_end(
    store: DocumentStore, seconds_short: int, quarters: int
) -> None:
    _keep(store, make_event(timestamp=NOON))
    due = NOON + QUARTER + SETTLED_AFTER

    report = run(store, ManualClock(due - timedelta(seconds=seconds_short)))

    assert report.quarters == quarters


def test_a_run_that_finds_nothing_new_writes_nothing(store: DocumentStore) -> None:
    _keep(store, make_event(timestamp=NOON))
    run(store, ManualClock(NOON + LATER))
    counting = CountingStore(store)

    report = run(counting, ManualClock(NOON + LATER))

    assert report == CompactionReport(days=1)
    assert (counting.commits, counting.documents_read) == ([], 4)


def test_what_comes_late_counts_at_once_and_is_compacted_next_time(store: DocumentStore) -> None:
    _keep(store, make_event(timestamp=NOON, cost_nanodollars=1))
    _keep(store, make_event(timestamp=NOON + QUARTER, cost_nanodollars=10))
    run(store, ManualClock(NOON + LATER))

    _keep(store, make_event(timestamp=NOON, cost_nanodollars=100), now=NOON + LATER)
    assert _spent(store) == {"search": 111}
    report = run(store, ManualClock(NOON + LATER))

    assert (report.quarters, report.shards) == (1, 1)
    assert (_spent(store), _open_shards(store)) == ({"search": 111}, 0)


def test_events_that_are_kept_between_reading_and_writing_make_the_commit_again(store: DocumentStore) -> None:
    _keep(store, make_event(timestamp=NOON, cost_nanodollars=1))
    _keep(store, make_event(timestamp=NOON + QUARTER, cost_nanodollars=10))
    late = make_event(timestamp=NOON, cost_nanodollars=100)
    racing = UnreliableStore(store, before=_once_at(2, lambda: _keep(store, late)))

    done = compact_day(racing, ACCOUNT_ID, DAY, NOON + LATER)

    assert (done.quarters, done.overtaken) == (2, 0)
    assert len(racing.commits) == 2
    assert _spent(store) == {"search": 111}


def test_a_quarter_hour_that_is_never_still_is_given_up_and_right_all_the_same(store: DocumentStore) -> None:
    _keep(store, make_event(timestamp=NOON, cost_nanodollars=1))
    busy = UnreliableStore(store, before=lambda: _keep(store, make_event(timestamp=NOON, cost_nanodollars=1)))

    done = compact_day(busy, ACCOUNT_ID, DAY, NOON + LATER)

    assert (done.quarters, done.overtaken) == (0, 1)
    spent = _spent(store)
    assert spent == {"search": len(all_documents(store, f"accounts/{ACCOUNT_ID}/segments"))}


def test_a_compaction_whose_outcome_is_unknown_is_simply_run_again(store: DocumentStore) -> None:
    _keep(store, make_event(timestamp=NOON))
    for fate in ("reply_lost", "not_applied"):
        with pytest.raises(StoreUnavailable):
            run(UnreliableStore(store, [fate]), ManualClock(NOON + LATER))
        _keep(store, make_event(timestamp=NOON))

    run(store, ManualClock(NOON + LATER))

    assert (_spent(store), _open_shards(store)) == ({"search": 30_000_000}, 0)


def test_a_day_is_closed_a_day_after_its_end_and_opened_by_what_is_late(store: DocumentStore) -> None:
    _keep(store, make_event(timestamp=NOON, cost_nanodollars=1))
    due = DAY + timedelta(days=1) + CLOSED_AFTER
    run(store, ManualClock(NOON + LATER))
    assert run(store, ManualClock(due - timedelta(seconds=1))).days_closed == 0
    assert run(store, ManualClock(due)).days_closed == 1
    assert run(store, ManualClock(due)).days == 0

    _keep(store, make_event(timestamp=NOON, cost_nanodollars=10), now=due)
    report = run(store, ManualClock(due))

    assert (report.days, report.shards, _spent(store)) == (1, 1, {"search": 11})
    assert run(store, ManualClock(due)).days_closed == 1


def test_an_instance_notes_a_day_once_until_the_day_may_be_closed(store: DocumentStore) -> None:
    clock = ManualClock(NOON)
    watched = UnreliableStore(store)
    ledger = Ledger(watched, clock)

    def notes() -> int:
        event = make_event(timestamp=NOON)
        ledger.commit(Segment(name=f"{'e' * 32}-{next(_numbers)}", account_id=ACCOUNT_ID, events=(event,)))
        return sum(isinstance(write, Put) for write in watched.commits[-1])

    assert [notes(), notes()] == [1, 0]
    clock.advance((DAY + timedelta(days=1) + PUT_AGAIN_AFTER - NOON).total_seconds() - 1)
    assert notes() == 0
    clock.advance(1)
    assert [notes(), notes()] == [1, 1]


def test_shards_go_eight_days_after_their_compaction_and_their_sums_stay(store: DocumentStore) -> None:
    for number in range(3):
        _keep(store, make_event(timestamp=NOON + number * QUARTER, cost_nanodollars=10**number))
    closed_at = DAY + timedelta(days=1) + CLOSED_AFTER
    run(store, ManualClock(closed_at))
    run(store, ManualClock(closed_at))

    early = delete_old_shards(store, ManualClock(closed_at + SHARDS_KEPT - timedelta(seconds=1)))
    due = delete_old_shards(store, ManualClock(closed_at + SHARDS_KEPT))

    assert (early.shards, due.shards, due.days) == (0, 3, 1)
    assert all_documents(store, quarters_collection(ACCOUNT_ID)) == []
    assert _spent(store) == {"search": 111}
    assert delete_old_shards(store, ManualClock(closed_at + SHARDS_KEPT)).days == 0


def test_what_comes_after_its_shards_are_gone_adds_to_what_the_day_holds(store: DocumentStore) -> None:
    _keep(store, make_event(timestamp=NOON, cost_nanodollars=1))
    _keep(store, make_event(timestamp=NOON + QUARTER, cost_nanodollars=10))
    closed_at = DAY + timedelta(days=1) + CLOSED_AFTER
    for _ in range(2):
        run(store, ManualClock(closed_at))
    delete_old_shards(store, ManualClock(closed_at + SHARDS_KEPT))

    _keep(store, make_event(timestamp=NOON, cost_nanodollars=100), now=closed_at + SHARDS_KEPT)

    assert _spent(store) == {"search": 111}
    for _ in range(2):
        run(store, ManualClock(closed_at + SHARDS_KEPT))
        assert _spent(store) == {"search": 111}
    delete_old_shards(store, ManualClock(closed_at + 3 * SHARDS_KEPT))
    assert _spent(store) == {"search": 111}


def test_a_shard_that_is_open_again_is_not_deleted(store: DocumentStore) -> None:
    _keep(store, make_event(timestamp=NOON, cost_nanodollars=1))
    _keep(store, make_event(timestamp=NOON + QUARTER, cost_nanodollars=10))
    closed_at = DAY + timedelta(days=1) + CLOSED_AFTER
    for _ in range(2):
        run(store, ManualClock(closed_at))
    (day,) = active_days(store, "compacted")
    _keep(store, make_event(timestamp=NOON, cost_nanodollars=100), now=closed_at)
    with pytest.raises(RevisionChanged):
        store.commit([day.put("compacted")])
    store.commit([Put(day.put("compacted").path, day.put("compacted").fields)])

    report = delete_old_shards(store, ManualClock(closed_at + SHARDS_KEPT))

    assert (report.shards, report.days) == (1, 0)
    assert _spent(store) == {"search": 111}


def test_a_busy_days_batches_are_whole_quarter_hours_within_the_limits_of_a_commit(
    sqlite_store: DocumentStore,
) -> None:
    quarters = SHARDS_A_COMMIT // SHARDS_MAX + 3
    expected = 0
    for quarter in range(quarters):
        for shard in range(SHARDS_MAX):
            cost = 10**3 * quarter + shard
            expected += cost
            _keep_in_shard(sqlite_store, quarter, shard, cost)
    counting = CountingStore(sqlite_store)

    done = compact_day(counting, ACCOUNT_ID, DAY, NOON + 10 * LATER)

    assert (done.quarters, done.shards) == (quarters, quarters * SHARDS_MAX)
    assert _spent(sqlite_store) == {"search": expected}
    assert len(counting.commits) == 2
    assert max(weight.writes for weight in counting.commits) <= SHARDS_A_COMMIT + 2
    counting.check_limits()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("width", ["1d", "1h"])
def test_thirty_days_in_any_zone_are_at_most_a_hundred_documents(
    thirty_busy_days: DocumentStore, zone: str, width: str
) -> None:
    # As late as a run every five minutes leaves it: three quarter hours are in sixteen shards each.
    now = NOON + 3 * QUARTER - timedelta(seconds=1)
    counting = CountingStore(thirty_busy_days)
    query = UsageQuery(
        start=now - timedelta(days=30), end=now, bucket_width=width, timezone=zone, group_by=("team",)
    )

    report = Statistics(counting).usage(ACCOUNT_ID, query)

    assert report.sums["requests"] >= 30 + 3 * SHARDS_MAX - 1
    assert 32 + 3 * SHARDS_MAX - 1 <= counting.documents_read <= 100


def test_a_comparison_of_thirty_days_leaves_out_what_would_be_more_than_a_hundred(
    thirty_busy_days: DocumentStore,
) -> None:
    now = NOON + 3 * QUARTER - timedelta(seconds=1)
    counting = CountingStore(thirty_busy_days)
    query = UsageQuery(start=now - timedelta(days=30), end=now, timezone="Asia/Kolkata")

    compared = Statistics(counting).comparison(ACCOUNT_ID, query)

    assert compared.complete_to == NOON + QUARTER  # one of the three quarter hours fits in
    assert compared.sums["requests"] == 30 + SHARDS_MAX
    assert counting.documents_read <= DOCUMENTS_AN_ANSWER - DOCUMENTS_OF_WHO_ASKS


@pytest.fixture(scope="module")
def thirty_busy_days(tmp_path_factory: pytest.TempPathFactory) -> DocumentStore:
    """An account on its busiest day yet, on SQLite: what is counted is the same on either store."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('days')}/modeltrack.db")
    for day in range(31):
        _keep(store, make_event(timestamp=NOON - timedelta(days=day, hours=1)))
    run(store, ManualClock(NOON))
    for quarter in range(3):
        for shard in range(SHARDS_MAX):
            _keep_in_shard(store, quarter, shard, 1)
    return store


def _keep_in_shard(store: DocumentStore, quarter: int, shard: int, cost: int) -> None:
    shards = Shards(ManualClock())
    shards._widths[ACCOUNT_ID] = SHARDS_MAX
    moment = NOON + quarter * QUARTER
    event = make_event(timestamp=moment, cost_nanodollars=cost)
    name = next(
        name
        for name in (f"{'f' * 32}-{number}" for number in count())
        if shards._shard_of(ACCOUNT_ID, name) == shard
    )
    write = next(shards.writes(ACCOUNT_ID, quarter_of(moment), name, rolled_up([event])))
    store.commit([write.increment])


@pytest.mark.parametrize("call", range(1, 10))
def test_what_comes_late_while_shards_are_deleted_is_kept(store: DocumentStore, call: int) -> None:
    _keep(store, make_event(timestamp=NOON, cost_nanodollars=1))
    _keep(store, make_event(timestamp=NOON + QUARTER, cost_nanodollars=10))
    closed_at = DAY + timedelta(days=1) + CLOSED_AFTER
    for _ in range(2):
        run(store, ManualClock(closed_at))
    clock = ManualClock(closed_at + SHARDS_KEPT)
    late = make_event(timestamp=NOON, cost_nanodollars=100)

    delete_old_shards(
        UnreliableStore(store, before=_once_at(call, lambda: _keep(store, late, now=clock.now()))), clock
    )

    for _ in range(2):
        expected = 111 if len(all_events(store, ACCOUNT_ID)) == 3 else 11
        assert _spent(store) == {"search": expected}
        run(store, clock)


@pytest.mark.parametrize("call", range(1, 8))
@pytest.mark.parametrize("happens", ["a late event", "another run"])
def test_a_day_that_is_closed_while_something_happens_loses_nothing(
    store: DocumentStore, call: int, happens: str
) -> None:
    _keep(store, make_event(timestamp=NOON, cost_nanodollars=1))
    clock = ManualClock(DAY + timedelta(days=1) + CLOSED_AFTER)
    late = make_event(timestamp=NOON, cost_nanodollars=100)

    def act() -> None:
        if happens == "another run":
            run(store, clock)
        else:
            _keep(store, late, now=clock.now())

    for _ in range(2):  # the first puts the shards into the day, the second closes it
        run(UnreliableStore(store, before=_once_at(call, act)), clock)

    expected = sum(event.cost_nanodollars for event in all_events(store, ACCOUNT_ID))
    assert _spent(store) == {"search": expected}
    run(store, clock)
    assert (_spent(store), _open_shards(store)) == ({"search": expected}, 0)


def test_a_deletion_ends_in_time_and_the_next_goes_on(sqlite_store: DocumentStore) -> None:
    accounts = [f"acct_{number:032x}" for number in range(1, 11)]
    for account_id in accounts:
        _keep(sqlite_store, make_event(timestamp=NOON, account_id=account_id))
    clock = ManualClock(DAY + timedelta(days=1) + CLOSED_AFTER)
    for _ in range(2):
        run(sqlite_store, clock)
    clock.advance(SHARDS_KEPT.total_seconds())
    slow = UnreliableStore(sqlite_store, before=lambda: clock.advance(50))
    reports = [delete_old_shards(slow, clock) for _ in range(50)]

    assert reports[0].days_left == 1
    assert reports[0].days < len(accounts)
    assert sum(report.days for report in reports) == len(accounts)


def test_one_damaged_day_keeps_no_other_waiting(store: DocumentStore) -> None:
    other = f"acct_{'f' * 32}"
    _keep(store, make_event(timestamp=NOON))
    _keep(store, make_event(timestamp=NOON, account_id=other))
    store.commit([Put(day_path(ACCOUNT_ID, DAY, "main"), {"shards": [], "packed": b"?"})])

    report = run(store, ManualClock(NOON + LATER))

    assert (report.days, report.quarters, report.unreadable) == (2, 1, 1)
    assert _spent(store, other) == {"search": 10_000_000}


def test_a_run_ends_in_time_and_the_next_begins_elsewhere(sqlite_store: DocumentStore) -> None:
    accounts = [f"acct_{number:032x}" for number in range(1, 21)]
    for account_id in accounts:
        _keep(sqlite_store, make_event(timestamp=NOON, account_id=account_id))
    clock = ManualClock(NOON + LATER)
    slow = UnreliableStore(sqlite_store, before=lambda: clock.advance(50))
    done = 0

    for _ in range(100):
        report = run(slow, clock)
        done += report.quarters
        assert report.days < len(accounts)

    assert done == len(accounts)


def _once_at(call: int, action: Callable[[], None]) -> Callable[[], None]:
    calls = count(1)

    def before() -> None:
        if next(calls) == call:
            action()

    return before
