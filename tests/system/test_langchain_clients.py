"""The unmodified LangChain chat models, with only base URL and headers changed."""

from collections.abc import Callable

import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from tests.system.deployment import Deployment, Tenant


def _claude(deployment: Deployment, tenant: Tenant) -> BaseChatModel:
    return ChatAnthropic(
        model_name="claude-haiku-4-5",
        base_url=deployment.proxy.url,
        api_key=SecretStr(tenant.provider_key),
        default_headers=tenant.headers,
        max_retries=0,
        timeout=30,
        stop=None,
    )


def _gpt(deployment: Deployment, tenant: Tenant) -> BaseChatModel:
    return ChatOpenAI(
        model="gpt-4o-mini",
        base_url=f"{deployment.proxy.url}/v1",
        api_key=SecretStr(tenant.provider_key),
        default_headers=tenant.headers,
        max_retries=0,
    )


def _responses(deployment: Deployment, tenant: Tenant) -> BaseChatModel:
    return ChatOpenAI(
        model="gpt-5-mini",
        base_url=f"{deployment.proxy.url}/v1",
        api_key=SecretStr(tenant.provider_key),
        default_headers=tenant.headers,
        max_retries=0,
        use_responses_api=True,
    )


def _azure(deployment: Deployment, tenant: Tenant) -> BaseChatModel:
    return AzureChatOpenAI(
        azure_deployment="chat-production",
        azure_endpoint=f"{deployment.proxy.url}/azure",
        api_version="2024-10-21",
        api_key=SecretStr(tenant.provider_key),
        default_headers=tenant.headers,
        max_retries=0,
    )


@pytest.mark.parametrize("make", [_claude, _gpt, _responses, _azure])
def test_a_chat_model_is_billed_whole_and_streamed(
    deployment: Deployment, tenant: Tenant, make: Callable[[Deployment, Tenant], BaseChatModel]
) -> None:
    model = make(deployment, tenant)

    whole = model.invoke("Hello")
    pieces = list(model.stream("Hello again"))

    deployment.assert_billed(tenant, 2)
    assert whole.content
    assert pieces


def test_embeddings_are_billed(deployment: Deployment, tenant: Tenant) -> None:
    with openai.DefaultHttpxClient() as connections:
        model = OpenAIEmbeddings(
            model="text-embedding-3-small",
            base_url=f"{deployment.proxy.url}/v1",
            api_key=SecretStr(tenant.provider_key),
            default_headers=tenant.headers,
            max_retries=0,
            check_embedding_ctx_length=False,
            http_client=connections,
        )

        vectors = model.embed_documents(["one", "two"])

    deployment.assert_billed(tenant, 1)
    assert len(vectors) == 2
