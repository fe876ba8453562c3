"""Keys over REST: made, listed, rotated, revoked, and what one key may do to others."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from metering.directory import LIVE_KEYS_MAX, Directory, KeyTerms
from metering.keys import is_well_formed_ingress_id, is_well_formed_key
from metering.stores import Delete, DocumentStore, Query
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import SECRET, MakeApp, Person

Bearer = Callable[..., dict[str, str]]
SignUp = Callable[..., Person]


def without_request_id(text: str) -> str:
    return re.sub(r"req_[0-9a-f]{32}", "req_", text)


@pytest.mark.battery("V4")
def test_a_new_key_is_shown_once(ada: Person, sqlite_store: DocumentStore) -> None:
    made = ada.write("POST", "/v1/keys", {"name": "ci", "scopes": ["read", "proxy"], "team": "search"})

    body = made.get_json()
    assert made.status_code == 201
    assert is_well_formed_key(body["key"])
    assert (body["name"], body["scopes"], body["team"]) == ("ci", ["proxy", "read"], "search")
    listed = ada.get("/v1/keys")
    assert body["key"] not in listed.text
    assert listed.get_json()["data"][0]["hint"] == body["key"][-4:]
    assert body["key"] not in repr(sqlite_store.query(Query(collection="keys")))


@pytest.mark.battery("V4")
def test_nothing_that_is_listed_lets_anybody_in(ada: Person, client: FlaskClient) -> None:
    body = ada.write("POST", "/v1/keys", {"scopes": ["read"]}).get_json()
    (listed,) = ada.get("/v1/keys").get_json()["data"]

    assert "key" not in listed
    for credential in (body["id"], listed["hint"], f"mt_{body['id']}"):
        assert client.get("/v1/keys", headers={"Authorization": f"Bearer {credential}"}).status_code == 401


def test_an_ingress_id_comes_as_an_address(ada: Person, client: FlaskClient) -> None:
    body = ada.write("POST", "/v1/keys", {"kind": "ingress", "addresses": ["203.0.113.0/24"]}).get_json()

    assert is_well_formed_ingress_id(body["key"])
    assert body["url"] == f"http://127.0.0.1:8080/ws/{body['key']}"
    assert body["addresses"] == ["203.0.113.0/24"]
    assert client.get("/v1/keys", headers={"Authorization": f"Bearer {body['key']}"}).status_code == 401


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"kind": "header", "addresses": ["203.0.113.0/24"]}, "addresses"),
        ({"kind": "ingress", "addresses": ["203.0.113.7/24"]}, "addresses"),
        ({"kind": "ingress", "scopes": ["read"]}, "scopes"),
        ({"kind": "cookie"}, "kind"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["admin"]}, "scopes.0"),
        ({"scopes": "read"}, "scopes"),
        ({"name": 5}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"expires_at": "2026-11-21T09:30:00Z"}, "expires_at"),
        ({"expires_at": "2026-12-21T09:30:00"}, "expires_at"),
        ({"expires_at": "0000-12-21T09:30:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-21T09:30:00Z"}, "expires_at"),
        ({"expires_at": True}, "expires_at"),
        ({"expires_at": 1.5e9}, "expires_at"),
        ({"account_id": "acct_x"}, "account_id"),
        ({"key_hash": "0" * 64}, "key_hash"),
        ({"created_at": 0}, "created_at"),
        ({"__proto__": {}}, "__proto__"),
    ],
    ids=str,
)
def test_a_key_that_makes_no_sense_is_refused_by_field(
    ada: Person, fields: dict[str, object], param: str
) -> None:
    response = ada.write("POST", "/v1/keys", fields)

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param
    assert ada.get("/v1/keys").get_json()["data"] == []


@pytest.mark.parametrize(
    "text", ["2026-12-21T10:30:00+01:00", "2026-12-21t09:30:00z", 1797845400, "1797845400"]
)
def test_an_expiry_is_given_as_rfc_3339_or_unix_seconds(ada: Person, text: object) -> None:
    body = ada.write("POST", "/v1/keys", {"expires_at": text}).get_json()

    assert body["expires_at"] == "2026-12-21T09:30:00Z"


def test_every_complaint_comes_at_once(ada: Person) -> None:
    response = ada.write("POST", "/v1/keys", {"kind": "x", "scopes": [], "nope": 1, "team": 5})

    error = response.get_json()["error"]
    assert {each["param"] for each in error["details"]} == {"kind", "scopes", "nope", "team"}


@pytest.mark.battery("V3")
def test_a_credential_as_a_name_is_neither_kept_nor_repeated(ada: Person) -> None:
    response = ada.write("POST", "/v1/keys", {"name": "sk-ant-api03-abcdefghijklmnop"})

    assert response.get_json()["name"] == "[redacted]"


def test_rotating_a_key_leaves_both_working_for_an_hour(
    ada: Person, client: FlaskClient, clock: ManualClock
) -> None:
    old = ada.write("POST", "/v1/keys", {"scopes": ["read"]}).get_json()

    response = ada.write("POST", f"/v1/keys/{old['id']}/rotate")

    new = response.get_json()
    assert response.status_code == 201
    assert new["replaces"] == old["id"]

    def works(key: str) -> bool:
        return client.get("/v1/keys", headers={"Authorization": f"Bearer {key}"}).status_code == 200

    clock.advance(3599)
    assert works(old["key"])
    clock.advance(1)
    assert not works(old["key"])
    assert works(new["key"])


def test_a_key_is_rotated_once_only(ada: Person) -> None:
    old = ada.write("POST", "/v1/keys", {}).get_json()
    ada.write("POST", f"/v1/keys/{old['id']}/rotate")

    assert ada.write("POST", f"/v1/keys/{old['id']}/rotate").status_code == 409


@pytest.mark.battery("A1")
def test_a_revoked_key_is_refused_on_every_instance_at_once(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    body = ada.write("POST", "/v1/keys", {"scopes": ["read"]}).get_json()
    header = {"Authorization": f"Bearer {body['key']}"}
    assert there.test_client().get("/v1/keys", headers=header).status_code == 200

    assert ada.write("DELETE", f"/v1/keys/{body['id']}").status_code == 204

    assert there.test_client().get("/v1/keys", headers=header).status_code == 401
    assert here.test_client().get("/v1/keys", headers=header).status_code == 401


@pytest.mark.battery("A1")
def test_a_suspended_account_is_refused_on_every_instance_at_once(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, clock: ManualClock
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    key = ada.write("POST", "/v1/keys", {"scopes": ["read", "write"]}).get_json()["key"]

    Directory(store, clock, SECRET).set_status(ada.account_id, "suspended")

    by_key = there.test_client().get("/v1/keys", headers={"Authorization": f"Bearer {key}"})
    assert by_key.status_code == ada.get("/v1/account").status_code == 403
    assert by_key.get_json()["error"]["code"] == "account_suspended"
    assert ada.write("POST", "/v1/logout").status_code == 204


@pytest.mark.parametrize(
    "authorization",
    [
        "", "Bearer", "Bearer ", "Bearer mt_", "Basic YTpi", "bearer", "Token x", "mt_abc",
        "Bearer ' OR 1=1--", "Bearer *", "Bearer mt_" + "0" * 72, "Bearer mt_" + "0" * 64,
        "Bearer mt_" + "g" * 72, "Bearer nul", "Bearer " + "x" * 8000, "Bearer mt_\u00e9",
        "Digest username=a", "Bearer undefined", "Bearer\tmt_x", "Bearer  x",
    ],
    ids=range(20),
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", "/v1/usage")]
)
def test_a_malformed_authorization_opens_nothing_even_beside_a_session(
    ada: Person, method: str, path: str, authorization: str
) -> None:
    response = ada.write(method, path, None, Authorization=authorization)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert "undefined" not in response.text


@pytest.mark.battery("T1")
def test_two_keys_that_begin_alike_are_two_keys(ada: Person, client: FlaskClient) -> None:
    key = ada.write("POST", "/v1/keys", {"scopes": ["read"]}).get_json()["key"]
    other = key[:-1] + ("0" if key[-1] != "0" else "1")

    assert client.get("/v1/keys", headers={"Authorization": f"Bearer {other}"}).status_code == 401


def test_an_expired_key_opens_nothing(ada: Person, client: FlaskClient, clock: ManualClock) -> None:
    ends_at = (clock.now() + timedelta(minutes=1)).isoformat()
    key = ada.write("POST", "/v1/keys", {"scopes": ["read"], "expires_at": ends_at}).get_json()["key"]
    header = {"Authorization": f"Bearer {key}"}
    clock.advance(59)
    assert client.get("/v1/keys", headers=header).status_code == 200
    clock.advance(1)

    assert client.get("/v1/keys", headers=header).status_code == 401
    assert ada.get("/v1/keys").get_json()["data"][0]["status"] == "expired"


def test_the_last_use_of_a_key_is_shown(ada: Person, client: FlaskClient, clock: ManualClock) -> None:
    key = ada.write("POST", "/v1/keys", {"scopes": ["read"]}).get_json()["key"]

    client.get("/v1/keys", headers={"Authorization": f"Bearer {key}"})

    assert ada.get("/v1/keys").get_json()["data"][0]["last_used_at"] == "2026-11-21T09:30:00Z"


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status"),
    [
        (("read",), "GET", "/v1/keys", 200),
        (("read",), "POST", "/v1/keys", 403),
        (("read",), "PATCH", "/v1/account", 403),
        (("write",), "GET", "/v1/keys", 403),
        (("write",), "GET", "/v1/events", 403),
        (("write",), "PATCH", "/v1/account", 200),
        (("proxy", "ingest", "stats"), "GET", "/v1/account", 403),
        (("proxy", "ingest", "stats"), "PATCH", "/v1/account", 403),
    ],
    ids=str,
)
def test_a_key_does_what_its_scopes_say(
    ada: Person,
    client: FlaskClient,
    bearer: Bearer,
    scopes: tuple[str, ...],
    method: str,
    path: str,
    status: int,
) -> None:
    header = bearer(ada.account_id, *scopes)

    assert client.open(path, method=method, json={}, headers=header).status_code == status


def test_a_key_makes_no_key_with_more_scopes_than_its_own(
    ada: Person, client: FlaskClient, bearer: Bearer
) -> None:
    header = bearer(ada.account_id, "write", "proxy")

    assert client.post("/v1/keys", json={"scopes": ["proxy"]}, headers=header).status_code == 201
    assert client.post("/v1/keys", json={"scopes": ["write", "proxy"]}, headers=header).status_code == 201
    assert client.post("/v1/keys", json={"scopes": ["proxy", "read"]}, headers=header).status_code == 403


def test_a_key_manages_no_key_with_more_scopes_than_its_own(
    ada: Person, client: FlaskClient, bearer: Bearer, directory: Directory
) -> None:
    header = bearer(ada.account_id, "write")
    _, stronger = directory.create_key(ada.account_id, KeyTerms(scopes=("read", "write")))

    assert client.post(f"/v1/keys/{stronger.key_id}/rotate", headers=header).status_code == 403
    assert client.delete(f"/v1/keys/{stronger.key_id}", headers=header).status_code == 403
    assert directory.key_by_hash(stronger.key_hash) == stronger


@pytest.mark.parametrize(
    "pins", [{"team": "ads"}, {}, {"team": "search"}, {"team": "search", "app": "cms"}], ids=str
)
def test_a_pinned_key_makes_no_key_that_escapes_its_pins(
    ada: Person, client: FlaskClient, bearer: Bearer, pins: dict[str, str]
) -> None:
    header = bearer(ada.account_id, "write", team="search", app="web")

    response = client.post("/v1/keys", json={"scopes": ["write"], **pins}, headers=header)

    assert response.status_code == 403
    same = {"scopes": ["write"], "team": "search", "app": "web"}
    assert client.post("/v1/keys", json=same, headers=header).status_code == 201


def test_a_key_does_not_outlive_itself_through_another(
    ada: Person, client: FlaskClient, bearer: Bearer, clock: ManualClock
) -> None:
    ends_at = clock.now() + timedelta(days=1)
    header = bearer(ada.account_id, "write", expires_at=ends_at)

    def status(expires_at: datetime | None) -> int:
        text = None if expires_at is None else expires_at.astimezone(UTC).isoformat()
        sent = {"scopes": ["write"], "expires_at": text}
        return client.post("/v1/keys", json=sent, headers=header).status_code

    assert status(ends_at) == 201
    assert status(ends_at + timedelta(seconds=1)) == 403
    assert status(None) == 403


@pytest.mark.battery("T1")
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/keys/{}/rotate"), ("DELETE", "/v1/keys/{}"), ("GET", "/v1/events/{}")]
)
def test_another_accounts_ids_answer_exactly_like_unknown_ones(
    ada: Person, sign_up: SignUp, method: str, path: str
) -> None:
    bob = sign_up("bob@example.com")
    theirs = bob.write("POST", "/v1/keys", {}).get_json()["id"]

    answers = [
        ada.write(method, path.format(each)) for each in (theirs, f"key_{0:032x}", "nonsense", "..", "a%2Fb")
    ]

    assert {each.status_code for each in answers} == {404}
    known_form = [without_request_id(each.text) for each in answers[:3]]
    assert len(set(known_form)) == 1


def test_the_number_of_live_keys_is_bounded(ada: Person, directory: Directory) -> None:
    for _ in range(LIVE_KEYS_MAX):
        directory.create_key(ada.account_id, KeyTerms())

    response = ada.write("POST", "/v1/keys", {})

    assert response.status_code == 409


def test_a_person_without_a_place_in_the_account_is_let_out(
    ada: Person, app: Flask, sqlite_store: DocumentStore
) -> None:
    (place,) = sqlite_store.query(Query(collection="memberships"))
    sqlite_store.commit([Delete(place.path)])

    assert ada.get("/v1/account").status_code == 401
