"""Breakdowns, comparisons, latencies and savings on both stores, and how many documents each reads."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.buckets import BUCKET_WIDTHS, BucketWidth, Earlier
from metering.compaction import run
from metering.day_memory import DayMemory
from metering.errors import InvalidInput
from metering.events import CostEvent
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.opening import open_store
from metering.rollups import CELLS, OTHER, QUARTER, VALUES
from metering.segments import SegmentPacker
from metering.shards import SHARDS_MAX, ShardKey
from metering.stats import TOP_MAX, Statistics, UsageQuery
from metering.stores import DocumentStore, Put
from tests.builders import ACCOUNT_ID, AT, make_event, make_id
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = UsageQuery(start=AT, end=AT + timedelta(hours=1))
CLOCK_CHANGES = {"spring": datetime(2026, 3, 8, tzinfo=UTC), "autumn": datetime(2026, 11, 1, tzinfo=UTC)}


def _keep(store: DocumentStore, events: Sequence[CostEvent]) -> None:
    packer, ledger = SegmentPacker(new_instance_name()), Ledger(store)
    for event in events:
        packer.add(event, 0.0)
    for segment in packer.drain():
        ledger.commit(segment)


def _asked(**changes: Any) -> UsageQuery:
    return UsageQuery(start=AT, end=AT + timedelta(hours=1), **changes)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> DocumentStore:
    return open_store(f"sqlite:///{tmp_path_factory.mktemp('statistics')}/modeltrack.db")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"]),
    st.sampled_from(sorted(CLOCK_CHANGES)),
    st.lists(
        st.tuples(st.timedeltas(timedelta(days=-4), timedelta(days=4)), st.integers(0, 2**50)), max_size=12
    ),
    st.sampled_from(BUCKET_WIDTHS),
    st.booleans(),
)
def test_buckets_of_every_width_sum_to_the_range_over_both_changes_of_clocks(
    one_store: DocumentStore,
    zone: str,
    season: str,
    calls: list[tuple[timedelta, int]],
    width: BucketWidth,
    is_compacted: bool,
) -> None:
    change, account_id = CLOCK_CHANGES[season], make_id("acct")
    events = [
        make_event(account_id=account_id, timestamp=change + after, cost_nanodollars=cost)
        for after, cost in calls
    ]
    _keep(one_store, events)
    if is_compacted:
        run(one_store, ManualClock(change + timedelta(days=9)))
    first = (change - timedelta(days=3)).date()
    start = datetime(first.year, first.month, first.day, tzinfo=ZoneInfo(zone))
    query = UsageQuery(start=start, end=start + timedelta(days=7), bucket_width=width, timezone=zone)
    statistics = Statistics(one_store)

    report = statistics.usage(account_id, query)
    days = statistics.usage(
        account_id,
        UsageQuery(start=report.start, end=report.end, bucket_width="1d", timezone=zone),
    )

    inside = sum(e.cost_nanodollars for e in events if report.start <= e.timestamp < report.end)
    assert report.sums["cost_nanodollars"] == inside == days.sums["cost_nanodollars"]
    for bucket in report.buckets:
        own = [e.cost_nanodollars for e in events if bucket.start <= e.timestamp < bucket.end]
        assert sum(group.sums["cost_nanodollars"] for group in bucket.groups) == sum(own)
    whole = UsageQuery(start=report.start, end=report.end, timezone=zone)
    assert statistics.totals(account_id, whole).sums == report.sums


def test_totals_count_whole_quarter_hours_and_no_more(store: DocumentStore) -> None:
    quarter = AT.replace(minute=30, second=0, microsecond=0)
    edges = [
        quarter - timedelta(seconds=1),
        quarter,
        quarter + QUARTER - timedelta(seconds=1),
        quarter + QUARTER,
    ]
    _keep(store, [make_event(timestamp=at, cost_nanodollars=10**n) for n, at in enumerate(edges)])

    totals = Statistics(store).totals(ACCOUNT_ID, UsageQuery(start=AT, end=AT + timedelta(seconds=1)))

    assert (totals.range.start, totals.range.end) == (quarter, quarter + QUARTER)
    assert totals.sums["cost_nanodollars"] == 110


def test_a_breakdown_adds_up_and_tells_what_each_row_is_made_of(store: DocumentStore) -> None:
    events = [
        make_event(team=team, model=model, app=app, cost_nanodollars=2**n)
        for n, (team, model, app) in enumerate(
            [("a", "x", "p"), ("a", "y", "p"), ("b", "x", "q"), ("", "x", ""), ("a", "x", "q")]
        )
    ]
    _keep(store, events)

    found = Statistics(store).breakdown(ACCOUNT_ID, _asked(group_by=("team",)), ("model", "app"))

    rows = {row.values["team"]: row for row in found.rows}
    assert {team: row.sums["cost_nanodollars"] for team, row in rows.items()} == {"a": 19, "": 8, "b": 4}
    assert [row.values["team"] for row in found.rows] == ["a", "", "b"]
    assert found.sums["cost_nanodollars"] == 31
    assert [(part.value, part.requests, part.cost_nanodollars) for part in rows["a"].parts["model"]] == [
        ("x", 2, 17),
        ("y", 1, 2),
    ]
    assert [(part.value, part.cost_nanodollars) for part in rows["a"].parts["app"]] == [("q", 16), ("p", 3)]
    assert rows["a"].latency is None


def test_a_breakdown_by_model_tells_latencies_unless_calls_are_left_out(store: DocumentStore) -> None:
    _keep(store, [make_event(model="x", latency_ms=100, ttft_ms=10), make_event(model="y", status_code=500)])
    statistics = Statistics(store)
    by_model = _asked(group_by=("provider", "model"))

    x, y = statistics.breakdown(ACCOUNT_ID, by_model).rows
    (of_team, _) = statistics.breakdown(
        ACCOUNT_ID, _asked(group_by=("provider", "model"), filters={"team": ["search"]})
    ).rows

    assert x.latency is not None
    assert y.latency is not None
    assert (x.latency.measured, x.latency.latency_ms[50], x.latency.ttft_ms[99]) == (1, 128, 11)
    assert (y.latency.requests, y.latency.errors, y.latency.measured) == (1, 1, 0)
    assert of_team.latency is None


def test_a_breakdown_by_key_or_template_knows_models_only(store: DocumentStore) -> None:
    _keep(store, [make_event(key_id="key_1", prompt_template_id="t", model="x")])
    statistics = Statistics(store)

    for dimension, value in (("key_id", "key_1"), ("prompt_template_id", "t")):
        (row,) = statistics.breakdown(ACCOUNT_ID, _asked(group_by=(dimension,)), ("model", "team")).rows
        assert (row.values, [*row.parts]) == ({dimension: value}, ["model"])
        assert [part.value for part in row.parts["model"]] == ["x"]


def test_parts_are_the_dearest_and_those_beyond_the_bound_are_other(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _keep(sqlite_store, [make_event(feature=f"f{n}", cost_nanodollars=n) for n in range(TOP_MAX + 3)])
    statistics = Statistics(sqlite_store)

    (row,) = statistics.breakdown(ACCOUNT_ID, _asked(group_by=("team",)), ("feature",)).rows
    monkeypatch.setattr("metering.stats.PARTS_MAX", 2)
    (bounded,) = statistics.breakdown(ACCOUNT_ID, _asked(group_by=("team",)), ("feature",)).rows

    assert [part.value for part in row.parts["feature"]] == [f"f{n}" for n in range(TOP_MAX + 2, 2, -1)]
    assert {part.value for part in bounded.parts["feature"]} - {f"f{n}" for n in range(TOP_MAX + 3)} == {
        OTHER
    }
    assert sum(part.cost_nanodollars for part in bounded.parts["feature"]) == row.sums["cost_nanodollars"]


def test_the_dearest_rows_are_named_with_all_they_are_made_of(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 1)
    costs = {("a", "x"): 1, ("b", "x"): 2, ("b", "y"): 1, ("z", "x"): 8, ("z", "y"): 4}
    _keep(
        store, [make_event(team=team, app=app, cost_nanodollars=cost) for (team, app), cost in costs.items()]
    )

    found = Statistics(store).breakdown(ACCOUNT_ID, _asked(group_by=("team",)), ("app",))

    assert [
        (
            row.values["team"],
            [(part.value, part.requests, part.cost_nanodollars) for part in row.parts["app"]],
        )
        for row in found.rows
    ] == [("z", [("x", 1, 8), ("y", 1, 4)]), (OTHER, [("x", 2, 3), ("y", 1, 1)])]
    assert found.sums["cost_nanodollars"] == 16


def test_room_for_parts_is_made_by_the_rows_that_are_not_named(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 1)
    monkeypatch.setattr("metering.stats.PARTS_MAX", 4)
    events = [make_event(team=f"t{n}", app="x", cost_nanodollars=9 - n) for n in range(5)]
    later = AT + QUARTER
    events += [make_event(team="t0", app=app, timestamp=later, cost_nanodollars=1) for app in ("x", "y", "z")]
    _keep(sqlite_store, events)

    dearest, rest = (
        Statistics(sqlite_store).breakdown(ACCOUNT_ID, _asked(group_by=("team",)), ("app",)).rows[::-1]
    )

    assert (dearest.values["team"], rest.values["team"]) == ("t0", OTHER)
    assert [(part.value, part.cost_nanodollars) for part in dearest.parts["app"]] == [
        ("x", 10),
        ("y", 1),
        ("z", 1),
    ]
    assert [(part.value, part.cost_nanodollars) for part in rest.parts["app"]] == [("x", 26)]


def test_the_other_models_of_a_breakdown_have_their_latency_together(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 1)
    calls = [("a", 100, 1), ("a", 100, 1), ("b", 1000, 2), ("z", 10, 9)]
    _keep(store, [make_event(model=m, latency_ms=ms, cost_nanodollars=cost) for m, ms, cost in calls])

    dearest, others = Statistics(store).breakdown(ACCOUNT_ID, _asked(group_by=("provider", "model"))).rows

    assert dearest.latency is not None
    assert others.latency is not None
    assert (dearest.values["model"], dearest.latency.requests, dearest.latency.latency_ms[99]) == ("z", 1, 11)
    assert (others.values["model"], others.latency.requests) == (OTHER, 3)
    assert (others.latency.latency_ms[50], others.latency.latency_ms[99]) == (128, 1024)


def test_both_sides_of_a_comparison_name_the_groups_that_are_dearest_together(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 2)
    before = AT - timedelta(hours=1)
    then, now = {"a": 3, "b": 1, "z": 9}, {"a": 1, "b": 2, "y": 6}
    _keep(store, [make_event(team=team, timestamp=before, cost_nanodollars=n) for team, n in then.items()])
    _keep(store, [make_event(team=team, cost_nanodollars=cost) for team, cost in now.items()])

    found = Statistics(store).comparison(ACCOUNT_ID, _asked(group_by=("team",)))

    assert [
        (each.values["team"], each.sums["cost_nanodollars"], each.sums_before["cost_nanodollars"])
        for each in found.groups
    ] == [("y", 6, 0), (OTHER, 3, 4), ("z", 0, 9)]
    assert (found.sums["cost_nanodollars"], found.sums_before["cost_nanodollars"]) == (9, 13)


@pytest.mark.parametrize(
    ("earlier", "expected"), [("period", (2, 1)), ("week", (2, 8)), ("month", (2, 16)), ("year", (2, 0))]
)
def test_a_comparison_holds_a_range_against_the_one_before(
    store: DocumentStore, earlier: Earlier, expected: tuple[int, int]
) -> None:
    zone = ZoneInfo("America/New_York")
    day = datetime(2026, 11, 2, tzinfo=zone)  # the day before had 25 hours
    at = {
        1: datetime(2026, 11, 1, 0, 30, tzinfo=zone),  # 24.5 hours before
        2: day + timedelta(hours=5),
        4: datetime(2026, 10, 31, 23, 59, tzinfo=zone),
        8: datetime(2026, 10, 26, 9, tzinfo=zone),
        16: datetime(2026, 10, 2, 9, tzinfo=zone),
    }
    _keep(
        store,
        [make_event(timestamp=when.astimezone(UTC), cost_nanodollars=cost) for cost, when in at.items()],
    )
    query = UsageQuery(
        start=day, end=datetime(2026, 11, 3, tzinfo=zone), timezone="America/New_York", group_by=("team",)
    )

    found = Statistics(store).comparison(ACCOUNT_ID, query, earlier)

    assert (found.sums["cost_nanodollars"], found.sums_before["cost_nanodollars"]) == expected
    (group,) = found.groups
    assert (group.sums, group.sums_before) == (found.sums, found.sums_before)


def test_what_was_only_before_and_what_is_new_are_both_compared(store: DocumentStore) -> None:
    _keep(
        store,
        [
            make_event(team="gone", timestamp=AT - timedelta(hours=1), cost_nanodollars=7),
            make_event(team="new", cost_nanodollars=5),
        ],
    )

    found = Statistics(store).comparison(ACCOUNT_ID, _asked(group_by=("team",)))

    assert [
        (each.values["team"], each.sums["cost_nanodollars"], each.sums_before["cost_nanodollars"])
        for each in found.groups
    ] == [("new", 5, 0), ("gone", 0, 7)]


@pytest.mark.parametrize(("earlier", "days"), [("week", 7), ("month", 28), ("year", 92)])
def test_a_range_is_never_compared_with_a_part_of_itself(
    sqlite_store: DocumentStore, earlier: Earlier, days: int
) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    statistics = Statistics(sqlite_store)

    statistics.comparison(ACCOUNT_ID, UsageQuery(start=start, end=start + timedelta(days=days)), earlier)
    if earlier == "year":
        return  # a range is a quarter at most
    with pytest.raises(InvalidInput) as caught:
        statistics.comparison(
            ACCOUNT_ID, UsageQuery(start=start, end=start + timedelta(days=days + 4)), earlier
        )
    assert caught.value.param == "start_time"


def test_latencies_come_by_bucket_too_and_errors_are_counted(store: DocumentStore) -> None:
    later = AT + timedelta(hours=2)
    _keep(store, [make_event(latency_ms=10), make_event(status_code=502, state="upstream_error")])
    _keep(store, [make_event(latency_ms=1000, timestamp=later)])
    query = UsageQuery(start=AT, end=later + QUARTER, bucket_width="1h")

    (whole,) = Statistics(store).latency(ACCOUNT_ID, query)
    (cut,) = Statistics(store).latency(ACCOUNT_ID, query, in_buckets=True)

    assert (whole.requests, whole.errors, whole.measured, whole.buckets) == (3, 1, 2, ())
    assert (
        (cut.latency_ms, cut.requests)
        == (whole.latency_ms, whole.requests)
        == ({50: 11, 90: 1024, 95: 1024, 99: 1024}, 3)
    )
    first, last = cut.buckets
    assert (first.latency.requests, first.latency.errors, first.latency.latency_ms[99]) == (2, 1, 11)
    assert (last.range.start.hour, last.latency.latency_ms[50]) == (11, 1024)


def test_latencies_are_filtered_by_model_and_by_nothing_else(store: DocumentStore) -> None:
    _keep(store, [make_event(model="x"), make_event(model="y")])
    statistics = Statistics(store)

    (only,) = statistics.latency(ACCOUNT_ID, _asked(filters={"model": ["y"]}))
    with pytest.raises(InvalidInput):
        statistics.latency(ACCOUNT_ID, _asked(filters={"team": ["search"]}))

    assert (only.model, only.requests, only.measured) == ("y", 1, 1)


def test_what_the_cache_and_routing_saved_is_told_apart(store: DocumentStore) -> None:
    _keep(
        store,
        [
            make_event(cache_hit=True, state="cache_hit", saved_nanodollars=100, cost_nanodollars=0),
            make_event(routed=True, saved_nanodollars=30),
            make_event(routed=True, saved_nanodollars=-5),
            make_event(routed=True, cache_hit=True, state="cache_hit", saved_nanodollars=7),
        ],
    )

    sums = Statistics(store).totals(ACCOUNT_ID, HOUR).sums

    assert (sums["cache_saved_nanodollars"], sums["saved_nanodollars"]) == (107, 132)
    assert (sums["cache_hits"], sums["routed"]) == (2, 3)


def test_the_overview_tells_what_names_no_team(store: DocumentStore) -> None:
    _keep(store, [make_event(team="", cost_nanodollars=3), make_event(cost_nanodollars=5)])

    overview = Statistics(store).overview(ACCOUNT_ID, AT)

    assert (overview.unallocated["cost_nanodollars"], overview.month["cost_nanodollars"]) == (3, 8)


@pytest.fixture(scope="module")
def busy_store(tmp_path_factory: pytest.TempPathFactory) -> DocumentStore:
    """The busiest account: 61 days, and three quarter hours that are still in sixteen shards each."""
    path: Path = tmp_path_factory.mktemp("busy")
    store = open_store(f"sqlite:///{path}/modeltrack.db")
    for day in range(61):
        _keep(store, [make_event(timestamp=NOON - timedelta(days=day, hours=1))])
    run(store, ManualClock(NOON))
    cells = {"c": {VALUES: ["main", "openai", "gpt-4o", "", "", "", "", "default"], "requests": 1}}
    for quarter in (NOON + number * QUARTER for number in range(3)):
        for shard in range(SHARDS_MAX):
            fields = {"starts_at": quarter, "shard": shard, CELLS: cells}
            store.commit([Put(ShardKey(ACCOUNT_ID, quarter, shard).path, fields)])
    return store


QUESTIONS: dict[str, Callable[[Statistics, UsageQuery], object]] = {
    "usage": lambda statistics, query: statistics.usage(ACCOUNT_ID, query),
    "totals": lambda statistics, query: statistics.totals(ACCOUNT_ID, query),
    "latency": lambda statistics, query: statistics.latency(ACCOUNT_ID, query, in_buckets=True),
    "overview": lambda statistics, query: statistics.overview(ACCOUNT_ID, query.end, query.timezone),
    "models": lambda statistics, query: statistics.breakdown(
        ACCOUNT_ID, UsageQuery(start=query.start, end=query.end, group_by=("provider", "model")), ("team",)
    ),
    "prompts": lambda statistics, query: statistics.breakdown(
        ACCOUNT_ID, UsageQuery(start=query.start, end=query.end, group_by=("prompt_template_id",)), ("model",)
    ),
}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_thirty_days_are_at_most_a_hundred_documents(
    busy_store: DocumentStore, question: str, zone: str
) -> None:
    now = NOON + 3 * QUARTER - timedelta(seconds=1)
    counting = CountingStore(busy_store)
    query = UsageQuery(start=now - timedelta(days=30), end=now, timezone=zone)

    QUESTIONS[question](Statistics(counting), query)

    assert 3 * SHARDS_MAX < counting.documents_read <= 100


def test_a_comparison_of_thirty_days_reads_sixty(busy_store: DocumentStore) -> None:
    now = NOON + 3 * QUARTER - timedelta(seconds=1)
    counting = CountingStore(busy_store)

    Statistics(counting).comparison(ACCOUNT_ID, UsageQuery(start=now - timedelta(days=30), end=now))

    assert counting.documents_read <= 2 * 32 + 3 * SHARDS_MAX + 2


def test_a_memory_of_days_is_never_behind_the_store(store: DocumentStore) -> None:
    remembering, query = Statistics(store, DayMemory()), _asked(group_by=("team",))
    late = [AT + timedelta(minutes=5), AT + timedelta(minutes=20), AT + timedelta(minutes=5)]

    for number, moment in enumerate(late, 1):
        _keep(store, [make_event(timestamp=moment, cost_nanodollars=10**number)])
        for _ in range(2):
            for found in (remembering.usage(ACCOUNT_ID, query), remembering.totals(ACCOUNT_ID, query)):
                assert found.sums["cost_nanodollars"] == sum(10**each for each in range(1, number + 1))
                assert found.sums["requests"] == number
            run(store, ManualClock(NOON))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.timedeltas(timedelta(days=-3), timedelta(days=3)), st.sampled_from(["", "search"])),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"]),
    st.sampled_from(["1h", "1d"]),
)
def test_with_a_memory_every_question_is_answered_as_without(
    one_store: DocumentStore, calls: list[tuple[timedelta, str]], zone: str, width: str
) -> None:
    account_id, middle = make_id("acct"), CLOCK_CHANGES["autumn"]
    _keep(one_store, [make_event(account_id=account_id, timestamp=middle + at, team=t) for at, t in calls])
    run(one_store, ManualClock(NOON))
    plain, remembering = Statistics(one_store), Statistics(one_store, DayMemory())

    for group_by in (("team",), (), ("provider", "model"), ("key_id",), ("prompt_template_id",)):
        query = UsageQuery(
            start=middle - timedelta(days=2, hours=5), end=middle + timedelta(days=2), bucket_width=width,
            timezone=zone, group_by=group_by,
        )  # fmt: skip
        for _ in range(2):
            assert remembering.usage(account_id, query) == plain.usage(account_id, query)
            assert remembering.comparison(account_id, query) == plain.comparison(account_id, query)
            assert remembering.breakdown(account_id, query, ("team",)) == plain.breakdown(
                account_id, query, ("team",)
            )
