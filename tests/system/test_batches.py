"""Message batches with the unmodified `anthropic` client: results fetched again and again, recorded once."""

import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.system.calls import call
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import Process

MODELS = ("claude-sonnet-4-6", "claude-haiku-4-5", "claude-opus-4-6")
ITEMS = 60
TIERED = "batch"


@pytest.fixture
def proxies(deployment: Deployment) -> Iterator[list[Process]]:
    """The deployment's proxy and a second one."""
    second = deployment.start_proxy(data="second, of batches")
    yield [deployment.proxy, second]
    second.stop()


def _client(proxy: Process, tenant: Tenant, **headers: str) -> anthropic.Anthropic:
    named = tenant.headers | headers
    return anthropic.Anthropic(
        api_key=tenant.provider_key, base_url=proxy.url, default_headers=named, max_retries=0
    )


def _items(count: int) -> Any:
    return [
        {
            "custom_id": f"customer-{at}",
            "params": {
                "model": MODELS[at % 3] if at % 10 else "unheard-of",
                "max_tokens": 20 + at,
                "messages": [{"role": "user", "content": f"Hello {at}" * (1 + at)}],
            },
        }
        for at in range(count)
    ]


def _results(proxy: Process, tenant: Tenant, batch_id: str) -> list[str]:
    """The lines of a batch's results, fetched through the proxy by the client."""
    with _client(proxy, tenant) as client:
        return client.get(f"/v1/messages/batches/{batch_id}/results", cast_to=str).rstrip("\n").split("\n")


@pytest.mark.behind_nginx
def test_each_item_is_billed_once_through_whichever_proxy_and_however_often_it_is_fetched(
    deployment: Deployment, tenant: Tenant, proxies: list[Process]
) -> None:
    with _client(proxies[0], tenant) as client:
        batch = client.messages.batches.create(requests=_items(ITEMS))
    with _client(proxies[1], tenant) as client:
        assert client.messages.batches.retrieve(batch.id).processing_status == "ended"

    fetches = [threading.Thread(target=_results, args=(proxies[at % 2], tenant, batch.id)) for at in range(6)]
    for each in fetches:
        each.start()
    for each in fetches:
        each.join()
    lines = [_results(proxy, tenant, batch.id) for proxy in proxies]

    assert {len(each) for each in lines} == {ITEMS}
    events = deployment.assert_billed(tenant, ITEMS * 9 // 10)
    assert len({event["request_id"] for event in events}) == len(events)
    assert {event["service_tier"] for event in events} == {TIERED}


def test_a_fetch_that_is_cut_is_completed_by_the_next(deployment: Deployment, tenant: Tenant) -> None:
    with _client(deployment.proxy, tenant, **{"X-ModelTrack-Team": "nightly"}) as client:
        batch = client.messages.batches.create(requests=_items(ITEMS))
        deployment.script(tenant, {"cut-at-frame": 30})
        with pytest.raises(anthropic.APIConnectionError):
            client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=str)
        deployment.events(tenant, 27)
    _results(deployment.proxy, tenant, batch.id)

    events = deployment.assert_billed(tenant, ITEMS * 9 // 10)
    assert [event["team"] for event in events].count("nightly") == 27


@pytest.mark.parametrize("coding", ["identity", "gzip", "br", "zstd", "deflate"])
def test_results_pass_unaltered_and_are_recorded_whatever_their_coding(
    deployment: Deployment, tenant: Tenant, coding: str
) -> None:
    with _client(deployment.proxy, tenant) as client:
        batch = client.messages.batches.create(requests=_items(20))
    path = f"/anthropic/v1/messages/batches/{batch.id}/results"
    headers = {"x-api-key": tenant.provider_key, "x-demo-encoding": coding, "x-demo-stable": "true"}
    direct = call(deployment.provider.url, path.removeprefix("/anthropic"), None, headers, method="GET")
    call(deployment.provider.url, path.removeprefix("/anthropic"), None, headers, method="GET")

    proxied = call(deployment.proxy.url, path, None, headers | tenant.headers, method="GET")

    assert (proxied.status, proxied.body, proxied.end_to_end) == (200, direct.body, direct.end_to_end)
    deployment.assert_billed(tenant, 18)


def test_the_address_that_the_provider_gives_leads_past_the_proxy(
    deployment: Deployment, tenant: Tenant
) -> None:
    with _client(deployment.proxy, tenant) as client:
        batch = client.messages.batches.create(requests=_items(3))
        results = list(client.messages.batches.results(batch.id))

    assert len(results) == 3
    assert (batch.results_url or "").startswith(deployment.provider.url)
    deployment.events(tenant, 0)
