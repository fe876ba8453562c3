"""Reconciliation: what a provider says it charged, beside what was recorded of its calls.

A tenant fetches its provider's cost report itself, with a key that never comes here, and posts what each UTC
day cost by model: a **bill**. A day's bill replaces the one before it whole, so a repeat counts once and a
correction counts alone. A bill's line without a model is what the provider charges for something else.

**Drift** is what was recorded less what was billed, of the days that have a bill. A model with the date of a
snapshot or without it is the same model, since reports and answers do not name it alike. What was recorded
follows the moment a call was admitted; what a provider counts on the next day shows as drift of both days.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Literal

import msgspec

from metering.budgets import undated
from metering.clock import Clock
from metering.collections import reconciliation_path
from metering.errors import InvalidInput
from metering.money import NANODOLLARS_PER_DOLLAR
from metering.quarters import OPEN_ROOM_MIN, open_room
from metering.stats import Statistics, UsageQuery
from metering.stores import DocumentStore, Put
from metering.tags import normalised_tag
from metering.usage_groups import UsageGroup

BILLED_DAYS_MAX: Final = 31  # of one posting
LINES_MAX: Final = 200  # of one day
BILL_NANODOLLARS_MAX: Final = 100_000_000 * NANODOLLARS_PER_DOLLAR  # so that sums of days stay within 64 bits

BilledProvider = Literal["openai", "anthropic"]


class BillLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one model cost on a day; `model` "" is what names no model. Less than 0 is a credit."""

    model: str
    cost_nanodollars: int


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says one UTC day cost; without lines it cost nothing."""

    day: date
    lines: tuple[BillLine, ...] = ()


class ModelDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One model, billed and recorded. `estimated_nanodollars` is a part of what was recorded."""

    model: str
    billed_nanodollars: int = 0
    recorded_nanodollars: int = 0
    estimated_nanodollars: int = 0
    requests: int = 0
    unpriced_requests: int = 0

    @property
    def drift_nanodollars(self) -> int:
        """What was recorded beyond the bill; less than 0: the bill has what was not recorded."""
        return self.recorded_nanodollars - self.billed_nanodollars


class DayDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One UTC day by model, most billed first. `posted_at` None: there is no bill, and `models` is empty."""

    day: date
    posted_at: datetime | None
    models: tuple[ModelDrift, ...] = ()

    @property
    def total(self) -> ModelDrift:
        """All models together."""
        return _added("", self.models)


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """A range of days, oldest first, and the models of those that have a bill."""

    days: tuple[DayDrift, ...]
    models: tuple[ModelDrift, ...]

    @property
    def total(self) -> ModelDrift:
        """All models together."""
        return _added("", self.models)


class Reconciliations:
    """Keeps bills and holds them against the rollups. A store failure passes to the caller."""

    def __init__(self, store: DocumentStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def post(self, account_id: str, provider: BilledProvider, bills: Sequence[Bill]) -> None:
        """Keep the bills, all or none; each replaces its day's. Raises: InvalidInput, with all complaints."""
        complaints = list(_complaints(bills, self._clock.now().date()))
        if complaints:
            raise InvalidInput(complaints[0].message, complaints[0].param, tuple(complaints))
        self._store.commit(
            [
                Put(
                    reconciliation_path(account_id, provider, bill.day.isoformat()),
                    {
                        "provider": provider,
                        "starts_at": _start_of(bill.day),
                        "posted_at": self._clock.now(),
                        "lines": [msgspec.to_builtins(line) for line in _by_name(bill.lines)],
                    },
                )
                for bill in bills
            ]
        )

    def drift(self, account_id: str, provider: BilledProvider, days: Sequence[date]) -> Drift:
        """How far what was recorded is from what was billed, on each of these consecutive days.

        Two reads a day: the bill and the day's rollups, from the first to the last that has a bill; of today
        the last hour may be missing. Raises: InvalidInput, for more days than one sum of rollups has.
        """
        paths = {day: reconciliation_path(account_id, provider, day.isoformat()) for day in days}
        bills = self._store.get_many([*paths.values()])
        groups = self._recorded(
            account_id, provider, [day for day in days if paths[day] in bills], len(paths)
        )
        found = []
        for day in days:
            bill = bills.get(paths[day])
            if bill is None:
                found.append(DayDrift(day=day, posted_at=None))
                continue
            recorded = [_recorded(group.values["model"], group.sums) for group in groups[day]]
            lines = [_billed(line) for line in bill.fields["lines"]]
            found.append(
                DayDrift(day=day, posted_at=bill.fields["posted_at"], models=_by_model([*lines, *recorded]))
            )
        return Drift(days=tuple(found), models=_by_model(each for day in found for each in day.models))

    def _recorded(
        self, account_id: str, provider: BilledProvider, days: Sequence[date], read: int
    ) -> Mapping[date, Sequence[UsageGroup]]:
        """What was recorded of these and all days between, by model; so many documents were read before."""
        if not days:
            return {}
        query = UsageQuery(
            start=_start_of(days[0]),
            end=_start_of(days[-1]) + timedelta(days=1),
            group_by=("model",),
            filters={"provider": (provider,)},
        )
        room = max(OPEN_ROOM_MIN, open_room((query.start, query.end)) - read)
        report = Statistics(self._store).usage(account_id, query, open_max=room)
        return {bucket.start.date(): bucket.groups for bucket in report.buckets}


def _complaints(bills: Sequence[Bill], today: date) -> Iterable[InvalidInput]:
    seen = set()
    for place, bill in enumerate(bills):
        if bill.day > today:
            yield InvalidInput("give a day that has begun, in UTC", f"days.{place}.day")
        if bill.day in seen:
            yield InvalidInput("give each day once", f"days.{place}.day")
        seen.add(bill.day)
        if sum(abs(line.cost_nanodollars) for line in bill.lines) > BILL_NANODOLLARS_MAX:
            yield InvalidInput("the amounts are too large together", f"days.{place}.models")


def _by_name(lines: Iterable[BillLine]) -> list[BillLine]:
    """The lines with those of one model added up."""
    costs: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        costs[normalised_tag(line.model)] += line.cost_nanodollars
    return [BillLine(model=model, cost_nanodollars=cost) for model, cost in sorted(costs.items())]


def _billed(line: Mapping[str, Any]) -> ModelDrift:
    return ModelDrift(model=line["model"], billed_nanodollars=line["cost_nanodollars"])


def _recorded(model: str, sums: Mapping[str, int]) -> ModelDrift:
    return ModelDrift(
        model=model,
        recorded_nanodollars=sums["cost_nanodollars"],
        estimated_nanodollars=sums["estimated_cost_nanodollars"],
        requests=sums["requests"],
        unpriced_requests=sums["unpriced_requests"],
    )


def _by_model(parts: Iterable[ModelDrift]) -> tuple[ModelDrift, ...]:
    named: defaultdict[str, list[ModelDrift]] = defaultdict(list)
    for part in parts:
        named[undated(part.model)].append(part)
    models = (_added(model, found) for model, found in named.items())
    return tuple(sorted(models, key=_most_billed_first))


def _most_billed_first(each: ModelDrift) -> tuple[int, int, str]:
    return -each.billed_nanodollars, -each.recorded_nanodollars, each.model


def _added(model: str, parts: Iterable[ModelDrift]) -> ModelDrift:
    sums = dict.fromkeys(ModelDrift.__struct_fields__[1:], 0)
    for part in parts:
        for name in sums:
            sums[name] += getattr(part, name)
    return ModelDrift(model=model, **sums)


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
