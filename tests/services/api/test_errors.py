"""Every refusal has one shape, whatever went wrong and wherever."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_service.bodies import BODY_BYTES_MAX, DEPTH_MAX, FIELDS_MAX
from api_service.errors import ErrorView
from api_service.services import Services
from metering.keys import new_key
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown
from tests.services.api.conftest import ORIGIN, MakeApp, Person
from tests.services.api.logbook import Logbook
from tests.services.api.operations import (
    DESCRIPTION,
    NEED_OF,
    OPERATIONS,
    Operation,
    Sent,
    World,
    request_of,
    running_world,
)

ROUTES = [*OPERATIONS, DESCRIPTION]
GUARDED = [each for each in OPERATIONS if not each.is_open and each.name != "GET /metrics"]
WITHOUT_STORE = {"/healthz", "/health", "/openapi.json", "/v1/sign-in-providers", "/v1/status"}
TAKES_ANY_QUERY = {"/v1/sign-in/{provider}/return"}  # a provider sends what it likes
WITH_BODY = [each for each in OPERATIONS if each.example is not None]
# Bodies that no parser takes, or not two alike.
MALFORMED = [
    b"", b"{", b"null", b"[]", b'"{}"', b"5", b"{} {}", b"{'a': 1}", b"\xff\xfe", b'{"a": "\xff"}',
    b"\xef\xbb\xbf{}", b'{"name": NaN}', b'{"name": Infinity}', b'{"name": -Infinity}',
    b'{"a": 1, "a": 2}',
    b'{"a": {"b": 1, "b": 1}}', b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": 1e400}', b'{"a": 1e-400}',
    b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 0.' + b"1" * 5000 + b"}",
    b'{"a": ' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}", b"[" * 100_000, b'{"a":' * 100_000,
    b'{"a": 1e999999999999999999}', b"{\"a\": tru}", b"--x\r\n",
]  # fmt: skip
OTHER_TYPES = [
    None,
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json5",
    "text/json",
    "application/jsonp",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("errors")) as running:
        yield running


def address(operation: Operation) -> str:
    """Its address, with names that nobody has; one of those that are known, where they are listed."""
    known = {each["name"]: each["schema"].get("enum", [""])[0] for each in operation.parameters("path")}
    return re.sub(
        "{([a-z]+)(_id)?}", lambda name: known[name[0][1:-1]] or f"{name[1]}_{0:032x}", operation.path
    )


def refused(response: TestResponse, status: int) -> dict[str, Any]:
    """The error of a refusal, whose shape is checked."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    error = ErrorView.model_validate(response.get_json()).error
    assert error.request_id == response.headers["X-Request-ID"]
    assert error.retryable == (status in {429, 503})
    found: dict[str, Any] = response.get_json()["error"]
    return found


def test_every_route_declares_what_the_table_of_operations_says(app: Flask) -> None:
    for each in OPERATIONS:
        endpoint, _ = app.url_map.bind("x").match(address(each), each.method)

        assert app.view_functions[endpoint].__dict__["need"] == NEED_OF[each.name], each.name


def test_a_stranger_is_refused_before_anything_is_read(client: FlaskClient) -> None:
    for each in GUARDED:
        response = client.open(
            address(each), method=each.method, data=b"\xff{", content_type="application/json"
        )

        assert refused(response, 401)["code"] == "unauthenticated", each.name


def test_an_unknown_key_is_refused(client: FlaskClient) -> None:
    for each in GUARDED:
        headers = {"Authorization": f"Bearer {new_key()}"}
        response = client.open(address(each), method=each.method, headers=headers)

        assert refused(response, 401)["code"] == "unauthenticated", each.name


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PUT", "CONNECT", "PROPFIND"])
def test_a_method_that_an_address_does_not_know_is_refused(
    client: FlaskClient, clock: ManualClock, method: str
) -> None:
    for path in {each.path for each in ROUTES}:
        known = {each.method: each for each in ROUTES if each.path == path}
        if method in known:
            continue
        clock.advance(60)
        response = client.open(address(next(iter(known.values()))), method=method)

        assert refused(response, 405)["code"] == "method_not_allowed", path
        assert known.keys() <= set(response.headers["Allow"].split(", ")), path


@pytest.mark.battery("T3")
@pytest.mark.parametrize(
    "path",
    ["/v1", "/v2/keys", "/v1/keys/", "/v1//keys", "/v1/keys/../account", "/v1/%2e%2e/openapi.json",
             "/debug", "/admin", "/static/x", "/openapi/", "/openapi", "/v1/keys/a/b", "/é"],
)  # fmt: skip
def test_there_is_nothing_anywhere_else(client: FlaskClient, path: str) -> None:
    assert refused(client.get(path), 404)["code"] == "not_found"


def test_a_database_that_does_not_answer_is_said_so(make_app: MakeApp, clock: ManualClock) -> None:
    client = make_app(StoreDown()).test_client()
    headers = {"Authorization": f"Bearer {new_key()}"}
    for each in ROUTES:
        body = each.example if each.is_open else {}
        response = client.open(address(each), method=each.method, json=body, headers=headers)

        if each.path in WITHOUT_STORE:
            assert response.status_code == 200
            continue
        error = refused(response, 503)
        assert error["code"] == "store_unavailable", each.name
        assert ("may or may not have happened" in error["message"]) == (each.method != "GET")
        assert int(response.headers["Retry-After"]) > 0


def test_a_fault_of_ours_gives_nothing_away(
    app: Flask, client: FlaskClient, clock: ManualClock, logbook: Logbook
) -> None:
    def burst(**_: object) -> Response:
        raise RuntimeError("canary: the database password is hunter2")

    burst.__dict__["need"] = "anyone"
    for each in ROUTES:
        endpoint, _ = app.url_map.bind("x").match(address(each), each.method)
        app.view_functions[endpoint] = burst
        clock.advance(60)

        answered = client.open(address(each), method=each.method)
        assert refused(answered, 500)["code"] == "internal_error"
        assert "canary" not in answered.text + str(answered.headers), each.name

    assert "canary" not in logbook.getvalue()
    broken = [line for line in logbook.lines() if line["event"] == "broken"]
    assert len(broken) == len(ROUTES)
    for line in broken:
        assert line["kind"] == "RuntimeError"
        assert any("burst" in place for place in line["where"])


def test_a_route_that_declares_nothing_serves_nobody(app: Flask, ada: Person) -> None:
    app.view_functions["keys.list_keys"] = lambda: Response("undeclared")

    assert refused(ada.get("/v1/keys"), 403)["code"] == "forbidden"


@pytest.fixture
def written(ada: Person) -> Callable[..., TestResponse]:
    """Sends a body as it is, from a page of ours by an owner, who may do everything."""

    def write(
        method: str, path: str, body: bytes, content_type: str | None = "application/json", **headers: str
    ) -> TestResponse:
        sent = {"X-CSRF-Token": ada.csrf_token, "Origin": ORIGIN} | headers
        return ada.client.open(path, method=method, data=body, content_type=content_type, headers=sent)

    return write


@pytest.mark.battery("I4")
@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda each: each.name)
def test_a_body_that_is_not_json_of_one_meaning_is_refused(
    written: Callable[..., TestResponse], operation: Operation
) -> None:
    for body in MALFORMED:
        response = written(operation.method, address(operation), body)

        assert refused(response, 400)["code"] == "malformed_json", body[:40]


@pytest.mark.battery("I4")
@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda each: each.name)
def test_a_body_of_another_type_is_refused(
    written: Callable[..., TestResponse], operation: Operation
) -> None:
    for content_type in OTHER_TYPES:
        response = written(operation.method, address(operation), b'{"name": "x"}', content_type)

        assert refused(response, 415)["code"] == "unsupported_media_type", content_type


def test_a_compressed_body_is_refused(written: Callable[..., TestResponse]) -> None:
    response = written("POST", "/v1/keys", b"\x1f\x8b", **{"Content-Encoding": "gzip"})

    assert refused(response, 415)["code"] == "unsupported_media_type"


def padded(size: int) -> bytes:
    return b'{"name": "x"' + b" " * (size - 13) + b"}"


@pytest.mark.battery("I4")
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/keys"), ("PATCH", "/v1/account")])
def test_a_body_is_at_most_a_mebibyte(written: Callable[..., TestResponse], method: str, path: str) -> None:
    fits = written(method, path, padded(BODY_BYTES_MAX))
    too_large = written(method, path, padded(BODY_BYTES_MAX + 1))

    assert fits.status_code in {200, 201}
    assert refused(too_large, 413)["code"] == "body_too_large"


@pytest.mark.battery("I4")
def test_many_unknown_fields_are_answered_shortly(written: Callable[..., TestResponse]) -> None:
    body = json.dumps({f"field{number}": number for number in range(FIELDS_MAX)}).encode()

    error = refused(written("POST", "/v1/keys", body), 422)

    assert len(error["details"]) == 50
    more = body.removesuffix(b"}") + b', "more": 1}'
    assert refused(written("POST", "/v1/keys", more), 400)["code"] == "malformed_json"


def mistyped(schema: Mapping[str, Any]) -> list[object]:
    """What would only fit a field after it was turned into another type; nothing, where several types fit."""
    inner = [each for each in schema.get("anyOf", [schema]) if each != {"type": "null"}]
    kinds: dict[str, list[object]] = {
        "string": [5, True],
        "integer": ["5", 5.0, True],
        "boolean": ["true", "yes", 1],
        "array": ["x", {}],
        "object": ["x", []],
    }
    return kinds.get(inner[0].get("type", ""), []) if len(inner) == 1 else []


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda each: each.name)
def test_no_value_of_another_type_is_taken_for_one_of_a_fields_own(
    written: Callable[..., TestResponse], clock: ManualClock, operation: Operation
) -> None:
    for name, schema in operation.fields.items():
        for value in mistyped(schema):
            clock.advance(60)
            body = json.dumps((operation.example or {}) | {name: value}).encode()

            error = refused(written(operation.method, address(operation), body), 422)
            named = [each["param"] or "" for each in error["details"]]
            assert any(each == name or each.startswith((f"{name}.", f"{name}[")) for each in named), (
                name,
                value,
                error,
            )


@pytest.mark.battery("V2")
def test_a_secret_given_as_the_name_of_a_field_is_not_repeated(
    written: Callable[..., TestResponse],
) -> None:
    response = written("POST", "/v1/keys", b'{"sk-ant-api03-abcdefghijklmnop": 1}')

    assert refused(response, 422)["param"] == "[redacted]"


@pytest.mark.parametrize(
    "host",
    [
        "localhost/#@evil",
        "evil.example",
        "a b",
        "",
        "127.0.0.1:x",
        "[::1",
        "127.0.0.1.evil.example",
        "evil.example:3001",
    ],
)
def test_a_host_that_is_not_ours_is_refused(client: FlaskClient, host: str) -> None:
    response = client.get("/healthz", headers={"Host": host})

    assert refused(response, 400)["code"] == "bad_host"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:3001", "[::1]:3001", "LOCALHOST:9999"])
def test_this_machine_goes_by_its_own_names(client: FlaskClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_every_answer_carries_what_keeps_it_private(world: World) -> None:
    for each in ROUTES:
        place = world.place()
        asking = place.visitor("owner")
        headers = asking.ask(request_of(each, place, asking)).headers

        assert headers["Cache-Control"] == "no-store", each.name
        assert headers["Vary"] == "Cookie, Authorization"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Request-ID"].startswith("req_")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers


def test_no_other_site_is_let_in_whatever_it_asks_for(client: FlaskClient, clock: ManualClock) -> None:
    asks = {
        "Origin": "https://elsewhere.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
        "Access-Control-Request-Private-Network": "true",
    }
    for each in ROUTES:
        for method in (each.method, "OPTIONS"):
            clock.advance(60)
            headers = client.open(address(each), method=method, headers=asks).headers

            assert not [name for name, _ in headers if name.lower().startswith("access-control-")], each.name


def test_the_caller_cannot_choose_the_request_id(client: FlaskClient) -> None:
    response = client.get("/healthz", headers={"X-Request-ID": "req_mine"})

    assert response.headers["X-Request-ID"] != "req_mine"


@pytest.mark.battery("V3")
def test_the_log_names_the_route_and_never_the_address(
    client: FlaskClient, logbook: Logbook, sqlite_store: DocumentStore
) -> None:
    client.get("/v1/events/canary-in-path?key=canary-in-query", headers={"User-Agent": "canary-in-header"})
    client.get("/canary-in-path")

    assert "canary" not in logbook.getvalue()
    assert logbook.lines()[0]["route"] == "/v1/events/<request_id>"
    assert logbook.lines()[0]["status"] == 401


def test_nothing_is_opened_when_an_application_is_made(make_app: MakeApp) -> None:
    store = StoreDown()

    app = make_app(store)

    assert store.calls == 0
    assert isinstance(app.extensions["modeltrack"], Services)


def test_query_fields_that_nobody_reads_are_refused_on_every_route(world: World) -> None:
    for each in (route for route in ROUTES if route.path not in TAKES_ANY_QUERY):
        place = world.place()
        asking = place.visitor("owner")
        sent = request_of(each, place, asking)
        query = {**sent.query, "strat_time": "1", "page_sise": "2"}
        error = refused(asking.ask(Sent(sent.method, sent.path, query, sent.json)), 422)

        assert error["code"] == "invalid_input", each.name
        assert {told["param"] for told in error["details"]} == {"strat_time", "page_sise"}


def test_who_may_not_come_in_learns_nothing_of_fields(client: FlaskClient) -> None:
    assert client.get("/v1/keys?strat_time=1").status_code == 401


def test_the_schema_of_refusals_is_everybodys_own_copy() -> None:
    first = ErrorView.model_json_schema(mode="serialization")
    first.clear()

    assert ErrorView.model_json_schema(mode="serialization")["properties"].keys() == {"error"}
    assert "$defs" in ErrorView.model_json_schema(ref_template="#/components/schemas/{model}")
