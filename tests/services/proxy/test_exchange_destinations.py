"""Where calls go is the operator's to say: nothing that a caller or a provider says leads one elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.doubles.raw_upstream import RawUpstream, answering, call
from tests.services.proxy.calls import answer, get, message, post
from tests.services.proxy.running import RunningProxy

BILLED = (
    *(b"/v1/messages", b"/anthropic/v1/messages", b"/v1/chat/completions", b"/openai/v1/responses"),
    *(b"/v1/embeddings", b"/azure/v1/chat/completions", b"/azure/openai/deployments/d/chat/completions"),
    *(b"/bedrock/v1/messages", b"/bedrock/model/m/converse", b"/v1/images/generations"),
)
FIELDS = ("api_base", "base_url", "api_url", "endpoint", "host", "custom_host", "proxy", "url", "webhook_url")
HEADERS = (
    *("X-Custom-Host", "X-Forwarded-Host", "X-Original-Url", "X-Rewrite-Url", "X-Base-Url", "X-Upstream"),
    *("X-Modeltrack-Upstream", "X-Portkey-Custom-Host", "Forwarded", "Api-Base", "X-Host", "Host"),
)


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


@pytest.fixture
def elsewhere() -> Iterator[RawUpstream]:
    """Somebody who listens in vain."""
    with RawUpstream() as elsewhere:
        yield elsewhere


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream) as proxy:
        yield proxy


@pytest.mark.parametrize("path", BILLED)
def test_no_field_and_no_header_leads_a_call_elsewhere(
    proxy: RunningProxy, upstream: RawUpstream, elsewhere: RawUpstream, path: bytes
) -> None:
    address = f"127.0.0.1:{elsewhere.port}"
    fields = {"model": "gpt-4o", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    body = msgspec.json.encode(fields | dict.fromkeys(FIELDS, f"http://{address}/"))
    headers = "".join(f"{name}: {address}\r\n" for name in HEADERS if name != "Host").encode()

    named = call(proxy.port, post(path, body, headers))
    hosted = call(proxy.port, post(path, body).replace(b"Host: 127.0.0.1", b"Host: " + address.encode()))

    # What is translated for Bedrock is read to the last field, and refused for one that it does not know.
    expected = 400 if path == b"/bedrock/v1/messages" else 200
    assert (named.status, hosted.status, elsewhere.connections) == (expected, expected, 0)
    assert len(upstream.requests) == (0 if expected == 400 else 2)


def test_no_address_as_a_target_leads_elsewhere(
    proxy: RunningProxy, upstream: RawUpstream, elsewhere: RawUpstream
) -> None:
    there = b"127.0.0.1:%d" % elsewhere.port
    targets = [
        *(b"http://" + there + b"/v1/messages", b"//" + there + b"/v1/messages", b"/@" + there + b"/"),
        *(b"/v1/proxy/http://" + there, b"/proxy/" + there, b"/http://" + there + b"/v1/messages"),
        *(b"/v1/messages@" + there, b"/v1/messages/../../@" + there, b"/v1/messages%23@" + there),
        *(b"/azure/openai/deployments/" + there + b"%23/chat/completions", b"/azure/@" + there + b"/v1/x"),
        *(b"/azure/openai/deployments/a@" + there + b"/responses", b"/bedrock/model/@" + there + b"/invoke"),
        *(b"/v1/messages/", b"//v1/messages", b"/v1//messages", b"/v0/messages", b"/V1/messages"),
    ]  # fmt: skip

    for target in targets:
        call(proxy.port, post(target, b'{"model":"m","max_tokens":1}'))
        call(proxy.port, get(target))

    assert elsewhere.connections == 0
    assert all(received.line.split(b" ")[1].startswith(b"/") for received in upstream.requests)


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary", b"308 Permanent"])
@pytest.mark.parametrize("path", BILLED)
def test_a_providers_redirect_is_the_callers_to_follow(
    tmp_path: Path, elsewhere: RawUpstream, path: bytes, status: bytes
) -> None:
    location = b"Location: http://127.0.0.1:%d/v1/messages\r\n" % elsewhere.port
    moved = answering(answer(b"{}", status=status, headers=location))

    with RawUpstream(moved) as upstream, RunningProxy(tmp_path, upstream) as proxy:
        got = call(proxy.port, post(path, b'{"model":"m","max_tokens":1}'))

    assert got.status == int(status[:3])
    assert (len(upstream.requests), elsewhere.connections) == (1, 0)
