import gzip

import pytest

from proxy_service.providers import (
    Prepared,
    PrepareSettings,
    RequestRefused,
    answer_edit,
    match,
    prepare,
    read_ask,
    refuses_include_usage,
)
from proxy_service.wire import Headers, RequestHead, ResponseHead

CHAT = b"/v1/chat/completions"
SSE: Headers = [(b"Content-Type", b"text/event-stream"), (b"Content-Length", b"999")]
ADDED = b',"stream_options":{"include_usage":true}'


def _prepared(
    path: bytes, body: bytes, headers: Headers | None = None, settings: PrepareSettings | None = None
) -> Prepared:
    headers = headers or []
    route = match(RequestHead(b"POST", path, headers))
    assert route is not None
    return prepare(route, read_ask(route, headers, body), headers, body, settings)


@pytest.mark.parametrize(
    "path",
    [
        CHAT,
        b"/v1/completions",
        b"/azure/openai/deployments/d/chat/completions",
        b"/openai/v1/chat/completions",
    ],
)
def test_a_stream_that_says_nothing_of_usage_is_asked_for_it(path: bytes) -> None:
    body = b'{ "model": "gpt-4o", "seed": 12345678901234567890, "stream": true }\n'

    prepared = _prepared(path, body, [(b"Accept-Encoding", b"gzip, br"), (b"Authorization", b"Bearer k")])

    assert prepared.body == body.replace(b"true }", b"true" + ADDED + b" }")
    assert prepared.headers == [(b"Authorization", b"Bearer k"), (b"accept-encoding", b"identity")]
    assert prepared.withhold
    assert prepared.edits == ("include_usage",)


@pytest.mark.parametrize(
    ("options", "edited"),
    [
        (b"{}", b'{"include_usage":true}'),
        (b"null", b'{"include_usage":true}'),
        (b'{"include_obfuscation": false}', b'{"include_obfuscation": false,"include_usage":true}'),
        (b'{"include_usage": null}', b'{"include_usage": true}'),
    ],
)
def test_the_option_goes_into_options_that_are_there(options: bytes, edited: bytes) -> None:
    before, after = b'{"model":"gpt-4o","stream":true,"stream_options": ', b' ,"messages":[]}'

    assert _prepared(CHAT, before + options + after).body == before + edited + after


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (CHAT, b'{"model":"m","stream":true,"stream_options":{"include_usage":false}}', []),
        (CHAT, b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}', []),
        (CHAT, b'{"model":"m","stream":false}', []),
        (CHAT, b'{"model":"m"}', []),
        (CHAT, b'{"model":"m","stream":true,"model":"n"}', []),
        (CHAT, b'{"model":"m","stream":true,"stream_options":{"a":1,"a":2}}', []),
        (CHAT, b'{"model":"m","stream":true,"stream_options":[]}', []),
        (CHAT, b'{"model":"m","stream":true,"user":"\\ud800"}', []),
        (CHAT, gzip.compress(b'{"model":"m","stream":true}'), [(b"content-encoding", b"gzip")]),
        (b"/v1/responses", b'{"model":"m","stream":true}', []),
        (b"/v1/messages", b'{"model":"m","stream":true}', []),
    ],
    ids=["explicit false", "explicit true", "no stream", "silent", "duplicate key", "duplicate option",
         "no object", "loose JSON", "compressed", "responses", "anthropic"],
)  # fmt: skip
def test_every_other_call_leaves_as_it_came(path: bytes, body: bytes, headers: Headers) -> None:
    headers = [*headers, (b"Accept-Encoding", b"gzip")]

    prepared = _prepared(path, body, headers)

    assert (prepared.target, prepared.headers, prepared.body) == (path, headers, body)
    assert not prepared.withhold
    assert not prepared.edits


def test_an_operator_can_switch_the_question_off() -> None:
    body = b'{"model":"m","stream":true}'

    assert _prepared(CHAT, body, settings=PrepareSettings(inject_include_usage=False)).body == body


def test_the_published_azure_path_becomes_the_deployments_own() -> None:
    prepared = _prepared(b"/azure/v1/chat/completions", b'{"model":"prod-4o"}')

    assert prepared.target == b"/openai/deployments/prod-4o/chat/completions?api-version=2024-10-21"
    assert prepared.body == b'{"model":"prod-4o"}'
    assert prepared.edits == ("azure_path",)


def test_the_callers_own_api_version_stands() -> None:
    prepared = _prepared(b"/azure/v1/chat/completions?api-version=2025-01-01", b'{"model":"prod-4o"}')

    assert prepared.target == b"/openai/deployments/prod-4o/chat/completions?api-version=2025-01-01"


@pytest.mark.parametrize(
    "model", [b"x.test#", b"a@b", b"../x", b"a/b", b"", b"a b", b"a%2Fb", b".", b"x" * 65]
)
def test_a_deployment_that_is_no_name_is_refused(model: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        _prepared(b"/azure/v1/chat/completions", b'{"model":"' + model + b'"}')

    assert (refused.value.status, refused.value.param) == (400, "model")


@pytest.mark.parametrize("path", [b"/bedrock/model/m/invoke", b"/bedrock/v1/messages"])
def test_a_request_signed_for_us_is_told_to_use_a_bedrock_key(path: bytes) -> None:
    signed: Headers = [(b"Authorization", b"AWS4-HMAC-SHA256 Credential=x")]

    with pytest.raises(RequestRefused) as refused:
        _prepared(path, b'{"model":"m"}', signed)

    assert refused.value.status == 400
    assert "Bedrock API key" in refused.value.message


def test_only_a_plain_stream_of_a_question_of_ours_is_edited_on_its_way_back() -> None:
    route = match(RequestHead(b"POST", CHAT, []))
    assert route is not None
    asked = Prepared(target=CHAT, headers=[], body=b"", withhold=True)
    silent = Prepared(target=CHAT, headers=[], body=b"")

    edit = answer_edit(route, asked, ResponseHead(200, b"OK", SSE, 999), "req_1")

    assert edit is not None
    assert (edit.head.headers, edit.head.content_length) == (SSE[:1], None)
    for prepared, status, headers in [
        (silent, 200, SSE),
        (asked, 400, SSE),
        (asked, 200, [(b"content-type", b"application/json")]),
        (asked, 200, [*SSE, (b"content-encoding", b"gzip")]),
    ]:
        assert answer_edit(route, prepared, ResponseHead(status, b"", headers), "req_1") is None


@pytest.mark.parametrize(
    ("status", "said", "is_refusal"),
    [
        (400, b"Unrecognized request argument supplied: stream_options", True),
        (422, b"include_usage: extra inputs are not permitted", True),
        (400, b"max_tokens is too large", False),
        (500, b"stream_options", False),
        (200, b"stream_options", False),
    ],
)
def test_an_upstream_that_does_not_take_the_option_is_recognised(
    status: int, said: bytes, is_refusal: bool
) -> None:
    body = b'{"error":{"message":"' + said + b'"}}'

    assert refuses_include_usage(status, body) is is_refusal
