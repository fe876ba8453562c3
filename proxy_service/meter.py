"""Listens to an answer's bytes and says in the end what the call used. No I/O; never harms the call.

A `Meter` undoes the content encoding of its copy, cuts it (server-sent events, AWS event stream, or one JSON
body), and hands the few pieces that matter to the provider's `AnswerReader`, which fills in `Figures`. What
is missing in the end is estimated and flagged (`metering.usage.EstimateMethod`).

Of text only lengths are ever taken. Any split of the bytes gives the same `Reading`, but for an
estimate of text whose JSON is broken: a string that nobody ends is as long as what came with it.
"""

import re
from typing import Protocol

import msgspec

from metering.usage import TOKENS_MAX, EstimateMethod, Reading, Usage
from proxy_service.decoding import Sink, TooMuchDecoded, Undecodable, open_decoder
from proxy_service.eventstream import EventStreamBroken, Message, MessageBuffer
from proxy_service.sse import FRAME_END_BEGUN_BYTES_MAX, FrameBuffer, data_of, frames_of

ANSWER_BYTES_MAX = 32 * 1024 * 1024  # one JSON body
EVENT_BYTES_MAX = 1024 * 1024  # one event of a stream: those with figures have a few KiB
LAST_EVENT_BYTES_MAX = 8 * 1024 * 1024  # of a stream that ends by repeating all it said, with the figures
STREAM_BYTES_MAX = 256 * 1024 * 1024  # decoded copy of a compressed stream; what follows is not read
BYTES_PER_TOKEN = 4

Figure = int | None

_NOTHING = Usage()

_BACKSLASH = 0x5C
_STRING_REST = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*')


class Figures(msgspec.Struct):
    """What an answer has said so far, in disjoint buckets; None where it said nothing.

    `beside` is billed on top and no part of the other figures. `output_is_final`: `output_tokens` is the
    whole call's, not a running count. `is_pending`: the answer came before anything was generated, and what
    that used is told elsewhere. `is_complete` and `is_error` as in `Reading`.
    """

    input_tokens: Figure = None
    output_tokens: Figure = None
    output_is_final: bool = False
    cache_read_tokens: Figure = None
    cache_write_5m_tokens: Figure = None
    cache_write_1h_tokens: Figure = None
    reasoning_tokens: Figure = None
    server_tool_calls: Figure = None
    beside: Usage = Usage()
    has_audio: bool = False
    model: str | None = None
    service_tier: str | None = None
    region: str | None = None
    is_pending: bool = False
    is_complete: bool = False
    is_error: bool = False


class AnswerReader(Protocol):
    """One provider's way of saying what a call used.

    `markers`: what a frame of server-sent events holds if `read_event` is to see it; `idle_events`: how
    frames begin that have nothing to say but text, whatever they hold. `wants_next` asks for the next frame
    in any case. `event_text_keys` and `body_text_keys`: the JSON keys, closing quote and colon included,
    whose strings are the text that is generated, in a stream's events and in a whole answer; none where no
    text is.
    """

    figures: Figures
    markers: tuple[bytes, ...]
    idle_events: tuple[bytes, ...]
    event_text_keys: tuple[bytes, ...]
    body_text_keys: tuple[bytes, ...]

    @property
    def wants_next(self) -> bool:
        """Whether the next frame is to be read, marked or not."""

    def read_event(self, data: bytes) -> None:
        """One event of a stream, as its JSON (or `[DONE]`)."""

    def read_message(self, message: Message) -> int:
        """One message of an AWS event stream; the bytes of text it delivers."""

    def read_body(self, body: bytes | bytearray) -> None:
        """A whole JSON answer. Raises: msgspec.DecodeError where it is not whole."""


class Framing(Protocol):
    """One way of cutting an answer. `is_unreadable`: a part was too large, or damaged, and went unread."""

    @property
    def is_unreadable(self) -> bool:
        """See the class."""

    def feed(self, data: bytes) -> None:
        """The next bytes, decoded. Raises: TooMuchDecoded where there is no use in more."""

    def finish(self) -> int:
        """No more bytes will come; the bytes of text that were delivered."""


class Meter:
    """Learns what one call used from the answer's bytes, in the order they came.

    `failure` names the kind of error that ended the reading early, "" while all is well. No estimate of the
    output exceeds `output_tokens_max`: what came may be long tokens, or the frames around few.
    """

    def __init__(
        self,
        reader: AnswerReader,
        framing: Framing,
        *,
        status: int,
        content_encoding: bytes | None,
        request_body_bytes: int,
        output_tokens_max: int = TOKENS_MAX,
        decoded_bytes_max: int = STREAM_BYTES_MAX,
    ) -> None:
        self.failure = ""
        self._reader = reader
        self._framing = framing
        self._status = status
        self._request_body_bytes = request_body_bytes
        self._output_tokens_max = output_tokens_max
        self._received_bytes = 0
        self._feed: Sink = framing.feed
        if content_encoding is not None:
            try:
                self._feed = open_decoder(content_encoding, framing.feed, decoded_bytes_max)
            except Undecodable:
                self._stop(Undecodable.__name__)

    def feed(self, data: bytes) -> None:
        """The next bytes of the answer, as they came off the wire. Never raises."""
        self._received_bytes += len(data)
        try:
            self._feed(data)
        except Exception as error:  # noqa: BLE001  # this is an edge: whatever fails here, the call goes on
            self._stop(type(error).__name__)

    def finish(self) -> Reading:
        """What the call used, as far as the answer said; call once, when no more bytes will come."""
        text_bytes = self._received_bytes
        try:
            text_bytes = self._framing.finish()
        except Exception as error:  # noqa: BLE001  # as in `feed`
            self._stop(type(error).__name__)
        if self.failure or (self._framing.is_unreadable and not text_bytes):
            text_bytes = max(text_bytes, self._received_bytes)
        return _reading(
            self._reader.figures,
            text_bytes=min(text_bytes, self._output_tokens_max * BYTES_PER_TOKEN)
            if self._reader.body_text_keys
            else 0,
            request_bytes=self._request_body_bytes,
            is_unreadable=bool(self.failure) or self._framing.is_unreadable,
            is_refusal=self._status >= 400,
        )

    def _stop(self, failure: str) -> None:
        self.failure = self.failure or failure
        self._feed = _ignore


def _ignore(data: bytes) -> None:
    """Where bytes go that can no longer be read."""


def _reading(
    figures: Figures, *, text_bytes: int, request_bytes: int, is_unreadable: bool, is_refusal: bool
) -> Reading:
    method: EstimateMethod = "audio_as_text" if figures.has_audio else "none"
    usage = stated(figures)
    is_error = figures.is_error or is_refusal
    says_nothing = figures.input_tokens is None and not figures.output_tokens
    has_begun = bool(text_bytes) or figures.output_is_final
    if is_error and says_nothing and (is_refusal or not has_begun):
        method = "none"  # nothing was generated, nothing is billed
    elif not states_all(figures):
        method = _method(figures, text_bytes=text_bytes, is_unreadable=is_unreadable)
        usage = _completed(usage, figures, text_bytes=text_bytes, request_bytes=request_bytes)
    return Reading(
        usage=usage,
        estimate_method=method,
        model=figures.model,
        service_tier=figures.service_tier,
        region=figures.region,
        is_complete=figures.is_complete or is_unreadable,
        is_error=is_error,
    )


def states_all(figures: Figures) -> bool:
    """Whether nothing is left to be estimated."""
    return figures.input_tokens is not None and figures.output_is_final


def stated(figures: Figures) -> Usage:
    """The usage as the provider stated it; what it did not state counts as 0."""
    usage = Usage(
        input_tokens=figures.input_tokens or 0,
        output_tokens=figures.output_tokens or 0,
        cache_read_tokens=figures.cache_read_tokens or 0,
        cache_write_5m_tokens=figures.cache_write_5m_tokens or 0,
        cache_write_1h_tokens=figures.cache_write_1h_tokens or 0,
        reasoning_tokens=min(figures.reasoning_tokens or 0, figures.output_tokens or 0),
        server_tool_calls=figures.server_tool_calls or 0,
    )
    return usage + figures.beside if figures.beside != _NOTHING else usage


def _completed(usage: Usage, figures: Figures, *, text_bytes: int, request_bytes: int) -> Usage:
    """The usage with what was not stated estimated, four bytes to a token."""
    changes: dict[str, int] = {}
    if figures.input_tokens is None:
        changes["input_tokens"] = -(-request_bytes // BYTES_PER_TOKEN)
    if not figures.output_is_final:
        changes["output_tokens"] = max(usage.output_tokens, -(-text_bytes // BYTES_PER_TOKEN))
    return msgspec.structs.replace(usage, **changes)


def _method(figures: Figures, *, text_bytes: int, is_unreadable: bool) -> EstimateMethod:
    if figures.is_pending:
        return "hold"
    if figures.is_complete or is_unreadable:
        return "missing_usage"
    has_figures = figures.input_tokens is not None or figures.output_tokens is not None
    return "delivered_bytes" if text_bytes or has_figures else "request_bytes"


class SseFraming:
    """Server-sent events. Frames that cannot matter are only searched for the length of their text."""

    def __init__(self, reader: AnswerReader, frame_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.is_unreadable = False
        self._reader = reader
        self._text_keys = reader.event_text_keys
        self._frame_bytes_max = frame_bytes_max
        self._buffer = FrameBuffer()
        self._is_skipping = False
        self._text_bytes = 0

    def feed(self, data: bytes) -> None:
        """The next bytes, decoded."""
        whole = self._buffer.feed(data)
        if whole:
            if self._is_skipping or len(whole) > self._frame_bytes_max:
                whole = self._without_overlong(whole)
            if not self._is_idle(whole):
                self._read(whole)
            if not self._reader.figures.output_is_final:
                self._text_bytes += text_bytes(whole, self._text_keys)
        if len(self._buffer.rest) > self._frame_bytes_max:
            del self._buffer.rest[:-FRAME_END_BEGUN_BYTES_MAX]
            self._is_skipping = self.is_unreadable = True

    def finish(self) -> int:
        """No more bytes will come; a last frame counts without the blank line that should end it."""
        if self._buffer.rest and not self._is_skipping:
            self._read(bytes(self._buffer.rest))
        return self._text_bytes

    def _is_idle(self, whole: bytes) -> bool:
        """Whether this is one frame that has nothing but text."""
        return whole.startswith(self._reader.idle_events) and whole.find(b"\n\n") == len(whole) - 2

    def _read(self, whole: bytes) -> None:
        reader = self._reader
        if b"\r" in whole:
            whole = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        start = 0
        while reader.wants_next and start < len(whole):
            end = _end_of_frame(whole, start)
            reader.read_event(data_of(whole[start:end]))
            start = end + 2
        for frame in _marked_frames(whole, start, reader.markers):
            if not frame.lstrip(b"\n").startswith(reader.idle_events):
                reader.read_event(data_of(frame))

    def _without_overlong(self, whole: bytes) -> bytes:
        frames = frames_of(whole)
        if self._is_skipping:
            del frames[0]
            self._is_skipping = False
        kept = [frame for frame in frames if len(frame) <= self._frame_bytes_max]
        self.is_unreadable = self.is_unreadable or len(kept) < len(frames)
        return b"".join(kept)


def _marked_frames(whole: bytes, start: int, markers: tuple[bytes, ...]) -> list[bytes]:
    """The frames from `start` on that hold a marker, in order; lines end in line feeds."""
    ends_by_start = {}
    for marker in markers:
        at = whole.find(marker, start)
        while at >= 0:
            before = whole.rfind(b"\n\n", start, at)
            end = _end_of_frame(whole, at)
            ends_by_start[start if before < 0 else before + 2] = end
            at = whole.find(marker, end)
    return [whole[begin:end] for begin, end in sorted(ends_by_start.items())]


def _end_of_frame(whole: bytes, start: int) -> int:
    end = whole.find(b"\n\n", start)
    return len(whole) if end < 0 else end


class EventStreamFraming:
    """AWS's event stream. Damage ends the reading; what came before it counts."""

    def __init__(self, reader: AnswerReader, message_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._reader = reader
        self._buffer = MessageBuffer(message_bytes_max)
        self._is_broken = False
        self._text_bytes = 0

    @property
    def is_unreadable(self) -> bool:
        """Whether a message was too long, or anything damaged."""
        return self._is_broken or self._buffer.has_skipped

    def feed(self, data: bytes) -> None:
        """The next bytes, decoded."""
        if self._is_broken:
            return
        try:
            for message in self._buffer.feed(data):
                self._text_bytes += self._reader.read_message(message)
        except EventStreamBroken:
            self._is_broken = True
            self._buffer.rest.clear()

    def finish(self) -> int:
        """No more bytes will come."""
        return self._text_bytes


class BodyFraming:
    """One JSON body, held once. One that is too large is not even decoded to its end."""

    def __init__(self, reader: AnswerReader, body_bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self.is_unreadable = False
        self._reader = reader
        self._body_bytes_max = body_bytes_max
        self._body: bytes | bytearray = b""
        self._received_bytes = 0

    def feed(self, data: bytes) -> None:
        """The next bytes, decoded."""
        self._received_bytes += len(data)
        if self._received_bytes > self._body_bytes_max:
            self._body = b""
            self.is_unreadable = True
            raise TooMuchDecoded
        if not self._body:
            self._body = data
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data

    def finish(self) -> int:
        """No more bytes will come."""
        if self.is_unreadable:
            return 0  # what came over the wire tells more than what it can be blown up to
        try:
            self._reader.read_body(self._body)
        except msgspec.DecodeError:
            return len(self._body)
        if states_all(self._reader.figures):
            return 0  # nobody asks for its length
        return text_bytes(self._body, self._reader.body_text_keys)


def text_bytes(data: bytes | bytearray, keys: tuple[bytes, ...]) -> int:
    """How long the strings behind these keys are together, as they stand in the JSON."""
    total = 0
    for key in keys:
        at = data.find(key)
        while at >= 0:
            at += len(key)
            if data[at : at + 1] == b" ":
                at += 1
            if data[at : at + 1] == b'"':
                end = _end_of_string(data, at + 1)
                total += end - at - 1
                at = end
            at = data.find(key, at)
    return total


def _end_of_string(data: bytes | bytearray, start: int) -> int:
    end = data.find(b'"', start)
    if end >= 0 and data[end - 1] != _BACKSLASH:
        return end
    found = _STRING_REST.match(data, start)
    return found.end() if found else start
