"""Events, usage and the overview over REST, on both stores where the store matters."""

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from api_service.resources.events import EventsView, EventView
from api_service.resources.statistics import OverviewView
from api_service.resources.usage import UsageView
from metering.clock import Clock
from metering.events import PUBLISHED_NAMES, CostEvent
from metering.ledger import Ledger
from metering.segments import SegmentPacker
from metering.stores import DocumentStore
from tests.builders import AT, make_event
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import MakeApp, Person

SignUp = Callable[..., Person]
DAY = "start_time=2026-11-21T00:00:00Z&end_time=2026-11-22T00:00:00Z"


def record(store: DocumentStore, clock: Clock, *events: CostEvent) -> None:
    """Store the events as the proxy does."""
    packer = SegmentPacker("0" * 32 if not events else events[0].request_id[4:])
    for event in events:
        packer.add(event, clock.monotonic())
    ledger = Ledger(store, clock)
    for segment in packer.drain():
        ledger.commit(segment)


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: SignUp) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


def of(person: Person, **changes: Any) -> CostEvent:
    return make_event(account_id=person.account_id, **changes)


def test_an_event_is_shown_with_its_published_names_and_exact_cost(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    event = of(person, cost_nanodollars=26_100_001, team="团队💸")
    record(store, clock, event)

    response = person.get(f"/v1/events/{event.request_id}")

    shown = json.loads(response.text, parse_float=Decimal)
    assert set(PUBLISHED_NAMES) <= shown.keys()
    assert shown["cost_usd"] == Decimal("0.026100001")
    assert shown["timestamp"] == "2026-11-21T09:30:00.125000Z"
    assert shown["team"] == "团队💸"
    EventView.model_validate(shown)


@pytest.mark.parametrize(
    "request_id", ["req_" + "0" * 32, "nonsense", "req_", "x" * 2000, "%00", "%2F", "req_é"]
)
def test_an_unknown_event_is_not_found(ada: Person, request_id: str) -> None:
    assert ada.get(f"/v1/events/{request_id}").status_code == 404


def test_another_accounts_event_answers_like_an_unknown_one(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, clock: ManualClock
) -> None:
    app = make_app(store)
    ada, bob = sign_up("ada@example.com", on=app), sign_up("bob@example.com", on=app)
    event = of(ada)
    record(store, clock, event)

    theirs = bob.get(f"/v1/events/{event.request_id}").get_json()["error"]
    unknown = bob.get(f"/v1/events/req_{7:032x}").get_json()["error"]

    assert {**theirs, "request_id": ""} == {**unknown, "request_id": ""}
    assert bob.get("/v1/events").get_json()["data"] == []
    assert bob.get(f"/v1/usage?{DAY}").get_json()["data"][0]["results"] == []


def test_pages_show_every_event_once_newest_first(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    events = [of(person, timestamp=AT + timedelta(seconds=number)) for number in range(7)]
    record(store, clock, *events[:4])
    record(store, clock, *events[4:])

    seen: list[str] = []
    path = "/v1/events?limit=3"
    while path:
        body = person.get(path).get_json()
        seen += [each["request_id"] for each in body["data"]]
        path = f"/v1/events?limit=3&page={body['next_page']}" if body["has_more"] else ""

    assert seen == [each.request_id for each in reversed(events)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("provider=openai", {"b"}),
        ("model=gpt-4o&model=claude-sonnet-4-5", {"a", "b", "c"}),
        ("model[]=gpt-4o", {"b"}),
        ("team=search", {"a"}),
        ("team=search&team=ads", {"a", "b"}),
        ("app=web&feature=chat", {"c"}),
        ("customer_tier=gold", {"b"}),
        ("session_id=s-1", {"a"}),
        ("state=upstream_error", {"c"}),
        ("key_id=key_1", {"b"}),
        ("deployment=eu", {"b"}),
        ("start_time=2026-11-21T09:31:00Z", {"b", "c"}),
        ("end_time=1795253460", {"a"}),
        ("start_time=2026-11-21T10:31:00%2B01:00&end_time=2026-11-21T09:32:00Z", {"b"}),
        ("team=nobody", set()),
        ("trace_id=a&trace_id=c", {"a", "c"}),
        ("prompt_template_id=tpl", {"b"}),
        (f"prompt_fingerprint={'f' * 32}", {"b", "c"}),
        ("unpriced=true", {"c"}),
        ("unpriced=false&streaming=true&streaming=false", {"a", "b"}),
        ("status_code=500&status_code=404", {"c"}),
        ("requested_model=claude-sonnet-4-5", {"a", "c"}),
        ("routed=true&routing_rule=cheap&service_tier=flex&region=eu-west-1", {"b"}),
        ("cache_hit=true", set()),
    ],
)
def test_filters_pass_what_they_name(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, query: str, expected: set[str]
) -> None:
    minute = timedelta(minutes=1)
    a = of(ada, timestamp=AT.replace(microsecond=0), trace_id="a", session_id="s-1")
    b = of(
        ada, timestamp=a.timestamp + minute, trace_id="b", provider="openai", model="gpt-4o", team="ads",
        app="cms", customer_tier="gold", key_id="key_1", deployment="eu", prompt_template_id="tpl",
        prompt_fingerprint="f" * 32, requested_model="gpt-5", routed=True, routing_rule="cheap",
        service_tier="flex", region="eu-west-1",
    )  # fmt: skip
    c = of(
        ada, timestamp=b.timestamp + minute, trace_id="c", team="", feature="chat", state="upstream_error",
        prompt_fingerprint="f" * 32, unpriced=True, status_code=500,
    )  # fmt: skip
    record(sqlite_store, clock, a, b, c)

    body = ada.get(f"/v1/events?{query}").get_json()

    assert {each["trace_id"] for each in body["data"]} == expected
    EventsView.model_validate(body)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/usage?start_time=1795219200"])
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("nope=1", "nope"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("end_time=2026-11-21", "end_time"),
        ("end_time=2026-11-21T00:00:00", "end_time"),
        ("end_time=2026-11-21T00:00:00+01:00", "end_time"),
        ("end_time=2026-02-30T00:00:00Z", "end_time"),
        ("end_time=NaN", "end_time"),
        ("end_time=-1", "end_time"),
        ("end_time=99999999999999", "end_time"),
        ("provider=acme", "provider.0"),
        ("page=x", "page"),
        ("page=" + "A" * 600, "page"),
        ("team=" + "x" * 900, "team.0"),
        ("&".join(f"team={number}" for number in range(101)), "team"),
    ],
    ids=lambda each: each[:40],
)
def test_a_query_that_makes_no_sense_is_refused_by_field(
    ada: Person, path: str, query: str, param: str
) -> None:
    response = ada.get(f"{path}{'&' if '?' in path else '?'}{query}")

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param


@pytest.mark.parametrize(
    "query", ["team=%ff", "team=%ED%A0%80", "&".join("a=1" for _ in range(201))], ids=str
)
def test_a_query_that_is_no_text_is_refused(ada: Person, query: str) -> None:
    assert ada.get(f"/v1/events?{query}").status_code == 400


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("unpriced=maybe", "unpriced.0"),
        ("streaming=1", "streaming.0"),
        ("cache_hit=true&cache_hit=true&cache_hit=true", "cache_hit"),
        ("status_code=99", "status_code.0"),
        ("status_code=2000", "status_code.0"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/events", "/v1/exports/events"])
def test_a_filter_that_makes_no_sense_is_refused(ada: Person, path: str, query: str, param: str) -> None:
    response = ada.get(f"{path}?{query}")

    assert (response.status_code, response.get_json()["error"]["param"]) == (422, param)


def test_usage_sums_what_was_recorded_to_the_nanodollar(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, of(person, cost_nanodollars=1), of(person, cost_nanodollars=26_100_000, team="ads"))

    response = person.get(f"/v1/usage?{DAY}&group_by[]=team")

    body = json.loads(response.text, parse_float=Decimal)
    (bucket,) = body["data"]
    assert (bucket["start_time"], bucket["end_time"]) == ("2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z")
    ads, search = bucket["results"]
    assert (ads["team"], ads["cost_usd"], ads["cost_nanodollars"]) == ("ads", Decimal("0.0261"), 26_100_000)
    assert (search["team"], search["cost_usd"]) == ("search", Decimal("0.000000001"))
    assert (search["requests"], search["input_tokens"], search["model"]) == (1, 1000, None)
    UsageView.model_validate(body)


def test_usage_comes_in_hours_of_any_zone(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    record(sqlite_store, clock, of(ada))

    body = ada.get(
        "/v1/usage?start_time=2026-11-21T09:00:00Z&end_time=2026-11-21T10:00:00Z"
        "&bucket_width=1h&timezone=Asia/Kolkata"
    ).get_json()

    starts = [each["start_time"] for each in body["data"]]
    assert starts == ["2026-11-21T08:30:00Z", "2026-11-21T09:30:00Z"]
    assert [len(each["results"]) for each in body["data"]] == [0, 1]


def test_usage_pages_through_its_buckets(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    record(sqlite_store, clock, of(ada))
    query = "start_time=2026-11-01T00:00:00Z&end_time=2026-11-22T00:00:00Z&limit=10"

    starts: list[str] = []
    page = ""
    while page is not None:
        body = ada.get(f"/v1/usage?{query}{page and '&page=' + page}").get_json()
        starts += [each["start_time"] for each in body["data"]]
        page = body["next_page"]

    assert starts == [f"2026-11-{day:02d}T00:00:00Z" for day in range(1, 22)]


def test_usage_without_an_end_goes_to_now(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    record(sqlite_store, clock, of(ada, timestamp=AT - timedelta(hours=1)))

    body = ada.get("/v1/usage?start_time=1795219200").get_json()

    assert [each["results"][0]["requests"] for each in body["data"]] == [1]


@pytest.mark.parametrize(
    ("query", "buckets"), [("", 8), ("?bucket_width=1h", 25), ("?end_time=1795219200", 7)]
)
def test_usage_without_a_start_covers_the_last_days_or_hours(ada: Person, query: str, buckets: int) -> None:
    assert len(ada.get(f"/v1/usage{query}").get_json()["data"]) == buckets


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("start_time=1795219200&end_time=1795219200", "end_time"),
        ("start_time=2026-08-20T00:00:00Z&end_time=2026-11-21T00:00:00Z", "start_time"),
        ("start_time=2026-10-20T00:00:00Z&end_time=2026-11-21T00:00:00Z&bucket_width=1h", "start_time"),
        ("start_time=1795219200&bucket_width=1m", "bucket_width"),
        ("start_time=1795219200&timezone=Mars/Olympus", "timezone"),
        ("start_time=1795219200&timezone=../etc/passwd", "timezone"),
        ("start_time=1795219200&group_by=prompt", "group_by.0"),
        ("start_time=1795219200&group_by=team&group_by=team", "group_by"),
        ("start_time=1795219200&group_by=key_id&team=search", "key_id"),
        ("start_time=1795219200&group_by=api_key_id&group_by=key_id", "group_by"),
        ("model=a&models=b", "models"),
        ("key_id=a&api_key_ids=b", "api_key_ids"),
        ("models=a&team=b&api_key_ids=c", "key_id"),
        ("prompt_fingerprint=a&team=b", "prompt_fingerprint"),
        ("&".join(f"models={number}" for number in range(101)), "models"),
    ],
)
def test_a_usage_query_that_makes_no_sense_is_refused_by_field(ada: Person, query: str, param: str) -> None:
    response = ada.get(f"/v1/usage?{query}")

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param


def test_what_there_is_to_ask_for_is_told_to_who_asks_for_something_else(ada: Person) -> None:
    error = ada.get("/v1/usage?project_ids=proj_1&user_ids=user_1").get_json()["error"]

    (first, second) = error["details"]
    assert (first["param"], second["param"]) == ("project_ids", "user_ids")
    assert first["message"].startswith("there is no such field; there are start_time, end_time, ")
    assert {"models", "api_key_ids", "group_by", "team"} <= set(first["message"].split(", "))
    assert second["message"] == "there is no such field"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/usage", "models=m-1&models=m-2&group_by=model"),
        ("/v1/usage", "models[]=m-1&models[]=m-2&group_by[]=model"),
        ("/v1/costs", "models[]=m-1&models[]=m-2&group_by[]=model"),
        ("/v1/usage", "api_key_ids[]=key_1&api_key_ids[]=key_2&group_by[]=api_key_id"),
        ("/v1/costs", "api_key_ids=key_1&api_key_ids=key_2&group_by=api_key_id"),
    ],
)
def test_names_of_the_providers_own_usage_apis_are_read_as_ours(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, path: str, names: str
) -> None:
    record(sqlite_store, clock, *(of(ada, model=f"m-{each}", key_id=f"key_{each}") for each in (1, 2, 2, 3)))

    theirs = ada.get(f"{path}?{names}").get_json()

    ours = names.replace("models", "model").replace("api_key_ids", "key_id").replace("api_key_id", "key_id")
    assert theirs == ada.get(f"{path}?{ours}").get_json()
    assert [row["requests"] for row in theirs["data"][-1]["results"]] == [2, 1]


def test_the_overview_counts_today_the_week_and_the_month(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, of(person, cost_nanodollars=3))
    record(store, clock, of(person, cost_nanodollars=4, timestamp=AT - timedelta(days=1)))
    record(store, clock, of(person, cost_nanodollars=5, timestamp=AT - timedelta(days=20)))

    response = person.get("/v1/stats/overview?timezone=Europe/Berlin")

    body = json.loads(response.text, parse_float=Decimal)
    sums = [body[name]["cost_nanodollars"] for name in ("today", "seven_days", "month")]
    assert sums == [3, 7, 12]
    assert body["top_models"][0]["model"] == "claude-sonnet-4-5"
    assert body["top_teams"][0]["cost_usd"] == Decimal("0.000000012")
    OverviewView.model_validate(body)


def test_an_overview_of_nothing_is_all_zero(ada: Person) -> None:
    body = ada.get("/v1/stats/overview").get_json()

    assert body["month"]["requests"] == 0
    assert body["top_models"] == []


def test_an_overview_in_no_zone_is_refused(ada: Person) -> None:
    assert ada.get("/v1/stats/overview?timezone=Nowhere").status_code == 422


def test_a_key_reads_what_its_account_used(
    ada: Person, app: Flask, sqlite_store: DocumentStore, clock: ManualClock, bearer: Any
) -> None:
    record(sqlite_store, clock, of(ada))
    header = bearer(ada.account_id, "read")

    for path in ("/v1/events", f"/v1/usage?{DAY}", "/v1/stats/overview"):
        assert app.test_client().get(path, headers=header).status_code == 200


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("start_time=2026-11-20&end_time=2026-11-21", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
        (
            "start_time=2026-11-20&end_time=2026-11-21&timezone=Asia/Tokyo",
            "2026-11-19T15:00:00Z",
            "2026-11-20T15:00:00Z",
        ),
        (
            "start_time=2026-09-06&end_time=2026-09-07&timezone=America/Santiago",  # has no midnight
            "2026-09-06T04:00:00Z",
            "2026-09-07T03:00:00Z",
        ),
    ],
    ids=["UTC", "another zone", "a day whose clocks skip its first hour"],
)
def test_a_plain_date_is_the_start_of_that_day_in_the_asked_zone(
    ada: Person, query: str, start: str, end: str
) -> None:
    (bucket,) = ada.get(f"/v1/usage?{query}").get_json()["data"]

    assert (bucket["start_time"], bucket["end_time"]) == (start, end)


@pytest.mark.parametrize("day", ["2026-02-30", "2026-11-2", "1999-12-31", "2100-01-01"])
def test_a_day_that_there_is_not_is_refused_with_what_to_give(ada: Person, day: str) -> None:
    response = ada.get(f"/v1/usage?start_time={day}")

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == "start_time"
    assert "a day (2026-11-21)" in response.get_json()["error"]["message"]


def test_a_date_in_a_zone_that_there_is_not_is_the_zones_fault(ada: Person) -> None:
    response = ada.get("/v1/usage?start_time=2026-11-20&timezone=Mars/Olympus")

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == "timezone"


def test_events_older_than_the_account_keeps_are_not_there_and_their_usage_is(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    old = of(person, timestamp=clock.now() - timedelta(days=9))
    young = of(person, timestamp=clock.now() - timedelta(days=8))
    record(store, clock, old)
    record(store, clock, young)

    person.write("PATCH", "/v1/account", {"events_kept_days": 8})

    assert [each["request_id"] for each in person.get("/v1/events").get_json()["data"]] == [young.request_id]
    assert person.get(f"/v1/events/{young.request_id}").status_code == 200
    assert person.get(f"/v1/events/{old.request_id}").status_code == 404
    days = person.get("/v1/usage?start_time=2026-11-12T00:00:00Z&end_time=2026-11-13T00:00:00Z").get_json()
    assert days["data"][0]["results"][0]["requests"] == 1
