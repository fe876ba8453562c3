import asyncio

import pytest

from proxy_service.bodies import BodyRoom
from proxy_service.call import Call
from proxy_service.refusals import RequestRefused
from proxy_service.wire import BodyTooLarge, CallerGone, RequestHead
from tests.doubles.clock import ManualClock
from tests.doubles.downstream import DownstreamDouble


def make_call(body: bytes = b"", *, is_chunked: bool = False) -> Call:
    head = RequestHead(
        b"POST", b"/", [], content_length=None if is_chunked else len(body), is_chunked=is_chunked
    )
    return Call(DownstreamDouble(head, body), ManualClock())


def test_room_is_taken_for_the_body_and_given_back() -> None:
    room, call = BodyRoom(100), make_call(b"x" * 60)

    assert asyncio.run(room.read(call, 100)) == b"x" * 60
    assert (room.bytes_taken, call.body_bytes) == (60, 60)
    room.give_back(call)
    room.give_back(call)
    assert room.bytes_taken == 0


def test_when_there_is_no_room_the_caller_is_told_to_come_back() -> None:
    room = BodyRoom(100)
    asyncio.run(room.read(make_call(b"x" * 60), 100))
    asyncio.run(room.read(make_call(b"x" * 40), 100))

    with pytest.raises(RequestRefused) as refused:
        asyncio.run(room.read(make_call(b"x"), 100))

    assert (refused.value.status, room.bytes_taken) == (503, 100)


def test_a_body_of_unknown_length_takes_the_most_it_may_have_and_keeps_what_it_has() -> None:
    room = BodyRoom(100)
    asyncio.run(room.read(make_call(b"x" * 10, is_chunked=True), 60))
    assert room.bytes_taken == 10

    with pytest.raises(RequestRefused):
        asyncio.run(room.read(make_call(b"x", is_chunked=True), 91))


def test_a_body_above_its_own_limit_takes_no_room() -> None:
    room = BodyRoom(100)

    assert asyncio.run(room.read(make_call(b"x" * 50), 50)) == b"x" * 50
    with pytest.raises(BodyTooLarge):
        asyncio.run(room.read(make_call(b"x" * 51), 50))

    assert room.bytes_taken == 50


def test_room_of_a_caller_that_left_is_given_back() -> None:
    room, call = BodyRoom(100), make_call(b"x" * 60)
    call.downstream.is_gone = True

    with pytest.raises(CallerGone):
        asyncio.run(room.read(call, 100))
    room.give_back(call)

    assert room.bytes_taken == 0
