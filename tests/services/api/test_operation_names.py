"""One name for each operation: the description's and the audit log's."""

from flask import Flask
from flask.testing import FlaskClient


def test_an_operation_is_described_by_the_name_that_the_audit_log_notes(
    app: Flask, client: FlaskClient
) -> None:
    described = client.get("/openapi.json").get_json()["paths"]

    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<", "{").replace(">", "}")
        for method in (rule.methods or set()) - {"HEAD"} if path in described else ():
            assert described[path][method.lower()]["operationId"] == rule.endpoint.rpartition(".")[2]
