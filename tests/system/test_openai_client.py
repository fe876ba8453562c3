"""The unmodified `openai` client, for OpenAI and for Azure, with only base URL and headers changed."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.system.deployment import Deployment, Tenant

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello, how much are you?"}]
LONG: list[ChatCompletionMessageParam] = [{"role": "user", "content": "A long story. " * 600}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
WEATHER_FUNCTION: Any = {"type": "function", **WEATHER["function"], "strict": False}


def _options(deployment: Deployment, tenant: Tenant) -> dict[str, Any]:
    return {
        "api_key": tenant.provider_key,
        "base_url": f"{deployment.proxy.url}/v1",
        "default_headers": tenant.headers,
        "max_retries": 0,
    }


@pytest.fixture
def client(deployment: Deployment, tenant: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(**_options(deployment, tenant)) as client:
        yield client


@pytest.fixture
def azure(deployment: Deployment, tenant: Tenant) -> Iterator[openai.AzureOpenAI]:
    with openai.AzureOpenAI(
        api_key=tenant.provider_key,
        azure_endpoint=f"{deployment.proxy.url}/azure",
        api_version="2024-10-21",
        default_headers=tenant.headers,
        max_retries=0,
    ) as client:
        yield client


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini", "gpt-4.1-nano", "gpt-5-mini", "o3", "gpt-6-sol"])
def test_chat_completions_are_billed_to_the_nanodollar(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant, model: str
) -> None:
    for length in range(20, 30):
        client.chat.completions.create(model=model, max_completion_tokens=length, messages=LONG)

    events = deployment.assert_billed(tenant, 10)
    assert any(event["cache_read_tokens"] or event["cache_write_5m_tokens"] for event in events)
    assert {event["requested_model"] for event in events} == {model}


def test_several_choices_are_one_call(client: openai.OpenAI, deployment: Deployment, tenant: Tenant) -> None:
    answer = client.chat.completions.create(model="gpt-4o", n=3, messages=HELLO)

    deployment.assert_billed(tenant, 1)
    assert len(answer.choices) == 3


@pytest.mark.behind_nginx
def test_a_stream_without_usage_is_billed_exactly_and_its_caller_sees_no_usage(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant
) -> None:
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))

    (event,) = deployment.assert_billed(tenant, 1)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert event["estimated"] is False


def test_a_stream_that_asks_for_usage_gets_it(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant
) -> None:
    stream = client.chat.completions.create(
        model="gpt-5", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    *_, last = stream

    (event,) = deployment.assert_billed(tenant, 1)
    assert last.usage is not None
    assert event["output_tokens"] == last.usage.completion_tokens


def test_a_stream_that_refuses_usage_is_estimated(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant
) -> None:
    stream = client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": False}
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    event = deployment.event(tenant)
    assert event["estimated"] is True
    assert 0 < event["output_tokens"] <= len(said.encode())
    assert event["cost_usd"] > 0


def test_tools_are_called_in_whole_answers_and_in_streams(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant
) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, tools=[WEATHER])
    with client.chat.completions.stream(model="gpt-4o", messages=HELLO, tools=[WEATHER]) as stream:
        streamed = stream.get_final_completion()

    deployment.assert_billed(tenant, 2)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert streamed.choices[0].message.tool_calls


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5", "gpt-6-sol"])
def test_responses_are_billed_to_the_nanodollar(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant, model: str
) -> None:
    answers = [
        client.responses.create(model=model, input="A long story. " * 600, max_output_tokens=limit)
        for limit in (100, 101, 102)
    ]

    events = deployment.assert_billed(tenant, 3)
    outputs = sorted(answer.usage.output_tokens for answer in answers if answer.usage)
    assert sorted(event["output_tokens"] for event in events) == outputs


@pytest.mark.behind_nginx
def test_streamed_responses_with_tools_and_search_are_billed(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant
) -> None:
    with client.responses.stream(model="gpt-5", input="Hello", tools=[WEATHER_FUNCTION]) as stream:
        kinds = [event.type for event in stream]
        last = stream.get_final_response()
    client.responses.create(model="gpt-4o", input="Hello", tools=[{"type": "web_search"}])

    events = deployment.assert_billed(tenant, 2)
    assert kinds[-1] == "response.completed"
    assert last.output[-1].type == "function_call"
    assert events[-1]["server_tool_calls"] > 0


@pytest.mark.parametrize("model", ["text-embedding-3-small", "text-embedding-3-large"])
def test_embeddings_are_billed(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant, model: str
) -> None:
    packed = client.embeddings.create(model=model, input=["one", "two"], dimensions=64)
    plain = client.embeddings.create(model=model, input="three", encoding_format="float")

    deployment.assert_billed(tenant, 2)
    assert [len(each.embedding) for each in packed.data] == [64, 64]
    assert len(plain.data[0].embedding) > 64


def test_the_asynchronous_client_works_alike(deployment: Deployment, tenant: Tenant) -> None:
    async def talk() -> int:
        async with openai.AsyncOpenAI(**_options(deployment, tenant)) as client:
            count = 0
            for seed in range(5):
                stream = await client.chat.completions.create(
                    model="gpt-4o", messages=HELLO, stream=True, seed=seed
                )
                count += len([chunk async for chunk in stream])
            await client.responses.create(model="o4-mini", input="Hello")
            return count

    chunks = asyncio.run(talk())

    deployment.assert_billed(tenant, 6)
    assert chunks > 5


def test_listing_models_costs_nothing_and_leaves_no_event(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant
) -> None:
    names = [model.id for model in client.models.list()]
    client.embeddings.create(model="text-embedding-3-small", input="x", dimensions=8)

    deployment.assert_billed(tenant, 1)
    assert "gpt-4o" in names


def test_other_posts_are_recorded_as_unmetered(
    client: openai.OpenAI, deployment: Deployment, tenant: Tenant
) -> None:
    client.post("/images/generations", body={"model": "gpt-image-1", "prompt": "a cat"}, cast_to=object)

    event = deployment.event(tenant)
    assert (event["state"], event["cost_usd"]) == ("unmetered", 0)


@pytest.mark.parametrize(
    ("status", "expected"), [(429, openai.RateLimitError), (503, openai.InternalServerError)]
)
def test_the_providers_errors_reach_the_client_as_they_are(
    client: openai.OpenAI,
    deployment: Deployment,
    tenant: Tenant,
    status: int,
    expected: type[openai.APIStatusError],
) -> None:
    deployment.script(tenant, {"status": status})

    with pytest.raises(expected):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)

    assert deployment.event(tenant)["state"] == "upstream_error"


def test_azure_deployments_are_priced_as_the_model_behind_them(
    azure: openai.AzureOpenAI, deployment: Deployment, tenant: Tenant
) -> None:
    azure.chat.completions.create(model="chat-production", messages=LONG)
    list(azure.chat.completions.create(model="chat-small", messages=HELLO, stream=True))
    azure.embeddings.create(model="search", input="one", dimensions=8)

    events = deployment.assert_billed(tenant, 3)
    assert {event["provider"] for event in events} == {"azure"}


def test_azures_version_1_paths_work_with_the_plain_client(deployment: Deployment, tenant: Tenant) -> None:
    options = _options(deployment, tenant) | {"base_url": f"{deployment.proxy.url}/azure/openai/v1/"}
    with openai.OpenAI(**options) as client:
        client.chat.completions.create(model="chat-production", messages=HELLO)
        client.responses.create(model="chat-small", input="Hello")

    deployment.assert_billed(tenant, 2)


def test_the_asynchronous_azure_client_works_alike(deployment: Deployment, tenant: Tenant) -> None:
    async def talk() -> None:
        async with openai.AsyncAzureOpenAI(
            api_key=tenant.provider_key,
            azure_endpoint=f"{deployment.proxy.url}/azure",
            api_version="2024-10-21",
            default_headers=tenant.headers,
        ) as client:
            await client.chat.completions.create(model="chat-production", messages=HELLO)

    asyncio.run(talk())

    deployment.assert_billed(tenant, 1)
