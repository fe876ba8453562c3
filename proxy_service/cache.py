"""Answering repeats from memory: what makes two calls the same, what is worth keeping, and for how long.

Two calls are the same when account, provider, path and query, credential, body and all headers are, but for
headers that SDKs and proxies vary from call to call. The credential goes in as an HMAC under a secret of this
process; only the digest of it all is kept. Streams are never kept or answered from here, and only complete,
successful answers are: a 200 whose end was seen and that says it stopped by itself.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from typing import Final

import msgspec

from metering.accounts import CacheSettings
from metering.events import Provider
from metering.usage import Usage
from proxy_service.decoding import Undecodable, decoded
from proxy_service.providers.base import Operation
from proxy_service.wire import Headers, header

BODY_BYTES_MAX = 1024 * 1024  # a larger request is not looked up: hashing it would hold up the loop
DECODED_BYTES_MAX = 8 * 1024 * 1024
ENTRY_BYTES = 1024  # what an entry takes beside its body, roughly

_CREDENTIALS: Final = frozenset((b"authorization", b"x-api-key", b"api-key"))
_VARIES_BY_CALL: Final = frozenset(
    (
        b"amz-sdk-invocation-id",
        b"amz-sdk-request",
        b"b3",
        b"baggage",
        b"date",
        b"forwarded",
        b"idempotency-key",
        b"sentry-trace",
        b"traceparent",
        b"tracestate",
        b"via",
        b"x-amz-date",
        b"x-amzn-trace-id",
        b"x-client-request-id",
        b"x-cloud-trace-context",
        b"x-correlation-id",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-idempotency-key",
        b"x-ms-client-request-id",
        b"x-real-ip",
        b"x-request-id",
        b"x-stainless-idempotency-key",
        b"x-stainless-retry-count",
    )
)
_VARIES_BY_CALL_PREFIXES: Final = (b"x-b3-", b"x-datadog-")

_OF_ONE_ANSWER: Final = frozenset(
    (
        b"age",
        b"apim-request-id",
        b"cf-ray",
        b"date",
        b"openai-processing-ms",
        b"request-id",
        b"retry-after",
        b"server-timing",
        b"set-cookie",
        b"via",
        b"x-amz-cf-id",
        b"x-amzn-requestid",
        b"x-amzn-trace-id",
        b"x-envoy-upstream-service-time",
        b"x-ms-client-request-id",
        b"x-ms-request-id",
        b"x-request-id",
    )
)
_OF_ONE_ANSWER_PREFIXES: Final = (b"anthropic-ratelimit-", b"ratelimit", b"x-ratelimit-")

_STOPPED_BY_ITSELF: Final = frozenset(
    ("end_turn", "function_call", "stop", "stop_sequence", "tool_calls", "tool_use")
)


class CacheKey(msgspec.Struct, frozen=True):
    """What one call is known by: a digest, and the account it belongs to."""

    digest: bytes
    account_id: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is kept, with what it used."""

    headers: Headers
    body: bytes
    model: str | None
    service_tier: str | None
    usage: Usage

    @property
    def size_bytes(self) -> int:
        """The memory it is counted with."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers) + ENTRY_BYTES


class CacheRules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for an account that has not said otherwise."""

    enabled: bool
    temperature_zero_only: bool


def may_answer(account: CacheSettings, rules: CacheRules, temperature: float | None) -> bool:
    """Whether an account's call of that temperature may be answered from memory."""
    if not (rules.enabled if account.enabled is None else account.enabled):
        return False
    zero_only = rules.temperature_zero_only if account.temperature is None else account.temperature == "zero"
    return temperature == 0 if zero_only else True


def is_worth_keeping(operation: Operation, headers: Headers, body: bytes) -> bool:
    """Whether a complete 200 says that it came to its end by itself: not cut short, no error, not pending."""
    try:
        answer = _ANSWER.decode(decoded(body, header(headers, b"content-encoding"), DECODED_BYTES_MAX))
    except (Undecodable, msgspec.MsgspecError, RecursionError):
        return False
    if answer.error != _NULL or answer.status not in (None, "completed"):
        return False
    reasons = [
        reason
        for reason in (
            answer.stop_reason,
            answer.stop_reason_converse,
            *(choice.finish_reason for choice in answer.choices),
            answer.status and "stop",
        )
        if reason is not None
    ]
    if not reasons:
        return operation == "embeddings"
    return _STOPPED_BY_ITSELF.issuperset(reasons)


class AnswerCache:
    """Answers by what was asked, the least recently used leaving first. On the loop; nothing here waits."""

    def __init__(self, *, entries_max: int, bytes_max: int, ttl_seconds: float) -> None:
        self.entries_max = entries_max
        self.ttl_seconds = ttl_seconds
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[CacheKey, tuple[float, Kept]] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    def __len__(self) -> int:
        return len(self._entries)

    def entries_of(self, account_id: str) -> int:
        """How many answers are kept for an account."""
        return sum(key.account_id == account_id for key in self._entries)

    def key(
        self, account_id: str, provider: Provider, target: bytes, headers: Headers, body: bytes
    ) -> CacheKey | None:
        """What a call is known by; None for one too large to look up."""
        if len(body) > BODY_BYTES_MAX:
            return None
        fingerprint = hmac.new(self._secret, digestmod=hashlib.sha256)
        # Names and values hold no line break (the listener sees to it), so the parts cannot run together.
        parts = [account_id.encode(), provider.encode(), target]
        for given_name, value in headers:
            name = given_name.lower()
            if name in _CREDENTIALS:
                fingerprint.update(name + b"\n" + value + b"\n")
            elif name not in _VARIES_BY_CALL and not name.startswith(_VARIES_BY_CALL_PREFIXES):
                parts.append(name + b":" + value)
        parts += (fingerprint.digest().hex().encode(), b"", body)
        return CacheKey(hashlib.sha256(b"\n".join(parts)).digest(), account_id)

    def find(self, key: CacheKey, now: float) -> Kept | None:
        """The answer to the same call, where one is kept and not too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        kept_at, kept = entry
        if now - kept_at >= self.ttl_seconds:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return kept

    def keep(self, key: CacheKey, answer: Kept, now: float) -> None:
        """Keep an answer; the least recently used make room."""
        self._drop(key)
        size = answer.size_bytes
        if size > self._bytes_max:
            return
        answer = msgspec.structs.replace(answer, headers=_worth_repeating(answer.headers))
        self._entries[key] = (now, answer)
        self._bytes += answer.size_bytes
        while len(self._entries) > self.entries_max or self._bytes > self._bytes_max:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: CacheKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1].size_bytes


_NULL: Final = msgspec.Raw(b"null")


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    stop_reason: str | None = None
    stop_reason_converse: str | None = msgspec.field(default=None, name="stopReason")
    status: str | None = None
    choices: list[_Choice] = []
    error: msgspec.Raw = _NULL


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def _worth_repeating(headers: Headers) -> Headers:
    return [
        pair
        for pair in headers
        if pair[0].lower() not in _OF_ONE_ANSWER and not pair[0].lower().startswith(_OF_ONE_ANSWER_PREFIXES)
    ]
