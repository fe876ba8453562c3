"""Budgets: how much which calls may cost in a calendar period, and what happens near the limit.

A budget covers the calls that its **scope** matches: every dimension that the scope names must be equal. All
matching budgets apply to a call, and the strictest wins. With `each`, every value of that dimension has a
limit of its own: the first `EACH_VALUES_MAX` values of a period, then all further ones share one.

| action | at the limit |
|---|---|
| `block` | calls are refused |
| `downgrade` | cheaper models of the routing rules are tried first; where none fits, calls are refused |
| `warn` | calls go on; answers and log say so |

| mode | what is held for a call | overspend |
|---|---|---|
| `strict` | an upper bound of its cost; a call without one is refused | none |
| `normal` | its expected cost; what it may cost beyond draws on `overdraft_nanodollars` | that, an instance |
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal

import msgspec

Dimension = Literal["team", "app", "key_id", "model"]
Action = Literal["block", "downgrade", "warn"]
PeriodKind = Literal["day", "week", "month"]
Mode = Literal["strict", "normal"]
Source = Literal["api", "file"]

BUDGETS_MAX: Final = 100  # of an account
MATCHING_BUDGETS_MAX: Final = 8  # over one call
EACH_VALUES_MAX: Final = 1_000
THRESHOLDS_DEFAULT: Final = (80, 100)
OVERDRAFT_PERCENT: Final = 5

_MONTH_AND_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # as in gpt-4-0613
_SNAPSHOT = re.compile(rf"-(?:20\d{{6}}|20\d{{2}}-\d{{2}}-\d{{2}}|{_MONTH_AND_DAY}|latest)$")


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which calls a budget covers; "" leaves a dimension open, and nothing set is the whole account.

    `unattributed` covers the calls that name no team. `model` is the serving model's name; with the date of a
    snapshot or without it is the same model (`undated`), so that naming one escapes no budget.
    """

    team: str = ""
    app: str = ""
    key_id: str = ""
    model: str = ""
    unattributed: bool = False


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What budgets look at in a call. `model` is the model that would serve it."""

    team: str = ""
    app: str = ""
    key_id: str = ""
    model: str = ""


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One budget. What decides which events it counts (scope, each, period, timezone) never changes.

    `thresholds_percent` are where warnings begin: the lowest shows in answers, each once in the log.
    `created_at` None: it counts every period from its beginning (a file's).
    """

    budget_id: str
    name: str = ""
    scope: Scope = Scope()
    each: Dimension | None = None
    limit_nanodollars: int
    period: PeriodKind = "month"
    timezone: str = "UTC"
    action: Action = "block"
    mode: Mode = "normal"
    thresholds_percent: tuple[int, ...] = THRESHOLDS_DEFAULT
    enabled: bool = True
    source: Source = "api"
    created_at: datetime | None = None

    @property
    def overdraft_nanodollars(self) -> int:
        """How far one instance may let calls in flight exceed what is held for them: 0 in strict mode."""
        return 0 if self.mode == "strict" else self.limit_nanodollars * OVERDRAFT_PERCENT // 100

    @property
    def takes_leases(self) -> bool:
        """Whether calls spend from slices taken beforehand; a warning needs only totals."""
        return self.action != "warn"

    def covers(self, subject: Subject) -> bool:
        """Whether the call counts towards the budget."""
        scope = self.scope
        return (
            self.enabled
            and (not scope.team or scope.team == subject.team)
            and (not scope.app or scope.app == subject.app)
            and (not scope.key_id or scope.key_id == subject.key_id)
            and (not scope.model or undated(scope.model) == undated(subject.model))
            and not (scope.unattributed and subject.team)
        )

    def value_of(self, subject: Subject) -> str:
        """The value whose own limit counts, "" where the budget has but one."""
        if self.each == "model":
            return undated(subject.model)
        return "" if self.each is None else str(getattr(subject, self.each))


def undated(model: str) -> str:
    """The model's name without its snapshot's date: `gpt-4o-2024-08-06` is `gpt-4o`, `gpt-4-0613` `gpt-4`."""
    return _SNAPSHOT.sub("", model)


def matching(budgets: Iterable[Budget], subject: Subject) -> tuple[Budget, ...]:
    """The budgets that the call counts towards, in their order."""
    return tuple(budget for budget in budgets if budget.covers(subject))
