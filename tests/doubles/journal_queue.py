"""A queue of journal lines that hides, gives back and loses as a real one does, on a clock of the test's."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

from metering.clock import Clock
from metering.queued_recovery import HIDDEN_SECONDS, Delivery, QueueUnavailable


class MemoryQueue:
    """Lines in memory. `failing` names methods that give no answer; `empty_pulls` come before any line."""

    def __init__(self, clock: Clock) -> None:
        self.failing: set[str] = set()
        self.empty_pulls = 0
        self.aside: list[bytes] = []
        self.pulls = 0
        self._clock = clock
        self._handles = count(1)
        self._lines: dict[str, tuple[Delivery, datetime]] = {}

    @property
    def lines(self) -> list[bytes]:
        """All that is not acknowledged."""
        return [delivery.line for delivery, _ in self._lines.values()]

    def publish(self, *lines: bytes, age: timedelta = timedelta(minutes=5)) -> None:
        """The proxies wrote these, so long ago."""
        now = self._clock.now()
        for line in lines:
            handle = str(next(self._handles))
            self._lines[handle] = (Delivery(handle, line, now - age), now)

    def pull(self, count: int) -> Sequence[Delivery]:
        self._answer("pull")
        self.pulls += 1
        if self.empty_pulls:
            self.empty_pulls -= 1
            return []
        now = self._clock.now()
        found = [delivery for delivery, visible_at in self._lines.values() if visible_at <= now][:count]
        self._hide(found, HIDDEN_SECONDS)
        return found

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._answer("acknowledge")
        for each in deliveries:
            self._lines.pop(each.handle)

    def give_back(self, deliveries: Sequence[Delivery], seconds: int) -> None:
        self._answer("give_back")
        self._hide(deliveries, seconds)

    def set_aside(self, deliveries: Sequence[Delivery]) -> None:
        self._answer("set_aside")
        self.aside += [each.line for each in deliveries]

    def _hide(self, deliveries: Sequence[Delivery], seconds: int) -> None:
        visible_at = self._clock.now() + timedelta(seconds=seconds)
        for each in deliveries:
            self._lines[each.handle] = (each, visible_at)

    def _answer(self, method: str) -> None:
        if method in self.failing:
            raise QueueUnavailable("no answer came")
