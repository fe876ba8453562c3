"""Idempotency-Key: what is sent again is done once, and answered alike."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_service.idempotency import ANSWERED_WITHIN, KEPT
from metering.collections import IDEMPOTENCY, idempotency_path
from metering.directory import Directory
from metering.stores import DocumentStore, Query, Update
from tests.doubles.clock import ManualClock
from tests.doubles.unreliable_store import Fate, UnreliableStore
from tests.services.api.conftest import MakeApp, Person

KEY = {"Idempotency-Key": "0b2f6c1e-first"}
NEW = {"name": "search", "scopes": ["proxy"]}
Bearer = Callable[..., dict[str, str]]


def code(response: Any) -> str:
    return str(response.get_json()["error"]["code"])


def keys_named(person: Person, name: str) -> int:
    return sum(each["name"] == name for each in person.get("/v1/keys").get_json()["data"])


@pytest.mark.battery("B5")
def test_a_key_that_is_created_twice_is_one_key_and_shown_again(
    ada: Person, store_text: Callable[[], str]
) -> None:
    first = ada.write("POST", "/v1/keys", NEW, **KEY)
    second = ada.write("POST", "/v1/keys", NEW, **KEY)

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.get_json() == first.get_json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert keys_named(ada, "search") == 1
    assert first.get_json()["key"] not in store_text()


@pytest.fixture
def store_text(sqlite_store: DocumentStore) -> Callable[[], str]:
    """All that is kept for repeats, as it lies in the store."""
    return lambda: str([each.fields for each in sqlite_store.query(Query(collection=IDEMPOTENCY))])


@pytest.mark.battery("B5")
def test_the_other_instance_answers_a_repeat_alike(
    ada: Person, make_app: MakeApp, sqlite_store: DocumentStore, bearer: Bearer
) -> None:
    headers = bearer(ada.account_id, "read", "write", "proxy") | KEY
    clients = [make_app(sqlite_store).test_client() for _ in range(2)]

    answers = [each.post("/v1/keys", json=NEW, headers=headers).get_json() for each in clients]

    assert answers[0] == answers[1]
    assert keys_named(ada, "search") == 1


@pytest.mark.battery("B5")
@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/keys", {**NEW, "name": "other"}), ("/v1/budgets", NEW)],
    ids=["another body", "another address"],
)
def test_another_request_with_the_same_key_is_refused(ada: Person, path: str, body: object) -> None:
    ada.write("POST", "/v1/keys", NEW, **KEY)

    refused = ada.write("POST", path, body, **KEY)

    assert (refused.status_code, code(refused)) == (409, "idempotency_key_reused")


def test_a_key_of_somebody_else_means_nothing(ada: Person, app: Flask, bearer: Bearer) -> None:
    first = ada.write("POST", "/v1/keys", NEW, **KEY)
    headers = bearer(ada.account_id, "write", "proxy") | KEY

    other = app.test_client().post("/v1/keys", json=NEW, headers=headers)

    assert other.status_code == 201
    assert other.get_json()["key"] != first.get_json()["key"]


@pytest.mark.battery("B5")
def test_what_was_refused_may_be_put_right_and_sent_again(ada: Person) -> None:
    refused = ada.write("POST", "/v1/keys", {"scopes": ["everything"]}, **KEY)

    assert refused.status_code == 422
    assert ada.write("POST", "/v1/keys", NEW, **KEY).status_code == 201


def test_a_key_is_free_again_after_a_day(ada: Person, app: Flask, bearer: Bearer, clock: ManualClock) -> None:
    headers, client = bearer(ada.account_id, "write", "proxy") | KEY, app.test_client()
    first = client.post("/v1/keys", json=NEW, headers=headers).get_json()
    clock.advance(KEPT.total_seconds() - 1)
    within = client.post("/v1/keys", json=NEW, headers=headers).get_json()
    clock.advance(1)
    after = client.post("/v1/keys", json=NEW, headers=headers).get_json()

    assert within == first
    assert after["id"] != first["id"]


@pytest.mark.battery("B5")
def test_of_many_at_once_one_is_done_and_the_others_wait_or_see_it(
    app: Flask, ada: Person, bearer: Bearer
) -> None:
    headers = bearer(ada.account_id, "write", "proxy") | KEY

    def send(_: int) -> Any:
        return app.test_client().post("/v1/keys", json=NEW, headers=headers)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(16)))

    made = {each.get_json()["id"] for each in answers if each.status_code == 201}
    waiting = [each for each in answers if each.status_code != 201]
    assert len(made) == 1
    assert all(code(each) == "idempotency_in_progress" for each in waiting)
    assert all(each.get_json()["error"]["retryable"] and each.headers["Retry-After"] for each in waiting)
    assert keys_named(ada, "search") == 1


def claimed(sqlite_store: DocumentStore) -> str:
    (document,) = sqlite_store.query(Query(collection=IDEMPOTENCY))
    return idempotency_path(document.document_id)


@pytest.mark.parametrize(
    ("age_seconds", "expected"),
    [
        (ANSWERED_WITHIN.total_seconds() - 1, "idempotency_in_progress"),
        (ANSWERED_WITHIN.total_seconds(), "idempotency_outcome_unknown"),
    ],
)
def test_a_process_that_died_leaves_nobody_guessing(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, age_seconds: float, expected: str
) -> None:
    ada.write("POST", "/v1/keys", NEW, **KEY)
    sqlite_store.commit([Update(claimed(sqlite_store), {"state": "under way"})])  # as if it had died then
    clock.advance(age_seconds)

    again = ada.write("POST", "/v1/keys", NEW, **KEY)

    assert (again.status_code, code(again)) == (409, expected)


@pytest.mark.parametrize("fate", ["reply_lost", "not_applied"])
def test_a_silent_store_never_makes_a_repeat_do_it_twice(
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    ada: Person,
    bearer: Bearer,
    fate: Fate,
    clock: ManualClock,
) -> None:
    headers = bearer(ada.account_id, "write", "proxy") | KEY
    # a key's use, a place of its rate, the claim, the entry in the audit log; then the key itself
    fates: list[Fate] = ["applied", "applied", "applied", "applied", fate]
    client = make_app(UnreliableStore(sqlite_store, fates)).test_client()

    first = client.post("/v1/keys", json=NEW, headers=headers)
    clock.advance(ANSWERED_WITHIN.total_seconds())
    again = client.post("/v1/keys", json=NEW, headers=headers)

    assert first.status_code == 503
    assert code(again) == "idempotency_outcome_unknown"
    assert keys_named(ada, "search") == (fate == "reply_lost")


def test_what_failed_before_anything_was_written_may_be_sent_again(
    make_app: MakeApp, sqlite_store: DocumentStore, ada: Person, bearer: Bearer
) -> None:
    headers = bearer(ada.account_id, "write", "proxy") | KEY
    fates: list[Fate] = ["applied", "applied", "applied", "not_applied"]  # the entry in the audit log
    client = make_app(UnreliableStore(sqlite_store, fates)).test_client()

    assert client.post("/v1/keys", json=NEW, headers=headers).status_code == 503
    assert client.post("/v1/keys", json=NEW, headers=headers).status_code == 201


def test_signing_up_twice_is_one_account_and_the_same_session(client: FlaskClient, app: Flask) -> None:
    body = {"email": "ada@example.com", "password": "correct horse battery", "account_name": "Ada"}

    first = client.post("/v1/signup", json=body, headers=KEY)
    second = app.test_client().post("/v1/signup", json=body, headers=KEY)

    assert second.get_json() == first.get_json()
    assert second.headers["Set-Cookie"] == first.headers["Set-Cookie"]


@pytest.mark.parametrize("sent", ["", "with blank", "x" * 256, "é"])
def test_what_is_no_key_is_refused_by_name(ada: Person, sent: str) -> None:
    refused = ada.write("POST", "/v1/keys", NEW, **{"Idempotency-Key": sent})

    assert refused.status_code == 422
    assert refused.get_json()["error"]["param"] == "Idempotency-Key"


def test_a_revoked_key_sees_no_answer_of_its_own_any_more(
    ada: Person, client: FlaskClient, directory: Directory, bearer: Bearer
) -> None:
    headers = bearer(ada.account_id, "write", "proxy") | KEY
    client.post("/v1/keys", json=NEW, headers=headers)
    for each in directory.keys_of(ada.account_id):
        directory.revoke_key(ada.account_id, each.key_id)

    assert client.post("/v1/keys", json=NEW, headers=headers).status_code == 401
