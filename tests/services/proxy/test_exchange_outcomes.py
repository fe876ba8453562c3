"""However a call ends, it leaves exactly one event, in the right state, with plausible tokens."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.raw_upstream import (
    RawUpstream,
    ReceivedRequest,
    Script,
    Wire,
    answering,
    call,
    closing,
    dialled,
    rest_of,
    take_answer,
)
from tests.doubles.waiting import until
from tests.services.proxy.calls import (
    END,
    ENDING,
    STARTED,
    STOPPED,
    STREAM_HEAD,
    TEXT,
    WHOLE_STREAM,
    answer,
    chunk,
    event,
    get,
    message,
    messages_call,
    post,
)
from tests.services.proxy.running import RunningProxy

COST_NANODOLLARS = 1000 * 3000 + 100 * 15000  # $3 and $15 a million
REQUEST_TOKENS = -(-len(messages_call(streaming=True).partition(b"\r\n\r\n")[2]) // 4)


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream) as proxy:
        yield proxy


def streaming(*pieces: bytes) -> Script:
    return answering(STREAM_HEAD, *map(chunk, pieces), END)


def held_up(gate: threading.Event, before: bytes, after: bytes) -> Script:
    """Answers with `before`, and with `after` once the gate opens."""

    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        wire.send(before)
        assert gate.wait(10)
        wire.send(after)

    return script


def until_cut(before: bytes, seen: threading.Event) -> Script:
    """Answers with `before`, and tells when the other side has hung up."""

    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        wire.send(before)
        rest_of(wire)
        seen.set()

    return script


def test_a_whole_answer_is_a_completed_call(proxy: RunningProxy, upstream: RawUpstream) -> None:
    upstream.script = answering(answer(message()))

    got = call(proxy.port, messages_call())

    assert got.body == message()
    assert got.header(b"x-modeltrack-cost-usd") == b"0.0045"
    event = proxy.event()
    assert (event.state, event.status_code, event.cost_nanodollars) == ("completed", 200, COST_NANODOLLARS)
    assert (event.input_tokens, event.output_tokens, event.estimated) == (1000, 100, False)
    assert got.header(b"x-modeltrack-request-id") == event.request_id.encode()


def test_a_whole_stream_is_a_completed_call(proxy: RunningProxy, upstream: RawUpstream) -> None:
    upstream.script = streaming(*WHOLE_STREAM)

    got = call(proxy.port, messages_call(streaming=True))

    assert got.body == b"".join(WHOLE_STREAM)
    assert got.header(b"x-modeltrack-cost-usd") is None
    event = proxy.event()
    assert (event.state, event.streaming, event.cost_nanodollars) == ("completed", True, COST_NANODOLLARS)


def test_an_answer_of_unknown_length_passes_and_is_metered(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    body = message()
    upstream.script = answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(body[:50]), chunk(body[50:]), END
    )

    got = call(proxy.port, messages_call())

    assert got.body == body
    assert proxy.event().cost_nanodollars == COST_NANODOLLARS


def test_a_stream_whose_caller_leaves_before_the_first_byte_is_cut_and_estimated(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    is_cut = threading.Event()
    upstream.script = until_cut(b"", is_cut)

    with dialled(proxy.port, messages_call(streaming=True)):
        until(lambda: bool(upstream.requests))

    assert is_cut.wait(10)
    event = proxy.event()
    assert (event.state, event.estimate_method) == ("client_closed", "request_bytes")
    assert (event.input_tokens, event.output_tokens) == (REQUEST_TOKENS, 0)


def test_a_stream_whose_caller_leaves_in_the_middle_is_cut_and_estimated(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    is_cut = threading.Event()
    upstream.script = until_cut(STREAM_HEAD + chunk(STARTED) + chunk(TEXT), is_cut)

    with dialled(proxy.port, messages_call(streaming=True)) as wire:
        wire.take_until(TEXT)

    assert is_cut.wait(10)
    event = proxy.event()
    assert (event.state, event.estimate_method) == ("client_closed", "delivered_bytes")
    assert (event.input_tokens, event.output_tokens) == (1000, 100)


def test_a_caller_that_leaves_with_the_streams_end_in_hand_had_it_all(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    is_cut = threading.Event()
    upstream.script = until_cut(STREAM_HEAD + b"".join(map(chunk, WHOLE_STREAM)), is_cut)

    with dialled(proxy.port, messages_call(streaming=True)) as wire:
        wire.take_until(STOPPED)

    assert is_cut.wait(10)
    event = proxy.event()
    assert (event.state, event.estimated, event.cost_nanodollars) == ("completed", False, COST_NANODOLLARS)


def test_a_caller_that_leaves_just_before_the_streams_end_is_charged_what_the_provider_said(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    is_cut = threading.Event()
    upstream.script = until_cut(STREAM_HEAD + b"".join(map(chunk, WHOLE_STREAM[:-1])), is_cut)

    with dialled(proxy.port, messages_call(streaming=True)) as wire:
        wire.take_until(ENDING)

    assert is_cut.wait(10)
    event = proxy.event()
    assert (event.state, event.estimated, event.cost_nanodollars) == (
        "client_closed",
        False,
        COST_NANODOLLARS,
    )


@pytest.mark.parametrize("before", [b"", answer(message())[:200]], ids=["no byte yet", "in the middle"])
def test_a_plain_answer_is_read_on_without_its_caller(
    proxy: RunningProxy, upstream: RawUpstream, before: bytes
) -> None:
    gate = threading.Event()
    whole = answer(message())
    upstream.script = held_up(gate, before, whole[len(before) :])

    with dialled(proxy.port, messages_call()):
        until(lambda: bool(upstream.requests))
    until(lambda: proxy.instance.calls_read_on == 1)
    gate.set()
    until(lambda: sum(proxy.instance.tally.calls.values()) == 1)

    event = proxy.event()
    assert (event.state, event.estimated) == ("client_closed", False)
    assert event.cost_nanodollars == COST_NANODOLLARS


def test_a_stream_that_breaks_off_is_a_visible_cut(proxy: RunningProxy, upstream: RawUpstream) -> None:
    upstream.script = closing(STREAM_HEAD + chunk(STARTED) + chunk(TEXT))

    with dialled(proxy.port, messages_call(streaming=True)) as wire:
        got = rest_of(wire)

    assert got.endswith(TEXT + b"\r\n")  # no last chunk
    event = proxy.event()
    assert (event.state, event.estimate_method) == ("upstream_truncated", "delivered_bytes")
    assert (event.input_tokens, event.output_tokens) == (1000, 100)


def test_a_plain_answer_that_breaks_off_is_a_visible_cut(proxy: RunningProxy, upstream: RawUpstream) -> None:
    whole = answer(message())
    upstream.script = closing(whole[:-10])

    with dialled(proxy.port, messages_call()) as wire, pytest.raises(EOFError):
        take_answer(wire)

    assert proxy.event().state == "upstream_truncated"


def test_a_stream_without_its_end_is_truncated_even_where_the_framing_is_whole(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    upstream.script = streaming(STARTED, TEXT)

    got = call(proxy.port, messages_call(streaming=True))

    assert got.body == STARTED + TEXT
    assert proxy.event().state == "upstream_truncated"


def test_an_error_inside_a_stream_is_an_error(proxy: RunningProxy, upstream: RawUpstream) -> None:
    overloaded = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    upstream.script = streaming(STARTED, overloaded)

    got = call(proxy.port, messages_call(streaming=True))

    assert got.body == STARTED + overloaded
    assert proxy.event().state == "upstream_error"


@pytest.mark.battery("C6")
@pytest.mark.parametrize("status", [b"400 Bad Request", b"429 Too Many Requests", b"529 Overloaded"])
def test_a_providers_error_passes_untouched_and_costs_nothing(
    proxy: RunningProxy, upstream: RawUpstream, status: bytes
) -> None:
    body = b'{"type":"error","error":{"type":"x","message":"no"}}'
    upstream.script = answering(answer(body, status=status, headers=b"Retry-After: 7\r\n"))

    got = call(proxy.port, messages_call(streaming=True))

    assert (got.status, got.body, got.header(b"retry-after")) == (int(status[:3]), body, b"7")
    event = proxy.event()
    assert (event.state, event.status_code, event.cost_nanodollars) == ("upstream_error", got.status, 0)
    assert not event.unpriced


@pytest.mark.battery("C6")
def test_a_provider_that_cannot_be_reached_is_a_502_and_an_event_of_no_cost(tmp_path: Path) -> None:
    with RawUpstream() as upstream:
        upstream.close()
        with RunningProxy(tmp_path, upstream) as proxy:
            got = call(proxy.port, messages_call())
            event = proxy.event()

    assert (got.status, b"upstream_unreachable" in got.body) == (502, True)
    assert b"the provider cannot be reached: the connection was refused" in got.body
    assert (event.state, event.status_code, event.cost_nanodollars) == ("upstream_error", 502, 0)


@pytest.mark.battery("C6")
def test_a_provider_that_hangs_up_without_an_answer_is_a_502_and_an_event_of_no_cost(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    upstream.script = closing(b"")

    got = call(proxy.port, messages_call())

    assert (got.status, b"upstream_cut" in got.body) == (502, True)
    event = proxy.event()
    assert (event.state, event.status_code, event.cost_nanodollars) == ("upstream_error", 502, 0)
    assert len(upstream.requests) == 1


@pytest.mark.battery("F1")
def test_a_provider_that_stays_silent_is_a_504_and_an_estimate(tmp_path: Path, upstream: RawUpstream) -> None:
    upstream.script = until_cut(b"", threading.Event())

    with RunningProxy(tmp_path, upstream, upstream_first_byte_timeout_seconds=0.1) as proxy:
        got = call(proxy.port, messages_call(streaming=True))
        event = proxy.event()

    assert (got.status, b"upstream_timed_out" in got.body) == (504, True)
    assert (event.state, event.status_code) == ("upstream_error", 504)
    assert (event.estimate_method, event.input_tokens) == ("request_bytes", REQUEST_TOKENS)


def test_a_call_cut_by_our_shutdown_is_drained(proxy: RunningProxy, upstream: RawUpstream) -> None:
    upstream.script = until_cut(STREAM_HEAD + chunk(STARTED) + chunk(TEXT), threading.Event())

    with dialled(proxy.port, messages_call(streaming=True)) as wire:
        wire.take_until(TEXT)
        event = proxy.event()
        assert rest_of(wire) == b"\r\n"

    assert (event.state, event.estimate_method, event.output_tokens) == ("drained", "delivered_bytes", 100)


def test_a_call_that_ends_while_we_shut_down_is_completed(tmp_path: Path, upstream: RawUpstream) -> None:
    gate = threading.Event()
    upstream.script = held_up(gate, b"", answer(message()))

    with RunningProxy(tmp_path, upstream, drain_seconds=10) as proxy:
        with dialled(proxy.port, messages_call()) as wire:
            until(lambda: bool(upstream.requests))
            stopping = threading.Thread(target=proxy.stop)
            stopping.start()
            gate.set()
            assert take_answer(wire).body == message()
        stopping.join(10)

        assert proxy.event().state == "completed"


def test_shutdown_waits_no_longer_for_an_answer_that_nobody_waits_for(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    upstream.script = until_cut(b"", threading.Event())
    with dialled(proxy.port, messages_call()):
        until(lambda: bool(upstream.requests))
    until(lambda: proxy.instance.calls_read_on == 1)

    event = proxy.event()

    assert (event.state, event.estimate_method) == ("drained", "request_bytes")


def test_a_free_path_passes_and_leaves_no_event(proxy: RunningProxy, upstream: RawUpstream) -> None:
    upstream.script = answering(answer(b'{"data":[]}'))

    got = call(proxy.port, get(b"/v1/models?limit=2", b"Authorization: Bearer sk-x\r\n"))

    assert (got.status, got.body) == (200, b'{"data":[]}')
    assert upstream.requests[0].line == b"GET /v1/models?limit=2 HTTP/1.1"
    assert proxy.events() == []


def test_a_path_whose_usage_cannot_be_read_leaves_an_unmetered_event(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    upstream.script = answering(answer(b"{}"))

    got = call(proxy.port, post(b"/openai/v1/images/generations", b'{"prompt":"a cat"}'))

    assert (got.status, upstream.requests[0].body) == (200, b'{"prompt":"a cat"}')
    event = proxy.event()
    assert (event.state, event.cost_nanodollars, event.unpriced) == ("unmetered", 0, True)


def test_an_unmetered_call_that_the_provider_refuses_costs_nothing(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    upstream.script = answering(answer(b"{}", status=b"401 Unauthorized"))

    call(proxy.port, post(b"/openai/v1/images/generations", b"{}"))

    event = proxy.event()
    assert (event.state, event.status_code, event.unpriced) == ("upstream_error", 401, False)


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (post(b"/v1/messages", b"{no json"), 400, b"invalid_json"),
        (messages_call().replace(b"POST", b"PUT", 1), 405, b"method_not_allowed"),
        (post(b"/v1//messages", b"{}"), 400, b"ambiguous_path"),
    ],
    ids=["malformed JSON", "wrong method", "two readings"],
)
def test_what_cannot_be_a_call_is_refused_without_an_event(
    proxy: RunningProxy, upstream: RawUpstream, request_bytes: bytes, status: int, code: bytes
) -> None:
    got = call(proxy.port, request_bytes)

    assert (got.status, code in got.body, upstream.requests) == (status, True, [])
    assert (got.header(b"x-modeltrack-request-id") or b"?") in got.body
    assert proxy.events() == []


def test_an_unknown_path_is_told_which_paths_exist(proxy: RunningProxy) -> None:
    got = call(proxy.port, get(b"/v2/nothing"))

    assert (got.status, b"POST /v1/messages" in got.body, b"GET /stats" in got.body) == (404, True, True)
