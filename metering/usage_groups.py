"""Cells of rollups put together by the values of some dimensions: which cell goes where, and what it sums to.

Amounts handed out name all of `rollups.SUMS`. The groups of one answer are bounded: those beyond `GROUPS_MAX`
are told together as `other`, so sums are complete all the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from metering.rollups import DIMENSIONS, KINDS_OF, OTHER, SUMS, Amounts, Cell, Kind

GROUPS_MAX: Final = 1_000


class UsageGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one combination of the values grouped by: `{dimension: value}`, `{sum: amount}`."""

    values: dict[str, str]
    sums: Amounts


class Grouping:
    """Tells the group that a cell adds to: None for one of another kind, or that a filter does not pass.

    Where two kinds are read as one, a cell's value of what only the other one knows is empty. Two with the
    same `question` tell the same of every cell.
    """

    def __init__(self, kind: Kind, group_by: Sequence[str], filters: Mapping[str, Sequence[str]]) -> None:
        self._places: dict[str, _Places | None] = {
            each: _Places.of(each, group_by, filters) for each in KINDS_OF.get(kind, (kind,))
        }
        self.question = (
            kind,
            tuple(group_by),
            tuple(sorted((name, *sorted(filters[name])) for name in filters)),
        )

    def knows(self, kind: str) -> bool:
        """Whether any cell of that kind may pass."""
        return self._places.get(kind) is not None

    def __call__(self, cell: Cell) -> tuple[str, ...] | None:
        """The values grouped by."""
        places = self._places.get(cell[0])
        if places is None or not all(cell[place] in accepted for place, accepted in places.filters):
            return None
        return tuple(cell[place] if place else "" for place in places.group_by)


class _Places(msgspec.Struct, frozen=True):
    """Where in cells of one kind the values stand; 0: nowhere."""

    group_by: tuple[int, ...]
    filters: tuple[tuple[int, frozenset[str]], ...]

    @classmethod
    def of(
        cls, kind: Kind, group_by: Sequence[str], filters: Mapping[str, Sequence[str]]
    ) -> "_Places | None":
        """The places; None where a filter asks for a value that no cell of the kind has."""
        places = {name: place for place, name in enumerate(DIMENSIONS[kind], 1)}
        if any(name not in places and "" not in values for name, values in filters.items()):
            return None
        return cls(
            tuple(places.get(name, 0) for name in group_by),
            tuple((places[name], frozenset(values)) for name, values in filters.items() if name in places),
        )


class Groups:
    """Sums by the values of some dimensions. `known` are the groups of all that share it, bounded."""

    def __init__(self, dimensions: Sequence[str], known: set[tuple[str, ...]] | None = None) -> None:
        self.sums: dict[tuple[str, ...], Amounts] = {}
        self._dimensions = tuple(dimensions)
        self._known = set() if known is None else known

    def add(self, group: tuple[str, ...], amounts: Mapping[str, int]) -> tuple[str, ...]:
        """Add to the group of these values, or to `other`, where it would be one too many; to which."""
        if group not in self._known and len(self._known) >= GROUPS_MAX:
            group = (OTHER,) * len(self._dimensions)
        sums = self.sums.get(group)
        if sums is None:
            self._known.add(group)
            sums = self.sums[group] = zeros()
        add(sums, amounts)
        return group

    def dearest(self) -> tuple[UsageGroup, ...]:
        """The groups, dearest first, then by their values."""
        ordered = sorted(self.sums.items(), key=lambda each: (-each[1]["cost_nanodollars"], each[0]))
        return tuple(UsageGroup(values=self.named(group), sums=sums) for group, sums in ordered)

    def named(self, group: tuple[str, ...]) -> dict[str, str]:
        """The group's values by their dimensions."""
        return dict(zip(self._dimensions, group, strict=True))


def zeros() -> Amounts:
    """All sums, of nothing."""
    return dict.fromkeys(SUMS, 0)


def add(sums: Amounts, amounts: Mapping[str, int]) -> None:
    """Add to the sums in place."""
    for name, amount in amounts.items():
        sums[name] = sums.get(name, 0) + amount


def total(parts: Iterable[Mapping[str, int]]) -> Amounts:
    """All sums, of all the parts."""
    sums = zeros()
    for amounts in parts:
        add(sums, amounts)
    return sums
