"""Waiting for what another thread, process or timer does: for a condition, and never longer than a deadline.

Nobody tells a test of these, so it looks. This is the one place below `tests/` that does, beside those that
start real processes (`tests/system`, `tests/browser`); `tests/architecture/test_waiting.py` holds that.
"""

import asyncio
import time
from collections.abc import Callable

PATIENCE_SECONDS = 10.0
THREAD_LOOK_SECONDS = 0.002
TIMER_LOOK_SECONDS = 0.01

_LATE = "it did not become true in time"


def until(claim: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once a claim about another thread or process holds. Raises: AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, _LATE
        time.sleep(THREAD_LOOK_SECONDS)


async def until_timers_did(claim: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """The same of the loop's own timers, which run meanwhile. Raises: AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, _LATE
        await asyncio.sleep(TIMER_LOOK_SECONDS)
