"""Two proxies and two APIs on one store: one truth, and a change that acts on all of them within a second."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.system.calls import MESSAGES, call, message, open_call
from tests.system.deployment import Deployment, Row, Tenant
from tests.system.processes import LATE_SECONDS, Process, eventually

ACTS_WITHIN_SECONDS = 1.0


def _headers(tenant: Tenant, **options: str) -> dict[str, str]:
    return {
        "x-api-key": tenant.provider_key,
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "x-modeltrack-no-cache": "true",
        **tenant.headers,
        **{f"x-demo-{name.replace('_', '-')}": value for name, value in options.items()},
    }


@pytest.fixture
def proxies(deployment: Deployment) -> Iterator[list[Process]]:
    """The deployment's proxy and a second one."""
    second = deployment.start_proxy(data="second")
    yield [deployment.proxy, second]
    second.stop()


@pytest.fixture
def apis(deployment: Deployment) -> Iterator[list[Process]]:
    """The deployment's API and a second one."""
    second = deployment.start_api()
    yield [deployment.api, second]
    second.stop()


def _status(proxy: Process, tenant: Tenant) -> int:
    return call(proxy.url, MESSAGES, message(), _headers(tenant)).status


def _routed_to(proxy: Process, tenant: Tenant) -> str:
    return call(proxy.url, MESSAGES, message(), _headers(tenant)).header("X-ModelTrack-Routed-To")


def _tell_api(deployment: Deployment, tenant: Tenant, method: str, path: str, body: dict[str, Any]) -> Row:
    answer = requests.request(
        method,
        deployment.api.url + path,
        json=body,
        headers={"Authorization": f"Bearer {tenant.key}"},
        timeout=10,
    )
    assert answer.ok, answer.text
    made: Row = answer.json()
    return made


@pytest.mark.battery("C5")
def test_calls_through_two_proxies_add_up_in_two_apis(
    deployment: Deployment, tenant: Tenant, proxies: list[Process], apis: list[Process]
) -> None:
    calls = [
        threading.Thread(
            target=lambda proxy, at: call(proxy.url, MESSAGES, message(str(at)), _headers(tenant)),
            args=(proxies[at % 2], at),
        )
        for at in range(40)
    ]
    for each in calls:
        each.start()
    for each in calls:
        each.join()

    events = deployment.assert_billed(tenant, 40)
    assert len({event["request_id"] for event in events}) == 40
    assert deployment.usage(tenant, api=apis[0]) == deployment.usage(tenant, api=apis[1])
    assert deployment.events(tenant, 40, api=apis[1]) == events


@pytest.mark.battery("A1")
@pytest.mark.behind_nginx
def test_a_key_revoked_at_one_api_is_refused_by_every_proxy_within_a_second(
    deployment: Deployment, tenant: Tenant, proxies: list[Process]
) -> None:
    assert [_status(proxy, tenant) for proxy in proxies] == [200, 200]
    authorization = {"Authorization": f"Bearer {tenant.key}"}
    (key,) = requests.get(f"{deployment.api.url}/v1/keys", headers=authorization, timeout=10).json()["data"]

    revoked = requests.delete(f"{deployment.api.url}/v1/keys/{key['id']}", headers=authorization, timeout=10)

    assert revoked.status_code == 204
    eventually(
        lambda: all(_status(proxy, tenant) == 401 for proxy in proxies),
        seconds=ACTS_WITHIN_SECONDS + LATE_SECONDS,
        what="the revocation",
    )


@pytest.mark.battery("A1")
@pytest.mark.behind_nginx
def test_a_suspended_account_is_refused_by_every_proxy_within_a_second(
    deployment: Deployment, tenant: Tenant, proxies: list[Process]
) -> None:
    assert [_status(proxy, tenant) for proxy in proxies] == [200, 200]

    deployment.directory().set_status(tenant.account_id, "suspended")

    eventually(
        lambda: all(_status(proxy, tenant) in {401, 403} for proxy in proxies),
        seconds=ACTS_WITHIN_SECONDS + LATE_SECONDS,
        what="the suspension",
    )


@pytest.mark.behind_nginx
def test_a_new_budget_and_a_raised_limit_act_on_every_proxy_within_a_second(
    deployment: Deployment, tenant: Tenant, proxies: list[Process]
) -> None:
    assert [_status(proxy, tenant) for proxy in proxies] == [200, 200]

    budget = _tell_api(deployment, tenant, "POST", "/v1/budgets", {"limit_usd": "0.000001"})

    eventually(
        lambda: all(_status(proxy, tenant) == 429 for proxy in proxies),
        seconds=ACTS_WITHIN_SECONDS + LATE_SECONDS,
        what="the budget",
    )
    _tell_api(deployment, tenant, "PATCH", f"/v1/budgets/{budget['id']}", {"limit_usd": "100"})
    eventually(
        lambda: all(_status(proxy, tenant) == 200 for proxy in proxies),
        seconds=ACTS_WITHIN_SECONDS + LATE_SECONDS,
        what="the raised limit",
    )


@pytest.mark.behind_nginx
def test_a_new_and_a_changed_rule_act_on_every_proxy_within_a_second(
    deployment: Deployment, tenant: Tenant, proxies: list[Process]
) -> None:
    _tell_api(deployment, tenant, "POST", "/v1/budgets", {"limit_usd": "100", "action": "warn"})
    assert [_routed_to(proxy, tenant) for proxy in proxies] == ["", ""]
    terms = {"name": "cheaper", "threshold": 0, "from_models": ["claude-sonnet-4-6"]}

    rule = _tell_api(
        deployment, tenant, "POST", "/v1/routing-rules", {**terms, "to_model": "claude-haiku-4-5"}
    )

    eventually(
        lambda: all(_routed_to(proxy, tenant) == "claude-haiku-4-5" for proxy in proxies),
        seconds=ACTS_WITHIN_SECONDS + LATE_SECONDS,
        what="the rule",
    )
    changed = {"to_model": "claude-3-5-haiku-latest"}
    _tell_api(deployment, tenant, "PATCH", f"/v1/routing-rules/{rule['id']}", changed)
    eventually(
        lambda: all(_routed_to(proxy, tenant) == "claude-3-5-haiku-latest" for proxy in proxies),
        seconds=ACTS_WITHIN_SECONDS + LATE_SECONDS,
        what="the changed rule",
    )


@pytest.mark.battery("F3")
def test_a_proxy_that_is_told_to_stop_lets_a_short_stream_end_and_stores_its_event(
    deployment: Deployment, tenant: Tenant
) -> None:
    leaving = deployment.start_proxy(data="leaving")
    headers = _headers(tenant, pace_ms="20", size="4000")

    with open_call(leaving.url, MESSAGES, message(stream=True), headers) as made:
        made.read_until(b"message_start")
        leaving.send(signal.SIGTERM)
        made.read_to_end()

    assert b"message_stop" in made.read
    assert leaving.wait() == 0
    (event,) = deployment.assert_billed(tenant, 1)
    assert event["state"] == "completed"


@pytest.mark.battery("F3")
def test_a_proxy_that_is_told_to_stop_cuts_a_long_stream_visibly_and_says_so(
    deployment: Deployment, tenant: Tenant
) -> None:
    leaving = deployment.start_proxy(data="leaving too")
    headers = _headers(tenant, pace_ms="200", size="60000")

    with open_call(leaving.url, MESSAGES, message(stream=True), headers) as made:
        made.read_until(b"message_start")
        leaving.send(signal.SIGTERM)
        made.read_to_end()

    assert b"message_stop" not in made.read
    assert not made.read.endswith(b"0\r\n\r\n")
    assert leaving.wait() == 0
    assert deployment.event(tenant)["state"] == "drained"
