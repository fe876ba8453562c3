"""The unmodified `anthropic` client, with only base URL and headers changed."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from tests.system.deployment import Deployment, Tenant

MODEL = "claude-sonnet-4-6"
TIERED_MODEL = "claude-sonnet-4-5"
HELLO: list[MessageParam] = [{"role": "user", "content": "Hello, how much are you?"}]
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "The weather at a place",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
}
WEB_SEARCH: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def _options(deployment: Deployment, tenant: Tenant) -> dict[str, Any]:
    return {
        "api_key": tenant.provider_key,
        "base_url": deployment.proxy.url,
        "default_headers": tenant.headers,
        "max_retries": 0,
    }


@pytest.fixture
def client(deployment: Deployment, tenant: Tenant) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(**_options(deployment, tenant)) as client:
        yield client


def _cached(ttl: str) -> list[MessageParam]:
    text: Any = {
        "type": "text",
        "text": "A long story. " * 400,
        "cache_control": {"type": "ephemeral", "ttl": ttl},
    }
    return [{"role": "user", "content": [text]}]


@pytest.mark.behind_nginx
def test_a_message_is_billed_to_the_nanodollar(
    client: anthropic.Anthropic, deployment: Deployment, tenant: Tenant
) -> None:
    answer = client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)

    (event,) = deployment.assert_billed(tenant, 1)
    assert answer.content[0].type == "text"
    assert event["output_tokens"] == answer.usage.output_tokens
    assert (event["provider"], event["state"], event["requested_model"]) == ("anthropic", "completed", MODEL)


@pytest.mark.battery("C1")
@pytest.mark.parametrize("ttl", ["5m", "1h"])
@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-4-1", "claude-opus-4-6"])
def test_cached_prompts_are_billed_by_what_was_read_and_written(
    client: anthropic.Anthropic, deployment: Deployment, tenant: Tenant, model: str, ttl: str
) -> None:
    answers = [
        client.messages.create(model=model, max_tokens=length, messages=_cached(ttl))
        for length in (20, 30, 40, 50, 60)
    ]

    deployment.assert_billed(tenant, len(answers))
    assert any(answer.usage.cache_creation_input_tokens for answer in answers)
    assert any(answer.usage.cache_read_input_tokens for answer in answers)


@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")
def test_a_prompt_beyond_200_000_tokens_is_billed_at_the_long_price(
    client: anthropic.Anthropic, deployment: Deployment, tenant: Tenant
) -> None:
    deployment.script(tenant, {"input-tokens": 200_000}, {"input-tokens": 200_001})

    for length in (10, 20):
        client.messages.create(model=TIERED_MODEL, max_tokens=length, messages=HELLO)

    deployment.assert_billed(tenant, 2)


@pytest.mark.behind_nginx
def test_a_stream_arrives_event_by_event_and_is_billed(
    client: anthropic.Anthropic, deployment: Deployment, tenant: Tenant
) -> None:
    with client.messages.stream(model=MODEL, max_tokens=150, messages=HELLO) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_message()

    (event,) = deployment.assert_billed(tenant, 1)
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert event["output_tokens"] == answer.usage.output_tokens
    assert event["ttft_ms"] is not None


def test_thinking_is_billed_as_output(
    client: anthropic.Anthropic, deployment: Deployment, tenant: Tenant
) -> None:
    answers = [
        client.messages.create(
            model=MODEL,
            max_tokens=limit,
            messages=HELLO,
            thinking={"type": "enabled", "budget_tokens": 1024},
        )
        for limit in (2000, 2001, 2002)
    ]

    deployment.assert_billed(tenant, len(answers))
    assert any(block.type == "thinking" for answer in answers for block in answer.content)


def test_tools_are_called_and_answered(
    client: anthropic.Anthropic, deployment: Deployment, tenant: Tenant
) -> None:
    asked = client.messages.create(model=MODEL, max_tokens=200, messages=HELLO, tools=[WEATHER])
    call = asked.content[-1]
    assert call.type == "tool_use"
    result: list[MessageParam] = [
        *HELLO,
        {"role": "assistant", "content": asked.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]
    told = client.messages.create(model=MODEL, max_tokens=200, messages=result, tools=[WEATHER])

    deployment.assert_billed(tenant, 2)
    assert call.input == {"place": "demo"}
    assert told.stop_reason != "tool_use"


def test_the_providers_own_web_search_is_billed(
    client: anthropic.Anthropic, deployment: Deployment, tenant: Tenant
) -> None:
    client.messages.create(model=MODEL, max_tokens=200, messages=HELLO, tools=[WEB_SEARCH])
    with client.messages.stream(model=MODEL, max_tokens=200, messages=HELLO, tools=[WEB_SEARCH]) as stream:
        stream.until_done()

    events = deployment.assert_billed(tenant, 2)
    assert all(event["server_tool_calls"] > 0 for event in events)


@pytest.mark.behind_nginx
def test_the_asynchronous_client_works_alike(deployment: Deployment, tenant: Tenant) -> None:
    async def talk() -> int:
        async with anthropic.AsyncAnthropic(**_options(deployment, tenant)) as client:
            calls = [
                client.messages.create(model=MODEL, max_tokens=10 + at, messages=HELLO) for at in range(10)
            ]
            answers = await asyncio.gather(*calls)
            async with client.messages.stream(model=MODEL, max_tokens=90, messages=HELLO) as stream:
                last = await stream.get_final_message()
            return sum(answer.usage.output_tokens for answer in (*answers, last))

    output_tokens = asyncio.run(talk())

    events = deployment.assert_billed(tenant, 11)
    assert sum(event["output_tokens"] for event in events) == output_tokens


def test_counting_tokens_and_listing_models_cost_nothing_and_leave_no_event(
    client: anthropic.Anthropic, deployment: Deployment, tenant: Tenant
) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=HELLO)
    models = client.models.list()
    client.messages.create(model=MODEL, max_tokens=10, messages=HELLO)

    deployment.assert_billed(tenant, 1)
    assert counted.input_tokens > 0
    assert MODEL in [model.id for model in models]


@pytest.mark.battery("C7")
def test_a_model_on_no_price_list_is_unpriced_and_never_free(
    client: anthropic.Anthropic, deployment: Deployment, tenant: Tenant
) -> None:
    client.messages.create(model="claude-demo-unlisted", max_tokens=10, messages=HELLO)

    event = deployment.event(tenant)
    assert event["unpriced"] is True
    assert event["output_tokens"] == deployment.bill(tenant)[0]["output_tokens"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.APIStatusError),
        (404, anthropic.NotFoundError),
    ],
)
def test_the_providers_errors_reach_the_client_as_they_are(
    client: anthropic.Anthropic,
    deployment: Deployment,
    tenant: Tenant,
    status: int,
    expected: type[anthropic.APIStatusError],
) -> None:
    deployment.script(tenant, {"status": status, "retry-after": 7})

    with pytest.raises(expected) as raised:
        client.messages.create(model=MODEL, max_tokens=10, messages=HELLO)

    event = deployment.event(tenant)
    assert raised.value.status_code == status
    assert (event["state"], event["status_code"], event["cost_usd"]) == ("upstream_error", status, 0)


def test_a_client_that_retries_is_billed_once_for_the_answer(deployment: Deployment, tenant: Tenant) -> None:
    deployment.script(tenant, {"status": 529}, {"status": 500})
    with anthropic.Anthropic(**_options(deployment, tenant) | {"max_retries": 3}) as client:
        client.messages.create(model=MODEL, max_tokens=10, messages=HELLO)

    events = deployment.events(tenant, 3)
    assert [event["state"] for event in events] == ["upstream_error", "upstream_error", "completed"]
    assert sum(1 for event in events if event["cost_usd"]) == len(deployment.bill(tenant)) == 1
