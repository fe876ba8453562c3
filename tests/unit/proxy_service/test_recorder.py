import asyncio
from collections.abc import Awaitable, Callable

import pytest

from metering.errors import DocumentTooLarge, StoreUnavailable
from metering.segments import Segment, SegmentPacker
from proxy_service.recorder import COMMITS_AT_ONCE, Recorder
from proxy_service.tally import Tally
from tests.builders import make_event
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.waiting import until_timers_did

INSTANCE = "0" * 32


class WatchedClock(ManualClock):
    """Counts how often it is asked."""

    readings = 0

    def monotonic(self) -> float:
        self.readings += 1
        return super().monotonic()


class Desk:
    """A recorder whose commits meet what a test says; `stored` names what the store took."""

    def __init__(self, *failures: Exception, events_held_max: int = 1000) -> None:
        self.clock = WatchedClock()
        self.tally = Tally()
        self.attempts: list[Segment] = []
        self.stored: list[str] = []
        self.refused: list[BaseException] = []
        self.left: list[Segment] = []
        self.told: list[bool] = []
        self.cannot_be_told = False
        self._failures = list(failures)
        self.recorder = Recorder(
            SegmentPacker(INSTANCE, events_held_max=events_held_max),
            self._commit,
            self.clock,
            self.tally,
            threads=AtOnce(),
            on_stored=self.stored.append,
            on_refused=self.refused.append,
            on_left=self.left.append,
            on_reach=self._told,
        )

    def _told(self, is_reached: bool) -> None:
        self.told.append(is_reached)
        if self.cannot_be_told:
            raise RuntimeError("nobody listens")

    def _commit(self, segment: Segment) -> None:
        self.attempts.append(segment)
        if self._failures:
            raise self._failures.pop(0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def running() -> None:
        await scenario()

    asyncio.run(running())


def test_flushing_stores_every_event_under_the_names_that_were_given() -> None:
    desk = Desk()

    async def scenario() -> None:
        names = {desk.recorder.add(make_event(account_id=f"acct_{number}"))[0] for number in range(10)}
        await desk.recorder.flush(5)
        assert set(desk.stored) == names

    run(scenario)

    assert (desk.tally.events_stored, desk.recorder.events_unstored) == (10, 0)


def test_a_segment_is_stored_once_it_is_due() -> None:
    desk = Desk()

    async def scenario() -> None:
        desk.recorder.add(make_event())
        desk.clock.advance(1)
        await until_timers_did(lambda: bool(desk.stored))

    run(scenario)

    assert desk.tally.events_stored == 1


def test_while_the_store_gives_no_answer_the_same_segment_is_repeated() -> None:
    desk = Desk(StoreUnavailable(), StoreUnavailable())

    async def scenario() -> None:
        desk.recorder.add(make_event())
        await desk.recorder.flush(5)

    run(scenario)

    assert [segment.name for segment in desk.attempts] == [f"{INSTANCE}-1"] * 3
    assert (desk.stored, desk.tally.commits_repeated) == ([f"{INSTANCE}-1"], 2)
    assert desk.tally.events_left_to_journal == 0


def test_a_fault_in_telling_of_a_silent_store_strands_no_segment() -> None:
    desk = Desk(StoreUnavailable())
    desk.cannot_be_told = True

    async def scenario() -> None:
        desk.recorder.add(make_event())
        await desk.recorder.flush(5)

    run(scenario)

    assert (desk.stored, desk.recorder.events_unstored) == ([f"{INSTANCE}-1"], 0)


def test_that_the_store_is_silent_is_told_once_and_so_is_that_it_answers_again() -> None:
    desk = Desk(StoreUnavailable(), StoreUnavailable())

    async def scenario() -> None:
        for number in range(3):
            desk.recorder.add(make_event(account_id=f"acct_{number}"))
        await desk.recorder.flush(5)

    run(scenario)

    assert desk.told == [False, True]


def test_of_a_store_that_answers_nothing_is_told() -> None:
    desk = Desk(DocumentTooLarge())

    async def scenario() -> None:
        desk.recorder.add(make_event())
        await desk.recorder.flush(5)

    run(scenario)

    assert desk.told == []


@pytest.mark.parametrize("failure", [DocumentTooLarge(), ValueError("a fault of ours")], ids=str)
def test_a_segment_that_can_never_be_stored_is_left_to_the_journal_and_the_others_go_on(
    failure: Exception,
) -> None:
    desk = Desk(failure)

    async def scenario() -> None:
        desk.recorder.add(make_event(account_id="acct_1"))
        desk.recorder.add(make_event(account_id="acct_2"))
        await desk.recorder.flush(5)

    run(scenario)

    assert (desk.refused, desk.stored) == ([failure], [f"{INSTANCE}-2"])
    assert [segment.name for segment in desk.left] == [f"{INSTANCE}-1"]
    assert (desk.tally.events_left_to_journal, desk.tally.events_stored) == (1, 1)


def test_what_finds_no_room_is_left_to_the_journal_and_says_so() -> None:
    desk = Desk(events_held_max=2)

    async def scenario() -> None:
        held = [desk.recorder.add(make_event())[1] for _ in range(3)]
        assert held == [True, True, False]
        await desk.recorder.flush(5)

    run(scenario)

    assert (desk.tally.events_stored, desk.tally.events_left_to_journal) == (2, 1)


def test_flushing_ends_in_time_when_the_store_never_answers() -> None:
    desk = Desk(*[StoreUnavailable() for _ in range(1000)])

    async def scenario() -> None:
        desk.recorder.add(make_event())
        await desk.recorder.flush(0.05)

    run(scenario)

    assert (desk.stored, desk.tally.events_left_to_journal) == ([], 1)


def test_an_account_whose_commits_fail_holds_up_no_other() -> None:
    desk = Desk(*[StoreUnavailable() for _ in range(COMMITS_AT_ONCE)])

    async def scenario() -> None:
        for number in range(COMMITS_AT_ONCE + 3):
            desk.recorder.add(make_event(account_id=f"acct_{number}"))
        await desk.recorder.flush(5)

    run(scenario)

    first_rounds = [segment.account_id for segment in desk.attempts[: COMMITS_AT_ONCE + 3]]
    assert len(set(first_rounds)) == COMMITS_AT_ONCE + 3
    assert len(desk.stored) == COMMITS_AT_ONCE + 3


def test_while_there_is_room_for_no_more_the_loop_is_not_kept_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_service.recorder.EVENTS_WAITING_MAX", 1)
    desk = Desk(*[StoreUnavailable() for _ in range(1000)])

    async def scenario() -> int:
        desk.recorder.add(make_event(account_id="acct_1"))
        desk.clock.advance(1)
        await until_timers_did(lambda: bool(desk.attempts))
        desk.recorder.add(make_event(account_id="acct_2"))
        desk.clock.advance(10)
        before = desk.clock.readings
        await until_timers_did(lambda: desk.tally.commits_repeated >= 5)  # longer than `LOOK_SECONDS_MAX`
        return desk.clock.readings - before

    assert asyncio.run(scenario()) < 20
    assert {segment.account_id for segment in desk.attempts} == {"acct_1"}  # the other waits in the packer
