"""Days ahead, odd hours and mixes from real rollups, on both stores: exact sums, few documents."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.compaction import run
from metering.errors import InvalidInput
from metering.events import CostEvent
from metering.forecasts import HISTORY_DAYS_MAX
from metering.ledger import Ledger
from metering.mixes import Model
from metering.outlooks import ANOMALY_DAYS_MAX, TEAMS_MAX, Outlooks
from metering.rollups import OTHER, quarter_of
from metering.segments import Segment
from metering.shards import SHARDS_MAX
from metering.stores import DocumentStore
from tests.builders import ACCOUNT_ID, make_event, make_id
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
DOLLAR = 1_000_000_000
OPEN_NOW = 1
OPEN_MAX = 3 * SHARDS_MAX  # quarter hours that are not compacted yet, in a healthy deployment

_numbers: Iterator[int] = count(1)


def keep(store: DocumentStore, events: Sequence[CostEvent]) -> None:
    """Store the events, a segment a quarter hour."""
    quarters: dict[tuple[str, datetime], list[CostEvent]] = {}
    for event in events:
        quarters.setdefault((event.account_id, quarter_of(event.timestamp)), []).append(event)
    for (account_id, quarter), found in quarters.items():
        segment = Segment(name=f"{'e' * 32}-{next(_numbers)}", account_id=account_id, events=tuple(found))
        Ledger(store, ManualClock(quarter)).commit(segment)


def at_noon(days_ago: int, cost: int = DOLLAR, zone: str = "UTC", **changes: str) -> CostEvent:
    day = NOW.astimezone(ZoneInfo(zone)).date() - days_ago * DAY
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return make_event(timestamp=min(noon, NOW), cost_nanodollars=cost, **changes)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Kiritimati"])
def test_each_complete_day_of_a_zone_is_told_to_the_nanodollar(store: DocumentStore, zone: str) -> None:
    ages = [0, 1, 2, 21, 50, HISTORY_DAYS_MAX, HISTORY_DAYS_MAX + 1]  # clocks changed three weeks before
    keep(store, [at_noon(age, 10**place, zone) for place, age in enumerate(ages)])

    spend = Outlooks(store).daily_spend(ACCOUNT_ID, NOW, zone, {})

    assert spend.today == NOW.astimezone(ZoneInfo(zone)).date()
    assert spend.today_nanodollars == 1
    told = {HISTORY_DAYS_MAX - place: cost for place, cost in enumerate(spend.days) if cost}
    assert told == {1: 10, 2: 100, 21: 1_000, 50: 10_000, HISTORY_DAYS_MAX: 100_000}


def test_the_last_and_first_moments_of_a_day_are_its_own(store: DocumentStore) -> None:
    zone = ZoneInfo("America/New_York")
    midnight = datetime(2026, 11, 20, tzinfo=zone).astimezone(UTC)
    moments = [midnight - timedelta(microseconds=1), midnight, midnight + DAY - timedelta(microseconds=1)]
    keep(store, [make_event(timestamp=each, cost_nanodollars=10**n) for n, each in enumerate(moments)])

    spend = Outlooks(store).daily_spend(ACCOUNT_ID, NOW, "America/New_York", {})

    assert spend.days[-2:] == (1, 110)


def test_filters_pass_what_they_name_and_no_other_account(store: DocumentStore) -> None:
    keep(
        store,
        [
            at_noon(1, 1, team="search"),
            at_noon(1, 10, team="ads", key_id="key_7"),
            at_noon(1, 100, team="", model="claude-haiku-4-5"),
            at_noon(1, 1_000, account_id=make_id("acct")),
        ],
    )

    def yesterday(**filters: list[str]) -> int:
        return Outlooks(store).daily_spend(ACCOUNT_ID, NOW, "UTC", filters).days[-1]

    assert yesterday() == 111
    assert yesterday(team=["search", "ads"]) == 11
    assert yesterday(team=[""]) == 100
    assert yesterday(model=["claude-haiku-4-5"]) == 100
    assert yesterday(key_id=["key_7"]) == 10
    with pytest.raises(InvalidInput):
        yesterday(key_id=["key_7"], team=["ads"])


def test_a_period_is_forecast_from_what_it_has_cost_and_the_days_it_has_left(store: DocumentStore) -> None:
    keep(store, [at_noon(age) for age in range(1, 61)] + [at_noon(0, 3 * DOLLAR)])

    found = Outlooks(store).of_period(ACCOUNT_ID, NOW, "UTC", {}, date(2026, 11, 1), date(2026, 12, 1))

    assert found is not None
    assert found.spent == 23 * DOLLAR
    assert found.by_its_end.predicted == 32 * DOLLAR  # today has cost three dollars already, not one
    assert found.by_its_end.low == 30 * DOLLAR
    assert found.by_its_end.high == 32 * DOLLAR


def test_an_odd_hour_is_told_with_its_team_calls_and_dearest_model(store: DocumentStore) -> None:
    events = [
        at_noon(age, DOLLAR, team=team) for age in range(1, 29) for team in ("search", "ads")
    ]  # fmt: skip
    odd = datetime(2026, 11, 20, 12, 40, tzinfo=UTC)
    events += [
        make_event(timestamp=odd, cost_nanodollars=30 * DOLLAR, team="search", model="claude-opus-4-5"),
        make_event(timestamp=odd, cost_nanodollars=DOLLAR, team="search"),
    ]
    keep(store, events)

    (found,) = Outlooks(store).anomalies(ACCOUNT_ID, NOW - DAY, NOW)

    assert (found.team, found.anomaly.level) == ("search", "critical")
    assert found.anomaly.starts_at == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert (found.anomaly.spent, found.anomaly.expected) == (32 * DOLLAR, DOLLAR)
    assert (found.requests, found.top_model) == (3, Model("anthropic", "claude-opus-4-5"))
    assert found.top_model_nanodollars == 30 * DOLLAR


def test_an_odd_hour_is_the_same_one_on_every_zones_clock(store: DocumentStore) -> None:
    keep(store, [at_noon(age) for age in range(1, 29)] + [at_noon(1, 50 * DOLLAR)])
    outlooks = Outlooks(store)

    here, there = (
        outlooks.anomalies(ACCOUNT_ID, NOW - DAY, NOW, zone) for zone in ("UTC", "America/New_York")
    )

    assert [each.anomaly_id for each in here] == [each.anomaly_id for each in there]
    half_hours = outlooks.anomalies(ACCOUNT_ID, NOW - DAY, NOW, "Asia/Kolkata")
    assert [each.anomaly.starts_at.minute for each in half_hours] == [30]


def test_a_range_too_short_to_hold_an_hour_has_no_odd_ones(sqlite_store: DocumentStore) -> None:
    outlooks, minute = Outlooks(sqlite_store), timedelta(minutes=1)

    for past in range(15):
        for length in (1, 7, 8, 16):
            end = NOW + past * minute
            assert outlooks.anomalies(ACCOUNT_ID, end - length * minute, end) == []


def test_another_accounts_odd_hours_are_not_told(store: DocumentStore) -> None:
    theirs = make_id("acct")
    keep(store, [at_noon(age, account_id=theirs) for age in range(1, 29)])
    keep(store, [at_noon(1, 50 * DOLLAR, account_id=theirs)])

    assert Outlooks(store).anomalies(ACCOUNT_ID, NOW - DAY, NOW) == []
    assert len(Outlooks(store).anomalies(theirs, NOW - DAY, NOW)) == 1


def test_ranges_of_odd_hours_have_a_bound_and_an_order(sqlite_store: DocumentStore) -> None:
    outlooks = Outlooks(sqlite_store)

    assert outlooks.anomalies(ACCOUNT_ID, NOW - ANOMALY_DAYS_MAX * DAY, NOW) == []
    for start, end in ((NOW - ANOMALY_DAYS_MAX * DAY - timedelta(seconds=1), NOW), (NOW, NOW)):
        with pytest.raises(InvalidInput):
            outlooks.anomalies(ACCOUNT_ID, start, end)


def steady(team: str, cost: int = DOLLAR, days: int = 28) -> list[CostEvent]:
    """A team that spends as much each day at noon."""
    return [at_noon(age, cost, team=team) for age in range(1, days + 1)]


def test_teams_beyond_the_bound_are_judged_together(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.outlooks.TEAMS_MAX", 2)
    dear = steady("dear", 9 * DOLLAR) + steady("dearer", 10 * DOLLAR)
    cheap = [at_noon(age, team=f"team {age}") for age in range(1, 29)]
    keep(
        store,
        [*cheap, *dear, at_noon(1, 30 * DOLLAR, team="cheap 1"), at_noon(1, 20 * DOLLAR, team="cheap 2")],
    )

    (found,) = Outlooks(store).anomalies(ACCOUNT_ID, NOW - DAY, NOW)

    assert (found.team, found.anomaly.spent, found.requests) == (OTHER, 51 * DOLLAR, 3)
    assert found.top_model_nanodollars == 51 * DOLLAR


def test_a_dear_team_is_judged_by_name_however_late_it_is_met(sqlite_store: DocumentStore) -> None:
    quarter, first = timedelta(minutes=15), NOW - 30 * DAY
    early = [make_event(timestamp=first + n * quarter, team=f"team {n}") for n in range(TEAMS_MAX + 50)]
    keep(sqlite_store, [*early, *steady("research", days=15), at_noon(1, 50 * DOLLAR, team="research")])

    (found,) = Outlooks(sqlite_store).anomalies(ACCOUNT_ID, NOW - 3 * DAY, NOW)

    assert (found.team, found.anomaly.spent) == ("research", 51 * DOLLAR)


@pytest.mark.parametrize("bound", ["TEAMS_HELD_MAX", "TEAM_HOURS_HELD_MAX"])
def test_teams_that_were_dear_keep_their_names_where_no_more_can_be_held(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr("metering.outlooks.TEAMS_MAX", 1)
    monkeypatch.setattr(f"metering.outlooks.{bound}", 3)
    early = [at_noon(29, cost, team=f"team {cost}") for cost in (2, 3, 1)]
    late = [*steady("late"), at_noon(1, 50 * DOLLAR, team="late")]
    keep(sqlite_store, [*early, *late, *steady("team 3"), at_noon(1, 70 * DOLLAR, team="team 3")])

    found = Outlooks(sqlite_store).anomalies(ACCOUNT_ID, NOW - 3 * DAY, NOW)

    assert {(each.team, each.anomaly.spent) for each in found} == {
        (OTHER, 51 * DOLLAR),
        ("team 3", 71 * DOLLAR),
    }


def test_calls_of_no_team_are_judged_by_that_however_little_they_cost(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.outlooks.TEAMS_MAX", 2)
    dear = [each for team in ("a", "b") for each in steady(team, 100 * DOLLAR)]
    keep(sqlite_store, [*dear, *steady(""), at_noon(1, 50 * DOLLAR, team="")])

    (found,) = Outlooks(sqlite_store).anomalies(ACCOUNT_ID, NOW - DAY, NOW)

    assert (found.team, found.anomaly.spent) == ("", 51 * DOLLAR)


mixed = st.tuples(
    st.integers(0, 29),
    st.integers(0, 9),
    st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-5"]),
    st.sampled_from(["", *"abcde"]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(mixed, max_size=12), named_max=st.integers(1, 4), held_max=st.sampled_from([5, 1_000]))
def test_the_dearest_mixes_are_named_and_all_add_up_by_model(
    sqlite_store: DocumentStore, calls: list[tuple[int, int, str, str]], named_max: int, held_max: int
) -> None:
    account_id, costs = make_id("acct"), dict[tuple[str, str], int]()
    for _, cost, model, feature in calls:
        costs[model, feature] = costs.get((model, feature), 0) + cost
    keep(
        sqlite_store,
        [at_noon(age, cost, account_id=account_id, model=m, feature=f) for age, cost, m, f in calls],
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metering.outlooks.MIXES_MAX", named_max)
        patch.setattr("metering.outlooks.MIXES_HELD_MAX", held_max)
        found = Outlooks(sqlite_store).mixes(account_id, NOW)

    of_models = dict[str, tuple[int, int]]()
    for each in found:
        cost, requests = of_models.get(each.model.model, (0, 0))
        of_models[each.model.model] = (cost + each.cost_nanodollars, requests + each.requests)
    told = {model: [cost for _, cost, other, _ in calls if other == model] for _, _, model, _ in calls}
    assert of_models == {model: (sum(each), len(each)) for model, each in told.items()}
    named = {
        (each.model.model, each.feature): each.cost_nanodollars for each in found if each.feature != OTHER
    }
    assert len(named) <= named_max
    if len(costs) < held_max:
        ranked = sorted(costs, key=lambda mix: (mix[1] != "", -costs[mix], mix))
        assert named == {mix: costs[mix] for mix in ranked[:named_max]}


def test_a_mix_is_what_thirty_days_used(store: DocumentStore) -> None:
    keep(store, [at_noon(age, feature="chat") for age in (0, 1, 29)] + [at_noon(31, feature="chat")])

    (found,) = Outlooks(store).mixes(ACCOUNT_ID, NOW)

    assert (found.model, found.feature) == (Model("anthropic", "claude-sonnet-4-5"), "chat")
    assert (found.requests, found.cost_nanodollars) == (3, 3 * DOLLAR)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (3_000, 600)


def test_each_question_reads_a_document_a_day_beside_the_open_shards(sqlite_store: DocumentStore) -> None:
    keep(sqlite_store, [at_noon(age) for age in range(1, 90)] + [make_event(timestamp=NOW)])
    run(sqlite_store, ManualClock(NOW))
    asked = Outlooks(counting := CountingStore(sqlite_store))
    reads: dict[str, int] = {}
    questions: dict[str, Callable[[], object]] = {
        "forecast": lambda: asked.daily_spend(ACCOUNT_ID, NOW, "Asia/Kolkata", {}),
        "anomalies of a day": lambda: asked.anomalies(ACCOUNT_ID, NOW - DAY, NOW),
        "anomalies of a week": lambda: asked.anomalies(ACCOUNT_ID, NOW - 7 * DAY, NOW),
        "mixes": lambda: asked.mixes(ACCOUNT_ID, NOW),
    }

    for name, ask in questions.items():
        before = counting.documents_read
        ask()
        reads[name] = counting.documents_read - before
    print(f"documents read, one shard open: {reads}")  # noqa: T201 - for whoever runs the test

    assert reads.pop("forecast") <= HISTORY_DAYS_MAX + 2 + OPEN_NOW
    assert max(reads.values()) - OPEN_NOW + OPEN_MAX <= 100


def test_an_account_without_events_has_neither_days_nor_odd_hours_nor_mixes(store: DocumentStore) -> None:
    outlooks = Outlooks(store)

    assert not any(outlooks.daily_spend(ACCOUNT_ID, NOW, "UTC", {}).days)
    assert outlooks.anomalies(ACCOUNT_ID, NOW - DAY, NOW) == []
    assert outlooks.mixes(ACCOUNT_ID, NOW) == []
    assert outlooks.of_period(ACCOUNT_ID, NOW, "UTC", {}, date(2026, 11, 1), date(2026, 12, 1)) is None


@pytest.mark.parametrize("zone", ["Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"])
def test_zones_of_odd_clocks_are_judged_too(sqlite_store: DocumentStore, zone: str) -> None:
    keep(sqlite_store, [at_noon(age) for age in range(1, 29)] + [at_noon(1, 50 * DOLLAR)])

    assert len(Outlooks(sqlite_store).anomalies(ACCOUNT_ID, NOW - 2 * DAY, NOW, zone)) == 1
    with pytest.raises(InvalidInput):
        Outlooks(sqlite_store).anomalies(ACCOUNT_ID, NOW - DAY, NOW, "Mars/Olympus")
