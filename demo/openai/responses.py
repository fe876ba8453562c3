"""The Responses API as the demo speaks it: whole and streamed, reasoning, web searches, function calls."""

from collections.abc import Sequence
from typing import Any

import msgspec

from demo.behaviour import Behaviour
from demo.bill import Tokens
from demo.catalogue import Model
from demo.invention import Invention, as_json, invent, reported, sized, spaces, stream_comment, tool_arguments
from demo.openai.seat import CREATED_AT, OPENAI_SEAT, Seat, caching_of, data_frame, indented, spoiled
from demo.reply import JSON_TYPE, STREAM_TYPE, Refused, Reply, asked


def responses(body: bytes, digest: bytes, behaviour: Behaviour, seat: Seat = OPENAI_SEAT) -> Reply:
    """`POST …/responses`. Raises: Refused."""
    ask = asked(body)
    model = seat.model(ask)
    if model.dimensions:
        raise Refused(400, "This is not a text model.", param="model")
    searches = any(str(tool.get("type", "")).startswith("web_search") for tool in ask.get("tools") or [])
    invention = invent(
        digest,
        body,
        behaviour,
        output_cap=ask.get("max_output_tokens"),
        caching=caching_of(model),
        is_reasoning=model.is_reasoning,
        tool_calls=1 + digest[4] % 3 if searches else 0,
    )
    told = _Response(ask, model, invention, reported(invention.tokens, behaviour), behaviour)
    is_stream = ask.get("stream") is True
    frames = (
        sized(told.stream, invention.text, behaviour.size, filler=stream_comment)
        if is_stream
        else sized(told.whole, invention.text, behaviour.size, filler=spaces)
    )
    return Reply(
        headers=(STREAM_TYPE if is_stream else JSON_TYPE, *seat.headers),
        frames=frames,
        is_stream=is_stream,
        sale=seat.sale(model, told.tokens, is_streaming=is_stream),
        error_frame=_event({"type": "error", "code": "server_error", "message": "The server had an error"}),
    )


def _event(event: dict[str, Any]) -> bytes:
    return b"event: %s\n" % event["type"].encode() + data_frame(event)


class _Response(msgspec.Struct, frozen=True):
    """One response on its way into a body or a stream."""

    ask: dict[str, Any]
    model: Model
    invention: Invention
    tokens: Tokens
    behaviour: Behaviour

    def usage(self) -> dict[str, Any]:
        tokens = self.tokens
        return {
            "input_tokens": tokens.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": tokens.cache_read_tokens,
                "cache_write_tokens": tokens.cache_write_5m_tokens,
            },
            "output_tokens": tokens.output_tokens,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning_tokens},
            "total_tokens": tokens.prompt_tokens + tokens.output_tokens,
        }

    @property
    def status(self) -> str:
        return "incomplete" if self.invention.is_capped else "completed"

    def response(self, output: Sequence[dict[str, Any]], status: str, usage: Any) -> dict[str, Any]:
        """The response object, as it stands at some moment of the stream or at its end."""
        return {
            "id": f"resp_{self.invention.seed}",
            "object": "response",
            "created_at": CREATED_AT,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": self.ask.get("instructions"),
            "max_output_tokens": self.ask.get("max_output_tokens"),
            "model": self.model.served_as,
            "output": list(output),
            "parallel_tool_calls": True,
            "previous_response_id": self.ask.get("previous_response_id"),
            "reasoning": {"effort": "medium" if self.model.is_reasoning else None, "summary": None},
            "service_tier": "default",
            "store": self.ask.get("store", True),
            "temperature": self.ask.get("temperature", 1.0),
            "text": {"format": {"type": "text"}},
            "tool_choice": self.ask.get("tool_choice", "auto"),
            "tools": self.ask.get("tools") or [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
            "metadata": self.ask.get("metadata") or {},
        }

    def output(self, text: str) -> list[dict[str, Any]]:
        """The items of the answer: reasoning, searches, the message, a call of the caller's first tool."""
        seed = self.invention.seed
        items: list[dict[str, Any]] = []
        if self.tokens.reasoning_tokens:
            items.append({"id": f"rs_{seed}", "type": "reasoning", "summary": []})
        items += [
            {
                "id": f"ws_{seed}{at}",
                "type": "web_search_call",
                "status": "completed",
                "action": {"type": "search", "query": "demo"},
            }
            for at in range(self.invention.tokens.server_tool_calls)
        ]
        items.append(
            {
                "id": f"msg_{seed}",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}],
            }
        )
        return items + self._calls()

    def _calls(self) -> list[dict[str, Any]]:
        tools = [tool for tool in self.ask.get("tools") or [] if tool.get("type") == "function"]
        said = self.ask.get("input")
        is_result = isinstance(said, list) and said and said[-1].get("type") == "function_call_output"
        if not tools or is_result or self.ask.get("tool_choice") == "none":
            return []
        return [
            {
                "id": f"fc_{self.invention.seed}",
                "type": "function_call",
                "status": "completed",
                "call_id": f"call_{self.invention.seed}",
                "name": tools[0]["name"],
                "arguments": as_json(tool_arguments(tools[0].get("parameters") or {})).decode(),
            }
        ]

    def whole(self, text: str) -> list[bytes]:
        """The body of a call that does not stream."""
        answer = self.response(self.output(text), self.status, self.usage())
        return [indented(spoiled(answer, self.behaviour))]

    def stream(self, text: str) -> list[bytes]:
        """The frames of a streamed call; the usage comes with the last event."""
        begun = self.response([], "in_progress", None)
        events = [{"type": "response.created", "response": begun}]
        events.append({"type": "response.in_progress", "response": begun})
        items = self.output(text)
        for index, item in enumerate(items):
            events += self._item_events(index, item)
        ended = spoiled(self.response(items, self.status, self.usage()), self.behaviour)
        events.append({"type": f"response.{self.status}", "response": ended})
        return [_event(event | {"sequence_number": number}) for number, event in enumerate(events)]

    def _item_events(self, index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
        place = {"item_id": item["id"], "output_index": index}
        events: list[dict[str, Any]] = [
            {"type": "response.output_item.added", "output_index": index, "item": _begun(item)}
        ]
        if item["type"] == "message":
            part = item["content"][0]
            place |= {"content_index": 0}
            empty = part | {"text": ""}
            events.append(place | {"type": "response.content_part.added", "part": empty})
            events += [
                place | {"type": "response.output_text.delta", "delta": piece, "logprobs": []}
                for piece in self.invention.pieces(part["text"])
            ]
            events.append(place | {"type": "response.output_text.done", "text": part["text"], "logprobs": []})
            events.append(place | {"type": "response.content_part.done", "part": part})
        elif item["type"] == "function_call":
            said = "response.function_call_arguments"
            events += [
                place | {"type": f"{said}.delta", "delta": piece}
                for piece in self.invention.pieces(item["arguments"])
            ]
            events.append(
                place | {"type": f"{said}.done", "arguments": item["arguments"], "name": item["name"]}
            )
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        return events


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it stands when it is announced."""
    emptied = {"content": [], "arguments": "", "status": "in_progress"}
    return item | {name: value for name, value in emptied.items() if name in item}
