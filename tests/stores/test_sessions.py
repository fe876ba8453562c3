"""Sessions on both stores: packs say what the segments say, and stay within their bounds."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from metering.collections import session_hours_collection
from metering.compaction import compact_day, run
from metering.day_documents import PART_BYTES_MAX
from metering.errors import InvalidInput
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.rollups import QUARTER
from metering.segments import Segment
from metering.sessions import (
    RANGE_MAX,
    SESSIONS_MAX,
    PackUnreadable,
    pack_path,
    sessions_between,
)
from metering.stores import DocumentStore, Put
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
    assert _packs(store) == 2
    latest, earlier = after.sessions
    assert (latest.session_id, latest.sums["requests"], latest.sums["errors"]) == ("session 1", 3, 1)
    assert latest.sums["cost_nanodollars"] == 101_010
    assert (latest.first_at, latest.last_at) == (NOON + QUARTER, NOON + 5 * QUARTER)
    assert (earlier.teams, earlier.apps) == (("team 0",), ("app 0", "app 2", "app 4"))
    assert earlier.models == ("model 0", "model 1", "model 2")
    assert (after.is_complete, after.nameless["requests"]) == (True, 0)


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
    assert counting.documents_read == 6  # active days and open shards twice, the day's two documents
    assert _costs(store) == {}


def test_another_accounts_sessions_are_never_told(store: DocumentStore) -> None:
    other = f"acct_{'f' * 32}"
    event = make_event(timestamp=NOON, session_id="theirs", account_id=other)
    Ledger(store).commit(Segment(name=f"{'c' * 32}-1", account_id=other, events=(event,)))
    run(store, ManualClock(LATER))

    assert _costs(store) == {}


def test_a_week_of_sessions_is_read_from_a_pack_an_hour(sqlite_store: DocumentStore) -> None:
    for hour in range(24):
        for quarter in range(4):
            moment = DAY + timedelta(hours=hour) + quarter * QUARTER
            _keep(sqlite_store, make_event(timestamp=moment, session_id=f"session {hour // 2}"))
    run(sqlite_store, ManualClock(DAY + timedelta(days=2)))
    counting = CountingStore(sqlite_store)

    report = sessions_between(
        counting, ACCOUNT_ID, DAY + timedelta(days=1) - RANGE_MAX, DAY + timedelta(days=1)
    )

    assert {each.sums["requests"] for each in report.sessions} == {8}
    assert counting.documents_read == 7 * 24 + 1


def test_a_range_beyond_a_week_or_backwards_is_refused(sqlite_store: DocumentStore) -> None:
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


def test_an_open_quarter_hour_with_more_segments_than_one_answer_reads_is_told(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.sessions.SEGMENTS_OF_OPEN_QUARTERS_MAX", 3)
    for number in range(3):
        assert sessions_between(sqlite_store, ACCOUNT_ID, DAY, DAY + RANGE_MAX).is_complete
        _keep(sqlite_store, make_event(timestamp=NOON, session_id=f"session {number}"))

    assert not sessions_between(sqlite_store, ACCOUNT_ID, DAY, DAY + RANGE_MAX).is_complete


def test_a_damaged_pack_is_told_and_never_read_as_empty(sqlite_store: DocumentStore) -> None:
    sqlite_store.commit([Put(pack_path(ACCOUNT_ID, NOON), {"packed": b"?"})])

    with pytest.raises(PackUnreadable):
        _costs(sqlite_store)
