"""Infrastructure costs: what machines cost and how much their GPUs were used, handed in by a collector.

They are an account's own figures beside its calls: never part of usage, costs, budgets or forecasts, since
what runs a model of one's own is no call to a provider.

A **row** is one cost in a span of time within one UTC day. Its id is the sender's own: of a day, an id stands
once, and a row that comes again replaces the one before it, so that a repeat counts once and a correction
alone. All rows of a day lie in one document. Whose a cost is, is told when it is asked for: by the row's
team, else by the team that the account's map names for its namespace; a namespace that is not in the map is
unallocated, a line of its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Literal

import msgspec

from metering.clock import Clock
from metering.collections import infrastructure_day_path, namespace_map_path
from metering.errors import AlreadyExists, Conflict, InvalidInput, RevisionChanged
from metering.money import NANODOLLARS_PER_DOLLAR, rounded_half_even
from metering.retention_rules import RULES
from metering.rollups import OTHER
from metering.stores import Create, Document, DocumentStore, Put, Write
from metering.tags import normalised_tag

ROWS_MAX: Final = 1_000  # of one batch
DAYS_A_BATCH_MAX: Final = 3  # so that a commit of full days stays within what a store takes
ROWS_BYTES_MAX: Final = 900_000  # of one day
DAY_NANODOLLARS_MAX: Final = 100_000_000 * NANODOLLARS_PER_DOLLAR  # so that sums stay within 64 bits
GPU_COUNT_MAX: Final = 100_000
NAMESPACES_BYTES_MAX: Final = 900_000
LINES_MAX: Final = 1_000  # of one answer, of each kind
TRIES_MAX: Final = 5

EventType = Literal["aws_infrastructure", "gpu_compute"]

_KEPT: Final = RULES["infrastructure"].kept or timedelta.max
_DAY: Final = timedelta(days=1)
_TAGS: Final = (
    "service", "team", "namespace", "resource_id", "region", "instance_type", "gpu_type", "pod_name",
    "job_name",
)  # fmt: skip


class InfrastructureCost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row. `gpu_hundredths` is the use of its GPUs in hundredths of a percent; None: not measured."""

    row_id: str
    event_type: EventType
    service: str
    starts_at: datetime
    ends_at: datetime
    cost_nanodollars: int = 0
    team: str = ""
    namespace: str = ""
    resource_id: str = ""
    region: str = ""
    instance_type: str = ""
    gpu_type: str = ""
    gpu_count: int = 0
    gpu_hundredths: int | None = None
    pod_name: str = ""
    job_name: str = ""

    @property
    def day(self) -> date:
        """The UTC day that it lies in."""
        return self.starts_at.date()


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch: rows that are new, and rows that stand in the place of an earlier one."""

    added: int
    replaced: int


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one service, team or day cost."""

    name: str
    cost_nanodollars: int


class GpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much a machine's GPUs were used on average, over the time and number of GPUs that were measured."""

    resource_id: str
    service: str
    gpu_type: str
    instance_type: str
    namespace: str
    team: str
    gpu_count: int
    gpu_hundredths: int
    measured_seconds: int
    cost_nanodollars: int


class InfrastructureReport(msgspec.Struct, frozen=True, kw_only=True):
    """A range of days. Services, teams and days each add up to the total; the team "" is unallocated.

    Lines beyond `LINES_MAX` are `other`; of GPUs, those that are used least are shown.
    """

    total_nanodollars: int
    unallocated_nanodollars: int
    services: tuple[CostLine, ...]
    teams: tuple[CostLine, ...]
    days: tuple[CostLine, ...]
    gpus: tuple[GpuUse, ...]


class Infrastructure:
    """Keeps rows and sums them up. A store failure passes to the caller, who sends the same batch again."""

    def __init__(self, store: DocumentStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add(self, account_id: str, rows: Sequence[InfrastructureCost]) -> Taken:
        """Keep the rows, all or none.

        Raises: InvalidInput, with every complaint. Conflict, when others wrote the same days all the while.
        """
        _refuse(_complaints(rows, self._clock.now()))
        for _ in range(TRIES_MAX):
            try:
                return self._add(account_id, [_harmless(row) for row in rows])
            except (RevisionChanged, AlreadyExists):
                continue
        raise Conflict("other rows of the same days came at the same moment; send these again")

    def report(
        self, account_id: str, days: Sequence[date], team_of_namespace: Mapping[str, str]
    ) -> InfrastructureReport:
        """What these days cost, by one read a day."""
        paths = {day: infrastructure_day_path(account_id, day.isoformat()) for day in days}
        documents = self._store.get_many([*paths.values()])
        sums = _Sums(team_of_namespace)
        for day, path in paths.items():
            sums.add(day, _rows_of(documents.get(path)).values())
        return sums.report()

    def namespace_map(self, account_id: str) -> dict[str, str]:
        """The account's teams by namespace; empty where it has said nothing."""
        document = self._store.get(namespace_map_path(account_id))
        return {} if document is None else msgspec.json.decode(document.fields["teams"], type=dict[str, str])

    def put_namespace_map(self, account_id: str, teams: Mapping[str, str]) -> dict[str, str]:
        """Replace the account's map whole; what is kept. It holds for what was handed in before, too.

        Raises: InvalidInput.
        """
        kept = {normalised_tag(namespace): normalised_tag(team) for namespace, team in teams.items()}
        text = msgspec.json.encode(kept)
        if len(text) > NAMESPACES_BYTES_MAX:
            raise InvalidInput(f"give at most {NAMESPACES_BYTES_MAX} bytes of namespaces")
        self._store.commit([Put(namespace_map_path(account_id), {"teams": text.decode()})])
        return kept

    def _add(self, account_id: str, rows: Sequence[InfrastructureCost]) -> Taken:
        by_day: defaultdict[date, list[InfrastructureCost]] = defaultdict(list)
        for row in rows:
            by_day[row.day].append(row)
        paths = {day: infrastructure_day_path(account_id, day.isoformat()) for day in by_day}
        documents = self._store.get_many([*paths.values()])
        writes: list[Write] = []
        replaced = 0
        for day, came in by_day.items():
            document = documents.get(paths[day])
            kept = _rows_of(document)
            replaced += sum(row.row_id in kept for row in came)
            kept |= {row.row_id: row for row in came}
            writes.append(_write(paths[day], day, kept.values(), document))
        self._store.commit(writes)
        return Taken(added=len(rows) - replaced, replaced=replaced)


class _Sums:
    """What rows add up to."""

    def __init__(self, team_of_namespace: Mapping[str, str]) -> None:
        self._team_of_namespace = team_of_namespace
        self._services: defaultdict[str, int] = defaultdict(int)
        self._teams: defaultdict[str, int] = defaultdict(int)
        self._days: list[CostLine] = []
        self._gpus: defaultdict[tuple[str, ...], list[InfrastructureCost]] = defaultdict(list)

    def add(self, day: date, rows: Iterable[InfrastructureCost]) -> None:
        cost = 0
        for row in rows:
            team = row.team or self._team_of_namespace.get(row.namespace, "")
            self._services[row.service] += row.cost_nanodollars
            self._teams[team] += row.cost_nanodollars
            cost += row.cost_nanodollars
            if row.gpu_hundredths is not None:
                gpu = (row.resource_id, row.service, row.gpu_type, row.instance_type, row.namespace, team)
                self._gpus[gpu].append(row)
        self._days.append(CostLine(name=day.isoformat(), cost_nanodollars=cost))

    def report(self) -> InfrastructureReport:
        gpus = sorted((_gpu_use(gpu, rows) for gpu, rows in self._gpus.items()), key=_least_used_first)
        return InfrastructureReport(
            total_nanodollars=sum(each.cost_nanodollars for each in self._days),
            unallocated_nanodollars=self._teams.get("", 0),
            services=_dearest(self._services),
            teams=_dearest(self._teams),
            days=tuple(self._days),
            gpus=tuple(gpus[:LINES_MAX]),
        )


def _complaints(rows: Sequence[InfrastructureCost], now: datetime) -> Iterable[InvalidInput]:
    seen = set()
    for place, row in enumerate(rows):
        if (row.row_id, row.day) in seen:
            yield InvalidInput("give each id of a day once", f"rows.{place}.id")
        seen.add((row.row_id, row.day))
        end_of_day = _start_of(row.day) + _DAY
        if not row.starts_at < row.ends_at <= end_of_day:
            yield InvalidInput(
                "give a later moment of the same UTC day, its end at most", f"rows.{place}.end_time"
            )
        if not _start_of((now - _KEPT).date()) < row.starts_at < _start_of(now.date()) + _DAY:
            yield InvalidInput(f"give a day of the last {_KEPT.days}", f"rows.{place}.start_time")
    if len({row.day for row in rows}) > DAYS_A_BATCH_MAX:
        yield InvalidInput(f"give rows of at most {DAYS_A_BATCH_MAX} days at once", "rows")


def _refuse(complaints: Iterable[InvalidInput]) -> None:
    found = tuple(complaints)
    if found:
        raise InvalidInput(found[0].message, found[0].param, found)


def _harmless(row: InfrastructureCost) -> InfrastructureCost:
    return msgspec.structs.replace(row, **{name: normalised_tag(getattr(row, name)) for name in _TAGS})


def _write(path: str, day: date, rows: Iterable[InfrastructureCost], known: Document | None) -> Write:
    text = msgspec.json.encode([*rows])
    if len(text) > ROWS_BYTES_MAX:
        raise InvalidInput(f"{day} would have more rows than a day may; hand in sums of longer spans", "rows")
    if sum(abs(row.cost_nanodollars) for row in rows) > DAY_NANODOLLARS_MAX:
        raise InvalidInput(f"the costs of {day} are too large together", "rows")
    fields: dict[str, Any] = {"starts_at": _start_of(day), "rows": text.decode()}
    return Create(path, fields) if known is None else Put(path, fields, known.revision)


def _rows_of(document: Document | None) -> dict[str, InfrastructureCost]:
    if document is None:
        return {}
    rows = msgspec.json.decode(document.fields["rows"], type=list[InfrastructureCost])
    return {row.row_id: row for row in rows}


def _gpu_use(gpu: tuple[str, ...], rows: Sequence[InfrastructureCost]) -> GpuUse:
    resource_id, service, gpu_type, instance_type, namespace, team = gpu
    weights = [
        (row.ends_at - row.starts_at) // timedelta(microseconds=1) * max(row.gpu_count, 1) for row in rows
    ]
    used = sum(weight * (row.gpu_hundredths or 0) for weight, row in zip(weights, rows, strict=True))
    return GpuUse(
        resource_id=resource_id,
        service=service,
        gpu_type=gpu_type,
        instance_type=instance_type,
        namespace=namespace,
        team=team,
        gpu_count=max(row.gpu_count for row in rows),
        gpu_hundredths=rounded_half_even(used, sum(weights)),
        measured_seconds=sum(((row.ends_at - row.starts_at) for row in rows), timedelta())
        // timedelta(seconds=1),
        cost_nanodollars=sum(row.cost_nanodollars for row in rows),
    )


def _least_used_first(use: GpuUse) -> tuple[int, str, str, str]:
    return use.gpu_hundredths, use.resource_id, use.service, use.namespace


def _dearest(sums: Mapping[str, int]) -> tuple[CostLine, ...]:
    ordered = sorted(sums.items(), key=lambda line: (-line[1], line[0]))
    if len(ordered) <= LINES_MAX:
        return tuple(CostLine(name=name, cost_nanodollars=cost) for name, cost in ordered)
    # what is unallocated, or called so by its sender, keeps its name; the rest beyond the dearest has none
    shown = dict(ordered[: LINES_MAX - 2])
    rest = {name: cost for name, cost in ordered[LINES_MAX - 2 :] if name}
    if "" in sums:
        shown[""] = sums[""]
    shown[OTHER] = shown.get(OTHER, 0) + sum(rest.values())
    return tuple(CostLine(name=name, cost_nanodollars=cost) for name, cost in shown.items())


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
