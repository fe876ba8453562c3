"""Bytes in are bytes out: direct and proxied answers are the same, and so is what the provider gets."""

import hashlib
import json
import zlib
from typing import Any

import pytest

from tests.system.calls import CHAT, MESSAGES, SONNET, Reply, call, chat, message
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import eventually

MEGABYTE = 1024 * 1024
SIZES = [1, 999, 65_536, MEGABYTE, MEGABYTE + 1, 20 * MEGABYTE]
ENCODINGS = ["identity", "gzip", "br", "zstd", "deflate"]


@pytest.fixture
def tenant(sqlite_deployment: Deployment) -> Tenant:
    return sqlite_deployment.tenant()


def _headers(tenant: Tenant, **options: object) -> dict[str, str]:
    asked = {f"x-demo-{name.replace('_', '-')}": str(value) for name, value in options.items()}
    return {
        "x-api-key": tenant.provider_key,
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "x-demo-stable": "true",
        "x-modeltrack-no-cache": "true",
        **asked,
    }


def _direct_and_proxied(
    deployment: Deployment, tenant: Tenant, path: str, body: Any, headers: dict[str, str], *, prefix: str = ""
) -> tuple[Reply, Reply]:
    direct = call(deployment.provider.url, path, body, headers)
    proxied = call(deployment.proxy.url, prefix + path, body, headers | tenant.headers)
    return direct, proxied


def _assert_same(direct: Reply, proxied: Reply) -> None:
    assert direct.status == proxied.status == 200
    assert direct.end_to_end == proxied.end_to_end
    assert direct.header("content-length") == proxied.header("content-length")
    assert len(direct.body) == len(proxied.body)
    assert hashlib.sha256(direct.body).digest() == hashlib.sha256(proxied.body).digest()


@pytest.mark.battery("P1", "P6")
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_streaming", [False, True], ids=["json", "sse"])
def test_answers_pass_unaltered(
    sqlite_deployment: Deployment, tenant: Tenant, encoding: str, size: int, *, is_streaming: bool
) -> None:
    headers = _headers(tenant, size=size, encoding=encoding)

    direct, proxied = _direct_and_proxied(
        sqlite_deployment, tenant, MESSAGES, message(stream=is_streaming), headers
    )

    _assert_same(direct, proxied)
    if encoding == "identity":
        assert len(direct.body) == size
    event = sqlite_deployment.event(tenant)
    if size > 1:  # one byte of a stream is a stream without its end
        assert event["state"] == "completed"
    if size > 999:
        assert event["output_tokens"] == sqlite_deployment.bill(tenant)[0]["output_tokens"]
        assert event["estimated"] is False


@pytest.mark.battery("P1", "P6")
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_streaming", [False, True], ids=["json", "sse"])
@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
def test_openai_answers_pass_unaltered(
    sqlite_deployment: Deployment, tenant: Tenant, path: str, encoding: str, *, is_streaming: bool
) -> None:
    headers = _headers(tenant, size=300_000, encoding=encoding)
    body = chat(stream=is_streaming, input="Hello")
    if is_streaming and path == CHAT:
        body["stream_options"] = {"include_usage": True}

    direct, proxied = _direct_and_proxied(sqlite_deployment, tenant, path, body, headers)

    _assert_same(direct, proxied)
    assert sqlite_deployment.event(tenant)["estimated"] is False


@pytest.mark.battery("P1")
@pytest.mark.parametrize("size", [2_000, MEGABYTE])
@pytest.mark.parametrize("operation", ["converse", "converse-stream"])
def test_event_streams_pass_unaltered(
    sqlite_deployment: Deployment, tenant: Tenant, operation: str, size: int
) -> None:
    body = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    headers = _headers(tenant, size=size) | {"authorization": f"Bearer {tenant.provider_key}"}
    del headers["x-api-key"]

    direct, proxied = _direct_and_proxied(
        sqlite_deployment, tenant, f"/model/{SONNET}/{operation}", body, headers, prefix="/bedrock"
    )

    _assert_same(direct, proxied)
    assert sqlite_deployment.event(tenant)["estimated"] is False


@pytest.mark.battery("P1")
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_answers_pass_unaltered_whatever_their_framing(
    sqlite_deployment: Deployment, tenant: Tenant, framing: str
) -> None:
    headers = _headers(tenant, framing=framing, size=50_000)

    direct, proxied = _direct_and_proxied(sqlite_deployment, tenant, MESSAGES, message(), headers)

    _assert_same(direct, proxied)


@pytest.mark.battery("P1", "C6")
@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_errors_pass_unaltered(sqlite_deployment: Deployment, tenant: Tenant, status: int) -> None:
    headers = _headers(tenant, status=status, retry_after=3)

    direct, proxied = _direct_and_proxied(sqlite_deployment, tenant, MESSAGES, message(), headers)

    assert direct.status == proxied.status == status
    assert direct.end_to_end == proxied.end_to_end
    assert json.loads(direct.body)["error"] == json.loads(proxied.body)["error"]


@pytest.mark.battery("P1")
def test_only_the_frame_that_we_caused_is_withheld(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    asked = chat(stream=True) | {"stream_options": {"include_usage": True}}
    with_usage = call(sqlite_deployment.provider.url, CHAT, asked, _headers(tenant))

    withheld = call(sqlite_deployment.proxy.url, CHAT, chat(stream=True), _headers(tenant) | tenant.headers)

    frames = withheld.body.split(b"\n\n")
    assert frames[-2:] == with_usage.body.split(b"\n\n")[-2:]
    assert not any(json.loads(frame[6:]).get("usage") for frame in frames[:-2])
    assert all(json.loads(frame[6:])["choices"] for frame in frames[:-2])


_MODEL = b'"model":"claude-sonnet-4-6"'
_REST = b'"max_tokens":5,"messages":[{"role":"user","content":"%b"}]'
BODIES = {
    "odd blanks": b"{ " + _MODEL + b"\r\n,\t" + _REST % b"a" + b" } \n",
    "escapes": b"{" + _MODEL + b"," + _REST % rb"\u00e9\ud83d\ude42\/" + b"}",
    "raw UTF-8": b"{" + _MODEL + b"," + _REST % "é🙂\u2028".encode() + b"}",
    "big numbers": b'{"x":123456789012345678901234567890.50,' + _MODEL + b"," + _REST % b"a" + b"}",
    "model twice": b'{"model":"nothing",' + _MODEL + b"," + _REST % b"a" + b"}",
    "model last": b"{" + _REST % b"a" + b',"metadata":null,' + _MODEL + b"}",
}


@pytest.mark.battery("P1")
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_request_bodies_arrive_unaltered(sqlite_deployment: Deployment, tenant: Tenant, body: bytes) -> None:
    call(sqlite_deployment.proxy.url, MESSAGES, body, _headers(tenant) | tenant.headers)

    (received,) = sqlite_deployment.received(tenant)
    assert received["body_sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.battery("P1")
@pytest.mark.parametrize("size", [64 * 1024, MEGABYTE, 20 * MEGABYTE])
def test_large_request_bodies_arrive_unaltered(
    sqlite_deployment: Deployment, tenant: Tenant, size: int
) -> None:
    body = json.dumps(message("x" * size)).encode()

    reply = call(sqlite_deployment.proxy.url, MESSAGES, body, _headers(tenant) | tenant.headers)

    (received,) = sqlite_deployment.received(tenant)
    assert reply.status == 200
    assert received["body_sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.battery("P1")
def test_compressed_request_bodies_arrive_unaltered(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    body = zlib.compress(json.dumps(message()).encode(), wbits=31)
    headers = _headers(tenant) | {"content-encoding": "gzip"}

    call(sqlite_deployment.proxy.url, MESSAGES, body, headers | tenant.headers)

    (received,) = sqlite_deployment.received(tenant)
    assert received["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert ["content-encoding", "gzip"] in received["headers"]


@pytest.mark.battery("P1")
def test_request_headers_arrive_in_name_value_order_and_number(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    headers = [
        *_headers(tenant).items(),
        ("User-Agent", "Custom/1.0 (odd; agent)"),
        ("X-STAINLESS-Lang", "python"),
        ("anthropic-beta", "one,two"),
        ("Anthropic-Beta", "three"),
        ("x-empty", ""),
        ("x-odd", 'a=b; c="d"'),
    ]
    call(sqlite_deployment.provider.url, MESSAGES, message(), headers)
    call(sqlite_deployment.proxy.url, MESSAGES, message(), [*headers, *tenant.headers.items()])

    direct, proxied = (_compared(row) for row in sqlite_deployment.received(tenant))
    assert direct == proxied


def _compared(row: dict[str, Any]) -> list[list[str]]:
    own = {"host", "connection", "x-modeltrack-no-cache"}
    return [[name, value] for name, value in row["headers"] if name.lower() not in own]


@pytest.mark.battery("P1")
def test_the_path_and_query_arrive_unaltered(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    target = "/v1/messages?beta=true&x=%2Fa+b&&empty="

    call(sqlite_deployment.proxy.url, target, message(), _headers(tenant) | tenant.headers)

    (received,) = sqlite_deployment.received(tenant)
    assert received["target"] == target


@pytest.mark.battery("P1")
def test_a_long_answer_that_comes_slowly_is_delivered_whole(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    headers, body = _headers(tenant, size=4 * MEGABYTE), message(stream=True)
    direct = call(sqlite_deployment.provider.url, MESSAGES, body, headers)

    slow = headers | {"x-demo-pace-ms": "1"} | tenant.headers
    proxied = call(sqlite_deployment.proxy.url, MESSAGES, body, slow)

    assert direct.body == proxied.body
    eventually(lambda: all(row["delivered_whole"] for row in sqlite_deployment.bill(tenant)))
