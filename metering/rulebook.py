"""An account's rulebook: its budgets and routing rules, kept in its policy and changed one at a time.

What decides which calls a budget counts (scope, each, period, timezone) is fixed when it is made: its totals
would mean something else otherwise. Rules are asked in their order, which is that of the list.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from metering.accounts import Policy
from metering.budgets import BUDGETS_MAX, MATCHING_BUDGETS_MAX, Budget
from metering.clock import Clock
from metering.collections import seeding_path
from metering.directory import Change, Directory
from metering.errors import Conflict, InvalidInput, NotFound
from metering.ids import new_id
from metering.model_names import OUT_OF_REACH, is_within_reach
from metering.money import NANODOLLARS_PER_DOLLAR
from metering.overlaps import most_over_one_call
from metering.periods import is_timezone
from metering.routing import FROM_MODELS_MAX, RULES_MAX, RoutingRule
from metering.seeding import begun, paused, resumed, seeding_of
from metering.stores import Delete, DocumentStore, Write
from metering.tags import normalised_tag

THRESHOLDS_MAX: Final = 10
THRESHOLD_PERCENT_MAX: Final = 1_000
LIMIT_NANODOLLARS_MAX: Final = 1_000_000_000 * NANODOLLARS_PER_DOLLAR

_RULE_NAME = re.compile(r"[!-~]([ -~]{0,98}[!-~])?")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}")

Outcome = TypeVar("Outcome")


class Rulebook:
    """The rulebooks of accounts in a store. Every change acts on each instance of the proxy within a second.

    A store failure passes to the caller, as from every change of the `Directory`.
    """

    def __init__(self, store: DocumentStore, directory: Directory, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock

    def policy(self, account_id: str) -> Policy:
        """The account's budgets, oldest first, and its rules in their order. Raises: NotFound."""
        policy = self._directory.policy(account_id)
        if policy is None:
            raise NotFound("there is no such account")
        return policy

    # Budgets

    def create_budget(self, account_id: str, terms: Budget) -> Budget:
        """Make a budget on these terms; it gets an id of its own and counts from now on, seeded later.

        Raises: InvalidInput (also where one call could then have more than `MATCHING_BUDGETS_MAX` budgets),
        Conflict (too many budgets), NotFound.
        """

        def prepare() -> Change[Budget]:
            now = self._clock.now()
            made = msgspec.structs.replace(
                _checked_budget(terms), budget_id=new_id("budget"), source="api", created_at=now
            )

            def edit(policy: Policy) -> Policy:
                if len(policy.budgets) >= BUDGETS_MAX:
                    raise Conflict(f"an account has at most {BUDGETS_MAX} budgets; delete one first")
                return _with_budgets(policy, [*policy.budgets, made])

            return self._edition(account_id, edit, made, begun(account_id, made, now).write())

        return self._directory.change(prepare)

    def change_budget(self, account_id: str, budget_id: str, edit: Callable[[Budget], Budget]) -> Budget:
        """Replace the budget by what `edit` makes of it. Raises: InvalidInput, NotFound."""

        def prepare() -> Change[Budget]:
            now = self._clock.now()
            budgets = self.policy(account_id).budgets
            place = _place_of([each.budget_id for each in budgets], budget_id, "budget")
            before = budgets[place]
            after = _checked_budget(edit(before))
            changed = [*budgets[:place], after, *budgets[place + 1 :]]
            return self._edition(
                account_id,
                lambda policy: _with_budgets(policy, changed),
                after,
                *self._seeding_of_change(before, after, now),
            )

        return self._directory.change(prepare)

    def delete_budget(self, account_id: str, budget_id: str) -> None:
        """End the budget: what is held for it is free within a second. Raises: NotFound."""

        def prepare() -> Change[None]:
            budgets = self.policy(account_id).budgets
            place = _place_of([each.budget_id for each in budgets], budget_id, "budget")
            left = (*budgets[:place], *budgets[place + 1 :])
            return self._edition(
                account_id,
                lambda policy: msgspec.structs.replace(policy, budgets=left),
                None,
                Delete(seeding_path(budget_id)),
            )

        self._directory.change(prepare)

    # Routing rules

    def create_rule(self, account_id: str, terms: RoutingRule, position: int | None = None) -> RoutingRule:
        """Make a rule, at that place in the order (0 is asked first), or last.

        Raises: InvalidInput, Conflict (too many rules), NotFound.
        """
        made = msgspec.structs.replace(checked_rule(terms), rule_id=new_id("rule"), source="api")

        def edit(policy: Policy) -> Policy:
            if len(policy.routing_rules) >= RULES_MAX:
                raise Conflict(f"an account has at most {RULES_MAX} routing rules; delete one first")
            return _with_rules(policy, _placed(policy.routing_rules, made, position))

        return self._directory.change(lambda: self._edition(account_id, edit, made))

    def change_rule(
        self,
        account_id: str,
        rule_id: str,
        edit: Callable[[RoutingRule], RoutingRule],
        position: int | None = None,
    ) -> RoutingRule:
        """Replace the rule by what `edit` makes of it, and move it where a position is given.

        Raises: InvalidInput, NotFound.
        """

        def prepare() -> Change[RoutingRule]:
            rules = self.policy(account_id).routing_rules
            place = _place_of([each.rule_id for each in rules], rule_id, "routing rule")
            after = checked_rule(edit(rules[place]))
            others = (*rules[:place], *rules[place + 1 :])
            changed = _placed(others, after, place if position is None else position)
            return self._edition(account_id, lambda policy: _with_rules(policy, changed), after)

        return self._directory.change(prepare)

    def delete_rule(self, account_id: str, rule_id: str) -> None:
        """End the rule. Raises: NotFound."""

        def prepare() -> Change[None]:
            rules = self.policy(account_id).routing_rules
            place = _place_of([each.rule_id for each in rules], rule_id, "routing rule")
            left = (*rules[:place], *rules[place + 1 :])
            return self._edition(account_id, lambda policy: _with_rules(policy, left), None)

        self._directory.change(prepare)

    def _edition(
        self, account_id: str, edit: Callable[[Policy], Policy], outcome: Outcome, *also: Write
    ) -> Change[Outcome]:
        change = self._directory.edition_of_policy(account_id, edit)
        return Change([*change.writes, *also] if change.writes else [], change.touched, outcome)

    def _seeding_of_change(self, before: Budget, after: Budget, now: datetime) -> list[Write]:
        """What a budget switched off or on again means for what it counts."""
        if before.enabled == after.enabled:
            return []
        document = self._store.get(seeding_path(before.budget_id))
        if document is None:
            return []
        seeding = seeding_of(document)
        return [(resumed(seeding, after, now) if after.enabled else paused(seeding, now)).write()]


def _with_budgets(policy: Policy, budgets: Sequence[Budget]) -> Policy:
    if most_over_one_call(budgets) > MATCHING_BUDGETS_MAX:
        raise InvalidInput(
            f"with this one a call could fall under more than {MATCHING_BUDGETS_MAX} budgets, those of other"
            " dimensions and those switched off counted; narrow its scope, or delete another",
            "scope",
        )
    return msgspec.structs.replace(policy, budgets=tuple(budgets))


def _with_rules(policy: Policy, rules: Sequence[RoutingRule]) -> Policy:
    names = [each.name for each in rules]
    if len(set(names)) < len(names):
        raise InvalidInput("there is a rule of that name; answers and events name the rule by it", "name")
    return msgspec.structs.replace(policy, routing_rules=tuple(rules))


def _place_of(ids: Sequence[str], wanted: str, noun: str) -> int:
    if wanted not in ids:
        raise NotFound(f"there is no such {noun}")
    return ids.index(wanted)


def _placed(rules: Sequence[RoutingRule], rule: RoutingRule, position: int | None) -> tuple[RoutingRule, ...]:
    place = len(rules) if position is None else position
    return (*rules[:place], rule, *rules[place:])


def _checked_budget(budget: Budget) -> Budget:
    """The budget with its words as tags are. Raises: InvalidInput, for terms that make no sense."""
    scope = msgspec.structs.replace(
        budget.scope,
        **{name: normalised_tag(getattr(budget.scope, name)) for name in ("team", "app", "key_id", "model")},
    )
    if scope.unattributed and (scope.team or budget.each == "team"):
        raise InvalidInput("unattributed covers calls that name no team; leave the team out", "scope")
    if budget.each is not None and getattr(scope, budget.each):
        raise InvalidInput(f"the scope names one {budget.each}, so there is but one limit", "each")
    if not is_timezone(budget.timezone):
        raise InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone")
    if not 0 <= budget.limit_nanodollars <= LIMIT_NANODOLLARS_MAX:
        raise InvalidInput("give an amount from 0 to 1,000,000,000 US dollars", "limit_usd")
    thresholds = tuple(sorted(set(budget.thresholds_percent)))
    is_usable = all(1 <= each <= THRESHOLD_PERCENT_MAX for each in thresholds)
    if len(thresholds) > THRESHOLDS_MAX or not is_usable:
        raise InvalidInput(
            f"give at most {THRESHOLDS_MAX} percentages from 1 to {THRESHOLD_PERCENT_MAX}",
            "thresholds_percent",
        )
    return msgspec.structs.replace(
        budget, name=normalised_tag(budget.name), scope=scope, thresholds_percent=thresholds
    )


def checked_rule(rule: RoutingRule) -> RoutingRule:
    """The rule. Raises: InvalidInput, for terms that make no sense."""
    if not _RULE_NAME.fullmatch(rule.name):
        raise InvalidInput("give a name of 1 to 100 printable ASCII characters", "name")
    if not 0 <= rule.threshold <= 100:
        raise InvalidInput("give a whole percentage from 0 to 100", "threshold")
    from_models = tuple(dict.fromkeys(rule.from_models))
    if not 1 <= len(from_models) <= FROM_MODELS_MAX:
        raise InvalidInput(f"give 1 to {FROM_MODELS_MAX} models", "from_models")
    if not all(_MODEL.fullmatch(model) for model in from_models):
        raise InvalidInput("give names of models, for example gpt-4o", "from_models")
    if not _MODEL.fullmatch(rule.to_model):
        raise InvalidInput("give a model's name, for example gpt-4o-mini", "to_model")
    if rule.to_model in from_models:
        raise InvalidInput("a rule leads to another model than it comes from", "to_model")
    if not is_within_reach(rule.provider, from_models, rule.to_model):
        raise InvalidInput(OUT_OF_REACH, "to_model")
    description = normalised_tag(rule.description)
    return msgspec.structs.replace(rule, from_models=from_models, description=description)
