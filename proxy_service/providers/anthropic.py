"""What an Anthropic message says it used, whole or streamed, from Anthropic or from Bedrock.

`input_tokens` excludes what was read from or written to the cache. In a stream, `message_start` states the
input and a placeholder for the output; `message_delta` repeats figures cumulatively, so later ones replace
earlier ones and what it leaves out keeps its value. Writes to the cache that are not told apart by lifetime
live five minutes, the provider's default. A compaction's tokens (`iterations`) come on top of the rest.
Source: https://docs.anthropic.com/en/api/messages-streaming (2026-11).
"""

from typing import Annotated

import msgspec

from metering.usage import TOKENS_MAX, Usage
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


Tokens = Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)]
Word = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.-]{1,32}\Z")]


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: Tokens | None = None
    ephemeral_1h_input_tokens: Tokens | None = None


class _ServerToolUse(msgspec.Struct, gc=False):
    web_search_requests: Tokens | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Tokens | None = None


class _Usage(msgspec.Struct):
    """A usage object in which everything is what it should be, as nearly all are."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerToolUse | None = None
    output_tokens_details: _OutputDetails | None = None
    iterations: Raw = ABSENT
    service_tier: Word | None = None
    speed: Word | None = None
    inference_geo: Word | None = None


class _AnyUsage(msgspec.Struct):
    """Any usage object, each field to be looked at by itself."""

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


class _AnyCacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: Raw = ABSENT
    ephemeral_1h_input_tokens: Raw = ABSENT


class _AnyServerToolUse(msgspec.Struct):
    web_search_requests: Raw = ABSENT


class _AnyOutputDetails(msgspec.Struct):
    thinking_tokens: Raw = ABSENT


class _Iteration(_AnyUsage):
    type: str = ""


_NO_PLACE = "not_available"  # said of models that cannot choose where they run

_EVENT = msgspec.json.Decoder(_Event)
_MESSAGE = msgspec.json.Decoder(_Message)
_DELTA = msgspec.json.Decoder(_Delta)
_USAGE = msgspec.json.Decoder(_Usage)
_ANY_USAGE = msgspec.json.Decoder(_AnyUsage)
_ITERATIONS = msgspec.json.Decoder(list[_Iteration])
_CACHE_CREATION = msgspec.json.Decoder(_AnyCacheCreation)
_SERVER_TOOL_USE = msgspec.json.Decoder(_AnyServerToolUse)
_OUTPUT_DETAILS = msgspec.json.Decoder(_AnyOutputDetails)


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
        if not is_given(field):
            return
        # A decoder takes -0 for 0.
        usage = None if b"-" in bytes(field) else opened(field, _USAGE)
        if usage is None:  # something in it is not what it should be, and only that is absent
            found = opened(field, _ANY_USAGE)
            usage = None if found is None else _sound_part(found)
        if usage is not None:
            self.read_usage(usage)

    def read_usage(self, usage: _Usage) -> None:
        """A usage object; what it leaves out keeps its value."""
        figures = self.figures
        figures.input_tokens = _later(figures.input_tokens, usage.input_tokens)
        figures.output_tokens = _later(figures.output_tokens, usage.output_tokens)
        figures.cache_read_tokens = _later(figures.cache_read_tokens, usage.cache_read_input_tokens)
        tools, details = usage.server_tool_use, usage.output_tokens_details
        if tools is not None:
            figures.server_tool_calls = _later(figures.server_tool_calls, tools.web_search_requests)
        if details is not None:
            figures.reasoning_tokens = _later(figures.reasoning_tokens, details.thinking_tokens)
        figures.service_tier = "fast" if usage.speed == "fast" else usage.service_tier or figures.service_tier
        place = usage.inference_geo
        figures.region = figures.region if place in (None, _NO_PLACE) else place
        self._read_cache_writes(usage)
        iterations = opened(usage.iterations, _ITERATIONS)
        if iterations is not None:
            compactions = [_usage(each) for each in iterations if each.type == "compaction"]
            figures.beside = sum(compactions, start=Usage())

    def _read_cache_writes(self, usage: _Usage) -> None:
        self._cache_written = _later(self._cache_written, usage.cache_creation_input_tokens)
        split = usage.cache_creation
        if split is not None:
            self._cache_written_5m = _later(self._cache_written_5m, split.ephemeral_5m_input_tokens)
            self._cache_written_1h = _later(self._cache_written_1h, split.ephemeral_1h_input_tokens)
        if self._cache_written is self._cache_written_5m is self._cache_written_1h is None:
            return
        told_apart = (self._cache_written_5m or 0) + (self._cache_written_1h or 0)
        total = told_apart if self._cache_written is None else self._cache_written
        self.figures.cache_write_1h_tokens = min(self._cache_written_1h or 0, total)
        self.figures.cache_write_5m_tokens = total - self.figures.cache_write_1h_tokens


def _sound_part(usage: _AnyUsage) -> _Usage:
    """What of a usage object is what it should be."""
    split = opened(usage.cache_creation, _CACHE_CREATION) or _AnyCacheCreation()
    tools = opened(usage.server_tool_use, _SERVER_TOOL_USE) or _AnyServerToolUse()
    details = opened(usage.output_tokens_details, _OUTPUT_DETAILS) or _AnyOutputDetails()
    return _Usage(
        input_tokens=count(usage.input_tokens),
        output_tokens=count(usage.output_tokens),
        cache_read_input_tokens=count(usage.cache_read_input_tokens),
        cache_creation_input_tokens=count(usage.cache_creation_input_tokens),
        cache_creation=_CacheCreation(
            count(split.ephemeral_5m_input_tokens), count(split.ephemeral_1h_input_tokens)
        ),
        server_tool_use=_ServerToolUse(count(tools.web_search_requests)),
        output_tokens_details=_OutputDetails(count(details.thinking_tokens)),
        iterations=usage.iterations,
        service_tier=word(usage.service_tier),
        speed=word(usage.speed),
        inference_geo=word(usage.inference_geo),
    )


def _usage(iteration: _Iteration) -> Usage:
    """One iteration's own usage: the same words, read by themselves."""
    reader = MessagesReader()
    reader.read_usage(_sound_part(iteration))
    return stated(reader.figures)


def _later(earlier: int | None, figure: int | None) -> int | None:
    """The later figure where there is one; figures replace each other and are never added."""
    return earlier if figure is None else figure
