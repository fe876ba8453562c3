"""Chat Completions as the demo speaks it: whole and streamed, choices, tools, Azure's filter blocks."""

from typing import Any

import msgspec

from demo.behaviour import Behaviour
from demo.bill import Tokens
from demo.catalogue import Model
from demo.invention import Invention, as_json, invent, reported, sized, spaces, stream_comment, tool_arguments
from demo.openai.seat import CREATED_AT, OPENAI_SEAT, Seat, caching_of, data_frame, indented, spoiled
from demo.reply import JSON_TYPE, STREAM_TYPE, Refused, Reply, asked, required

CHOICES_MAX = 8
_OBFUSCATION = "x7Qm2Lp9"
_SAFE = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "safe"}}


def chat(body: bytes, digest: bytes, behaviour: Behaviour, seat: Seat = OPENAI_SEAT) -> Reply:
    """`POST …/chat/completions`. Raises: Refused."""
    ask = asked(body)
    model = seat.model(ask)
    if model.dimensions:
        raise Refused(400, "This is not a chat model.", param="model")
    if not required(ask, "messages", list):
        raise Refused(400, "[] is too short - 'messages'", param="messages")
    invention = invent(
        digest,
        body,
        behaviour,
        output_cap=ask.get("max_completion_tokens") or ask.get("max_tokens"),
        caching=caching_of(model),
        is_reasoning=model.is_reasoning,
    )
    told = _Chat(ask, model, invention, reported(invention.tokens, behaviour), behaviour, seat)
    if ask.get("stream") is True:
        frames = sized(told.stream, invention.text, behaviour.size, filler=stream_comment)
    else:
        frames = sized(told.whole, invention.text, behaviour.size, filler=spaces)
    is_stream = ask.get("stream") is True
    return Reply(
        headers=(STREAM_TYPE if is_stream else JSON_TYPE, *seat.headers),
        frames=frames,
        is_stream=is_stream,
        sale=seat.sale(model, told.tokens, is_streaming=is_stream),
        error_frame=data_frame(
            {"error": {"message": "The server had an error", "type": "server_error", "code": None}}
        ),
    )


class _Chat(msgspec.Struct, frozen=True):
    """One chat completion on its way into a body or a stream."""

    ask: dict[str, Any]
    model: Model
    invention: Invention
    tokens: Tokens
    behaviour: Behaviour
    seat: Seat

    @property
    def choices(self) -> int:
        asked_for = self.ask.get("n") or 1
        if not 1 <= asked_for <= CHOICES_MAX:
            raise Refused(400, f"n is between 1 and {CHOICES_MAX}", param="n")
        return int(asked_for)

    @property
    def called(self) -> list[dict[str, Any]]:
        """The tool call of the answer, if the caller offers tools and is not just handing in a result."""
        tools = [tool for tool in self.ask.get("tools") or [] if tool.get("type") == "function"]
        if (
            not tools
            or self.ask.get("tool_choice") == "none"
            or self.ask["messages"][-1].get("role") == "tool"
        ):
            return []
        function = tools[0]["function"]
        arguments = as_json(tool_arguments(function.get("parameters") or {})).decode()
        return [
            {
                "id": f"call_{self.invention.seed}",
                "type": "function",
                "function": {"name": function["name"], "arguments": arguments},
            }
        ]

    @property
    def finish_reason(self) -> str:
        if self.called:
            return "tool_calls"
        return "length" if self.invention.is_capped else "stop"

    def envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.invention.seed}",
            "object": kind,
            "created": CREATED_AT,
            "model": self.model.served_as,
            "service_tier": "default",
            "system_fingerprint": "fp_demo",
        }

    def usage(self, *, output_tokens: int | None = None) -> dict[str, Any]:
        tokens = self.tokens
        output = tokens.output_tokens if output_tokens is None else output_tokens
        details: dict[str, Any] = {"cached_tokens": tokens.cache_read_tokens, "audio_tokens": 0}
        if self.model.writes_cache:
            details["cache_write_tokens"] = tokens.cache_write_5m_tokens
        return {
            "prompt_tokens": tokens.prompt_tokens,
            "completion_tokens": output,
            "total_tokens": tokens.prompt_tokens + output,
            "prompt_tokens_details": details,
            "completion_tokens_details": {
                "reasoning_tokens": min(tokens.reasoning_tokens, output),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def whole(self, text: str) -> list[bytes]:
        """The body of a call that does not stream."""
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        if self.called:
            message["tool_calls"] = self.called
        choices: list[dict[str, Any]] = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
            for index in range(self.choices)
        ]
        fields = self.envelope("chat.completion") | {"choices": choices, "usage": self.usage()}
        if self.seat.provider == "azure":
            for choice in choices:
                choice["content_filter_results"] = _SAFE
            fields["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": _SAFE}]
            return [as_json(spoiled(fields, self.behaviour))]
        return [indented(spoiled(fields, self.behaviour))]

    def stream(self, text: str) -> list[bytes]:
        """The frames of a streamed call; the usage comes only if `stream_options` asks for it."""
        includes_usage = (self.ask.get("stream_options") or {}).get("include_usage") is True
        chunks: list[dict[str, Any]] = [{"choices": [choice]} for choice in self._choice_deltas(text)]
        if self.seat.provider == "azure":
            filtered = {"prompt_index": 0, "content_filter_results": _SAFE}
            chunks.insert(0, {"choices": [], "prompt_filter_results": [filtered]})
        envelope = self.envelope("chat.completion.chunk")
        frames = [self._chunk(envelope, chunk, at, includes_usage) for at, chunk in enumerate(chunks)]
        if includes_usage and self.behaviour.usage != "absent":
            usage = None if self.behaviour.usage == "null" else self.usage()
            frames.append(data_frame(envelope | {"choices": [], "usage": usage}))
        return [*frames, b"data: [DONE]\n\n"]

    def _choice_deltas(self, text: str) -> list[dict[str, Any]]:
        deltas: list[Any] = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"content": piece} for piece in self.invention.pieces(text)]
        for call in self.called:
            begun: dict[str, Any] = call | {"index": 0, "function": call["function"] | {"arguments": ""}}
            deltas.append({"tool_calls": [begun]})
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
                for piece in self.invention.pieces(call["function"]["arguments"])
            ]
        choices = []
        for index in range(self.choices):
            choices += [
                {"index": index, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas
            ]
            choices.append(
                {"index": index, "delta": {}, "logprobs": None, "finish_reason": self.finish_reason}
            )
        return choices

    def _chunk(self, envelope: dict[str, Any], chunk: dict[str, Any], at: int, includes_usage: bool) -> bytes:
        fields = envelope | chunk
        if self.behaviour.usage == "every":
            fields["usage"] = self.usage(output_tokens=min(at, self.tokens.output_tokens))
        elif includes_usage:
            fields["usage"] = None
        if self.seat.provider == "openai":
            fields["obfuscation"] = _OBFUSCATION[: 1 + at % len(_OBFUSCATION)]
        return data_frame(fields)
