"""The unmodified `boto3` client with a Bedrock API key, over the proxy's HTTPS listener with a test CA."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from mypy_boto3_bedrock_runtime import BedrockRuntimeClient

from tests.system.deployment import REGION, Deployment, Tenant

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU = "global.anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-micro-v1:0"
BODY = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 120,
    "messages": [{"role": "user", "content": "Hello, how much are you?"}],
}
HELLO: Any = [{"role": "user", "content": [{"text": "Hello, how much are you?"}]}]
WEATHER: Any = {
    "tools": [
        {
            "toolSpec": {
                "name": "get_weather",
                "inputSchema": {"json": {"type": "object", "properties": {"place": {"type": "string"}}}},
            }
        }
    ]
}


@pytest.fixture
def client(
    deployment: Deployment, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BedrockRuntimeClient]:
    """A client that names its account in the URL, since boto3 has no option for headers."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", tenant.provider_key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client(
        "bedrock-runtime",
        region_name=REGION,
        endpoint_url=f"{deployment.proxy_tls_url}{deployment.ingress_path(tenant)}/bedrock",
        verify=deployment.ca_file,
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


@pytest.mark.parametrize("model", [SONNET, HAIKU])
def test_invoke_model_is_billed_to_the_nanodollar(
    client: BedrockRuntimeClient, deployment: Deployment, tenant: Tenant, model: str
) -> None:
    answer = client.invoke_model(modelId=model, body=json.dumps(BODY))

    said = json.loads(answer["body"].read())
    (event,) = deployment.assert_billed(tenant, 1)
    assert event["output_tokens"] == said["usage"]["output_tokens"]
    assert (event["provider"], event["region"], event["requested_model"]) == ("bedrock", REGION, model)


@pytest.mark.behind_nginx
def test_a_response_stream_is_billed_to_the_nanodollar(
    client: BedrockRuntimeClient, deployment: Deployment, tenant: Tenant
) -> None:
    answer = client.invoke_model_with_response_stream(modelId=SONNET, body=json.dumps(BODY))

    events = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
    (event,) = deployment.assert_billed(tenant, 1)
    assert events[-1]["type"] == "message_stop"
    assert event["output_tokens"] == events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"]


@pytest.mark.parametrize("model", [SONNET, HAIKU, NOVA])
def test_converse_is_billed_to_the_nanodollar(
    client: BedrockRuntimeClient, deployment: Deployment, tenant: Tenant, model: str
) -> None:
    answer = client.converse(modelId=model, messages=HELLO, inferenceConfig={"maxTokens": 100})

    (event,) = deployment.assert_billed(tenant, 1)
    assert event["output_tokens"] == answer["usage"]["outputTokens"]


@pytest.mark.behind_nginx
@pytest.mark.parametrize("model", [SONNET, NOVA])
def test_a_converse_stream_with_tools_is_billed_to_the_nanodollar(
    client: BedrockRuntimeClient, deployment: Deployment, tenant: Tenant, model: str
) -> None:
    answer = client.converse_stream(modelId=model, messages=HELLO, toolConfig=WEATHER)

    *_, last = answer["stream"]
    (event,) = deployment.assert_billed(tenant, 1)
    assert event["output_tokens"] == last["metadata"]["usage"]["outputTokens"]


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_cached_prompts_are_billed_by_what_was_read_and_written(
    client: BedrockRuntimeClient, deployment: Deployment, tenant: Tenant, ttl: Any
) -> None:
    long: Any = [{"text": "A long story. " * 400}, {"cachePoint": {"type": "default", "ttl": ttl}}]
    for limit in (20, 30, 40, 50):
        client.converse(
            modelId=HAIKU,
            messages=[{"role": "user", "content": long}],
            inferenceConfig={"maxTokens": limit},
        )

    events = deployment.assert_billed(tenant, 4)
    assert any(event["cache_write_5m_tokens"] or event["cache_write_1h_tokens"] for event in events)


def test_counting_tokens_costs_nothing_and_leaves_no_event(
    client: BedrockRuntimeClient, deployment: Deployment, tenant: Tenant
) -> None:
    counted = client.count_tokens(modelId=SONNET, input={"converse": {"messages": HELLO}})
    client.converse(modelId=SONNET, messages=HELLO)

    deployment.assert_billed(tenant, 1)
    assert counted["inputTokens"] > 0


def test_the_providers_errors_reach_the_client_as_they_are(
    client: BedrockRuntimeClient, deployment: Deployment, tenant: Tenant
) -> None:
    deployment.script(tenant, {"status": 429})

    with pytest.raises(ClientError) as raised:
        client.converse(modelId=SONNET, messages=HELLO)

    assert raised.value.response["Error"]["Code"] == "ThrottlingException"
    assert deployment.event(tenant)["state"] == "upstream_error"


def test_an_unknown_account_is_refused_in_words_that_the_client_understands(
    client: BedrockRuntimeClient, deployment: Deployment, tenant: Tenant
) -> None:
    keys = deployment.directory()
    for record in keys.keys_of(tenant.account_id):
        keys.revoke_key(tenant.account_id, record.key_id)

    with pytest.raises(ClientError) as raised:
        client.converse(modelId=SONNET, messages=HELLO)

    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401
    assert deployment.received(tenant) == []
