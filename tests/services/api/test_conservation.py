"""`/v1/conservation`: what became of all calls, and what the nightly check found, over REST."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from api_service.resources.conservation import INSTANCES_MAX, ConservationView
from metering.collections import quarters_collection
from metering.conservation import QUIET_FOR, Admissions, fold_counts
from metering.ledger import Ledger
from metering.nightly_check import run
from metering.segments import Segment
from metering.stores import Delete, DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.services.api.conftest import MakeApp, Person
from tests.stores.accounting import all_documents


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person]) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


def keep_calls(store: DocumentStore, clock: ManualClock, person: Person, number: int = 1) -> None:
    """Admit three calls, settle one, lose one."""
    admissions = Admissions()
    for _ in range(3):
        admissions.note(person.account_id, clock.now())
    events = [
        make_event(account_id=person.account_id, timestamp=clock.now(), state=state)
        for state in ("completed", "lost")
    ]
    segment = Segment(name=f"{number:032x}-1", account_id=person.account_id, events=tuple(events))
    Ledger(store, clock, admitted=admissions.of).commit(segment)


def check_by_night(store: DocumentStore, clock: ManualClock) -> None:
    run(store, ManualClock(clock.now() + timedelta(days=1)), lambda *_: None)


def test_each_day_says_what_became_of_its_calls(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    keep_calls(store, clock, person)

    shown = person.get("/v1/conservation").get_json()

    ConservationView.model_validate(shown)
    assert [day["date"] for day in shown["data"]] == [f"2026-11-{day}" for day in range(15, 22)]
    assert shown["data"][-1] == {
        "date": "2026-11-21", "admitted": 3, "settled": 1, "in_flight": 1, "lost": 1, "is_complete": True,
    }  # fmt: skip
    assert shown["data"][0]["admitted"] == 0
    assert shown["last_check"] is None


def test_what_the_nightly_check_found_is_shown(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    keep_calls(store, clock, person)
    for shard in all_documents(store, quarters_collection(person.account_id)):
        store.commit([Delete(shard.path)])
    check_by_night(store, clock)

    shown = person.get("/v1/conservation").get_json()

    ConservationView.model_validate(shown)
    last = shown["last_check"]
    assert (last["date"], last["is_sound"], last["events"], last["calls_unaccounted"]) == (
        "2026-11-21", False, 2, 1,
    )  # fmt: skip
    assert {"what": "main requests", "by_events": 2, "by_books": 0, "counter_id": ""} in last["differences"]


@pytest.mark.parametrize("at_work", [INSTANCES_MAX, INSTANCES_MAX + 1])
def test_a_day_of_very_many_instances_is_at_most_a_hundred_documents(
    make_app: MakeApp, store: DocumentStore, clock: ManualClock, sign_up: Callable[..., Person], at_work: int
) -> None:
    counting = CountingStore(store)
    person = sign_up(on=make_app(counting))
    for number in range(100):
        keep_calls(store, clock, person, number)
    fold_counts(store, person.account_id, clock.now().date(), clock.now() + QUIET_FOR)
    for number in range(at_work):
        keep_calls(store, clock, person, 1_000 + number)
    before = counting.documents_read

    shown = person.get("/v1/conservation?start_time=2026-10-22").get_json()["data"]

    assert counting.documents_read - before <= 100
    assert (len(shown), shown[-1]["settled"]) == (31, 100 + INSTANCES_MAX)
    assert shown[-1]["is_complete"] == (at_work == INSTANCES_MAX)


def test_another_accounts_calls_are_never_counted(
    make_app: MakeApp, store: DocumentStore, clock: ManualClock, sign_up: Callable[..., Person]
) -> None:
    app = make_app(store)
    ada, bob = sign_up("ada@example.com", on=app), sign_up("bob@example.com", on=app)
    keep_calls(store, clock, ada)
    check_by_night(store, clock)

    shown = bob.get("/v1/conservation").get_json()

    assert sum(day["admitted"] for day in shown["data"]) == 0
    assert shown["last_check"] is None


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("start_time=2026-11-20&end_time=2026-11-21", "2026-11-20", "2026-11-20"),
        ("start_time=2026-11-20T23:59:59Z&end_time=2026-11-21T00:00:01Z", "2026-11-20", "2026-11-21"),
        ("start_time=2026-11-20T00:00:00%2B02:00&end_time=2026-11-20", "2026-11-19", "2026-11-19"),
        ("start_time=2026-10-22", "2026-10-22", "2026-11-21"),
        ("end_time=2026-11-10", "2026-11-03", "2026-11-09"),
    ],
)
def test_a_range_is_widened_to_utc_days(ada: Person, query: str, first: str, last: str) -> None:
    days = ada.get(f"/v1/conservation?{query}").get_json()["data"]

    assert (days[0]["date"], days[-1]["date"]) == (first, last)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("start_time=2026-10-21", "start_time"),
        ("start_time=2026-11-21&end_time=2026-11-21", "end_time"),
        ("start_time=yesterday", "start_time"),
        ("account_id=x", "account_id"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused_by_its_field(ada: Person, query: str, param: str) -> None:
    error = ada.get(f"/v1/conservation?{query}").get_json()["error"]

    assert error["param"] == param


def test_it_takes_the_scope_read(ada: Person, bearer: Callable[..., dict[str, str]]) -> None:
    client = ada.client.application.test_client()

    refused = client.get("/v1/conservation", headers=bearer(ada.account_id, "proxy"))
    allowed = client.get("/v1/conservation", headers=bearer(ada.account_id, "read"))

    assert (refused.status_code, allowed.status_code) == (403, 200)
