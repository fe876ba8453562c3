"""Bytes in = bytes out, both ways, whatever their size, framing and coding."""

import gzip
import hashlib
import random
import threading

import pytest

from proxy_service.wire import Downstream
from tests.doubles.raw_upstream import (
    RawUpstream,
    ReceivedRequest,
    Wire,
    answering,
    call,
    closing,
    dialled,
    rest_of,
    take_answer,
)
from tests.doubles.waiting import until
from tests.services.proxy.pass_through import Gateway

SIZES = [0, 1, 2, 1000, 16 * 1024, 16 * 1024 + 1, 64 * 1024, 64 * 1024 + 1, 1024 * 1024, 20 * 1024 * 1024]
PIECE = 70_001


def some_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - filler


def chunked(body: bytes, size: int = PIECE) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;note=x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-T: v\r\n\r\n"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("framing", ["length", "chunks", "closing"])
@pytest.mark.parametrize("size", SIZES)
def test_an_answer_of_any_size_and_framing_arrives_as_it_was_sent(size: int, framing: str) -> None:
    body = some_bytes(size)
    script = {
        "length": answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body),
        "chunks": answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body)),
        "closing": closing(b"HTTP/1.1 200 OK\r\n\r\n" + body),
    }[framing]

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway:
        answer = call(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    assert digest(answer.body) == digest(body)
    assert gateway.handle.outcomes == ["completed"]


@pytest.mark.battery("P2")
@pytest.mark.parametrize("reads_whole", [False, True], ids=["pumped", "read whole"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("size", SIZES)
def test_a_request_of_any_size_and_framing_arrives_as_it_was_sent(
    size: int, framing: str, reads_whole: bool
) -> None:
    body = some_bytes(size)
    head = {"length": b"Content-Length: %d" % size, "chunks": b"Transfer-Encoding: chunked"}[framing]
    sent = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % head + (
        body if framing == "length" else chunked(body)
    )

    with RawUpstream() as upstream, Gateway(upstream.port, reads_whole=reads_whole) as gateway:
        answer = call(gateway.port, sent)

    assert answer.body == b"ok"
    assert [digest(request.body) for request in upstream.requests] == [digest(body)]
    assert [request.trailer for request in upstream.requests] == [b""]


def test_header_names_values_order_and_case_pass_in_both_directions() -> None:
    head = b"X-B: 2\r\nx-a: caf\xe9\r\nX-b:\r\nX-UTF: \xe5\x9b\xa2\r\nset_cookie: a\r\nset_cookie: b\r\n"
    expected = [line.split(b": ") if b": " in line else [b"X-b", b""] for line in head.splitlines()]
    script = answering(b"HTTP/1.1 299 Odd But Fine\r\n" + head + b"Content-Length: 0\r\n\r\n")

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway:
        answer = call(gateway.port, b"GET /a%2Fb?c=%20&d HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n")

    (request,) = upstream.requests
    assert request.line == b"GET /a%2Fb?c=%20&d HTTP/1.1"
    assert [list(each) for each in request.headers if each[0] != b"Host"] == expected
    assert (answer.status, answer.reason) == (299, b"Odd But Fine")
    assert [list(each) for each in answer.headers if each[0] != b"Content-Length"] == expected


def test_compressed_bodies_pass_without_being_touched() -> None:
    body = gzip.compress(b"some text " * 1000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"

    with RawUpstream(answering(head + chunked(body, 7))) as upstream, Gateway(upstream.port) as gateway:
        answer = call(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (answer.body, answer.header(b"content-encoding")) == (body, b"gzip")


@pytest.mark.battery("P3")
def test_each_piece_of_a_stream_is_passed_on_when_it_comes() -> None:
    turn = threading.Semaphore(0)

    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            turn.acquire(timeout=10)
            wire.send(b"8\r\ndata: %d\n\r\n" % number)
        wire.send(b"0\r\n\r\n")

    with (
        RawUpstream(script) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as wire,
    ):
        wire.take_until(b"\r\n\r\n")
        for number in range(5):
            turn.release()
            assert wire.take_until(b"\n\r\n") == b"8\r\ndata: %d\n\r\n" % number
        assert wire.take_until(b"\r\n\r\n") == b"0\r\n\r\n"


def test_bodiless_answers_pass_and_the_connection_goes_on() -> None:
    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.send(
            b"HTTP/1.1 " + request.line.split(b" ")[1][1:] + b" X\r\nETag: e\r\nContent-Length: 9\r\n\r\n"
        )

    with (
        RawUpstream(script) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port) as wire,
    ):
        for method, status in ((b"HEAD", 200), (b"GET", 304), (b"HEAD", 200)):
            wire.send(b"%b /%d HTTP/1.1\r\nHost: a\r\n\r\n" % (method, status))
            answer = take_answer(wire, has_body=False)
            assert (answer.status, answer.header(b"content-length")) == (status, b"9")

    assert len(upstream.requests) == 3


def test_interim_answers_of_the_upstream_are_swallowed() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    script = answering(interim, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway:
        answer = call(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (answer.status, answer.body, answer.header(b"link")) == (200, b"ok", None)


@pytest.mark.battery("P2")
@pytest.mark.parametrize("reads_whole", [False, True], ids=["pumped", "read whole"])
def test_a_caller_that_asks_first_is_told_to_go_on_only_when_its_body_is_wanted(reads_whole: bool) -> None:
    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, reads_whole=reads_whole) as gateway,
        dialled(gateway.port) as wire,
    ):
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert take_answer(wire).status == 100
        wire.send(b"hello")
        assert take_answer(wire).body == b"ok"

    (request,) = upstream.requests
    assert (request.body, request.header(b"expect")) == (b"hello", None)


def test_a_caller_that_asks_first_and_is_refused_never_sends_its_body() -> None:
    async def refuse(downstream: Downstream) -> None:
        downstream.answer(401, b"Unauthorized", [], b"no")

    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, handle=refuse) as gateway,
        dialled(gateway.port) as wire,
    ):
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        answer = take_answer(wire)
        rest = rest_of(wire)

    assert (answer.status, answer.body, answer.header(b"connection"), rest) == (401, b"no", b"close", b"")


def test_an_answer_that_comes_before_the_body_is_sent_is_relayed_and_stops_the_upload() -> None:
    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        with pytest.raises((EOFError, ConnectionError)):
            wire.take_body(request)

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway, dialled(gateway.port) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        answer = take_answer(wire)

        assert (answer.status, answer.body, answer.header(b"connection")) == (413, b"big", b"close")
        until(lambda: gateway.client.connections_open == 0)


def test_an_answer_may_begin_while_the_body_is_still_being_sent() -> None:
    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
        wire.take_body(request)
        wire.send(b"4\r\nlate\r\n0\r\n\r\n")

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway, dialled(gateway.port) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        wire.take_until(b"early\r\n")
        wire.send(b"world")
        assert wire.take_until(b"\r\n0\r\n\r\n") == b"4\r\nlate\r\n0\r\n\r\n"

    assert [request.body for request in upstream.requests] == [b"helloworld"]


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_is_read_up_to_its_limit_and_refused_beyond(framing: str, over: int) -> None:
    async def read(downstream: Downstream) -> None:
        body = await downstream.read_body(100_000)
        downstream.answer(200, b"OK", [], b"%d" % len(body))

    body = b"x" * (100_000 + over)
    head = {"length": b"Content-Length: %d" % len(body), "chunks": b"Transfer-Encoding: chunked"}[framing]
    sent = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % head + (
        body if framing == "length" else chunked(body)
    )

    with RawUpstream() as upstream, Gateway(upstream.port, handle=read) as gateway:
        answer = call(gateway.port, sent)

    assert answer.status == (413 if over else 200)


def test_an_old_caller_gets_an_answer_without_length_ended_by_closing() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"some body", 3))

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway, dialled(gateway.port) as wire:
        wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = take_answer(wire)

    assert (answer.body, answer.header(b"transfer-encoding")) == (b"some body", None)
    assert answer.header(b"connection") == b"close"


def test_an_old_caller_keeps_its_connection_where_lengths_allow_it() -> None:
    with RawUpstream() as upstream, Gateway(upstream.port) as gateway, dialled(gateway.port) as wire:
        for _ in range(2):
            wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = take_answer(wire)
            assert (answer.body, answer.header(b"connection")) == (b"ok", b"keep-alive")


def test_the_prefix_of_an_origin_stands_before_the_target() -> None:
    with RawUpstream() as upstream, Gateway(upstream.port, prefix="/base") as gateway:
        call(gateway.port, b"GET /v1?x HTTP/1.1\r\nHost: a\r\n\r\n")

    assert upstream.requests[0].line == b"GET /base/v1?x HTTP/1.1"
    assert upstream.requests[0].header(b"host") == b"127.0.0.1:%d" % upstream.port


def test_a_redirect_is_an_answer_like_any_other() -> None:
    script = answering(
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    )

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway:
        answer = call(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (answer.status, len(upstream.requests)) == (302, 1)
