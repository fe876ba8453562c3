"""Figures of a page: charts, each of which is a table first, and ranked tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from api_service.dashboard import formats

Unit = Literal["usd", "count", "ms"]
Kind = Literal["bars", "lines", "stacked"]


@dataclass(frozen=True)
class Cell:
    """A value of a chart: what it is drawn by, what is read, and what is said on hover."""

    value: int | None
    unit: Unit

    @property
    def text(self) -> str:
        """The value as it is read."""
        if self.unit == "usd":
            return formats.money(self.value)
        return formats.milliseconds(self.value) if self.unit == "ms" else formats.count(self.value)

    @property
    def exact(self) -> str:
        """The value to its last digit."""
        return formats.exact_money(self.value) if self.unit == "usd" else f"{formats.count(self.value)}"


@dataclass(frozen=True)
class Point:
    """One row of a chart's table: a label, one value a series, and where a click leads."""

    label: str
    values: Sequence[int | None]
    href: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart: its table's columns are `of` and then the `series`. Money is in nanodollars.

    `kind` is how it is drawn: `bars` beside each other, `stacked` ones, or `lines`. A series named in `faint`
    is drawn in the background, such as the period before. `csv` answers the same numbers.
    """

    title: str
    of: str
    series: Sequence[str]
    points: Sequence[Point]
    kind: Kind = "bars"
    unit: Unit = "usd"
    csv: str = ""
    faint: Sequence[str] = field(default=())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(any(each.values) for each in self.points)

    def cells(self, point: Point) -> list[Cell]:
        """The row's values as they are shown."""
        return [Cell(value, self.unit) for value in point.values]


@dataclass(frozen=True)
class Rank:
    """One row of a ranked table: `amount` in nanodollars is what it is ranked by."""

    name: str
    amount: int
    requests: int
    href: str = ""
    is_unnamed: bool = False  # what no caller laid claim to
