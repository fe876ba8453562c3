"""Runs several pieces of blocking work in one order of one's choosing, step by step."""

import threading
from collections.abc import Callable, Sequence


class Turns:
    """Work in threads of which exactly one runs at a time, from one `step` of its own to the next.

    `run` takes the order of turns: numbers of works, modulo those still unfinished. When the order is used
    up, the rest run to their ends one after another. What a work raises, `run` raises.
    """

    def __init__(self) -> None:
        self._works: list[_Work] = []

    def add(self, work: Callable[[Callable[[], None]], None]) -> None:
        """Add a piece of work; it is handed the function that ends its turn."""
        self._works.append(_Work(work))

    def run(self, order: Sequence[int]) -> None:
        for work in self._works:
            work.start()
        unfinished = list(self._works)
        turns = iter(order)
        while unfinished:
            work = unfinished[next(turns, 0) % len(unfinished)]
            work.take_turn()
            if work.is_finished:
                unfinished.remove(work)
        failures = [work.failure for work in self._works if work.failure is not None]
        if failures:
            raise failures[0]


class _Work(threading.Thread):
    def __init__(self, work: Callable[[Callable[[], None]], None]) -> None:
        super().__init__(daemon=True)
        self.is_finished = False
        self.failure: BaseException | None = None
        self._work = work
        self._mine = threading.Semaphore(0)
        self._theirs = threading.Semaphore(0)

    def take_turn(self) -> None:
        self._mine.release()
        assert self._theirs.acquire(timeout=30), "a turn did not end"

    def run(self) -> None:
        self._mine.acquire()
        try:
            self._work(self._step)
        except BaseException as failure:  # noqa: BLE001 - handed to the test's own thread
            self.failure = failure
        self.is_finished = True
        self._theirs.release()

    def _step(self) -> None:
        self._theirs.release()
        self._mine.acquire()
