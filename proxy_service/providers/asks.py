"""What a metered call asks for, read from its body without keeping or even seeing its text.

Only declared fields are decoded. A body that the provider may understand and we do not is no error: the call
goes on and `Ask.model` is "".
"""

import contextlib
import json
from typing import Any

import msgspec

from proxy_service.decoding import TooMuchDecoded, Undecodable, decoded
from proxy_service.providers.base import Ask, Route
from proxy_service.providers.fields import (
    ABSENT,
    Raw,
    count,
    flag,
    is_given,
    name,
    number,
    opened,
    parsed,
    word,
)
from proxy_service.refusals import RequestRefused
from proxy_service.wire import Headers, header

DECODED_BODY_BYTES_MAX = 32 * 1024 * 1024
CHOICES_MAX = 1024
LOOSE_BYTES_MAX = 1024 * 1024  # a lax parser makes an object of everything, at many times the size

_STREAMED_OPERATIONS = frozenset({"invoke_stream", "converse_stream"})
_BEDROCK_TIER_HEADER = b"x-amzn-bedrock-service-tier"


class _Body(msgspec.Struct):
    """Every field that any provider's call is read by; which of them count depends on the operation."""

    model: Raw = ABSENT
    stream: Raw = ABSENT
    stream_options: Raw = ABSENT
    max_tokens: Raw = ABSENT
    max_completion_tokens: Raw = ABSENT
    max_output_tokens: Raw = ABSENT
    max_gen_len: Raw = ABSENT
    temperature: Raw = ABSENT
    service_tier: Raw = ABSENT
    n: Raw = ABSENT
    best_of: Raw = ABSENT
    inferenceConfig: Raw = ABSENT  # noqa: N815  # as Converse spells it
    serviceTier: Raw = ABSENT  # noqa: N815  # as Converse spells it


class _StreamOptions(msgspec.Struct):
    include_usage: Raw = ABSENT


class _Inference(msgspec.Struct):
    maxTokens: Raw = ABSENT  # noqa: N815  # as Converse spells it
    max_new_tokens: Raw = ABSENT
    temperature: Raw = ABSENT


class _Tier(msgspec.Struct):
    type: Raw = ABSENT


_BODY = msgspec.json.Decoder(_Body)
_STREAM_OPTIONS = msgspec.json.Decoder(_StreamOptions)
_INFERENCE = msgspec.json.Decoder(_Inference)
_TIER = msgspec.json.Decoder(_Tier)
_NO_STREAM_OPTIONS, _NO_INFERENCE = _StreamOptions(), _Inference()


def read_ask(route: Route, headers: Headers, body: bytes) -> Ask:
    """What a metered call asks for; the whole body is given as it came, compressed or not.

    Raises: RequestRefused when the body is no JSON object (400) or decodes to too much (413).
    """
    plain = plain_body(headers, body)
    if plain is None:
        return Ask(model=route.model, streaming=route.operation in _STREAMED_OPERATIONS)
    return _ask(route, headers, _fields(plain))


def plain_body(headers: Headers, body: bytes) -> bytes | None:
    """The body decoded; None where we cannot, though the provider may. Raises: RequestRefused (413)."""
    coding = header(headers, b"content-encoding")
    if coding is None:
        return body
    try:
        return decoded(body, coding, DECODED_BODY_BYTES_MAX)
    except TooMuchDecoded as error:
        message = f"the decoded body exceeds {DECODED_BODY_BYTES_MAX} bytes: send less"
        raise RequestRefused(413, "request_too_large", message) from error
    except Undecodable:
        return None


def _fields(body: bytes) -> _Body:
    try:
        return parsed(_BODY, body)
    except msgspec.DecodeError:
        return _loosely_read(body)


def _loosely_read(body: bytes) -> _Body:
    """What a laxer parser finds in a body of usual size, as some providers are: a byte order mark, UTF-16."""
    value: Any = None
    if len(body) <= LOOSE_BYTES_MAX:
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(body)
    if not isinstance(value, dict):
        raise RequestRefused(400, "invalid_json", "the body is not a JSON object: check its syntax") from None
    names = set(_Body.__struct_fields__) & set(value)
    return _Body(**{name: Raw(json.dumps(value[name]).encode()) for name in names})


def _ask(route: Route, headers: Headers, body: _Body) -> Ask:
    inference = opened(body.inferenceConfig, _INFERENCE) or _NO_INFERENCE
    stream_options = opened(body.stream_options, _STREAM_OPTIONS) or _NO_STREAM_OPTIONS
    temperature = body.temperature if is_given(body.temperature) else inference.temperature
    return Ask(
        model=route.model or name(body.model) or "",
        streaming=route.operation in _STREAMED_OPERATIONS or flag(body.stream) is True,
        include_usage=flag(stream_options.include_usage),
        output_tokens_max=_first_count(
            body.max_completion_tokens,
            body.max_output_tokens,
            body.max_tokens,
            body.max_gen_len,
            inference.maxTokens,
            inference.max_new_tokens,
        ),
        temperature=number(temperature),
        service_tier=_service_tier(route, headers, body),
        choices=max(1, min(CHOICES_MAX, max(count(body.n) or 1, count(body.best_of) or 1))),
    )


def _first_count(*fields: Raw) -> int | None:
    for field in fields:
        if field is not ABSENT:
            found = count(field)
            if found is not None:
                return found
    return None


def _service_tier(route: Route, headers: Headers, body: _Body) -> str:
    tier = word(body.service_tier)
    if tier is None and route.upstream == "bedrock":
        said = opened(body.serviceTier, _TIER) or _Tier()
        tier = word(said.type) or word(Raw(b'"%s"' % (header(headers, _BEDROCK_TIER_HEADER) or b"")))
    return tier or ""
