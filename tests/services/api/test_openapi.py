"""The document that describes the API: valid, complete, and true of what is answered."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from api_service.request_limits import UNCOUNTED_ROUTES
from tests.services.api.conftest import Person


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").get_json()
    return found


OF_PAGES = {"static_file", "take_report", "security_txt"}


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()

    assert document["openapi"].startswith("3.1")


@pytest.mark.battery("T3")
def test_every_route_is_described_and_nothing_else(app: Flask, document: dict[str, Any]) -> None:
    served = {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("dashboard.") and rule.endpoint not in OF_PAGES
        for method in (rule.methods or set()) - {"HEAD"}
    }

    assert served - {("GET", "/openapi.json")} == set(operations(document))


def test_what_needs_somebody_says_so(app: Flask, document: dict[str, Any]) -> None:
    for (method, path), operation in operations(document).items():
        endpoint, _ = app.url_map.bind("x").match(path.replace("{", "a").replace("}", ""), method)
        is_open = app.view_functions[endpoint].__dict__["need"] == "anyone"

        assert bool(operation.get("security")) != is_open, path


def test_every_operation_has_a_summary_an_id_and_its_errors(document: dict[str, Any]) -> None:
    found = operations(document)

    assert len({each["operationId"] for each in found.values()}) == len(found)
    for operation in found.values():
        assert operation["summary"].endswith(".")
        assert "<br" not in operation.get("description", "")
        reference = operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"]
        assert reference.endswith("/ErrorView")


def test_every_operation_lists_the_errors_it_can_give_and_no_other(document: dict[str, Any]) -> None:
    may_be_refused = {
        ("PATCH", "/v1/members/{member_id}"),
        ("DELETE", "/v1/members/{member_id}"),
        ("DELETE", "/v1/person/identities/{provider}"),
    }
    for one in (
        "/v1/channels/{channel_id}",
        "/v1/webhooks/{webhook_id}",
        "/v1/report-schedules/{schedule_id}",
    ):
        may_be_refused |= {("PATCH", one), ("DELETE", one)}
    may_be_of_a_file = {
        "/v1/budgets/{budget_id}",
        "/v1/routing-rules/{rule_id}",
        "/v1/infrastructure/namespace-map",
    }
    named_in_the_request = {"/v1/session/switch", "/v1/sessions/timeline", "/v1/routing-rules/dry-run"}
    for (method, path), operation in operations(document).items():
        is_guarded, is_health = bool(operation.get("security")), path in {"/healthz", "/health"}
        expected = {
            "400": True,
            "401": is_guarded or path == "/v1/login",
            "403": is_guarded or method != "GET" or path == "/v1/sign-in/{provider}/return",
            "404": "{" in path or path in named_in_the_request,
            "409": method == "POST"  # for its Idempotency-Key, if for nothing else
            or (method, path) in may_be_refused
            or (path in may_be_of_a_file and method != "GET"),
            "413": "requestBody" in operation,
            "415": "requestBody" in operation,
            "422": True,
            "429": path not in UNCOUNTED_ROUTES,
            "500": True,
            "503": not is_health,
        }
        listed = {status for status in operation["responses"] if status >= "400"}
        assert listed == {status for status, may_be in expected.items() if may_be}, (method, path)


def answered(operation: dict[str, Any]) -> list[dict[str, Any] | None]:
    """What is said of the bodies of the answers to expect."""
    successes = [each for status, each in operation["responses"].items() if status < "300"]
    assert successes
    return [each.get("content", {}).get("application/json") for each in successes]


def test_every_route_shows_a_request_and_an_answer_that_fit_their_description(
    document: dict[str, Any],
) -> None:
    for operation in operations(document).values():
        bodies = [*answered(operation), *operation.get("requestBody", {}).get("content", {}).values()]
        for body in filter(None, bodies):
            name = body["schema"]["$ref"].rpartition("/")[2]
            example = document["components"]["schemas"][name]["example"]
            described = {**body["schema"], "components": document["components"]}
            OAS31Validator(described).validate(example)
        if operation.get("parameters"):
            assert any("example" in each for each in operation["parameters"])


def test_every_field_of_an_answer_says_what_it_is(document: dict[str, Any]) -> None:
    silent = [
        (name, field)
        for name, schema in document["components"]["schemas"].items()
        if name.endswith("View") or name in {"ErrorFields", "LoggedIn"}
        for field, described in schema["properties"].items()
        if not described.keys() & {"description", "$ref"}  # what is referred to describes itself
    ]

    assert silent == []


def test_the_examples_of_requests_are_accepted(document: dict[str, Any], ada: Person) -> None:
    schemas = document["components"]["schemas"]
    usage = operations(document)["GET", "/v1/usage"]["parameters"]
    query = {each["name"]: each["example"] for each in usage if "example" in each}

    assert ada.write("POST", "/v1/keys", schemas["NewKey"]["example"]).status_code == 201
    assert ada.write("PATCH", "/v1/account", schemas["AccountPatch"]["example"]).status_code == 200
    assert ada.get("/v1/usage", query_string=query).status_code == 200
    for path, noun in (("/v1/budgets", "Budget"), ("/v1/routing-rules", "Rule")):
        made = ada.write("POST", path, schemas[f"New{noun}"]["example"])
        assert made.status_code == 201
        patch = schemas[f"{noun}Patch"]["example"]
        assert ada.write("PATCH", f"{path}/{made.get_json()['id']}", patch).status_code == 200


def test_every_parameter_says_what_it_does(document: dict[str, Any]) -> None:
    assert "Authorization: Bearer" in document["info"]["description"]
    silent = [
        (path, parameter["name"])
        for (_, path), operation in operations(document).items()
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]

    assert silent == []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    assert {each.rpartition("/")[2] for each in references(document)} <= schemas.keys()


def test_every_counted_answer_tells_how_its_caller_stands_and_every_post_may_be_repeated(
    document: dict[str, Any],
) -> None:
    for (method, path), operation in operations(document).items():
        told = [response.get("headers", {}).keys() for response in operation["responses"].values()]
        named = [each["name"] for each in operation.get("parameters", [])]

        assert all(("X-RateLimit-Remaining" in each) != (path in UNCOUNTED_ROUTES) for each in told), path
        assert named.count("Idempotency-Key") == (method == "POST"), path
