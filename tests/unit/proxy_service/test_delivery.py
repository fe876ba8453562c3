import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy_service.delivery import HELD_BYTES_MAX, Delivery, is_small
from proxy_service.eventstream import EventStreamBroken
from proxy_service.lifeline import Lifeline
from proxy_service.wire import ResponseHead, UpstreamCut
from tests.doubles.clock import ManualClock
from tests.doubles.downstream import AnswerDouble, DownstreamDouble

HEADERS = [(b"X-Ours", b"1")]


class Ear:
    """Keeps what it was fed."""

    def __init__(self) -> None:
        self.heard = b""

    def feed(self, data: bytes) -> None:
        self.heard += data


class Shout:
    """An edit that makes everything upper case, and adds an end."""

    def __init__(self) -> None:
        self.head = ResponseHead(200, b"OK", [])

    def feed(self, data: bytes) -> bytes:
        if data == b"broken":
            raise EventStreamBroken
        return data.upper()

    def finish(self) -> bytes:
        return b"!"


class Scene:
    """One answer on its way, both ends played by the test."""

    def __init__(self, length: int | None, edit: Shout | None = None) -> None:
        self.downstream = DownstreamDouble()
        self.answer = AnswerDouble(ResponseHead(200, b"OK", [], length))
        self.ear = Ear()
        self.lifeline = Lifeline(self.downstream, None)
        self.delivery = Delivery(
            self.downstream, self.lifeline, self.answer, self.ear, edit, ManualClock().monotonic
        )


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def running() -> None:
        await scenario()

    asyncio.run(running())


def test_a_held_answer_goes_whole_when_it_is_released() -> None:
    async def scenario() -> None:
        scene = Scene(6)
        scene.answer.send(b"abc", b"def")
        scene.answer.end()

        await scene.delivery.hold()

        assert (scene.downstream.sent, scene.ear.heard, scene.delivery.body) == ([], b"abcdef", b"abcdef")
        scene.delivery.release(HEADERS)
        assert scene.downstream.answered == (200, HEADERS, 6)
        assert (scene.downstream.sent, scene.downstream.end_seen) == ([b"abcdef"], "ended")

    run(scenario)


def test_a_held_answer_that_breaks_off_is_as_long_and_as_broken_for_the_caller() -> None:
    async def scenario() -> None:
        scene = Scene(6)
        scene.answer.send(b"abc")
        scene.answer.abort()

        await scene.delivery.hold()
        scene.delivery.release(HEADERS)

        assert (scene.delivery.is_cut, scene.delivery.body, scene.ear.heard) == (True, None, b"abc")
        assert scene.downstream.answered == (200, HEADERS, 6)
        assert (scene.downstream.sent, scene.downstream.end_seen) == ([b"abc"], "cut")

    run(scenario)


def test_pieces_pass_as_they_come_and_the_last_of_a_known_length_waits() -> None:
    async def scenario() -> None:
        scene = Scene(6)
        scene.answer.send(b"abc", b"def")
        scene.answer.end()

        await scene.delivery.pass_on(HEADERS, copies=False)

        assert (scene.downstream.sent, scene.downstream.end_seen) == ([b"abc"], "")
        assert (scene.ear.heard, scene.delivery.body) == (b"abcdef", None)
        scene.delivery.release([])
        assert (scene.downstream.sent, scene.downstream.end_seen) == ([b"abc", b"def"], "ended")

    run(scenario)


def test_of_an_unknown_length_only_the_end_waits() -> None:
    async def scenario() -> None:
        scene = Scene(None)
        scene.answer.send(b"abc", b"def")
        scene.answer.end()

        await scene.delivery.pass_on(HEADERS, copies=True)

        assert (scene.downstream.sent, scene.downstream.end_seen) == ([b"abc", b"def"], "")
        assert scene.delivery.body == b"abcdef"
        scene.delivery.release([])
        assert scene.downstream.end_seen == "ended"

    run(scenario)


@pytest.mark.parametrize(("count", "heard"), [(63, 0), (64, 64)])
def test_small_pieces_pass_at_once_and_are_heard_many_at_a_time(count: int, heard: int) -> None:
    async def scenario() -> None:
        scene = Scene(None)
        passing = asyncio.ensure_future(scene.delivery.pass_on([], copies=False))
        scene.answer.send(*[b"x"] * count)
        await asyncio.sleep(0)

        assert (len(scene.downstream.sent), len(scene.ear.heard)) == (count, heard)
        scene.answer.end()
        await passing
        assert len(scene.ear.heard) == count

    run(scenario)


@pytest.mark.parametrize("last", [UpstreamCut(), b"broken"], ids=["cut", "unreadable"])
def test_what_breaks_off_on_its_way_is_cut_for_the_caller(last: object) -> None:
    async def scenario() -> None:
        scene = Scene(None, Shout())
        scene.answer.send(b"abc", last)  # type: ignore[arg-type]  # an exception is raised in its place

        await scene.delivery.pass_on(HEADERS, copies=True)
        scene.delivery.release([])

        assert (scene.downstream.sent, scene.downstream.end_seen) == ([b"ABC"], "cut")
        assert (scene.delivery.is_cut, scene.delivery.body) == (True, None)

    run(scenario)


@pytest.mark.parametrize("is_held", [True, False])
def test_an_edit_changes_what_the_caller_gets_and_not_what_is_metered(is_held: bool) -> None:
    async def scenario() -> None:
        scene = Scene(6, Shout())
        scene.answer.send(b"abcdef")
        scene.answer.end()

        await (scene.delivery.hold() if is_held else scene.delivery.pass_on([], copies=False))
        scene.delivery.release([])

        assert (b"".join(scene.downstream.sent), scene.ear.heard) == (b"ABCDEF!", b"abcdef")
        assert scene.downstream.end_seen == "ended"

    run(scenario)


def test_a_copy_is_dropped_once_it_is_too_large() -> None:
    async def scenario() -> None:
        scene = Scene(None)
        scene.answer.send(b"x" * HELD_BYTES_MAX, b"x")
        scene.answer.end()

        await scene.delivery.pass_on([], copies=True)

        assert scene.delivery.body is None

    run(scenario)


def test_an_answer_read_on_for_nobody_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_service.delivery.READ_ON_BYTES_MAX", 5)
    monkeypatch.setattr("proxy_service.delivery.UNHEARD_BYTES_MAX", 0)  # looked at with every piece

    async def scenario() -> None:
        scene = Scene(None)
        passing = asyncio.ensure_future(scene.delivery.pass_on([], copies=False))
        await asyncio.sleep(0)
        scene.downstream.is_gone = True
        cut_after = []
        for piece in (b"12345", b"6"):
            scene.answer.send(piece)
            await asyncio.sleep(0)
            cut_after.append(scene.lifeline.is_cut)
        passing.cancel()

        assert cut_after == [False, True]

    run(scenario)


@pytest.mark.parametrize(
    ("length", "small"), [(0, True), (HELD_BYTES_MAX, True), (HELD_BYTES_MAX + 1, False), (None, False)]
)
def test_an_answer_of_known_small_length_is_small(length: int | None, small: bool) -> None:
    assert is_small(ResponseHead(200, b"OK", [], length)) is small
