"""Answers from memory: what hits, what misses, what a hit says, over the wire."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from metering.accounts import LOCAL_ACCOUNT_ID, AccountSettings, PriceSettings
from tests.doubles.raw_upstream import RawUpstream, ReceivedAnswer, answering, call
from tests.doubles.waiting import until
from tests.services.proxy.calls import (
    END,
    PROVIDER_KEY,
    STREAM_HEAD,
    WHOLE_STREAM,
    answer,
    chunk,
    message,
    messages_call,
    post,
)
from tests.services.proxy.running import RunningProxy

CHAT = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}'
CUT_CHAT = (
    b'{"model":"gpt-4o","choices":[{"finish_reason":"length","message":{"role":"assistant","content":"x"}}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":9}}'
)


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    headers = b"Request-Id: req_upstream\r\nDate: today\r\nSet-Cookie: a=b\r\nX-Kept: 1\r\n"
    with RawUpstream(answering(answer(message(), headers=headers))) as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream) as proxy:
        yield proxy


def verdict(got: ReceivedAnswer) -> bytes | None:
    return got.header(b"x-modeltrack-cache")


def test_the_same_call_is_answered_from_memory_and_says_what_that_saved(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    first = call(proxy.port, messages_call())
    proxy.clock.advance(1)
    second = call(proxy.port, messages_call())

    assert (verdict(first), verdict(second), len(upstream.requests)) == (b"MISS", b"HIT", 1)
    assert second.body == first.body
    assert second.header(b"x-kept") == b"1"
    assert [second.header(name) for name in (b"request-id", b"date", b"set-cookie")] == [None] * 3
    assert (second.header(b"x-modeltrack-cache-savings"), second.header(b"x-modeltrack-cost-usd")) == (
        b"$0.0045",
        b"0",
    )
    asked, repeated = proxy.events()
    assert (repeated.state, repeated.cache_hit, repeated.cost_nanodollars) == ("cache_hit", True, 0)
    assert (repeated.saved_nanodollars, repeated.input_tokens) == (asked.cost_nanodollars, 0)


@pytest.mark.parametrize(
    "other",
    [
        messages_call(system="be brief"),
        messages_call(temperature=0.5),
        messages_call(model="claude-haiku-4-5"),
        messages_call(tools=[{"name": "t"}]),
        messages_call().replace(PROVIDER_KEY, PROVIDER_KEY[::-1]),
        messages_call(headers=b"anthropic-beta: x\r\n"),
        messages_call(headers=b"X-ModelTrack-No-Cache: true\r\n"),
    ],
    ids=["system", "temperature", "model", "tools", "credential", "beta", "opt-out"],
)
def test_a_call_that_differs_goes_to_the_provider(
    proxy: RunningProxy, upstream: RawUpstream, other: bytes
) -> None:
    call(proxy.port, messages_call())

    assert verdict(call(proxy.port, other)) != b"HIT"
    assert len(upstream.requests) == 2


def test_a_stream_is_never_answered_from_memory(proxy: RunningProxy, upstream: RawUpstream) -> None:
    upstream.script = answering(STREAM_HEAD, *map(chunk, WHOLE_STREAM), END)

    answers = [call(proxy.port, messages_call(streaming=True)) for _ in range(2)]

    assert [verdict(each) for each in answers] == [b"BYPASS", b"BYPASS"]
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    "kept_not",
    [
        answer(message(stop_reason="max_tokens")),
        answer(b'{"type":"error"}', status=b"529 Overloaded"),
        answer(b'{"type":"error","error":{"message":"no"}}'),
        answer(b"not json"),
    ],
    ids=["cut short", "error", "error in a 200", "unreadable"],
)
def test_only_a_complete_successful_answer_is_kept(
    proxy: RunningProxy, upstream: RawUpstream, kept_not: bytes
) -> None:
    upstream.script = answering(kept_not)

    answers = [call(proxy.port, messages_call()) for _ in range(2)]

    assert [verdict(each) for each in answers] == [b"MISS", b"MISS"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (messages_call(), message(stop_reason="max_tokens")),
        (post(b"/v1/chat/completions", CHAT), CUT_CHAT),
    ],
    ids=["max_tokens", "length"],
)
def test_an_answer_cut_by_its_length_is_asked_for_and_paid_each_time(
    proxy: RunningProxy, upstream: RawUpstream, asked: bytes, said: bytes
) -> None:
    upstream.script = answering(answer(said))

    assert [verdict(call(proxy.port, asked)) for _ in range(2)] == [b"MISS", b"MISS"]

    assert len(upstream.requests) == 2
    assert [event.cache_hit for event in proxy.events()] == [False, False]
    assert all(event.cost_nanodollars for event in proxy.events())


def test_an_answer_of_unknown_length_is_kept_too(proxy: RunningProxy, upstream: RawUpstream) -> None:
    upstream.script = answering(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        chunk(message()),
        END,
    )

    first, second = call(proxy.port, messages_call()), call(proxy.port, messages_call())

    assert (verdict(first), verdict(second)) == (b"MISS", b"HIT")
    assert second.body == first.body == message()


@pytest.mark.battery("V5")
def test_an_answer_is_too_old_after_its_time(proxy: RunningProxy, upstream: RawUpstream) -> None:
    call(proxy.port, messages_call())

    proxy.clock.advance(3600)

    assert verdict(call(proxy.port, messages_call())) == b"MISS"


def test_hosted_nothing_is_kept_until_an_account_says_so(tmp_path: Path, upstream: RawUpstream) -> None:
    with RunningProxy(tmp_path, upstream, cache_enabled=False) as proxy:
        answers = [call(proxy.port, messages_call()) for _ in range(2)]

    assert [verdict(each) for each in answers] == [b"BYPASS", b"BYPASS"]


def test_what_an_account_refuses_by_now_is_not_answered_from_memory_either(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    asking = messages_call(model="nobodys-model")
    assert [verdict(call(proxy.port, asking)) for _ in range(2)] == [b"MISS", b"HIT"]
    refusing = AccountSettings(prices=PriceSettings(unpriced="refuse"))

    until(lambda: proxy.directory.account(LOCAL_ACCOUNT_ID) is not None)
    proxy.directory.change_settings(LOCAL_ACCOUNT_ID, refusing)

    until(lambda: call(proxy.port, asking).status == 403)
    assert len(upstream.requests) == 1


def test_an_answer_that_is_no_utf_8_passes_all_the_same_and_is_not_kept(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    body = b'{"status":"\xff","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":9}}'
    upstream.script = answering(answer(body))

    bodies = [call(proxy.port, post(b"/v1/chat/completions", CHAT)).body for _ in range(2)]

    assert (bodies, len(upstream.requests)) == ([body] * 2, 2)
