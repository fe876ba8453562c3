"""Calls and answers as they stand on the wire, in Anthropic's and OpenAI's words."""

from typing import Any

import msgspec

PROVIDER_KEY = b"sk-ant-canary-of-a-provider-key"
MESSAGES_USAGE = {"input_tokens": 1000, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
MODEL = "claude-sonnet-4-5"


def messages_call(
    *, streaming: bool = False, path: bytes = b"/v1/messages", headers: bytes = b"", **fields: Any
) -> bytes:
    """A call of the Messages API."""
    content: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "x" * 400}],
    }
    if streaming:
        content["stream"] = True
    return post(path, msgspec.json.encode(content | fields), headers)


def post(path: bytes, body: bytes, headers: bytes = b"") -> bytes:
    """A POST with a provider key."""
    return (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: %b\r\nAnthropic-Version: 2023-06-01\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
        % (path, PROVIDER_KEY, len(body), headers, body)
    )


def get(path: bytes, headers: bytes = b"") -> bytes:
    """A GET without a key."""
    return b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\n" % (path, headers)


def message(**changes: Any) -> bytes:
    """A whole message that cost 1000 tokens in and 100 out."""
    fields: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "an answer"}],
        "stop_reason": "end_turn",
        "usage": MESSAGES_USAGE | {"output_tokens": 100},
    }
    return msgspec.json.encode(fields | changes)


def answer(body: bytes, *, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """An answer of known length."""
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status, len(body), headers, body,
    )  # fmt: skip


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(kind: str, **fields: Any) -> bytes:
    """One server-sent event of a message's stream."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind} | fields))


STARTED = event(
    "message_start",
    message={"model": "claude-sonnet-4-5-20250929", "usage": MESSAGES_USAGE | {"output_tokens": 1}},
)
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word " * 80})
ENDING = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 100})
STOPPED = event("message_stop")
WHOLE_STREAM = (STARTED, TEXT, ENDING, STOPPED)
END = b"0\r\n\r\n"


BATCH_RESULTS = b"/v1/messages/batches/msgbatch_1/results"


def batch_line(custom_id: str, kind: str = "succeeded", **usage: Any) -> bytes:
    """One line of a batch's results; an item that succeeded used 1000 tokens in and 100 out."""
    said = {"usage": MESSAGES_USAGE | {"output_tokens": 100, "service_tier": "batch"} | usage}
    result: dict[str, Any] = {"type": kind}
    if kind == "succeeded":
        result["message"] = msgspec.Raw(message(**said))
    return msgspec.json.encode({"custom_id": custom_id, "result": result}) + b"\n"


def batch_lines(count: int) -> bytes:
    """The results of so many items that succeeded."""
    return b"".join(batch_line(f"customer {number}") for number in range(count))
