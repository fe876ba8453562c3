import asyncio

import pytest

from metering.accounts import LOCAL_ACCOUNT_ID, Caller
from proxy_service.bodies import FIRST_STEP_BYTES, STEP_FACTOR, BodyRoom
from proxy_service.call import Call
from proxy_service.refusals import RequestRefused
from proxy_service.wire import BodyTooLarge, CallerGone, RequestHead
from tests.doubles.clock import ManualClock
from tests.doubles.downstream import DownstreamDouble


def make_call(body: bytes = b"", *, is_chunked: bool = False, account_id: str = LOCAL_ACCOUNT_ID) -> Call:
    head = RequestHead(
        b"POST", b"/", [], content_length=None if is_chunked else len(body), is_chunked=is_chunked
    )
    call = Call(DownstreamDouble(head, body), ManualClock())
    call.caller = Caller(account_id=account_id)
    return call


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


def test_a_body_of_unknown_length_takes_room_in_steps_and_keeps_what_it_has() -> None:
    room = BodyRoom(STEP_FACTOR * FIRST_STEP_BYTES)
    body = b"x" * (FIRST_STEP_BYTES + 1)

    assert asyncio.run(room.read(make_call(body, is_chunked=True), len(body))) == body
    assert room.bytes_taken == len(body)
    with pytest.raises(RequestRefused):
        asyncio.run(room.read(make_call(body, is_chunked=True), STEP_FACTOR * FIRST_STEP_BYTES))


def test_a_body_of_unknown_length_above_its_limit_is_too_large() -> None:
    room = BodyRoom()

    with pytest.raises(BodyTooLarge):
        asyncio.run(room.read(make_call(b"x" * 51, is_chunked=True), 50))


def test_one_account_leaves_room_to_the_others() -> None:
    room = BodyRoom(800)
    held = [make_call(b"x" * 100, account_id="acct_a") for _ in range(4)]
    for call in held:
        asyncio.run(room.read(call, 100))

    with pytest.raises(RequestRefused):
        asyncio.run(room.read(make_call(b"x", account_id="acct_a"), 100))
    asyncio.run(room.read(make_call(b"x" * 100, account_id="acct_b"), 100))
    with pytest.raises(RequestRefused):
        asyncio.run(room.read(make_call(b"x", account_id="acct_b"), 100))

    for call in held[:2]:
        room.give_back(call)
    asyncio.run(room.read(make_call(b"x", account_id="acct_a"), 100))


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
