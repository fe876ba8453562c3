"""What ends a call's wait for its upstream from outside: the caller gone, our shutdown, a bound reached.

When the caller hangs up, a stream is cut at the upstream at once. A plain answer is read on without the
caller, within bounds of number, bytes and time, since the provider bills it whole either way
(docs/decisions/0005).
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from proxy_service.wire import Answer, Downstream, UpstreamCut

READ_ON_CALLS_MAX: Final = 400
READ_ON_OF_ACCOUNT_MAX: Final = 100  # so that no account's callers take the place of all others'
READ_ON_SECONDS_MAX: Final = 300.0
READ_ON_BYTES_MAX: Final = 32 * 1024 * 1024


class ReadingOn:
    """The calls whose answers are read to their end without their callers."""

    def __init__(self) -> None:
        self._lifelines: set[Lifeline] = set()

    def __len__(self) -> int:
        return len(self._lifelines)

    def begin(self, lifeline: "Lifeline") -> bool:
        """Take one more, if there is room for it and for its account."""
        of_account = sum(each.account_id == lifeline.account_id for each in self._lifelines)
        if len(self._lifelines) >= READ_ON_CALLS_MAX or of_account >= READ_ON_OF_ACCOUNT_MAX:
            return False
        self._lifelines.add(lifeline)
        return True

    def end(self, lifeline: "Lifeline") -> None:
        """That one is over."""
        self._lifelines.discard(lifeline)

    def cut_all(self) -> None:
        """Our shutdown waits for them no longer."""
        for lifeline in list(self._lifelines):
            lifeline.is_drained = True
            lifeline.cut()


class Lifeline:
    """Watches over one call. `reading_on` None: the upstream is cut as soon as the caller is gone.

    `is_drained`: our shutdown ended the call, whether or not its caller was still there.
    """

    __slots__ = (
        "_answer",
        "_downstream",
        "_is_opening",
        "_reading_on",
        "_task",
        "_timer",
        "account_id",
        "is_cut",
        "is_drained",
    )

    def __init__(self, downstream: Downstream, reading_on: ReadingOn | None, account_id: str = "") -> None:
        self.account_id = account_id
        self.is_cut = False
        self.is_drained = False
        self._downstream = downstream
        self._reading_on = reading_on
        self._task = asyncio.current_task()
        self._answer: Answer | None = None
        self._is_opening = False
        self._timer: asyncio.TimerHandle | None = None
        downstream.on_gone(self._caller_left)

    @property
    def is_caller_gone(self) -> bool:
        """Whether nobody is left to answer."""
        return self._downstream.is_gone

    async def open(self, opening: Coroutine[Any, Any, Answer]) -> Answer:
        """The upstream's answer, its head read. Raises: UpstreamCut where cut, and what `opening` raises."""
        if self.is_cut:
            opening.close()
            raise UpstreamCut
        self._is_opening = True
        try:
            self._answer = await opening
        except asyncio.CancelledError:
            if not self.is_cut or self._task is None:
                raise
            self._task.uncancel()  # it was us
            raise UpstreamCut from None
        finally:
            self._is_opening = False
        return self._answer

    def cut(self) -> None:
        """Close the connection to the upstream now."""
        if self.is_cut:
            return
        self.is_cut = True
        if self._answer is not None:
            self._answer.abort()
        elif self._is_opening and self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """The call is over; nothing is held any more."""
        self._downstream.on_gone(None)
        if self._timer is not None:
            self._timer.cancel()
        if self._reading_on is not None:
            self._reading_on.end(self)
        self._answer = self._task = None

    def _caller_left(self) -> None:
        self.is_drained = self._downstream.is_drained
        if self.is_drained or self._reading_on is None or not self._reading_on.begin(self):
            self.cut()
            return
        self._timer = asyncio.get_running_loop().call_later(READ_ON_SECONDS_MAX, self.cut)
        if self._answer is not None:
            self._answer.resume()  # nobody is left to be too slow
