"""Whatever breaks, the caller sees it, nothing is sent twice, and nothing is left behind."""

import contextlib
import random
import socket
import threading

import pytest

from proxy_service.app import Limits
from proxy_service.wire import Downstream
from tests.doubles.raw_upstream import (
    OK,
    RawUpstream,
    ReceivedRequest,
    Script,
    Wire,
    call,
    dialled,
    rest_of,
    take_answer,
)
from tests.doubles.waiting import until
from tests.services.proxy.pass_through import Gateway

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def ending(answer: bytes, *, by_reset: bool) -> Script:
    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        wire.send(answer)
        if by_reset:
            wire.reset()
        else:
            wire.connection.close()

    return script


UNANSWERED = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "nonsense": b"SSH-2.0-OpenSSH\r\n",
}


@pytest.mark.battery("F1")
@pytest.mark.parametrize("by_reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("answer", UNANSWERED.values(), ids=UNANSWERED.keys())
def test_an_upstream_that_ends_before_its_head_is_cut_and_is_not_asked_again(
    answer: bytes, by_reset: bool
) -> None:
    with RawUpstream(ending(answer, by_reset=by_reset)) as upstream, Gateway(upstream.port) as gateway:
        told = call(gateway.port, POST)

    assert (told.status, told.body, len(upstream.requests)) == (502, b"UpstreamCut", 1)


def test_a_pooled_connection_that_ends_under_a_request_is_no_reason_to_send_it_again() -> None:
    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        if len(upstream.requests) == 2:
            wire.reset()
        else:
            wire.send(OK)

    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway:
        bodies = [call(gateway.port, POST).body for _ in range(3)]

    assert (bodies, len(upstream.requests)) == ([b"ok", b"UpstreamCut", b"ok"], 3)


CUT_ANSWERS = {
    "length, no body yet": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234",
    "no chunk yet": CHUNKED_HEAD,
    "between chunks": CHUNKED_HEAD + b"4\r\n1234\r\n",
    "in a size": CHUNKED_HEAD + b"4\r\n1234\r\n1",
    "in a chunk": CHUNKED_HEAD + b"4\r\n12",
    "before the last line": CHUNKED_HEAD + b"4\r\n1234\r\n0\r\n",
    "a broken chunk": CHUNKED_HEAD + b"4\r\n1234\r\nxyz\r\n",
}


@pytest.mark.battery("F1")
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("answer", CUT_ANSWERS.values(), ids=CUT_ANSWERS.keys())
def test_an_answer_cut_at_any_stage_is_a_visible_cut_for_the_caller(answer: bytes, version: bytes) -> None:
    with (
        RawUpstream(ending(answer, by_reset=False)) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version) as wire,
        pytest.raises((EOFError, ConnectionError)),
    ):
        take_answer(wire)

    assert gateway.handle.outcomes == ["UpstreamCut"]


def test_what_came_before_a_cut_arrives() -> None:
    answer = CUT_ANSWERS["between chunks"]

    with (
        RawUpstream(ending(answer, by_reset=False)) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, GET) as wire,
    ):
        assert rest_of(wire).endswith(b"\r\n\r\n4\r\n1234\r\n")


def test_an_answer_framed_by_closing_that_is_reset_is_a_visible_cut() -> None:
    with (
        RawUpstream(ending(b"HTTP/1.1 200 OK\r\n\r\nsome", by_reset=True)) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, GET) as wire,
        pytest.raises((EOFError, ConnectionError)),
    ):
        take_answer(wire)


@pytest.mark.battery("F1")
def test_an_upstream_that_is_not_there_is_told_apart_from_one_that_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Gateway(port) as gateway:
        told = call(gateway.port, POST)

    assert (told.status, told.body) == (502, b"UpstreamUnreachable")
    assert told.header(b"x-why") == b"the connection was refused (127.0.0.1)"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid"])
def test_a_name_that_does_not_resolve_is_an_upstream_that_is_not_there(host: str) -> None:
    with Gateway(80, host=host) as gateway:
        told = call(gateway.port, GET)

    assert told.body == b"UpstreamUnreachable"
    assert told.header(b"x-why") == b"its name does not resolve (%b)" % host.encode()


def test_an_upstream_that_accepts_nobody_is_given_up_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with (
            socket.create_connection(full.getsockname()),
            Gateway(full.getsockname()[1], connect_seconds=0.3) as gateway,
        ):
            told = call(gateway.port, GET)

    assert told.body == b"UpstreamUnreachable"


def silent(wire: Wire, request: ReceivedRequest) -> None:
    wire.receive()


def stalling(wire: Wire, request: ReceivedRequest) -> None:
    wire.send(CHUNKED_HEAD + b"4\r\n1234\r\n")
    wire.receive()


@pytest.mark.battery("F1")
def test_an_upstream_that_answers_nothing_is_given_up_in_time() -> None:
    with RawUpstream(silent) as upstream, Gateway(upstream.port, first_byte_seconds=0.3) as gateway:
        told = call(gateway.port, GET)

    assert (told.status, told.body) == (504, b"UpstreamTimedOut")


@pytest.mark.battery("F1")
def test_an_answer_that_stalls_is_cut_in_time() -> None:
    with (
        RawUpstream(stalling) as upstream,
        Gateway(upstream.port, idle_seconds=0.3) as gateway,
        dialled(gateway.port, GET) as wire,
        pytest.raises((EOFError, ConnectionError)),
    ):
        take_answer(wire)

    assert gateway.handle.outcomes == ["UpstreamTimedOut"]


def test_an_upstream_that_takes_no_more_of_a_body_is_given_up_in_time() -> None:
    def script(wire: Wire, request: ReceivedRequest) -> None:
        turn.wait(10)

    turn = threading.Event()
    size = 50 * 1024 * 1024
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
    with RawUpstream(script) as upstream, Gateway(upstream.port, idle_seconds=0.5) as gateway:
        with dialled(gateway.port, sent) as wire:
            sender = threading.Thread(target=send_until_refused, args=(wire, size))
            sender.start()
            told = take_answer(wire)
            turn.set()
        sender.join(10)

    assert (told.status, told.body) == (504, b"UpstreamTimedOut")


def send_until_refused(wire: Wire, size: int) -> None:
    try:
        wire.send(b"x" * size)
    except OSError:
        return


def test_waiting_for_a_slow_reader_is_not_the_upstreams_silence() -> None:
    size = 30 * 1024 * 1024

    def script(wire: Wire, request: ReceivedRequest) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    with (
        RawUpstream(script) as upstream,
        Gateway(upstream.port, idle_seconds=1.5) as gateway,
        dialled(gateway.port) as wire,
    ):
        wire.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        wire.send(GET)
        wire.take_until(b"\r\n\r\n")
        threading.Event().wait(2.5)  # longer than the upstream may be silent
        assert len(wire.take(size)) == size


# Callers that leave


HANGING = {"before the head": silent, "in mid-stream": stalling}


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("script", HANGING.values(), ids=HANGING.keys())
def test_a_caller_that_hangs_up_is_noticed_and_the_upstream_call_is_ended(script: Script, how: str) -> None:
    with (
        RawUpstream(script) as upstream,
        Gateway(upstream.port) as gateway,
        dialled(gateway.port, GET) as wire,
    ):
        until(lambda: len(upstream.requests) == 1)
        hang_up(wire, how)
        until(lambda: gateway.handle.outcomes == ["caller gone"])
        until(lambda: gateway.client.connections_open == 0)
        until(lambda: gateway.server.connections_open == 0)


def hang_up(wire: Wire, how: str) -> None:
    if how == "reset":
        wire.reset()
    elif how == "half-close":
        wire.connection.shutdown(socket.SHUT_WR)
    else:
        wire.connection.close()


@pytest.mark.parametrize("reads_whole", [False, True], ids=["pumped", "read whole"])
def test_a_caller_that_hangs_up_in_its_body_is_noticed(reads_whole: bool) -> None:
    with RawUpstream() as upstream, Gateway(upstream.port, reads_whole=reads_whole) as gateway:
        with dialled(gateway.port, POST[:-2]) as wire:
            until(lambda: gateway.server.requests_in_flight == 1)
            wire.connection.close()
            until(lambda: gateway.server.requests_in_flight == 0)
        until(lambda: gateway.client.connections_open == 0)

    assert gateway.handle.outcomes[0] in {"caller gone", "CallerGone"}


@pytest.mark.battery("F1")
@pytest.mark.parametrize("seed", range(4))
def test_after_a_storm_of_callers_and_upstreams_that_fail_nothing_is_left(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a storm that can be repeated
    endings = [*CUT_ANSWERS.values(), *UNANSWERED.values(), OK, OK]

    def script(wire: Wire, request: ReceivedRequest) -> None:
        ending(chance.choice(endings), by_reset=chance.random() < 0.5)(wire, request)

    body = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 20
    whole = body + b"0\r\n\r\n"
    with RawUpstream(script) as upstream, Gateway(upstream.port) as gateway:
        for _ in range(100):
            with dialled(gateway.port, whole[: chance.choice([10, 60, 150, len(body), len(whole)])]) as wire:
                if chance.random() < 0.5:
                    hang_up(wire, chance.choice(["close", "half-close", "reset"]))
                else:
                    wire.connection.settimeout(0.02)
                    with contextlib.suppress(OSError, EOFError):
                        take_answer(wire)
        until(lambda: gateway.server.requests_in_flight == 0)
        until(lambda: gateway.server.connections_open == 0)
        until(lambda: gateway.client.connections_open == gateway.client.connections_idle)

    assert gateway.faults == []


# A handle that fails


async def raise_at_once(downstream: Downstream) -> None:
    raise LookupError("secret-canary")


async def raise_in_mid_answer(downstream: Downstream) -> None:
    downstream.start(200, b"OK", [], None)
    downstream.write(b"some")
    raise LookupError("secret-canary")


async def forget_to_answer(downstream: Downstream) -> None:
    return


async def forget_to_end(downstream: Downstream) -> None:
    downstream.start(200, b"OK", [], 10)
    downstream.write(b"some")


async def end_too_soon(downstream: Downstream) -> None:
    await forget_to_end(downstream)
    downstream.end()


async def say_too_much(downstream: Downstream) -> None:
    downstream.start(200, b"OK", [], 2)
    downstream.write(b"some")


@pytest.mark.parametrize("handle", [raise_at_once, forget_to_answer])
def test_a_handle_that_gives_no_answer_costs_its_call_only(handle: object) -> None:
    with Gateway(1, handle=handle) as gateway:  # type: ignore[arg-type]
        answers = [call(gateway.port, GET) for _ in range(2)]

    assert [answer.status for answer in answers] == [500, 500]
    assert all(b"canary" not in answer.body for answer in answers)


@pytest.mark.parametrize("handle", [raise_in_mid_answer, forget_to_end, end_too_soon, say_too_much])
def test_a_handle_that_fails_in_mid_answer_is_a_visible_cut(handle: object) -> None:
    with (
        Gateway(1, handle=handle) as gateway,  # type: ignore[arg-type]
        dialled(gateway.port, GET) as wire,
        pytest.raises(EOFError),
    ):
        take_answer(wire)


def test_a_slow_call_does_not_meet_the_time_limits_of_callers() -> None:
    limits = Limits(head_seconds=0.2, body_seconds=0.2, idle_seconds=0.2)

    def script(wire: Wire, request: ReceivedRequest) -> None:
        threading.Event().wait(1.0)
        wire.send(OK)

    with RawUpstream(script) as upstream, Gateway(upstream.port, limits=limits) as gateway:
        assert call(gateway.port, POST.replace(b"5\r\n", b"0\r\n")[:-5]).body == b"ok"
