"""What the privacy check sends reaches every operation, and is ruled out by the API's own description."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from flask.testing import FlaskClient

from modeltrack_cli.privacy.api_letters import LOOKED_UP, Operation, letters, operations
from modeltrack_cli.privacy.canaries import Canaries
from modeltrack_cli.privacy.sending import Letter

Json = dict[str, Any]


@pytest.fixture
def document(client: FlaskClient) -> Json:
    found: Json = client.get("/openapi.json").get_json()
    return found


def written(listed: Sequence[Operation], *, has_session: bool = True) -> tuple[Canaries, list[Letter]]:
    canaries = Canaries()
    return canaries, list(letters(canaries, listed, has_session=has_session, address="ada@example.com"))


def test_every_operation_is_asked_and_every_parameter_and_field_has_a_canary(document: Json) -> None:
    listed = operations(document)

    canaries, sent = written(listed)

    assert len(listed) == sum(len(methods) for methods in document["paths"].values())
    assert {each.route for each in listed} <= {each.route for each in sent}
    assert all(canaries.by_route()[each.route] >= len(each.parameters) + 9 for each in listed)


def test_a_new_operation_is_asked_too(document: Json) -> None:
    body = {"type": "object", "properties": {"note": {"type": "string"}}, "additionalProperties": False}
    document["paths"]["/v1/unheard-of/{thing}"] = {
        "post": {
            "parameters": [{"name": "thing", "in": "path"}, {"name": "depth", "in": "query"}],
            "requestBody": {"content": {"application/json": {"schema": body}}},
            "security": [{"key": []}],
        }
    }

    canaries, sent = written(operations(document))

    of_it = [each for each in sent if each.route == "API POST /v1/unheard-of/{thing}"]
    assert {each.opens for each in of_it} == {"nobody", "key"}
    assert all(canaries.marks[0] in each.path.split("/")[3] for each in of_it)
    assert any(b'"note"' in (each.body or b"") for each in of_it)


@pytest.mark.parametrize("has_session", [True, False])
def test_nothing_that_might_be_taken_goes_with_what_opens_the_account(
    document: Json, has_session: bool
) -> None:
    listed = operations(document)
    by_route = {each.route: each for each in listed}

    canaries, sent = written(listed, has_session=has_session)

    opened = [each for each in sent if each.opens != "nobody" and each.route in by_route]
    for letter in opened:
        if letter.method == "GET":
            continue
        operation = by_route[letter.route]
        names_nothing = bool(operation.named("path")) and canaries.marks[0] in letter.path
        assert names_nothing or _is_ruled_out(letter, operation), letter.route
    assert opened
    assert has_session == any(each.opens == "session" for each in sent)


def _is_ruled_out(letter: Letter, operation: Operation) -> bool:
    try:
        body = json.loads(letter.body or b"")
    except ValueError:
        return bool(letter.body)
    schema = operation.body or {}
    if not isinstance(body, dict):
        return bool(schema["type"] == "object")
    strange = {name: value for name, value in body.items() if name not in schema.get("properties", {})}
    if schema["additionalProperties"] is False:
        return bool(strange)
    return any(not isinstance(value, str) for value in strange.values())


def test_a_body_that_the_description_does_not_rule_out_goes_nowhere_with_a_key(document: Json) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.setdefault("security", [{"key": []}])
    for schema in document["components"]["schemas"].values():
        schema.pop("additionalProperties", None)

    _, sent = written([each for each in operations(document) if each.path not in LOOKED_UP])

    with_key = [each.body for each in sent if each.opens != "nobody" and each.promised == 0 and each.body]
    assert with_key
    assert not [
        body for body in with_key if body.startswith(b"{") and body.endswith(b"}") and b'": {' in body
    ]


@pytest.mark.parametrize(
    "document",
    [None, [], {"paths": []}, {"paths": {"/a": []}}, {"paths": {"/a": {"get": "x"}}}],
    ids=["nothing", "a list", "no paths", "no methods", "no operation"],
)
def test_a_description_of_another_form_lists_nothing(document: object) -> None:
    assert operations(document) == []


def test_a_description_that_refers_to_itself_is_read_to_an_end() -> None:
    itself = {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/A"}}}
    document = {
        "components": {"schemas": {"A": itself}},
        "paths": {
            "/a": {
                "post": {
                    "requestBody": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}
                    }
                }
            }
        },
    }

    _, sent = written(operations(document))

    assert [each for each in sent if each.route == "API POST /a"]
