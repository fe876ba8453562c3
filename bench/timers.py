"""Timers that are exact to some microseconds, on a loop whose own count whole milliseconds.

uvloop's fire at the turn of a millisecond. All processes of a machine share those turns, so an answer that
comes 50 of its milliseconds later would hide up to one that a gateway took on the way there.
"""

import asyncio
import ctypes
import heapq
import os
import struct
import time
from collections.abc import Callable
from itertools import count
from typing import Final

# https://man7.org/linux/man-pages/man2/timerfd_create.2.html; Python has it from 3.13 on
_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_NANOSECONDS: Final = 10**9
_EXPIRATIONS_BYTES: Final = 8


class Timers:
    """Calls back when due, by `time.monotonic()`. On the running loop, until closed."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._set = ctypes.CDLL(None, use_errno=True).timerfd_settime
        self._file = ctypes.CDLL(None, use_errno=True).timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "no timer to be had")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._fire)

    def close(self) -> None:
        """Call nobody back any more."""
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def call_at(self, due: float, callback: Callable[[], None]) -> None:
        """Call back then, or soon where that is past."""
        heapq.heappush(self._due, (due, next(self._number), callback))
        if self._due[0][2] is callback:
            self._wind()

    def _wind(self) -> None:
        due = max(1, round(self._due[0][0] * _NANOSECONDS))  # 0 would stop it
        once_then = struct.pack("qqqq", 0, 0, *divmod(due, _NANOSECONDS))
        if self._set(self._file, _ABSOLUTE, once_then, None):
            raise OSError(ctypes.get_errno(), "the timer was not set")

    def _fire(self) -> None:
        os.read(self._file, _EXPIRATIONS_BYTES)
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        if self._due:
            self._wind()
