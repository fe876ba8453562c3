"""What the upstream of the benchmarks serves, made once, and the requests that ask for it.

A request names the answer it wants within its prompt, which every gateway hands on as it is, whatever it
does to headers and to the order of fields.
"""

import json
import random
import re
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Literal

import msgspec

from demo.bill import Tokens, price_of

Shape = Literal["anthropic", "openai"]
Encoding = Literal["identity", "gzip"]

PATHS: Final[dict[Shape, str]] = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
MODELS: Final[dict[Shape, str]] = {"anthropic": "claude-sonnet-4-6", "openai": "gpt-4o"}
SERVED_AS: Final[dict[Shape, str]] = {"anthropic": "claude-sonnet-4-6", "openai": "gpt-4o-2024-08-06"}

LATE_MS: Final = 50
REST_MS: Final = 20  # of a late stream, what follows its first chunk
PACE_MS: Final = 100
PACED_CHUNKS: Final = 100
WANTED: Final = re.compile(rb"Answer as ([a-z0-9-]+)\.")

TOKENS: Final[dict[Shape, Tokens]] = {
    "anthropic": Tokens(
        input_tokens=212, output_tokens=187, cache_read_tokens=1_024, cache_write_5m_tokens=96
    ),
    "openai": Tokens(input_tokens=212, output_tokens=187, cache_read_tokens=1_024),
}
_PROMPT: Final = "How much does it cost to ask what it costs? "
_VOCABULARY: Final = (
    *(
        "answer",
        "bill",
        "budget",
        "call",
        "cent",
        "chunk",
        "day",
        "dollar",
        "event",
        "gateway",
        "hour",
        "key",
    ),
    *(
        "ledger",
        "limit",
        "model",
        "month",
        "price",
        "prompt",
        "rate",
        "sum",
        "team",
        "token",
        "usage",
        "week",
    ),
)
_TEXT: Final = random.Random(7)
_WORDS_OF_WHOLE_ANSWER: Final = 100
_WORDS_OF_CHUNK: Final = 2
_CLOSING: Final[dict[Shape, int]] = {"anthropic": 6, "openai": 4}  # chunks of a stream that hold no text

_EVERYDAY_HEADERS: Final = (
    b"date: Sat, 21 Nov 2026 12:00:00 GMT",
    b"cache-control: no-cache",
    b"request-id: req_011CVMrM8xkXyY7cHqB2sZbA",
    b"anthropic-organization-id: 11111111-2222-4333-8444-555555555555",
    b"anthropic-ratelimit-input-tokens-limit: 2000000",
    b"anthropic-ratelimit-input-tokens-remaining: 1999000",
    b"anthropic-ratelimit-requests-limit: 4000",
    b"anthropic-ratelimit-requests-remaining: 3999",
    b"strict-transport-security: max-age=31536000; includeSubDomains; preload",
    b"server: cloudflare",
    b"x-robots-tag: none",
    b"cf-cache-status: DYNAMIC",
    b"vary: Accept-Encoding",
)


class Answer(msgspec.Struct, frozen=True):
    """One answer as it goes over the wire: each part so many milliseconds after the one before it."""

    parts: tuple[tuple[int, bytes], ...]
    nanodollars: int


class Wanted(msgspec.Struct, frozen=True):
    """An answer to ask for: `chunks` 0 is a whole one. `pacing`: see `LATE_MS`, `PACE_MS`."""

    shape: Shape = "anthropic"
    chunks: int = 0
    encoding: Encoding = "identity"
    pacing: Literal["", "late", "paced"] = ""

    @property
    def name(self) -> str:
        """As a prompt names it."""
        kind = f"sse-{self.chunks}" if self.chunks else "json"
        encoding = "" if self.encoding == "identity" else self.encoding
        return "-".join(filter(None, (kind, encoding, self.pacing)))


SERVED: Final = tuple(
    made
    for shape in PATHS
    for made in (
        Wanted(shape),
        Wanted(shape, encoding="gzip"),
        Wanted(shape, pacing="late"),
        Wanted(shape, 50),
        Wanted(shape, 50, "gzip"),
        Wanted(shape, 50, pacing="late"),
        Wanted(shape, 500),
        Wanted(shape, PACED_CHUNKS, pacing="paced"),
    )
)


def request_body(wanted: Wanted, size_bytes: int) -> bytes:
    """A request of just that many bytes, or as few as it takes, that asks for the answer."""
    fields: dict[str, Any] = {"model": MODELS[wanted.shape], "max_tokens": 400}
    if wanted.chunks:
        fields["stream"] = True
        if wanted.shape == "openai":
            fields["stream_options"] = {"include_usage": True}

    def sized(filling: int) -> bytes:
        prompt = (_PROMPT * (filling // len(_PROMPT) + 1))[:filling]
        messages = [{"role": "user", "content": f"Answer as {wanted.name}. {prompt}"}]
        return json.dumps({**fields, "messages": messages}).encode()

    return sized(max(0, size_bytes - len(sized(0))))


@cache
def prepared() -> dict[tuple[Shape, str], Answer]:
    """Every answer, by the shape and the name that ask for it."""
    return {(each.shape, each.name): prepare(each) for each in SERVED}


def prepare(wanted: Wanted) -> Answer:
    """The answer's bytes, and what it costs by the demo provider's price sheet."""
    tokens = TOKENS[wanted.shape]
    cost = price_of(MODELS[wanted.shape], tokens)
    if not wanted.chunks:
        body = _encoded([_whole(wanted.shape, tokens)], wanted.encoding)[0]
        head = _head("application/json", wanted.encoding, b"content-length: %d" % len(body))
        return Answer(((LATE_MS if wanted.pacing else 0, head + body),), cost)
    events = _encoded(_stream(wanted.shape, wanted.chunks, tokens), wanted.encoding)
    framed = [b"%x\r\n%s\r\n" % (len(each), each) for each in events]
    framed[-1] += b"0\r\n\r\n"
    head = _head("text/event-stream; charset=utf-8", wanted.encoding, b"transfer-encoding: chunked")
    framed[0] = head + framed[0]
    if wanted.pacing == "paced":
        return Answer(tuple((PACE_MS if at else 0, each) for at, each in enumerate(framed)), cost)
    if wanted.pacing == "late":
        return Answer(((LATE_MS, framed[0]), (REST_MS, b"".join(framed[1:]))), cost)
    return Answer(((0, b"".join(framed)),), cost)


def _head(content_type: str, encoding: Encoding, framing: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"content-type: " + content_type.encode(), framing, *_EVERYDAY_HEADERS]
    if encoding != "identity":
        lines.append(b"content-encoding: " + encoding.encode())
    return b"\r\n".join((*lines, b"", b""))


def _encoded(pieces: Sequence[bytes], encoding: Encoding) -> list[bytes]:
    """Each piece such that what has come can be read, as servers of streams send them."""
    if encoding == "identity":
        return list(pieces)
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = [packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH) for each in pieces[:-1]]
    return [*packed, packer.compress(pieces[-1]) + packer.flush()]


def _said(words: int) -> str:
    """Text that packs about as well as text does."""
    return "".join(f"{word} " for word in _TEXT.choices(_VOCABULARY, k=words))


def _whole(shape: Shape, tokens: Tokens) -> bytes:
    text = _said(_WORDS_OF_WHOLE_ANSWER)
    if shape == "anthropic":
        message = {**_message(tokens, tokens.output_tokens), "content": [{"type": "text", "text": text}]}
        return json.dumps({**message, "stop_reason": "end_turn"}).encode()
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    completion = {**_envelope("chat.completion"), "choices": [choice], "usage": _openai_usage(tokens)}
    return json.dumps(completion, indent=2).encode()


def _stream(shape: Shape, chunks: int, tokens: Tokens) -> list[bytes]:
    texts = chunks - _CLOSING[shape]
    return _anthropic_stream(texts, tokens) if shape == "anthropic" else _openai_stream(texts, tokens)


def _anthropic_stream(texts: int, tokens: Tokens) -> list[bytes]:
    deltas = [{"type": "text_delta", "text": _said(_WORDS_OF_CHUNK)} for _ in range(texts)]
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        _event({"type": "message_start", "message": {**_message(tokens, 1), "content": []}}),
        _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        _event({"type": "ping"}),
        *[_event({"type": "content_block_delta", "index": 0, "delta": delta}) for delta in deltas],
        _event({"type": "content_block_stop", "index": 0}),
        _event({"type": "message_delta", "delta": ended, "usage": {"output_tokens": tokens.output_tokens}}),
        _event({"type": "message_stop"}),
    ]


def _message(tokens: Tokens, output_tokens: int) -> dict[str, Any]:
    usage = {
        "input_tokens": tokens.input_tokens,
        "cache_creation_input_tokens": tokens.cache_write_5m_tokens,
        "cache_read_input_tokens": tokens.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }
    return {
        **{"id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant"},
        **{"model": SERVED_AS["anthropic"], "stop_reason": None, "stop_sequence": None, "usage": usage},
    }


def _event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _openai_stream(texts: int, tokens: Tokens) -> list[bytes]:
    begun = {"role": "assistant", "content": "", "refusal": None}
    told = {**_envelope("chat.completion.chunk"), "choices": [], "usage": _openai_usage(tokens)}
    return [
        _chunk(begun),
        *[_chunk({"content": _said(_WORDS_OF_CHUNK)}) for _ in range(texts)],
        _chunk({}, "stop"),
        _data(json.dumps(told, separators=(",", ":"))),
        _data("[DONE]"),
    ]


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    said = {**_envelope("chat.completion.chunk"), "choices": [choice], "usage": None}
    return _data(json.dumps(said, separators=(",", ":")))


def _data(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


def _envelope(kind: str) -> dict[str, Any]:
    return {
        **{"id": f"chatcmpl-{'b' * 29}", "object": kind, "created": 1_795_262_400},
        **{"model": SERVED_AS["openai"], "service_tier": "default", "system_fingerprint": "fp_7a53abb7a2"},
    }


def _openai_usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.prompt_tokens,
        "completion_tokens": tokens.output_tokens,
        "total_tokens": tokens.prompt_tokens + tokens.output_tokens,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
