import gzip
from typing import Any

import msgspec
import pytest

from metering.accounts import AccountSettings, CacheSettings
from metering.usage import Reading
from proxy_service.cache import (
    BODY_BYTES_MAX,
    ENTRY_BYTES,
    AnswerCache,
    CacheKey,
    CacheRules,
    Kept,
    is_worth_keeping,
)
from proxy_service.call import Errand
from proxy_service.providers import Ask
from proxy_service.wire import Headers, Origin, ResponseHead
from tests.builders import make_policy
from tests.unit.proxy_service.errands import KEY, make_errand, make_reading, make_route

OTHER = "acct_" + "f" * 32
PATH = b"/v1/messages"
BODY = b'{"model":"m","messages":[]}'
WHOLE = b'{"stop_reason":"end_turn"}'


def make_cache(*, enabled: bool = True, zero_only: bool = False, **bounds: Any) -> AnswerCache:
    fields: dict[str, Any] = {"entries_max": 10, "bytes_max": 1_000_000, "ttl_seconds": 60}
    return AnswerCache(CacheRules(enabled=enabled, temperature_zero_only=zero_only), **fields | bounds)


def key_of(
    cache: AnswerCache,
    errand: Errand | None = None,
    ask: Ask | None = None,
    target: bytes = PATH,
    body: bytes = BODY,
) -> CacheKey | None:
    return cache.key(errand or make_errand(), ask or Ask(), target, body)


def kept(body: bytes = WHOLE, headers: Headers | None = None) -> Kept:
    return Kept(
        status=200,
        reason=b"OK",
        headers=headers or [],
        body=body,
        model="m",
        service_tier=None,
        region=None,
        usage=make_reading().usage or pytest.fail("a reading without usage"),
    )


def some_key(number: int) -> CacheKey:
    return CacheKey(b"%032d" % number, "acct_1")


def test_the_same_call_is_the_same() -> None:
    cache = make_cache()

    assert key_of(cache) == key_of(cache) is not None


@pytest.mark.parametrize(
    ("errand", "target", "body"),
    [
        (make_errand(account_id=OTHER), PATH, BODY),
        (make_errand(route=make_route(provider="bedrock")), PATH, BODY),
        (make_errand(headers=[(b"X-Api-Key", b"sk-ant-2")]), PATH, BODY),
        (make_errand(headers=[(b"Authorization", b"sk-ant-1")]), PATH, BODY),
        (make_errand(headers=[KEY, (b"anthropic-beta", b"x")]), PATH, BODY),
        (make_errand(headers=[]), PATH, BODY),
        (make_errand(), b"/v1/messages?beta=true", BODY),
        (make_errand(), PATH, BODY + b" "),
    ],
    ids=["account", "provider", "key", "key's header", "header", "no key", "query", "body"],
)
def test_a_call_that_differs_in_anything_that_counts_is_another(
    errand: Errand, target: bytes, body: bytes
) -> None:
    cache = make_cache()

    assert key_of(cache, errand, target=target, body=body) != key_of(cache)


@pytest.mark.parametrize(
    "name",
    [b"X-Stainless-Retry-Count", b"traceparent", b"Idempotency-Key", b"Date", b"amz-sdk-invocation-id"],
)
def test_what_varies_from_call_to_call_does_not_count(name: bytes) -> None:
    cache = make_cache()
    first, second = (make_errand(headers=[KEY, (name, value)]) for value in (b"1", b"2"))

    assert key_of(cache, first) == key_of(cache, second)


def test_parts_never_run_together() -> None:
    cache = make_cache()
    one = make_errand(headers=[(b"a", b"b"), (b"c", b"d")])
    other = make_errand(headers=[(b"a", b"bc:d")])

    assert key_of(cache, one) != key_of(cache, other)


def test_another_upstream_is_another_call() -> None:
    cache = make_cache()
    errand = make_errand()
    elsewhere = msgspec.structs.replace(errand, origin=Origin("https", "other.example.com", 443))

    assert key_of(cache, errand=errand) != key_of(cache, errand=elsewhere)


def test_two_processes_know_a_call_by_different_digests() -> None:
    assert key_of(make_cache()) != key_of(make_cache())


@pytest.mark.parametrize(
    ("errand", "ask"),
    [
        (make_errand(), Ask(streaming=True)),
        (make_errand(ours={b"x-modeltrack-no-cache": b"true"}), Ask()),
        (make_errand(account_id="", unseen_key_hash="f" * 64), Ask()),
    ],
    ids=["stream", "opted out", "account not known"],
)
def test_what_is_not_to_be_answered_from_memory_has_no_key(errand: Errand, ask: Ask) -> None:
    assert key_of(make_cache(), errand, ask) is None


def test_a_body_too_large_to_hash_on_the_loop_has_no_key() -> None:
    cache = make_cache()

    assert key_of(cache, body=b"x" * BODY_BYTES_MAX) is not None
    assert key_of(cache, body=b"x" * (BODY_BYTES_MAX + 1)) is None


@pytest.mark.parametrize(
    ("deployment_on", "account", "is_looked_up"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_the_account_decides_before_the_deployment(
    deployment_on: bool, account: bool | None, is_looked_up: bool
) -> None:
    settings = AccountSettings(cache=CacheSettings(enabled=account))
    errand = make_errand(policy=make_policy(settings=settings))

    assert (key_of(make_cache(enabled=deployment_on), errand) is not None) is is_looked_up


@pytest.mark.parametrize(
    ("zero_only", "account", "temperature", "is_looked_up"),
    [
        (False, None, 1.0, True),
        (False, None, None, True),
        (True, None, None, False),
        (True, None, 0.0, True),
        (True, "any", 1.0, True),
        (False, "zero", 0.1, False),
        (False, "zero", 0.0, True),
    ],
)
def test_temperature_counts_where_account_or_deployment_say_so(
    zero_only: bool, account: Any, temperature: float | None, is_looked_up: bool
) -> None:
    settings = AccountSettings(cache=CacheSettings(temperature=account))
    errand = make_errand(policy=make_policy(settings=settings))

    key = key_of(make_cache(zero_only=zero_only), errand, Ask(temperature=temperature))

    assert (key is not None) is is_looked_up


def test_an_answer_is_found_until_it_is_too_old() -> None:
    cache = make_cache(ttl_seconds=60)
    cache.keep(some_key(1), kept(), now=100)

    assert cache.find(some_key(1), now=159.9) == kept()
    assert cache.find(some_key(1), now=160) is None
    assert len(cache) == 0


def test_the_least_recently_used_leaves_when_there_are_too_many() -> None:
    cache = make_cache(entries_max=2)
    cache.keep(some_key(1), kept(), now=0)
    cache.keep(some_key(2), kept(), now=0)
    cache.find(some_key(1), now=0)

    cache.keep(some_key(3), kept(), now=0)

    assert [cache.find(some_key(number), now=0) is not None for number in (1, 2, 3)] == [True, False, True]


def test_bytes_are_bounded_too() -> None:
    cache = make_cache(bytes_max=2 * (ENTRY_BYTES + 100))
    for number in range(3):
        cache.keep(some_key(number), kept(b"x" * 100), now=0)
    cache.keep(some_key(9), kept(b"x" * 10_000), now=0)

    assert len(cache) == 2
    assert cache.find(some_key(9), now=0) is None


def test_a_kept_answer_drops_what_was_of_one_answer_only() -> None:
    cache = make_cache()
    headers = [
        (b"Request-Id", b"req_1"),
        (b"Date", b"today"),
        (b"Set-Cookie", b"a=b"),
        (b"anthropic-ratelimit-tokens-remaining", b"5"),
        (b"X-RateLimit-Limit", b"5"),
        (b"Content-Type", b"application/json"),
    ]
    head = ResponseHead(200, b"OK", headers, len(WHOLE))

    cache.keep_if_worth(some_key(1), "messages", head, WHOLE, make_reading(), now=0)

    found = cache.find(some_key(1), now=0)
    assert found is not None
    assert (found.headers, found.body) == ([(b"Content-Type", b"application/json")], WHOLE)


@pytest.mark.parametrize(
    ("status", "reading", "body"),
    [
        (201, make_reading(), WHOLE),
        (200, make_reading(is_complete=False), WHOLE),
        (200, make_reading(is_error=True), WHOLE),
        (200, make_reading(usage=None), WHOLE),
        (200, make_reading(estimate_method="missing_usage"), WHOLE),
        (200, make_reading(), b'{"stop_reason":"max_tokens"}'),
    ],
)
def test_what_is_not_whole_successful_and_exact_is_not_kept(
    status: int, reading: Reading, body: bytes
) -> None:
    cache = make_cache()

    head = ResponseHead(status, b"OK", [], len(body))
    cache.keep_if_worth(some_key(1), "messages", head, body, reading, now=0)

    assert len(cache) == 0


@pytest.mark.parametrize(
    ("operation", "answer", "is_worth"),
    [
        ("messages", {"stop_reason": "end_turn"}, True),
        ("messages", {"stop_reason": "tool_use"}, True),
        ("messages", {"stop_reason": "max_tokens"}, False),
        ("messages", {"stop_reason": "model_context_window_exceeded"}, False),
        ("messages", {"stop_reason": "pause_turn"}, False),
        ("messages", {"stop_reason": "refusal"}, False),
        ("messages", {"stop_reason": "something new"}, False),
        ("messages", {"type": "error", "error": {"message": "no"}}, False),
        ("messages", {}, False),
        ("chat_completions", {"choices": [{"finish_reason": "stop"}]}, True),
        ("chat_completions", {"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]}, False),
        ("responses", {"status": "completed", "error": None}, True),
        ("responses", {"status": "incomplete"}, False),
        ("responses", {"status": "queued"}, False),
        ("converse", {"stopReason": "end_turn"}, True),
        ("converse", {"stopReason": "max_tokens"}, False),
        ("converse", {"stopReason": "guardrail_intervened"}, False),
        ("embeddings", {"data": []}, True),
        ("embeddings", {"error": {"message": "no"}}, False),
        ("messages", [1], False),
    ],
)
def test_only_an_answer_that_ended_by_itself_is_worth_keeping(
    operation: Any, answer: object, is_worth: bool
) -> None:
    body = msgspec.json.encode(answer)

    assert is_worth_keeping(operation, [], body) is is_worth
    packed = gzip.compress(body)
    assert is_worth_keeping(operation, [(b"Content-Encoding", b"gzip")], packed) is is_worth
    assert not is_worth_keeping(operation, [(b"Content-Encoding", b"gzip")], body)


@pytest.mark.parametrize("body", [b'{"status":"\xff"}', b'{"choices":[{"finish_reason":"\xec"}]}', b"\xff"])
def test_an_answer_that_is_no_utf_8_is_not_worth_keeping(body: bytes) -> None:
    assert not is_worth_keeping("chat_completions", [], body)
