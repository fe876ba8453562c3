"""Statistics on both stores: what was recorded is what is reported, to the nanodollar."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.errors import InvalidInput
from metering.events import CostEvent
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.opening import open_store
from metering.rollups import OTHER, QUARTER, SUMS
from metering.segments import SegmentPacker
from metering.stats import Statistics, UsageQuery
from metering.stores import DocumentStore
from metering.usage_groups import GROUPS_MAX
from tests.builders import ACCOUNT_ID, AT, make_event, make_id

ZONES = ["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"]


def _keep(store: DocumentStore, events: Sequence[CostEvent]) -> None:
    packer, ledger = SegmentPacker(new_instance_name()), Ledger(store)
    for event in events:
        packer.add(event, 0.0)
    for segment in packer.drain():
        ledger.commit(segment)


def _groups(report: Any) -> dict[tuple[str, ...], int]:
    return {
        tuple(group.values.values()): group.sums["cost_nanodollars"]
        for bucket in report.buckets
        for group in bucket.groups
    }


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> DocumentStore:
    path: Path = tmp_path_factory.mktemp("stats")
    return open_store(f"sqlite:///{path}/modeltrack.db")


recorded = st.lists(
    st.builds(
        make_event,
        # around both changes of clocks in the northern and the southern autumn
        timestamp=st.sampled_from(
            [datetime(2026, 10, 30, tzinfo=UTC), datetime(2026, 4, 3, tzinfo=UTC)]
        ).flatmap(
            lambda start: st.timedeltas(timedelta(0), timedelta(days=4)).map(lambda after: start + after)
        ),
        team=st.sampled_from(["", "search", "other"]),
        cost_nanodollars=st.integers(0, 2**50),
        estimated=st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(recorded, st.sampled_from(ZONES), st.sampled_from(["1h", "1d"]))
def test_buckets_sum_to_the_events_of_their_time_in_any_zone(
    one_store: DocumentStore, events: list[CostEvent], zone: str, width: str
) -> None:
    account_id = make_id("acct")
    events = [make_event(**{**_fields(event), "account_id": account_id}) for event in events]
    _keep(one_store, events)
    start, end = datetime(2026, 10, 30, 7, 20, tzinfo=UTC), datetime(2026, 11, 2, 19, 40, tzinfo=UTC)

    report = Statistics(one_store).usage(
        account_id, UsageQuery(start=start, end=end, bucket_width=width, timezone=zone, group_by=("team",))
    )

    for bucket in report.buckets:
        inside = [event for event in events if bucket.start <= event.timestamp < bucket.end]
        assert _sum_of(bucket.groups) == sum(event.cost_nanodollars for event in inside)
        assert sum(group.sums["requests"] for group in bucket.groups) == len(inside)
    inside = [event for event in events if report.start <= event.timestamp < report.end]
    assert report.sums["cost_nanodollars"] == sum(event.cost_nanodollars for event in inside)
    assert report.sums["estimated_cost_nanodollars"] == sum(e.cost_nanodollars for e in inside if e.estimated)


def _fields(event: CostEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


def _sum_of(groups: Sequence[Any]) -> int:
    return sum(group.sums["cost_nanodollars"] for group in groups)


def test_groups_and_filters_cut_the_same_total(store: DocumentStore) -> None:
    events = [
        make_event(team=f"team {n % 2}", model=f"model {n % 3}", key_id=f"key_{n % 4}", cost_nanodollars=2**n)
        for n in range(12)
    ]
    _keep(store, events)
    statistics = Statistics(store)

    def asked(**query: Any) -> dict[tuple[str, ...], int]:
        return _groups(
            statistics.usage(ACCOUNT_ID, UsageQuery(start=AT, end=AT + timedelta(hours=1), **query))
        )

    def spent(**values: str) -> int:
        return sum(
            event.cost_nanodollars
            for event in events
            if all(getattr(event, name) == value for name, value in values.items())
        )

    assert asked() == {(): 2**12 - 1}
    assert asked(group_by=("team",)) == {(team,): spent(team=team) for team in ("team 0", "team 1")}
    assert asked(group_by=("key_id",)) == {(f"key_{n}",): spent(key_id=f"key_{n}") for n in range(4)}
    assert asked(group_by=("prompt_template_id",)) == {("",): 2**12 - 1}
    assert asked(group_by=("model",), filters={"team": ["team 1"]}) == {
        (f"model {n}",): spent(model=f"model {n}", team="team 1") for n in range(3)
    }
    assert asked(filters={"key_id": ["key_0", "key_2"], "model": ["model 1"]}) == {
        (): spent(key_id="key_0", model="model 1") + spent(key_id="key_2", model="model 1")
    }
    assert asked(filters={"team": ["nobody"]}) == {}


def test_an_answer_names_every_sum_and_every_bucket(store: DocumentStore) -> None:
    _keep(store, [make_event()])

    report = Statistics(store).usage(
        ACCOUNT_ID, UsageQuery(start=AT, end=AT + timedelta(hours=3), bucket_width="1h")
    )

    assert set(report.sums) == set(SUMS)
    assert [(bucket.start.hour, len(bucket.groups)) for bucket in report.buckets] == [
        (9, 1),
        (10, 0),
        (11, 0),
        (12, 0),
    ]
    assert set(report.buckets[0].groups[0].sums) == set(SUMS)


def test_another_accounts_usage_is_never_counted(store: DocumentStore) -> None:
    _keep(store, [make_event(), make_event(account_id=make_id("acct"))])

    report = Statistics(store).usage(ACCOUNT_ID, UsageQuery(start=AT, end=AT + timedelta(days=1)))

    assert report.sums["requests"] == 1


def test_groups_beyond_the_bound_are_other_and_nothing_is_lost(sqlite_store: DocumentStore) -> None:
    quarters = 5
    events = [
        make_event(
            timestamp=AT + timedelta(minutes=15 * (n % quarters)),
            feature=f"feature {n}",
            prompt_template_id="",
        )
        for n in range(GROUPS_MAX + 400)
    ]
    _keep(sqlite_store, events)

    query = UsageQuery(start=AT, end=AT + timedelta(days=1), group_by=("feature",))
    report = Statistics(sqlite_store).usage(ACCOUNT_ID, query)

    groups = _groups(report)
    assert len(groups) <= GROUPS_MAX + 1
    assert (OTHER,) in groups
    assert sum(groups.values()) == sum(event.cost_nanodollars for event in events)


def test_the_dearest_groups_of_the_range_are_named_in_every_bucket(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 2)
    later = AT + timedelta(hours=1)
    _keep(
        store,
        [
            *(make_event(team=team, cost_nanodollars=n) for n, team in enumerate("abcy", 1)),
            make_event(team="z", timestamp=later, cost_nanodollars=9),
            make_event(team="y", timestamp=later, cost_nanodollars=1),
            make_event(team="a", timestamp=later, cost_nanodollars=2),
        ],
    )
    query = UsageQuery(start=AT, end=later + QUARTER, bucket_width="1h", group_by=("team",))

    first, second = Statistics(store).usage(ACCOUNT_ID, query).buckets
    totals = Statistics(store).totals(ACCOUNT_ID, query)

    def told(groups: Sequence[Any]) -> dict[str, int]:
        return {group.values["team"]: group.sums["cost_nanodollars"] for group in groups}

    assert told(first.groups) == {OTHER: 6, "y": 4}
    assert told(second.groups) == {"z": 9, OTHER: 2, "y": 1}
    assert told(totals.groups) == {"z": 9, OTHER: 8, "y": 5}


def test_a_wrong_query_is_refused_with_every_complaint(sqlite_store: DocumentStore) -> None:
    query = UsageQuery(start=AT, end=AT, timezone="Mars", group_by=("prompt",))

    with pytest.raises(InvalidInput) as caught:
        Statistics(sqlite_store).usage(ACCOUNT_ID, query)

    assert [each.param for each in caught.value.details] == ["end_time", "timezone", "group_by"]


@pytest.mark.parametrize("zone", ZONES)
def test_the_overview_tells_today_the_week_and_the_month_apart(store: DocumentStore, zone: str) -> None:
    noon = datetime(2026, 11, 21, 12, 0, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    ages = {0: 1, 1: 10, 6: 100, 7: 1_000, 20: 10_000, 21: 100_000}  # days before today: nanodollars
    _keep(
        store,
        [
            make_event(timestamp=noon - timedelta(days=days), cost_nanodollars=cost)
            for days, cost in ages.items()
        ],
    )

    overview = Statistics(store).overview(ACCOUNT_ID, noon + timedelta(hours=1), zone)

    assert overview.today["cost_nanodollars"] == 1
    assert overview.seven_days["cost_nanodollars"] == 111
    assert overview.month["cost_nanodollars"] == 11_111
    assert [each.day for each in overview.days] == [date(2026, 11, day) for day in range(1, 22)]
    assert overview.days[-1].sums == overview.today


def test_the_overview_names_the_dearest_and_what_is_unallocated_among_very_many_teams(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 2)
    teams = {"a": 2, "b": 2, "": 1, "z": 9}
    _keep(store, [make_event(team=team, cost_nanodollars=cost) for team, cost in teams.items()])

    overview = Statistics(store).overview(ACCOUNT_ID, AT + timedelta(minutes=5))

    assert [group.values["team"] for group in overview.top_teams] == ["z", OTHER, ""]
    assert overview.unallocated["cost_nanodollars"] == 1


def test_early_in_a_month_the_week_reaches_into_the_last_one(store: DocumentStore) -> None:
    now = datetime(2026, 11, 2, 14, 0, tzinfo=UTC)
    _keep(
        store,
        [make_event(timestamp=now - timedelta(days=days), cost_nanodollars=10**days) for days in (0, 3, 8)],
    )

    overview = Statistics(store).overview(ACCOUNT_ID, now)

    assert overview.seven_days["cost_nanodollars"] == 1_001
    assert overview.month["cost_nanodollars"] == 1
    assert overview.days[0].day == date(2026, 10, 27)


def test_a_month_begins_where_its_zones_first_day_does(store: DocumentStore) -> None:
    first = datetime(2026, 12, 1, tzinfo=ZoneInfo("Pacific/Kiritimati")).astimezone(
        UTC
    )  # 10:00 the day before
    events = [make_event(timestamp=first, cost_nanodollars=1)]
    _keep(store, [*events, make_event(timestamp=first - timedelta(seconds=1), cost_nanodollars=10)])

    overview = Statistics(store).overview(ACCOUNT_ID, first + timedelta(days=9), "Pacific/Kiritimati")

    assert (overview.month["cost_nanodollars"], overview.days[0].day) == (1, date(2026, 12, 1))


def test_all_quarters_are_read_however_many_reads_it_takes(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.quarters.DOCUMENTS_A_READ", 2)
    _keep(store, [make_event(timestamp=AT + quarter * QUARTER, cost_nanodollars=1) for quarter in range(5)])

    report = Statistics(store).usage(ACCOUNT_ID, UsageQuery(start=AT, end=AT + 5 * QUARTER))

    assert report.sums["cost_nanodollars"] == 5


def test_the_overview_names_the_dearest_models_and_teams_and_what_else_counts(store: DocumentStore) -> None:
    events = [make_event(model=f"model {n}", team=f"team {n % 2}", cost_nanodollars=n) for n in range(7)]
    events.append(make_event(cache_hit=True, state="cache_hit", saved_nanodollars=5, cost_nanodollars=0))
    events.append(make_event(unpriced=True, cost_nanodollars=0, status_code=500, state="upstream_error"))
    events.append(make_event(estimated=True, cost_nanodollars=3))
    _keep(store, events)

    overview = Statistics(store).overview(ACCOUNT_ID, AT + timedelta(minutes=5))

    assert [group.values["model"] for group in overview.top_models] == [f"model {n}" for n in (6, 5, 4)] + [
        "claude-sonnet-4-5", "model 3",
    ]  # fmt: skip
    assert [group.values["team"] for group in overview.top_teams] == ["team 0", "team 1", "search"]
    month = overview.month
    assert (month["cache_hits"], month["saved_nanodollars"]) == (1, 5)
    assert (month["unpriced_requests"], month["errors"], month["estimated_cost_nanodollars"]) == (1, 1, 3)


def test_an_overview_of_a_zone_that_does_not_exist_is_refused(sqlite_store: DocumentStore) -> None:
    with pytest.raises(InvalidInput) as caught:
        Statistics(sqlite_store).overview(ACCOUNT_ID, AT, "Mars")

    assert caught.value.param == "timezone"


def test_latencies_are_told_by_model(store: DocumentStore) -> None:
    events = [make_event(model="fast", latency_ms=10, ttft_ms=3) for _ in range(9)]
    events += [make_event(model="slow", latency_ms=latency) for latency in (100, 100, 100, 4000)]
    _keep(store, events)

    fast, slow = Statistics(store).latency(ACCOUNT_ID, UsageQuery(start=AT, end=AT + timedelta(hours=1)))

    assert (fast.model, fast.requests, fast.latency_ms[50], fast.ttft_ms[99]) == ("fast", 9, 11, 3)
    assert (slow.model, slow.latency_ms, slow.ttft_ms) == (
        "slow",
        {50: 128, 90: 4096, 95: 4096, 99: 4096},
        {},
    )


def test_latencies_of_models_beyond_the_bound_are_told_as_other(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 1)
    _keep(sqlite_store, [make_event(model=model, latency_ms=10) for model in ("a", "b", "c")])

    query = UsageQuery(start=AT, end=AT + timedelta(hours=1))
    most, fewest = Statistics(sqlite_store).latency(ACCOUNT_ID, query)

    assert (most.provider, most.model, most.requests) == (OTHER, OTHER, 2)
    assert (fewest.model in "abc", fewest.requests) == (True, 1)
