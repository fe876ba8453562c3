"""Signing in with Google and GitHub, against real little providers; browsers keep to SameSite."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import OctKey
from werkzeug.test import TestResponse

from api_service.sign_in_providers import CALLS_AT_ONCE_MAX, KEYS_AGAIN_AFTER_SECONDS
from api_service.sign_ins import LIFETIME_SECONDS
from metering import erasure
from metering.stores import DocumentStore, Query
from tests.doubles.clock import ManualClock
from tests.doubles.identity_providers import (
    CLIENT_ID,
    CLIENT_SECRET,
    IdentityProvider,
    key_named,
    running_identity_provider,
    unsigned,
)
from tests.doubles.mailbox import Mailbox
from tests.services.api.conftest import ORIGIN, PASSWORD, MakeApp, Person
from tests.services.api.logbook import Logbook

STRICT = ("modeltrack_session", "modeltrack_second_factor")
CANARIES = ("canary", CLIENT_SECRET)


@pytest.fixture
def provider(clock: ManualClock) -> Iterator[IdentityProvider]:
    with running_identity_provider(clock) as running:
        running.user = {"id": 7, "login": "ada", "name": "Ada"}
        running.emails = [{"email": "ada@example.com", "primary": True, "verified": True}]
        yield running


@pytest.fixture
def connected(provider: IdentityProvider) -> dict[str, str]:
    """The settings that know the provider both as Google and as GitHub."""
    return {
        "google_client_id": CLIENT_ID,
        "google_client_secret": CLIENT_SECRET,
        "google_issuer": provider.url,
        "github_client_id": CLIENT_ID,
        "github_client_secret": CLIENT_SECRET,
        "github_url": provider.url,
        "github_api_url": f"{provider.url}/api",
    }


@pytest.fixture
def app(make_app: MakeApp, sqlite_store: DocumentStore, connected: dict[str, str]) -> Flask:
    return make_app(sqlite_store, **connected)


def begins(client: FlaskClient, name: str = "google", **body: str) -> str:
    """Begin to sign in: the address that the browser is sent to."""
    response = client.post(f"/v1/sign-in/{name}", json=body, headers={"Origin": ORIGIN})
    assert response.status_code == 200, response.text
    return str(response.get_json()["url"])


def comes_back(client: FlaskClient, told: dict[str, str], name: str = "google") -> TestResponse:
    """Come back as browsers do that another site sends: without the cookies that are Strict."""
    kept = {each: client.get_cookie(each) for each in STRICT}
    for each in STRICT:
        client.delete_cookie(each)
    response = client.get(f"/v1/sign-in/{name}/return", query_string=told)
    for each, cookie in kept.items():
        if cookie is not None and client.get_cookie(each) is None:
            client.set_cookie(each, cookie.value)
    return response


def signs_in(client: FlaskClient, provider: IdentityProvider, name: str = "google") -> TestResponse:
    return comes_back(client, provider.signs_in(begins(client, name)), name)


def who(client: FlaskClient) -> str | None:
    """The address of whoever is logged in in that browser."""
    email: str | None = client.get("/v1/person").get_json().get("email")
    return email


def code_of(response: TestResponse) -> str:
    return str(response.get_json()["error"]["code"])


def confirm(person: Person, mailbox: Mailbox) -> None:
    sent = {"token": mailbox.token(person.email)}
    assert person.client.post("/v1/email/confirm", json=sent).status_code == 204


def kept(store: DocumentStore) -> str:
    """Everything of people that the store holds."""
    names = ("people", "identities", "sign_ins", "sessions", "emails", "second_factors", "memberships")
    return str([each for name in names for each in store.query(Query(collection=name))])


@pytest.mark.parametrize("name", ["google", "github"])
def test_a_newcomer_signs_up_and_is_logged_in(
    client: FlaskClient, provider: IdentityProvider, name: str
) -> None:
    response = signs_in(client, provider, name)

    assert response.status_code == 200
    told = client.get("/v1/session").get_json()
    assert told["person"]["email"] == "ada@example.com"
    assert told["person"]["address_confirmed"]
    assert told["csrf_token"]


def test_the_way_back_ends_on_a_page_that_leads_on_by_itself_and_runs_nothing(
    client: FlaskClient, provider: IdentityProvider
) -> None:
    response = comes_back(client, provider.signs_in(begins(client, return_to="/usage/today")))

    assert response.status_code == 200
    assert "Location" not in response.headers
    assert '<meta http-equiv="refresh" content="0;url=/usage/today">' in response.text
    assert "<script" not in response.text
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert response.headers["Cache-Control"] == "no-store"


def test_the_session_stays_strict_and_only_the_ticket_is_lax(
    client: FlaskClient, provider: IdentityProvider
) -> None:
    begun = client.post("/v1/sign-in/google", json={})
    back = comes_back(client, provider.signs_in(begun.get_json()["url"]))

    (ticket,) = begun.headers.getlist("Set-Cookie")
    assert ticket.startswith("modeltrack_sign_in=")
    assert all(each in ticket for each in ("SameSite=Lax", "HttpOnly", "Max-Age=600", "Path=/"))
    session = next(each for each in back.headers.getlist("Set-Cookie") if "session=" in each)
    assert "SameSite=Strict" in session
    assert client.get_cookie("modeltrack_sign_in") is None


def test_over_https_the_ticket_is_for_this_host_alone(
    make_app: MakeApp, sqlite_store: DocumentStore, connected: dict[str, str]
) -> None:
    client = make_app(sqlite_store, public_url="https://api.example.com", **connected).test_client()
    begun = client.post("/v1/sign-in/github", json={}, base_url="https://127.0.0.1")

    (ticket,) = begun.headers.getlist("Set-Cookie")
    assert ticket.startswith("__Host-modeltrack_sign_in=")
    assert "Secure" in ticket
    assert "https%3A%2F%2Fapi.example.com%2Fv1%2Fsign-in%2Fgithub%2Freturn" in begun.get_json()["url"]


def test_who_comes_again_is_the_same_person_whatever_address_they_have_there_now(
    client: FlaskClient, provider: IdentityProvider, app: Flask
) -> None:
    signs_in(client, provider)
    provider.claims = {"email": "lovelace@example.com", "email_verified": False}
    again = app.test_client()

    assert signs_in(again, provider).status_code == 200
    assert who(again) == "ada@example.com"


def test_an_address_that_both_sides_know_to_be_true_links(
    ada: Person, app: Flask, provider: IdentityProvider, mailbox: Mailbox
) -> None:
    confirm(ada, mailbox)
    elsewhere = app.test_client()

    assert signs_in(elsewhere, provider).status_code == 200

    assert elsewhere.get("/v1/account").get_json()["id"] == ada.account_id
    assert mailbox.to(ada.email)[-1].subject == "Signing in with Google"
    assert who(ada.client) == ada.email  # in two browsers now


def test_who_signed_up_with_anothers_address_keeps_no_way_in_once_that_other_resets_the_password(
    sign_up: Callable[..., Person],
    app: Flask,
    provider: IdentityProvider,
    mailbox: Mailbox,
    clock: ManualClock,
) -> None:
    squatter = sign_up("victim@example.com")
    begun = squatter.write("POST", "/v1/person/identities/google", {"password": PASSWORD})
    comes_back(squatter.client, provider.signs_in(begun.get_json()["url"]))
    enrolled = squatter.write("POST", "/v1/person/second-factor", {"password": PASSWORD}).get_json()
    code = pyotp.TOTP(enrolled["secret"]).at(clock.now())
    squatter.write("POST", "/v1/person/second-factor/confirm", {"code": code})
    victim = app.test_client()
    victim.post("/v1/password-reset", json={"email": "victim@example.com"})

    sent = {"token": mailbox.token("victim@example.com"), "password": "staple hoof seven"}
    assert victim.post("/v1/password-reset/confirm", json=sent).status_code == 204

    again = app.test_client()
    signs_in(again, provider)
    assert who(again) != "victim@example.com"
    own = {"email": "victim@example.com", "password": "staple hoof seven"}
    assert victim.post("/v1/login", json=own).status_code == 200


@pytest.mark.battery("A4")
def test_an_address_that_nobody_confirmed_here_links_nothing(
    ada: Person, app: Flask, provider: IdentityProvider
) -> None:
    elsewhere = app.test_client()
    response = signs_in(elsewhere, provider)

    assert (response.status_code, code_of(response)) == (403, "link_first")
    assert who(elsewhere) is None


@pytest.mark.battery("A4")
@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_that_google_does_not_call_verified_does_nothing(
    ada: Person, app: Flask, provider: IdentityProvider, mailbox: Mailbox, verified: object
) -> None:
    confirm(ada, mailbox)
    provider.claims = {"email_verified": verified}
    elsewhere = app.test_client()
    response = signs_in(elsewhere, provider)

    assert (response.status_code, code_of(response)) == (403, "address_unverified")
    assert who(elsewhere) is None


@pytest.mark.parametrize(
    "emails",
    [
        [],
        [{"email": "ada@example.com", "primary": True, "verified": False}],
        [{"email": "ada@example.com", "primary": False, "verified": True}],
        [{"email": "no address", "primary": True, "verified": True}],
    ],
)
def test_of_github_only_the_primary_verified_address_counts(
    ada: Person, app: Flask, provider: IdentityProvider, mailbox: Mailbox, emails: list[dict[str, Any]]
) -> None:
    confirm(ada, mailbox)
    provider.emails = emails
    response = signs_in(app.test_client(), provider, "github")

    assert (response.status_code, code_of(response)) == (403, "address_unverified")


def test_another_identity_with_the_same_address_does_not_get_in_for_the_first(
    client: FlaskClient, app: Flask, provider: IdentityProvider
) -> None:
    signs_in(client, provider)
    provider.claims = {"sub": "whoever was given the address later"}
    response = signs_in(app.test_client(), provider)

    assert (response.status_code, code_of(response)) == (403, "link_first")


@pytest.mark.battery("A4")
def test_nobody_comes_back_with_another_state(client: FlaskClient, provider: IdentityProvider) -> None:
    told = provider.signs_in(begins(client))

    for state in ("", "x" * 64, "ü", told["state"].upper()):
        response = comes_back(client, told | {"state": state})
        assert (response.status_code, code_of(response)) == (400, "sign_in_over")
    assert who(client) is None


@pytest.mark.battery("A4")
def test_nobody_comes_back_in_another_browser(
    client: FlaskClient, app: Flask, provider: IdentityProvider
) -> None:
    told = provider.signs_in(begins(client))
    attackers = provider.signs_in(begins(other := app.test_client()))

    assert code_of(comes_back(app.test_client(), told)) == "sign_in_over"
    assert code_of(comes_back(other, told)) == "sign_in_over"
    # A victim who is made to follow the attacker's way back is not logged in as the attacker.
    assert code_of(comes_back(client, attackers)) == "sign_in_over"
    assert who(client) is None


@pytest.mark.battery("A4")
def test_a_way_back_is_gone_once_only(client: FlaskClient, app: Flask, provider: IdentityProvider) -> None:
    told = provider.signs_in(begins(client))
    ticket = client.get_cookie("modeltrack_sign_in")
    assert ticket is not None
    assert comes_back(client, told).status_code == 200
    client.set_cookie("modeltrack_sign_in", ticket.value)

    assert code_of(comes_back(client, told)) == "sign_in_over"


def test_of_two_who_come_back_at_once_on_two_instances_one_gets_in(
    make_app: MakeApp, store: DocumentStore, connected: dict[str, str], provider: IdentityProvider
) -> None:
    clients = [make_app(store, **connected).test_client() for _ in range(2)]
    told = provider.signs_in(begins(clients[0]))
    ticket = clients[0].get_cookie("modeltrack_sign_in")
    assert ticket is not None
    clients[1].set_cookie("modeltrack_sign_in", ticket.value)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: comes_back(each, told).status_code, clients))

    assert sorted(found) == [200, 400]


@pytest.mark.battery("A4")
def test_a_code_that_was_used_already_proves_nothing(client: FlaskClient, provider: IdentityProvider) -> None:
    told = provider.signs_in(begins(client))
    comes_back(client, told)
    later = provider.signs_in(begins(client)) | {"code": told["code"]}
    response = comes_back(client, later)

    assert (response.status_code, code_of(response)) == (403, "sign_in_refused")


@pytest.mark.battery("A4")
def test_a_code_of_another_browser_proves_nothing_for_want_of_its_verifier(
    client: FlaskClient, app: Flask, provider: IdentityProvider
) -> None:
    stolen = provider.signs_in(begins(client))
    attacker = app.test_client()
    told = provider.signs_in(begins(attacker)) | {"code": stolen["code"]}

    assert code_of(comes_back(attacker, told)) == "sign_in_refused"
    assert who(attacker) is None


def test_a_way_back_is_open_for_ten_minutes(
    client: FlaskClient, provider: IdentityProvider, clock: ManualClock
) -> None:
    early = provider.signs_in(begins(client))
    clock.advance(LIFETIME_SECONDS["log_in"] - 1)
    assert comes_back(client, early).status_code == 200

    late = provider.signs_in(begins(client))
    clock.advance(LIFETIME_SECONDS["log_in"])
    assert code_of(comes_back(client, late)) == "sign_in_over"


@pytest.mark.battery("A4")
def test_a_way_that_began_to_one_provider_does_not_end_at_the_other(
    client: FlaskClient, provider: IdentityProvider
) -> None:
    told = provider.signs_in(begins(client, "github"))

    assert code_of(comes_back(client, told, "google")) == "sign_in_over"


@pytest.mark.battery("A4")
def test_what_another_issuer_sends_back_is_not_taken(client: FlaskClient, provider: IdentityProvider) -> None:
    told = provider.signs_in(begins(client))

    assert code_of(comes_back(client, told | {"iss": "https://evil.example"})) == "sign_in_over"


def test_what_google_adds_to_the_way_back_does_not_matter(
    client: FlaskClient, provider: IdentityProvider
) -> None:
    told = provider.signs_in(begins(client))
    more = {"iss": provider.url, "scope": "openid", "authuser": "0", "prompt": "none", "hd": "example.com"}

    assert comes_back(client, told | more).status_code == 200


@pytest.mark.battery("A4")
@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT_ID, "another-client"]},
        {"azp": "another-client"},
        {"aud": None},
        {"iss": "https://accounts.google.com"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "never"},
        {"iat": 4_000_000_000},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
)
def test_a_token_that_is_not_for_this_attempt_proves_nothing(
    client: FlaskClient, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    response = signs_in(client, provider)

    assert (response.status_code, code_of(response)) == (403, "sign_in_refused")
    assert who(client) is None


def test_a_token_is_good_until_it_expires_and_a_minute_for_clocks_apart(
    client: FlaskClient, provider: IdentityProvider, clock: ManualClock
) -> None:
    now = int(clock.now().timestamp())
    provider.claims = {"exp": now - 59}
    assert signs_in(client, provider).status_code == 200
    provider.claims = {"exp": now - 61}
    assert signs_in(client, provider).status_code == 403


def test_a_token_that_nobody_or_somebody_else_signed_proves_nothing(
    client: FlaskClient, provider: IdentityProvider
) -> None:
    told = provider.signs_in(begins(client))
    (begun,) = provider.codes.values()
    real = provider.token_for(begun)
    claims = jwt.decode(real, provider.key).claims
    forged = [
        unsigned(real),
        jwt.encode({"alg": "RS256", "kid": "first"}, claims, key_named("another")),
        jwt.encode({"alg": "HS256", "kid": "first"}, claims, OctKey.import_key(b"k" * 32)),
        jwt.encode(
            {"alg": "RS256", "jwk": key_named("another").as_dict(private=False)}, claims, key_named("another")
        ),
        real[:-8] + "AAAAAAAA",
        real.rpartition(".")[0],
        "no token",
        "",
    ]
    for token in forged:
        provider.id_token = token
        response = comes_back(client, told)
        assert (response.status_code, code_of(response)) == (403, "sign_in_refused"), token
        told = provider.signs_in(begins(client))
    provider.id_token = None
    assert comes_back(client, told).status_code == 200


def test_a_new_key_of_the_issuers_is_learned_and_an_old_one_forgotten(
    client: FlaskClient, provider: IdentityProvider, clock: ManualClock
) -> None:
    signs_in(client, provider)
    provider.key = key_named("second")
    assert signs_in(client, provider).status_code == 403  # keys are not asked for more than once a minute

    clock.advance(KEYS_AGAIN_AFTER_SECONDS)
    assert signs_in(client, provider).status_code == 200
    provider.key, provider.published = key_named("first"), key_named("second")
    assert signs_in(client, provider).status_code == 403


@pytest.mark.battery("A4")
def test_an_issuer_that_calls_itself_otherwise_is_not_believed(
    client: FlaskClient, provider: IdentityProvider
) -> None:
    provider.issuer = "https://evil.example"
    response = client.post("/v1/sign-in/google", json={})

    assert (response.status_code, code_of(response)) == (503, "provider_unavailable")


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_no_key_and_no_token_comes_from_an_address_that_anybody_could_answer_for(
    client: FlaskClient, provider: IdentityProvider, name: str
) -> None:
    provider.metadata = {name: f"{provider.url.replace('127.0.0.1', 'localhost')}/keys"}

    begun = client.post("/v1/sign-in/google", json={}, headers={"Origin": ORIGIN})
    met = (
        begun if begun.status_code != 200 else comes_back(client, provider.signs_in(begun.get_json()["url"]))
    )

    assert (met.status_code, code_of(met)) == (503, "provider_unavailable")
    assert who(client) is None


@pytest.mark.parametrize("name", ["google", "github"])
def test_a_provider_that_is_down_harms_nothing(
    client: FlaskClient, provider: IdentityProvider, sqlite_store: DocumentStore, name: str
) -> None:
    told = provider.signs_in(begins(client, name))
    provider.is_down = True
    response = comes_back(client, told, name)

    assert (response.status_code, code_of(response)) == (503, "provider_unavailable")
    assert sqlite_store.query(Query(collection="people")) == []
    provider.is_down = False
    assert signs_in(client, provider, name).status_code == 200


def test_a_provider_that_is_slow_keeps_no_more_than_a_few_waiting(
    app: Flask, provider: IdentityProvider
) -> None:
    provider.gate = threading.Event()

    def begin() -> int:
        return app.test_client().post("/v1/sign-in/google", json={}).status_code

    with ThreadPoolExecutor(CALLS_AT_ONCE_MAX) as pool:
        slow = [pool.submit(begin) for _ in range(CALLS_AT_ONCE_MAX)]
        for _ in slow:
            assert provider.waiting.acquire(timeout=10)
        assert begin() == 503
        provider.gate.set()
        assert [each.result() for each in slow] == [200] * CALLS_AT_ONCE_MAX


def test_who_declines_there_is_told_so(client: FlaskClient, provider: IdentityProvider) -> None:
    state = provider.signs_in(begins(client))["state"]
    response = comes_back(client, {"state": state, "error": "access_denied"})

    assert (response.status_code, code_of(response)) == (403, "sign_in_declined")


def test_browsers_are_shown_refusals_as_a_page(client: FlaskClient) -> None:
    response = client.get("/v1/sign-in/google/return?state=%3Cb%3E", headers={"Accept": "text/html,*/*"})

    assert response.status_code == 400
    assert response.mimetype == "text/html"
    assert "begin again" in response.text
    assert "<b>" not in response.text


def test_what_is_not_set_up_says_so_and_is_not_listed(
    make_app: MakeApp, sqlite_store: DocumentStore, client: FlaskClient
) -> None:
    bare = make_app(sqlite_store).test_client()

    assert bare.get("/v1/sign-in-providers").get_json()["data"] == []
    for response in (bare.post("/v1/sign-in/google", json={}), bare.get("/v1/sign-in/github/return")):
        assert response.status_code == 404
        assert "not set up here" in response.text
    assert bare.post("/v1/sign-in/facebook", json={}).status_code == 422
    listed = client.get("/v1/sign-in-providers").get_json()["data"]
    assert [each["provider"] for each in listed] == ["google", "github"]


@pytest.mark.battery("A4")
@pytest.mark.parametrize(
    "return_to",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/a//b", "", "x", "/%2F", '/"><b>', "/a b"],
)
def test_nobody_is_led_to_another_site(client: FlaskClient, return_to: str) -> None:
    response = client.post("/v1/sign-in/google", json={"return_to": return_to})

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == "return_to"


def test_another_site_begins_nothing(client: FlaskClient) -> None:
    response = client.post("/v1/sign-in/google", json={}, headers={"Origin": "https://evil.example"})

    assert (response.status_code, code_of(response)) == (403, "foreign_origin")


def test_who_is_logged_in_links_an_identity_with_any_address(
    ada: Person, app: Flask, provider: IdentityProvider, mailbox: Mailbox
) -> None:
    provider.claims = {"email": "private@example.net", "email_verified": False}
    begun = ada.write("POST", "/v1/person/identities/google", {"password": PASSWORD, "return_to": "/me"})
    back = comes_back(ada.client, provider.signs_in(begun.get_json()["url"]))

    assert 'content="0;url=/me"' in back.text
    assert who(ada.client) == ada.email
    listed = ada.get("/v1/person/identities").get_json()
    assert [each["provider"] for each in listed["data"]] == ["google"]
    assert listed["has_password"]
    assert mailbox.to(ada.email)[-1].subject == "Signing in with Google"
    signs_in(elsewhere := app.test_client(), provider)
    assert who(elsewhere) == ada.email


def test_linking_needs_the_password_the_csrf_token_and_the_session_that_asked(
    ada: Person, provider: IdentityProvider
) -> None:
    wrong = ada.write("POST", "/v1/person/identities/google", {"password": "not the password"})
    assert wrong.status_code == 422
    forged = ada.write(
        "POST", "/v1/person/identities/google", {"password": PASSWORD}, **{"X-CSRF-Token": "x"}
    )
    assert code_of(forged) == "csrf_token_wrong"

    begun = ada.write("POST", "/v1/person/identities/google", {"password": PASSWORD})
    assert ada.write("POST", "/v1/logout").status_code == 204
    response = comes_back(ada.client, provider.signs_in(begun.get_json()["url"]))
    assert (response.status_code, code_of(response)) == (403, "session_ended")


def test_an_identity_is_one_persons_and_a_person_has_one_a_provider(
    client: FlaskClient, sign_up: Callable[..., Person], provider: IdentityProvider
) -> None:
    signs_in(client, provider)
    bob = sign_up("bob@example.com")

    def links() -> TestResponse:
        begun = bob.write("POST", "/v1/person/identities/google", {"password": PASSWORD})
        return comes_back(bob.client, provider.signs_in(begun.get_json()["url"]))

    assert code_of(links()) == "linked_elsewhere"
    provider.claims = {"sub": "bob"}
    assert links().status_code == 200
    assert links().status_code == 200  # that one again
    provider.claims = {"sub": "bob's second"}
    assert code_of(links()) == "unlink_first"


def test_an_unlinked_identity_lets_nobody_in_and_the_only_way_in_stays(
    ada: Person, client: FlaskClient, app: Flask, provider: IdentityProvider
) -> None:
    provider.claims = {"sub": "ada", "email": "other@example.com"}
    begun = ada.write("POST", "/v1/person/identities/google", {"password": PASSWORD})
    comes_back(ada.client, provider.signs_in(begun.get_json()["url"]))

    assert ada.write("DELETE", "/v1/person/identities/google").status_code == 204
    assert ada.write("DELETE", "/v1/person/identities/google").status_code == 404
    signs_in(client, provider)
    assert who(client) == "other@example.com"  # somebody new
    told = client.get("/v1/session").get_json()
    newcomer = Person(client, told["csrf_token"], told["account"]["id"], "other@example.com")
    assert newcomer.write("DELETE", "/v1/person/identities/google").status_code == 409


def test_who_has_no_password_gets_one_by_mail_and_none_before(
    client: FlaskClient, provider: IdentityProvider, mailbox: Mailbox
) -> None:
    signs_in(client, provider)
    for guess in ("", "x", PASSWORD):
        sent = {"email": "ada@example.com", "password": guess}
        assert client.post("/v1/login", json=sent).status_code == 401

    client.post("/v1/password-reset", json={"email": "ada@example.com"})
    sent = {"token": mailbox.token("ada@example.com"), "password": PASSWORD}
    assert client.post("/v1/password-reset/confirm", json=sent).status_code == 204
    again = client.post("/v1/login", json={"email": "ada@example.com", "password": PASSWORD})
    assert again.status_code == 200


def test_a_session_that_the_browser_had_ends_when_another_sign_in_begins(
    ada: Person, provider: IdentityProvider
) -> None:
    begins(ada.client)

    assert ada.get("/v1/account").status_code == 401


def test_two_who_sign_up_with_one_identity_at_once_are_one_person(
    make_app: MakeApp, store: DocumentStore, connected: dict[str, str], provider: IdentityProvider
) -> None:
    clients = [make_app(store, **connected).test_client() for _ in range(2)]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: signs_in(each, provider).status_code, clients))

    assert set(found) <= {200, 400}
    assert 200 in found
    assert len(store.query(Query(collection="people"))) == 1
    assert len(store.query(Query(collection="identities"))) == 1


def test_the_audit_log_says_who_signed_in(ada: Person, app: Flask, provider: IdentityProvider) -> None:
    begun = ada.write("POST", "/v1/person/identities/google", {"password": PASSWORD})
    comes_back(ada.client, provider.signs_in(begun.get_json()["url"]))
    signs_in(app.test_client(), provider)

    told = ada.get("/v1/audit-events").get_json()["data"]
    found = [each for each in told if each["operation"] == "return_from_provider"]
    assert [each["outcome"] for each in found] == ["done", "done"]


@pytest.mark.battery("V1")
def test_no_code_token_or_secret_stands_in_the_log_or_the_store(
    client: FlaskClient, provider: IdentityProvider, logbook: Logbook, sqlite_store: DocumentStore
) -> None:
    told = provider.signs_in(begins(client))
    ticket = client.get_cookie("modeltrack_sign_in")
    begun = kept(sqlite_store)
    comes_back(client, told)
    signs_in(client, provider, "github")
    provider.id_token = "canary.of.token"
    signs_in(client, provider)

    assert ticket is not None
    for secret in (*CANARIES, ticket.value, told["state"]):
        assert secret not in logbook.getvalue()
        assert secret not in begun + kept(sqlite_store)


def test_nothing_of_a_person_stays_when_their_only_account_is_erased(
    client: FlaskClient, provider: IdentityProvider, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    signs_in(client, provider)
    begins(client := client.application.test_client())
    signs_in(client, provider)
    told = client.get("/v1/session").get_json()
    ada = Person(client, told["csrf_token"], told["account"]["id"], "ada@example.com")
    assert ada.write("DELETE", f"/v1/account?confirm={ada.account_id}").status_code == 202

    erasure.run(sqlite_store, clock)

    for name in ("people", "identities", "emails", "sessions"):
        assert sqlite_store.query(Query(collection=name)) == []


def test_what_is_slow_to_load_is_loaded_when_somebody_signs_in() -> None:
    loading = (
        "import api_service.app, sys; print([m for m in ('authlib', 'joserfc', 'pyotp') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"


ARRIVAL = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}


def test_a_browser_that_comes_by_a_link_from_elsewhere_is_led_to_the_same_address_once(
    client: FlaskClient,
) -> None:
    first = client.get("/v1/usage?start_time=2026-11-01&group_by=team", headers=ARRIVAL)
    second = client.get("/v1/usage?start_time=2026-11-01&group_by=team", headers=ARRIVAL)

    assert first.status_code == 200
    assert 'content="0;url=/v1/usage?start_time=2026-11-01&amp;group_by=team"' in first.text
    (cookie,) = first.headers.getlist("Set-Cookie")
    assert "SameSite=Lax" in cookie
    assert second.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        ARRIVAL | {"Sec-Fetch-Site": "same-origin"},
        ARRIVAL | {"Sec-Fetch-Site": "none"},
        ARRIVAL | {"Sec-Fetch-Mode": "cors"},
        ARRIVAL | {"Accept": "*/*"},
        ARRIVAL | {"Authorization": "Bearer mt_x"},
    ],
)
def test_nobody_else_is_led_anywhere(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.get("/v1/usage", headers=headers).status_code == 401


def test_who_has_a_session_is_answered_and_an_open_address_is_as_always(
    ada: Person, client: FlaskClient
) -> None:
    assert ada.get("/v1/account", headers=ARRIVAL).is_json
    assert client.get("/v1/sign-in-providers", headers=ARRIVAL).is_json
