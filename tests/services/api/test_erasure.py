"""Ending an account: who may, what has to be said for it, and what nobody can do from then on."""

from collections.abc import Callable

from flask import Flask
from flask.testing import FlaskClient

from metering.collections import erasure_path
from metering.directory import Directory
from metering.erasure import run
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import PASSWORD, MakeApp, Person

Bearer = Callable[..., dict[str, str]]


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
    assert ada.get("/v1/keys").status_code == 403
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
