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
from metering.usage import Reading, Usage
from proxy_service.call import Errand
from proxy_service.decoding import Undecodable, decoded
from proxy_service.headers import read_answer
from proxy_service.providers import Ask, Operation
from proxy_service.wire import Headers, ResponseHead, header

BODY_BYTES_MAX = 1024 * 1024  # a larger request is not looked up: hashing it would hold up the loop
DECODED_BYTES_MAX = 8 * 1024 * 1024
OK = 200
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

    status: int
    reason: bytes
    headers: Headers
    body: bytes
    model: str | None
    service_tier: str | None
    region: str | None
    usage: Usage

    @property
    def size_bytes(self) -> int:
        """The memory it is counted with."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers) + ENTRY_BYTES


class CacheRules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for an account that has not said otherwise."""

    enabled: bool
    temperature_zero_only: bool


def is_worth_keeping(operation: Operation, headers: Headers, body: bytes) -> bool:
    """Whether a complete 200 says that it came to its end by itself: not cut short, no error, not pending."""
    try:
        answer = _ANSWER.decode(decoded(body, header(headers, b"content-encoding"), DECODED_BYTES_MAX))
    except (Undecodable, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
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

    def __init__(self, rules: CacheRules, *, entries_max: int, bytes_max: int, ttl_seconds: float) -> None:
        self.entries_max = entries_max
        self.ttl_seconds = ttl_seconds
        self._rules = rules
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[CacheKey, tuple[float, Kept]] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    def __len__(self) -> int:
        return len(self._entries)

    def entries_of(self, account_id: str) -> int:
        """How many answers are kept for an account."""
        return sum(key.account_id == account_id for key in self._entries)

    def key(self, errand: Errand, ask: Ask, target: bytes, body: bytes) -> CacheKey | None:
        """What a call is known by; None for one that is not to be answered from memory."""
        who, inbound = errand.who, errand.inbound
        if (
            ask.streaming
            or who.unseen_key_hash
            or inbound.has_opted_out_of_cache()
            or len(body) > BODY_BYTES_MAX
        ):
            return None
        if not self._may_answer(who.policy.settings.cache, ask.temperature):
            return None
        return self._digest(errand, target, body)

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
        self._entries[key] = (now, answer)
        self._bytes += size
        while len(self._entries) > self.entries_max or self._bytes > self._bytes_max:
            self._drop(next(iter(self._entries)))

    def keep_if_worth(
        self,
        key: CacheKey,
        operation: Operation,
        head: ResponseHead,
        body: bytes,
        reading: Reading,
        now: float,
    ) -> None:
        """Keep a complete answer that says it came to its end by itself, and exactly what it used."""
        if head.status != OK or reading.usage is None or reading.is_estimated:
            return
        if reading.is_complete and not reading.is_error and is_worth_keeping(operation, head.headers, body):
            kept = Kept(
                status=head.status,
                reason=head.reason,
                headers=_worth_repeating(read_answer(head.headers)),
                body=body,
                model=reading.model,
                service_tier=reading.service_tier,
                region=reading.region,
                usage=reading.usage,
            )
            self.keep(key, kept, now)

    def _may_answer(self, account: CacheSettings, temperature: float | None) -> bool:
        rules = self._rules
        if not (rules.enabled if account.enabled is None else account.enabled):
            return False
        zero_only = (
            rules.temperature_zero_only if account.temperature is None else account.temperature == "zero"
        )
        return temperature == 0 if zero_only else True

    def _digest(self, errand: Errand, target: bytes, body: bytes) -> CacheKey:
        account_id, origin = errand.who.caller.account_id, errand.origin
        fingerprint = hmac.new(self._secret, digestmod=hashlib.sha256)
        # Names and values hold no line break (the listener sees to it), so the parts cannot run together.
        place = (origin.scheme.encode(), origin.authority, origin.prefix.encode())
        parts = [account_id.encode(), errand.route.provider.encode(), *place, target]
        for given_name, value in errand.inbound.outbound:
            name = given_name.lower()
            if name in _CREDENTIALS:
                fingerprint.update(name + b"\n" + value + b"\n")
            elif name not in _VARIES_BY_CALL and not name.startswith(_VARIES_BY_CALL_PREFIXES):
                parts.append(name + b":" + value)
        parts += (fingerprint.digest().hex().encode(), b"", body)
        return CacheKey(hashlib.sha256(b"\n".join(parts)).digest(), account_id)

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
