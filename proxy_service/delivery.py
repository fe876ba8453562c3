"""An answer's way from the upstream to the caller, up to its last piece, which waits until it is released.

Either the answer is held whole, so that its headers can say what it cost, or it passes piece by piece as it
comes, with backpressure. An answer that breaks off on the way is `is_cut`, and so is what the caller gets.
"""

from collections.abc import Callable
from typing import Final, Protocol

from proxy_service.eventstream import EventStreamBroken
from proxy_service.lifeline import READ_ON_BYTES_MAX, Lifeline
from proxy_service.wire import Answer, Downstream, Headers, ResponseHead, WireError

HELD_BYTES_MAX: Final = 1024 * 1024
UNHEARD_BYTES_MAX: Final = 16 * 1024  # a stream's pieces are small: the meter hears many of them at once
PIECE_BYTES: Final = 256  # what keeping a piece takes beside its bytes, amply


def is_small(head: ResponseHead) -> bool:
    """Whether an answer's length is known and small enough to hold it whole."""
    return head.content_length is not None and head.content_length <= HELD_BYTES_MAX


class Listening(Protocol):
    """What learns from an answer's bytes; see `proxy_service.meter.Meter`."""

    def feed(self, data: bytes) -> None:
        """The next bytes. Never raises."""


class Editing(Protocol):
    """What changes an answer on its way; see `proxy_service.providers.preparing.AnswerEdit`."""

    head: ResponseHead

    def feed(self, data: bytes) -> bytes:
        """What the caller gets of the next bytes. Raises: EventStreamBroken."""

    def finish(self) -> bytes:
        """What the caller gets at the end."""


class Delivery:
    """One answer's way. `first_at` is when its body began.

    `body` is what the upstream sent, where it was held or copied and is whole; else None.
    """

    __slots__ = (
        "_answer",
        "_copy",
        "_downstream",
        "_edit",
        "_last",
        "_left",
        "_lifeline",
        "_meter",
        "_now",
        "_size_bytes",
        "_unheard",
        "_unheard_bytes",
        "body",
        "first_at",
        "head",
        "is_cut",
        "is_held",
    )

    def __init__(
        self,
        downstream: Downstream,
        lifeline: Lifeline,
        answer: Answer,
        meter: Listening | None,
        edit: Editing | None,
        now: Callable[[], float],
    ) -> None:
        self.head = answer.head if edit is None else edit.head
        self.body: bytes | None = None
        self.first_at: float | None = None
        self.is_cut = False
        self.is_held = False
        self._downstream = downstream
        self._lifeline = lifeline
        self._answer = answer
        self._meter = meter
        self._edit = edit
        self._now = now
        self._copy: list[bytes] | None = None
        self._size_bytes = 0
        self._left: int | None = None  # of a known length, still to pass
        self._last = b""
        self._unheard: list[bytes] = []  # passed on, and on its way to the meter
        self._unheard_bytes = 0

    async def hold(self) -> None:
        """Read the answer whole; nothing of it goes to the caller before `release`."""
        self.is_held = True
        try:
            self._last = await self._answer.read_whole(HELD_BYTES_MAX)
            self.body = self._last
        except WireError as error:
            self._break_off(error)
            self._last = self._answer.received
        self.first_at = self._now()
        if self._meter is not None:
            self._meter.feed(self._last)
        if self._edit is not None and not self.is_cut:
            self._last = self._edit.feed(self._last) + self._edit.finish()

    async def pass_on(self, headers: Headers, *, copies: bool) -> None:
        """Send the answer's head now, and its body as it comes, all but the last piece."""
        self._copy = [] if copies else None
        self._left = self.head.content_length
        self._downstream.start(self.head.status, self.head.reason, headers, self._left)
        self._downstream.on_flow(self._answer.pause, self._answer.resume)
        try:
            await self._answer.pump(self._piece_came)
        except (WireError, EventStreamBroken) as error:
            self._break_off(error)
        self._hear()
        if self._copy is not None and not self.is_cut:
            self.body = b"".join(self._copy)

    def release(self, headers: Headers) -> None:
        """The call is settled: what was kept back goes. `headers` are for an answer that was held."""
        downstream, head = self._downstream, self.head
        if self.is_held and not self.is_cut:
            downstream.answer(head.status, head.reason, headers, self._last)
            return
        if self.is_held:
            downstream.start(head.status, head.reason, headers, head.content_length)
        downstream.write(self._last)
        if self.is_cut:
            downstream.cut()
            return
        if self._edit is not None:
            downstream.write(self._edit.finish())
        downstream.end()

    def _piece_came(self, data: bytes) -> None:
        """To the caller at once; to the meter with the pieces that follow."""
        if self.first_at is None:
            self.first_at = self._now()
        passed = data if self._edit is None else self._edit.feed(data)
        if self._left is None:
            self._downstream.write(passed)
        else:
            self._pass_of(self._left, passed)
        self._unheard.append(data)
        self._unheard_bytes += len(data) + PIECE_BYTES
        if self._unheard_bytes > UNHEARD_BYTES_MAX:
            self._hear()

    def _pass_of(self, left: int, data: bytes) -> None:
        """Pass on what is no end of the `left` bytes that are still to come."""
        self._left = left - len(data)
        if self._left > 0:
            self._downstream.write(data)
        else:
            self._last = data

    def _hear(self) -> None:
        """The meter hears what has passed since it last did, and the copy, where there is one, takes it."""
        data = b"".join(self._unheard)
        self._unheard.clear()
        self._unheard_bytes = 0
        self._size_bytes += len(data)
        if self._meter is not None:
            self._meter.feed(data)
        if self._copy is not None:
            self._copy.append(data)
            if self._size_bytes > HELD_BYTES_MAX:
                self._copy = None
        if self._size_bytes > READ_ON_BYTES_MAX and self._lifeline.is_caller_gone:
            self._lifeline.cut()

    def _break_off(self, error: Exception) -> None:
        self.is_cut = True
        error.__traceback__ = None  # its frames hold the request
