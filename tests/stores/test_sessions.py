"""Sessions on both stores: packs say what the segments say, and stay within their bounds."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from metering.collections import session_hours_collection
from metering.compaction import compact_day, run
from metering.day_documents import PART_BYTES_MAX, Sheet
from metering.errors import InvalidInput
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.quarters import open_quarters
from metering.rollups import QUARTER, quarter_of
from metering.segments import Segment
from metering.session_packs import (
    HOURS_A_DAY,
    PackUnreadable,
    day_pack_path,
    holds_its_hours,
    pack_day,
    pack_path,
    stored_sheet,
)
from metering.sessions import (
    RANGE_MAX,
    READS_MAX,
    SESSIONS_MAX,
    SessionSums,
    session_of,
    sessions_between,
)
from metering.shards import SHARDS_MAX, ShardKey
from metering.stores import Document, DocumentStore, Put
from tests.builders import ACCOUNT_ID, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.unreliable_store import UnreliableStore
from tests.stores.accounting import all_documents

DAY = datetime(2026, 11, 20, tzinfo=UTC)
NOON = DAY + timedelta(hours=12)
LATER = NOON + timedelta(hours=6)

_numbers: Iterator[int] = count(1)


def _keep(store: DocumentStore, *events: CostEvent) -> None:
    segment = Segment(name=f"{'c' * 32}-{next(_numbers)}", account_id=ACCOUNT_ID, events=events)
    Ledger(store, ManualClock(events[0].timestamp)).commit(segment)


def _packs(store: DocumentStore) -> int:
    return len(all_documents(store, session_hours_collection(ACCOUNT_ID)))


def _costs(store: DocumentStore) -> dict[str, int]:
    report = sessions_between(store, ACCOUNT_ID, DAY, DAY + timedelta(days=1), limit=1_000)
    return {session.session_id: session.sums["cost_nanodollars"] for session in report.sessions}


def _two_sessions(store: DocumentStore) -> None:
    for number in range(6):
        _keep(
            store,
            make_event(
                timestamp=NOON + number * QUARTER,
                session_id=f"session {number % 2}",
                team=f"team {number % 2}",
                app=f"app {number}",
                model=f"model {number % 3}",
                status_code=500 if number == 5 else 200,
                cost_nanodollars=10**number,
            ),
        )


def test_packs_say_what_the_segments_said(store: DocumentStore) -> None:
    _two_sessions(store)
    before = sessions_between(store, ACCOUNT_ID, DAY, DAY + timedelta(days=1))

    run(store, ManualClock(LATER))

    after = sessions_between(store, ACCOUNT_ID, DAY, DAY + timedelta(days=1))
    assert after == before
    assert _packs(store) == 3  # two hours, and what counts their changes
    latest, earlier = after.sessions
    assert (latest.session_id, latest.sums["requests"], latest.sums["errors"]) == ("session 1", 3, 1)
    assert latest.sums["cost_nanodollars"] == 101_010
    assert (latest.first_at, latest.last_at) == (NOON + QUARTER, NOON + 5 * QUARTER)
    assert (earlier.teams, earlier.apps) == (("team 0",), ("app 0", "app 2", "app 4"))
    assert earlier.models == ("model 0", "model 1", "model 2")
    assert (after.complete_to, after.nameless["requests"]) == (after.end, 0)


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_range_counts_the_calls_that_lie_in_its_quarter_hours(
    store: DocumentStore, is_compacted: bool
) -> None:
    _two_sessions(store)
    if is_compacted:
        run(store, ManualClock(LATER))

    report = sessions_between(store, ACCOUNT_ID, NOON + QUARTER, NOON + 2 * QUARTER + timedelta(seconds=1))

    assert (report.start, report.end) == (NOON + QUARTER, NOON + 3 * QUARTER)
    assert [each.sums["cost_nanodollars"] for each in report.sessions] == [100, 10]


@pytest.mark.parametrize("is_compacted", [False, True])
def test_sessions_are_found_by_team_and_app(store: DocumentStore, is_compacted: bool) -> None:
    _two_sessions(store)
    if is_compacted:
        run(store, ManualClock(LATER))
    day = (DAY, DAY + timedelta(days=1))

    of_team = sessions_between(store, ACCOUNT_ID, *day, teams=["team 1"])
    of_app = sessions_between(store, ACCOUNT_ID, *day, apps=["app 0", "app 3"])

    assert [each.session_id for each in of_team.sessions] == ["session 1"]
    assert [each.sums["cost_nanodollars"] for each in of_app.sessions] == [1_000, 1]
    assert len(sessions_between(store, ACCOUNT_ID, *day, limit=1).sessions) == 1


def test_a_late_call_counts_at_once_and_is_packed_next_time(store: DocumentStore) -> None:
    _two_sessions(store)
    run(store, ManualClock(LATER))

    _keep(store, make_event(timestamp=NOON, session_id="session 0", cost_nanodollars=5 * 10**9))
    before = _costs(store)
    run(store, ManualClock(LATER))

    assert before == _costs(store) == {"session 0": 5_000_010_101, "session 1": 101_010}


def test_a_pack_that_was_overtaken_does_not_replace_a_later_one(store: DocumentStore) -> None:
    _two_sessions(store)
    calls = count(1)

    def before() -> None:
        if next(calls) == 8:  # what is packed has been read
            _keep(store, make_event(timestamp=NOON, session_id="session 0", cost_nanodollars=5 * 10**9))
            compact_day(store, ACCOUNT_ID, DAY, LATER)

    slow = UnreliableStore(store, before=before)
    compact_day(slow, ACCOUNT_ID, DAY, LATER)

    assert next(calls) > 8
    assert _costs(store) == {"session 0": 5_000_010_101, "session 1": 101_010}


def test_hours_without_sessions_have_no_pack_and_their_segments_are_not_read(store: DocumentStore) -> None:
    _keep(store, make_event(timestamp=NOON))
    counting = CountingStore(store)

    run(counting, ManualClock(LATER))

    assert _packs(store) == 0
    assert counting.documents_read == 7  # active days and open shards twice, the day's two documents, counts
    assert _costs(store) == {}


def test_another_accounts_sessions_are_never_told(store: DocumentStore) -> None:
    other = f"acct_{'f' * 32}"
    event = make_event(timestamp=NOON, session_id="theirs", account_id=other)
    Ledger(store).commit(Segment(name=f"{'c' * 32}-1", account_id=other, events=(event,)))
    run(store, ManualClock(LATER))

    assert _costs(store) == {}


def _a_month(store: DocumentStore) -> datetime:
    """A session every two hours of 31 days, each also in the hour before; the present moment."""
    for day in range(31):
        events = [
            make_event(
                timestamp=DAY + timedelta(days=day, hours=hour), session_id=f"session {day}.{(hour + 1) // 2}"
            )
            for hour in range(24)
        ]
        for event in events:
            _keep(store, event)
    now = DAY + timedelta(days=31, minutes=20)
    run(store, ManualClock(now))
    return now


def test_a_month_of_sessions_is_read_from_a_pack_a_day(sqlite_store: DocumentStore) -> None:
    now = _a_month(sqlite_store)
    for number in range(200):
        _keep(sqlite_store, make_event(timestamp=now, session_id=f"young {number}"))
    counting = CountingStore(sqlite_store)

    report = sessions_between(counting, ACCOUNT_ID, now - timedelta(days=30), now)

    assert counting.documents_read <= READS_MAX
    young = [each for each in report.sessions if each.session_id.startswith("young")]
    assert 30 <= len(young) < 200
    packed = sum(each.sums["requests"] for each in report.sessions) - len(young)
    assert packed == 30 * 24 - 1
    assert report.complete_to == quarter_of(now) < report.end


def test_open_quarter_hours_are_found_by_a_document_each_whatever_their_shards(store: DocumentStore) -> None:
    quarters = [NOON + number * QUARTER for number in (0, 1, 3)]
    for quarter in quarters:
        for shard in range(SHARDS_MAX):
            fields = {"starts_at": quarter, "shard": shard, "cells": {}}
            store.commit([Put(ShardKey(ACCOUNT_ID, quarter, shard).path, fields)])
    counting = CountingStore(store)

    assert open_quarters(counting, ACCOUNT_ID, NOON, NOON + timedelta(hours=2)) == set(quarters)
    assert counting.documents_read == 4


def test_the_latest_sessions_are_told_whole_however_far_they_reach_back(sqlite_store: DocumentStore) -> None:
    _a_month(sqlite_store)
    _keep(sqlite_store, make_event(timestamp=DAY, session_id="session 29.12"))
    range_ = (sqlite_store, ACCOUNT_ID, DAY, DAY + timedelta(days=31))

    all_of_them, latest = sessions_between(*range_), sessions_between(*range_, limit=20)

    assert latest.sessions == all_of_them.sessions[:20]
    assert {each.session_id: each.sums["requests"] for each in latest.sessions}["session 29.12"] == 2
    assert (all_of_them.has_more, latest.has_more) == (False, True)


def test_pages_tell_each_session_once_and_whole(sqlite_store: DocumentStore) -> None:
    _a_month(sqlite_store)
    _keep(sqlite_store, make_event(timestamp=DAY, session_id="session 29.12"))
    range_ = (sqlite_store, ACCOUNT_ID, DAY, DAY + timedelta(days=31))
    all_of_them = sessions_between(*range_)

    paged: list[SessionSums] = []
    has_more = True
    while has_more:
        page = sessions_between(*range_, limit=50, behind=paged[-1].place if paged else None)
        paged += page.sessions
        has_more = page.has_more

    assert tuple(paged) == all_of_them.sessions
    assert page.nameless == all_of_them.nameless


@pytest.mark.parametrize("is_compacted", [True, False])
def test_the_dearest_sessions_are_told_whole_in_pages(store: DocumentStore, is_compacted: bool) -> None:
    _two_sessions(store)
    _keep(store, make_event(timestamp=NOON, session_id="cheap", team="team 0", cost_nanodollars=1))
    if is_compacted:
        run(store, ManualClock(DAY + timedelta(days=1, hours=1)))
    range_ = (store, ACCOUNT_ID, DAY, DAY + timedelta(days=1))
    latest = {each.session_id: each for each in sessions_between(*range_).sessions}

    first = sessions_between(*range_, order="cost", limit=2)
    rest = sessions_between(*range_, order="cost", limit=2, behind=first.sessions[-1].place_by_cost)

    assert [each.session_id for each in first.sessions] == ["session 1", "session 0"]
    assert [each.session_id for each in rest.sessions] == ["cheap"]
    assert (first.has_more, rest.has_more, rest.has_older) == (True, False, False)
    assert all(latest[each.session_id] == each for each in (*first.sessions, *rest.sessions))
    of_team = sessions_between(*range_, order="cost", teams=["team 0"])
    assert [each.session_id for each in of_team.sessions] == ["session 0", "cheap"]


def test_a_month_of_sessions_is_put_in_order_of_cost_in_as_many_reads(sqlite_store: DocumentStore) -> None:
    _a_month(sqlite_store)
    _keep(sqlite_store, make_event(timestamp=DAY, session_id="session 29.12", cost_nanodollars=10**12))
    counting = CountingStore(sqlite_store)
    range_ = (ACCOUNT_ID, DAY, DAY + timedelta(days=31))
    all_of_them = sessions_between(sqlite_store, *range_).sessions

    dearest = sessions_between(counting, *range_, order="cost", limit=5)

    assert counting.documents_read <= READS_MAX
    by_cost = sorted(all_of_them, key=lambda each: each.place_by_cost)
    assert dearest.sessions[0] == by_cost[0]
    assert (dearest.sessions[0].session_id, dearest.sessions[0].sums["requests"]) == ("session 29.12", 2)


def test_what_is_too_much_to_be_put_in_order_is_refused_and_listed_all_the_same(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_sessions(sqlite_store)
    range_ = (sqlite_store, ACCOUNT_ID, DAY, DAY + timedelta(days=1))
    rows = 6  # a session, team, app and model each
    monkeypatch.setattr("metering.sessions.ROWS_IN_ORDER_MAX", rows)
    assert len(sessions_between(*range_, order="cost").sessions) == 2

    monkeypatch.setattr("metering.sessions.ROWS_IN_ORDER_MAX", rows - 1)
    with pytest.raises(InvalidInput, match="shorter range"):
        sessions_between(*range_, order="cost")
    run(sqlite_store, ManualClock(DAY + timedelta(days=1, hours=1)))
    with pytest.raises(InvalidInput, match="shorter range"):
        sessions_between(*range_, order="cost")
    assert len(sessions_between(*range_).sessions) == 2


def test_sessions_without_names_are_summed_up_in_any_order(sqlite_store: DocumentStore) -> None:
    now = _a_month(sqlite_store)
    range_ = (sqlite_store, ACCOUNT_ID, now - timedelta(days=30), now)

    assert sessions_between(*range_, order="cost", limit=3).nameless == sessions_between(*range_).nameless


def test_no_page_lies_behind_the_latest_sessions_and_the_last_one_says_so(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.sessions.SESSIONS_MAX", 5)
    _a_month(sqlite_store)
    range_ = (sqlite_store, ACCOUNT_ID, DAY, DAY + timedelta(days=31))

    first = sessions_between(*range_, limit=3)
    last = sessions_between(*range_, limit=3, behind=first.sessions[-1].place)

    assert (len(first.sessions), first.has_more, first.has_older) == (3, True, False)
    assert (len(last.sessions), last.has_more, last.has_older) == (2, False, True)


def test_a_page_unpacks_no_earlier_day_that_has_none_of_its_sessions(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = _a_month(sqlite_store)
    unpacked: list[str] = []

    def noted(pack: Document) -> Sheet:
        unpacked.append(pack.fields["hour"])
        return stored_sheet(pack)

    monkeypatch.setattr("metering.sessions.stored_sheet", noted)

    sessions_between(sqlite_store, ACCOUNT_ID, now - timedelta(days=30), now, limit=20)
    latest = [*unpacked]
    sessions_between(sqlite_store, ACCOUNT_ID, now - timedelta(days=30), now, limit=40)

    assert len(latest) <= 2 * HOURS_A_DAY  # the last day or two, by hours
    assert len(unpacked) - len(latest) > len(latest)


def test_packs_without_checksums_are_unpacked(sqlite_store: DocumentStore) -> None:
    _a_month(sqlite_store)
    range_ = (sqlite_store, ACCOUNT_ID, DAY, DAY + timedelta(days=31))
    before = sessions_between(*range_, limit=5)

    for pack in all_documents(sqlite_store, session_hours_collection(ACCOUNT_ID)):
        kept = {name: value for name, value in pack.fields.items() if name != "checksums"}
        sqlite_store.commit([Put(pack.path, kept)])

    assert sessions_between(*range_, limit=5) == before


def test_a_late_call_takes_its_days_pack_away_until_it_is_made_again(store: DocumentStore) -> None:
    _two_sessions(store)
    tomorrow = ManualClock(DAY + timedelta(days=1, hours=1))
    run(store, tomorrow)
    path = day_pack_path(ACCOUNT_ID, DAY)
    made = store.get(path)

    _keep(store, make_event(timestamp=NOON, session_id="session 0", cost_nanodollars=5 * 10**9))
    before = _costs(store)
    compact_day(store, ACCOUNT_ID, DAY, tomorrow.now())
    between = _costs(store), store.get(path)
    run(store, tomorrow)

    assert before == between[0] == _costs(store) == {"session 0": 5_000_010_101, "session 1": 101_010}
    assert made is not None
    assert between[1] is not None
    assert (holds_its_hours(made), holds_its_hours(between[1])) == (True, False)
    assert not pack_day(store, ACCOUNT_ID, DAY)  # nothing to do


def test_a_days_pack_that_was_overtaken_is_not_written(store: DocumentStore) -> None:
    _two_sessions(store)
    tomorrow = DAY + timedelta(days=1, hours=1)
    compact_day(store, ACCOUNT_ID, DAY, tomorrow)
    calls = count(1)

    def before() -> None:
        if next(calls) == 3:  # the hours have been read
            _keep(store, make_event(timestamp=NOON, session_id="session 0", cost_nanodollars=5 * 10**9))
            compact_day(store, ACCOUNT_ID, DAY, tomorrow)

    assert not pack_day(UnreliableStore(store, before=before), ACCOUNT_ID, DAY)
    assert _costs(store) == {"session 0": 5_000_010_101, "session 1": 101_010}
    assert pack_day(store, ACCOUNT_ID, DAY)
    assert _costs(store) == {"session 0": 5_000_010_101, "session 1": 101_010}


def test_a_range_beyond_a_month_or_backwards_is_refused(sqlite_store: DocumentStore) -> None:
    for start, end in ((DAY, DAY + RANGE_MAX + timedelta(seconds=1)), (DAY, DAY)):
        with pytest.raises(InvalidInput):
            sessions_between(sqlite_store, ACCOUNT_ID, start, end)

    assert sessions_between(sqlite_store, ACCOUNT_ID, DAY, DAY + RANGE_MAX).sessions == ()


def test_sessions_beyond_a_packs_bound_lose_their_names_and_no_money(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)  # noqa: S311 - figures of a test
    total = 0
    for _ in range(40):
        events = [
            make_event(
                timestamp=NOON,
                session_id=f"{chance.getrandbits(256):064x}",
                trace_id="",
                cost_nanodollars=chance.randrange(1, 10**9),
                input_tokens=chance.randrange(10**6),
                output_tokens=chance.randrange(10**6),
            )
            for _ in range(1_000)
        ]
        total += sum(event.cost_nanodollars for event in events)
        _keep(sqlite_store, *events)

    run(sqlite_store, ManualClock(LATER))

    document = sqlite_store.get(pack_path(ACCOUNT_ID, NOON))
    assert document is not None
    assert PART_BYTES_MAX // 2 < len(document.fields["packed"]) <= PART_BYTES_MAX
    hour = (sqlite_store, ACCOUNT_ID, NOON, NOON + QUARTER)
    assert len(sessions_between(*hour, limit=10**6).sessions) == SESSIONS_MAX
    monkeypatch.setattr("metering.sessions.SESSIONS_MAX", 10**6)
    report = sessions_between(*hour, limit=10**6)
    named = [session.sums["cost_nanodollars"] for session in report.sessions]
    assert min(named) > 100_000_000  # the dearest keep their names
    assert len(named) + report.nameless["requests"] == 40_000
    assert sum(named) + report.nameless["cost_nanodollars"] == total


def test_open_quarter_hours_with_more_segments_than_one_answer_reads_are_told(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.sessions.READS_MAX", 0)
    monkeypatch.setattr("metering.sessions.SEGMENTS_READ_MIN", 3)
    end = NOON + timedelta(hours=2)
    for number in range(4):
        _keep(sqlite_store, make_event(timestamp=NOON + QUARTER, session_id=f"session {number}"))
        report = sessions_between(sqlite_store, ACCOUNT_ID, NOON, end)
        assert len(report.sessions) == min(3, number + 1)
        assert report.complete_to == (end if number < 2 else NOON + QUARTER)


def test_a_damaged_pack_is_told_and_never_read_as_empty(sqlite_store: DocumentStore) -> None:
    sqlite_store.commit([Put(pack_path(ACCOUNT_ID, NOON), {"packed": b"?"})])

    with pytest.raises(PackUnreadable):
        sessions_between(sqlite_store, ACCOUNT_ID, NOON, NOON + QUARTER)
    sqlite_store.commit([Put(day_pack_path(ACCOUNT_ID, DAY), {"changes": 1, "held": 1, "packed": b"?"})])
    with pytest.raises(PackUnreadable):
        _costs(sqlite_store)


def test_the_calls_of_one_session_are_summed_up() -> None:
    events = [
        make_event(timestamp=NOON + timedelta(days=day), session_id="s", model=f"model {day}", team="t")
        for day in (1, 0, 2)
    ]

    session = session_of("s", [*events, make_event(session_id="other")])

    assert session is not None
    assert (session.first_at, session.last_at) == (NOON, NOON + timedelta(days=2))
    assert (session.sums["requests"], session.sums["cost_nanodollars"]) == (3, 30_000_000)
    assert (session.teams, session.models) == (("t",), ("model 0", "model 1", "model 2"))
    assert session_of("nobody's", events) is None
