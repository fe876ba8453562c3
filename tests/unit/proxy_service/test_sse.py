import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from proxy_service.sse import FrameBuffer, data_of, frames_of
from tests.unit.proxy_service.answers import cut_at

_LINES = st.sampled_from(
    ["data: {}", "data:x", "data: a b", "data:", "event: e", ": comment", "id: 1", "retry: 5", "junk", ""]
)


def _split(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    buffer = FrameBuffer()
    frames = [frame for piece in pieces for frame in frames_of(buffer.feed(piece))]
    return frames, bytes(buffer.rest)


@pytest.mark.battery_class("bytes split anywhere")
@given(
    st.lists(_LINES, max_size=12), st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(min_value=0))
)
def test_frames_say_what_an_sdk_hears(lines: list[str], line_end: str, places: list[int]) -> None:
    stream = (line_end.join([*lines, "", ""])).encode()
    heard = [event.data for event in SSEDecoder().iter_bytes(iter([stream]))]

    frames, rest = _split(cut_at(stream, places))

    assert [data_of(frame).decode() for frame in [*frames, rest] if data_of(frame)] == [
        data for data in heard if data
    ]


@pytest.mark.battery_class("bytes split anywhere")
@given(st.binary(max_size=60), st.lists(st.integers(min_value=0), max_size=6))
def test_no_byte_is_lost_or_made_up(data: bytes, places: list[int]) -> None:
    frames, rest = _split(cut_at(data, places))

    assert b"".join(frames) + rest == data


def test_a_frame_is_given_as_soon_as_its_last_byte_has_come() -> None:
    buffer = FrameBuffer()

    assert buffer.feed(b"data: 1\n") == b""
    assert buffer.feed(b"\ndata: 2") == b"data: 1\n\n"
    assert buffer.feed(b"\n\n") == b"data: 2\n\n"


def test_several_data_lines_are_one_text() -> None:
    assert data_of(b"event: x\ndata: {\ndata:  }\n\n") == b"{\n }"
