"""Callers that hang up and upstreams that are cut: one event each, in its state, plausibly estimated."""

import http.client
from typing import Any

import pytest

from tests.system.calls import CHAT, MESSAGES, Body, Reply, call, chat, message, open_call
from tests.system.deployment import Deployment, Tenant

STREAMS = [
    pytest.param(MESSAGES, message(stream=True), id="anthropic"),
    pytest.param(CHAT, chat(stream=True), id="openai"),
]


@pytest.fixture
def tenant(sqlite_deployment: Deployment) -> Tenant:
    return sqlite_deployment.tenant()


def _headers(tenant: Tenant, **options: object) -> dict[str, str]:
    asked = {f"x-demo-{name.replace('_', '-')}": str(value) for name, value in options.items()}
    return {
        "authorization": f"Bearer {tenant.provider_key}",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        **tenant.headers,
        **asked,
    }


def _assert_plausible(event: dict[str, Any], billed: dict[str, Any]) -> None:
    """The prompt within a factor of two, and not much more output than was billed."""
    assert billed["input_tokens"] / 2 <= event["input_tokens"] <= billed["input_tokens"] * 2
    assert 0 <= event["output_tokens"] <= billed["output_tokens"] * 2
    assert event["cost_usd"] > 0


@pytest.mark.battery("C3")
@pytest.mark.parametrize(("path", "body"), STREAMS)
def test_a_caller_that_hangs_up_before_the_first_byte(
    sqlite_deployment: Deployment, tenant: Tenant, path: str, body: Body
) -> None:
    headers = _headers(tenant, delay_ms=1_000)
    with open_call(sqlite_deployment.proxy.url, path, body, headers) as made:
        sqlite_deployment.wait_for_arrival(tenant)
        made.hang_up()

    event = sqlite_deployment.event(tenant)
    assert (event["state"], event["estimated"], event["streaming"]) == ("client_closed", True, True)
    _assert_plausible(event, sqlite_deployment.bill(tenant)[0])


@pytest.mark.battery("C3")
@pytest.mark.parametrize(("path", "body"), STREAMS)
def test_a_caller_that_hangs_up_in_mid_stream(
    sqlite_deployment: Deployment, tenant: Tenant, path: str, body: Body
) -> None:
    headers = _headers(tenant, pace_ms=50, output_tokens=150)
    with open_call(sqlite_deployment.proxy.url, path, body, headers) as made:
        made.read_until(b"delta")
        made.hang_up()

    event = sqlite_deployment.event(tenant)
    assert (event["state"], event["estimated"]) == ("client_closed", True)
    _assert_plausible(event, sqlite_deployment.bill(tenant)[0])


@pytest.mark.battery("C3")
def test_a_caller_that_hangs_up_just_before_the_end_is_billed_what_the_provider_said(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    headers = _headers(tenant, pace_ms=20)
    body = message(stream=True)
    with open_call(sqlite_deployment.proxy.url, MESSAGES, body, headers) as made:
        made.read_until(b'"type":"message_delta"')
        made.hang_up()

    event, (billed,) = sqlite_deployment.event(tenant), sqlite_deployment.bill(tenant)
    assert event["state"] == "client_closed"
    assert event["output_tokens"] == billed["output_tokens"]
    assert event["estimated"] is False


def test_a_caller_that_hangs_up_while_a_whole_answer_is_awaited(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    headers = _headers(tenant, delay_ms=1_000)
    with open_call(sqlite_deployment.proxy.url, MESSAGES, message(), headers) as made:
        sqlite_deployment.wait_for_arrival(tenant)
        made.hang_up()

    assert sqlite_deployment.event(tenant)["state"] == "client_closed"


@pytest.mark.battery("F1")
@pytest.mark.parametrize(("path", "body"), STREAMS)
@pytest.mark.parametrize("frames", [1, 6])
def test_an_upstream_cut_in_mid_stream_is_a_visible_cut(
    sqlite_deployment: Deployment, tenant: Tenant, path: str, body: Body, frames: int
) -> None:
    headers = _headers(tenant, cut_at_frame=frames)

    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        call(sqlite_deployment.proxy.url, path, body, headers)

    event = sqlite_deployment.event(tenant)
    assert (event["state"], event["estimated"]) == ("upstream_truncated", True)
    _assert_plausible(event, sqlite_deployment.bill(tenant)[0])


@pytest.mark.battery("F1")
@pytest.mark.parametrize("size", [20_000, 3_000_000], ids=["held whole", "passed on as it comes"])
def test_an_upstream_cut_in_a_whole_answer_is_never_a_good_answer(
    sqlite_deployment: Deployment, tenant: Tenant, size: int
) -> None:
    headers = _headers(tenant, size=size, cut_at_byte=size - 10)

    reply = _reply_or_cut(sqlite_deployment, message(), headers)

    event = sqlite_deployment.event(tenant)
    assert reply is None or reply.status == 502
    assert (event["state"], event["estimated"]) == ("upstream_truncated", True)


def _reply_or_cut(deployment: Deployment, body: Body, headers: dict[str, str]) -> Reply | None:
    try:
        return call(deployment.proxy.url, MESSAGES, body, headers)
    except (http.client.HTTPException, ConnectionError):
        return None


@pytest.mark.battery("C6", "F1")
@pytest.mark.parametrize(("path", "body"), STREAMS)
def test_an_upstream_that_resets_without_an_answer_is_an_error_in_the_providers_words(
    sqlite_deployment: Deployment, tenant: Tenant, path: str, body: Body
) -> None:
    reply = call(sqlite_deployment.proxy.url, path, body, _headers(tenant, reset="true"))

    event = sqlite_deployment.event(tenant)
    assert reply.status == 502
    assert reply.json()["error"]["message"]
    assert event["state"] == "upstream_error"
    assert len(sqlite_deployment.received(tenant)) == 1


@pytest.mark.parametrize(("path", "body"), STREAMS)
def test_an_error_frame_in_mid_stream_passes_and_is_told_apart(
    sqlite_deployment: Deployment, tenant: Tenant, path: str, body: Body
) -> None:
    reply = call(sqlite_deployment.proxy.url, path, body, _headers(tenant, error_at_frame=4))

    assert reply.status == 200
    assert b'"error"' in reply.body
    assert sqlite_deployment.event(tenant)["state"] == "upstream_error"


@pytest.mark.battery("C4")
@pytest.mark.parametrize("usage", ["absent", "null"])
@pytest.mark.parametrize("is_streaming", [False, True], ids=["json", "sse"])
def test_an_answer_without_usage_is_estimated(
    sqlite_deployment: Deployment, tenant: Tenant, usage: str, *, is_streaming: bool
) -> None:
    call(
        sqlite_deployment.proxy.url,
        MESSAGES,
        message(stream=is_streaming),
        _headers(tenant, usage=usage),
    )

    event = sqlite_deployment.event(tenant)
    assert (event["state"], event["estimated"]) == ("completed", True)
    _assert_plausible(event, sqlite_deployment.bill(tenant)[0])


@pytest.mark.battery("C4")
@pytest.mark.parametrize(("path", "body"), STREAMS)
@pytest.mark.parametrize("usage", ["zero", "every"])
def test_zero_is_a_figure_and_the_last_figure_counts(
    sqlite_deployment: Deployment, tenant: Tenant, path: str, body: Body, usage: str
) -> None:
    call(sqlite_deployment.proxy.url, path, body, _headers(tenant, usage=usage))

    (event,) = sqlite_deployment.assert_billed(tenant, 1)
    assert event["estimated"] is False


def test_a_call_that_nobody_awaits_to_the_end_still_leaves_its_connection_usable(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    with open_call(
        sqlite_deployment.proxy.url, MESSAGES, message(stream=True), _headers(tenant, pace_ms=30)
    ) as made:
        made.read_until(b"message_start")
        made.hang_up()

    replies = [
        call(sqlite_deployment.proxy.url, MESSAGES, message(str(at)), _headers(tenant)) for at in range(3)
    ]

    assert [reply.status for reply in replies] == [200, 200, 200]
    states = [event["state"] for event in sqlite_deployment.events(tenant, 4)]
    assert sorted(states) == ["client_closed", "completed", "completed", "completed"]
