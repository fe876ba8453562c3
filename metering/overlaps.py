"""How many budgets can apply to one and the same call: kept within a bound, so that every call's work is."""

from collections.abc import Iterable, Sequence

from metering.budgets import Budget, Scope, undated

_DIMENSIONS = ("team", "app", "key_id")  # and the model, whatever its snapshot


def most_over_one_call(budgets: Iterable[Budget]) -> int:
    """The most of these budgets that one call can count towards; those that are switched off count, too.

    Scopes that meet two by two all meet in one call (they are boxes, side by side in each dimension), so the
    largest set of budgets that meet two by two is looked for: the usual search, cut off by a colouring.
    """
    return _largest([budget.scope for budget in budgets], 0)


def _largest(scopes: Sequence[Scope], known: int) -> int:
    """The size of the largest set that meets two by two; at least `known`, which is known to be there."""
    classes = _apart(scopes)
    ordered = [scope for each in classes for scope in each]
    bounds = [number for number, each in enumerate(classes, 1) for _ in each]
    while ordered and bounds[-1] > known:
        scope = ordered.pop()
        bounds.pop()
        meeting = [other for other in ordered if _meet(scope, other)]
        known = max(known, 1 + _largest(meeting, known - 1))
    return max(known, 0)


def _apart(scopes: Sequence[Scope]) -> list[list[Scope]]:
    """The scopes in classes within which no two meet: a set that meets has at most one of each class."""
    classes: list[list[Scope]] = []
    for scope in scopes:
        for each in classes:
            if not any(_meet(scope, other) for other in each):
                each.append(scope)
                break
        else:
            classes.append([scope])
    return classes


def _meet(one: Scope, other: Scope) -> bool:
    """Whether a call can be in both scopes."""
    if (one.unattributed and other.team) or (other.unattributed and one.team):
        return False
    pairs = [(getattr(one, name), getattr(other, name)) for name in _DIMENSIONS]
    pairs.append((undated(one.model), undated(other.model)))
    return all(not mine or not theirs or mine == theirs for mine, theirs in pairs)
