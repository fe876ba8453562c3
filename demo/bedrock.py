"""Amazon Bedrock's runtime as the demo speaks it: InvokeModel and Converse, whole and as event streams."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

from demo import anthropic, eventstream
from demo.behaviour import Behaviour
from demo.bill import Sale, Tokens
from demo.catalogue import Model, bedrock_model
from demo.invention import Invention, as_json, invent, reported, sized, spaces, tool_arguments
from demo.reply import JSON_TYPE, Headers, Refused, Reply, asked, required

_STREAM_TYPE = (b"content-type", b"application/vnd.amazon.eventstream")
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_LATENCY_MS = 412
_ERROR_TYPES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


def _model(model_id: str) -> Model:
    model = bedrock_model(model_id)
    if model is None:
        raise Refused(400, "The provided model identifier is invalid.")
    return model


def _sale(model: Model, tokens: Tokens, *, is_streaming: bool) -> Sale:
    return Sale(
        provider="bedrock", item=model.item, model=model.served_as, tokens=tokens, is_streaming=is_streaming
    )


def _json_reply(frames: tuple[bytes, ...], model: Model, tokens: Tokens, *, headers: Headers = ()) -> Reply:
    return Reply(headers=(JSON_TYPE, *headers), frames=frames, sale=_sale(model, tokens, is_streaming=False))


def _stream_reply(frames: tuple[bytes, ...], model: Model, tokens: Tokens) -> Reply:
    overloaded = as_json({"message": "Too many requests, please wait before trying again."})
    return Reply(
        headers=(_STREAM_TYPE, (b"x-amzn-bedrock-content-type", b"application/json")),
        frames=frames,
        is_stream=True,
        sale=_sale(model, tokens, is_streaming=True),
        error_frame=eventstream.exception("throttlingException", overloaded),
    )


def _usage(tokens: Tokens, behaviour: Behaviour) -> dict[str, Any]:
    """The camel-case usage block of Converse and of Nova's own answers, or what is asked for instead."""
    if behaviour.usage == "absent":
        return {}
    if behaviour.usage == "null":
        return {"usage": None}
    written = tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens
    block: dict[str, Any] = {
        "inputTokens": tokens.input_tokens,
        "outputTokens": tokens.output_tokens,
        "totalTokens": tokens.prompt_tokens + tokens.output_tokens,
        "cacheReadInputTokens": tokens.cache_read_tokens,
        "cacheWriteInputTokens": written,
    }
    if written:
        block["cacheDetails"] = [
            {"ttl": "5m", "inputTokens": tokens.cache_write_5m_tokens},
            {"ttl": "1h", "inputTokens": tokens.cache_write_1h_tokens},
        ]
    return {"usage": block}


def _count_headers(tokens: Tokens, behaviour: Behaviour) -> Headers:
    counts: Headers = ((b"x-amzn-bedrock-invocation-latency", b"%d" % _LATENCY_MS),)
    if behaviour.usage in {"absent", "null"}:
        return counts
    written = tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens
    return (
        *counts,
        (b"x-amzn-bedrock-input-token-count", b"%d" % tokens.input_tokens),
        (b"x-amzn-bedrock-output-token-count", b"%d" % tokens.output_tokens),
        (b"x-amzn-bedrock-cache-read-input-token-count", b"%d" % tokens.cache_read_tokens),
        (b"x-amzn-bedrock-cache-write-input-token-count", b"%d" % written),
    )


def invoke(model_id: str, body: bytes, digest: bytes, behaviour: Behaviour, *, is_stream: bool) -> Reply:
    """`POST /model/{id}/invoke` and `/invoke-with-response-stream`. Raises: Refused."""
    model, ask = _model(model_id), asked(body)
    if "amazon.nova" in model_id:
        return _converse(model, ask, body, digest, behaviour, is_stream=is_stream, is_native=True)
    if ask.get("anthropic_version") != "bedrock-2023-05-31":
        raise Refused(400, "Malformed input request: #: required key [anthropic_version] not found")
    unknown = sorted({"model", "stream"} & set(ask))
    if unknown:
        raise Refused(400, f"Malformed input request: #: extraneous key [{unknown[0]}] is not permitted")
    invention, content = anthropic.composed(ask, body, digest, behaviour)
    tokens = reported(invention.tokens, behaviour)
    if not is_stream:
        frames = sized(
            lambda text: [
                anthropic.json_body(invention, anthropic.with_text(content, text), model, tokens, behaviour)
            ],
            invention.text,
            behaviour.size,
            filler=spaces,
        )
        return _json_reply(frames, model, tokens, headers=_count_headers(tokens, behaviour))

    def stream(text: str) -> list[bytes]:
        said = anthropic.with_text(content, text)
        events = anthropic.stream_events(invention, said, model, tokens, behaviour)
        if behaviour.usage not in {"absent", "null"}:
            events[-1] |= {"amazon-bedrock-invocationMetrics": _metrics(tokens)}
        return [_chunk(event, at) for at, event in enumerate(events) if event["type"] != "ping"]

    return _stream_reply(_about(stream, invention, behaviour), model, tokens)


def _metrics(tokens: Tokens) -> dict[str, int]:
    return {
        "inputTokenCount": tokens.input_tokens,
        "outputTokenCount": tokens.output_tokens,
        "invocationLatency": _LATENCY_MS,
        "firstByteLatency": 98,
        "cacheReadInputTokenCount": tokens.cache_read_tokens,
        "cacheWriteInputTokenCount": tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens,
    }


def _chunk(value: dict[str, Any], at: int) -> bytes:
    """One `chunk` event: the model's own JSON in base64, beside padding of varying length."""
    carried = {"bytes": base64.b64encode(as_json(value)).decode(), "p": _PADDING[: at * 7 % len(_PADDING)]}
    return eventstream.event("chunk", as_json(carried))


def _about(
    render: Callable[[str], Sequence[bytes]], invention: Invention, behaviour: Behaviour
) -> tuple[bytes, ...]:
    """The frames, of about the size asked for: this framing has no room for a filler."""
    frames = sized(render, invention.text, behaviour.size, filler=_no_filler)
    return tuple(frame for frame in frames if frame)


def _no_filler(_count: int) -> bytes:
    return b""


def converse(model_id: str, body: bytes, digest: bytes, behaviour: Behaviour, *, is_stream: bool) -> Reply:
    """`POST /model/{id}/converse` and `/converse-stream`. Raises: Refused."""
    return _converse(
        _model(model_id), asked(body), body, digest, behaviour, is_stream=is_stream, is_native=False
    )


def _converse(
    model: Model,
    ask: dict[str, Any],
    body: bytes,
    digest: bytes,
    behaviour: Behaviour,
    *,
    is_stream: bool,
    is_native: bool,
) -> Reply:
    """Converse, or Nova's own format, whose answer is the same but for the stream's outer frame."""
    required(ask, "messages", list)
    limits = ask.get("inferenceConfig") or {}
    invention = invent(
        digest,
        body,
        behaviour,
        output_cap=limits.get("maxTokens") or limits.get("max_new_tokens"),
        caching="asked",
    )
    tokens = reported(invention.tokens, behaviour)
    called = _called_tool(ask, invention)
    if is_stream:

        def stream(text: str) -> list[bytes]:
            events = _converse_events(invention, text, called, tokens, behaviour)
            if is_native:
                return [_chunk({kind: payload}, at) for at, (kind, payload) in enumerate(events)]
            return [eventstream.event(kind, as_json(payload | {"p": "abc"})) for kind, payload in events]

        return _stream_reply(_about(stream, invention, behaviour), model, tokens)

    def whole(text: str) -> list[bytes]:
        said: list[dict[str, Any]] = [{"text": text}, *({"toolUse": call} for call in called)]
        answer = {
            "metrics": {"latencyMs": _LATENCY_MS},
            "output": {"message": {"content": said, "role": "assistant"}},
            "stopReason": _stop_reason(invention, called),
        }
        return [as_json(answer | _usage(tokens, behaviour))]

    frames = sized(whole, invention.text, behaviour.size, filler=spaces)
    headers = _count_headers(tokens, behaviour) if is_native else ()
    return _json_reply(frames, model, tokens, headers=headers)


def _called_tool(ask: dict[str, Any], invention: Invention) -> list[dict[str, Any]]:
    tools = (ask.get("toolConfig") or {}).get("tools") or []
    specs = [tool["toolSpec"] for tool in tools if "toolSpec" in tool]
    said = ask["messages"][-1].get("content") or []
    if not specs or any("toolResult" in block for block in said):
        return []
    schema = (specs[0].get("inputSchema") or {}).get("json") or {}
    return [
        {
            "toolUseId": f"tooluse_{invention.seed}",
            "name": specs[0]["name"],
            "input": tool_arguments(schema),
        }
    ]


def _stop_reason(invention: Invention, called: Sequence[dict[str, Any]]) -> str:
    if called:
        return "tool_use"
    return "max_tokens" if invention.is_capped else "end_turn"


def _converse_events(
    invention: Invention,
    text: str,
    called: Sequence[dict[str, Any]],
    tokens: Tokens,
    behaviour: Behaviour,
) -> list[tuple[str, dict[str, Any]]]:
    events: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
    events += [
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}})
        for piece in invention.pieces(text)
    ]
    events.append(("contentBlockStop", {"contentBlockIndex": 0}))
    for at, call in enumerate(called, start=1):
        begun = {"toolUse": {name: call[name] for name in ("toolUseId", "name")}}
        events.append(("contentBlockStart", {"contentBlockIndex": at, "start": begun}))
        said = {"toolUse": {"input": as_json(call["input"]).decode()}}
        events.append(("contentBlockDelta", {"contentBlockIndex": at, "delta": said}))
        events.append(("contentBlockStop", {"contentBlockIndex": at}))
    events.append(("messageStop", {"stopReason": _stop_reason(invention, called)}))
    events.append(("metadata", {"metrics": {"latencyMs": _LATENCY_MS}} | _usage(tokens, behaviour)))
    return events


def count_tokens(model_id: str, body: bytes, digest: bytes, behaviour: Behaviour) -> Reply:
    """`POST /model/{id}/count-tokens`: free. Raises: Refused."""
    _model(model_id)
    required(asked(body), "input", dict)
    return Reply(frames=(as_json({"inputTokens": len(body) // 4 + 5}),))


def error(status: int, message: str) -> Reply:
    """An error in Bedrock's shape: its kind stands in a header."""
    kind = _ERROR_TYPES.get(status, "InternalServerException").encode()
    return Reply(
        status=status,
        headers=(JSON_TYPE, (b"x-amzn-errortype", kind + b":http://internal.amazon.com/coral/")),
        frames=(as_json({"message": message}),),
    )
