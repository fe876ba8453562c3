"""An account that requires a second factor: who is kept out, who is not, and that nobody locks all out."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api_service.people import Membership, creation_of_place
from metering.directory import Directory
from metering.keys import SCOPES
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.identity_providers import IdentityProvider, running_identity_provider
from tests.doubles.mailbox import Mailbox
from tests.services.api.conftest import PASSWORD, MakeApp, Person
from tests.services.api.test_members import BOB, Join, id_of, join
from tests.services.api.test_oauth import begins, comes_back, connected
from tests.services.api.test_second_factor import OWN, Phone, enrols, gives_code

__all__ = ["connected", "join"]  # fixtures

REQUIRED = "/v1/account/second-factor"
BROWSER = {"Accept": "text/html"}


def code_of(response: TestResponse) -> tuple[int, str]:
    return response.status_code, str((response.get_json() or {}).get("error", {}).get("code", ""))


def set_up(person: Person, clock: ManualClock) -> Phone:
    """A second factor for the person."""
    phone = enrols(person, clock)
    told = person.write("POST", f"{OWN}/confirm", {"code": phone.code()})
    assert told.status_code == 200, told.text
    person.csrf_token = told.get_json()["csrf_token"]
    return phone


def require(person: Person, phone: Phone, what: str = "require") -> TestResponse:
    return person.write("POST", f"{REQUIRED}/{what}", {"code": phone.next_code()})


@pytest.fixture
def phone(ada: Person, clock: ManualClock) -> Phone:
    """Ada's, the owner's."""
    return set_up(ada, clock)


def test_a_session_that_is_under_way_is_held_on_every_instance_at_once(
    ada: Person, phone: Phone, join: Join, make_app: MakeApp, sqlite_store: DocumentStore
) -> None:
    bob = join(ada, "admin", on=make_app(sqlite_store))
    assert bob.get("/v1/account").status_code == 200

    assert require(ada, phone).get_json()["required"]

    for method, path in (("GET", "/v1/account"), ("GET", "/v1/events"), ("POST", "/v1/keys")):
        response = bob.write(method, path, {} if method == "POST" else None)
        assert code_of(response) == (403, "second_factor_required")
        assert "POST /v1/person/second-factor" in response.get_json()["error"]["message"]
    assert ada.get("/v1/account").get_json()["second_factor_required"] is True


def test_who_owes_one_logs_in_sets_it_up_and_goes_on(
    ada: Person, phone: Phone, join: Join, app: Flask, clock: ManualClock
) -> None:
    join(ada, "member")
    require(ada, phone)
    client = app.test_client()

    told = client.post("/v1/login", json={"email": BOB, "password": PASSWORD}).get_json()
    bob = Person(client, told["csrf_token"], ada.account_id, BOB)
    assert told["second_factor_owed"] is True
    assert bob.get("/v1/usage").status_code == 403
    set_up(bob, clock)

    assert bob.get("/v1/session").get_json()["second_factor_owed"] is False
    assert bob.get("/v1/members").status_code == 200


def test_no_log_in_tells_the_accounts_settings(ada: Person, phone: Phone, join: Join, app: Flask) -> None:
    ada.write("PATCH", "/v1/account", {"azure": {"resource": "ada-secret"}})
    bob = join(ada, "member")
    require(ada, phone)
    client = app.test_client()
    sent = {"email": BOB, "password": PASSWORD}

    answers = [client.post("/v1/login", json=sent), bob.get("/v1/session"), bob.get("/v1/accounts")]
    answers += [bob.get("/profile", headers=BROWSER), bob.get("/account/switch", headers=BROWSER)]

    assert [each.status_code for each in answers] == [200] * 5
    assert [each.text for each in answers if "ada-secret" in each.text or ada.email in each.text] == []
    assert set(answers[0].get_json()["account"]) == {"id", "name", "status"}


def test_who_switches_theirs_off_is_held_again(
    ada: Person, phone: Phone, join: Join, clock: ManualClock
) -> None:
    bob = join(ada, "member")
    bobs_phone = set_up(bob, clock)
    require(ada, phone)
    assert bob.get("/v1/account").status_code == 200

    sent = {"password": PASSWORD, "code": bobs_phone.next_code()}
    assert bob.write("POST", f"{OWN}/switch-off", sent).status_code == 204

    assert code_of(bob.get("/v1/account")) == (403, "second_factor_required")


def test_another_account_of_the_same_person_is_open_as_before(
    ada: Person, phone: Phone, sign_up: Callable[..., Person], sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    bob = sign_up(BOB)
    place = Membership(
        person_id=id_of(bob), account_id=ada.account_id, role="admin", created_at=clock.now(), place_id="1"
    )
    sqlite_store.commit([creation_of_place(place)])
    require(ada, phone)

    assert bob.get("/v1/account").status_code == 200
    there = bob.write("POST", "/v1/session/switch", {"account_id": ada.account_id}).get_json()
    bob.csrf_token = there["csrf_token"]
    assert (there["second_factor_owed"], bob.get("/v1/account").status_code) == (True, 403)
    back = bob.write("POST", "/v1/session/switch", {"account_id": bob.account_id})
    assert back.get_json()["second_factor_owed"] is False
    assert bob.get("/v1/account").status_code == 200


def test_two_instances_on_either_store_hold_the_same_people(
    make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person], clock: ManualClock
) -> None:
    here, there = make_app(store), make_app(store)
    ada, bob = sign_up(on=here), sign_up(BOB, on=there)
    place = Membership(
        person_id=id_of(bob), account_id=ada.account_id, role="admin", created_at=clock.now(), place_id="1"
    )
    store.commit([creation_of_place(place)])
    moved = bob.write("POST", "/v1/session/switch", {"account_id": ada.account_id})
    bob.csrf_token = moved.get_json()["csrf_token"]
    assert bob.get("/v1/account").status_code == 200

    told = require(ada, set_up(ada, clock)).get_json()

    assert [each["email"] for each in told["members_without"]] == [BOB]
    assert code_of(bob.get("/v1/account")) == (403, "second_factor_required")
    set_up(bob, clock)
    assert bob.get("/v1/account").status_code == 200
    assert bob.get(REQUIRED).get_json()["members_without"] == []
    assert ada.write("POST", f"/v1/members/{id_of(bob)}/end-sessions").status_code == 204
    assert bob.get("/v1/person").status_code == 401


def test_keys_go_on(ada: Person, phone: Phone, app: Flask, bearer: Callable[..., dict[str, str]]) -> None:
    key = bearer(ada.account_id, *SCOPES)
    require(ada, phone)

    assert app.test_client().get("/v1/account", headers=key).status_code == 200


def test_no_key_and_no_member_requires_or_waives_it(
    ada: Person,
    phone: Phone,
    app: Flask,
    join: Join,
    clock: ManualClock,
    bearer: Callable[..., dict[str, str]],
) -> None:
    key, bob = bearer(ada.account_id, *SCOPES), join(ada, "member")
    bobs_phone = set_up(bob, clock)

    for what in ("require", "waive"):
        sent = {"code": bobs_phone.next_code()}
        assert code_of(bob.write("POST", f"{REQUIRED}/{what}", sent)) == (403, "role_missing")
        by_key = app.test_client().post(f"{REQUIRED}/{what}", json=sent, headers=key)
        assert code_of(by_key) == (403, "session_required")
    named = ada.write("PATCH", "/v1/account", {"second_factor_required": True})
    assert named.status_code == 422


def test_who_has_none_requires_it_of_nobody(ada: Person, join: Join) -> None:
    bob = join(ada, "viewer")

    refused = ada.write("POST", f"{REQUIRED}/require", {"code": "492039"})

    assert code_of(refused) == (409, "second_factor_missing")
    assert "of your own first" in refused.get_json()["error"]["message"]
    assert bob.get("/v1/account").status_code == 200
    told = ada.get(REQUIRED).get_json()
    assert (told["required"], {each["email"] for each in told["members_without"]}) == (
        False,
        {ada.email, BOB},
    )


@pytest.mark.parametrize("what", ["require", "waive"])
def test_it_takes_a_code_each_time(ada: Person, phone: Phone, what: str) -> None:
    if what == "waive":
        require(ada, phone)
    before = ada.get(REQUIRED).get_json()

    wrong = ada.write("POST", f"{REQUIRED}/{what}", {"code": phone.wrong_code()})

    assert code_of(wrong) == (422, "code_wrong")
    assert ada.get(REQUIRED).get_json() == before
    used = phone.next_code()
    assert ada.write("POST", f"{REQUIRED}/{what}", {"code": used}).status_code == 200
    assert code_of(ada.write("POST", f"{REQUIRED}/{what}", {"code": used})) == (422, "code_wrong")


def test_waived_everybody_is_in_again(ada: Person, phone: Phone, join: Join) -> None:
    bob = join(ada, "viewer")
    since = require(ada, phone).get_json()["since"]
    assert require(ada, phone).get_json()["since"] == since  # required twice is required since the first

    told = require(ada, phone, "waive").get_json()

    assert (told["required"], told["since"]) == (False, None)
    assert bob.get("/v1/account").status_code == 200


def test_who_lost_their_role_at_that_moment_requires_nothing(
    ada: Person, phone: Phone, join: Join, clock: ManualClock, directory: Directory
) -> None:
    bob = join(ada, "admin")
    bobs_phone = set_up(bob, clock)
    ada.write("PATCH", f"/v1/members/{id_of(bob)}", {"role": "member"})

    assert code_of(require(bob, bobs_phone)) == (403, "role_missing")
    account = directory.account(ada.account_id)
    assert account is not None
    assert account.second_factor_required_at is None


def test_both_ways_stand_in_the_audit_log_with_who_did_it(ada: Person, phone: Phone, join: Join) -> None:
    bob = join(ada, "member")
    require(ada, phone)
    bob.write("POST", "/v1/keys", {})
    require(ada, phone, "waive")

    told = ada.get("/v1/audit-events").get_json()["data"][:3]

    found = {(each["operation"], each["outcome"], each["actor_id"]) for each in told}
    assert found == {
        ("require_second_factor", "done", id_of(ada)),
        ("create_key", "refused", id_of(bob)),
        ("waive_second_factor", "done", id_of(ada)),
    }


@pytest.mark.parametrize("path", ["/overview", "/members", "/account", "/keys/new", "/welcome"])
def test_whatever_page_they_open_leads_to_setting_one_up(
    ada: Person, phone: Phone, join: Join, path: str
) -> None:
    bob = join(ada, "admin")
    require(ada, phone)

    page = bob.get(path, headers=BROWSER)
    part = bob.get(path, headers=BROWSER | {"HX-Request": "true"})

    assert (page.status_code, page.headers["Location"]) == (303, "/profile")
    assert part.headers["HX-Redirect"] == "/profile"
    shown = bob.get("/profile", headers=BROWSER)
    assert shown.status_code == 200
    assert "requires a second factor of its members" in shown.text
    assert 'href="/keys"' not in shown.text


@pytest.fixture
def provider(clock: ManualClock) -> Iterator[IdentityProvider]:
    with running_identity_provider(clock) as running:
        yield running


def test_who_comes_from_google_owes_it_too_and_needs_no_password_for_it(  # noqa: PLR0917  # fixtures, by name
    ada: Person,
    phone: Phone,
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    connected: dict[str, str],
    provider: IdentityProvider,
    mailbox: Mailbox,
    clock: ManualClock,
) -> None:
    client = make_app(sqlite_store, **connected).test_client()
    provider.claims = {**provider.claims, "email": BOB}
    comes_back(client, provider.signs_in(begins(client)))
    told = client.get("/v1/session").get_json()
    bob = Person(client, told["csrf_token"], told["account"]["id"], told["person"]["email"])
    ada.write("POST", "/v1/invites", {"email": bob.email, "role": "admin"})
    joined = bob.write("POST", "/v1/invites/accept", {"token": mailbox.token(bob.email)})
    bob.csrf_token = joined.get_json()["csrf_token"]
    require(ada, phone)
    assert code_of(bob.get("/v1/account")) == (403, "second_factor_required")

    made = bob.write("POST", OWN, {})
    assert made.status_code == 201, made.text
    bobs = Phone(made.get_json()["secret"], clock)
    done = bob.write("POST", f"{OWN}/confirm", {"code": bobs.code()})
    assert done.status_code == 200

    assert bob.get("/v1/account").status_code == 200
    comes_back(client, provider.signs_in(begins(client)))
    assert gives_code(client, bobs.next_code()).get_json()["second_factor_owed"] is False


def test_who_has_no_password_and_came_long_ago_signs_in_anew(
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    connected: dict[str, str],
    provider: IdentityProvider,
    clock: ManualClock,
) -> None:
    client = make_app(sqlite_store, **connected).test_client()
    comes_back(client, provider.signs_in(begins(client)))
    told = client.get("/v1/session").get_json()
    clock.advance(601)
    bob = Person(client, told["csrf_token"], told["account"]["id"], told["person"]["email"])

    assert code_of(bob.write("POST", OWN, {})) == (403, "sign_in_again")
