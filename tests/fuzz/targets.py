"""The targets: each takes any bytes, has a reader read them, and raises where the reader broke a promise.

The promises: no error but those that are declared; any split of the bytes gives the same; what goes on is
what came, byte for byte, and reads as one message to another reader (h11); no more is held than may be.

The first byte of an input chooses among variants where a target has any; the rest is what the peer sends.
Nothing is random: where the bytes are cut follows from them.
"""

import contextlib
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zlib import crc32

import h11
import msgspec

from metering.usage import TOKENS_MAX, Reading
from proxy_service.cache import is_worth_keeping
from proxy_service.decoding import TooMuchDecoded, Undecodable, decoded, open_decoder
from proxy_service.eventstream import EventStreamBroken, Message, MessageBuffer
from proxy_service.http1 import (
    LAST_CHUNK,
    HeadLimits,
    Refused,
    RequestReader,
    ResponseReader,
    Signal,
    chunk,
    request_head,
    response_head,
)
from proxy_service.members import NotEditable, with_member
from proxy_service.meter import EventStreamFraming, Meter, SseFraming
from proxy_service.providers import Ask, RequestRefused, Route, make_meter, match, read_ask, read_template
from proxy_service.providers.anthropic import MessagesReader
from proxy_service.providers.batches import BatchItem, BatchResults
from proxy_service.providers.bedrock import ConverseReader
from proxy_service.providers.extents import read_extent
from proxy_service.providers.translation import ErrorTranslation, StreamTranslation
from proxy_service.sse import FRAME_END_BEGUN_BYTES_MAX, FrameBuffer, frames_of
from proxy_service.wire import Headers, RequestHead, ResponseHead
from proxy_service.withholding import FRAME_BYTES_MAX, Withholder

ONE_BY_ONE_BYTES_MAX = 256
CUTS_MAX = 6
REQUEST_BYTES = 100
DECODED_BYTES_MAX = 256 * 1024
TINY_BYTES_MAX = 200  # of a frame or message, so that limits are met

Pieces = Sequence[bytes]
Exchanged = tuple[bytes, bytes, Headers, bytes]  # a request line or status line in two, headers, body


def splits_of(data: bytes) -> Iterator[Pieces]:
    """Whole, byte by byte, and cut at places that follow from the bytes."""
    yield [data]
    if len(data) <= ONE_BY_ONE_BYTES_MAX:
        yield [data[at : at + 1] for at in range(len(data))]
    chance = random.Random(crc32(data))  # noqa: S311 - to be repeated
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, CUTS_MAX)))
    yield [data[start:end] for start, end in itertools.pairwise([0, *places, len(data)]) if start < end]


def same_for_all_splits(data: bytes, read: Callable[[Pieces], Any]) -> Any:
    """What was read. Raises: AssertionError where a split makes a difference."""
    first, *others = [read(pieces) for pieces in splits_of(data)]
    for other in others:
        assert other == first, f"a split made a difference: {first!r} {other!r}"
    return first


# HTTP/1.1, from callers

LIMITS = HeadLimits(head_bytes_max=2048, target_bytes_max=256, headers_max=16)
UNREAD_BYTES_MAX = 4 * 1024  # a head, or a chunk's line


class Requests(msgspec.Struct):
    """What a reader made of a caller's bytes; `part` is the body of a request that is not whole."""

    whole: list[tuple[RequestHead, bytes, bool]]
    head: RequestHead | None = None
    part: bytes = b""
    is_refused: bool = False


def read_requests(pieces: Pieces) -> Requests:
    """As the listener does; what is not whole when it is refused does not count."""
    reader, found = RequestReader(LIMITS), Requests([])
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next_event()) is not Signal.NEED_DATA:
                if isinstance(event, RequestHead):
                    found.head, found.part = event, b""
                elif isinstance(event, bytes):
                    found.part += event
                elif found.head is not None:
                    found.whole.append((found.head, found.part, reader.is_keep_alive))
                    found.head, found.part = None, b""
            assert reader.waiting_bytes < UNREAD_BYTES_MAX, "more is held than may be"
    except Refused:
        found.head, found.part, found.is_refused = None, b"", True
    return found


def http_requests(data: bytes) -> None:
    """Requests of a caller: what is served is what another reader would serve, and goes on as one request."""
    found: Requests = same_for_all_splits(data, read_requests)
    served = list(until_last(found.whole))
    theirs = read_by_h11_server(data)
    for (head, body, _), other in zip(served, theirs, strict=False):
        assert exchanged(head, body) == other, "another reader sees another request"
    if len(served) == len(found.whole) and not found.is_refused:
        assert len(theirs) <= len(served), "another reader sees more requests"
    for head, body, _ in served:
        check_upload(head, body)


def until_last(
    requests: Sequence[tuple[RequestHead, bytes, bool]],
) -> Iterator[tuple[RequestHead, bytes, bool]]:
    """The requests that are answered: none behind one that ends its connection."""
    for request in requests:
        yield request
        if not request[2]:
            return


def exchanged(head: RequestHead, body: bytes) -> Exchanged:
    return head.method, head.target, stripped(head.headers), body


def stripped(headers: Headers) -> Headers:
    """As h11 gives them: without the blanks around a value, and a coding in small letters."""
    values = [(name, value.strip(b" \t")) for name, value in headers]
    is_coding = b"transfer-encoding".__eq__
    return [(name, value.lower() if is_coding(name.lower()) else value) for name, value in values]


def read_by_h11_server(data: bytes) -> list[Exchanged]:
    """The whole requests that h11 reads, up to where it gives up or the connection ends."""
    connection, found, head, body = h11.Connection(h11.SERVER), [], None, b""
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                found.append((head.method, head.target, list(head.headers.raw_items()), body))
                if connection.our_state is h11.MUST_CLOSE:
                    return found
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return found
    except h11.ProtocolError:
        return found


def check_upload(head: RequestHead, body: bytes) -> None:
    """What leaves for the upstream is that request and nothing else, in whole and in chunks."""
    for framing, framed_body in ways_to_send(body):
        raw = request_head(head.method, head.target, b"upstream:1", head.headers, framing) + framed_body
        requests = read_by_h11_server(raw)
        assert [(method, target, sent) for method, target, _, sent in requests] in (
            [],
            [(head.method, head.target, body)],
        ), "another request goes up"


def ways_to_send(body: bytes) -> list[tuple[bytes, bytes]]:
    """Framing and body: of known length, and in chunks."""
    length = b"Content-Length: %d\r\n" % len(body)
    return [(length, body), (b"Transfer-Encoding: chunked\r\n", chunk(body) + LAST_CHUNK)]


# HTTP/1.1, from upstreams

FOR_HEAD = b"H"


class AnswerRead(msgspec.Struct):
    """What a reader made of an upstream's bytes, and then of their end."""

    head: ResponseHead | None
    body: bytes
    is_complete: bool
    is_broken: bool
    is_reusable: bool


def read_answer(pieces: Pieces, *, is_for_head: bool) -> AnswerRead:
    """As the relay does."""
    reader = ResponseReader()
    reader.begin(is_for_head=is_for_head)
    body = b"".join([reader.feed(piece) for piece in pieces])
    is_complete, is_reusable = reader.is_complete, reader.is_reusable
    assert not (reader.is_broken and reader.is_complete)
    reader.end_of_input()
    assert reader.is_complete != reader.is_broken, "an answer is neither whole nor cut"
    return AnswerRead(reader.head, body, reader.is_complete, reader.is_broken, is_complete and is_reusable)


def http_answers(data: bytes) -> None:
    """Answers of an upstream: what counts as whole is what another reader takes for it, and goes on so."""
    is_for_head, data = data[:1] == FOR_HEAD, data[1:]
    found: AnswerRead = same_for_all_splits(data, lambda pieces: read_answer(pieces, is_for_head=is_for_head))
    if not found.is_complete:
        return
    assert found.head is not None
    theirs = read_by_h11_client(data, is_for_head=is_for_head)
    head = found.head
    ours = (b"%d" % head.status, head.reason.strip(), stripped(head.headers), found.body)
    assert theirs in (None, ours), f"another reader sees another answer: {ours!r} {theirs!r}"
    check_download(head, found.body, is_for_head=is_for_head)


def read_by_h11_client(data: bytes, *, is_for_head: bool) -> Exchanged | None:
    """The answer as h11 reads it; None where it gives up."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="HEAD" if is_for_head else "GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    head, body = None, b""
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(b"")  # the end
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                status = b"%d" % head.status_code
                return status, bytes(head.reason).strip(), list(head.headers.raw_items()), body
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.ProtocolError:
        return None


def check_download(head: ResponseHead, body: bytes, *, is_for_head: bool) -> None:
    """What goes to the caller is that answer and nothing else."""
    for framing, sent in ways_to_send(body):
        is_bodiless = is_for_head or head.status in {204, 304}
        raw = response_head(head.status, head.reason, head.headers, framing)
        passed = read_answer([raw if is_bodiless else raw + sent], is_for_head=is_for_head)
        assert (passed.is_complete, passed.body) == (True, body)


# Server-sent events

STREAMED = [
    b"/v1/messages",
    b"/v1/chat/completions",
    b"/v1/completions",
    b"/v1/responses",
    b"/bedrock/model/m/invoke-with-response-stream",
]
SSE: Headers = [(b"content-type", b"text/event-stream")]


def route_of(path: bytes) -> Route:
    route = match(RequestHead(b"POST", path, []))
    assert route is not None
    return route


def server_sent_events(data: bytes) -> None:
    """A stream's frames, what they say was used, and the frame that a caller did not ask for."""
    route, stream = route_of(STREAMED[ord(data[:1] or b"\0") % len(STREAMED)]), data[1:]
    same_for_all_splits(stream, framed)
    same_for_all_splits(stream, lambda pieces: told(stream, metered(meter_of(route, SSE), pieces)))
    same_for_all_splits(stream, lambda pieces: told(stream, metered(tiny_sse_meter(), pieces)))
    check_withheld(stream, same_for_all_splits(stream, withheld))


def told(stream: bytes, reading: Reading) -> Reading:
    """The reading, without its estimate of text where a frame's JSON is broken.

    A string that nobody ends may seem to end in the next frame, if that came with it.
    """
    if reading.usage is None or reading.estimate_method == "none" or is_sound(stream):
        return reading
    usage = msgspec.structs.replace(reading.usage, output_tokens=0)
    return msgspec.structs.replace(reading, usage=usage, estimate_method="delivered_bytes")


def is_sound(stream: bytes) -> bool:
    """Whether no line holds half a string."""
    for line in re.split(rb"[\r\n]+", stream):
        field, _, said = line.partition(b"data:")
        try:
            json.loads(said.replace(b"[DONE]", b"").strip() or b"null")
        except (ValueError, RecursionError):
            return False
        if b'"' in field:
            return False
    return True


def framed(pieces: Pieces) -> list[bytes]:
    buffer = FrameBuffer()
    frames = [frame for piece in pieces for frame in frames_of(buffer.feed(piece))]
    assert b"".join(frames) + bytes(buffer.rest) == b"".join(pieces), "frames lose or invent bytes"
    said = [frame.strip(b"\r\n") for frame in [*frames, bytes(buffer.rest)]]
    return list(filter(None, said))  # an empty line too many is a frame's end or its beginning


def meter_of(route: Route, headers: Headers) -> Meter:
    return make_meter(route, Ask(streaming=True), ResponseHead(200, b"OK", headers), REQUEST_BYTES)


def tiny_sse_meter() -> Meter:
    reader = MessagesReader()
    framing = SseFraming(reader, TINY_BYTES_MAX)
    return Meter(reader, framing, status=200, content_encoding=None, request_body_bytes=REQUEST_BYTES)


def metered(meter: Meter, pieces: Pieces, failures: tuple[str, ...] = ()) -> Reading:
    for piece in pieces:
        meter.feed(piece)
    reading = meter.finish()
    assert meter.failure in {"", *failures}, f"an error that is not declared: {meter.failure}"
    counted = msgspec.to_builtins(reading.usage).values()
    assert all(0 <= figure <= 8 * TOKENS_MAX for figure in counted), "a figure out of bounds"
    return reading


def withheld(pieces: Pieces) -> bytes:
    withholder, passed = Withholder(), b""
    came = 0
    for piece in pieces:
        came += len(piece)
        passed += withholder.feed(piece)
        held_max = 3 * FRAME_BYTES_MAX + len(piece) + FRAME_END_BEGUN_BYTES_MAX
        assert came - len(passed) <= held_max, "more is held than may be"
    return passed + withholder.finish()


def check_withheld(stream: bytes, passed: bytes) -> None:
    """All of it passed, in order, but for frames of usage; a stream without any passed byte for byte."""
    if len(passed) == len(stream):
        assert passed == stream, "bytes were changed"
        return
    left = iter(frames_said(passed))
    expected = next(left, None)
    for said in frames_said(stream):
        if said == expected:
            expected = next(left, None)
        else:
            assert b'"usage"' in said, "a frame is missing that is none of usage"
    assert expected is None, "a frame was invented"


def frames_said(stream: bytes) -> list[bytes]:
    """The frames without the empty lines around them."""
    return [frame.strip(b"\r\n") for frame in frames_of(stream) if frame.strip(b"\r\n")]


# AWS event streams

STREAMED_BY_AWS = [
    b"/bedrock/model/m/converse-stream",
    b"/bedrock/model/m/invoke-with-response-stream",
    b"/bedrock/v1/messages",
]
EVENT_STREAM: Headers = [(b"content-type", b"application/vnd.amazon.eventstream")]
SEALED_MESSAGE_BYTES_MAX = 1024


def aws_event_stream(data: bytes) -> None:
    """Messages between checksums, what they say was used, their translation. An odd first byte seals them."""
    variant, stream = ord(data[:1] or b"\0"), data[1:]
    if variant % 2:
        stream = sealed(stream)
    route = route_of(STREAMED_BY_AWS[variant // 2 % len(STREAMED_BY_AWS)])
    same_for_all_splits(stream, messages)
    same_for_all_splits(stream, lambda pieces: metered(meter_of(route, EVENT_STREAM), pieces))
    same_for_all_splits(stream, lambda pieces: metered(tiny_aws_meter(), pieces))
    same_for_all_splits(stream, translated)


def sealed(data: bytes) -> bytes:
    """The bytes as messages whose lengths and checksums are right: nobody guesses a checksum."""
    parts = []
    while len(data) >= 12:
        size = 16 + int.from_bytes(data[2:4], "big") % SEALED_MESSAGE_BYTES_MAX
        headers = min(size - 16, int.from_bytes(data[6:8], "big"))
        prelude = size.to_bytes(4, "big") + headers.to_bytes(4, "big")
        content = data[12 : size - 4].ljust(size - 16, b"\0")
        message = prelude + crc32(prelude).to_bytes(4, "big") + content
        parts.append(message + crc32(message).to_bytes(4, "big"))
        data = data[size:]
    return b"".join(parts) + data


def messages(pieces: Pieces) -> tuple[list[Message], bool]:
    buffer = MessageBuffer(TINY_BYTES_MAX)
    found: list[Message] = []
    try:
        for piece in pieces:
            for message in buffer.feed(piece):
                found.append(message)  # those before a break count
            assert len(buffer.rest) <= TINY_BYTES_MAX + len(piece), "more is held than may be"
    except EventStreamBroken:
        return found, True
    return found, False


def tiny_aws_meter() -> Meter:
    reader = ConverseReader()
    framing = EventStreamFraming(reader, TINY_BYTES_MAX)
    return Meter(reader, framing, status=200, content_encoding=None, request_body_bytes=REQUEST_BYTES)


def translated(pieces: Pieces) -> bytes | None:
    """What the caller gets of a translated stream; None where it is cut."""
    translation = StreamTranslation(ResponseHead(200, b"OK", EVENT_STREAM))
    try:
        return b"".join([translation.feed(piece) for piece in pieces]) + translation.finish()
    except EventStreamBroken:
        return None


# JSON: calls and whole answers

READ_WHOLE = [
    b"/v1/messages",
    b"/v1/chat/completions",
    b"/v1/completions",
    b"/v1/responses",
    b"/v1/embeddings",
    b"/bedrock/model/m/converse",
    b"/bedrock/model/m/invoke",
]
JSON: Headers = [(b"content-type", b"application/json")]


def usage_json(data: bytes) -> None:
    """A body as a whole answer, as a call, as one to be edited, and as lines of a batch's results."""
    route, body = route_of(READ_WHOLE[ord(data[:1] or b"\0") % len(READ_WHOLE)]), data[1:]
    same_for_all_splits(body, lambda pieces: metered(meter_of(route, JSON), pieces))
    same_for_all_splits(body, batch_items)
    is_worth_keeping(route.operation, JSON, body)
    error = ErrorTranslation(ResponseHead(500, b"Error", JSON), "req_1")
    assert not error.feed(body)
    json.loads(error.finish())
    try:
        ask = read_ask(route, JSON, body)
        read_template(route, JSON, body)
        read_extent(route, JSON, body, ask.model)
    except RequestRefused:
        return
    assert ask.choices >= 1
    check_edit(body)


def batch_items(pieces: Pieces) -> tuple[list[BatchItem], int]:
    results = BatchResults(None, TINY_BYTES_MAX)
    found = [item for piece in pieces for item in results.feed(piece)]
    return found + results.finish(), results.skipped_lines


def check_edit(body: bytes) -> None:
    """A member that is put in changes that member and nothing else."""
    try:
        edited = with_member(body, "model", lambda _: b'"another"')
        before: Any = json.loads(body, object_pairs_hook=list, parse_float=str, parse_int=str)
    except (NotEditable, ValueError, RecursionError):
        return
    after: Any = json.loads(edited, object_pairs_hook=list, parse_float=str, parse_int=str)
    names = [name for name, _ in before]
    expected = [(name, "another" if name == "model" else value) for name, value in before]
    assert after == expected + ([] if "model" in names else [("model", "another")])


# Content encodings

CODINGS = [b"gzip", b"deflate", b"br", b"zstd", b"gzip, br", b"zstd, deflate, gzip"]


def content_encodings(data: bytes) -> None:
    """What a peer compressed: undone within bounds, or not at all."""
    coding, packed = CODINGS[ord(data[:1] or b"\0") % len(CODINGS)], data[1:]
    same_for_all_splits(packed, lambda pieces: unpacked(coding, pieces))
    with contextlib.suppress(Undecodable):
        assert len(decoded(packed, coding, DECODED_BYTES_MAX)) <= DECODED_BYTES_MAX


def unpacked(coding: bytes, pieces: Pieces) -> bytes | None:
    """What came out; None where the bytes are broken, and then what came before does not count."""
    out: list[bytes] = []
    feed = open_decoder(coding, out.append, DECODED_BYTES_MAX)
    try:
        for piece in pieces:
            feed(piece)
    except TooMuchDecoded:
        assert sum(map(len, out)) <= DECODED_BYTES_MAX, "more came out than may"
        return None
    except Undecodable:
        return None
    return b"".join(out)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "http_requests": http_requests,
    "http_answers": http_answers,
    "server_sent_events": server_sent_events,
    "aws_event_stream": aws_event_stream,
    "usage_json": usage_json,
    "content_encodings": content_encodings,
}
