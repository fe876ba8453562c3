"""Anthropic's Messages API as the demo speaks it: answers, streams, tools, thinking, counting, errors."""

from collections.abc import Sequence
from typing import Any

from demo.behaviour import Behaviour
from demo.bill import Sale, Tokens
from demo.catalogue import ANTHROPIC, Model
from demo.invention import (
    Invention,
    as_json,
    invent,
    reported,
    sized,
    spaces,
    stream_comment,
    tool_arguments,
)
from demo.reply import JSON_TYPE, STREAM_TYPE, Headers, Refused, Reply, asked, required

Block = dict[str, Any]

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_EVERYDAY_HEADERS: Headers = (
    (b"anthropic-organization-id", b"11111111-2222-4333-8444-555555555555"),
    (b"anthropic-ratelimit-input-tokens-limit", b"2000000"),
    (b"anthropic-ratelimit-requests-limit", b"4000"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains; preload"),
    (b"server", b"cloudflare"),
    (b"x-robots-tag", b"none"),
    (b"cf-cache-status", b"DYNAMIC"),
    (b"vary", b"Accept-Encoding"),
)


def messages(body: bytes, digest: bytes, behaviour: Behaviour) -> Reply:
    """`POST /v1/messages`. Raises: Refused."""
    ask = asked(body)
    name = required(ask, "model", str)
    model = ANTHROPIC.get(name)
    if model is None:
        raise Refused(404, f"model: {name}")
    return message_reply(ask, body, digest, behaviour, model, provider="anthropic")


def message_reply(
    ask: dict[str, Any], body: bytes, digest: bytes, behaviour: Behaviour, model: Model, *, provider: str
) -> Reply:
    """The answer of a model, as JSON or as a stream; Bedrock's Anthropic models answer the same way."""
    invention, content = composed(ask, body, digest, behaviour)
    tokens = reported(invention.tokens, behaviour)
    is_stream = ask.get("stream") is True
    text = invention.text
    if is_stream:
        frames = sized(
            lambda filling: [
                sse(event, invention)
                for event in stream_events(invention, with_text(content, filling), model, tokens, behaviour)
            ],
            text,
            behaviour.size,
            filler=stream_comment,
        )
    else:
        frames = sized(
            lambda filling: [json_body(invention, with_text(content, filling), model, tokens, behaviour)],
            text,
            behaviour.size,
            filler=spaces,
        )
    return Reply(
        headers=((STREAM_TYPE, (b"cache-control", b"no-cache")) if is_stream else (JSON_TYPE,))
        + _EVERYDAY_HEADERS,
        frames=frames,
        is_stream=is_stream,
        sale=Sale(
            provider=provider,
            item=model.item,
            model=model.served_as,
            tokens=tokens,
            is_streaming=is_stream,
        ),
        error_frame=sse(
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, None
        ),
    )


def composed(
    ask: dict[str, Any], body: bytes, digest: bytes, behaviour: Behaviour
) -> tuple[Invention, list[Block]]:
    """What the model says to a request, and the content blocks it says it in. Raises: Refused."""
    cap = required(ask, "max_tokens", int)
    if not required(ask, "messages", list):
        raise Refused(400, "messages: at least one message is required", param="messages")
    tools = [tool for tool in ask.get("tools") or [] if isinstance(tool, dict)]
    searches = 1 + digest[4] % 3 if any(_is_web_search(tool) for tool in tools) else 0
    thinks = (ask.get("thinking") or {}).get("type") in {"enabled", "adaptive"}
    invention = invent(
        digest,
        body,
        behaviour,
        output_cap=cap,
        caching="asked",
        is_reasoning=thinks,
        tool_calls=searches,
    )
    content: list[Block] = []
    if invention.thinking:
        content.append({"type": "thinking", "thinking": invention.thinking, "signature": "c2lnbmVk" * 12})
    if searches:
        content.append(
            {
                "type": "server_tool_use",
                "id": f"srvtoolu_{invention.seed}",
                "name": "web_search",
                "input": {"query": "demo"},
            }
        )
    content.append({"type": "text", "text": invention.text})
    called = _called_tool(ask, tools)
    if called is not None:
        content.append(
            {
                "type": "tool_use",
                "id": f"toolu_{invention.seed}",
                "name": called["name"],
                "input": tool_arguments(called.get("input_schema") or {}),
            }
        )
    return invention, content


def _is_web_search(tool: Block) -> bool:
    return str(tool.get("type", "")).startswith("web_search_")


def _called_tool(ask: dict[str, Any], tools: Sequence[Block]) -> Block | None:
    """The first tool of the caller's own, unless its result is just being handed in or none is wanted."""
    own = [tool for tool in tools if "input_schema" in tool]
    if not own or (ask.get("tool_choice") or {}).get("type") == "none":
        return None
    said = ask["messages"][-1].get("content")
    if isinstance(said, list) and any(block.get("type") == "tool_result" for block in said):
        return None
    return own[0]


def with_text(content: Sequence[Block], text: str) -> list[Block]:
    """The content with another text in its text block."""
    return [block | {"text": text} if block["type"] == "text" else block for block in content]


def stop_reason(invention: Invention, content: Sequence[Block]) -> str:
    """Why the model stopped."""
    if content[-1]["type"] == "tool_use":
        return "tool_use"
    return "max_tokens" if invention.is_capped else "end_turn"


def usage_block(tokens: Tokens) -> dict[str, Any]:
    """The usage as a whole answer and `message_start` report it."""
    block: dict[str, Any] = {
        "input_tokens": tokens.input_tokens,
        "cache_creation_input_tokens": tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens,
        "cache_read_input_tokens": tokens.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h_tokens,
        },
        "output_tokens": tokens.output_tokens,
        "service_tier": "standard",
        "inference_geo": "not_available",
    }
    if tokens.reasoning_tokens:
        block["output_tokens_details"] = {"thinking_tokens": tokens.reasoning_tokens}
    if tokens.server_tool_calls:
        block["server_tool_use"] = {"web_search_requests": tokens.server_tool_calls, "web_fetch_requests": 0}
    return block


def delta_usage(tokens: Tokens) -> dict[str, Any]:
    """The cumulative usage that `message_delta` reports."""
    whole = usage_block(tokens)
    return {
        name: whole[name]
        for name in (
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "output_tokens",
            "output_tokens_details",
            "server_tool_use",
        )
        if name in whole
    }


def _spoiled(fields: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    """The fields with their usage left out or null, where that is asked for."""
    if behaviour.usage == "absent":
        return {name: value for name, value in fields.items() if name != "usage"}
    return fields | {"usage": None} if behaviour.usage == "null" else fields


def json_body(
    invention: Invention, content: Sequence[Block], model: Model, tokens: Tokens, behaviour: Behaviour
) -> bytes:
    """The whole answer of a call that does not stream."""
    answer = _spoiled(
        {
            "model": model.served_as,
            "id": f"msg_{invention.seed}",
            "type": "message",
            "role": "assistant",
            "content": list(content),
            "stop_reason": stop_reason(invention, content),
            "stop_sequence": None,
            "usage": usage_block(tokens),
        },
        behaviour,
    )
    return as_json(answer, escapes=invention.has_padding)


def stream_events(
    invention: Invention, content: Sequence[Block], model: Model, tokens: Tokens, behaviour: Behaviour
) -> list[dict[str, Any]]:
    """The events of a streamed answer, in order."""
    begun = usage_block(
        Tokens(
            input_tokens=tokens.input_tokens,
            cache_read_tokens=tokens.cache_read_tokens,
            cache_write_5m_tokens=tokens.cache_write_5m_tokens,
            cache_write_1h_tokens=tokens.cache_write_1h_tokens,
            output_tokens=min(tokens.output_tokens, 2),
        )
    )
    message: dict[str, Any] = {
        "model": model.served_as,
        "id": f"msg_{invention.seed}",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": begun,
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": _spoiled(message, behaviour)}]
    for index, block in enumerate(content):
        events += _block_events(invention, index, block)
        if index == 0:
            events.insert(2, {"type": "ping"})
    ended = {
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(invention, content), "stop_sequence": None},
        "usage": delta_usage(tokens),
    }
    if behaviour.usage == "every":
        half = delta_usage(tokens) | {"output_tokens": tokens.output_tokens // 2}
        events.append({"type": "message_delta", "delta": {"stop_reason": None}, "usage": half})
    return [*events, _spoiled(ended, behaviour), {"type": "message_stop"}]


_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


def _block_events(invention: Invention, index: int, block: Block) -> list[dict[str, Any]]:
    kind = block["type"]
    if kind in _DELTAS:
        delta, field = _DELTAS[kind]
        start: Block = {"type": kind, field: ""} | ({"signature": ""} if kind == "thinking" else {})
        said, content = delta, block[field]
    else:
        start = block | {"input": {}}
        said, field, content = "input_json_delta", "partial_json", as_json(block["input"]).decode()
    deltas = [{"type": said, field: piece} for piece in invention.pieces(content)]
    if kind == "thinking":
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": each} for each in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def sse(event: dict[str, Any], invention: Invention | None) -> bytes:
    """One event of the stream, at times padded before the closing brace, as the provider pads them."""
    data = as_json(event)
    if invention is not None and invention.has_padding:
        data = data[:-1] + b" " * (len(data) % 7) + b"}"
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), data)


def count_tokens(body: bytes, digest: bytes, behaviour: Behaviour) -> Reply:
    """`POST /v1/messages/count_tokens`: free. Raises: Refused."""
    ask = asked(body)
    required(ask, "model", str)
    required(ask, "messages", list)
    return Reply(
        headers=(JSON_TYPE, *_EVERYDAY_HEADERS), frames=(as_json({"input_tokens": len(body) // 4 + 5}),)
    )


def models(body: bytes, digest: bytes, behaviour: Behaviour) -> Reply:
    """`GET /v1/models`: free."""
    data = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-09-29T00:00:00Z"}
        for name in ANTHROPIC
    ]
    page = {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
    return Reply(headers=(JSON_TYPE, *_EVERYDAY_HEADERS), frames=(as_json(page),))


def error(status: int, message: str, request_id: str, *, param: str | None = None) -> Reply:
    """An error in Anthropic's shape."""
    said = {
        "type": "error",
        "error": {"type": ERROR_TYPES.get(status, "api_error"), "message": message},
        "request_id": request_id,
    }
    return Reply(status=status, headers=(JSON_TYPE, *_EVERYDAY_HEADERS), frames=(as_json(said),))
