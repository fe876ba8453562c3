"""Signing up, logging in and out; sessions, cookies and what forged pages meet."""

import secrets
from base64 import urlsafe_b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import and_, or_
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from msgspec.structs import replace

from api_service.attempts import LOGINS_MAX, WINDOW_SECONDS
from api_service.sessions import IDLE_SECONDS_MAX, LIFETIME_SECONDS, SESSIONS_OF_PERSON_MAX
from metering.accounts import LOCAL_ACCOUNT_ID
from metering.directory import Directory
from metering.stores import DocumentStore, Query
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import ORIGIN, PASSWORD, MakeApp, Person

SignUp = Callable[..., Person]
HOSTED = {
    "modeltrack_hosted": True,
    "store_url": "firestore://demo-x",
    "modeltrack_secret": secrets.token_hex(32),
    "public_url": "https://api.example.com",
    "proxy_public_url": "https://proxy.example.com",
    "smtp_host": "mail.example.com",
    "mail_from": "modeltrack@example.com",
}


def log_in(
    client: FlaskClient, email: str = "ada@example.com", password: str = PASSWORD, **headers: str
) -> Any:
    return client.post("/v1/login", json={"email": email, "password": password}, headers=headers)


def session_cookie(client: FlaskClient, name: str = "modeltrack_session") -> str:
    cookie = client.get_cookie(name)
    assert cookie is not None
    return cookie.value


def test_somebody_signs_up_and_is_logged_in(client: FlaskClient) -> None:
    response = client.post(
        "/v1/signup", json={"email": " Ada@Example.com ", "password": PASSWORD, "account_name": "Ada & Co"}
    )

    body = response.get_json()
    assert response.status_code == 201
    assert body["person"]["email"] == "ada@example.com"
    assert body["account"]["name"] == "Ada & Co"
    assert body["csrf_token"]
    assert client.get("/v1/account").get_json()["id"] == body["account"]["id"]


def test_the_first_person_on_a_machine_owns_its_local_account(sign_up: SignUp) -> None:
    first, second = sign_up("ada@example.com"), sign_up("bob@example.com")

    assert first.account_id == LOCAL_ACCOUNT_ID
    assert second.account_id != LOCAL_ACCOUNT_ID


def test_the_local_account_keeps_its_keys_when_somebody_comes_to_own_it(
    sign_up: SignUp, directory: Directory, bearer: Callable[..., dict[str, str]]
) -> None:
    directory.ensure_local_account()
    header = bearer(LOCAL_ACCOUNT_ID, "read")

    ada = sign_up()

    assert ada.account_id == LOCAL_ACCOUNT_ID
    assert ada.client.get("/v1/account", headers=header).get_json()["name"] == "Ada & Co"


def test_of_many_first_people_exactly_one_owns_the_local_account(
    make_app: MakeApp, store: DocumentStore
) -> None:
    apps = [make_app(store), make_app(store)]

    def sign_up(number: int) -> str:
        email = f"person{number}@example.com"
        sent = {"email": email, "password": PASSWORD, "account_name": "mine"}
        response = apps[number % 2].test_client().post("/v1/signup", json=sent)
        account_id: str = response.get_json()["account"]["id"]
        return account_id

    with ThreadPoolExecutor(4) as pool:
        accounts = list(pool.map(sign_up, range(4)))

    assert accounts.count(LOCAL_ACCOUNT_ID) == 1
    assert len(set(accounts)) == 4


def test_a_hosted_service_gives_nobody_the_local_account(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp
) -> None:
    hosted = make_app(store, **HOSTED)
    client = hosted.test_client()

    response = client.post(
        "/v1/signup", json={"email": "a@b.example", "password": PASSWORD, "account_name": "A"}
    )

    assert response.get_json()["account"]["id"] != LOCAL_ACCOUNT_ID


def test_one_address_signs_up_once_whatever_its_case(ada: Person, client: FlaskClient) -> None:
    response = client.post(
        "/v1/signup", json={"email": "ADA@example.COM", "password": PASSWORD, "account_name": "again"}
    )

    assert response.status_code == 409
    assert response.get_json()["error"]["code"] == "conflict"


def test_two_who_sign_up_with_one_address_at_once_do_not_both_get_it(
    make_app: MakeApp, store: DocumentStore
) -> None:
    app = make_app(store)
    sent = {"email": "ada@example.com", "password": PASSWORD, "account_name": "mine"}

    with ThreadPoolExecutor(4) as pool:
        statuses = list(
            pool.map(lambda _: app.test_client().post("/v1/signup", json=sent).status_code, range(4))
        )

    assert sorted(statuses) == [201, 409, 409, 409]
    assert len(store.query(Query(collection="people"))) == 1


@pytest.mark.battery("V6")
def test_a_password_is_kept_as_an_argon2id_hash_only(ada: Person, sqlite_store: DocumentStore) -> None:
    (person,) = sqlite_store.query(Query(collection="people"))

    assert person.fields["password_hash"].startswith("$argon2id$")
    assert PASSWORD not in repr(person.fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no-address"),
        ("email", "sk-ant-api03-abcdefghijklmnop"),
        ("email", "a@b@example.com"),
        ("email", "ada\n@example.com"),
        ("email", f"{'a' * 65}@example.com"),
        ("email", 5),
        ("password", "x" * 9),
        ("password", "a" * 201),
        ("password", "aaaaaaaaaabb"),
        ("password", "basketball1"),
        ("password", "Modeltrack2026!"),
        ("account_name", ""),
        ("account_name", "   "),
        ("account_name", "\u202e\u200b"),
        ("account_name", "x" * 101),
    ],
)
def test_a_sign_up_that_makes_no_sense_is_refused_by_field_and_not_repeated(
    client: FlaskClient, field: str, value: object
) -> None:
    sent = {"email": "ada@example.com", "password": PASSWORD, "account_name": "Ada & Co", field: value}

    response = client.post("/v1/signup", json=sent)

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == field
    assert not isinstance(value, str) or not value.strip() or value not in response.text


def test_a_password_at_either_limit_is_taken(client: FlaskClient) -> None:
    for number, password in enumerate(("kqzvw 1932", "kqzvw 1932" * 20)):
        sent = {"email": f"p{number}@example.com", "password": password, "account_name": "A"}
        assert client.post("/v1/signup", json=sent).status_code == 201


@pytest.mark.battery("A2")
def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(ada: Person) -> None:
    response = log_in(ada.client)

    cookie = response.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "Domain" not in cookie


@pytest.mark.battery("A2")
def test_over_https_the_cookie_is_bound_to_this_host(make_app: MakeApp, sqlite_store: DocumentStore) -> None:
    client = make_app(sqlite_store, public_url="https://api.example.com", api_host="0.0.0.0").test_client()

    response = client.post(
        "/v1/signup",
        json={"email": "ada@example.com", "password": PASSWORD, "account_name": "A"},
        base_url="https://api.example.com",
    )

    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-modeltrack_session=")
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "max-age=31536000" in response.headers["Strict-Transport-Security"]


def test_the_store_never_sees_a_session_id(ada: Person, sqlite_store: DocumentStore) -> None:
    session_id = session_cookie(ada.client).rpartition(".")[0]

    (session,) = sqlite_store.query(Query(collection="sessions"))

    assert session_id not in session.path + repr(session.fields)


def test_a_session_id_is_256_bits_of_which_each_is_drawn(ada: Person, app: Flask) -> None:
    services = app.extensions["modeltrack"]
    person = services.people.by_email("ada@example.com")
    place = services.people.place(person.person_id, ada.account_id)

    made = [services.sessions.open(place, person.epoch, "") for _ in range(64)]
    ids = [urlsafe_b64decode(each + "=") for each in (*made, session_cookie(ada.client).rpartition(".")[0])]

    assert {len(each) * 8 for each in ids} == {256}
    assert len(set(ids)) == 65
    numbers = [int.from_bytes(each) for each in ids]
    assert reduce(or_, numbers) == 2**256 - 1  # each bit is 1 in one of them,
    assert reduce(and_, numbers) == 0  # and 0 in another


@pytest.mark.battery("A2")
def test_logging_in_makes_a_new_session_and_ends_the_one_before(ada: Person, app: Flask) -> None:
    before = session_cookie(ada.client)

    log_in(ada.client)

    stale = app.test_client()
    stale.set_cookie("modeltrack_session", before)
    assert session_cookie(ada.client) != before
    assert stale.get("/v1/account").status_code == 401


@pytest.mark.battery("A5")
def test_a_wrong_password_and_an_unknown_address_answer_the_same(ada: Person, client: FlaskClient) -> None:
    wrong = log_in(client, password="not the password")
    unknown = log_in(client, email="nobody@example.com")

    assert wrong.status_code == unknown.status_code == 401
    ours, theirs = wrong.get_json()["error"], unknown.get_json()["error"]
    assert {**ours, "request_id": ""} == {**theirs, "request_id": ""}
    assert list(wrong.headers.keys()) == list(unknown.headers.keys())


def test_after_too_many_wrong_passwords_even_the_right_one_has_to_wait(
    ada: Person, client: FlaskClient, clock: ManualClock
) -> None:
    for _ in range(LOGINS_MAX):
        assert log_in(client, password="not the password").status_code == 401

    refused = log_in(client)
    clock.advance(int(refused.headers["Retry-After"]))
    later = log_in(client)

    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= WINDOW_SECONDS
    assert refused.get_json()["error"]["retryable"] is True
    assert later.status_code == 200


@pytest.mark.battery("A5")
def test_a_forged_forwarding_header_buys_no_more_attempts(ada: Person, client: FlaskClient) -> None:
    for number in range(LOGINS_MAX):
        log_in(client, password="not the password", **{"X-Forwarded-For": f"203.0.113.{number}"})

    assert log_in(client, **{"X-Forwarded-For": "198.51.100.1"}).status_code == 429


@pytest.mark.parametrize(
    ("hops", "behind"), [(None, ""), (2, ",34.1.2.3")], ids=["platform", "load balancer"]
)
def test_behind_front_ends_their_own_entry_counts(
    make_app: MakeApp, sqlite_store: DocumentStore, hops: int | None, behind: str
) -> None:
    client = make_app(sqlite_store, **HOSTED, forwarding_hops=hops).test_client()
    for number in range(LOGINS_MAX):
        log_in(client, **{"X-Forwarded-For": f"10.0.0.{number}, 203.0.113.7{behind}"})

    again = log_in(client, **{"X-Forwarded-For": f"10.9.9.9, 203.0.113.7{behind}"})
    elsewhere = log_in(client, **{"X-Forwarded-For": f"203.0.113.7, 198.51.100.1{behind}"})

    assert again.status_code == 429
    assert elsewhere.status_code == 401


@pytest.mark.battery("R3")
def test_a_session_ends_when_it_lies_idle(ada: Person, clock: ManualClock) -> None:
    clock.advance(IDLE_SECONDS_MAX - 1)
    still = ada.get("/v1/account")
    clock.advance(IDLE_SECONDS_MAX)

    assert still.status_code == 200
    assert ada.get("/v1/account").status_code == 401


@pytest.mark.battery("R3")
def test_a_session_ends_at_its_time_however_busy(ada: Person, clock: ManualClock) -> None:
    step = IDLE_SECONDS_MAX // 2
    for _ in range(LIFETIME_SECONDS // step - 1):
        clock.advance(step)
        assert ada.get("/v1/account").status_code == 200
    clock.advance(step)

    assert ada.get("/v1/account").status_code == 401


def test_a_person_has_a_bounded_number_of_sessions(
    ada: Person, app: Flask, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    for _ in range(SESSIONS_OF_PERSON_MAX):
        clock.advance(1)
        assert log_in(app.test_client()).status_code == 200

    assert ada.get("/v1/account").status_code == 401
    assert len(sqlite_store.query(Query(collection="sessions"))) == SESSIONS_OF_PERSON_MAX


@pytest.mark.battery("A2")
def test_logging_out_ends_the_session_on_every_instance_at_once(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    elsewhere = there.test_client()
    elsewhere.set_cookie("modeltrack_session", session_cookie(ada.client))
    assert elsewhere.get("/v1/account").status_code == 200

    assert ada.write("POST", "/v1/logout").status_code == 204

    assert elsewhere.get("/v1/account").status_code == 401
    assert ada.client.get_cookie("modeltrack_session") is None


@pytest.mark.battery("A2")
@pytest.mark.parametrize("length", [0, 1, 20, 43, 44, 60])
def test_a_shortened_cookie_opens_nothing(ada: Person, app: Flask, length: int) -> None:
    thief = app.test_client()
    thief.set_cookie("modeltrack_session", session_cookie(ada.client)[:length])

    assert thief.get("/v1/account").status_code == 401


@pytest.mark.battery("A2")
def test_a_cookie_signed_with_another_secret_opens_nothing(ada: Person, app: Flask) -> None:
    session_id, _, signature = session_cookie(ada.client).rpartition(".")
    thief = app.test_client()
    thief.set_cookie("modeltrack_session", f"{session_id}.{signature[::-1]}")

    assert thief.get("/v1/account").status_code == 401


COOKIE_WRITES = [
    ("POST", "/v1/keys", {"name": "forged"}),
    ("POST", "/v1/keys/key_x/rotate", None),
    ("DELETE", "/v1/keys/key_x", None),
    ("PATCH", "/v1/account", {"name": "forged"}),
    ("POST", "/v1/logout", None),
]


@pytest.mark.battery("A3")
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:3002"},
        {"Origin": "https://127.0.0.1:3001"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": "\u00e9"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path", "json"), COOKIE_WRITES, ids=[f"{m} {p}" for m, p, _ in COOKIE_WRITES]
)
def test_a_forged_page_writes_nothing(
    ada: Person, method: str, path: str, json: object, headers: dict[str, str]
) -> None:
    response = ada.write(method, path, json, **headers)

    assert response.status_code == 403
    assert ada.get("/v1/keys").get_json()["data"] == []
    assert ada.get("/v1/account").get_json()["name"] == "Ada & Co"


@pytest.mark.battery("A3")
def test_a_write_without_an_origin_writes_nothing(ada: Person) -> None:
    response = ada.client.post("/v1/keys", json={}, headers={"X-CSRF-Token": ada.csrf_token})

    assert response.status_code == 403


@pytest.mark.battery("A3")
def test_another_sessions_token_writes_nothing_and_is_told_from_none(ada: Person, sign_up: SignUp) -> None:
    bob = sign_up("bob@example.com")

    wrong = ada.write("POST", "/v1/keys", {}, **{"X-CSRF-Token": bob.csrf_token})
    missing = ada.write("POST", "/v1/keys", {}, **{"X-CSRF-Token": ""})

    assert (wrong.status_code, wrong.get_json()["error"]["code"]) == (403, "csrf_token_wrong")
    assert (missing.status_code, missing.get_json()["error"]["code"]) == (403, "csrf_token_missing")


@pytest.mark.battery("A3")
def test_a_token_from_before_logging_in_again_writes_nothing(ada: Person) -> None:
    log_in(ada.client)

    assert ada.write("POST", "/v1/keys", {}).status_code == 403


@pytest.mark.battery("A3")
def test_a_form_of_another_site_writes_nothing(ada: Person) -> None:
    response = ada.client.post("/v1/keys", data='{"name": "x"}', content_type="text/plain")

    assert response.status_code == 403


def test_this_machines_other_name_is_no_foreign_page(ada: Person) -> None:
    response = ada.write(
        "PATCH", "/v1/account", {"name": "New"}, Origin=ORIGIN.replace("127.0.0.1", "localhost")
    )

    assert response.status_code == 200


@pytest.mark.battery("A3")
@pytest.mark.parametrize("path", ["/v1/login", "/v1/signup"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}], ids=str
)
def test_a_foreign_page_logs_nobody_in(
    ada: Person, client: FlaskClient, path: str, headers: dict[str, str]
) -> None:
    sent = {"email": "ada@example.com", "password": PASSWORD, "account_name": "A"}

    assert client.post(path, json=sent, headers=headers).status_code == 403


@pytest.mark.battery("V6")
def test_a_hash_of_older_parameters_is_renewed_at_login(
    ada: Person, client: FlaskClient, sqlite_store: DocumentStore, make_app: MakeApp
) -> None:
    services = client.application.extensions["modeltrack"]
    (person,) = sqlite_store.query(Query(collection="people"))
    older = type(services.passwords)(memory_kib=32, passes=1).hashed(PASSWORD)
    services.people.change(person.document_id, lambda now: replace(now, password_hash=older))

    assert log_in(client).status_code == 200

    (renewed,) = sqlite_store.query(Query(collection="people"))
    assert "m=64," in renewed.fields["password_hash"]


@pytest.mark.battery("V1")
def test_no_log_line_holds_an_address_a_password_or_a_session(ada: Person, logbook: Any) -> None:
    log_in(ada.client, password="not the password")
    ada.client.get("/v1/account?email=ada@example.com")
    ada.client.get("/ada@example.com")

    written = logbook.getvalue()
    assert len(logbook.lines()) >= 4
    for secret in (
        "ada@example.com",
        PASSWORD,
        "not the password",
        session_cookie(ada.client)[:20],
        ada.csrf_token,
    ):
        assert secret not in written


def test_a_page_loaded_anew_gets_its_session_back_and_writes_again(ada: Person) -> None:
    response = ada.get("/v1/session", headers={"Sec-Fetch-Site": "same-origin"})
    body = response.get_json()

    assert response.status_code == 200
    assert (body["person"]["email"], body["account"]["id"], body["role"]) == (
        ada.email,
        ada.account_id,
        "owner",
    )
    assert response.headers["Cache-Control"] == "no-store"
    again = Person(ada.client, body["csrf_token"], ada.account_id, ada.email)
    assert again.write("PATCH", "/v1/account", {"name": "Ada again"}).status_code == 200


def test_signing_up_and_logging_in_answer_like_the_session(client: FlaskClient, ada: Person) -> None:
    logged_in = log_in(client).get_json()

    assert client.get("/v1/session").get_json() == logged_in
    assert logged_in["csrf_token"] != ada.csrf_token


def test_nobody_and_no_key_has_a_session_to_show(
    client: FlaskClient, ada: Person, bearer: Callable[..., dict[str, str]]
) -> None:
    by_key = ada.get("/v1/session", headers=bearer(ada.account_id, "read", "write"))

    assert client.get("/v1/session").status_code == 401
    assert (by_key.status_code, by_key.get_json()["error"]["code"]) == (403, "session_required")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
    ids=str,
)
def test_another_page_never_gets_the_csrf_token(ada: Person, headers: dict[str, str]) -> None:
    response = ada.get("/v1/session", headers=headers)

    assert (response.status_code, response.get_json()["error"]["code"]) == (403, "foreign_origin")
    assert ada.csrf_token not in response.text


def test_a_session_that_was_logged_out_is_not_shown(ada: Person) -> None:
    cookie = session_cookie(ada.client)
    ada.write("POST", "/v1/logout")
    ada.client.set_cookie("modeltrack_session", cookie)

    assert ada.get("/v1/session").status_code == 401


def test_whoever_is_suspended_still_gets_what_logging_out_takes(ada: Person, directory: Directory) -> None:
    directory.set_status(ada.account_id, "suspended")

    body = ada.get("/v1/session").get_json()

    assert body["account"]["status"] == "suspended"
    assert (
        Person(ada.client, body["csrf_token"], ada.account_id, ada.email)
        .write("POST", "/v1/logout")
        .status_code
        == 204
    )
