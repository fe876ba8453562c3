"""How often the API may be asked, over two instances, and what answers tell of it."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_service.request_limits import OF_ADDRESS
from metering.directory import Directory
from metering.plans import plan_named
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown
from tests.services.api.conftest import MakeApp, Person

Bearer = Callable[..., dict[str, str]]
FREE = plan_named("free")


@pytest.fixture
def two(make_app: MakeApp, sqlite_store: DocumentStore) -> list[FlaskClient]:
    """The same API, twice."""
    return [make_app(sqlite_store).test_client() for _ in range(2)]


@pytest.fixture
def account_id(directory: Directory) -> str:
    account = directory.create_account("Ada")
    directory.set_plan(account.account_id, "free")
    return account.account_id


@pytest.mark.battery("A8")
def test_a_key_is_served_as_often_as_its_plan_says_whichever_instance_it_asks(
    two: list[FlaskClient], account_id: str, bearer: Bearer
) -> None:
    headers, limit = bearer(account_id, "read"), FREE.requests_a_minute_of_one

    answers = [two[number % 2].get("/v1/account", headers=headers) for number in range(limit + 1)]

    assert [each.status_code for each in answers] == [200] * limit + [429]
    assert [each.headers["X-RateLimit-Remaining"] for each in answers[:3]] == ["99", "98", "97"]
    refused = answers[-1]
    assert refused.get_json()["error"]["code"] == "too_many_requests"
    assert refused.get_json()["error"]["retryable"]
    assert 60 <= int(refused.headers["Retry-After"]) <= 61
    assert refused.headers["X-RateLimit-Limit"] == str(limit)


@pytest.mark.battery("A8")
def test_after_the_wait_it_is_served_again(
    two: list[FlaskClient], account_id: str, bearer: Bearer, clock: ManualClock
) -> None:
    headers = bearer(account_id, "read")
    for _ in range(FREE.requests_a_minute_of_one):
        two[0].get("/v1/account", headers=headers)
    refused = two[1].get("/v1/account", headers=headers)

    clock.advance(int(refused.headers["Retry-After"]))

    assert two[0].get("/v1/account", headers=headers).status_code == 200


@pytest.mark.battery("A8")
def test_all_keys_of_an_account_together_have_its_limit_and_others_have_their_own(
    two: list[FlaskClient], account_id: str, bearer: Bearer, directory: Directory
) -> None:
    many = FREE.requests_a_minute // FREE.requests_a_minute_of_one
    for _ in range(many):
        headers = bearer(account_id, "read")
        for number in range(FREE.requests_a_minute_of_one):
            assert two[number % 2].get("/v1/account", headers=headers).status_code == 200

    one_more = two[0].get("/v1/account", headers=bearer(account_id, "read"))
    others = bearer(directory.create_account("Bob").account_id, "read")

    assert one_more.status_code == 429
    assert two[0].get("/v1/account", headers=others).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/account", 401),
        ("POST", "/v1/login", 401),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/keys", 405),
    ],
)
def test_who_is_not_known_is_counted_by_address(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    body = {"email": "ada@example.com", "password": "not the password"} if method == "POST" else None

    answered = client.open(path, method=method, json=body)

    assert answered.status_code == status
    assert answered.headers["X-RateLimit-Limit"] == str(OF_ADDRESS.limit)
    assert answered.headers["X-RateLimit-Remaining"] == str(OF_ADDRESS.limit - 1)


def test_made_up_keys_are_refused_as_too_many_at_last_and_true_ones_are_not(
    two: list[FlaskClient], account_id: str, bearer: Bearer
) -> None:
    statuses = [two[n % 2].get("/v1/account").status_code for n in range(OF_ADDRESS.limit + 1)]

    assert statuses == [401] * OF_ADDRESS.limit + [429]
    assert two[0].get("/v1/account", headers=bearer(account_id, "read")).status_code == 200


def test_pages_that_lead_to_the_log_in_are_counted_too(client: FlaskClient) -> None:
    led = [client.get("/overview", headers={"Accept": "text/html"}) for _ in range(OF_ADDRESS.limit + 1)]

    assert [each.status_code for each in led] == [303] * OF_ADDRESS.limit + [429]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/metrics"])
def test_what_machines_watch_is_not_counted(client: FlaskClient, path: str) -> None:
    assert "X-RateLimit-Limit" not in client.get(path).headers


def test_a_write_that_is_refused_for_its_page_counts_for_the_person(ada: Person) -> None:
    refused = ada.write("POST", "/v1/keys", {}, Origin="https://elsewhere.example")

    assert refused.status_code == 403
    assert int(refused.headers["X-RateLimit-Limit"]) == plan_named("self_hosted").requests_a_minute_of_one


def test_a_count_that_cannot_be_had_refuses_nobody(make_app: MakeApp) -> None:
    client = make_app(StoreDown()).test_client()

    assert client.get("/healthz").status_code == 200
    assert client.get("/v1/nothing").status_code == 404


def test_a_flood_costs_the_store_no_more_than_its_limit(app: Flask, account_id: str, bearer: Bearer) -> None:
    headers, client = bearer(account_id, "read"), app.test_client()

    statuses = {client.get("/v1/account", headers=headers).status_code for _ in range(300)}

    assert statuses == {200, 429}
