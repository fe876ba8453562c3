"""The audit log: one entry a change and a refused change, and nothing of what was sent."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from metering.collections import audit_events_collection
from metering.stores import DocumentStore, Query
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.doubles.unreliable_store import Fate, UnreliableStore
from tests.services.api.conftest import PASSWORD, MakeApp, Person
from tests.services.api.operations import OPERATIONS

Bearer = Callable[..., dict[str, str]]
NAME = "a name that somebody chose"
NEW = {"name": NAME, "scopes": ["read"]}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def entries(person: Person, **query: object) -> list[dict[str, Any]]:
    response = person.get("/v1/audit-events", query_string=query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.get_json()["data"]
    return found


def of(person: Person, operation: str) -> list[dict[str, Any]]:
    return [each for each in entries(person) if each["operation"] == operation]


@pytest.mark.battery("R4")
def test_a_change_is_one_entry_that_says_who_what_and_with_what_result(ada: Person) -> None:
    made = ada.write("POST", "/v1/keys", NEW, traceparent=TRACE)

    (entry,) = of(ada, "create_key")

    assert entry == {
        "id": entry["id"],
        "at": "2026-11-21T09:30:00Z",
        "actor": "person",
        "actor_id": ada.get("/v1/session").get_json()["person"]["id"],
        "operation": "create_key",
        "target_id": made.get_json()["id"],
        "outcome": "done",
        "status": 201,
        "code": None,
        "request_id": made.headers["X-Request-ID"],
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "network": "127.0.0.1",
    }


@pytest.mark.battery("R4")
def test_a_refused_change_is_an_entry_with_its_reason(ada: Person) -> None:
    key_id = ada.write("POST", "/v1/keys", NEW).get_json()["id"]
    forged = ada.write("DELETE", f"/v1/keys/{key_id}", Origin="https://elsewhere.example")
    unknown = ada.write("DELETE", f"/v1/keys/key_{'0' * 32}")

    by_code = {each["code"]: each for each in of(ada, "revoke_key")}

    assert (forged.status_code, unknown.status_code) == (403, 404)
    assert set(by_code) == {"foreign_origin", "not_found"}
    assert by_code["foreign_origin"]["target_id"] == key_id
    assert {each["outcome"] for each in by_code.values()} == {"refused"}


def test_a_key_that_may_not_is_noted_with_its_id(ada: Person, client: FlaskClient, bearer: Bearer) -> None:
    headers = bearer(ada.account_id, "read")

    client.post("/v1/budgets", json={}, headers=headers)

    (entry,) = of(ada, "create_budget")
    assert (entry["actor"], entry["code"], entry["outcome"]) == ("key", "scope_missing", "refused")
    assert entry["actor_id"].startswith("key_")


def test_what_reads_is_no_change(ada: Person) -> None:
    before = len(entries(ada))

    ada.get("/v1/account")
    ada.get("/v1/keys")

    assert len(entries(ada)) == before


def test_nothing_of_what_was_sent_is_kept(ada: Person, sqlite_store: DocumentStore) -> None:
    canary = "mt_" + "c0ffee" * 12
    made = ada.write("POST", "/v1/keys", NEW)
    ada.write("DELETE", f"/v1/keys/{canary}")
    ada.write("PATCH", "/v1/account", {"name": canary, canary: canary}, traceparent=canary)

    kept = sqlite_store.query(Query(collection=audit_events_collection(ada.account_id), limit=1000))

    text = str([(each.path, each.fields) for each in kept])
    assert len(kept) >= 4
    assert not any(secret in text for secret in (canary, made.get_json()["key"], NAME))


def test_a_repeated_answer_is_no_second_change(ada: Person) -> None:
    for _ in range(2):
        ada.write("POST", "/v1/keys", NEW, **{"Idempotency-Key": "again"})

    assert len(of(ada, "create_key")) == 1


@pytest.mark.battery("R4")
def test_signing_up_and_logging_in_are_entries_of_the_account(ada: Person, client: FlaskClient) -> None:
    client.post("/v1/login", json={"email": ada.email, "password": "correct horse battery"})

    noted = {each["operation"]: each for each in entries(ada)}

    assert noted["sign_up"]["actor"] == noted["log_in"]["actor"] == "person"
    assert noted["log_in"]["actor_id"] == ada.get("/v1/session").get_json()["person"]["id"]


def test_what_is_changed_by_a_mailed_link_is_an_entry_of_the_account(
    ada: Person, client: FlaskClient, mailbox: Mailbox
) -> None:
    client.post("/v1/email/confirm", json={"token": mailbox.token(ada.email)})
    ada.write("POST", "/v1/person/email", {"email": "new@example.com", "password": PASSWORD})
    client.post("/v1/email/change", json={"token": mailbox.token("new@example.com")})
    person_id = ada.get("/v1/session").get_json()["person"]["id"]
    client.post("/v1/password-reset", json={"email": "new@example.com"})
    token = mailbox.token("new@example.com")
    client.post("/v1/password-reset/confirm", json={"token": token, "password": "staple hoof seven"})
    again = client.post("/v1/login", json={"email": "new@example.com", "password": "staple hoof seven"})
    ada.client = client

    assert again.status_code == 200
    for operation in ("confirm_address", "change_address", "reset_password"):
        (entry,) = of(ada, operation)
        assert (entry["actor_id"], entry["outcome"], entry["target_id"]) == (person_id, "done", person_id)


@pytest.mark.battery("R4")
def test_without_its_entry_nothing_is_changed(
    make_app: MakeApp, sqlite_store: DocumentStore, ada: Person, bearer: Bearer
) -> None:
    headers = bearer(ada.account_id, "write", "read")
    fates: list[Fate] = ["applied", "applied", "not_applied"]  # a key's use, a place of its rate, the entry
    client = make_app(UnreliableStore(sqlite_store, fates)).test_client()
    before = len(ada.get("/v1/keys").get_json()["data"])

    refused = client.post("/v1/keys", json=NEW, headers=headers)

    assert refused.status_code == 503
    assert len(ada.get("/v1/keys").get_json()["data"]) == before


def test_what_nobody_knows_the_end_of_stays_begun(
    make_app: MakeApp, sqlite_store: DocumentStore, ada: Person, bearer: Bearer
) -> None:
    headers = bearer(ada.account_id, "write", "read")
    fates: list[Fate] = ["applied", "applied", "applied", "applied", "not_applied"]  # the entry's second half
    client = make_app(UnreliableStore(sqlite_store, fates)).test_client()

    assert client.post("/v1/keys", json=NEW, headers=headers).status_code == 201

    (entry,) = of(ada, "create_key")
    assert (entry["outcome"], entry["status"]) == ("begun", None)


def test_pages_show_each_entry_once_newest_first(ada: Person, clock: ManualClock) -> None:
    for _ in range(5):
        clock.advance(1)
        ada.write("POST", "/v1/keys", NEW)
    seen: list[str] = []
    page: str | None = None
    while True:
        query: dict[str, object] = {"limit": 2} | ({"page": page} if page else {})
        answered = ada.get("/v1/audit-events", query_string=query).get_json()
        seen += [each["id"] for each in answered["data"]]
        page = answered["next_page"]
        if not answered["has_more"]:
            break

    assert seen == [each["id"] for each in entries(ada)]
    assert len(set(seen)) == 6


@pytest.mark.parametrize("page", ["x", "AAAA", "MS5hdWRpdF8", "é"])
def test_a_page_that_is_none_is_refused_by_its_field(ada: Person, page: str) -> None:
    refused = ada.get("/v1/audit-events", query_string={"page": page})

    assert (refused.status_code, refused.get_json()["error"]["param"]) == (422, "page")


def test_no_operation_changes_what_it_says_or_takes_an_entry_out() -> None:
    about = [each for each in OPERATIONS if "audit" in each.path]

    assert [each.name for each in about] == ["GET /v1/audit-events"]


def test_others_see_nothing_of_it_and_keys_see_none(
    ada: Person, sign_up: Callable[..., Person], client: FlaskClient, bearer: Bearer
) -> None:
    ada.write("POST", "/v1/keys", NEW)
    bob = sign_up("bob@example.com")

    assert of(bob, "create_key") == []
    headers = bearer(ada.account_id, "read", "write", "stats")
    assert client.get("/v1/audit-events", headers=headers).status_code == 403
