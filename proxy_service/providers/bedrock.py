"""What a Bedrock answer says it used: InvokeModel in each model's own words, Converse in Bedrock's.

Converse's `inputTokens` excludes what was read from or written to the cache, as Anthropic's does. An invoked
model answers in its own format; where that says nothing known, Bedrock's own counts in the headers
(`X-Amzn-Bedrock-…-Token-Count`) or in a stream's last chunk (`amazon-bedrock-invocationMetrics`) stand in.
Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html (2026-11).
"""

import msgspec

from proxy_service.eventstream import Message
from proxy_service.meter import Figures, text_bytes
from proxy_service.providers import openai
from proxy_service.providers.anthropic import MessagesReader
from proxy_service.providers.fields import ABSENT, Raw, count, is_given, opened, parsed, word
from proxy_service.wire import Headers, header

_INVOKE_TEXT_KEYS = (*MessagesReader.event_text_keys, b'"generation":', b'"outputText":', b'"content":')
_CONVERSE_TEXT_KEYS = (b'"text":', b'"input":')
_METRICS_KEY = b"amazon-bedrock-invocationMetrics"
_COUNT_HEADERS = {
    "input_tokens": b"x-amzn-bedrock-input-token-count",
    "output_tokens": b"x-amzn-bedrock-output-token-count",
    "cache_read_tokens": b"x-amzn-bedrock-cache-read-input-token-count",
    "cache_write_5m_tokens": b"x-amzn-bedrock-cache-write-input-token-count",
}
_TIER_HEADER = b"x-amzn-bedrock-service-tier"


class _Usage(msgspec.Struct, rename="camel"):
    input_tokens: Raw = ABSENT
    output_tokens: Raw = ABSENT
    cache_read_input_tokens: Raw = ABSENT
    cache_write_input_tokens: Raw = ABSENT
    cache_details: Raw = ABSENT


class _CacheDetail(msgspec.Struct, rename="camel"):
    ttl: Raw = ABSENT
    input_tokens: Raw = ABSENT


class _Tier(msgspec.Struct):
    type: Raw = ABSENT


class _Metadata(msgspec.Struct, rename="camel"):
    """A Converse answer, and the last event of a streamed one."""

    usage: Raw = ABSENT
    service_tier: Raw = ABSENT


class _Chunk(msgspec.Struct):
    bytes: bytes


class _Metrics(msgspec.Struct, rename="camel"):
    input_token_count: Raw = ABSENT
    output_token_count: Raw = ABSENT
    cache_read_input_token_count: Raw = ABSENT
    cache_write_input_token_count: Raw = ABSENT


class _Invoked(msgspec.Struct):
    """Where the formats of the models that can be invoked keep their counts."""

    usage: Raw = ABSENT
    metadata: Raw = ABSENT
    prompt_token_count: Raw = ABSENT
    generation_token_count: Raw = ABSENT
    inputTextTokenCount: Raw = ABSENT  # noqa: N815  # as Titan spells it
    embedding: Raw = ABSENT  # Titan's
    embeddings: Raw = ABSENT  # Cohere's
    metrics: Raw = msgspec.field(default=ABSENT, name="amazon-bedrock-invocationMetrics")


_USAGE = msgspec.json.Decoder(_Usage)
_CACHE_DETAILS = msgspec.json.Decoder(list[_CacheDetail])
_TIER = msgspec.json.Decoder(_Tier)
_METADATA = msgspec.json.Decoder(_Metadata)
_CHUNK = msgspec.json.Decoder(_Chunk)
_METRICS = msgspec.json.Decoder(_Metrics)
_INVOKED = msgspec.json.Decoder(_Invoked)


class ConverseReader:
    """Reads Converse, whole and streamed."""

    markers: tuple[bytes, ...] = ()
    idle_events: tuple[bytes, ...] = ()
    event_text_keys: tuple[bytes, ...] = _CONVERSE_TEXT_KEYS
    body_text_keys: tuple[bytes, ...] = (b'"text":',)
    wants_next = False

    def __init__(self) -> None:
        self.figures = Figures()

    def read_event(self, data: bytes) -> None:
        """Bedrock sends no server-sent events."""

    def read_message(self, message: Message) -> int:
        """One event; `metadata` is the last and has the usage."""
        if message.is_exception:
            self.figures.is_error = True
            return 0
        if message.kind == "metadata":
            self.figures.is_complete = True
            self._read(message.payload)
            return 0
        return text_bytes(message.payload, self.event_text_keys)

    def read_body(self, body: bytes | bytearray) -> None:
        """A whole answer, or an error object."""
        self._read(body, must_be_whole=True)
        self.figures.is_complete = True

    def _read(self, answer: bytes | bytearray, *, must_be_whole: bool = False) -> None:
        try:
            metadata = parsed(_METADATA, answer)
        except msgspec.DecodeError:
            if must_be_whole:
                raise
            return
        tier = opened(metadata.service_tier, _TIER)
        self.figures.service_tier = word(tier.type) if tier else None
        read_usage(self.figures, metadata.usage)
        self.figures.output_is_final = self.figures.output_tokens is not None


class InvokeReader:
    """Reads what an invoked model answers in its maker's format, or the counts that Bedrock adds to any."""

    markers: tuple[bytes, ...] = ()
    idle_events: tuple[bytes, ...] = ()
    event_text_keys: tuple[bytes, ...] = _INVOKE_TEXT_KEYS
    body_text_keys: tuple[bytes, ...] = _INVOKE_TEXT_KEYS
    wants_next = False

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._message = MessagesReader()
        self.figures = self._message.figures
        self.figures.service_tier = word(Raw(b'"%s"' % (header(headers, _TIER_HEADER) or b"")))

    def read_event(self, data: bytes) -> None:
        """Bedrock sends no server-sent events."""

    def read_message(self, message: Message) -> int:
        """One chunk of the model's own stream."""
        if message.is_exception:
            self.figures.is_error = True
            return 0
        try:
            event = parsed(_CHUNK, message.payload).bytes
        except msgspec.DecodeError:
            return 0
        if any(marker in event for marker in self._message.markers):
            self._message.read_event(event)
        if b'"usage"' in event or _METRICS_KEY in event:
            self._read_other_formats(event)
        return text_bytes(event, self.event_text_keys)

    def read_body(self, body: bytes | bytearray) -> None:
        """A whole answer, or an error object."""
        self._message.read_body(body)
        self._read_other_formats(body)
        for field, name in _COUNT_HEADERS.items():
            self._fill(field, Raw(header(self._headers, name) or b""))
        self.figures.output_is_final = self.figures.output_tokens is not None

    def _read_other_formats(self, answer: bytes | bytearray) -> None:
        try:
            invoked = parsed(_INVOKED, answer)
        except msgspec.DecodeError:
            return
        metadata = opened(invoked.metadata, _METADATA)
        if metadata:
            self.figures.is_complete = True
        read_usage(self.figures, metadata.usage if metadata else invoked.usage)
        if self.figures.input_tokens is None:
            openai.read_usage(self.figures, invoked.usage)
        self._fill("input_tokens", invoked.prompt_token_count)
        self._fill("input_tokens", invoked.inputTextTokenCount)
        self._fill("output_tokens", invoked.generation_token_count)
        if is_given(invoked.embedding) or is_given(invoked.embeddings):
            self.figures.output_tokens = self.figures.output_tokens or 0  # there is none of it
        if metadata:
            self.figures.output_is_final = self.figures.output_tokens is not None
        self._read_metrics(opened(invoked.metrics, _METRICS))

    def _read_metrics(self, metrics: _Metrics | None) -> None:
        """Bedrock's own counts, which end a stream; the model's own figures go before them."""
        if metrics is None:
            return
        if not self.figures.output_is_final:
            self.figures.output_tokens = None
        self._fill("input_tokens", metrics.input_token_count)
        self._fill("output_tokens", metrics.output_token_count)
        self._fill("cache_read_tokens", metrics.cache_read_input_token_count)
        self._fill("cache_write_5m_tokens", metrics.cache_write_input_token_count)
        self.figures.is_complete = True
        self.figures.output_is_final = self.figures.output_tokens is not None

    def _fill(self, figure: str, field: Raw) -> None:
        if getattr(self.figures, figure) is None:
            setattr(self.figures, figure, count(field))


def read_usage(figures: Figures, field: Raw) -> None:
    """Converse's usage object; what it leaves out keeps its value."""
    usage = opened(field, _USAGE)
    if usage is None:
        return
    for name, value in (
        ("input_tokens", count(usage.input_tokens)),
        ("output_tokens", count(usage.output_tokens)),
        ("cache_read_tokens", count(usage.cache_read_input_tokens)),
    ):
        if value is not None:
            setattr(figures, name, value)
    written = count(usage.cache_write_input_tokens)
    details = opened(usage.cache_details, _CACHE_DETAILS) or []
    written_1h = sum(count(each.input_tokens) or 0 for each in details if word(each.ttl) == "1h")
    if written is not None:
        figures.cache_write_1h_tokens = min(written_1h, written)
        figures.cache_write_5m_tokens = written - figures.cache_write_1h_tokens
