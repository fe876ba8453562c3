"""Answers from memory, on the published defaults: what is the same call, and what is another."""

from contextlib import suppress
from http.client import HTTPException
from typing import Any

import pytest

from tests.system.calls import CHAT, MESSAGES, Reply, call, chat, message
from tests.system.deployment import Deployment, Tenant

pytestmark = pytest.mark.not_behind_nginx("each proxy remembers answers of its own")


@pytest.fixture
def tenant(sqlite_deployment: Deployment) -> Tenant:
    return sqlite_deployment.tenant()


def _call(deployment: Deployment, tenant: Tenant, body: dict[str, Any], **headers: str) -> Reply:
    named = {
        "x-api-key": tenant.provider_key,
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        **tenant.headers,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return call(deployment.proxy.url, MESSAGES, body, named)


def test_a_repeat_is_answered_from_memory_and_costs_nothing(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    first, repeat = (_call(sqlite_deployment, tenant, message()) for _ in range(2))

    made, saved = sqlite_deployment.events(tenant, 2)
    assert [reply.header("X-ModelTrack-Cache") for reply in (first, repeat)] == ["MISS", "HIT"]
    assert first.body == repeat.body
    assert len(sqlite_deployment.bill(tenant)) == 1
    assert (saved["cache_hit"], saved["state"], saved["cost_usd"]) == (True, "cache_hit", 0)
    assert saved["saved_usd"] == made["cost_usd"] > 0


def test_a_hit_carries_none_of_the_first_answers_identity(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    first, repeat = (_call(sqlite_deployment, tenant, message()) for _ in range(2))

    assert first.header("request-id")
    assert not repeat.header("request-id")
    assert not repeat.header("anthropic-ratelimit-requests-limit")
    assert repeat.header("X-ModelTrack-Request-ID") != first.header("X-ModelTrack-Request-ID")
    assert repeat.header("content-type") == first.header("content-type")


TOOL = {"name": "look", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (message(), message(model="claude-haiku-4-5")),
        (message("Hello"), message("Hello!")),
        (message(), message(system="Be brief.")),
        (message(temperature=0), message(temperature=0.1)),
        (message(), message(temperature=1.0)),
        (message(), message(tools=[TOOL])),
        (message(max_tokens=10), message(max_tokens=11)),
    ],
    ids=["model", "messages", "system", "temperature", "temperature given", "tools", "length"],
)
def test_a_call_that_differs_is_made(
    sqlite_deployment: Deployment, tenant: Tenant, one: dict[str, Any], other: dict[str, Any]
) -> None:
    replies = [_call(sqlite_deployment, tenant, body) for body in (one, other)]

    assert [reply.header("X-ModelTrack-Cache") for reply in replies] == ["MISS", "MISS"]
    assert len(sqlite_deployment.bill(tenant)) == 2


@pytest.mark.battery("T2")
def test_another_provider_key_never_gets_the_answer(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    _call(sqlite_deployment, tenant, message())

    reply = _call(sqlite_deployment, tenant, message(), x_api_key="sk-another")

    assert reply.header("X-ModelTrack-Cache") == "MISS"


@pytest.mark.battery("T2")
def test_another_account_never_gets_the_answer(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    other = sqlite_deployment.tenant()
    _call(sqlite_deployment, tenant, message())

    reply = _call(sqlite_deployment, tenant, message(), **{"X-ModelTrack-Key": other.key})

    assert reply.header("X-ModelTrack-Cache") == "MISS"


@pytest.mark.battery("T2")
def test_an_invalid_provider_key_is_no_way_to_a_stored_answer(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    _call(sqlite_deployment, tenant, message())

    assert _call(sqlite_deployment, tenant, message(), x_api_key="invalid").status == 401


def test_streams_are_never_answered_from_memory(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    for _ in range(2):
        _call(sqlite_deployment, tenant, message(stream=True))

    sqlite_deployment.assert_billed(tenant, 2)


def test_a_caller_can_opt_out(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    for _ in range(2):
        _call(sqlite_deployment, tenant, message(), x_modeltrack_no_cache="true")

    sqlite_deployment.assert_billed(tenant, 2)


@pytest.mark.parametrize("answer", [{"status": 500}, {"status": 429}, {"cut-at-byte": 100}])
def test_what_went_wrong_is_not_repeated(
    sqlite_deployment: Deployment, tenant: Tenant, answer: dict[str, Any]
) -> None:
    sqlite_deployment.script(tenant, answer)
    with suppress(OSError, HTTPException):
        _call(sqlite_deployment, tenant, message())

    reply = _call(sqlite_deployment, tenant, message())

    assert reply.status == 200
    assert reply.header("X-ModelTrack-Cache") == "MISS"


def test_providers_do_not_share_answers(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    headers = {"authorization": f"Bearer {tenant.provider_key}", **tenant.headers}
    paths = [CHAT, "/azure/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"]

    replies = [call(sqlite_deployment.proxy.url, path, chat(), headers) for path in paths]

    assert [reply.header("X-ModelTrack-Cache") for reply in replies] == ["MISS", "MISS"]
