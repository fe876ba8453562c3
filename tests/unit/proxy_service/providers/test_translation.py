import gzip
from typing import Any

import msgspec
import pytest
from anthropic._streaming import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from demo import eventstream
from proxy_service.eventstream import EventStreamBroken
from proxy_service.providers import (
    AnswerEdit,
    Prepared,
    RequestRefused,
    answer_edit,
    match,
    prepare,
    read_ask,
)
from proxy_service.providers.translation import ERROR_BYTES_MAX
from proxy_service.wire import Headers, RequestHead, ResponseHead, header
from tests.unit.proxy_service.answers import cut_at

PATH = b"/bedrock/v1/messages"
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
BODY = (
    b'{"model":"us.anthropic.claude-sonnet-4-5-20250929-v1:0","max_tokens": 5,'
    b'"messages":[{"role":"user","content":"\xc3\xa9 \\u00e9"}], "stream" :false}'
)
STREAM: Headers = [(b"Content-Type", b"application/vnd.amazon.eventstream"), (b"x-amzn-RequestId", b"r")]


def _prepared(body: bytes, headers: Headers | None = None) -> Prepared:
    headers = headers or []
    route = match(RequestHead(b"POST", PATH + b"?beta=true", headers))
    assert route is not None
    return prepare(route, read_ask(route, headers, body), headers, body)


def _edit(status: int, headers: Headers) -> AnswerEdit | None:
    route = match(RequestHead(b"POST", PATH, []))
    assert route is not None
    prepared = Prepared(target=b"", headers=[], body=b"", edits=("bedrock_translation",))
    return answer_edit(route, prepared, ResponseHead(status, b"", headers, 7), "req_1")


def _chunk(event: object) -> bytes:
    return eventstream.event("chunk", msgspec.json.encode({"bytes": msgspec.json.encode(event)}))


def _refusal(body: bytes, headers: Headers | None = None) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        _prepared(body, headers)
    return refused.value


@pytest.mark.parametrize("model", ["a/../b", "a/..", "a/./b", "a//b", "../b", "a/"])
def test_a_model_that_would_walk_the_upstream_path_is_refused(model: str) -> None:
    refusal = _refusal(msgspec.json.encode({"model": model, "max_tokens": 5}))

    assert (refusal.status, refusal.code) == (400, "invalid_model")


def test_model_and_stream_leave_the_body_and_the_version_enters() -> None:
    prepared = _prepared(BODY)

    assert prepared.target == b"/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke"
    assert prepared.body == (
        b'{"max_tokens": 5,"messages":[{"role":"user","content":"\xc3\xa9 \\u00e9"}],'
        b'"anthropic_version":"bedrock-2023-05-31"}'
    )
    assert prepared.edits == ("bedrock_translation",)


def test_a_stream_goes_to_the_streaming_operation() -> None:
    prepared = _prepared(BODY.replace(b":false", b":true"))

    assert prepared.target.endswith(b"/invoke-with-response-stream")


def test_an_arn_stays_one_segment() -> None:
    arn = b"arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude"

    prepared = _prepared(BODY.replace(MODEL.encode(), arn))

    assert prepared.target == (
        b"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude/invoke"
    )


def test_betas_move_from_the_header_to_the_body() -> None:
    headers: Headers = [(b"anthropic-beta", b"a-2025-01-01, b-2025"), (b"Anthropic-Beta", b"c")]

    prepared = _prepared(BODY, headers)

    assert msgspec.json.decode(prepared.body)["anthropic_beta"] == ["a-2025-01-01", "b-2025", "c"]
    assert prepared.headers == [(b"accept-encoding", b"identity")]


def test_a_key_moves_to_where_bedrock_looks_for_it() -> None:
    sent: Headers = [(b"X-Api-Key", b"k1"), (b"anthropic-version", b"2023-06-01"), (b"User-Agent", b"u")]

    assert _prepared(BODY, sent).headers == [
        (b"User-Agent", b"u"),
        (b"authorization", b"Bearer k1"),
        (b"accept-encoding", b"identity"),
    ]


def test_a_bearer_key_stays_and_no_other_key_leaves() -> None:
    sent: Headers = [(b"Authorization", b"Bearer k2"), (b"X-Api-Key", b"k1"), (b"Accept-Encoding", b"br")]

    assert _prepared(BODY, sent).headers == [
        (b"Authorization", b"Bearer k2"),
        (b"accept-encoding", b"identity"),
    ]


def test_a_field_that_bedrock_does_not_know_is_refused_by_name() -> None:
    refusal = _refusal(BODY.replace(b'"max_tokens"', b'"mcp_servers":[],"max_tokens"'))

    assert (refusal.status, refusal.code, refusal.param) == (400, "unsupported_field", "mcp_servers")
    assert refusal.message.startswith("mcp_servers: ")
    assert "max_tokens" in refusal.message


def test_text_in_the_place_of_a_name_is_not_repeated() -> None:
    refusal = _refusal(BODY.replace(b'"max_tokens"', b'"my secret plan":1,"max_tokens"'))

    assert "secret" not in refusal.message + str(refusal.param)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (BODY.replace(MODEL.encode(), b"../x"), [], 400),
        (BODY.replace(MODEL.encode(), b""), [], 400),
        (BODY.replace(MODEL.encode(), b"a?b"), [], 400),
        (b'{"model":"m","max_tokens":1,"max_tokens":2}', [], 400),
        (b'{"model":"m","anthropic_beta":["x"]}', [(b"anthropic-beta", b"y")], 400),
        (b'{"model":"m"}', [(b"anthropic-beta", b'x"y')], 400),
        (gzip.compress(BODY), [(b"content-encoding", b"gzip")], 415),
    ],
    ids=["dots", "no model", "query", "duplicate", "betas twice", "no beta", "compressed"],
)
def test_what_cannot_be_said_to_bedrock_is_refused(body: bytes, headers: Headers, status: int) -> None:
    assert _refusal(body, headers).status == status


EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {"model": "claude", "usage": {"input_tokens": 3, "output_tokens": 1}},
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "é\n\n"}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}},
]


@given(st.lists(st.integers(min_value=0), max_size=6))
def test_a_stream_becomes_the_events_an_anthropic_client_hears(places: list[int]) -> None:
    edit = _edit(200, STREAM)
    assert edit is not None

    sent = b"".join(map(edit.feed, cut_at(b"".join(map(_chunk, EVENTS)), places))) + edit.finish()

    heard = list(SSEDecoder().iter_bytes(iter([sent])))
    assert [(event.event, event.json()) for event in heard] == [(event["type"], event) for event in EVENTS]
    assert header(edit.head.headers, b"content-type") == b"text/event-stream; charset=utf-8"
    assert header(edit.head.headers, b"x-amzn-requestid") == b"r"
    assert edit.head.content_length is None


@pytest.mark.parametrize(
    ("kind", "error_type"),
    [
        ("throttlingException", "rate_limit_error"),
        ("validationException", "invalid_request_error"),
        ("modelStreamErrorException", "api_error"),
        ("somethingNew", "api_error"),
    ],
)
def test_an_exception_becomes_an_error_event(kind: str, error_type: str) -> None:
    edit = _edit(200, STREAM)
    assert edit is not None

    sent = edit.feed(eventstream.exception(kind, b'{"message":"Slow down"}'))

    assert sent == (
        b'event: error\ndata: {"type":"error","error":{"type":"%s","message":"Slow down"}}\n\n'
        % error_type.encode()
    )


def test_a_damaged_stream_is_not_translated_on() -> None:
    edit = _edit(200, STREAM)
    assert edit is not None
    damaged = bytearray(_chunk(EVENTS[0]))
    damaged[-1] ^= 1

    with pytest.raises(EventStreamBroken):
        edit.feed(bytes(damaged))


def test_events_without_a_name_are_left_out() -> None:
    edit = _edit(200, STREAM)
    assert edit is not None

    assert edit.feed(_chunk({"no": "type"}) + _chunk([1]) + eventstream.event("other", b"x")) == b""


@pytest.mark.parametrize(
    ("status", "error_type"),
    [(400, "invalid_request_error"), (403, "permission_error"), (429, "rate_limit_error"), (500, "api_error"),
     (503, "overloaded_error")],
)  # fmt: skip
def test_an_error_answer_takes_anthropics_shape(status: int, error_type: str) -> None:
    edit = _edit(status, [(b"Content-Type", b"application/json"), (b"Content-Length", b"7")])
    assert edit is not None

    assert edit.feed(b'{"message":') + edit.feed(b'"No access"}') == b""

    assert msgspec.json.decode(edit.finish()) == {
        "type": "error",
        "error": {"type": error_type, "message": "No access"},
        "request_id": "req_1",
    }
    assert edit.head.status == status
    assert header(edit.head.headers, b"content-length") is None


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"message":5}', b"x" * (ERROR_BYTES_MAX + 1)])
def test_an_error_answer_that_says_nothing_readable_still_is_one(body: bytes) -> None:
    edit = _edit(502, [])
    assert edit is not None
    edit.feed(body)

    assert msgspec.json.decode(edit.finish())["error"]["message"] == "Bedrock answered with an error"


def test_a_whole_message_passes_as_it_is() -> None:
    assert _edit(200, [(b"content-type", b"application/json")]) is None
