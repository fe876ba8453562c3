"""What each kind of route does where there is nowhere to send a call, or a GET brings a body."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from metering.accounts import LOCAL_ACCOUNT_ID, AccountSettings, BedrockSettings
from tests.doubles.raw_upstream import RawUpstream, answering, call
from tests.doubles.waiting import until
from tests.services.proxy.calls import answer, get, message, post
from tests.services.proxy.running import RunningProxy

AZURE_METERED = [
    b"/azure/openai/deployments/mine/chat/completions?api-version=2024-10-21",
    b"/azure/openai/deployments/mine/completions",
    b"/azure/openai/deployments/mine/responses",
    b"/azure/openai/deployments/mine/embeddings",
    b"/azure/openai/v1/chat/completions",
    b"/azure/openai/v1/responses",
    b"/azure/openai/responses",
    b"/azure/v1/chat/completions",
]
BEDROCK_METERED = [
    b"/bedrock/v1/messages",
    b"/bedrock/model/m/invoke",
    b"/bedrock/model/m/invoke-with-response-stream",
    b"/bedrock/model/m/converse",
    b"/bedrock/model/m/converse-stream",
]


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream, azure_openai_endpoint="", bedrock_endpoint_url="") as proxy:
        yield proxy


def test_azure_without_a_resource_is_refused_on_every_route_and_nothing_is_recorded(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    sent = [call(proxy.port, post(path, b'{"model":"gpt-4o"}')) for path in AZURE_METERED]
    sent.append(call(proxy.port, get(b"/azure/openai/models")))

    assert {each.status for each in sent} == {400}
    assert {msgspec.json.decode(each.body)["error"]["code"] for each in sent} == {"azure_resource_unset"}
    assert (upstream.requests, proxy.events()) == ([], [])


def test_bedrock_in_a_region_that_is_none_is_refused_on_every_route_and_nothing_is_recorded(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    until(lambda: proxy.directory.policy(LOCAL_ACCOUNT_ID) is not None)
    settings = AccountSettings(bedrock=BedrockSettings(region="evil.test/"))
    proxy.directory.change_settings(LOCAL_ACCOUNT_ID, settings)

    sent = [call(proxy.port, post(path, b'{"model":"m","max_tokens":1}')) for path in BEDROCK_METERED]

    assert {each.status for each in sent} == {400}
    assert all(b"Bedrock region" in each.body for each in sent)
    assert (upstream.requests, proxy.events()) == ([], [])


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Content-Length: 5", b"hello"),
    ],
    ids=["chunked", "sized"],
)
@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
def test_the_body_of_a_free_call_reaches_the_upstream(
    proxy: RunningProxy, upstream: RawUpstream, method: bytes, framing: bytes, body: bytes
) -> None:
    head = method + b" /v1/models HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n"

    assert call(proxy.port, head + body).status == 200
    assert call(proxy.port, get(b"/v1/models")).status == 200

    assert [request.body for request in upstream.requests] == [b"hello", b""]
