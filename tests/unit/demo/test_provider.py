"""The demo provider from request to answer, without a connection."""

import json
from typing import Any

import pytest

from demo.listener import Answer, Request
from demo.provider import Provider, customer_of

ANTHROPIC = {"model": "claude-sonnet-4-6", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
OPENAI = {"model": "gpt-4o", "input": "Hi", "messages": [{"role": "user", "content": "Hi"}]}
BEDROCK = {"anthropic_version": "bedrock-2023-05-31", **{k: v for k, v in ANTHROPIC.items() if k != "model"}}
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"
CALLS = [
    ("/v1/messages", ANTHROPIC),
    ("/v1/chat/completions", OPENAI),
    ("/v1/responses", OPENAI),
    ("/openai/deployments/chat-production/chat/completions?api-version=2024-10-21", OPENAI),
    ("/openai/v1/chat/completions", OPENAI),
    (f"/model/{SONNET}/invoke", BEDROCK),
    (f"/model/{SONNET}/converse", {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}),
]


def _request(
    path: str, body: dict[str, Any] | bytes | None = None, *, method: str = "POST", **headers: str
) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(method.encode(), path.encode(), named, sent, is_kept_alive=True)


def _page(provider: Provider, path: str) -> dict[str, Any]:
    answer = provider.answer(_request(path, b"", method="GET"))
    page: dict[str, Any] = json.loads(b"".join(answer.frames))
    return page


def _body(answer: Answer) -> bytes:
    return b"".join(answer.frames)


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_the_same_request_gets_the_same_body_and_is_billed_again(path: str, body: dict[str, Any]) -> None:
    provider = Provider()

    first, second = (provider.answer(_request(path, body, authorization="Bearer k")) for _ in range(2))

    assert _body(first) == _body(second)
    assert first.head != second.head
    assert _page(provider, "/demo/bill")["calls"] == 2


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_a_whole_answer_reports_what_the_bill_charges(path: str, body: dict[str, Any]) -> None:
    provider = Provider()

    told = json.loads(_body(provider.answer(_request(path, body, authorization="Bearer k"))))["usage"]

    (row,) = _page(provider, f"/demo/bill?customer={customer_of('k')}")["data"]
    output = next(
        told[name] for name in ("output_tokens", "completion_tokens", "outputTokens") if name in told
    )
    assert row["output_tokens"] == output
    assert row["nanodollars"] > 0


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("size", [1, 17, 2_000, 1_000_000])
@pytest.mark.parametrize("is_streaming", [False, True])
def test_answers_have_the_size_asked_for(path: str, size: int, *, is_streaming: bool) -> None:
    body = (ANTHROPIC if path == "/v1/messages" else OPENAI) | {"stream": is_streaming}

    answer = Provider().answer(_request(path, body, x_api_key="k", x_demo_size=str(size)))

    assert answer.length == size


def test_a_call_without_a_credential_is_refused_and_not_billed() -> None:
    provider = Provider()

    answers = [
        provider.answer(_request("/v1/messages", ANTHROPIC)),
        provider.answer(_request("/v1/messages", ANTHROPIC, x_api_key="invalid-key")),
    ]

    assert [answer.status for answer in answers] == [401, 401]
    assert _page(provider, "/demo/bill")["calls"] == 0


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/messages", b"{", 400),
        ("/v1/messages", b"[]", 400),
        ("/v1/messages", {"model": "claude-nowhere"}, 404),
        ("/v1/messages", {"model": "claude-sonnet-4-6", "messages": [{}]}, 400),
        ("/v1/messages/elsewhere", {}, 404),
        ("/v1/chat/completions", {"model": "gpt-nowhere"}, 404),
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": []}, 400),
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": [{}], "n": 99}, 400),
        ("/v1/chat/completions", OPENAI | {"stream": True, "stream_options": "x"}, 400),
        ("/v1/messages", ANTHROPIC | {"tools": "x", "thinking": "y"}, 400),
        ("/v1/embeddings", {"model": "gpt-4o", "input": "x"}, 400),
        ("/model/nowhere/invoke", BEDROCK, 400),
        (f"/model/{SONNET}/invoke", ANTHROPIC, 400),
        (f"/model/{SONNET}/elsewhere", BEDROCK, 404),
    ],
)
def test_nonsense_is_refused_as_the_provider_would(path: str, body: Any, status: int) -> None:
    provider = Provider()

    assert provider.answer(_request(path, body, x_api_key="k")).status == status
    assert _page(provider, "/demo/bill")["calls"] == 0


def test_free_calls_are_not_billed() -> None:
    provider = Provider()

    counted = provider.answer(_request("/v1/messages/count_tokens", ANTHROPIC, x_api_key="k"))
    listed = provider.answer(_request("/v1/models", b"", method="GET", authorization="Bearer k"))

    assert json.loads(_body(counted))["input_tokens"] > 0
    assert json.loads(_body(listed))["data"]
    assert _page(provider, "/demo/bill")["calls"] == 0


def test_a_chat_stream_tells_its_usage_only_when_asked() -> None:
    asked = OPENAI | {"stream": True, "stream_options": {"include_usage": True}}

    silent = _body(
        Provider().answer(_request("/v1/chat/completions", OPENAI | {"stream": True}, x_api_key="k"))
    )
    telling = _body(Provider().answer(_request("/v1/chat/completions", asked, x_api_key="k")))

    assert b'"usage"' not in silent.replace(b'\\"usage\\"', b"")
    assert telling.split(b"\n\n")[-3].startswith(b'data: {"id"')
    assert b'"choices":[],"usage":{' in telling.split(b"\n\n")[-3]


@pytest.mark.parametrize(("usage", "charged"), [("absent", True), ("null", True), ("zero", False)])
def test_a_spoiled_usage_block_does_not_spoil_the_bill(usage: str, *, charged: bool) -> None:
    provider = Provider()

    answer = provider.answer(_request("/v1/messages", ANTHROPIC, x_api_key="k", x_demo_usage=usage))

    told = json.loads(_body(answer)).get("usage")
    assert told is None or not any(value for value in told.values() if isinstance(value, int))
    assert bool(_page(provider, "/demo/bill")["nanodollars"]) is charged


def test_an_error_on_demand_costs_nothing_and_says_when_to_come_back() -> None:
    provider = Provider()

    answer = provider.answer(
        _request("/v1/messages", ANTHROPIC, x_api_key="k", x_demo_status="429", x_demo_retry_after="5")
    )

    assert answer.status == 429
    assert b"retry-after: 5\r\n" in answer.head
    assert json.loads(_body(answer))["error"]["type"] == "rate_limit_error"
    assert _page(provider, "/demo/bill")["calls"] == 0


def test_a_script_serves_clients_that_cannot_set_headers() -> None:
    provider = Provider()
    script = {"key": "k", "answers": [{"status": 529}, {"encoding": "br"}]}
    provider.answer(_request("/demo/script", script))

    answers = [provider.answer(_request("/v1/messages", ANTHROPIC, x_api_key="k")) for _ in range(3)]

    assert [answer.status for answer in answers] == [529, 200, 200]
    assert [b"content-encoding: br" in answer.head for answer in answers] == [False, True, False]


def test_what_arrived_is_shown_without_credentials() -> None:
    provider = Provider()
    provider.answer(_request("/v1/messages", ANTHROPIC, x_api_key="secret-provider-key", x_title="a b"))

    page = _page(provider, "/demo/received")

    assert ["x-title", "a b"] in page["data"][0]["headers"]
    assert "secret-provider-key" not in json.dumps(page)


def test_a_stable_answer_has_the_same_head_every_time() -> None:
    provider = Provider()

    first, second = (
        provider.answer(_request("/v1/messages", ANTHROPIC, x_api_key="k", x_demo_stable="true"))
        for _ in range(2)
    )

    assert first.head == second.head
