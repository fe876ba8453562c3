"""Hours in which a team spent far more than it does at such hours. Pure.

An hour is held against earlier hours of the same kind: within an hour of the same time of day, on working
days or on week-ends alike, of the last four weeks. What is compared is how many times over, so the judgement
is made of logarithms: their median is what was to be expected, and the median distance from it of those above
it says how much dearer such hours are anyway (the upper half of a MAD, since only what is dearer matters).
Both stay put when a few of the earlier hours were odd themselves; a mean and a standard deviation would be
drawn up by the last incident and miss the next.

**Hours without cost are left out of what is compared.** Most hours of most teams cost nothing; with them the
median would be 0 and any call an anomaly. They say when a team works, not what its work costs. Where fewer
than `COMPARED_MIN` such hours cost something, all hours with cost are compared instead; where these are too
few as well, nothing is judged.

An hour is an anomaly when it passes all of these:

1. more than `DEVIATIONS` deviations above the expected, a deviation being at least `DEVIATION_MIN` (else an
   even past would make much of little), and wider where there is little to compare;
2. at least `FACTOR_MIN` times the expected, and `material` above it;
3. not usual for its place in the week: at most one of the last four weeks had half as much then. So a job
   that runs on Mondays is no anomaly on Mondays.

`critical` is `FACTOR_CRITICAL` times the expected. An hour that is not over yet is judged by what it has cost
so far: it can only become dearer.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from statistics import median
from typing import Final, Literal

import msgspec

Level = Literal["warning", "critical"]
Basis = Literal["same_hours", "all_hours"]

COMPARED_DAYS: Final = 28
COMPARED_MIN: Final = 10
DEVIATIONS: Final = 3.5
DEVIATION_MIN: Final = math.log(1.2)
FACTOR_MIN: Final = 2
FACTOR_CRITICAL: Final = 5
MATERIAL_NANODOLLARS: Final = 100_000_000  # ten cents

_LAST_DAY_HOURS: Final = 22  # the hours before this one, up to those of the same time yesterday
_WEEK_HOURS: Final = 7 * 24
_NORMAL_MAD: Final = 1.4826  # of a normal distribution, its standard deviation by its MAD
_FEW: Final = 3  # how much a deviation is widened where few hours are compared, over their square root


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """One hour that stands out. Amounts in nanodollars; `factor` is spent by expected.

    `compared` hours were compared: those of its kind, or all with cost.
    """

    starts_at: datetime
    level: Level
    spent: int
    expected: int
    factor: float
    compared: int
    basis: Basis


class Hours:
    """What each hour of one team cost, without gaps, in its order; `starts` are on the zone's own clock."""

    def __init__(self, starts: Sequence[datetime], spent: Sequence[int]) -> None:
        self._starts = starts
        self._spent = spent

    def anomaly(self, place: int, *, material: int = MATERIAL_NANODOLLARS) -> Anomaly | None:
        """What is odd about the hour of that place, None where nothing is or can be told."""
        spent = self._spent[place]
        # What is usual goes first: it is quick to see, and nearly all hours of steady traffic are.
        if spent < material or self._is_usual(place):
            return None
        compared, basis = self._compared(place)
        if len(compared) < COMPARED_MIN:
            return None
        expected = median(compared)
        logarithms = [math.log(each) for each in compared]
        middle = math.log(expected)
        spread = _NORMAL_MAD * median(each - middle for each in logarithms if each >= middle)
        deviation = max(spread, DEVIATION_MIN) * (1 + _FEW / len(compared))
        is_far = math.log(spent) - middle > DEVIATIONS * deviation
        is_much = spent >= FACTOR_MIN * expected and spent - expected >= material
        if not (is_far and is_much):
            return None
        factor = spent / expected
        return Anomaly(
            starts_at=self._starts[place],
            level="critical" if factor >= FACTOR_CRITICAL else "warning",
            spent=spent,
            expected=round(expected),
            factor=round(factor, 1),
            compared=len(compared),
            basis=basis,
        )

    def _compared(self, place: int) -> tuple[list[int], Basis]:
        """The costs of earlier hours to compare with; those of the last day belong to what is judged."""
        begin, end = max(0, place - COMPARED_DAYS * 24), max(0, place - _LAST_DAY_HOURS)
        hour, is_weekend = _kind(self._starts[place])
        by_kind = self._by_kind
        alike = [
            cost
            for apart in (-1, 0, 1)
            for cost in self._costs(by_kind.get(((hour + apart) % 24, is_weekend), ()), begin, end)
        ]
        if len(alike) >= COMPARED_MIN:
            return alike, "same_hours"
        return self._costs(self._with_cost, begin, end), "all_hours"

    @cached_property
    def _with_cost(self) -> list[int]:
        """The places of hours that cost something."""
        return [place for place, cost in enumerate(self._spent) if cost]

    @cached_property
    def _by_kind(self) -> dict[tuple[int, bool], list[int]]:
        """The same by the kind of hour."""
        found: dict[tuple[int, bool], list[int]] = {}
        for place in self._with_cost:
            found.setdefault(_kind(self._starts[place]), []).append(place)
        return found

    def _costs(self, places: Sequence[int], begin: int, end: int) -> list[int]:
        """What the hours of these places cost that lie between."""
        return [self._spent[each] for each in places[bisect_left(places, begin) : bisect_left(places, end)]]

    def _is_usual(self, place: int) -> bool:
        """Whether two of the last four weeks had at least half as much at that place of the week."""
        weeks = 0
        for middle in range(place - _WEEK_HOURS, max(-1, place - 5 * _WEEK_HOURS), -_WEEK_HOURS):
            if 2 * max(self._spent[max(0, middle - 1) : middle + 2]) >= self._spent[place]:
                weeks += 1
                if weeks == 2:
                    return True
        return False


def _kind(start: datetime) -> tuple[int, bool]:
    """The hour of the day, and whether it is a day of the week-end."""
    return start.hour, start.weekday() >= 5
