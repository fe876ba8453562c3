"""What a routing rule would have done with the calls of the past week. From rollups; nothing is changed.

Rollups do not tell how far a budget was spent when a call came. So every budget's **curve** is built anew:
what the calls it covers had cost in its period, quarter hour by quarter hour. A call would have been turned
where a budget over it had reached the rule's threshold when its quarter hour began, and no rule that is asked
before had reached its own. What such calls used is then priced again at the rule's model.

Calls that a rule did turn in that week are recorded under the model that served them; they stay as they are
and are told apart. Turning calls makes a budget's curve rise more slowly, but only once the threshold is
reached: when the rule begins to fire does not depend on it.

Cells of kind `main` know teams and apps, those of kind `key` know keys, and none knows both. So budgets over
keys are followed in the second, all others in the first; where both would turn calls of one model in one
quarter hour, the greater number is counted: a lower bound. A budget over a key and a team is not followed.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, cast

import msgspec

from metering.accounts import AccountSettings
from metering.buckets import Range
from metering.budgets import EACH_VALUES_MAX, Budget, Subject, matching
from metering.events import Provider
from metering.mixes import Mix, Model, Prices, Switch, mix_of, switched
from metering.model_names import known_names, served_model, word_for
from metering.periods import Period, period_of
from metering.quarters import DayRollups, open_room, rollups_within
from metering.questions import Question
from metering.rollups import DIMENSIONS, OTHER, USAGE_SUMS, Amounts, Cell, Kind, quarter_of
from metering.routing import RoutingRule, applicable, choose
from metering.rule_savings import RuleFigures, RuleSums
from metering.stores import DocumentStore
from metering.usage_groups import add

LOOKED_BACK: Final = timedelta(days=7)
REACHED_TOLD_MAX: Final = 100
POLICY_DOCUMENTS: Final = 2  # what whoever asks reads of budgets and rules

Why = Literal["turned", "no_word", "no_price"]

_MAIN: Final = frozenset({"team", "app", "model"})
_KEY: Final = frozenset({"key_id", "model"})
_COST: Final = "cost_nanodollars"
_COUNTED: Final = frozenset({"requests", "errors", "cache_hits", "unpriced_requests", _COST, *USAGE_SUMS})
# What budgets look at besides the model, and where in a cell of the kind it stands.
_PLACES: Final[Mapping[str, Mapping[str, int]]] = {
    kind: {name: 1 + DIMENSIONS[kind].index(name) for name in names}
    for kind, names in (("main", ("team", "app")), ("key", ("key_id",)))
}

_Curve = tuple[str, str | None]  # the budget's id and the value that has a limit of its own
_Turned = dict[tuple[datetime, str, str], Amounts]  # quarter hour, provider and model


class TurnedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of one model that the rule would have turned, and what they would have cost there.

    `switch` None: they would have stayed, since nothing is known by which to turn them (`no_word`: no
    deployment or profile of that model is known), or no price (`no_price`).
    """

    mix: Mix
    target: Model
    why: Why
    switch: Switch | None


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that had reached the rule's threshold. `at` is the first moment of the week at which it had.

    `value` "" where the budget has but one limit; None: the one shared by values beyond the first.
    """

    budget: Budget
    value: str | None
    period: Period
    at: datetime


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the rule would have done in `range`, which ends where rollups of all calls do.

    `named` counts the calls of models that the rule names, whether turned or not; `taken` those that rules
    asked before it would have turned. `done` is what the rule of that name did do. `reached` are at most
    `REACHED_TOLD_MAX`. `collapsed` calls are not known by team or model any more. `not_followed` are budgets
    that rollups cannot tell of. `is_lower_bound`: see above.
    """

    range: Range
    rule: RoutingRule
    named: int
    taken: Mapping[str, int]
    models: tuple[TurnedModel, ...]
    reached: tuple[Reached, ...]
    done: RuleFigures | None
    budgets: int
    collapsed: int
    not_followed: tuple[Budget, ...]
    is_lower_bound: bool


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A rule in its place among all that would be asked, and what governs the account beside them."""

    rule: RoutingRule
    rules: Sequence[RoutingRule]
    budgets: Sequence[Budget]
    settings: AccountSettings


def dry_run(store: DocumentStore, account_id: str, asked: Asked, prices: Prices, now: datetime) -> DryRun:
    """What the rule would have done in the past week. It is made of as many documents as `quarters` says.

    A store failure passes to the caller.
    """
    end = quarter_of(now)
    start = end - LOOKED_BACK
    budgets = [budget for budget in asked.budgets if budget.enabled]
    of_main = [budget for budget in budgets if _needs(budget) <= _MAIN]
    of_keys = [budget for budget in budgets if _needs(budget) <= _KEY and not _needs(budget) <= _MAIN]
    followed = [_Follower("main", asked, of_main, start)]
    if of_keys:
        followed.append(_Follower("key", asked, of_keys, start))
    begin = min(each.begin for each in followed)
    room = (open_room(*[(begin, end)] * len(followed)) - POLICY_DOCUMENTS) // len(followed)
    found = [rollups_within(store, account_id, begin, end, *each.kinds, open_max=room) for each in followed]
    end = max(start, min(each.complete_to for each in found))
    for follower, within in zip(followed, found, strict=True):
        follower.follow(within.days, end)
    turned = _united([each.turned for each in followed])
    main = followed[0]
    return DryRun(
        range=Range(start, end),
        rule=asked.rule,
        named=main.named,
        taken=max((each.taken for each in followed), key=lambda taken: sum(taken.values())),
        models=_models(turned, asked, prices),
        reached=tuple(reached for each in followed for reached in each.reached)[:REACHED_TOLD_MAX],
        done=next((each for each in main.rules.rules() if each.name == asked.rule.name), None),
        budgets=len(budgets),
        collapsed=main.collapsed,
        not_followed=tuple(each for each in budgets if each not in of_main and each not in of_keys),
        is_lower_bound=all(each.turned for each in followed) and len(followed) > 1,
    )


def _needs(budget: Budget) -> set[str]:
    """What of a call decides whether the budget covers it, and by which limit."""
    scope = budget.scope
    needed = {name for name in ("team", "app", "key_id", "model") if getattr(scope, name)}
    return needed | ({"team"} if scope.unattributed else set()) | ({budget.each} if budget.each else set())


class _Follower:
    """Follows the budgets that cells of one kind can tell of, from where the first began to count."""

    def __init__(self, kind: Kind, asked: Asked, budgets: Sequence[Budget], start: datetime) -> None:
        self.turned: _Turned = {}
        self.reached: list[Reached] = []
        self.rules = RuleSums()
        self.named = 0
        self.taken: dict[str, int] = defaultdict(int)
        self.collapsed = 0
        self.kinds: tuple[Kind, ...] = ("main", "rule") if kind == "main" else (kind,)
        self._kind = kind
        self._asked = asked
        self._budgets = budgets
        self._start = start
        self._periods = {each.budget_id: period_of(each.period, each.timezone, start) for each in budgets}
        self._edges = sorted({start, *(period.starts_at for period in self._periods.values())})
        self._spent: dict[_Curve, int] = {}
        self._values: dict[str, set[str]] = defaultdict(set)
        self._subjects: dict[tuple[str, ...], _Subject] = {}
        self._noted: set[tuple[_Curve, str]] = set()

    @property
    def begin(self) -> datetime:
        """From when on the budgets count."""
        return quarter_of(self._edges[0])

    def follow(self, days: Iterator[DayRollups], end: datetime) -> None:
        """Go through the days, oldest first, up to `end`."""
        in_week = Question(
            lambda quarter: quarter if quarter < end else None, self._group_of, _COUNTED, since=self._start
        )
        for day in days:
            self._add_before(day)
            quarters: dict[datetime, list[tuple[tuple[str, ...], Amounts]]] = {}
            for (quarter, group), amounts in day.summed(in_week).items():
                quarters.setdefault(quarter, []).append((group, amounts))
            for quarter in sorted(quarters):
                self._look(quarter, quarters[quarter])
            self._add_done(day, end)

    def _group_of(self, cell: Cell) -> tuple[str, ...] | None:
        """Provider, model, and what budgets look at."""
        if cell[0] != self._kind:
            return None
        return (cell[1], cell[2], *(cell[place] for place in _PLACES[self._kind].values()))

    def _add_before(self, day: DayRollups) -> None:
        """What was spent before the week, in the periods in which it begins."""
        edges = self._edges[: self._edges.index(self._start)]

        def slot_of(quarter: datetime) -> int | None:
            return bisect_right(edges, quarter) if quarter < self._start else None

        asked = Question(slot_of, self._group_of, {_COST})
        for (slot, group), amounts in day.summed(asked).items():
            subject = self._subject(group)
            for budget in subject.budgets:
                if self._periods[budget.budget_id].starts_at <= edges[slot - 1]:
                    self._spend(budget, subject.subject, amounts[_COST])

    def _look(self, quarter: datetime, groups: Sequence[tuple[tuple[str, ...], Amounts]]) -> None:
        """A quarter hour of the week: first what would have been turned, then what it cost."""
        self._begin_periods(quarter)
        for group, amounts in groups:
            subject = self._subject(group)
            requests = amounts.get("requests", 0)
            if OTHER in group:
                self.collapsed += requests
            if subject.rules:
                self._turn(quarter, group, subject, amounts, requests)
        for group, amounts in groups:
            subject = self._subject(group)
            for budget in subject.budgets:
                self._spend(budget, subject.subject, amounts.get(_COST, 0))

    def _turn(
        self,
        quarter: datetime,
        group: tuple[str, ...],
        subject: "_Subject",
        amounts: Amounts,
        requests: int,
    ) -> None:
        self.named += requests
        curves = [(budget, self._curve(budget, subject.subject)) for budget in subject.budgets]
        fired = choose(
            subject.rules,
            lambda threshold: any(self._has_reached(budget, curve, threshold) for budget, curve in curves),
        )
        if fired is None:
            return
        if fired is not self._asked.rule:
            self.taken[fired.name] += requests
            return
        for budget, curve in curves:
            self._note_reached(quarter, budget, curve)
        add(self.turned.setdefault((quarter, group[0], group[1]), {}), amounts)

    def _begin_periods(self, quarter: datetime) -> None:
        """Where a budget's next period has begun, begin with nothing spent."""
        for budget in self._budgets:
            if quarter >= self._periods[budget.budget_id].ends_at:
                self._periods[budget.budget_id] = period_of(budget.period, budget.timezone, quarter)
                self._values.pop(budget.budget_id, None)
                for curve in [each for each in self._spent if each[0] == budget.budget_id]:
                    del self._spent[curve]

    def _spend(self, budget: Budget, subject: Subject, nanodollars: int) -> None:
        curve = self._curve(budget, subject)
        self._spent[curve] = self._spent.get(curve, 0) + nanodollars

    def _curve(self, budget: Budget, subject: Subject) -> _Curve:
        value = budget.value_of(subject)
        values = self._values[budget.budget_id]
        if value not in values:
            if len(values) >= EACH_VALUES_MAX:
                return budget.budget_id, None
            values.add(value)
        return budget.budget_id, value

    def _has_reached(self, budget: Budget, curve: _Curve, threshold: int) -> bool:
        return self._spent.get(curve, 0) * 100 >= threshold * budget.limit_nanodollars

    def _note_reached(self, quarter: datetime, budget: Budget, curve: _Curve) -> None:
        period = self._periods[budget.budget_id]
        key = (curve, period.text)
        if key in self._noted or len(self._noted) >= REACHED_TOLD_MAX:
            return
        if self._has_reached(budget, curve, self._asked.rule.threshold):
            self._noted.add(key)
            self.reached.append(Reached(budget=budget, value=curve[1], period=period, at=quarter))

    def _subject(self, group: tuple[str, ...]) -> "_Subject":
        found = self._subjects.get(group)
        if found is None:
            provider, model, *values = group
            named = dict(zip(_PLACES[self._kind], values, strict=True))
            subject = Subject(model=model, **named)
            names = known_names(cast(Provider, provider), model, self._asked.settings)
            rules = applicable(self._asked.rules, provider, names)
            found = self._subjects[group] = _Subject(
                subject=subject,
                budgets=matching(self._budgets, subject),
                rules=rules if self._asked.rule in rules else (),
            )
        return found

    def _add_done(self, day: DayRollups, end: datetime) -> None:
        if "rule" not in self.kinds:
            return
        asked = Question(
            lambda quarter: True if quarter < end else None,
            lambda cell: cell[1:] if cell[0] == "rule" else None,
            since=self._start,
        )
        for (_, cell), amounts in day.summed(asked).items():
            self.rules.add(cell, amounts)


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that are alike to budgets and rules; `rules` empty where the rule does not name their model."""

    subject: Subject
    budgets: tuple[Budget, ...]
    rules: tuple[RoutingRule, ...]


def _united(parts: Sequence[_Turned]) -> dict[Model, Amounts]:
    """By model what would have been turned; of two views of one quarter hour the greater."""
    greatest: _Turned = {}
    for part in parts:
        for key, amounts in part.items():
            if amounts.get("requests", 0) > greatest.get(key, {}).get("requests", 0):
                greatest[key] = amounts
    found: dict[Model, Amounts] = {}
    for (_, provider, model), amounts in greatest.items():
        add(found.setdefault(Model(provider, model), {}), amounts)
    return found


def _models(turned: Mapping[Model, Amounts], asked: Asked, prices: Prices) -> tuple[TurnedModel, ...]:
    found = [
        _turned_model(mix_of((model.provider, model.model), sums), asked, prices)
        for model, sums in turned.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.mix.cost_nanodollars, each.mix.model)))


def _turned_model(mix: Mix, asked: Asked, prices: Prices) -> TurnedModel:
    provider = cast(Provider, mix.model.provider)
    word = word_for(provider, asked.rule.to_model, asked.settings)
    if not word:
        target = Model(provider, asked.rule.to_model)
        return TurnedModel(mix=mix, target=target, why="no_word", switch=None)
    target = Model(provider, served_model(provider, word, None, asked.settings))
    switch = switched(mix, target, prices)
    return TurnedModel(mix=mix, target=target, why="turned" if switch else "no_price", switch=switch)
