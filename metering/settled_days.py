"""Days of which nothing is open, and what the process remembers of them: one by one, and several together.

A day is **settled** where all of it lies in the range that is read and no shard of it is open. Then its
document tells all of it, and which quarter hours go where is known before the document is read: what a day
does not hold has no rows in its document. So what was remembered is found first, and the store is asked only
whether the document still is at the revision that it was made of (`known` of `DocumentStore.get_many`).

What whole days came to together (`SettledRun`) makes an answer as quick with many groups a day as with few:
a day is then looked at only when one of the run has changed.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from metering.day_memory import DayMemory, GroupSums, Recalled, Together, recalled
from metering.questions import ALL_DAY, AnyQuestion, Slots
from metering.rollups import Amounts, Kind

DAYS_A_SLOT: Final = 2  # at least, of days that are remembered together: else there is nothing to add up

Answer = dict[tuple[Any, Any], Amounts]  # by slot and group


class SettledDay:
    """A settled day. `revision` is that of what is known of it: answers to all of the questions, or None."""

    def __init__(
        self,
        day: datetime,
        path: str,
        kinds: Sequence[Kind],
        memory: DayMemory,
        questions: Sequence[AnyQuestion],
    ) -> None:
        self.day = day
        self.path = path
        self.slots = {question: Slots(day, (ALL_DAY,), question) for question in questions}
        self._kinds = kinds
        self._memory = memory
        found = {question: self.recalled(question) for question in questions}
        self.known = {question: each for question, each in found.items() if each is not None}
        revisions = {known.revision for each in self.known.values() for known in each}
        self.revision = revisions.pop() if len(revisions) == 1 and len(self.known) == len(questions) else None

    def recalled(self, question: AnyQuestion) -> list[Recalled] | None:
        """What the question came to, by kind of cell; None where not all of that is remembered."""
        grouping, found = question.grouping, []
        if grouping is None:
            return None
        for kind in self._kinds:
            if grouping.knows(kind):
                slots = self.slots[question].places
                known = recalled(self._memory, self.path, kind, slots, grouping, question.names)
                if known is None:
                    return None
                found.append(known)
        return found


class SettledRun:
    """Settled days that follow one another, and what questions came to over all of them."""

    def __init__(
        self,
        days: Sequence[SettledDay],
        kinds: Sequence[Kind],
        memory: DayMemory,
        questions: Sequence[AnyQuestion],
    ) -> None:
        self._days = days
        self._numbers: dict[AnyQuestion, dict[Any, int]] = {}  # of slots, over all days
        self._together: dict[AnyQuestion, Together] = {}
        for question in questions:
            numbers: dict[Any, int] = {}
            for day in days:
                for slot in day.slots[question].named:
                    numbers.setdefault(slot, len(numbers))
            if question.grouping is not None and DAYS_A_SLOT * len(numbers) <= len(days):
                slots = [(day.path, day.slots[question]) for day in days]
                parts = [(path, each.places, [numbers[slot] for slot in each.named]) for path, each in slots]
                self._numbers[question] = numbers
                self._together[question] = Together(memory, kinds, parts, question.grouping, question.names)

    def found(self, revisions: Sequence[str]) -> dict[AnyQuestion, Answer]:
        """What is known, by question, while the documents are at these revisions; "" where there is none."""
        found: dict[AnyQuestion, Answer] = {}
        for question, together in self._together.items():
            known = together.find(revisions)
            if known is not None:
                slots = list(self._numbers[question])
                found[question] = {(slots[number], group): sums for (number, group), sums in known.items()}
        return found

    def keep(self, revisions: Sequence[str], told: Collection[AnyQuestion]) -> None:
        """Remember what each day, told one by one meanwhile, comes to; but for questions that are `told`."""
        for question, together in self._together.items():
            if question not in told and not together.is_too_much:
                parts = [
                    self._recalled(question, day, revision)
                    for day, revision in zip(self._days, revisions, strict=True)
                    if revision
                ]
                if None not in parts:
                    together.keep(revisions, (part for each in parts if each is not None for part in each))

    def _recalled(self, question: AnyQuestion, day: SettledDay, revision: str) -> Iterator[GroupSums] | None:
        """A day's sums by the numbers of slots; None where they are not remembered of this revision."""
        numbers, named = self._numbers[question], day.slots[question].named
        known = day.recalled(question)
        if known is None or any(each.revision != revision for each in known):
            return None
        return (
            {(numbers[named[slot]], group): sums for (slot, group), sums in each.sums().items()}
            for each in known
        )
