"""Routing rules over REST: in their order, changed field by field, and those of the file read-only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.directory import Directory
from metering.stores import DocumentStore
from tests.services.api.conftest import MakeApp, Person

NEW = {
    "name": "cheap",
    "threshold": 70,
    "from_models": ["claude-sonnet-4-6"],
    "to_model": "claude-haiku-4-5",
}
FILE = (
    '{"rules": [{"name": "of the file", "trigger": "budget_percent_above", "threshold": 80,'
    ' "from_models": ["gpt-4o"], "to_model": "gpt-4o-mini", "provider": "openai", "action": "downgrade"}]}'
)


def made(person: Person, name: str = "cheap", **changes: Any) -> dict[str, Any]:
    response = person.write("POST", "/v1/routing-rules", NEW | {"name": name} | changes)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.get_json()
    return body


def names(person: Person) -> list[str]:
    return [each["name"] for each in person.get("/v1/routing-rules").get_json()["data"]]


def test_a_new_rule_is_shown_and_governs(ada: Person, directory: Directory) -> None:
    body = made(ada)

    policy = directory.policy(ada.account_id)
    assert policy is not None
    assert [each.rule_id for each in policy.routing_rules] == [body.pop("id")]
    assert body == NEW | {
        "description": "",
        "trigger": "budget_percent_above",
        "provider": "",
        "action": "downgrade",
        "enabled": True,
        "source": "api",
        "position": 0,
    }


def test_rules_stand_where_they_are_put(ada: Person) -> None:
    made(ada, "a")
    made(ada, "b")
    last = made(ada, "c", position=1)
    assert (names(ada), last["position"]) == (["a", "c", "b"], 1)

    moved = ada.write("PATCH", f"/v1/routing-rules/{last['id']}", {"position": 0})

    assert moved.get_json() == last | {"position": 0}
    assert names(ada) == ["c", "a", "b"]


def test_what_is_left_out_of_a_change_stays(ada: Person) -> None:
    made(ada, "a")
    body = made(ada, "b")

    changed = ada.write(
        "PATCH",
        f"/v1/routing-rules/{body['id']}",
        {"threshold": 0, "from_models": ["claude-opus-4-6"], "enabled": False},
    )

    assert changed.get_json() == body | {
        "threshold": 0,
        "from_models": ["claude-opus-4-6"],
        "enabled": False,
    }


BAD = {
    "101 %": ({"threshold": 101}, "threshold"),
    "half": ({"threshold": 0.5}, "threshold"),
    "truth": ({"threshold": True}, "threshold"),
    "text": ({"position": " 1"}, "position"),
    "no models": ({"from_models": []}, "from_models"),
    "blank": ({"to_model": "a b"}, "to_model"),
    "to itself": ({"to_model": "claude-sonnet-4-6"}, "to_model"),
    "another provider's": ({"to_model": "gpt-4o-mini"}, "to_model"),
    "not the named provider's": ({"to_model": "gpt-4o-mini", "provider": "anthropic"}, "to_model"),
    "line break": ({"name": "a\nb"}, "name"),
    "provider": ({"provider": "acme"}, "provider"),
    "action": ({"action": "block"}, "action"),
    "position": ({"position": -1}, "position"),
    "null": ({"to_model": None}, "to_model"),
    "foreign": ({"source": "file"}, "source"),
}


@pytest.mark.parametrize(("changes", "param"), BAD.values(), ids=list(BAD))
def test_what_makes_no_sense_is_refused_by_its_field(ada: Person, changes: Any, param: str) -> None:
    body = made(ada, "good")

    created = ada.write("POST", "/v1/routing-rules", NEW | changes)
    changed = ada.write("PATCH", f"/v1/routing-rules/{body['id']}", changes)

    for response in (created, changed):
        assert (response.status_code, response.get_json()["error"]["param"]) == (422, param)
    assert names(ada) == ["good"]


def test_a_name_stands_for_one_rule(ada: Person) -> None:
    made(ada)

    response = ada.write("POST", "/v1/routing-rules", NEW)

    assert (response.status_code, response.get_json()["error"]["param"]) == (422, "name")


def test_a_deleted_rule_is_gone(ada: Person) -> None:
    path = f"/v1/routing-rules/{made(ada)['id']}"

    assert ada.write("DELETE", path).status_code == 204
    assert [ada.write("DELETE", path).status_code, ada.get(path).status_code] == [404, 404]


def test_another_accounts_rule_answers_like_an_unknown_one(
    ada: Person, sign_up: Callable[..., Person]
) -> None:
    path = f"/v1/routing-rules/{made(ada)['id']}"
    bob = sign_up("bob@example.com")

    answers = [bob.get(path), bob.write("PATCH", path, {"threshold": 1}), bob.write("DELETE", path)]

    assert {(each.status_code, each.get_json()["error"]["message"]) for each in answers} == {
        (404, "there is no such routing rule")
    }


def test_a_pinned_key_changes_no_rules(
    ada: Person, client: FlaskClient, bearer: Callable[..., dict[str, str]]
) -> None:
    path = f"/v1/routing-rules/{made(ada)['id']}"
    key = bearer(ada.account_id, "read", "write", team="search")

    assert client.get(path, headers=key).status_code == 200
    assert client.post("/v1/routing-rules", json=NEW, headers=key).status_code == 403
    assert client.patch(path, json={"threshold": 1}, headers=key).status_code == 403
    assert client.delete(path, headers=key).status_code == 403


def test_rules_of_the_file_come_first_and_are_read_only(
    client: FlaskClient, directory: Directory, bearer: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    directory.ensure_local_account()
    key = bearer(LOCAL_ACCOUNT_ID, "read", "write")
    client.post("/v1/routing-rules", json=NEW, headers=key)
    (tmp_path / "routing.json").write_text(FILE)

    shown = client.get("/v1/routing-rules", headers=key).get_json()["data"]

    assert [(each["name"], each["source"], each["position"]) for each in shown] == [
        ("of the file", "file", None),
        ("cheap", "api", 0),
    ]
    path = f"/v1/routing-rules/{shown[0]['id']}"
    for response in (
        client.patch(path, json={"threshold": 1}, headers=key),
        client.delete(path, headers=key),
    ):
        assert (response.status_code, response.get_json()["error"]["code"]) == (409, "conflict")


def test_the_same_on_the_hosted_store(
    make_app: MakeApp, firestore_store: DocumentStore, sign_up: Callable[..., Person]
) -> None:
    ada = sign_up(on=make_app(firestore_store))
    first, second = made(ada, "a"), made(ada, "b", position=0)

    ada.write("PATCH", f"/v1/routing-rules/{first['id']}", {"threshold": 90, "position": 0})
    ada.write("DELETE", f"/v1/routing-rules/{second['id']}")

    assert names(ada) == ["a"]
