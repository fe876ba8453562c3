"""The conservation check: what callers saw, what was billed, and every account of it, to the nanodollar."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metering.counters import lease_named
from metering.recovery import NUMBER_OF_UNSEEN
from tests.system.deployment import Row, nanodollars
from tests.system.statement import Statement, recorded_nanodollars
from tests.system.traffic import TOO_LATE, Made

# States of calls that were never let through to a provider.
NEVER_ADMITTED = {"refused", "cache_hit"}
# What callers are refused with: their budget is spent or cannot be asked, or nobody can tell whose key it is.
REFUSED_WITH = {429, 503}
LATE_SECONDS = 5.0  # by which a caller may notice late that a proxy is gone
SHOWN_MAX = 20  # violations that begin alike; the rest are counted
_BEGINNING = re.compile(r"[^0-9]*")  # of a line, up to the first number: whose it is, and what is wrong


@dataclass(frozen=True)
class Total:
    """How many events some account of them holds, and what they cost together."""

    events: int
    nanodollars: int


@dataclass(frozen=True)
class BudgetBooks:
    """What a budget says of itself. `strict_limit` is None where it is not strict.

    `held` is None where nobody waited for the leases of killed proxies to end.
    """

    budget_id: str
    name: str
    spent: int
    held: int | None
    strict_limit: int | None = None


@dataclass(frozen=True)
class Books:
    """All that is said of one account once everything has settled.

    `totals` are those of usage, exports and the like, by the name of who says so. `counts` are the calls
    admitted, settled, lost and in flight. `differences` are what the nightly check found.
    """

    account: str
    statement: Statement
    events: Sequence[Row]
    totals: Mapping[str, Total]
    counts: Mapping[str, int]
    budgets: Sequence[BudgetBooks]
    differences: Sequence[str] = ()


def violations(books: Books) -> list[str]:
    """Everything that is not as it must be, a line each; nothing where all is."""
    lines = [
        *books.statement.differences(),
        *_wrong_totals(books),
        *_wrong_counts(books),
        *(line for budget in books.budgets for line in _wrong_budget(books, budget)),
        *(f"the nightly check: {each}" for each in books.differences),
    ]
    return [f"{books.account}: {line}" for line in lines]


def unexplained_ends(books: Books, ends: Sequence[tuple[float, float]]) -> list[str]:
    """Calls that vanished although no proxy ended, and answers that nobody should get, a line each.

    `ends` are the times (`time.monotonic`) at which a proxy was ended and not there yet again.
    """
    found = []
    for made in books.statement.made:
        said = f"call {made.planned.number}: {made.outcome} {made.status} {made.code}".strip()
        is_known = books.statement.event(made) is not None
        is_explained = is_known or any(first <= made.over_at <= last + LATE_SECONDS for first, last in ends)
        if made.code == TOO_LATE:
            found.append(f"no answer in time: {said}")
        elif made.outcome == "refused" and made.status not in REFUSED_WITH:
            found.append(f"refused without reason: {said}")
        elif (
            made.outcome in {"cut", "not_taken"} and not is_explained and books.statement.event(made) is None
        ):
            found.append(f"nothing is known of it, and all proxies were there: {said}")
    return [f"{books.account}: {line}" for line in found]


def shown(found: Sequence[str]) -> list[str]:
    """The lines, but of many that begin alike only the first, and how many more there are."""
    alike: dict[str, list[str]] = {}
    for line in found:
        alike.setdefault(_BEGINNING.match(line)[0], []).append(line)  # type: ignore[index]  # always matches
    return [line for lines in alike.values() for line in (*lines[:SHOWN_MAX], *_more(lines))]


def _more(lines: Sequence[str]) -> list[str]:
    hidden = len(lines) - SHOWN_MAX
    return [f"and {hidden:,} more like the last {SHOWN_MAX}"] if hidden > 0 else []


def _wrong_totals(books: Books) -> list[str]:
    """Whole answers cost in the books what they do on the bill, and all accounts of all events agree."""
    whole = [made for made in books.statement.made if made.outcome == "whole"]
    billed, recorded = (sum(each(books, made) for made in whole) for each in (_billed, _recorded))
    found = [f"whole answers: billed {billed} nanodollars, recorded {recorded}"] if billed != recorded else []
    wanted = Total(len(books.events), recorded_nanodollars(books.events))
    return found + [
        f"{name}: {total.events} events, {total.nanodollars} nanodollars, where the events are"
        f" {wanted.events} and {wanted.nanodollars}"
        for name, total in books.totals.items()
        if total != wanted
    ]


def _billed(books: Books, made: Made) -> int:
    event, row = books.statement.event(made), books.statement.billed(made)
    if row is None or (event is not None and event["cache_hit"]):
        return 0
    return int(row["nanodollars"])


def _recorded(books: Books, made: Made) -> int:
    event = books.statement.event(made)
    return 0 if event is None else nanodollars(event["cost_usd"])


def _wrong_counts(books: Books) -> list[str]:
    """Admitted = settled + lost, nothing is in flight, and each of them has its event."""
    states = Counter(str(event["state"]) for event in books.events)
    lost = states["lost"]
    settled = len(books.events) - lost - sum(states[each] for each in NEVER_ADMITTED)
    wanted = {"admitted": settled + lost, "settled": settled, "in_flight": 0, "lost": lost}
    return [
        f"calls {name}: {books.counts[name]}, where the events say {count}"
        for name, count in wanted.items()
        if books.counts[name] != count
    ]


def _wrong_budget(books: Books, budget: BudgetBooks) -> list[str]:
    """It counted what all events cost and what they say it was charged, holds nothing, kept its limit."""
    cost = recorded_nanodollars(books.events)
    charges = [
        charge for event in books.events for charge in event["charges"] if charge[0] == budget.budget_id
    ]
    charged = sum(charge[3] for charge in charges)
    found = []
    if not budget.spent == cost == charged:
        found.append(
            f"counted {budget.spent} nanodollars; events cost {cost}, and say it was charged {charged}"
        )
    if budget.held:
        found.append(f"holds {budget.held} nanodollars, and nothing is under way")
    if budget.strict_limit is not None:
        # A key that the store could not tell of meets no budget: whose calls these were is known afterwards.
        unseen = sum(charge[3] for charge in charges if _is_of_unseen_key(charge[2]))
        if budget.spent - unseen > budget.strict_limit:
            found.append(
                f"let {budget.spent - unseen} nanodollars pass, and is strict at {budget.strict_limit}"
            )
    return [f"budget {budget.name}: {line}" for line in found]


def _is_of_unseen_key(lease_id: str) -> bool:
    return lease_named(lease_id).number == NUMBER_OF_UNSEEN
