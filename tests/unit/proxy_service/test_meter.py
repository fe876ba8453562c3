import gzip
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo import eventstream
from metering.usage import TOKENS_MAX, Reading, Usage
from proxy_service.meter import (
    ANSWER_BYTES_MAX,
    EVENT_BYTES_MAX,
    LAST_EVENT_BYTES_MAX,
    EventStreamFraming,
    Meter,
    SseFraming,
    text_bytes,
)
from proxy_service.providers.bedrock import ConverseReader
from proxy_service.providers.openai import ChatReader, ResponsesReader
from tests.unit.proxy_service.answers import REQUEST_BYTES, cut_at, read

JSON = [(b"content-type", b"application/json")]
EVENT_STREAM = [(b"content-type", b"application/vnd.amazon.eventstream")]
CHAT = b"/v1/chat/completions"
REQUEST_TOKENS = -(-REQUEST_BYTES // 4)


def _json(usage: Any, **fields: Any) -> bytes:
    return msgspec.json.encode(
        {"model": "m", "content": [{"type": "text", "text": "12345678"}], "usage": usage, **fields}
    )


def _frame(event: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def _start(usage: dict[str, Any]) -> bytes:
    return _frame({"type": "message_start", "message": {"model": "m", "usage": usage}})


def _delta(usage: dict[str, Any], stop_reason: str | None = "end_turn") -> bytes:
    return _frame({"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage})


TEXT = _frame({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "12345678"}})
STOP = _frame({"type": "message_stop"})
START = _start({"input_tokens": 9, "output_tokens": 4})


@pytest.mark.parametrize("usage", [{}, {"completion_tokens": -1}, {"prompt_tokens_details": {}}])
def test_usage_without_a_figure_of_the_output_leaves_that_to_be_estimated_whatever_the_split(
    usage: dict[str, Any],
) -> None:
    text = _frame({"choices": [{"delta": {"content": "12345678"}}]})
    stream = text + _frame({"choices": [], "usage": usage})

    readings = [read(pieces, path=CHAT) for pieces in ([stream], [text, stream[len(text) :]])]

    expected = Usage(input_tokens=REQUEST_TOKENS, output_tokens=2)
    assert [(each.usage, each.estimate_method) for each in readings] == [(expected, "delivered_bytes")] * 2


CHAT_PATH = b"/v1/chat/completions"
NO_CHOICES_YET: dict[str, Any] = {
    "choices": [],
    "prompt_filter_results": [],
    "usage": {"prompt_tokens": 7, "completion_tokens": 0},
}


def _delivering(**delta: Any) -> bytes:
    return _frame({"model": "gpt-4o", "choices": [{"index": 0, "delta": delta}], "usage": None})


def test_a_count_from_before_the_text_is_not_taken_for_the_last() -> None:
    reading = read([_frame(NO_CHOICES_YET), _delivering(content="w" * 160)], path=CHAT_PATH)

    assert reading.usage == Usage(input_tokens=7, output_tokens=40)
    assert (reading.estimate_method, reading.is_complete) == ("delivered_bytes", False)


def test_a_count_from_before_the_text_is_replaced_by_the_last_one() -> None:
    last = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}
    frames = [_frame(NO_CHOICES_YET), _delivering(content="w" * 160), _frame(last), b"data: [DONE]\n\n"]
    reading = read(frames, path=CHAT_PATH)

    assert (reading.usage, reading.estimate_method) == (Usage(input_tokens=7, output_tokens=9), "none")


@pytest.mark.parametrize(
    "delta",
    [
        {"refusal": "w" * 160},
        {"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "sql", "input": "w" * 160}}]},
    ],
    ids=["refusal", "custom tool"],
)
def test_what_a_chat_generates_beside_content_is_estimated_too(delta: dict[str, Any]) -> None:
    reading = read([_delivering(**delta)], path=CHAT_PATH)

    assert reading.usage is not None
    assert (reading.usage.output_tokens, reading.estimate_method) == (40, "delivered_bytes")


@pytest.mark.parametrize(
    ("answer", "headers"),
    [
        ({"embedding": [0.5], "inputTextTokenCount": 5}, []),
        ({"embeddings": [[0.5]], "texts": ["a"]}, [(b"x-amzn-bedrock-input-token-count", b"5")]),
    ],
    ids=["Titan", "Cohere"],
)
def test_embeddings_of_an_invoked_model_have_no_output_to_be_estimated(
    answer: dict[str, Any], headers: list[tuple[bytes, bytes]]
) -> None:
    path = b"/bedrock/model/amazon.titan-embed-text-v2%3A0/invoke"
    reading = read([msgspec.json.encode(answer)], path=path, headers=[*JSON, *headers])

    assert (reading.usage, reading.estimate_method) == (Usage(input_tokens=5), "none")


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_an_answer_that_comes_before_anything_is_generated_says_so(status: str) -> None:
    pending = {"status": status, "background": True, "model": "gpt-5", "usage": None, "output": []}
    reading = read([msgspec.json.encode(pending)], path=b"/v1/responses", headers=JSON)

    assert (reading.estimate_method, reading.is_complete) == ("hold", True)


def test_a_stated_zero_is_a_figure() -> None:
    zero = {"input_tokens": 0, "output_tokens": 0}

    assert read([_json(zero)], headers=JSON) == Reading(usage=Usage(), model="m", is_complete=True)
    assert read([_start(zero) + TEXT + _delta(zero) + STOP]).usage == Usage()


@pytest.mark.parametrize("usage", [None, {}, 5, [], "x"])
def test_absent_usage_is_estimated_and_flagged(usage: Any) -> None:
    reading = read([_json(usage)], headers=JSON)

    assert reading.usage == Usage(input_tokens=REQUEST_TOKENS, output_tokens=2)
    assert reading.estimate_method == "missing_usage"
    assert reading.is_complete


@pytest.mark.parametrize(
    "junk",
    [b"-1", b"1.5", b"1e3", b'"5"', b"true", b"null", b"[1]", b"%d" % (TOKENS_MAX + 1), b"9007199254740991"],
)
def test_a_junk_figure_is_absent_and_no_figure(junk: bytes) -> None:
    body = b'{"usage":{"input_tokens":%s,"output_tokens":7}}' % junk

    reading = read([body], headers=JSON)

    assert reading.usage == Usage(input_tokens=REQUEST_TOKENS, output_tokens=7)
    assert reading.is_estimated


def test_the_largest_plausible_figure_is_one() -> None:
    body = _json({"input_tokens": TOKENS_MAX, "output_tokens": 1})

    assert read([body], headers=JSON).usage == Usage(input_tokens=TOKENS_MAX, output_tokens=1)


@pytest.mark.parametrize("figure", [b"NaN", b"Infinity", b"1e400", b"-0"])
def test_what_is_no_number_makes_no_figure(figure: bytes) -> None:
    reading = read([b'{"usage":{"input_tokens":%s,"output_tokens":7}}' % figure], headers=JSON)

    assert reading.usage is not None
    assert reading.usage.input_tokens == REQUEST_TOKENS
    assert reading.is_estimated


def test_later_figures_replace_and_missing_ones_stay() -> None:
    start = {
        "input_tokens": 9,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 4,
        "output_tokens": 1,
    }

    reading = read([_start(start) + _delta({"input_tokens": 3, "output_tokens": 8}) + STOP])

    assert reading.usage == Usage(
        input_tokens=3, output_tokens=8, cache_read_tokens=5, cache_write_5m_tokens=4
    )


@pytest.mark.parametrize(
    ("total", "split_5m", "split_1h", "expected"),
    [
        (100, 60, 40, (60, 40)),
        (100, None, 40, (60, 40)),
        (100, None, None, (100, 0)),
        (None, 60, 40, (60, 40)),
        (30, 60, 40, (0, 30)),
        (0, None, None, (0, 0)),
    ],
)
def test_cache_writes_add_up_to_the_stated_total(
    total: int | None, split_5m: int | None, split_1h: int | None, expected: tuple[int, int]
) -> None:
    usage = {
        "input_tokens": 1,
        "output_tokens": 1,
        "cache_creation_input_tokens": total,
        "cache_creation": {"ephemeral_5m_input_tokens": split_5m, "ephemeral_1h_input_tokens": split_1h},
    }

    found = read([_json(usage)], headers=JSON).usage

    assert found is not None
    assert (found.cache_write_5m_tokens, found.cache_write_1h_tokens) == expected


def test_fast_mode_is_a_tier_of_its_own() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "service_tier": "standard", "speed": "fast"}

    assert read([_json(usage)], headers=JSON).service_tier == "fast"


@pytest.mark.parametrize("cached", [1000, 1001, TOKENS_MAX])
def test_parts_never_exceed_the_total_they_are_taken_from(cached: int) -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": cached},
    }

    assert read([_json(usage)], path=CHAT, headers=JSON).usage == Usage(
        output_tokens=1, cache_read_tokens=1000
    )


@pytest.mark.battery_class("usage of any shape")
@given(
    st.integers(0, 10_000),
    st.integers(0, 12_000),
    st.integers(0, 12_000),
    st.integers(0, 5_000),
    st.integers(0, 6_000),
)
def test_the_buckets_of_a_prompt_are_disjoint_and_add_up(
    prompt: int, cached: int, written: int, output: int, reasoning: int
) -> None:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }

    found = read([_json(usage)], path=CHAT, headers=JSON).usage

    assert found is not None
    assert (found.prompt_tokens, found.output_tokens) == (prompt, output)
    assert found.reasoning_tokens == min(reasoning, output)


@pytest.mark.parametrize(
    ("pieces", "input_tokens", "output_tokens", "method"),
    [
        ([], REQUEST_TOKENS, 0, "request_bytes"),
        ([b": ping\n\n"], REQUEST_TOKENS, 0, "request_bytes"),
        ([START], 9, 0, "delivered_bytes"),
        ([START, TEXT], 9, 2, "delivered_bytes"),
        ([TEXT, TEXT], REQUEST_TOKENS, 4, "delivered_bytes"),
        ([START, TEXT, _delta({"output_tokens": 50}, None)], 9, 50, "delivered_bytes"),
        ([START, TEXT, _delta({"output_tokens": 1}, None)], 9, 2, "delivered_bytes"),
        ([START, TEXT, _delta({"output_tokens": 50})], 9, 50, "none"),
    ],
    ids=[
        "nothing",
        "only a comment",
        "only the start, with its placeholder",
        "start and text",
        "only text",
        "running figure above the text",
        "running figure below the text",
        "all but the end",
    ],
)
def test_a_cut_stream_uses_up_what_was_seen(
    pieces: list[bytes], input_tokens: int, output_tokens: int, method: str
) -> None:
    reading = read(pieces)

    assert reading.usage == Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    assert (reading.estimate_method, reading.is_complete) == (method, False)


_CHUNK = {"model": "m", "choices": [{"index": 0, "delta": {"content": '"usage": {'}}], "usage": None}
_COUNTED = {"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
FRAMES = {
    b"/v1/messages": [
        START,
        TEXT,
        STOP,
        _delta({"output_tokens": 50}),
        _delta({"output_tokens": 5}, None),
        b"event: content_block_delta\n" + _delta({"output_tokens": 90}),
        b"event: content_block_delta\n" + TEXT,
        b"event: error\r\n" + _frame({"type": "error", "error": {}}),
    ],
    CHAT: [
        _frame(_CHUNK),
        _frame(_CHUNK | {"model": "other"}),
        _frame(_CHUNK | {"usage": {"prompt_tokens": 9, "completion_tokens": 1}}),
        _frame(_COUNTED),
        _frame(_COUNTED).replace(b":{", b": {").replace(b"\n", b"\r"),
        _frame({"error": {"message": "x"}}),
        b"data: [DONE]\n\n",
    ],
}
BLANKS = [b": ping\n\n", b"\n", b"\r\n", b"junk\n\n", b"data: {\n\n", b"data: {}\ndata: \n\n"]


@pytest.mark.battery_class("usage of any shape")
@given(st.data(), st.sampled_from(sorted(FRAMES)), st.lists(st.integers(min_value=0), max_size=10))
@settings(max_examples=300)
def test_any_frames_in_any_order_read_the_same_whatever_the_split(
    data: st.DataObject, path: bytes, places: list[int]
) -> None:
    frames = data.draw(st.lists(st.sampled_from(FRAMES[path] + BLANKS), max_size=9))
    stream = b"".join(frames)

    assert read(cut_at(stream, places), path=path) == read([stream], path=path)


@pytest.mark.parametrize(("longest", "tokens"), [(None, 6), (6, 6), (5, 5)])
def test_no_estimate_exceeds_the_longest_answer_that_was_asked_for(longest: int | None, tokens: int) -> None:
    reading = read([START, TEXT, TEXT, TEXT], output_tokens_max=longest)

    assert reading.usage == Usage(input_tokens=9, output_tokens=tokens)


def test_nor_does_that_of_an_answer_that_cannot_be_read() -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"of tomorrow")]
    reading = read([b"x" * 4_000], headers=headers, output_tokens_max=7)

    assert reading.usage == Usage(input_tokens=REQUEST_TOKENS, output_tokens=7)


def test_a_cut_body_is_estimated_from_what_came_of_it() -> None:
    reading = read([b'{"model":"m","content":[{"text":"1234'], headers=JSON)

    assert reading.usage == Usage(input_tokens=REQUEST_TOKENS, output_tokens=10)
    assert (reading.estimate_method, reading.is_complete) == ("delivered_bytes", False)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
@pytest.mark.parametrize(
    "path", [b"/v1/messages", CHAT, b"/v1/embeddings", b"/v1/responses", b"/bedrock/model/m/converse"]
)
@pytest.mark.parametrize(
    "body", [b'{"type":"error","error":{"type":"x","message":"y"}}', b"<html>bad gateway</html>", b""]
)
def test_an_error_answer_used_nothing(status: int, path: bytes, body: bytes) -> None:
    reading = read([body], path=path, headers=JSON, status=status)

    assert (reading.usage, reading.estimate_method, reading.is_error) == (Usage(), "none", True)


def test_an_error_object_in_a_200_is_an_error() -> None:
    reading = read([b'{"error":{"message":"no"}}'], path=CHAT, headers=JSON)

    assert (reading.is_error, reading.usage) == (True, Usage())


def test_the_end_of_a_chat_stream_counts_without_its_empty_line() -> None:
    chunk = _frame({"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})

    reading = read([chunk + b"data: [DONE]"], path=CHAT)

    assert (reading.usage, reading.is_complete) == (Usage(input_tokens=3, output_tokens=4), True)


@pytest.mark.parametrize("coding", [b"made-up", b"gzip"])
def test_what_cannot_be_decoded_is_estimated_and_given_the_benefit_of_the_doubt(coding: bytes) -> None:
    reading = read([b"x" * 40], headers=[*JSON, (b"content-encoding", coding)])

    assert reading.usage == Usage(input_tokens=REQUEST_TOKENS, output_tokens=10)
    assert (reading.estimate_method, reading.is_complete) == ("missing_usage", True)


def test_a_damaged_event_stream_is_read_up_to_the_damage() -> None:
    metadata = eventstream.event("metadata", b'{"usage":{"inputTokens":5,"outputTokens":6}}')
    damaged = bytearray(metadata)
    damaged[30] ^= 1
    text = eventstream.event("contentBlockDelta", b'{"delta":{"text":"12345678"}}')

    reading = read(
        [text + bytes(damaged) + metadata], path=b"/bedrock/model/m/converse-stream", headers=EVENT_STREAM
    )

    assert reading.usage == Usage(input_tokens=REQUEST_TOKENS, output_tokens=2)
    assert reading.estimate_method == "missing_usage"


def _pieces(total: int, tail: bytes) -> Iterator[bytes]:
    head = b'{"model":"m","content":[{"type":"text","text":"'
    yield head
    filler = b"x" * 65_536
    left = total - len(head) - len(tail)
    while left > 0:
        yield filler[:left]
        left -= len(filler)
    yield tail


TAIL = b'"}],"usage":{"input_tokens":5,"output_tokens":6}}'


def test_a_bomb_is_estimated_by_what_came_and_not_by_what_it_swells_to() -> None:
    bomb = gzip.compress(b" " * (2 * ANSWER_BYTES_MAX))

    reading = read([bomb], headers=[*JSON, (b"content-encoding", b"gzip")])

    assert reading.usage == Usage(input_tokens=REQUEST_TOKENS, output_tokens=-(-len(bomb) // 4))
    assert (reading.estimate_method, reading.is_complete) == ("missing_usage", True)


@pytest.mark.parametrize(("size", "is_read"), [(ANSWER_BYTES_MAX, True), (ANSWER_BYTES_MAX + 1, False)])
def test_a_body_is_read_up_to_the_limit(size: int, is_read: bool) -> None:
    reading = read(_pieces(size, TAIL), headers=JSON)

    assert (reading.estimate_method == "none") is is_read
    assert reading.is_complete


def test_a_large_body_is_held_once() -> None:
    size = 20 * 1024 * 1024
    tracemalloc.start()

    reading = read(_pieces(size, TAIL), headers=JSON)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.usage == Usage(input_tokens=5, output_tokens=6)
    assert peak < size * 1.5


def test_an_overlong_frame_is_skipped_whatever_the_split_and_the_rest_is_read() -> None:
    usage = _frame({"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    stream = _frame({"model": "m", "filler": "x" * 500}) + usage + b"data: [DONE]\n\n"

    for pieces in ([stream], cut_at(stream, range(0, len(stream), 50)), cut_at(stream, range(len(stream)))):
        reader = ChatReader()
        framing = SseFraming(reader, frame_bytes_max=300)
        meter = Meter(reader, framing, status=200, content_encoding=None, request_body_bytes=0)
        for piece in pieces:
            meter.feed(piece)

        assert meter.finish().usage == Usage(input_tokens=3, output_tokens=4)
        assert framing.is_unreadable


def test_a_flood_without_frames_costs_little_memory() -> None:
    reader = ResponsesReader()
    meter = Meter(
        reader, SseFraming(reader, 1_000_000), status=200, content_encoding=None, request_body_bytes=0
    )
    tracemalloc.start()

    for _ in range(200):
        meter.feed(b"x" * 100_000)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_frame_that_never_ends_is_not_held_and_estimated_by_what_came() -> None:
    size, piece = 40 * EVENT_BYTES_MAX, b"x" * 65_536
    tracemalloc.start()

    reading = read(piece for _ in range(size // len(piece)))

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.usage == Usage(input_tokens=REQUEST_TOKENS, output_tokens=size // 4)
    assert reading.estimate_method == "missing_usage"
    assert peak < 4 * EVENT_BYTES_MAX


def _padded(head: bytes, tail: bytes, size: int) -> bytes:
    """A frame of exactly that size."""
    return head + b"x" * (size - len(head) - len(tail)) + tail


@pytest.mark.parametrize(
    ("path", "head", "tail", "limit"),
    [
        (
            CHAT,
            b'data: {"model":"',
            b'","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n',
            EVENT_BYTES_MAX,
        ),
        (
            b"/v1/responses",
            b'event: response.completed\ndata: {"type":"response.completed","response":{"instructions":"',
            b'","usage":{"input_tokens":3,"output_tokens":4}}}\n\n',
            LAST_EVENT_BYTES_MAX,
        ),
    ],
    ids=["chat", "responses"],
)
@pytest.mark.parametrize("excess", [0, 1])
def test_a_usage_frame_is_read_up_to_its_limit(
    path: bytes, head: bytes, tail: bytes, limit: int, excess: int
) -> None:
    frame = _padded(head, tail, limit + excess)

    reading = read([frame[at : at + 65_536] for at in range(0, len(frame), 65_536)], path=path)

    assert (reading.usage == Usage(input_tokens=3, output_tokens=4)) is not bool(excess)
    assert (reading.estimate_method == "none") is not bool(excess)


@pytest.mark.parametrize("excess", [0, 1])
def test_an_overlong_message_is_stepped_over_and_the_rest_is_read(excess: int) -> None:
    empty = len(eventstream.event("contentBlockDelta", b""))
    metadata = eventstream.event("metadata", b'{"usage":{"inputTokens":5,"outputTokens":6}}')
    long = eventstream.event("contentBlockDelta", b" " * (EVENT_BYTES_MAX - empty + excess))
    reader = ConverseReader()
    framing = EventStreamFraming(reader)

    for piece in cut_at(long + metadata, [3, 100_000, len(long) - 1, len(long) + 1]):
        framing.feed(piece)

    assert (reader.figures.input_tokens, reader.figures.output_tokens) == (5, 6)
    assert framing.is_unreadable is bool(excess)


def test_a_compressed_bomb_is_not_read_to_its_end() -> None:
    reader = ChatReader()
    meter = Meter(
        reader,
        SseFraming(reader),
        status=200,
        content_encoding=b"gzip",
        request_body_bytes=0,
        decoded_bytes_max=1_000_000,
    )

    meter.feed(gzip.compress(b": ping\n\n" * 1_000_000))

    assert meter.finish().estimate_method == "missing_usage"
    assert meter.failure == "TooMuchDecoded"


class _Faulty(ChatReader):
    def read_event(self, data: bytes) -> None:
        raise RuntimeError("a fault of ours")


def test_a_fault_of_ours_never_reaches_the_call() -> None:
    reader = _Faulty()
    meter = Meter(reader, SseFraming(reader), status=200, content_encoding=None, request_body_bytes=40)

    meter.feed(b"data: {}\n\n")
    meter.feed(b"data: {}\n\n")

    assert meter.finish().usage == Usage(input_tokens=10, output_tokens=5)
    assert meter.failure == "RuntimeError"


@pytest.mark.battery_class("usage of any shape")
@given(
    st.binary(max_size=300),
    st.sampled_from([b"/v1/messages", CHAT, b"/v1/responses", b"/bedrock/model/m/invoke"]),
)
def test_no_bytes_whatever_make_it_fail(noise: bytes, path: bytes) -> None:
    for headers in (JSON, EVENT_STREAM, [(b"content-type", b"text/event-stream")], []):
        reading = read([noise[:7], noise[7:]], path=path, headers=headers)

        assert reading.usage is not None


@pytest.mark.parametrize(
    "escape", [b"\\ud83d", b"\\uDC00 \\ud83d", b"\\\\ud83d\\ud83d", b"\\ud83d\\ude00\\ud800"]
)
def test_half_a_surrogate_pair_in_the_text_costs_no_figure(escape: bytes) -> None:
    body = b'{"content":[{"text":"%s"}],"usage":{"input_tokens":5,"output_tokens":6}}' % escape

    assert read([body], headers=JSON) == Reading(
        usage=Usage(input_tokens=5, output_tokens=6), is_complete=True
    )


def test_a_body_nested_without_end_is_no_answer() -> None:
    reading = read([b'{"content":' + b"[" * 100_000], headers=JSON)

    assert (reading.is_complete, reading.estimate_method) == (False, "delivered_bytes")


def test_a_models_name_is_made_harmless() -> None:
    body = msgspec.json.encode(
        {"model": "m\n\u202e" + "x" * 500, "usage": {"input_tokens": 1, "output_tokens": 1}}
    )

    assert read([body], headers=JSON).model == "m" + "x" * 199


@pytest.mark.parametrize(
    "end", [b'{"text":', b'{"text": ', b'{"text":"', b'{"text":"\\', b'{"text":"abc', b'{"text":1']
)
def test_a_string_that_breaks_off_is_measured_up_to_there(end: bytes) -> None:
    assert text_bytes(end, (b'"text":',)) == (3 if end.endswith(b"abc") else 0)


@given(st.text(max_size=40), st.sampled_from([b'"text":', b'"text": ']))
def test_text_is_measured_as_it_stands_in_the_json(text: str, key: bytes) -> None:
    said = msgspec.json.encode(text)

    assert text_bytes(b'{"a":"b",' + key + said + b',"c":1}', (b'"text":',)) == len(said) - 2
