import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy_service.lifeline import READ_ON_CALLS_MAX, READ_ON_OF_ACCOUNT_MAX, Lifeline, ReadingOn
from proxy_service.wire import Answer, ResponseHead, UpstreamCut
from tests.doubles.downstream import AnswerDouble, DownstreamDouble


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def running() -> None:
        await scenario()

    asyncio.run(running())


async def never() -> Answer:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def at_once(answer: AnswerDouble) -> Answer:
    return answer


def make_answer() -> AnswerDouble:
    return AnswerDouble(ResponseHead(200, b"OK", []))


def test_a_stream_whose_caller_leaves_is_cut_while_it_waits_for_its_head() -> None:
    async def scenario() -> None:
        downstream = DownstreamDouble()
        lifeline = Lifeline(downstream, None)
        asyncio.get_running_loop().call_soon(downstream.leave)

        with pytest.raises(UpstreamCut):
            await lifeline.open(never())

        await asyncio.sleep(0)  # the task goes on: it was not cancelled from outside
        assert lifeline.is_cut

    run(scenario)


def test_a_stream_whose_caller_leaves_is_cut_while_it_passes() -> None:
    async def scenario() -> None:
        downstream, answer = DownstreamDouble(), make_answer()
        lifeline = Lifeline(downstream, None)
        await lifeline.open(at_once(answer))

        downstream.leave()

        assert answer.is_aborted

    run(scenario)


def test_a_caller_that_has_left_already_has_nothing_sent_for_it() -> None:
    async def scenario() -> None:
        downstream = DownstreamDouble()
        downstream.leave()

        with pytest.raises(UpstreamCut):
            await Lifeline(downstream, None).open(never())

    run(scenario)


def test_a_cancellation_from_outside_stays_one() -> None:
    async def scenario() -> None:
        task = asyncio.ensure_future(Lifeline(DownstreamDouble(), None).open(never()))
        await asyncio.sleep(0)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario)


def test_a_plain_answer_is_read_on_without_its_caller_and_without_waiting_for_it() -> None:
    async def scenario() -> None:
        reading_on, downstream, answer = ReadingOn(), DownstreamDouble(), make_answer()
        lifeline = Lifeline(downstream, reading_on)
        await lifeline.open(at_once(answer))

        downstream.leave()

        assert (answer.is_aborted, answer.is_resumed, len(reading_on)) == (False, True, 1)
        lifeline.close()
        assert len(reading_on) == 0

    run(scenario)


def test_a_plain_answer_is_read_on_no_longer_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_service.lifeline.READ_ON_SECONDS_MAX", 0)

    async def scenario() -> None:
        downstream = DownstreamDouble()
        lifeline = Lifeline(downstream, ReadingOn())
        asyncio.get_running_loop().call_soon(downstream.leave)

        with pytest.raises(UpstreamCut):
            await lifeline.open(never())

    run(scenario)


@pytest.mark.parametrize(
    ("accounts", "most"), [(1, READ_ON_OF_ACCOUNT_MAX), (READ_ON_CALLS_MAX + 1, READ_ON_CALLS_MAX)]
)
def test_answers_that_are_read_on_are_bounded_in_number_also_of_one_account(accounts: int, most: int) -> None:
    async def scenario() -> None:
        reading_on = ReadingOn()
        callers = [DownstreamDouble() for _ in range(most + 1)]
        lifelines = [Lifeline(caller, reading_on, str(n % accounts)) for n, caller in enumerate(callers)]
        for caller in callers:
            caller.leave()

        assert [lifeline.is_cut for lifeline in lifelines] == [False] * most + [True]
        for lifeline in lifelines:
            lifeline.close()

    run(scenario)


def test_our_shutdown_cuts_what_nobody_waits_for() -> None:
    async def scenario() -> None:
        reading_on, downstream, answer = ReadingOn(), DownstreamDouble(), make_answer()
        lifeline = Lifeline(downstream, reading_on)
        await lifeline.open(at_once(answer))
        downstream.leave()

        reading_on.cut_all()

        assert (answer.is_aborted, lifeline.is_drained) == (True, True)
        lifeline.close()

    run(scenario)


def test_a_call_that_our_shutdown_cuts_is_not_read_on() -> None:
    async def scenario() -> None:
        downstream, answer = DownstreamDouble(), make_answer()
        lifeline = Lifeline(downstream, ReadingOn())
        await lifeline.open(at_once(answer))

        downstream.leave(is_drained=True)

        assert (answer.is_aborted, lifeline.is_drained) == (True, True)

    run(scenario)


def test_a_closed_lifeline_does_nothing_more() -> None:
    async def scenario() -> None:
        downstream, answer = DownstreamDouble(), make_answer()
        lifeline = Lifeline(downstream, None)
        await lifeline.open(at_once(answer))
        lifeline.close()

        downstream.leave()

        assert not answer.is_aborted

    run(scenario)
