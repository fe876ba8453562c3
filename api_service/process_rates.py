"""How often somebody asked this process for what it answers from memory: counted in memory, too.

Where an answer costs the store nothing, counting who asks for it there would cost more than the answer.
Windows are fixed, so that two of them at their edge may hold twice as many.
"""

import math
import threading
from collections import OrderedDict
from typing import Final

from api_service.rates import Standing, Window

REMEMBERED_MAX: Final = 20_000  # names; whoever asked longest ago is forgotten first


class ProcessRates:
    """Counts by name and window. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()  # name → window's number, count

    def take(self, name: str, window: Window, now: float) -> Standing:
        """Take a place at that unix second; how the name stands then."""
        number = int(now // window.seconds)
        ends_at = (number + 1) * window.seconds
        with self._lock:
            counted_in, count = self._counts.pop(name, (number, 0))
            count = count + 1 if counted_in == number else 1
            self._counts[name] = (number, count)
            if len(self._counts) > REMEMBERED_MAX:
                self._counts.popitem(last=False)
        return Standing(
            limit=window.limit,
            remaining=max(0, window.limit - count),
            reset_at=ends_at,
            wait_seconds=math.ceil(ends_at - now) if count > window.limit else 0,
        )
