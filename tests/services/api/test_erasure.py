"""Ending an account: who may, what has to be said for it, and what nobody can do from then on."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from msgspec.structs import replace

from metering.budgets import Budget
from metering.collections import erasure_path
from metering.directory import Directory, KeyTerms
from metering.erasure import run
from metering.errors import Conflict
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.services.api.conftest import PASSWORD, MakeApp, Person

Bearer = Callable[..., dict[str, str]]


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.get_json()["error"]["code"]


def erase(person: Person) -> int:
    return person.write("DELETE", f"/v1/account?confirm={person.account_id}").status_code


def test_an_owner_who_says_which_account_ends_it(
    ada: Person, make_app: MakeApp, sqlite_store: DocumentStore, bearer: Bearer, clock: ManualClock
) -> None:
    headers = bearer(ada.account_id, "read", "write")
    elsewhere = make_app(sqlite_store).test_client()

    answered = ada.write("DELETE", f"/v1/account?confirm={ada.account_id}")

    assert answered.status_code == 202
    assert answered.get_json()["erased_by"] == "2026-12-21T09:30:00Z"
    assert elsewhere.get("/v1/account", headers=headers).status_code == 401
    assert code(ada.get("/v1/keys")) == (401, "account_closed")
    run(sqlite_store, clock)
    assert ada.get("/v1/account").status_code == 401


def test_without_its_id_nothing_is_ended(ada: Person, sqlite_store: DocumentStore) -> None:
    for path in ("/v1/account", "/v1/account?confirm=yes", f"/v1/account?confirm=acct_{'0' * 32}"):
        refused = ada.write("DELETE", path)

        assert (refused.status_code, refused.get_json()["error"]["param"]) == (422, "confirm")
    assert ada.get("/v1/account").status_code == 200
    assert sqlite_store.get(erasure_path(ada.account_id)) is None


def test_no_key_ends_an_account(ada: Person, client: FlaskClient, bearer: Bearer) -> None:
    headers = bearer(ada.account_id, "read", "write", "stats", "ingest")

    refused = client.delete(f"/v1/account?confirm={ada.account_id}", headers=headers)

    assert (refused.status_code, refused.get_json()["error"]["code"]) == (403, "session_required")


def test_nobody_ends_the_account_of_another(ada: Person, sign_up: Callable[..., Person]) -> None:
    bob = sign_up("bob@example.com")

    assert bob.write("DELETE", f"/v1/account?confirm={ada.account_id}").status_code == 422
    assert ada.get("/v1/account").status_code == 200


@pytest.mark.battery("R2")
def test_the_same_address_may_sign_up_anew_and_finds_nothing(
    ada: Person,
    app: Flask,
    sign_up: Callable[..., Person],
    sqlite_store: DocumentStore,
    clock: ManualClock,
) -> None:
    ada.write("POST", "/v1/keys", {"name": "search"})
    erase(ada)
    run(sqlite_store, clock)
    login = app.test_client().post("/v1/login", json={"email": ada.email, "password": PASSWORD})

    again = sign_up(ada.email)

    assert login.status_code == 401
    assert again.get("/v1/keys").get_json()["data"] == []


def test_an_account_that_is_being_erased_does_not_come_back(ada: Person, directory: Directory) -> None:
    erase(ada)

    account = directory.account(ada.account_id)

    assert account is not None
    assert (account.status, account.closed_at is not None) == ("suspended", True)


# Between the moment it is closed and the job that deletes it


@pytest.mark.battery("R2")
def test_a_closed_account_serves_nobody_on_any_instance(
    make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person], clock: ManualClock
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    key = ada.write("POST", "/v1/keys", {"scopes": ["read", "write"]}).get_json()["key"]
    elsewhere = there.test_client()
    cookie = ada.client.get_cookie("modeltrack_session")
    assert cookie is not None
    elsewhere.set_cookie("modeltrack_session", cookie.value)
    assert elsewhere.get("/v1/session").status_code == 200

    assert erase(ada) == 202

    for client in (ada.client, elsewhere):
        for path in ("/v1/session", "/v1/accounts", "/v1/person", "/v1/account/export", "/v1/budgets"):
            assert code(client.get(path)) == (401, "account_closed"), path
    bearer = {"Authorization": f"Bearer {key}"}
    for app in (here, there):
        assert app.test_client().get("/v1/account", headers=bearer).status_code == 401
    assert ada.write("POST", "/v1/logout").status_code == 401
    assert erase(ada) == 401
    assert ada.client.get("/login").status_code == 200  # and no way back to a page that leads there


def test_whoever_was_in_a_closed_account_alone_does_not_log_in(ada: Person, client: FlaskClient) -> None:
    erase(ada)

    wrong = client.post("/v1/login", json={"email": ada.email, "password": "not the password"})
    right = client.post("/v1/login", json={"email": ada.email, "password": PASSWORD})

    assert code(wrong) == (401, "unauthenticated")
    assert code(right) == (403, "account_closed")
    assert "Set-Cookie" not in right.headers


def test_whoever_is_in_another_account_logs_in_there_and_sees_the_closed_one_no_more(
    ada: Person, sign_up: Callable[..., Person], mailbox: Mailbox
) -> None:
    bob = sign_up("bob@example.com")
    ada.write("POST", "/v1/invites", {"email": bob.email})
    bob.write("POST", "/v1/invites/accept", {"token": mailbox.token(bob.email)})
    erase(ada)

    answered = bob.client.post("/v1/login", json={"email": bob.email, "password": PASSWORD})
    bob.csrf_token = answered.get_json()["csrf_token"]

    assert answered.get_json()["account"]["id"] == bob.account_id
    listed = bob.get("/v1/accounts").get_json()["data"]
    assert [each["account_id"] for each in listed] == [bob.account_id]
    switched = bob.write("POST", "/v1/session/switch", {"account_id": ada.account_id})
    assert switched.status_code == 404


def test_nothing_is_made_in_a_closed_account_by_a_request_under_way(
    app: Flask, ada: Person, directory: Directory, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    known = app.extensions["modeltrack"]
    (place,) = known.people.places_of(ada.get("/v1/person").get_json()["id"])
    _, key = directory.create_key(ada.account_id, KeyTerms())
    erase(ada)

    for change in (
        lambda: directory.create_key(ada.account_id, KeyTerms()),
        lambda: directory.rotate_key(ada.account_id, key.key_id),
        lambda: directory.change_account(ada.account_id, lambda now: replace(now, name="back")),
        lambda: known.rulebook.create_budget(ada.account_id, Budget(budget_id="", limit_nanodollars=1)),
        lambda: known.invites.make("bob@example.com", "viewer", place),
    ):
        with pytest.raises(Conflict, match="closed"):
            change()
    account = directory.account(ada.account_id)
    assert account is not None
    assert account.name == ""
    assert [each.is_live(clock.now()) for each in directory.keys_of(ada.account_id)] == [False]
