"""Sessions of calls over REST: the list, and one of them call by call."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_service.resources.sessions import SessionsView, TimelineView
from metering.compaction import run
from metering.events import CostEvent
from metering.stores import DocumentStore
from tests.builders import AT, make_event
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.test_events_and_usage import record
from tests.services.api.test_statistics import told

DAY = "start_time=2026-11-21&end_time=2026-11-22"
MINUTE = timedelta(minutes=1)
TIMELINE = "/v1/sessions/timeline"


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person]) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


def of(person: Person, **changes: Any) -> CostEvent:
    return make_event(account_id=person.account_id, **changes)


def test_sessions_are_listed_latest_first_with_their_sums(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    clock.advance(3 * 3600)
    for number in range(3):
        record(
            store,
            clock,
            of(person, session_id="s/1 ?", timestamp=AT + number * MINUTE, cost_nanodollars=10**number),
        )
    record(store, clock, of(person, session_id="s-2", timestamp=AT + MINUTE), of(person))

    before = told(person, "/v1/sessions")
    run(store, clock)
    after = told(person, "/v1/sessions")

    assert before["data"] == after["data"]
    first, second = after["data"]
    assert (first["session_id"], first["requests"], first["cost_nanodollars"]) == ("s/1 ?", 3, 111)
    assert (first["duration_ms"], second["session_id"]) == (120_000, "s-2")
    assert (after["has_older"], after["has_more"]) == (False, False)
    SessionsView.model_validate(after)


@pytest.mark.parametrize("query", ["", DAY, "end_time=2026-11-21T09:20:00Z", "start_time=2026-11-01"])
def test_no_list_is_said_to_be_complete_beyond_now(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, query: str
) -> None:
    ada.write("PATCH", "/v1/account", {"events_kept_days": 8})
    record(sqlite_store, clock, of(ada, session_id="s"))
    clock.advance(61)

    complete_to = datetime.fromisoformat(told(ada, f"/v1/sessions?{query}")["complete_to"])

    ends_earlier = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)  # a whole quarter hour
    assert complete_to == (ends_earlier if "09:20" in query else clock.now())


def test_pages_show_every_session_once(ada: Person, sqlite_store: DocumentStore, clock: ManualClock) -> None:
    record(sqlite_store, clock, *(of(ada, session_id=f"s-{number}") for number in range(5)))

    seen: list[str] = []
    page = ""
    while page is not None:
        body = told(ada, f"/v1/sessions?{DAY}&limit=2{page and '&page=' + page}")
        seen += [each["session_id"] for each in body["data"]]
        page = body["next_page"]

    assert sorted(seen) == [f"s-{number}" for number in range(5)]


def test_the_dearest_sessions_come_first_where_asked_for(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    costs = {"a": 5, "b": 7, "c": 7, "d": 1}
    record(
        store, clock, *(of(person, session_id=name, cost_nanodollars=cost) for name, cost in costs.items())
    )

    seen: list[str] = []
    page = ""
    while page is not None:
        body = told(person, f"/v1/sessions?{DAY}&sort_by=cost&limit=2{page and '&page=' + page}")
        seen += [each["session_id"] for each in body["data"]]
        page = body["next_page"]

    assert seen == ["b", "c", "a", "d"]


def test_sessions_are_found_by_team(ada: Person, sqlite_store: DocumentStore, clock: ManualClock) -> None:
    record(sqlite_store, clock, of(ada, session_id="a", team="ads"), of(ada, session_id="b"))

    assert [each["session_id"] for each in told(ada, f"/v1/sessions?{DAY}&team=ads")["data"]] == ["a"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("start_time=2026-10-20&end_time=2026-11-21", "start_time"),
        ("start_time=2026-11-21&end_time=2026-11-21", "end_time"),
        ("timezone=Mars", "timezone"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("page=!", "page"),
        ("feature=x", "feature"),
        ("sort_by=errors", "sort_by"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_by_field(ada: Person, query: str, param: str) -> None:
    response = ada.get(f"/v1/sessions?{query}")

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param


def test_one_session_is_shown_call_by_call_earliest_first(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    calls = [
        of(
            person,
            session_id="s/1 ?",
            timestamp=AT + number * MINUTE,
            trace_id=f"t{number % 2}",
            latency_ms=500,
        )
        for number in range(3)
    ]
    record(store, clock, *calls, of(person, session_id="other"))

    body = told(person, f"{TIMELINE}?session_id=s/1%20?")

    assert [step["event"]["request_id"] for step in body["data"]] == [each.request_id for each in calls]
    assert [step["gap_ms"] for step in body["data"]] == [None, 59_500, 59_500]
    assert (body["session"]["requests"], body["trace_ids"]) == (3, ["t0", "t1"])
    assert (body["is_whole"], body["has_more"]) == (True, False)
    TimelineView.model_validate(body)


def test_a_long_session_comes_in_pages_the_latest_first(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    calls = [of(ada, session_id="s", timestamp=AT + number * MINUTE) for number in range(5)]
    record(sqlite_store, clock, *calls)

    last = told(ada, f"{TIMELINE}?session_id=s&limit=3")
    first = told(ada, f"{TIMELINE}?session_id=s&limit=3&page={last['next_page']}")

    shown = [[step["event"]["request_id"] for step in body["data"]] for body in (first, last)]
    assert shown == [[each.request_id for each in calls[:2]], [each.request_id for each in calls[2:]]]
    assert [body["is_whole"] for body in (first, last)] == [False, False]
    assert last["session"]["requests"] == 3


def test_another_accounts_session_answers_like_an_unknown_one(
    make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person], clock: ManualClock
) -> None:
    app = make_app(store)
    ada, bob = sign_up("ada@example.com", on=app), sign_up("bob@example.com", on=app)
    record(store, clock, of(ada, session_id="s"))

    theirs, unknown = (bob.get(f"{TIMELINE}?session_id={each}") for each in ("s", "nobody's"))

    assert (theirs.status_code, unknown.status_code) == (404, 404)
    assert theirs.get_json()["error"] | {"request_id": ""} == unknown.get_json()["error"] | {"request_id": ""}
    assert told(bob, f"/v1/sessions?{DAY}")["data"] == []


@pytest.mark.parametrize(
    ("query", "param"), [("", "session_id"), ("session_id=", "session_id"), ("session_id=s&page=x", "page")]
)
def test_a_timeline_of_nothing_is_refused_by_field(ada: Person, query: str, param: str) -> None:
    response = ada.get(f"{TIMELINE}?{query}")

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param


def test_sessions_older_than_the_account_keeps_events_are_not_told(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    record(sqlite_store, clock, of(ada, session_id="old", timestamp=clock.now() - timedelta(days=9)))
    record(sqlite_store, clock, of(ada, session_id="young", timestamp=clock.now() - timedelta(days=7)))
    run(sqlite_store, clock)

    ada.write("PATCH", "/v1/account", {"events_kept_days": 8})

    listed = told(ada, "/v1/sessions?start_time=2026-11-01")["data"]
    assert [each["session_id"] for each in listed] == ["young"]
    assert ada.get(f"{TIMELINE}?session_id=old").status_code == 404
    assert told(ada, "/v1/sessions?start_time=2026-11-01&end_time=2026-11-10")["data"] == []
