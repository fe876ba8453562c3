"""What is asked of an account's rollups, and where each of a day's quarter hours then goes."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from metering.day_documents import QUARTERS_A_DAY
from metering.day_memory import NO_SLOT
from metering.rollups import QUARTER, Cell
from metering.usage_groups import Grouping

Group = TypeVar("Group")
Slot = TypeVar("Slot")

Stretch = tuple[int, int]  # the number of a day's quarter hour, and the one behind the last
ALL_DAY: Final[Stretch] = (0, QUARTERS_A_DAY)


class Question(Generic[Slot, Group]):
    """Cells to be added up by the slot of their quarter hour and the group of their cell; None leaves out.

    The quarter hours of one slot follow one another; none before `since` counts. Of the sums only `names` are
    wanted, where these are given.
    """

    def __init__(
        self,
        slot_of: Callable[[datetime], Slot | None],
        group_of: Callable[[Cell], Group | None],
        names: Collection[str] | None = None,
        *,
        since: datetime | None = None,
    ) -> None:
        self.slot_of = slot_of
        self.group_of = group_of
        self.names = names
        self.since = since

    @property
    def grouping(self) -> Grouping | None:
        """What its answers are remembered by; None where they are not."""
        return self.group_of if isinstance(self.group_of, Grouping) else None


AnyQuestion = Question[Any, Any]


class Slots(Generic[Slot]):
    """The slots of a day's quarter hours, numbered as they come; `NO_SLOT` for what is left out."""

    def __init__(self, day: datetime, counted: Sequence[Stretch], question: Question[Slot, Any]) -> None:
        self._day = day
        self._slot_of = question.slot_of
        self.named: list[Slot] = []
        self._numbers: dict[Slot, int] = {}
        self._places = bytearray([NO_SLOT]) * QUARTERS_A_DAY
        begins = 0 if question.since is None else max(0, -((day - question.since) // QUARTER))
        for first, end in counted:
            if max(first, begins) < end:
                self._place(max(first, begins), self._at(max(first, begins)), end - 1, self._at(end - 1))
        self.places = bytes(self._places)

    def _at(self, number: int) -> Slot | None:
        return self._slot_of(self._day + number * QUARTER)

    def _place(self, first: int, slot: Slot | None, last: int, last_slot: Slot | None) -> None:
        """Place these quarter hours; those between two of one slot are of it, too."""
        if first == last or (slot == last_slot and slot is not None):
            if slot is not None:
                self._places[first : last + 1] = bytes([self._number(slot)]) * (last + 1 - first)
            return
        middle = (first + last) // 2
        self._place(first, slot, middle, self._at(middle))
        self._place(middle + 1, self._at(middle + 1), last, last_slot)

    def _number(self, slot: Slot) -> int:
        number = self._numbers.setdefault(slot, len(self.named))
        if number == len(self.named):
            self.named.append(slot)
        return number
