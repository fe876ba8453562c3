"""The document that describes the API: valid, complete, and true of what is answered."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").get_json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()

    assert document["openapi"].startswith("3.1")


def test_every_route_is_described_and_nothing_else(app: Flask, document: dict[str, Any]) -> None:
    served = {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in app.url_map.iter_rules()
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
        assert {"401", "403", "404", "405", "413", "422", "429", "500", "503"} <= operation[
            "responses"
        ].keys()
        reference = operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"]
        assert reference.endswith("/ErrorView")


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
