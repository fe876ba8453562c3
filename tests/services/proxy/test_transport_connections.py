"""Connections are kept, counted, paused and closed as they should be, on both sides."""

import asyncio
import contextlib
import resource
import socket
import threading

import pytest

from proxy_service.app import Limits
from proxy_service.wire import Downstream
from tests.doubles.raw_upstream import (
    OK,
    RawUpstream,
    ReceivedRequest,
    Wire,
    answering,
    call,
    dialled,
    rest_of,
    take_answer,
)
from tests.doubles.waiting import until
from tests.services.proxy.pass_through import Gateway

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BIG = 50 * 1024 * 1024
ALL_SECONDS = 60.0  # a thousand connections; two on a quiet machine


def test_many_requests_use_one_connection_on_each_side() -> None:
    with RawUpstream() as upstream, Gateway(upstream.port) as gateway, dialled(gateway.port) as wire:
        for _ in range(20):
            wire.send(GET)
            assert take_answer(wire).body == b"ok"
        assert (gateway.client.connections_open, gateway.client.connections_idle) == (1, 1)

    assert (upstream.connections, len(upstream.requests)) == (1, 20)


def test_pipelined_requests_are_answered_in_order_and_one_at_a_time() -> None:
    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + request.line.split(b" ")[1][1:])

    sent = b"".join(
        b"POST /%02d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" % number for number in range(50)
    )

    with (
        RawUpstream(script) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, sent) as wire,
    ):
        bodies = [take_answer(wire).body for _ in range(50)]

    assert bodies == [b"%02d" % number for number in range(50)]
    assert upstream.connections == 1


def test_pipelined_bytes_are_held_back_by_the_kernel_beyond_a_bound() -> None:
    turn = threading.Event()
    seen: list[int] = []

    async def wait(downstream: Downstream) -> None:
        await asyncio.to_thread(turn.wait, 10)
        seen.append(len(downstream.head.target))
        downstream.answer(200, b"OK", [], b"")

    one = b"GET /" + b"x" * 8000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    count = 2000
    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, handle=wait) as gateway,
        dialled(gateway.port) as wire,
    ):
        sender = threading.Thread(target=wire.send, args=(one * count,))
        sender.start()
        until(lambda: gateway.server.requests_in_flight == 1)
        sender.join(0.3)
        assert sender.is_alive()  # 16 MB do not fit between the two
        turn.set()
        statuses = {take_answer(wire).status for _ in range(count)}
        sender.join(10)

    assert (statuses, len(seen)) == ({200}, count)


def test_a_pooled_connection_that_was_closed_meanwhile_is_replaced_before_anything_is_sent() -> None:
    with RawUpstream() as upstream, Gateway(upstream.port) as gateway:
        for _ in range(3):
            assert call(gateway.port, GET).body == b"ok"
            upstream.close_connections()
            until(lambda: gateway.client.connections_open == 0)

    assert (upstream.connections, len(upstream.requests)) == (3, 3)


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", b"x", b"\r\n"])
def test_a_pooled_connection_that_says_something_unasked_is_dropped(unasked: bytes) -> None:
    wires: list[Wire] = []

    def script(wire: Wire, request: ReceivedRequest) -> None:
        wires.append(wire)
        wire.send(OK)

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway:
        assert call(gateway.port, GET).body == b"ok"
        wires[0].send(unasked)
        until(lambda: gateway.client.connections_open == 0)
        assert call(gateway.port, GET).body == b"ok"

    assert upstream.connections == 2


@pytest.mark.battery("P4")
def test_bytes_behind_an_answer_never_become_the_next_callers_answer() -> None:
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

    with RawUpstream(answering(OK + poison)) as upstream, Gateway(upstream.port) as gateway:
        bodies = {call(gateway.port, GET).body for _ in range(5)}

    assert (bodies, upstream.connections) == ({b"ok"}, 5)


@pytest.mark.parametrize(
    ("head", "connections"),
    [(b"Connection: close\r\n", 3), (b"Keep-Alive: timeout=1\r\n", 3), (b"Keep-Alive: timeout=600\r\n", 1)],
)
def test_the_upstream_says_how_long_its_connection_may_be_used(head: bytes, connections: int) -> None:
    script = answering(b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 2\r\n\r\nok")

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway:
        for _ in range(3):
            assert call(gateway.port, GET).body == b"ok"
            if connections > 1:
                until(lambda: gateway.client.connections_open == 0)

    assert upstream.connections == connections


def test_idle_connections_are_closed_in_time_on_both_sides() -> None:
    limits = Limits(idle_seconds=0.3)

    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, limits=limits, pooled_seconds=0.3) as gateway,
        dialled(gateway.port, GET) as wire,
        dialled(gateway.port) as silent,
    ):
        assert take_answer(wire).body == b"ok"
        assert (rest_of(wire), rest_of(silent)) == (b"", b"")
        until(lambda: gateway.client.connections_open == 0)
        until(lambda: gateway.server.connections_open == 0)


def test_a_full_house_closes_the_longest_idle_connection_and_refuses_where_none_is_idle() -> None:
    turn = threading.Event()

    def script(wire: Wire, request: ReceivedRequest) -> None:
        if request.line.startswith(b"GET /wait"):
            turn.wait(10)
        wire.send(OK)

    wait = b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
    with (
        RawUpstream(script) as upstream,
        Gateway(upstream.port, limits=Limits(connections_max=2)) as gateway,
        dialled(gateway.port, GET) as first,
    ):
        take_answer(first)
        with dialled(gateway.port, wait) as second, dialled(gateway.port, wait) as third:
            assert rest_of(first) == b""
            until(lambda: gateway.server.requests_in_flight == 2)
            refused = call(gateway.port, b"")
            turn.set()
            bodies = [take_answer(second).body, take_answer(third).body]

    assert (refused.status, refused.header(b"retry-after")) == (503, b"1")
    assert (bodies, gateway.server.connections_refused) == ([b"ok", b"ok"], 1)


@pytest.mark.battery("P8")
def test_a_slow_reader_stops_the_upstream_and_costs_little_memory() -> None:
    sent = 0

    def script(wire: Wire, request: ReceivedRequest) -> None:
        nonlocal sent
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        for _ in range(BIG // 65536):
            wire.send(b"x" * 65536)
            sent += 65536

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway, dialled(gateway.port) as wire:
        wire.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wire.send(GET)
        assert wire.receive()
        until(lambda: sent > 0)
        assert call(gateway.port, b"BAD").status == 400  # others are served
        stuck_at = settled(lambda: sent)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        size = len(rest_after_head(wire))

    assert stuck_at < BIG // 2
    assert grown_kib < 8 * 1024
    assert size == BIG


def settled(read: object) -> int:
    """A figure once it has stopped to grow."""
    assert callable(read)
    last = -1
    event = threading.Event()
    while last != (now := read()):
        last = now
        event.wait(0.2)
    return last


def rest_after_head(wire: Wire) -> bytes:
    wire.take_until(b"\r\n\r\n")
    return wire.take(BIG)


def test_a_slow_upstream_stops_the_caller() -> None:
    turn = threading.Event()

    def script(wire: Wire, request: ReceivedRequest) -> None:
        turn.wait(10)
        wire.take_body(request)
        wire.send(OK)

    sent = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BIG + b"x" * BIG
    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway, dialled(gateway.port) as wire:
        sender = threading.Thread(target=wire.send, args=(sent,))
        sender.start()
        sender.join(0.5)
        assert sender.is_alive()
        turn.set()
        assert take_answer(wire).body == b"ok"
        sender.join(10)

    assert len(upstream.requests[0].body) == BIG


@pytest.mark.battery("P8")
def test_a_thousand_connections_are_served_side_by_side() -> None:
    arrived = threading.Barrier(1000, timeout=ALL_SECONDS)

    def script(wire: Wire, request: ReceivedRequest) -> None:
        arrived.wait()
        wire.send(OK)

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(dialled(gateway.port, GET)) for _ in range(1000)]
        for wire in wires:
            wire.connection.settimeout(ALL_SECONDS)  # the first is answered when the last has come
        bodies = [take_answer(wire).body for wire in wires]

    assert bodies == [b"ok"] * 1000


def test_after_its_request_nothing_of_a_call_stays_on_a_kept_connection() -> None:
    turn = threading.Event()

    def script(wire: Wire, request: ReceivedRequest) -> None:
        turn.wait(10)
        wire.take_body(request)
        wire.send(OK)

    canary = b"sk-canary-5b1f"
    request = b"POST / HTTP/1.1\r\nHost: a\r\nAuthorization: %b\r\nContent-Length: 14\r\n\r\n%b" % (
        canary,
        canary,
    )

    with (
        RawUpstream(script) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, request) as wire,
    ):
        until(lambda: len(upstream.requests) == 1)
        meanwhile = gateway.run(holding(canary))
        turn.set()
        assert take_answer(wire).body == b"ok"
        upstream.requests.clear()
        afterwards = gateway.run(holding(canary))

    assert (meanwhile != [], afterwards) == (True, [])


async def holding(canary: bytes) -> list[str]:
    """What, of all that lives under the server and the client, still holds the text."""
    import gc  # noqa: PLC0415 - for this one look

    gc.collect()
    return [
        type(each).__name__
        for each in gc.get_objects()
        if str(type(each).__module__).startswith(("proxy_service", "httptools"))
        and canary in repr(gc.get_referents(each)).encode()
    ]


# Shutting down


def test_a_shutdown_lets_running_calls_finish_and_refuses_new_connections() -> None:
    turn = threading.Event()

    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        turn.wait(10)
        wire.send(b"4\r\nlast\r\n0\r\n\r\n")

    with (
        RawUpstream(script) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, GET) as running,
        dialled(gateway.port) as idle,
    ):
        running.take_until(b"first\r\n")
        draining = gateway.start(gateway.server.drain(10))
        assert rest_of(idle) == b""
        with pytest.raises(ConnectionRefusedError):
            call(gateway.port, GET)
        turn.set()
        rest = rest_of(running)
        cut = draining.result(10)

    assert (rest, cut) == (b"4\r\nlast\r\n0\r\n\r\n", 0)
    assert gateway.handle.outcomes == ["completed"]


def test_an_answer_begun_during_a_shutdown_says_that_the_connection_ends() -> None:
    turn = threading.Event()

    def script(wire: Wire, request: ReceivedRequest) -> None:
        turn.wait(10)
        wire.send(OK)

    with (
        RawUpstream(script) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, GET) as wire,
    ):
        until(lambda: gateway.server.requests_in_flight == 1)
        draining = gateway.start(gateway.server.drain(10))
        until(lambda: gateway.server.is_draining)
        turn.set()
        answer = take_answer(wire)
        assert draining.result(10) == 0

    assert (answer.body, answer.header(b"connection")) == (b"ok", b"close")


def test_a_shutdown_waits_for_an_answer_that_is_still_on_its_way_to_a_slow_reader() -> None:
    size = 20 * 1024 * 1024

    async def answer(downstream: Downstream) -> None:
        downstream.answer(200, b"OK", [], b"x" * size)

    with Gateway(1, handle=answer) as gateway, dialled(gateway.port) as wire:
        wire.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        wire.send(GET)
        wire.take_until(b"\r\n\r\n")
        draining = gateway.start(gateway.server.drain(10))
        assert len(wire.take(size)) == size
        assert draining.result(10) == 0


def test_a_shutdown_cuts_what_does_not_end_visibly_and_the_call_knows_why() -> None:
    with (
        RawUpstream(endless) as upstream,
        Gateway(upstream.port) as gateway,
        contextlib.ExitStack() as stack,
    ):
        wires = [stack.enter_context(dialled(gateway.port, GET)) for _ in range(5)]
        for wire in wires:
            wire.take_until(b"first\r\n")
        cut = gateway.run(gateway.server.drain(0.2))
        rests = [rest_of(wire) for wire in wires]

    assert (cut, rests) == (5, [b""] * 5)
    assert gateway.handle.outcomes == ["drained"] * 5


def endless(wire: Wire, request: ReceivedRequest) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    wire.receive()
