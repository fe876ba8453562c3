"""What each routing rule did: how often it fired, what its calls cost, and what that saved. From rollups.

A rule goes by its name, as in answers and events: one that was renamed is two, and one that was deleted is
told of all the same. A call's saving is the same usage at the model that was asked for, less what it cost;
below 0 where the rule chose a dearer model. An answer from memory to a call that a rule had turned counts as
fired; what it saved is the cache's, and not here.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from metering.buckets import Range, whole_quarters
from metering.day_memory import NO_MEMORY, DayMemory
from metering.quarters import rollups_between
from metering.questions import Question
from metering.rollups import DIMENSIONS, Amounts
from metering.stores import DocumentStore
from metering.usage_groups import Grouping, Groups, add, total, zeros

_ALL: Final = Grouping("main", (), {})
_BY_RULE: Final = Grouping("rule", DIMENSIONS["rule"], {})


class ServedBy(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a rule's calls that one model served."""

    provider: str
    model: str
    sums: Amounts


class RuleFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the rule of a name did; `served_by` with the dearest model first."""

    name: str
    sums: Amounts
    served_by: tuple[ServedBy, ...]

    @property
    def saved_nanodollars(self) -> int:
        """What its calls would have cost as they were asked for, less what they did cost."""
        return saved_by_routing(self.sums)


class RoutingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A range of whole quarter hours: all of its calls, and what each rule did; the greatest saving first."""

    range: Range
    sums: Amounts
    rules: tuple[RuleFigures, ...]


class RuleSums:
    """Sums by rule and model, as they are added up. Their number is bounded as all groups' is."""

    def __init__(self) -> None:
        self._groups = Groups(("routing_rule", "provider", "model"))

    def add(self, cell: tuple[str, ...], amounts: Mapping[str, int]) -> None:
        """Add what a cell of kind `rule` holds."""
        provider, model, rule = cell
        self._groups.add((rule, provider, model), amounts)

    def rules(self) -> tuple[RuleFigures, ...]:
        """The rules, the greatest saving first."""
        served: dict[str, list[ServedBy]] = {}
        for group in self._groups.dearest():
            rule, provider, model = group.values.values()
            served.setdefault(rule, []).append(ServedBy(provider=provider, model=model, sums=group.sums))
        found = [
            RuleFigures(name=name, sums=total(each.sums for each in parts), served_by=tuple(parts))
            for name, parts in served.items()
        ]
        return tuple(sorted(found, key=lambda rule: (-rule.saved_nanodollars, rule.name)))


def routing_figures(
    store: DocumentStore,
    account_id: str,
    start: datetime,
    end: datetime,
    names: Collection[str] | None = None,
    memory: DayMemory = NO_MEMORY,
) -> RoutingFigures:
    """What each rule did in the range, which is widened to whole quarter hours.

    Of all calls together only the sums of these names are told, where they are given; the others are 0.

    Reads a document a UTC day, beside the open shards. A store failure passes to the caller.
    """
    range_ = whole_quarters(start, end)
    sums, rules = zeros(), RuleSums()
    of_all, by_rule = Question(lambda _: True, _ALL, names), Question(lambda _: True, _BY_RULE)
    for day in rollups_between(
        store,
        account_id,
        range_.start,
        range_.end,
        "main",
        "rule",
        memory=memory,
        questions=(of_all, by_rule),
    ):
        for amounts in day.summed(of_all).values():
            add(sums, amounts)
        for (_, cell), amounts in day.summed(by_rule).items():
            rules.add(cell, amounts)
    return RoutingFigures(range=range_, sums=sums, rules=rules.rules())


def saved_by_routing(sums: Mapping[str, int]) -> int:
    """The part of what was saved that rules saved; answers from memory saved the rest."""
    return sums.get("saved_nanodollars", 0) - sums.get("cache_saved_nanodollars", 0)


def hits_by_rule(rules: Iterable[RuleFigures]) -> dict[str, int]:
    """How often each rule fired, by its name."""
    return {rule.name: rule.sums["requests"] for rule in rules}
