"""The benchmarks' upstream answers a request when all of it is there, with what its prompt names."""

import asyncio
import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from bench.answers import Wanted, prepared, request_body
from bench.load import request
from bench.timers import Timers
from bench.upstream import Connection, Provider
from tests.unit.bench.connections import Wire
from tests.unit.proxy_service.answers import cut_at

URL = "http://127.0.0.1:1"
OPENAI_STREAM = Wanted("openai", 50)


class _Waiting:
    """Timers that fire when told."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def call_at(self, due: float, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def fire(self) -> None:
        self._waiting.pop()()


def _answered(*pieces: bytes) -> tuple[bytes, dict[str, int], bool]:
    """What pieces of a request are answered with at once, the bill, and whether that was the end."""

    async def told() -> tuple[bytes, dict[str, int], bool]:
        timers = Timers()
        provider, wire = Provider(timers), Wire()
        connection = Connection(provider)
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
        timers.close()
        return wire.written, json.loads(provider.bill().partition(b"\r\n\r\n")[2]), wire.is_closed

    return asyncio.run(told())


def _answer(wanted: Wanted) -> bytes:
    ((_, answer),) = prepared()[wanted.shape, wanted.name].parts
    return answer


@given(places=st.lists(st.integers(min_value=0), max_size=8))
def test_a_request_in_any_pieces_has_one_answer(places: list[int]) -> None:
    sent = request(URL, {}, request_body(OPENAI_STREAM, 1_000), OPENAI_STREAM)

    written, bill, _ = _answered(*cut_at(sent, places))

    assert written == _answer(OPENAI_STREAM)
    assert bill == {"calls": 1, "nanodollars": 3_680_000}


def test_nothing_is_answered_before_the_request_is_whole() -> None:
    sent = request(URL, {}, request_body(Wanted(), 1_000))

    assert _answered(sent[:-1])[0] == b""


def test_a_body_in_chunks_is_taken_too() -> None:
    body = request_body(Wanted(), 300)
    head = b"POST /v1/messages HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

    written, _, _ = _answered(head, b"%x\r\n%s\r\n" % (len(body), body), b"0\r\n\r\n")

    assert written == _answer(Wanted())


def test_a_prompt_that_names_no_answer_is_refused_and_not_billed() -> None:
    written, bill, is_closed = _answered(request(URL, {}, b'{"model": "m"}'))

    assert written.startswith(b"HTTP/1.1 400")
    assert is_closed
    assert bill["calls"] == 0


def test_an_answer_in_parts_comes_part_by_part() -> None:
    late = Wanted(chunks=50, pacing="late")
    timers, wire = _Waiting(), Wire()
    connection = Connection(Provider(timers))
    connection.connection_made(wire)

    connection.data_received(request(URL, {}, request_body(late, 500), late))
    assert wire.written == b""
    timers.fire()
    assert wire.written.startswith(b"HTTP/1.1 200")
    assert not wire.written.endswith(b"0\r\n\r\n")
    timers.fire()

    assert wire.written.endswith(b"0\r\n\r\n")


def test_whoever_hangs_up_is_sent_no_more_parts() -> None:
    timers, wire = _Waiting(), Wire()
    connection = Connection(Provider(timers))
    connection.connection_made(wire)
    connection.data_received(request(URL, {}, request_body(Wanted(pacing="late"), 500)))

    wire.close()
    timers.fire()

    assert wire.written == b""
