"""How budgets stand: spent, held and left, from their counters and the leases that are open on them."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from metering.budgets import Budget
from metering.collections import LEASES, seeding_path
from metering.counters import (
    OPEN,
    CounterTotals,
    LeaseTotals,
    Standing,
    counter_key,
    counter_totals,
    lease_named,
    lease_totals,
    standing_of,
)
from metering.periods import Period, period_of
from metering.seeding import budget_counters, seeding_of
from metering.stores import Document, DocumentStore, Query

LEASES_A_READ: Final = 500
LEASES_READ_MAX: Final = 20_000  # of an account; far more than instances times budgets
TOGETHER_MAX: Final = 1_000


class ValueStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How one limit of a budget stands. `value` "" where the budget has but one; None: shared by the rest."""

    value: str | None
    standing: Standing


class BudgetStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands in the present period.

    `values` are its limits, the one nearest to being spent first; never empty. It counts what was spent from
    `counting_from` on. `bound_nanodollars` is how far all instances together may let the limit be passed by
    calls in flight; None: by anything, since the budget only warns.
    """

    period: Period
    counting_from: datetime
    bound_nanodollars: int | None
    values: tuple[ValueStanding, ...]


def standings_of(
    store: DocumentStore, account_id: str, budgets: Sequence[Budget], now: datetime
) -> dict[str, BudgetStanding]:
    """How each of an account's budgets stands, by its id. A store failure passes to the caller."""
    if not budgets:
        return {}
    periods = {each.budget_id: period_of(each.period, each.timezone, now) for each in budgets}
    counters = {each.budget_id: _counter_paths(store, account_id, each, periods) for each in budgets}
    leases = _open_leases(store, account_id)
    seedings = [seeding_path(each.budget_id) for each in budgets]
    known = _read_together(store, [*seedings, *leases, *itertools.chain(*counters.values())])
    open_leases = _by_counter(known, leases)
    found: dict[str, BudgetStanding] = {}
    for budget in budgets:
        period = periods[budget.budget_id]
        documents = [known[path] for path in counters[budget.budget_id] if path in known]
        seeding = known.get(seeding_path(budget.budget_id))
        found[budget.budget_id] = BudgetStanding(
            period=period,
            counting_from=period.starts_at
            if seeding is None
            else seeding_of(seeding).counting_from_in(period),
            bound_nanodollars=_bound(budget, documents),
            values=_values(account_id, budget, period, documents, open_leases),
        )
    return found


def _counter_paths(
    store: DocumentStore, account_id: str, budget: Budget, periods: Mapping[str, Period]
) -> list[str]:
    period = periods[budget.budget_id]
    if budget.each is None:
        return [counter_key(account_id, budget, period).path]
    return [each.path for each in budget_counters(store, account_id, budget, period)]


def _read_together(store: DocumentStore, paths: Sequence[str]) -> dict[str, Document]:
    """The documents as of one moment: what a lease tells its counter changes both, and counts once.

    Beyond `TOGETHER_MAX` of them, leases are read before counters: more for a moment, never less.
    """
    known: dict[str, Document] = {}
    for start in range(0, len(paths), TOGETHER_MAX):
        known |= store.get_many(paths[start : start + TOGETHER_MAX])
    return known


def _by_counter(known: Mapping[str, Document], leases: Iterable[str]) -> dict[str, list[LeaseTotals]]:
    """What the leases say that are open still, by the id of their counter."""
    found: dict[str, list[LeaseTotals]] = {}
    for path in leases:
        lease = known.get(path)
        if lease is not None and lease.fields["state"] == OPEN:
            counter_id = lease_named(lease.document_id).counter_id
            found.setdefault(counter_id, []).append(lease_totals(lease.fields))
    return found


def _values(
    account_id: str,
    budget: Budget,
    period: Period,
    documents: Sequence[Document],
    leases: dict[str, list[LeaseTotals]],
) -> tuple[ValueStanding, ...]:
    shared_id = counter_key(account_id, budget, period, is_shared=True).counter_id
    values = [
        ValueStanding(
            value=None if document.document_id == shared_id else document.fields.get("value", ""),
            standing=standing_of(
                budget, counter_totals(document.fields), leases.get(document.document_id, ())
            ),
        )
        for document in documents
    ]
    none_yet = ValueStanding(value="", standing=standing_of(budget, CounterTotals(), ()))
    return tuple(sorted(values, key=_nearness, reverse=True)) or (none_yet,)


def _nearness(each: ValueStanding) -> tuple[int, str]:
    return (each.standing.spent_nanodollars, each.value or "")


def _bound(budget: Budget, counters: Iterable[Document]) -> int | None:
    if not budget.takes_leases:
        return None
    instances = max((counter_totals(each.fields).instances for each in counters), default=0)
    return budget.overdraft_nanodollars * max(1, instances)


def _open_leases(store: DocumentStore, account_id: str) -> list[str]:
    """The paths of the account's open leases."""
    leases: list[str] = []
    after: tuple[str, str] | None = None
    for _ in range(0, LEASES_READ_MAX, LEASES_A_READ):
        page = store.query(
            Query(
                collection=LEASES,
                equal={"account_id": account_id, "state": OPEN},
                after=after,
                limit=LEASES_A_READ,
            )
        )
        leases += [document.path for document in page]
        if len(page) < LEASES_A_READ:
            break
        after = ("", page[-1].document_id)
    return leases
