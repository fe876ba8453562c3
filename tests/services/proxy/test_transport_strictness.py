"""What is malformed, oversized or not HTTP/1 is refused here; the upstream hears nothing of it."""

import contextlib

import pytest

from proxy_service.app import Limits
from tests.doubles.raw_upstream import (
    PATIENCE_SECONDS,
    RawUpstream,
    Wire,
    call,
    dialled,
    rest_of,
    take_answer,
)
from tests.doubles.waiting import until
from tests.services.proxy.pass_through import Gateway
from tests.unit.proxy_service.test_http1 import MALFORMED_CHUNKS, MALFORMED_HEADS, REFUSED_HEADS

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
MALFORMED = MALFORMED_HEADS | {name: raw for name, (raw, _) in REFUSED_HEADS.items()}


@pytest.mark.battery("P4")
@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_is_refused_and_ends_its_connection(raw: bytes) -> None:
    with (
        RawUpstream() as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, raw + SMUGGLED) as wire,
    ):
        answer = take_answer(wire)
        rest = rest_of(wire)

    assert 400 <= answer.status < 600
    assert answer.header(b"connection") == b"close"
    assert rest == b""
    assert upstream.requests == []
    assert gateway.server.requests_refused == 1


@pytest.mark.battery("P4")
@pytest.mark.parametrize("chunks", MALFORMED_CHUNKS.values(), ids=MALFORMED_CHUNKS.keys())
def test_a_malformed_chunk_is_refused_and_what_follows_is_no_request(chunks: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, reads_whole=True) as gateway,
        dialled(gateway.port, head + chunks + b"\r\n\r\n" + SMUGGLED) as wire,
    ):
        answer = take_answer(wire)
        rest = rest_of(wire)

    assert (answer.header(b"connection"), rest, upstream.requests) == (b"close", b"", [])


@pytest.mark.battery("P5")
def test_headers_of_one_connection_never_reach_the_upstream() -> None:
    hops = b"TE: trailers\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\nProxy-Authorization: z\r\n"

    with RawUpstream() as upstream, Gateway(upstream.port) as gateway:
        call(
            gateway.port,
            b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: keep-alive\r\n" + hops + b"\r\n",
        )

    assert upstream.requests[0].headers == [(b"Host", b"127.0.0.1:%d" % upstream.port)]


@pytest.mark.battery("P4")
def test_a_request_behind_a_last_one_is_not_served() -> None:
    last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

    with (
        RawUpstream() as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, last + SMUGGLED) as wire,
    ):
        answer = take_answer(wire)
        rest = rest_of(wire)

    assert (answer.body, answer.header(b"connection"), rest) == (b"ok", b"close", b"")
    assert len(upstream.requests) == 1


OVERSIZED = {
    "300 headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 300 + b"\r\n", 431),
    "a header of 64 KiB": (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 65536 + b"\r\n\r\n", 431),
    "a target of 1 MB": (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
}


@pytest.mark.battery("P7")
@pytest.mark.parametrize(("raw", "status"), OVERSIZED.values(), ids=OVERSIZED.keys())
def test_an_oversized_head_is_refused_and_its_answer_arrives(raw: bytes, status: int) -> None:
    with RawUpstream() as upstream, Gateway(upstream.port) as gateway:
        answer = call(gateway.port, raw)

    assert (answer.status, upstream.requests) == (status, [])


@pytest.mark.battery("P7")
def test_an_oversized_body_is_refused_by_its_length_before_it_is_sent() -> None:
    with RawUpstream() as upstream, Gateway(upstream.port, reads_whole=True) as gateway:
        answer = call(gateway.port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")

    assert (answer.status, upstream.requests) == (413, [])


@pytest.mark.battery("P7")
def test_an_oversized_body_is_refused_while_it_is_still_being_sent() -> None:
    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, reads_whole=True) as gateway,
        dialled(gateway.port, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") as wire,
    ):
        for _ in range(40):
            wire.send(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
        answer = take_answer(wire)

    assert (answer.status, upstream.requests) == (413, [])


@pytest.mark.battery("P8")
def test_a_head_that_trickles_is_refused_in_time_and_other_callers_do_not_wait() -> None:
    limits = Limits(head_seconds=0.3)

    with RawUpstream() as upstream, Gateway(upstream.port, limits=limits) as gateway:
        slow = [dialled(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\nA: ") for _ in range(100)]
        wires = [each.__enter__() for each in slow]
        assert call(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").body == b"ok"
        statuses = {take_answer(wire).status for wire in wires}
        for each in slow:
            each.__exit__(None, None, None)

    assert (statuses, len(upstream.requests)) == ({408}, 1)


@pytest.mark.parametrize("reads_whole", [False, True], ids=["pumped", "read whole"])
def test_a_body_that_stops_coming_is_refused_in_time(reads_whole: bool) -> None:
    limits = Limits(body_seconds=0.3)

    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, limits=limits, reads_whole=reads_whole) as gateway,
        dialled(gateway.port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel") as wire,
    ):
        answer = take_answer(wire)
        until(lambda: gateway.server.requests_in_flight == 0)

    assert (answer.status, answer.header(b"connection")) == (408, b"close")
    assert gateway.handle.outcomes[0] in {"caller gone", "CallerGone"}


def test_a_body_that_only_trickles_is_refused_in_time() -> None:
    limits = Limits(body_seconds=0.3, body_bytes_per_second_min=1_000_000)

    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, limits=limits, reads_whole=True) as gateway,
        dialled(gateway.port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n") as wire,
    ):
        trickle(wire)
        answer = take_answer(wire)

    assert (answer.status, upstream.requests) == (408, [])


@pytest.mark.parametrize("reads_whole", [False, True], ids=["pumped", "read whole"])
def test_a_body_that_began_fast_may_not_trickle_to_its_end(reads_whole: bool) -> None:
    limits = Limits(body_seconds=0.3, body_bytes_per_second_min=1000)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 60000\r\n\r\n"

    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, limits=limits, reads_whole=reads_whole) as gateway,
        dialled(gateway.port, head) as wire,
    ):
        assert take_answer(wire).status == 100
        wire.send(b"x" * 50_000)
        trickle(wire, times=200)
        is_refused_while_it_trickles = bool(wire.buffer)
        answer = take_answer(wire)

    assert (answer.status, is_refused_while_it_trickles) == (408, True)


@pytest.mark.parametrize(("seconds", "size", "status"), [(0.3, 500, 408), (60.0, 5, 200)])
def test_a_body_that_is_read_whole_has_so_long_however_steadily_it_comes(
    seconds: float, size: int, status: int
) -> None:
    limits = Limits(body_bytes_per_second_min=1, whole_body_seconds=seconds)

    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, limits=limits, reads_whole=True) as gateway,
        dialled(gateway.port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size) as wire,
    ):
        trickle(wire, times=size)
        answer = take_answer(wire)

    assert answer.status == status


def trickle(wire: Wire, times: int = 1000) -> None:
    """Send a byte now and then until an answer comes, so many at most."""
    wire.connection.settimeout(0.02)
    for _ in range(times):
        if wire.buffer:
            break
        wire.send(b"x")
        with contextlib.suppress(TimeoutError):
            wire.receive()
    wire.connection.settimeout(PATIENCE_SECONDS)
