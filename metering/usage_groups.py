"""Cells of rollups put together by the values of some dimensions: which cell goes where, and what it sums to.

Amounts handed out name all of `rollups.SUMS`. The groups of one answer are bounded: the dearest `GROUPS_MAX`
of its whole range are told by name, in each of its parts, and all others together as `other`, so sums are
complete all the same. What names none of the values is told by name, however little it cost.

Which those are is known when all is read. Until then many more are held: `GROUPS_HELD_MAX` sums, each of one
group in one part. Where there are more, those that were dearest until then keep their names, and no other
wins one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import nsmallest
from operator import itemgetter
from typing import Final

import msgspec

from metering.rollups import DIMENSIONS, KINDS_OF, OTHER, SUMS, Amounts, Cell, Kind

GROUPS_MAX: Final = 1_000
GROUPS_HELD_MAX: Final = 200_000  # 6,000 groups in each of 31 days

_COST_AND_VALUES: Final = itemgetter(0, 1)

Group = tuple[str, ...]


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
    """Sums by the values of some dimensions, in each part of an answer: its buckets, or its two sides.

    All parts name the same groups: the `GROUPS_MAX` that have most of `by` in all parts together.
    """

    def __init__(self, dimensions: Sequence[str], by: str = "cost_nanodollars") -> None:
        self.other = (OTHER,) * len(dimensions)
        self.is_full = False  # whether no group wins a name any more, but for the first `GROUPS_MAX`
        self.is_folded = False  # whether groups have become `other`
        self._nameless = ("",) * len(dimensions)
        self._dimensions = tuple(dimensions)
        self._by = by
        self._sums: dict[Group, dict[int, Amounts]] = {}
        self._held = 0

    def __contains__(self, group: object) -> bool:
        return group in self._sums

    def add(self, group: Group, amounts: Mapping[str, int], part: int = 0) -> Group:
        """Add to the group of these values, or to `other`, where no more are held; to which."""
        parts = self._sums.get(group)
        if parts is None:
            if self.is_full and len(self._sums) >= GROUPS_MAX and group != self._nameless:
                self.is_folded, group = True, self.other
            parts = self._sums.setdefault(group, {})
        sums = parts.get(part)
        if sums is not None:
            add(sums, amounts)
            return group
        parts[part] = dict(amounts)
        self._held += 1
        if self._held >= GROUPS_HELD_MAX and not self.is_full:
            self.fold()
        return group

    def fold(self) -> None:
        """Keep the groups that would be told now, and of others no more than would make them `GROUPS_MAX`."""
        told = self.told()
        self.is_full, self.is_folded = True, self.is_folded or told is not self._sums
        self._sums = told

    def told(self) -> dict[Group, dict[int, Amounts]]:
        """The groups told by name and `other`, where there is one: what is known of each, by part."""
        if len(self._sums) <= GROUPS_MAX:
            return self._sums
        named = nsmallest(GROUPS_MAX, self._sums.keys() - {self.other}, self._rank)
        told = {group: self._sums[group] for group in named}
        rest = self._sums.keys() - told.keys()
        if rest <= {self.other}:
            return self._sums
        together = told[self.other] = {}
        for group in rest:
            for part, sums in self._sums[group].items():
                add(together.setdefault(part, {}), sums)
        return told

    def held(self, group: Group) -> Iterable[Amounts]:
        """What is known of that group, part by part."""
        return self._sums.get(group, {}).values()

    def held_of_all_but(self, groups: Collection[Group]) -> Iterable[Amounts]:
        """What is known of all other groups, part by part."""
        return (sums for group in self._sums if group not in groups for sums in self._sums[group].values())

    def by_part(self, parts: int) -> list[tuple[UsageGroup, ...]]:
        """The groups of so many parts, each dearest first, then by their values."""
        found: list[list[tuple[int, Group, Amounts]]] = [[] for _ in range(parts)]
        for group, known in self.told().items():
            for part, amounts in known.items():
                found[part].append((-amounts.get("cost_nanodollars", 0), group, amounts))
        return [
            tuple(
                UsageGroup(values=self.named(group), sums=completed(amounts))
                for _, group, amounts in sorted(each, key=_COST_AND_VALUES)
            )
            for each in found
        ]

    def dearest(self) -> tuple[UsageGroup, ...]:
        """The groups of an answer of one part, dearest first, then by their values."""
        return self.by_part(1)[0]

    def named(self, group: Group) -> dict[str, str]:
        """The group's values by their dimensions."""
        return dict(zip(self._dimensions, group, strict=True))

    def _rank(self, group: Group) -> tuple[bool, int, Group]:
        # What names nothing is never spread over others, however little it cost.
        most = sum(sums.get(self._by, 0) for sums in self._sums[group].values())
        return group != self._nameless, -most, group


def zeros() -> Amounts:
    """All sums, of nothing."""
    return dict.fromkeys(SUMS, 0)


def completed(amounts: Mapping[str, int]) -> Amounts:
    """All sums, with those that are not named at 0."""
    return {**zeros(), **amounts}


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
