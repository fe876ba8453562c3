"""Ending oneself: who may, what has to be shown for it, what is gone, and what stays of it where."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_service.identities import Identity
from api_service.resources.person import FRESH
from metering.collections import INDEXED_FIELDS, membership_path
from metering.stores import DocumentStore, Query, Update
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.doubles.meddled_store import Meddled
from tests.services.api.conftest import PASSWORD, MakeApp, Person
from tests.services.api.test_members import BOB, Join, SignUp, code, give, id_of, join
from tests.services.api.test_second_factor import enrols
from tests.services.api.test_sign_in import log_in

__all__ = ["join"]  # a fixture


def erase(person: Person, **sent: str) -> Any:
    return person.write("POST", "/v1/person/erase", {"password": PASSWORD} | sent)


def documents_of(store: DocumentStore, person_id: str) -> list[str]:
    found = [
        document.path
        for name, fields in INDEXED_FIELDS.items()
        if "person_id" in fields
        for document in store.query(Query(collection=name, equal={"person_id": person_id}))
    ]
    return found + [each.path for each in store.query(Query(collection="people")) if person_id in each.path]


@pytest.mark.battery("R2")
def test_somebody_who_erases_themselves_is_gone_from_everywhere(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, join: Join, mailbox: Mailbox
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    bob = join(ada, "admin", on=there)
    bob_id = id_of(bob)
    log_in(elsewhere := here.test_client(), BOB)
    assert len(documents_of(store, bob_id)) > 4

    erased = erase(bob)

    assert (erased.status_code, erased.text) == (204, "")
    assert documents_of(store, bob_id) == []
    assert elsewhere.get("/v1/session").status_code == 401
    assert log_in(elsewhere, BOB).status_code == 401
    assert [each["email"] for each in ada.get("/v1/members").get_json()["data"]] == [ada.email]
    assert mailbox.to(BOB)[-1].subject == "Your log-in was erased"
    again = sign_up(BOB, on=there)
    assert id_of(again) != bob_id


@pytest.mark.battery("R2")
def test_what_they_did_stays_noted_under_an_id_that_names_nobody(
    ada: Person, sign_up: SignUp, mailbox: Mailbox
) -> None:
    bob = sign_up(BOB)
    bob_id = id_of(bob)
    for host in (ada, sign_up("carol@example.com")):
        host.write("POST", "/v1/invites", {"email": BOB, "role": "admin"})
        joined = bob.write("POST", "/v1/invites/accept", {"token": mailbox.token(BOB)})
        bob.csrf_token = joined.get_json()["csrf_token"]
    bob.write("POST", "/v1/session/switch", {"account_id": bob.account_id})
    close = Person(bob.client, bob.get("/v1/session").get_json()["csrf_token"], bob.account_id, BOB)
    close.write("DELETE", f"/v1/account?confirm={bob.account_id}")
    close.csrf_token = log_in(bob.client, BOB).get_json()["csrf_token"]

    assert erase(close).status_code == 204

    noted = ada.get("/v1/audit-events").get_json()["data"]
    (entry,) = [each for each in noted if each["operation"] == "erase_person"]
    assert (entry["actor_id"], entry["outcome"], entry["status"]) == (bob_id, "done", 204)
    assert BOB not in repr(noted)


def test_the_last_owner_is_told_of_which_accounts(
    ada: Person, sign_up: SignUp, join: Join, client: FlaskClient
) -> None:
    refused = erase(ada)
    bob = join(ada, "member")
    give(ada, bob, "owner")

    assert code(refused) == (409, "last_owner")
    details = refused.get_json()["error"]["details"]
    assert [each["param"] for each in details] == [ada.account_id]
    assert "DELETE /v1/account" in details[0]["message"]
    assert erase(ada).status_code == 204
    assert log_in(client, BOB).status_code == 200


def test_of_two_last_owners_who_erase_themselves_at_once_one_stays(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, join: Join
) -> None:
    meddled = Meddled(store)
    ada = sign_up(on=make_app(store))
    bob = join(ada, "owner", on=make_app(meddled))
    meddled.before_commit_that_names = membership_path(id_of(ada), ada.account_id)
    meddled.meddle = lambda: erase(ada)

    assert code(erase(bob)) == (409, "last_owner")
    assert [each["email"] for each in bob.get("/v1/members").get_json()["data"]] == [BOB]


def test_whoever_joins_at_the_same_moment_is_not_left_behind_there(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, join: Join, mailbox: Mailbox
) -> None:
    meddled = Meddled(store)
    ada, carol = sign_up(on=make_app(store)), sign_up("carol@example.com", on=make_app(store))
    bob = join(ada, "member", on=make_app(meddled))
    bob_id = id_of(bob)
    carol.write("POST", "/v1/invites", {"email": BOB})
    meddled.before_commit_that_names = membership_path(bob_id, carol.account_id)
    meddled.meddle = lambda: store.commit([Update(f"people/{bob_id}", {"name": "changed meanwhile"})])

    joined = bob.write("POST", "/v1/invites/accept", {"token": mailbox.token(BOB)})
    bob.csrf_token = joined.get_json()["csrf_token"]

    assert meddled.has_meddled
    assert joined.get_json()["person"]["name"] == "changed meanwhile"
    assert erase(bob).status_code == 204
    assert documents_of(store, bob_id) == []


@pytest.mark.parametrize("password", ["", "not the password"])
def test_a_wrong_password_erases_nobody(ada: Person, join: Join, password: str) -> None:
    bob = join(ada, "member")

    refused = erase(bob, password=password)

    assert (refused.status_code, refused.get_json()["error"]["param"]) == (422, "password")
    assert bob.get("/v1/session").status_code == 200


def test_who_has_a_second_factor_shows_a_code_too(ada: Person, join: Join, clock: ManualClock) -> None:
    bob = join(ada, "member")
    phone = enrols(bob, clock)
    confirmed = bob.write("POST", "/v1/person/second-factor/confirm", {"code": phone.code()})
    bob.csrf_token = confirmed.get_json()["csrf_token"]

    without = erase(bob)
    done = erase(bob, code=phone.next_code())

    assert code(without) == (422, "code_wrong")
    assert done.status_code == 204


@pytest.mark.parametrize(("seconds", "status"), [(0, 204), (1, 403)])
def test_who_has_no_password_has_signed_in_lately(
    app: Flask, ada: Person, mailbox: Mailbox, clock: ManualClock, seconds: int, status: int
) -> None:
    known = app.extensions["modeltrack"]
    identity = Identity(provider="google", issuer="https://idp.example", subject="1", email=BOB)
    own = known.identities.sign_up(identity)
    ada.write("POST", "/v1/invites", {"email": BOB, "role": "viewer"})
    seat = known.invites.join(mailbox.token(BOB), own.person.person_id)
    bob = _browser(app, known.sessions.open(seat.place, own.person.epoch, ""), own.account.account_id)
    clock.advance(FRESH.total_seconds() + seconds)
    other = bob.write("POST", "/v1/session/switch", {"account_id": ada.account_id})  # shows nothing anew
    bob.csrf_token = other.get_json()["csrf_token"]
    known.store.commit(
        [Update(membership_path(own.person.person_id, own.account.account_id), {"role": "viewer"})]
    )

    answered = bob.write("POST", "/v1/person/erase", {})

    assert answered.status_code == status
    assert status == 204 or answered.get_json()["error"]["code"] == "sign_in_again"


def _browser(app: Flask, session_id: str, account_id: str) -> Person:
    sessions = app.extensions["modeltrack"].sessions
    client = app.test_client()
    client.set_cookie("modeltrack_session", sessions.cookie_value(session_id))
    return Person(client, sessions.csrf_token(session_id), account_id, BOB)


def test_no_key_erases_a_person(
    ada: Person, client: FlaskClient, bearer: Callable[..., dict[str, str]]
) -> None:
    headers = bearer(ada.account_id, "read", "write")

    assert code(client.post("/v1/person/erase", json={}, headers=headers)) == (403, "session_required")
