"""Every refusal has one shape, whatever went wrong and wherever."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_service.bodies import BODY_BYTES_MAX, DEPTH_MAX
from api_service.errors import ErrorView
from api_service.roles import ACTIONS
from api_service.services import Services
from metering.keys import new_key
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown
from tests.services.api.conftest import ORIGIN, MakeApp, Person
from tests.services.api.logbook import Logbook

# Told apart by address and method, so that a route without a test cannot hide: see the walk below.
ROUTES = [
    ("POST", "/v1/signup"),
    ("POST", "/v1/login"),
    ("POST", "/v1/logout"),
    ("GET", "/v1/session"),
    ("POST", "/v1/session/switch"),
    ("GET", "/v1/accounts"),
    ("POST", "/v1/account/leave"),
    ("GET", "/v1/person"),
    ("PATCH", "/v1/person"),
    ("POST", "/v1/person/password"),
    ("POST", "/v1/person/email"),
    ("POST", "/v1/person/confirmation"),
    ("GET", "/v1/person/sessions"),
    ("DELETE", "/v1/person/sessions"),
    ("DELETE", "/v1/person/sessions/<session_id>"),
    ("POST", "/v1/password-reset"),
    ("POST", "/v1/password-reset/confirm"),
    ("POST", "/v1/email/confirm"),
    ("POST", "/v1/email/change"),
    ("GET", "/v1/members"),
    ("PATCH", "/v1/members/<member_id>"),
    ("DELETE", "/v1/members/<member_id>"),
    ("GET", "/v1/invites"),
    ("POST", "/v1/invites"),
    ("DELETE", "/v1/invites/<invite_id>"),
    ("POST", "/v1/invites/look-up"),
    ("POST", "/v1/invites/accept"),
    ("POST", "/v1/invites/sign-up"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys"),
    ("POST", "/v1/keys/<key_id>/rotate"),
    ("DELETE", "/v1/keys/<key_id>"),
    ("GET", "/v1/account"),
    ("PATCH", "/v1/account"),
    ("GET", "/v1/budgets"),
    ("POST", "/v1/budgets"),
    ("GET", "/v1/budgets/<budget_id>"),
    ("PATCH", "/v1/budgets/<budget_id>"),
    ("DELETE", "/v1/budgets/<budget_id>"),
    ("GET", "/v1/routing-rules"),
    ("POST", "/v1/routing-rules"),
    ("GET", "/v1/routing-rules/<rule_id>"),
    ("PATCH", "/v1/routing-rules/<rule_id>"),
    ("DELETE", "/v1/routing-rules/<rule_id>"),
    ("GET", "/v1/configuration-files"),
    ("GET", "/v1/conservation"),
    ("GET", "/metrics"),
    ("GET", "/v1/events"),
    ("GET", "/v1/events/<request_id>"),
    ("GET", "/v1/stats/overview"),
    ("GET", "/v1/usage"),
    ("GET", "/healthz"),
    ("GET", "/health"),
    ("GET", "/readyz"),
    ("GET", "/openapi.json"),
]
SIGN_IN = {"email": "ada@example.com", "password": "correct horse"}
TOKEN = {"token": "none"}
OPEN_BODIES: dict[str, dict[str, str]] = {
    "/v1/signup": {**SIGN_IN, "account_name": "A"},
    "/v1/login": SIGN_IN,
    "/v1/password-reset": {"email": "ada@example.com"},
    "/v1/password-reset/confirm": {**TOKEN, "password": "correct horse"},
    "/v1/email/confirm": TOKEN,
    "/v1/email/change": TOKEN,
    "/v1/invites/look-up": TOKEN,
    "/v1/invites/sign-up": {**TOKEN, "password": "correct horse"},
}
OPEN = {*OPEN_BODIES, "/healthz", "/health", "/readyz", "/openapi.json"}
GUARDED = [  # /metrics is open to this machine itself
    (method, path) for method, path in ROUTES if path not in {*OPEN, "/metrics"}
]
WITH_BODY = [
    *(("POST", path) for path in OPEN_BODIES),
    ("POST", "/v1/session/switch"),
    ("PATCH", "/v1/person"),
    ("POST", "/v1/person/password"),
    ("POST", "/v1/person/email"),
    ("PATCH", "/v1/members/<member_id>"),
    ("POST", "/v1/invites"),
    ("POST", "/v1/invites/accept"),
    ("POST", "/v1/keys"),
    ("PATCH", "/v1/account"),
    ("POST", "/v1/budgets"),
    ("PATCH", "/v1/budgets/<budget_id>"),
    ("POST", "/v1/routing-rules"),
    ("PATCH", "/v1/routing-rules/<rule_id>"),
]


def address(path: str) -> str:
    return re.sub("<([a-z]+)_id>", lambda name: f"{name[1]}_{0:032x}", path)


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


def test_the_routes_are_exactly_these(app: Flask) -> None:
    found = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }

    assert found == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_says_what_it_needs(app: Flask, method: str, path: str) -> None:
    endpoint, _ = app.url_map.bind("x").match(address(path), method)

    need = app.view_functions[endpoint].__dict__["need"]

    assert (need == "anyone") == (path in OPEN)
    assert need in {"anyone", *ACTIONS}
    assert method == "GET" or need != "read"


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_stranger_is_refused_before_anything_is_read(client: FlaskClient, method: str, path: str) -> None:
    response = client.open(address(path), method=method, data=b"\xff{", content_type="application/json")

    assert refused(response, 401)["code"] == "unauthenticated"


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_an_unknown_key_is_refused(client: FlaskClient, method: str, path: str) -> None:
    response = client.open(address(path), method=method, headers={"Authorization": f"Bearer {new_key()}"})

    assert refused(response, 401)["code"] == "unauthenticated"


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_key_without_the_scope_is_refused(
    ada: Person, client: FlaskClient, bearer: Callable[..., dict[str, str]], method: str, path: str
) -> None:
    response = client.open(address(path), method=method, headers=bearer(ada.account_id, "proxy"))

    assert refused(response, 403)["code"] in {"scope_missing", "session_required"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("other", ["TRACE", "OPTIONS", "PUT", "CONNECT", "PROPFIND"])
def test_a_method_that_an_address_does_not_know_is_refused(
    client: FlaskClient, method: str, path: str, other: str
) -> None:
    response = client.open(address(path), method=other)

    assert refused(response, 405)["code"] == "method_not_allowed"
    assert method in response.headers["Allow"]


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v2/keys", "/v1/keys/", "/v1//keys", "/v1/keys/../account", "/v1/%2e%2e/openapi.json",
             "/debug", "/admin", "/static/x", "/openapi/", "/openapi", "/v1/keys/a/b", "/é"],
)  # fmt: skip
def test_there_is_nothing_anywhere_else(client: FlaskClient, path: str) -> None:
    assert refused(client.get(path), 404)["code"] == "not_found"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_database_that_does_not_answer_is_said_so(
    make_app: MakeApp, method: str, path: str, clock: ManualClock
) -> None:
    client = make_app(StoreDown()).test_client()
    response = client.open(
        address(path),
        method=method,
        json=OPEN_BODIES.get(path, {}),
        headers={"Authorization": f"Bearer {new_key()}"},
    )

    if path in {"/healthz", "/health", "/openapi.json"}:
        assert response.status_code == 200
        return
    error = refused(response, 503)
    assert error["code"] == "store_unavailable"
    assert ("may or may not have happened" in error["message"]) == (method != "GET")
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_fault_of_ours_gives_nothing_away(
    app: Flask, client: FlaskClient, logbook: Logbook, method: str, path: str
) -> None:
    def burst(**_: object) -> Response:
        raise RuntimeError("canary: the database password is hunter2")

    endpoint, _ = app.url_map.bind("x").match(address(path), method)
    burst.__dict__["need"] = "anyone"
    app.view_functions[endpoint] = burst

    response = client.open(address(path), method=method)

    assert refused(response, 500)["code"] == "internal_error"
    assert "canary" not in response.text + logbook.getvalue()
    (line,) = [line for line in logbook.lines() if line["event"] == "broken"]
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


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"{}"', b"5", b"{} {}", b"{'a': 1}", b"\xff\xfe", b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}", b'{"name": NaN}', b'{"name": Infinity}', b'{"name": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}', b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": 1e400}', b'{"a": 1e-400}',
        b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 0.' + b"1" * 5000 + b"}",
        b'{"a": ' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}", b"[" * 100_000, b'{"a":' * 100_000,
        b'{"a": 1e999999999999999999}', b"{\"a\": tru}", b"--x\r\n",
    ],
    ids=range(28),
)  # fmt: skip
def test_a_body_that_is_not_json_of_one_meaning_is_refused(
    written: Callable[..., TestResponse], method: str, path: str, body: bytes
) -> None:
    assert refused(written(method, path, body), 400)["code"] == "malformed_json"


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json5",
        "text/json",
        "application/jsonp",
    ],
)
def test_a_body_of_another_type_is_refused(
    written: Callable[..., TestResponse], method: str, path: str, content_type: str | None
) -> None:
    response = written(method, path, b'{"name": "x"}', content_type)

    assert refused(response, 415)["code"] == "unsupported_media_type"


def test_a_compressed_body_is_refused(written: Callable[..., TestResponse]) -> None:
    response = written("POST", "/v1/keys", b"\x1f\x8b", **{"Content-Encoding": "gzip"})

    assert refused(response, 415)["code"] == "unsupported_media_type"


def padded(size: int) -> bytes:
    return b'{"name": "x"' + b" " * (size - 13) + b"}"


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/keys"), ("PATCH", "/v1/account")])
def test_a_body_is_at_most_a_mebibyte(written: Callable[..., TestResponse], method: str, path: str) -> None:
    fits = written(method, path, padded(BODY_BYTES_MAX))
    too_large = written(method, path, padded(BODY_BYTES_MAX + 1))

    assert fits.status_code in {200, 201}
    assert refused(too_large, 413)["code"] == "body_too_large"


def test_many_unknown_fields_are_answered_shortly(written: Callable[..., TestResponse]) -> None:
    body = json.dumps({f"field{number}": number for number in range(50_000)}).encode()

    error = refused(written("POST", "/v1/keys", body), 422)

    assert len(error["details"]) == 50


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


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_answer_carries_what_keeps_it_private(ada: Person, method: str, path: str) -> None:
    response = ada.write(method, address(path), {} if method in {"POST", "PATCH"} else None)

    headers = response.headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Vary"] == "Cookie, Authorization"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Request-ID"].startswith("req_")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_the_caller_cannot_choose_the_request_id(client: FlaskClient) -> None:
    response = client.get("/healthz", headers={"X-Request-ID": "req_mine"})

    assert response.headers["X-Request-ID"] != "req_mine"


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


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_query_fields_that_nobody_reads_are_refused_on_every_route(
    ada: Person, method: str, path: str
) -> None:
    error = refused(ada.write(method, f"{address(path)}?strat_time=1&page_size=2"), 422)

    assert error["code"] == "invalid_input"
    assert {each["param"] for each in error["details"]} == {"strat_time", "page_size"}


def test_who_may_not_come_in_learns_nothing_of_fields(client: FlaskClient) -> None:
    assert client.get("/v1/keys?strat_time=1").status_code == 401
