"""Exports: CSV, JSON and FOCUS say the same as the events, and end where the right to read them does."""

import csv
import io
import json
from collections.abc import Callable
from contextvars import Context
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_service.resources import exports
from metering.directory import Directory
from metering.events import CostEvent
from metering.stores import DocumentStore
from tests.builders import AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.test_events_and_usage import record

DAY = "start_time=2026-11-21&end_time=2026-11-22"
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", '=HYPERLINK("http://x")', "-2+3", "=1\t2")


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person]) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


def of(person: Person, **changes: Any) -> CostEvent:
    return make_event(account_id=person.account_id, **changes)


def exported(person: Person, path: str) -> list[dict[str, str]]:
    response = person.get(path)
    assert response.status_code == 200, response.text
    assert response.content_type == "text/csv; charset=utf-8"
    assert "attachment" in response.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(response.text)))


def objects(person: Person, path: str) -> list[dict[str, Any]]:
    response = person.get(path)
    assert response.content_type == "application/x-ndjson"
    return [json.loads(line, parse_float=Decimal) for line in response.text.splitlines()]


def test_csv_and_json_hold_every_field_of_every_event(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, *(of(person, cost_nanodollars=cost, streaming=True) for cost in (1, 26_100_001)))

    in_json = objects(person, f"/v1/exports/events?{DAY}&format=ndjson")
    in_csv = exported(person, f"/v1/exports/events?{DAY}")

    listed = json.loads(person.get("/v1/events").text, parse_float=Decimal)["data"]
    assert in_json == listed
    assert [list(each) for each in in_csv] == [list(each) for each in listed]
    assert sorted(each["cost_usd"] for each in in_csv) == ["0.000000001", "0.026100001"]
    assert {each["streaming"] for each in in_csv} == {"true"}


@pytest.mark.battery("C5")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(
        st.tuples(
            st.integers(0, 10**15),
            st.integers(0, 10**12),
            st.integers(0, 10**6),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_csv_json_focus_and_events_agree_to_the_nanodollar(
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    sign_up: Callable[..., Person],
    clock: ManualClock,
    calls: list[tuple[int, int, int, bool, bool]],
) -> None:
    app = make_app(sqlite_store)
    person = sign_up(f"ada{clock.monotonic()}@example.com", on=app)
    clock.advance(1)
    record(
        sqlite_store,
        clock,
        *(
            of(
                person,
                cost_nanodollars=0 if is_unpriced else cost,
                saved_nanodollars=saved,
                routed=True,
                input_tokens=tokens,
                unpriced=is_unpriced,
                model="claude-sonnet-4-5" if is_listed else "nobodys",
                timestamp=AT + timedelta(minutes=number),
            )
            for number, (cost, saved, tokens, is_unpriced, is_listed) in enumerate(calls)
        ),
    )
    spent = sum(0 if each[3] else each[0] for each in calls)
    saved = sum(each[1] for each in calls)

    in_csv = exported(person, f"/v1/exports/events?{DAY}")
    assert sum(int(each["cost_nanodollars"]) for each in in_csv) == spent
    assert sum(Decimal(each["cost_usd"]) for each in in_csv) * 10**9 == spent
    in_json = objects(person, f"/v1/exports/events?{DAY}&format=ndjson")
    assert sum(Decimal(each["cost_usd"]) for each in in_json) * 10**9 == spent
    rows = exported(person, f"/v1/exports/focus?{DAY}")
    by_category = {
        category: sum(Decimal(row["BilledCost"]) for row in rows if row["ChargeCategory"] == category)
        for category in ("Usage", "Credit", "Adjustment")
    }
    assert by_category["Usage"] * 10**9 == spent
    assert by_category["Credit"] * 10**9 == -saved
    assert sum(by_category.values()) * 10**9 == spent
    if spent:
        overview = json.loads(person.get(f"/v1/costs?{DAY}").text, parse_float=Decimal)
        results = [result for bucket in overview["data"] for result in bucket["results"]]
        assert sum(result["amount"]["value"] for result in results) * 10**9 == spent


@pytest.mark.battery("I3")
@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_becomes_a_formula(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, text: str
) -> None:
    record(sqlite_store, clock, of(ada, team=text, feature=text, model=text, session_id=text, unpriced=True))

    for path in (f"/v1/exports/events?{DAY}", f"/v1/exports/focus?{DAY}"):
        for row in exported(ada, path):
            for name, cell in row.items():
                is_number = name in {"BilledCost", "ContractedCost"}
                assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert objects(ada, f"/v1/exports/events?{DAY}&format=ndjson")[0]["team"] == text


def test_another_accounts_events_are_never_exported(
    app: Flask, sqlite_store: DocumentStore, sign_up: Callable[..., Person], clock: ManualClock
) -> None:
    ada, bob = sign_up("ada@example.com"), sign_up("bob@example.com")
    record(sqlite_store, clock, of(ada))

    assert exported(bob, f"/v1/exports/events?{DAY}") == []
    assert exported(bob, f"/v1/exports/focus?{DAY}") == []
    assert objects(bob, f"/v1/exports/events?{DAY}&format=ndjson") == []


def test_filters_and_bounds_choose_what_is_exported(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    early = of(ada, team="search", timestamp=AT - timedelta(days=1))
    record(sqlite_store, clock, early)
    record(sqlite_store, clock, of(ada, team="search"), of(ada, team="ads"))

    teams = [each["team"] for each in exported(ada, f"/v1/exports/events?{DAY}&team=search")]

    assert teams == ["search"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("start_time=2026-11-22&end_time=2026-11-21", "end_time"),
        ("start_time=2024-01-01&end_time=2026-11-21", "start_time"),
        ("timezone=Mars/Base", "timezone"),
        ("format=xml", "format"),
        ("strat_time=2026-11-21", "strat_time"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_its_field(ada: Person, query: str, param: str) -> None:
    response = ada.get(f"/v1/exports/events?{query}")

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param


@pytest.mark.battery("A1")
def test_an_export_stops_where_its_key_is_revoked(
    app: Flask,
    ada: Person,
    bearer: Callable[..., dict[str, str]],
    directory: Directory,
    sqlite_store: DocumentStore,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exports, "EVENTS_A_PAGE_MAX", 2)
    record(sqlite_store, clock, *(of(ada, timestamp=AT + timedelta(seconds=each)) for each in range(10)))
    header = bearer(ada.account_id, "read")
    response = app.test_client().get(
        f"/v1/exports/events?{DAY}&format=ndjson", headers=header, buffered=False
    )
    pieces = iter(response.response)
    first = next(pieces)
    directory.revoke_key(ada.account_id, directory.keys_of(ada.account_id)[0].key_id)

    with pytest.raises(Exception, match="revoked"):
        list(pieces)
    assert str(first).count("\\n") == 2


@pytest.mark.parametrize("path", ["events?format=ndjson&", "events?format=csv&", "focus?"])
def test_an_export_rests_on_nothing_of_its_request_once_it_has_begun(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(exports, "EVENTS_A_PAGE_MAX", 2)
    record(sqlite_store, clock, *(of(ada, timestamp=AT + timedelta(hours=-each)) for each in range(7)))
    address = f"/v1/exports/{path}start_time=2026-11-20&end_time=2026-11-22"
    whole = ada.get(address).get_data()
    pieces = iter(ada.get(address, buffered=False).response)

    in_parts = [next(pieces), *Context().run(list, pieces)]

    assert b"".join(bytes(each) for each in in_parts if isinstance(each, bytes)) == whole


def test_an_export_reads_no_more_than_its_caller_has_taken(
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    sign_up: Callable[..., Person],
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exports, "EVENTS_A_PAGE_MAX", 2)
    counting = CountingStore(sqlite_store)
    ada = sign_up(on=make_app(counting))
    for number in range(40):
        record(sqlite_store, clock, of(ada, timestamp=AT + timedelta(seconds=number)))
    before = counting.documents_read
    response = ada.get(f"/v1/exports/events?{DAY}&format=ndjson", buffered=False)
    pieces = iter(response.response)
    next(pieces)
    next(pieces)

    assert counting.documents_read - before < 40
    assert sum(1 for _ in pieces) == 18
