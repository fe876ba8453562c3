import re
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_service.withholding import FRAME_BYTES_MAX, Withholder
from tests.unit.proxy_service.answers import cut_at

USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}'
CONTENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"choices\\":[]"}}],"usage":null}'
FILTERS = b'data: {"choices":[],"prompt_filter_results":[]}'
NULL_USAGE = b'data: {"choices":[],"usage":null}'
SPACED = b'data: {"choices" : [ ], "usage": {"prompt_tokens": 9}}'
DONE = b"data: [DONE]"
FRAMES = st.sampled_from(
    [USAGE, CONTENT, FILTERS, NULL_USAGE, SPACED, DONE, b": ping", b"", b"event: x", b"{}"]
)
ENDS = st.sampled_from([b"\n\n", b"\r\n\r\n"])


def _passed(pieces: list[bytes]) -> bytes:
    withholder = Withholder()
    return b"".join(map(withholder.feed, pieces)) + withholder.finish()


def _without_usage_frames(stream: bytes) -> bytes:
    """The oracle, on the whole stream: a usage frame goes if nothing or `[DONE]` follows it."""
    parts = re.split(rb"((?:\r?\n)+(?:\r?\n))", stream)
    frames, ends = parts[0::2], [*parts[1::2], b""]
    kept = b""
    for at, (frame, end) in enumerate(zip(frames, ends, strict=True)):
        following = next((later for later in frames[at + 1 :] if later.strip()), DONE)
        is_usage = frame.strip() in (USAGE, SPACED) and following.strip() == DONE
        kept += end[len(re.match(rb"\r?\n\r?\n|", end)[0]) :] if is_usage else frame + end  # type: ignore[index]  # matches always
    return kept


@given(st.lists(st.tuples(FRAMES, ENDS), max_size=7), st.lists(st.integers(min_value=0), max_size=8))
@settings(max_examples=300)
def test_exactly_the_last_usage_frame_is_withheld_whatever_the_split(
    sent: list[tuple[bytes, bytes]], places: list[int]
) -> None:
    stream = b"".join(frame + end for frame, end in sent)

    assert _passed(cut_at(stream, places)) == _without_usage_frames(stream)


@given(st.binary(max_size=80), st.lists(st.integers(min_value=0), max_size=6))
def test_what_has_no_usage_frame_passes_byte_for_byte(stream: bytes, places: list[int]) -> None:
    assert _passed(cut_at(stream, places)) == stream


def test_a_frame_that_is_no_utf_8_is_none_of_ours_and_passes() -> None:
    stream = USAGE.replace(b'"prompt', b'"\xec') + b"\n\n" + DONE + b"\n\n"

    assert _passed([stream]) == stream


def test_a_whole_frame_passes_at_once() -> None:
    withholder = Withholder()

    assert withholder.feed(CONTENT + b"\n\n") == CONTENT + b"\n\n"
    assert withholder.feed(CONTENT + b"\n\n" + CONTENT[:20]) == CONTENT + b"\n\n"
    assert withholder.feed(CONTENT[20:] + b"\n\n") == CONTENT + b"\n\n"


def test_a_usage_frame_in_the_middle_was_none_and_passes_in_its_place() -> None:
    withholder = Withholder()

    assert withholder.feed(USAGE + b"\n\n") == b""
    assert withholder.feed(CONTENT + b"\n\n") == USAGE + b"\n\n" + CONTENT + b"\n\n"


def test_a_usage_frame_without_an_empty_line_behind_it_is_withheld_too() -> None:
    assert _passed([CONTENT + b"\n\n" + USAGE]) == CONTENT + b"\n\n"


@pytest.mark.parametrize("size", [FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1])
def test_a_frame_waits_up_to_the_limit_and_no_longer(size: int) -> None:
    frame = b"data: " + b"x" * (size - 6)
    withholder = Withholder()

    waiting = size - len(withholder.feed(frame))

    assert waiting == (size if size <= FRAME_BYTES_MAX else 2)
    assert withholder.feed(b"\n\n" + DONE) + withholder.finish() == frame[size - waiting :] + b"\n\n" + DONE


def test_a_long_frame_in_pieces_passes_whole_and_the_next_usage_frame_does_not() -> None:
    long = b'data: {"choices":[],"usage":{"x":"' + b"y" * FRAME_BYTES_MAX + b'"}}\n\n'
    stream = long + USAGE + b"\n\n" + DONE + b"\n\n"

    assert _passed([stream]) == _passed(cut_at(stream, range(0, len(stream), 1000))) == long + DONE + b"\n\n"


def test_a_flood_without_frames_costs_little_memory() -> None:
    withholder = Withholder()
    tracemalloc.start()

    for _ in range(200):
        withholder.feed(b"x" * 50_000)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * FRAME_BYTES_MAX


def test_an_sdk_gets_the_stream_it_would_get_without_us() -> None:
    stream = b"".join(frame + b"\n\n" for frame in (CONTENT, CONTENT, USAGE, DONE))
    lines = _passed([stream]).splitlines()
    chunks = [msgspec.json.decode(line[6:]) for line in lines if line.startswith(b"data: {")]

    assert all(chunk["choices"] for chunk in chunks)
