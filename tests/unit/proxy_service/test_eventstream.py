import struct
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from demo import eventstream as demo
from proxy_service.eventstream import MESSAGE_BYTES_MAX, EventStreamBroken, Message, MessageBuffer
from tests.unit.proxy_service.answers import cut_at

_NAMES = st.text("abcdefgXYZ:-", min_size=1, max_size=20)
_VALUES = st.text("abc/ 0", max_size=40)
_TYPED_HEADERS = b"".join(
    (
        b"\x01a\x00",
        b"\x01b\x01",
        b"\x01c\x02" + bytes(1),
        b"\x01d\x03" + bytes(2),
        b"\x01e\x04" + bytes(4),
        b"\x01f\x05" + bytes(8),
        b"\x01g\x06\x00\x02hi",
        b"\x01h\x08" + bytes(8),
        b"\x01i\x09" + bytes(16),
        b"\x0b:event-type\x07\x00\x05chunk",
    )
)


def _read(pieces: list[bytes]) -> list[Message]:
    buffer = MessageBuffer()
    return [message for piece in pieces for message in buffer.feed(piece)]


def _framed(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return message + struct.pack("!I", crc32(message))


@given(
    st.lists(st.tuples(st.dictionaries(_NAMES, _VALUES, max_size=3), st.binary(max_size=80)), max_size=4),
    st.lists(st.integers(min_value=0), max_size=6),
)
def test_messages_are_what_the_aws_client_reads(
    sent: list[tuple[dict[str, str], bytes]], places: list[int]
) -> None:
    stream = b"".join(demo.message({**headers, ":event-type": "chunk"}, payload) for headers, payload in sent)
    aws = EventStreamBuffer()
    aws.add_data(stream)

    read = _read(cut_at(stream, places))

    events = [event.to_response_dict() for event in aws]
    assert [message.payload for message in read] == [event["body"] for event in events]
    assert all(message.kind == "chunk" for message in read)


def test_headers_of_every_type_are_stepped_over() -> None:
    assert _read([_framed(_TYPED_HEADERS, b"x")]) == [Message(kind="chunk", payload=b"x")]


def test_exceptions_and_errors_are_told_from_events() -> None:
    stream = demo.exception("throttlingException", b"{}") + demo.message(
        {":message-type": "error", ":error-code": "Broken"}, b""
    )

    read = _read([stream])

    assert [(message.kind, message.is_exception) for message in read] == [
        ("throttlingException", True),
        ("Broken", True),
    ]


def test_a_changed_byte_anywhere_is_noticed() -> None:
    message = demo.event("chunk", b'{"bytes":"aGk="}')

    for at in range(len(message)):
        damaged = bytearray(message)
        damaged[at] ^= 1
        with pytest.raises(EventStreamBroken):
            _read([bytes(damaged)])


def test_messages_before_the_damage_are_given() -> None:
    buffer = MessageBuffer()
    messages = buffer.feed(demo.event("one", b"1") + b"no message at all, but long enough")

    assert next(messages).kind == "one"
    with pytest.raises(EventStreamBroken):
        next(messages)


@given(st.lists(st.integers(min_value=0), max_size=6))
def test_a_message_that_is_too_long_is_stepped_over_whatever_the_split(places: list[int]) -> None:
    one, two, long = demo.event("one", b"1"), demo.event("two", b"2"), demo.event("one", b"x" * 200)
    buffer = MessageBuffer(held_bytes_max=len(one))

    read = [each for piece in cut_at(one + long + two + long, places) for each in buffer.feed(piece)]

    assert [each.payload for each in read] == [b"1", b"2"]
    assert buffer.has_skipped
    assert not buffer.rest


def test_a_message_that_is_too_long_is_never_held() -> None:
    buffer = MessageBuffer(held_bytes_max=100)

    for piece in cut_at(demo.event("one", b"x" * 1000), range(0, 1000, 10)):
        assert list(buffer.feed(piece)) == []
        assert len(buffer.rest) < 20


@pytest.mark.parametrize(
    ("total", "headers"),
    [(15, 0), (MESSAGE_BYTES_MAX + 1, 0), (400_000, 128 * 1024 + 1), (20, 8)],
    ids=["shorter than its framing", "longer than allowed", "headers longer than allowed", "headers overlap"],
)
def test_impossible_lengths_are_refused_before_anything_is_kept(total: int, headers: int) -> None:
    prelude = struct.pack("!II", total, headers)

    with pytest.raises(EventStreamBroken):
        _read([prelude + struct.pack("!I", crc32(prelude))])


@pytest.mark.parametrize(
    "headers", [b"\x05ab", b"\x01a", b"\x01a\x0c", b"\x01a\x07\x00\x09x", b"\x01a\x07\x00"]
)
def test_headers_that_do_not_add_up_are_refused(headers: bytes) -> None:
    with pytest.raises(EventStreamBroken):
        _read([_framed(headers, b"")])
