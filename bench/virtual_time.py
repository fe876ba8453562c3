"""An event loop on which waiting takes no time: what happens on it happens in order, as fast as it can.

The proxy's own parts run on it unchanged, with timers, tasks and threads; a minute of theirs takes as long as
its work does. What they hand to threads is done at once, and told them after `answer_seconds`: that is the
store's latency. Nothing may wait for anything outside.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of its next timer."""

    def __init__(self, answer_seconds: float) -> None:
        self.answer_seconds = answer_seconds
        self._passed = 0.0
        super().__init__(_NoWaiting(self))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._passed

    def skip(self, seconds: float) -> None:
        """Let so much time pass."""
        self._passed += seconds

    def run_in_executor(  # type: ignore[override]  # no thread: the same promise all the same
        self, _executor: Any, work: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """Do the work now; its outcome is there when an answer from the store would be."""
        outcome: asyncio.Future[T] = self.create_future()
        try:
            result = work(*args)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            self.call_later(self.answer_seconds, _fail, outcome, error)
        else:
            self.call_later(self.answer_seconds, _succeed, outcome, result)
        return outcome


class VirtualClock:
    """The product's clock, on the loop's time."""

    def __init__(self, loop: VirtualLoop, start: datetime) -> None:
        self._loop = loop
        self._start = start

    def now(self) -> datetime:
        """The moment, as aware UTC."""
        return self._start + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Seconds since the loop was made."""
        return self._loop.time()


def run_virtually(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """What `main` comes to; whatever else it began is given up then."""
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        return result
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class _NoWaiting(selectors.SelectSelector):
    """Waits for nothing: the time that the loop would have waited has passed."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again")
        self._loop.skip(timeout)
        return []


def _succeed(outcome: "asyncio.Future[T]", result: T) -> None:
    if not outcome.done():
        outcome.set_result(result)


def _fail(outcome: "asyncio.Future[T]", error: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(error)
