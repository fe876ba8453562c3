"""What an OpenAI answer says it used: chat, legacy completions, responses, embeddings; Azure says the same.

The prompt's total includes cached and cache-written tokens, and audio; the output's includes reasoning and
audio. The parts are subtracted here, once. In a stream the usage comes in one frame or cumulatively in each:
the last one holds.
Source: https://platform.openai.com/docs/api-reference/chat-streaming and .../responses-streaming (2026-11).
"""

import msgspec

from proxy_service.eventstream import Message
from proxy_service.meter import Figures
from proxy_service.providers.fields import ABSENT, Raw, count, is_given, name, opened, parsed, word

_DONE = b"[DONE]"


class _Answer(msgspec.Struct):
    model: Raw = ABSENT
    service_tier: Raw = ABSENT
    usage: Raw = ABSENT
    error: Raw = ABSENT
    choices: Raw = ABSENT


class _Response(msgspec.Struct):
    model: Raw = ABSENT
    service_tier: Raw = ABSENT
    status: Raw = ABSENT
    usage: Raw = ABSENT
    error: Raw = ABSENT
    output: Raw = ABSENT


class _ResponseEvent(msgspec.Struct):
    type: str = ""
    response: Raw = ABSENT


class _Usage(msgspec.Struct):
    """Both vocabularies: chat's `prompt` and `completion`, and the later `input` and `output`."""

    prompt_tokens: Raw = ABSENT
    completion_tokens: Raw = ABSENT
    prompt_tokens_details: Raw = ABSENT
    completion_tokens_details: Raw = ABSENT
    input_tokens: Raw = ABSENT
    output_tokens: Raw = ABSENT
    input_tokens_details: Raw = ABSENT
    output_tokens_details: Raw = ABSENT


class _InputDetails(msgspec.Struct):
    cached_tokens: Raw = ABSENT
    cache_write_tokens: Raw = ABSENT
    audio_tokens: Raw = ABSENT


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Raw = ABSENT
    audio_tokens: Raw = ABSENT


class _Action(msgspec.Struct):
    type: Raw = ABSENT


class _Item(msgspec.Struct):
    type: Raw = ABSENT
    action: Raw = ABSENT


_ANSWER = msgspec.json.Decoder(_Answer)
_RESPONSE = msgspec.json.Decoder(_Response)
_RESPONSE_EVENT = msgspec.json.Decoder(_ResponseEvent)
_USAGE = msgspec.json.Decoder(_Usage)
_INPUT_DETAILS = msgspec.json.Decoder(_InputDetails)
_OUTPUT_DETAILS = msgspec.json.Decoder(_OutputDetails)
_ACTION = msgspec.json.Decoder(_Action)
_ITEMS = msgspec.json.Decoder(list[_Item])

_PENDING = frozenset(("queued", "in_progress"))  # of a response that is generated in the background
_ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}


class ChatReader:
    """Reads chat completions, whole and streamed."""

    markers: tuple[bytes, ...] = (b'"usage":{', b'"usage": {', _DONE, b'"error"')  # null in most chunks
    idle_events: tuple[bytes, ...] = ()
    event_text_keys: tuple[bytes, ...] = (
        b'content":',  # reasoning_content too
        b'"arguments":',
        b'"input":',  # of a custom tool
        b'"refusal":',
    )
    body_text_keys: tuple[bytes, ...] = event_text_keys

    def __init__(self) -> None:
        self.figures = Figures()

    @property
    def wants_next(self) -> bool:
        """Every chunk names the model; one is enough."""
        return self.figures.model is None

    def read_event(self, data: bytes) -> None:
        """One chunk, or `[DONE]`."""
        if data.strip() == _DONE:
            self.figures.is_complete = True
            self.figures.output_is_final = self.figures.output_tokens is not None
            return
        try:
            chunk = parsed(_ANSWER, data)
        except msgspec.DecodeError:
            return
        self._read(chunk)
        if is_given(chunk.usage) and self.figures.output_tokens:  # before the text, there is none of it yet
            has_no_choices = bytes(chunk.choices).translate(None, b" \t\r\n") == b"[]"
            self.figures.output_is_final = self.figures.output_is_final or has_no_choices

    def read_message(self, message: Message) -> int:
        """OpenAI sends no AWS event streams."""
        return 0

    def read_body(self, body: bytes | bytearray) -> None:
        """A whole answer, or an error object."""
        self._read(parsed(_ANSWER, body))
        self.figures.is_complete = True
        self.figures.output_is_final = self.figures.output_tokens is not None

    def _read(self, answer: _Answer) -> None:
        self.figures.model = self.figures.model or name(answer.model)
        self.figures.service_tier = word(answer.service_tier) or self.figures.service_tier
        self.figures.is_error = self.figures.is_error or is_given(answer.error)
        read_usage(self.figures, answer.usage)


class CompletionsReader(ChatReader):
    """Reads legacy completions, whole and streamed."""

    event_text_keys: tuple[bytes, ...] = (b'"text":',)
    body_text_keys: tuple[bytes, ...] = (b'"text":',)


class EmbeddingsReader(ChatReader):
    """Reads embeddings, which have an input only; the answer's length says nothing."""

    event_text_keys: tuple[bytes, ...] = ()
    body_text_keys: tuple[bytes, ...] = ()

    def read_body(self, body: bytes | bytearray) -> None:
        """A whole answer, or an error object."""
        super().read_body(body)
        self.figures.output_tokens = self.figures.output_tokens or 0
        self.figures.output_is_final = True


class ResponsesReader:
    """Reads a response, or the events of a streamed one, whose last repeats all of it."""

    markers: tuple[bytes, ...] = (b'"response":{', b'"response": {', b'"error"')
    idle_events: tuple[bytes, ...] = (b"event: response.output_text.delta\n",)
    event_text_keys: tuple[bytes, ...] = (b'"delta":',)
    body_text_keys: tuple[bytes, ...] = (b'"text":', b'"arguments":')
    wants_next = False

    def __init__(self) -> None:
        self.figures = Figures()

    def read_event(self, data: bytes) -> None:
        """One event; only the last ones and the first say something."""
        try:
            event = parsed(_RESPONSE_EVENT, data)
        except msgspec.DecodeError:
            return
        response = opened(event.response, _RESPONSE)
        if event.type == "error":
            self.figures.is_error = True
        if response is None:
            return
        self._read(response)
        if event.type in _ENDS:
            self._end(response, status=_ENDS[event.type])

    def read_message(self, message: Message) -> int:
        """OpenAI sends no AWS event streams."""
        return 0

    def read_body(self, body: bytes | bytearray) -> None:
        """A whole response, or an error object."""
        response = parsed(_RESPONSE, body)
        self._read(response)
        self.figures.is_error = is_given(response.error)
        self._end(response, status=word(response.status) or "")

    def _read(self, response: _Response) -> None:
        self.figures.model = self.figures.model or name(response.model)
        self.figures.service_tier = word(response.service_tier) or self.figures.service_tier
        read_usage(self.figures, response.usage)

    def _end(self, response: _Response, *, status: str) -> None:
        self.figures.is_complete = True
        self.figures.is_error = self.figures.is_error or status == "failed"
        self.figures.is_pending = status in _PENDING
        self.figures.output_is_final = self.figures.output_tokens is not None
        items = opened(response.output, _ITEMS)
        if items is not None:
            self.figures.server_tool_calls = sum(_is_billed_search(item) for item in items)


def read_usage(figures: Figures, field: Raw) -> None:
    """A usage object of any of OpenAI's answers; it replaces what an earlier one said."""
    usage = opened(field, _USAGE)
    if usage is None:
        return
    figures.has_audio = False
    prompt = _first(usage.prompt_tokens, usage.input_tokens)
    if prompt is not None:
        _read_input(
            figures,
            prompt,
            opened(_either(usage.prompt_tokens_details, usage.input_tokens_details), _INPUT_DETAILS),
        )
    output = _first(usage.completion_tokens, usage.output_tokens)
    if output is not None:
        figures.output_tokens = output
    details = opened(_either(usage.completion_tokens_details, usage.output_tokens_details), _OUTPUT_DETAILS)
    if details is not None:
        figures.reasoning_tokens = count(details.reasoning_tokens)
        figures.has_audio = figures.has_audio or bool(count(details.audio_tokens))


def _read_input(figures: Figures, prompt: int, details: _InputDetails | None) -> None:
    """Take the parts out of the total; parts that exceed it are cut to it."""
    details = details or _InputDetails()
    figures.cache_read_tokens = _at_most(prompt, count(details.cached_tokens))
    rest = prompt - (figures.cache_read_tokens or 0)
    figures.cache_write_5m_tokens = _at_most(rest, count(details.cache_write_tokens))
    figures.input_tokens = rest - (figures.cache_write_5m_tokens or 0)
    figures.has_audio = figures.has_audio or bool(count(details.audio_tokens))


def _is_billed_search(item: _Item) -> bool:
    """Whether an output item is a web search; opening a page that it found costs nothing more."""
    if word(item.type) != "web_search_call":
        return False
    action = opened(item.action, _ACTION)
    return action is None or word(action.type) in (None, "search")


def _first(field: Raw, other: Raw) -> int | None:
    figure = count(field)
    return count(other) if figure is None else figure


def _either(field: Raw, other: Raw) -> Raw:
    return field if is_given(field) else other


def _at_most(total: int, part: int | None) -> int | None:
    return None if part is None else min(part, total)
