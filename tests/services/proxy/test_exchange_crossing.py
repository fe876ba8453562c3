"""Who is let in, and what crosses the proxy in either direction."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from metering.accounts import LOCAL_ACCOUNT_ID, AccountSettings, PriceSettings
from metering.directory import KeyTerms
from tests.doubles.raw_upstream import RawUpstream, answering, call
from tests.doubles.waiting import until
from tests.services.proxy.calls import (
    END,
    MODEL,
    PROVIDER_KEY,
    answer,
    chunk,
    get,
    message,
    messages_call,
    post,
)
from tests.services.proxy.running import RunningProxy


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream) as proxy:
        yield proxy


@pytest.fixture
def hosted(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream, is_hosted=True) as proxy:
        yield proxy


def key_header(plain: str) -> bytes:
    return b"X-ModelTrack-Key: %b\r\n" % plain.encode()


def test_hosted_a_call_without_a_key_is_refused_in_the_providers_words(
    hosted: RunningProxy, upstream: RawUpstream
) -> None:
    anthropic = call(hosted.port, messages_call())
    openai = call(hosted.port, post(b"/v1/chat/completions", b"{}"))

    assert msgspec.json.decode(anthropic.body)["error"]["type"] == "authentication_error"
    assert msgspec.json.decode(openai.body)["error"]["code"] == "invalid_modeltrack_key"
    assert (anthropic.status, openai.status, upstream.requests) == (401, 401, [])


def test_on_a_machine_of_ones_own_strangers_can_be_kept_out_too(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    with RunningProxy(tmp_path, upstream, key_required=True) as proxy:
        account = proxy.directory.ensure_local_account()
        plain, _ = proxy.directory.create_key(account.account_id, KeyTerms())

        stranger = call(proxy.port, messages_call())
        known = call(proxy.port, messages_call(headers=key_header(plain)))

    assert (stranger.status, known.status, len(upstream.requests)) == (401, 200, 1)


def test_hosted_a_key_lets_its_account_in_and_stays_with_us(
    hosted: RunningProxy, upstream: RawUpstream
) -> None:
    account = hosted.directory.create_account("One")
    plain, record = hosted.directory.create_key(account.account_id, KeyTerms(team="pinned"))
    tags = b"X-ModelTrack-Team: said\r\nX-ModelTrack-App: web\r\n"

    got = call(hosted.port, messages_call(headers=key_header(plain) + tags))

    assert got.status == 200
    assert not [name for name, _ in upstream.requests[0].headers if b"modeltrack" in name.lower()]
    event = hosted.event(account.account_id)
    assert (event.key_id, event.team, event.app) == (record.key_id, "pinned", "web")


def test_an_ingress_address_is_a_key_that_the_provider_never_sees(
    hosted: RunningProxy, upstream: RawUpstream
) -> None:
    account = hosted.directory.create_account("One")
    plain, _ = hosted.directory.create_key(account.account_id, KeyTerms(kind="ingress"))

    got = call(hosted.port, messages_call(path=b"/ws/%b/v1/messages?beta=true" % plain.encode()))

    assert got.status == 200
    assert upstream.requests[0].line == b"POST /v1/messages?beta=true HTTP/1.1"
    assert hosted.event(account.account_id).state == "completed"
    assert plain not in hosted.log.getvalue()


def test_a_key_and_an_address_of_different_accounts_are_refused(
    hosted: RunningProxy, upstream: RawUpstream
) -> None:
    accounts = [hosted.directory.create_account(name) for name in ("One", "Two")]
    key, _ = hosted.directory.create_key(accounts[0].account_id, KeyTerms())
    way, _ = hosted.directory.create_key(accounts[1].account_id, KeyTerms(kind="ingress"))

    got = call(hosted.port, messages_call(path=b"/ws/%b/v1/messages" % way.encode(), headers=key_header(key)))

    assert (got.status, upstream.requests) == (400, [])


def test_a_revoked_key_and_a_suspended_account_are_refused_within_a_second(hosted: RunningProxy) -> None:
    account = hosted.directory.create_account("One")
    plain, record = hosted.directory.create_key(account.account_id, KeyTerms())
    other, _ = hosted.directory.create_key(account.account_id, KeyTerms())
    assert call(hosted.port, messages_call(headers=key_header(plain))).status == 200
    assert call(hosted.port, messages_call(headers=key_header(other))).status == 200

    hosted.directory.revoke_key(account.account_id, record.key_id)
    until(lambda: call(hosted.port, messages_call(headers=key_header(plain))).status == 401)

    hosted.directory.set_status(account.account_id, "suspended")
    until(lambda: call(hosted.port, messages_call(headers=key_header(other))).status == 403)


@pytest.mark.parametrize("pasted", [PROVIDER_KEY, b"mt_", b"x" * 3000, b"' OR 1=1--"])
def test_what_is_no_key_of_ours_is_refused_and_never_repeated(
    proxy: RunningProxy, upstream: RawUpstream, pasted: bytes
) -> None:
    got = call(proxy.port, messages_call(headers=b"X-ModelTrack-Key: %b\r\n" % pasted))

    assert (got.status, upstream.requests) == (401, [])
    assert pasted not in got.body
    assert pasted.decode() not in proxy.log.getvalue()


@pytest.mark.battery("P5")
def test_end_to_end_headers_cross_and_headers_of_a_connection_do_not(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    ours = b"X-ModelTrack-Feature: f\r\nConnection: keep-alive, X-Listed\r\nX-Listed: 1\r\nTE: trailers\r\n"
    theirs = b"anthropic-beta: a\r\nX-CaSe: Kept\r\nProxy-Authorization: Basic z\r\n"
    upstream.script = answering(
        answer(
            message(),
            headers=b"Set-Cookie: a=1\r\nset-cookie: b=2\r\n"
            b"Keep-Alive: timeout=9\r\nX-ModelTrack-Cost-USD: 99\r\n",
        )
    )

    got = call(proxy.port, messages_call(headers=ours + theirs))

    sent = upstream.requests[0].headers
    assert [pair for pair in sent if pair[0].lower() not in (b"host", b"content-length")] == [
        (b"X-Api-Key", PROVIDER_KEY),
        (b"Anthropic-Version", b"2023-06-01"),
        (b"Content-Type", b"application/json"),
        (b"anthropic-beta", b"a"),
        (b"X-CaSe", b"Kept"),
    ]
    assert got.header(b"set-cookie") == b"a=1, b=2"
    assert got.header(b"keep-alive") is None
    assert got.header(b"x-modeltrack-cost-usd") == b"0.0045"


def test_an_encoded_answer_passes_as_it_is_and_is_metered_from_a_copy(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    packed = gzip.compress(message())
    upstream.script = answering(answer(packed, headers=b"Content-Encoding: gzip\r\n"))

    got = call(proxy.port, messages_call())

    assert (got.body, got.header(b"content-encoding")) == (packed, b"gzip")
    assert proxy.event().output_tokens == 100


def test_a_stream_of_a_chat_is_metered_by_a_frame_that_its_caller_never_sees(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    frame = b'data: {"model":"gpt-4o","choices":[{"delta":{"content":"hi"}}],"usage":null}\n\n'
    usage = b'data: {"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2}}\n\n'
    done = b"data: [DONE]\n\n"
    upstream.script = answering(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        chunk(frame), chunk(usage), chunk(done), END,
    )  # fmt: skip

    got = call(proxy.port, post(b"/v1/chat/completions", b'{"model":"gpt-4o","stream":true}'))

    assert got.body == frame + done
    sent = msgspec.json.decode(upstream.requests[0].body)
    assert sent["stream_options"] == {"include_usage": True}
    event = proxy.event()
    assert (event.input_tokens, event.output_tokens, event.estimated) == (10, 2, False)


def test_an_upstream_that_refuses_to_be_asked_for_usage_is_not_asked_again(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    refusal = b'{"error":{"message":"Unrecognized request argument supplied: stream_options"}}'
    upstream.script = answering(answer(refusal, status=b"400 Bad Request"))
    request = post(b"/v1/chat/completions", b'{"model":"gpt-4o","stream":true}')

    first, second = call(proxy.port, request), call(proxy.port, request)

    assert (first.body, second.body) == (refusal, refusal)
    asked = [b"stream_options" in request.body for request in upstream.requests]
    assert asked == [True, False]


def test_a_body_at_the_limit_passes_and_one_above_is_refused(tmp_path: Path, upstream: RawUpstream) -> None:
    def request(size: int) -> bytes:
        body = b'{"model":"m","x":"%b"}' % (b"x" * size)
        return post(b"/v1/messages", body + b" " * (size - len(body)))

    with RunningProxy(tmp_path, upstream, body_limit_bytes=2048) as proxy:
        at_limit = post(b"/v1/messages", b'{"model":"m"}'.ljust(2048))
        above = post(b"/v1/messages", b'{"model":"m"}'.ljust(2049))
        statuses = [call(proxy.port, raw).status for raw in (at_limit, above)]

    assert (statuses, len(upstream.requests)) == ([200, 413], 1)


@pytest.mark.battery("P9")
@pytest.mark.parametrize("tag", ["a/b", ".", "..", "__x__", "团队💸", "x" * 300, "a\tb", "=1+1", "<script>"])
def test_whatever_a_tag_is_the_call_is_served(proxy: RunningProxy, tag: str) -> None:
    got = call(proxy.port, messages_call(headers=b"X-ModelTrack-Team: %b\r\n" % tag.encode()))

    assert got.status == 200
    assert proxy.event().team == tag.replace("\t", "")[:200]


def test_an_account_may_refuse_calls_without_a_known_price(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    until(lambda: proxy.directory.account(LOCAL_ACCOUNT_ID) is not None)
    proxy.directory.change_settings(
        LOCAL_ACCOUNT_ID, AccountSettings(prices=PriceSettings(unpriced="refuse"))
    )
    until(lambda: call(proxy.port, messages_call(model="zz-new")).status == 403)

    assert call(proxy.port, messages_call(model=MODEL)).status == 200

    models = {event.state: event.model for event in proxy.events()}
    assert models == {"refused": "zz-new", "completed": "claude-sonnet-4-5-20250929"}


def test_a_stranger_sees_no_figures(proxy: RunningProxy) -> None:
    assert call(proxy.port, get(b"/stats")).status == 200
    assert call(proxy.port, get(b"/metrics")).header(b"content-type") == (
        b"text/plain; version=0.0.4; charset=utf-8"
    )
