"""What the description says of operations alike: their names, and ranges that are left out."""

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


def test_what_takes_a_range_says_what_it_is_where_left_out(client: FlaskClient) -> None:
    described = client.get("/openapi.json").get_json()["paths"]

    for path in ("/v1/usage", "/v1/stats/teams", "/v1/stats/comparison", "/v1/sessions"):
        assert "left out is now" in described[path]["get"]["description"].replace("\n", " "), path
