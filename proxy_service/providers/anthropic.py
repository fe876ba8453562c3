"""What an Anthropic message says it used, whole or streamed, from Anthropic or from Bedrock.

`input_tokens` excludes what was read from or written to the cache. In a stream, `message_start` states the
input and a placeholder for the output; `message_delta` repeats figures cumulatively, so later ones replace
earlier ones and what it leaves out keeps its value. Writes to the cache that are not told apart by lifetime
live five minutes, the provider's default. A compaction's tokens (`iterations`) come on top of the rest.
Source: https://docs.anthropic.com/en/api/messages-streaming (2026-11).
"""

import msgspec

from metering.usage import Usage
from proxy_service.eventstream import Message
from proxy_service.meter import Figures, stated
from proxy_service.providers.fields import ABSENT, Raw, count, is_given, name, opened, parsed, word


class _Event(msgspec.Struct):
    type: str = ""
    message: Raw = ABSENT
    delta: Raw = ABSENT
    usage: Raw = ABSENT


class _Message(msgspec.Struct):
    type: str = ""
    model: Raw = ABSENT
    usage: Raw = ABSENT


class _Delta(msgspec.Struct):
    stop_reason: Raw = ABSENT


class _Usage(msgspec.Struct):
    input_tokens: Raw = ABSENT
    output_tokens: Raw = ABSENT
    cache_read_input_tokens: Raw = ABSENT
    cache_creation_input_tokens: Raw = ABSENT
    cache_creation: Raw = ABSENT
    server_tool_use: Raw = ABSENT
    output_tokens_details: Raw = ABSENT
    iterations: Raw = ABSENT
    service_tier: Raw = ABSENT
    speed: Raw = ABSENT
    inference_geo: Raw = ABSENT


class _Iteration(_Usage):
    type: str = ""


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: Raw = ABSENT
    ephemeral_1h_input_tokens: Raw = ABSENT


class _ServerToolUse(msgspec.Struct):
    web_search_requests: Raw = ABSENT


class _OutputDetails(msgspec.Struct):
    thinking_tokens: Raw = ABSENT


_NO_PLACE = "not_available"  # said of models that cannot choose where they run

_EVENT = msgspec.json.Decoder(_Event)
_MESSAGE = msgspec.json.Decoder(_Message)
_DELTA = msgspec.json.Decoder(_Delta)
_USAGE = msgspec.json.Decoder(_Usage)
_ITERATIONS = msgspec.json.Decoder(list[_Iteration])
_CACHE_CREATION = msgspec.json.Decoder(_CacheCreation)
_SERVER_TOOL_USE = msgspec.json.Decoder(_ServerToolUse)
_OUTPUT_DETAILS = msgspec.json.Decoder(_OutputDetails)


class MessagesReader:
    """Reads a message, or the events of a streamed one."""

    markers: tuple[bytes, ...] = (b'"usage"', b"message_stop", b'"error"')
    idle_events: tuple[bytes, ...] = (b"event: content_block_delta\n",)
    event_text_keys: tuple[bytes, ...] = (b'"text":', b'"partial_json":', b'"thinking":')
    body_text_keys: tuple[bytes, ...] = (b'"text":', b'"thinking":')
    wants_next = False

    def __init__(self) -> None:
        self.figures = Figures()
        self._cache_written: int | None = None
        self._cache_written_5m: int | None = None
        self._cache_written_1h: int | None = None
        self._has_ended_output = False

    def read_event(self, data: bytes) -> None:
        """One event; what is no event of a message's stream says nothing."""
        try:
            event = parsed(_EVENT, data)
        except msgspec.DecodeError:
            return
        if event.type == "message_start":
            self._read_start(event)
        elif event.type == "message_delta":
            self._read_delta(event)
        elif event.type == "message_stop":
            self.figures.is_complete = True
            self.figures.output_is_final = self.figures.output_is_final or self._has_ended_output
        elif event.type == "error":
            self.figures.is_error = True

    def read_message(self, message: Message) -> int:
        """Anthropic itself sends no AWS event streams."""
        return 0

    def read_body(self, body: bytes | bytearray) -> None:
        """A whole message, or an error object."""
        answer = parsed(_MESSAGE, body)
        self.figures.is_complete = True
        self.figures.is_error = answer.type == "error"
        self.figures.model = name(answer.model)
        self._read_usage(answer.usage)
        self.figures.output_is_final = self.figures.output_tokens is not None

    def _read_start(self, event: _Event) -> None:
        message = opened(event.message, _MESSAGE)
        if message is None or self.figures.output_is_final:
            return
        self.figures.model = name(message.model)
        self._read_usage(message.usage)
        self.figures.output_tokens = None  # a placeholder of a few tokens, whatever is going to be said

    def _read_delta(self, event: _Event) -> None:
        before = self.figures.output_tokens
        self.figures.output_tokens = None
        self._read_usage(event.usage)
        if self.figures.output_tokens is None:
            self.figures.output_tokens = before
            return
        self._has_ended_output = True
        delta = opened(event.delta, _DELTA)
        if delta is not None and is_given(delta.stop_reason):
            self.figures.output_is_final = True

    def _read_usage(self, field: Raw) -> None:
        usage = opened(field, _USAGE)
        if usage is not None:
            self.read_usage(usage)

    def read_usage(self, usage: _Usage) -> None:
        """A usage object; what it leaves out keeps its value."""
        figures = self.figures
        figures.input_tokens = _later(figures.input_tokens, usage.input_tokens)
        figures.output_tokens = _later(figures.output_tokens, usage.output_tokens)
        figures.cache_read_tokens = _later(figures.cache_read_tokens, usage.cache_read_input_tokens)
        tools = opened(usage.server_tool_use, _SERVER_TOOL_USE)
        if tools:
            figures.server_tool_calls = _later(figures.server_tool_calls, tools.web_search_requests)
        details = opened(usage.output_tokens_details, _OUTPUT_DETAILS)
        if details:
            figures.reasoning_tokens = _later(figures.reasoning_tokens, details.thinking_tokens)
        is_fast = word(usage.speed) == "fast"
        figures.service_tier = "fast" if is_fast else word(usage.service_tier) or figures.service_tier
        place = word(usage.inference_geo)
        figures.region = figures.region if place in {None, _NO_PLACE} else place
        self._read_cache_writes(usage)
        iterations = opened(usage.iterations, _ITERATIONS)
        if iterations is not None:
            compactions = [_usage(each) for each in iterations if each.type == "compaction"]
            figures.beside = sum(compactions, start=Usage())

    def _read_cache_writes(self, usage: _Usage) -> None:
        self._cache_written = _later(self._cache_written, usage.cache_creation_input_tokens)
        split = opened(usage.cache_creation, _CACHE_CREATION)
        if split:
            self._cache_written_5m = _later(self._cache_written_5m, split.ephemeral_5m_input_tokens)
            self._cache_written_1h = _later(self._cache_written_1h, split.ephemeral_1h_input_tokens)
        if self._cache_written is self._cache_written_5m is self._cache_written_1h is None:
            return
        told_apart = (self._cache_written_5m or 0) + (self._cache_written_1h or 0)
        total = told_apart if self._cache_written is None else self._cache_written
        self.figures.cache_write_1h_tokens = min(self._cache_written_1h or 0, total)
        self.figures.cache_write_5m_tokens = total - self.figures.cache_write_1h_tokens


def _usage(iteration: _Iteration) -> Usage:
    """One iteration's own usage: the same words, read by themselves."""
    reader = MessagesReader()
    reader.read_usage(iteration)
    return stated(reader.figures)


def _later(earlier: int | None, field: Raw) -> int | None:
    """The later figure where there is one; figures replace each other and are never added."""
    figure = count(field)
    return earlier if figure is None else figure
