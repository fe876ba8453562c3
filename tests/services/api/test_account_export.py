"""Everything an account holds, taken away: whole, without secrets, and nothing of another's."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_service.account_export import (
    EXPORTED,
    EXPORTED_BESIDE,
    LINES_A_PIECE,
    OTHERWISE,
    ExportEnded,
    without_secrets,
)
from metering.budgets import THRESHOLDS_DEFAULT, Budget, Scope
from metering.collections import INDEXED_FIELDS, KEYS, PEOPLE, SESSIONS
from metering.directory import Directory
from metering.infrastructure import InfrastructureCost
from metering.keys import KeyRecord
from metering.ledger import Ledger
from metering.segments import Segment
from metering.stores import DocumentStore, Put, Query
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.services.api.conftest import PASSWORD, MakeApp, Person

BUDGET = {"name": "all", "limit_usd": 10, "period": "month"}


def lines(person: Person) -> list[dict[str, Any]]:
    response = person.get("/v1/account/export")
    assert response.status_code == 200, response.text
    assert response.content_type == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def of(exported: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each["data"] for each in exported if each["kind"] == kind]


def keep_events(store: DocumentStore, clock: ManualClock, account_id: str, count: int) -> None:
    for number in range(0, count, 1000):
        events = tuple(
            make_event(account_id=account_id, timestamp=clock.now(), request_id=f"req_{number + each:032x}")
            for each in range(min(1000, count - number))
        )
        name = f"{'a' * 32}-{number}"
        Ledger(store, clock).commit(Segment(name=name, account_id=account_id, events=events))


@pytest.mark.battery("R1")
def test_every_collection_is_in_it_or_it_is_said_why_not() -> None:
    named = [*EXPORTED, *EXPORTED_BESIDE, *OTHERWISE]

    assert sorted(named) == sorted(INDEXED_FIELDS)


@pytest.mark.battery("R1")
def test_all_that_the_account_holds_is_in_it(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    key = ada.write("POST", "/v1/keys", {"name": "search"}).get_json()
    keep_events(sqlite_store, clock, ada.account_id, 3)
    for collection in EXPORTED:
        path = f"accounts/{ada.account_id}/{collection}/x"
        fields = {"noted": collection, "sealed_secret": b"\x01", "more": {"at": clock.now(), "raw": b"\x02"}}
        sqlite_store.commit([Put(path, fields)])
    clock.advance(3600)

    exported = lines(ada)

    assert exported[0]["data"]["account_id"] == ada.account_id
    assert exported[-1] == {"kind": "end", "data": {"lines": len(exported)}}
    assert of(exported, "account")[0]["name"] == "Ada & Co"
    assert of(exported, "member")[0]["email"] == ada.email
    assert of(exported, "member")[0]["role"] == "owner"
    assert of(exported, "key")[0]["key_id"] == key["id"]
    assert len(of(exported, "event")) == 3
    assert sum(each["requests"] for each in of(exported, "usage")) == 3
    assert "sign_up" in {each.get("operation") for each in of(exported, "audit_event")}
    for collection, kind in EXPORTED.items():
        assert {"noted": collection, "more": {"at": "2026-11-21T09:30:00Z"}} in of(exported, kind)


@pytest.mark.battery("R1")
def test_no_secret_is_in_it(ada: Person, sqlite_store: DocumentStore) -> None:
    plain = ada.write("POST", "/v1/keys", {"name": "search"}).get_json()["key"]
    kept = {
        collection: sqlite_store.query(Query(collection=collection))
        for collection in (KEYS, PEOPLE, SESSIONS)
    }

    text = ada.get("/v1/account/export").text

    secrets = [plain, PASSWORD, kept[PEOPLE][0].fields["password_hash"], kept[KEYS][0].document_id]
    secrets += [each.document_id for each in kept[SESSIONS]] + [ada.csrf_token]
    assert not [each for each in secrets if each in text]


@pytest.mark.battery("R1")
def test_nothing_of_another_account_is_in_it(
    ada: Person, sign_up: Callable[..., Person], sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    bob = sign_up("bob@example.com")
    keep_events(sqlite_store, clock, bob.account_id, 2)
    bob.write("POST", "/v1/keys", {"name": "of bob"})

    text = ada.get("/v1/account/export").text

    assert bob.account_id not in text
    assert "bob" not in text


def test_many_events_are_read_in_pages_and_each_is_there_once(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    keep_events(sqlite_store, clock, ada.account_id, 2_500)
    clock.advance(60)

    counted = Counter(each["request_id"] for each in of(lines(ada), "event"))

    assert len(counted) == 2_500
    assert set(counted.values()) == {1}


def test_what_was_never_set_is_in_it_with_what_holds_then(ada: Person) -> None:
    ada.write("POST", "/v1/budgets", BUDGET)
    ada.write("POST", "/v1/keys", {})

    exported = lines(ada)

    (budget,) = of(exported, "budget")
    assert (budget["timezone"], budget["thresholds_percent"]) == ("UTC", [*THRESHOLDS_DEFAULT])
    assert set(budget) == set(Budget.__struct_fields__)
    assert set(budget["scope"]) == set(Scope.__struct_fields__)
    (account,) = of(exported, "account")
    assert account["settings"]["cache"] == {"enabled": None, "temperature": None}
    assert account["settings"]["events_kept_days"] == 400
    assert of(exported, "channels") == [{"account_id": ada.account_id, "channels": []}]
    assert of(exported, "report_schedules")[0]["schedules"] == []
    assert of(exported, "namespace_map") == [{"teams": {}}]
    assert of(exported, "plan")[0]["name"] == "self_hosted"
    assert of(exported, "key")[0]["scopes"] == ["proxy"]
    assert set(of(exported, "key")[0]) == set(KeyRecord.__struct_fields__) - {"key_hash"}


def test_what_is_kept_short_is_told_in_full(ada: Person) -> None:
    assert ada.write("POST", "/v1/channels", {"kind": "email", "email": ada.email}).status_code == 201
    ada.write("PUT", "/v1/infrastructure/namespace-map", {"search": "team-search"})
    row = {
        "id": "r1",
        "event_type": "aws_infrastructure",
        "service": "ec2",
        "start_time": "2026-11-21T00:00:00Z",
        "end_time": "2026-11-21T01:00:00Z",
        "cost_usd": "1",
    }
    taken = ada.write("POST", "/v1/infrastructure/costs", {"rows": [row]})
    assert taken.status_code < 300, taken.text

    exported = lines(ada)

    (channel,) = of(exported, "channels")[0]["channels"]
    assert (channel["least_level"], channel["enabled"], channel["failures"]) == ("info", True, 0)
    assert not [each for each in channel if "sealed" in each]
    assert of(exported, "namespace_map")[0]["teams"] == {"search": "team-search"}
    (told,) = of(exported, "infrastructure_day")[0]["rows"]
    assert set(told) == set(InfrastructureCost.__struct_fields__)


def pieces(client: FlaskClient) -> Iterator[bytes]:
    response = client.get("/v1/account/export", buffered=False)
    assert response.status_code == 200
    return iter(response.iter_encoded())


def test_nothing_is_read_before_it_is_wanted(
    ada: Person, make_app: MakeApp, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    keep_events(sqlite_store, clock, ada.account_id, 5_000)
    clock.advance(60)
    store = CountingStore(sqlite_store)
    client = make_app(store).test_client()
    client.set_cookie("modeltrack_session", ada.client.get_cookie("modeltrack_session").value)  # type: ignore[union-attr]  # it is there

    made = pieces(client)
    first = next(made)
    read_first = store.documents_read
    rest = list(made)

    assert first.count(b"\n") == LINES_A_PIECE
    assert len(rest) > 20
    assert max(map(len, rest)) < 300_000
    assert store.documents_read > read_first


@pytest.mark.parametrize("what", ["suspended", "logged out everywhere", "second factor owed"])
def test_an_export_under_way_ends_with_the_right_to_it(
    ada: Person,
    app: Flask,
    directory: Directory,
    sqlite_store: DocumentStore,
    clock: ManualClock,
    what: str,
) -> None:
    keep_events(sqlite_store, clock, ada.account_id, 2_000)
    clock.advance(60)
    made = pieces(ada.client)
    next(made)

    if what == "suspended":
        directory.set_status(ada.account_id, "suspended")
    elif what == "second factor owed":
        directory.change_account(
            ada.account_id, lambda each: msgspec.structs.replace(each, second_factor_required_at=clock.now())
        )
    else:
        people = app.extensions["modeltrack"].people
        people.end_all_sessions(sqlite_store.query(Query(collection=PEOPLE))[0].document_id)

    with pytest.raises(ExportEnded):
        list(made)


def test_no_key_takes_an_export_and_taking_one_is_noted(
    ada: Person, client: FlaskClient, bearer: Callable[..., dict[str, str]]
) -> None:
    headers = bearer(ada.account_id, "read", "write", "stats", "ingest")
    refused = client.get("/v1/account/export", headers=headers)
    lines(ada)

    noted = [
        (each["actor"], each["outcome"])
        for each in ada.get("/v1/audit-events").get_json()["data"]
        if each["operation"] == "export_account"
    ]

    assert refused.status_code == 403
    assert sorted(noted) == [("key", "refused"), ("person", "done")]


def test_what_is_packed_or_sealed_is_left_out_wherever_it_stands() -> None:
    value = {"a": [{"key_hash": "x", "b": 1}, b"raw"], "password": "x", "input_tokens": 2, "of": timedelta(1)}

    assert without_secrets(value) == {"a": [{"b": 1}], "input_tokens": 2, "of": timedelta(1)}
