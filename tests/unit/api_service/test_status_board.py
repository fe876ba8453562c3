"""The board of the status page: one thread measures, nobody waits for it who can be told something recent."""

import threading

from api_service.status_board import KEPT_SECONDS, STALE_SECONDS_MAX, Board, StatusBoard
from metering.status_history import Answered
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown


class Probe:
    """A proxy that answers when it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = threading.Event()
        self.is_asked = threading.Event()
        self.may_answer.set()

    def __call__(self) -> Answered:
        self.asked += 1
        self.is_asked.set()
        assert self.may_answer.wait(30)
        return Answered(state="up", latency_ms=self.asked)


def board_of(probe: Probe, clock: ManualClock) -> StatusBoard:
    return StatusBoard(StoreDown(), clock, probe)


def asking(board: StatusBoard, found: list[Board]) -> threading.Thread:
    thread = threading.Thread(target=lambda: found.append(board.shown()))
    thread.start()
    return thread


def test_while_one_thread_measures_others_get_what_was_there() -> None:
    probe, clock, found = Probe(), ManualClock(), list[Board]()
    board = board_of(probe, clock)
    first = board.shown()
    clock.advance(KEPT_SECONDS)
    probe.may_answer.clear()
    probe.is_asked.clear()

    thread = asking(board, found)
    assert probe.is_asked.wait(30)
    meanwhile = board.shown()
    probe.may_answer.set()
    thread.join(30)

    assert meanwhile is first
    assert [each.proxy.latency_ms for each in found] == [2]
    assert board.shown() is found[0]


def test_what_is_too_old_is_told_to_nobody_and_measured_once() -> None:
    probe, clock, found = Probe(), ManualClock(), list[Board]()
    board = board_of(probe, clock)
    board.shown()
    clock.advance(STALE_SECONDS_MAX)
    probe.may_answer.clear()

    threads = [asking(board, found) for _ in range(3)]
    probe.may_answer.set()
    for thread in threads:
        thread.join(30)

    assert [each.proxy.latency_ms for each in found] == [2, 2, 2]
    assert probe.asked == 2
