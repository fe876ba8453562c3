"""Questions about rollups: how much was used and spent, when, by whom. Never reads an event.

Thirty days in any zone are at most 100 documents, whatever the traffic: one a UTC day, and the shards of the
few quarter hours that are not compacted yet (`metering.quarters`).

Time: `start` and `end` are widened to whole buckets, days and hours of a zone's own clock. A day is 23 to 25
hours where clocks change; where the change falls inside an hour, that hour is two buckets, one before and
one after it. Every quarter hour lies in exactly one bucket, so buckets sum to the range.

Amounts are those of `rollups.SUMS`: counts, tokens, nanodollars, all of them always present. A value `other`
stands for what a full shard collapsed, and for groups beyond the first `GROUPS_MAX`; sums are complete all
the same.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from metering.errors import InvalidInput
from metering.quarters import rollups_between
from metering.rollups import (
    DIMENSIONS,
    OTHER,
    QUARTER,
    SUMS,
    Amounts,
    Cell,
    Kind,
    percentile_ms,
    quarter_of,
)
from metering.stores import DocumentStore

RANGE_MAX = {"1h": timedelta(days=31), "1d": timedelta(days=92)}
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
GROUPS_MAX = 1_000
FILTER_VALUES_MAX = 100
TOP_MAX = 5

GROUPABLE = (*DIMENSIONS["main"], "key_id", "prompt_template_id")
_ALONE: dict[str, Kind] = {"key_id": "key", "prompt_template_id": "template"}
_MICROSECOND = timedelta(microseconds=1)


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to sum up, and how to cut it.

    `start` is inclusive, `end` exclusive. `group_by` and `filters` take the names of `GROUPABLE`; `key_id`
    and `prompt_template_id` go with `provider` and `model` only. A filter passes any of its values.
    """

    start: datetime
    end: datetime
    bucket_width: str = "1d"
    timezone: str = "UTC"
    group_by: tuple[str, ...] = ()
    filters: Mapping[str, Sequence[str]] = {}

    def complaints(self) -> list[InvalidInput]:
        """Everything that is wrong with the query."""
        found = _complaints_of_range(self.start, self.end, self.bucket_width)
        if self.timezone not in _zone_names():
            found.append(InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone"))
        for name in (*self.group_by, *self.filters):
            if name not in GROUPABLE:
                param = "group_by" if name in self.group_by else name
                found.append(InvalidInput(f"use one of {', '.join(GROUPABLE)}", param))
        if len(set(self.group_by)) < len(self.group_by):
            found.append(InvalidInput("name each dimension once", "group_by"))
        for name, values in self.filters.items():
            if not 1 <= len(values) <= FILTER_VALUES_MAX:
                found.append(InvalidInput(f"give 1 to {FILTER_VALUES_MAX} values", name))
        used = {*self.group_by, *self.filters}
        for name in sorted(used & _ALONE.keys()):
            if used - {name, "provider", "model"}:
                found.append(InvalidInput(f"{name} goes with provider and model only", name))
        return found

    @property
    def kind(self) -> Kind:
        """The kind of cell that answers the query."""
        used = {*self.group_by, *self.filters}
        return next((kind for name, kind in _ALONE.items() if name in used), "main")


class UsageGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one combination of the values grouped by: `{dimension: value}`, `{sum: amount}`."""

    values: dict[str, str]
    sums: Amounts


class UsageBucket(msgspec.Struct, frozen=True, kw_only=True):
    """One day or hour, half-open; no groups where nothing happened. Dearest group first."""

    start: datetime
    end: datetime
    groups: tuple[UsageGroup, ...]


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a `UsageQuery`: every bucket of the widened range, and the sums of all."""

    start: datetime
    end: datetime
    buckets: tuple[UsageBucket, ...]
    sums: Amounts


class DaySums(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one calendar day."""

    day: date
    sums: Amounts


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """An account at a glance, in days of one zone.

    `seven_days` is today and the six days before; `days` are those and this month's so far, oldest first.
    `top_models` and `top_teams` are this month's dearest.
    """

    today: Amounts
    seven_days: Amounts
    month: Amounts
    days: tuple[DaySums, ...]
    top_models: tuple[UsageGroup, ...]
    top_teams: tuple[UsageGroup, ...]


class ModelLatency(msgspec.Struct, frozen=True, kw_only=True):
    """How fast one model answered: `{percent: milliseconds}`, to a factor of √2; empty where unmeasured."""

    provider: str
    model: str
    requests: int
    latency_ms: dict[int, int]
    ttft_ms: dict[int, int]


class Statistics:
    """Answers about one account at a time. A store failure passes to the caller: no figure is made up."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    def usage(self, account_id: str, query: UsageQuery) -> UsageReport:
        """The sums that the query asks for. Raises: InvalidInput, with every complaint about it."""
        _check(query)
        edges = bucket_edges(query.start, query.end, query.bucket_width, ZoneInfo(query.timezone))
        known: set[tuple[str, ...]] = set()
        buckets = [_Groups(query.group_by, known) for _ in edges[1:]]
        group_of = _Grouping(query)
        for day in rollups_between(self._store, account_id, edges[0], edges[-1], query.kind):
            found = day.summed(lambda quarter: bisect_right(edges, quarter) - 1, group_of)
            for (bucket, group), amounts in found.items():
                buckets[bucket].add(group, amounts)
        return UsageReport(
            start=edges[0],
            end=edges[-1],
            buckets=tuple(
                UsageBucket(start=start, end=end, groups=groups.dearest())
                for start, end, groups in zip(edges, edges[1:], buckets, strict=False)
            ),
            sums=_total(sums for groups in buckets for sums in groups.sums.values()),
        )

    def overview(self, account_id: str, now: datetime, timezone: str = "UTC") -> Overview:
        """The account at a glance. Raises: InvalidInput, for a zone that does not exist."""
        if timezone not in _zone_names():
            raise InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone")
        zone = ZoneInfo(timezone)
        today = now.astimezone(zone).date()
        first = min(today.replace(day=1), today - timedelta(days=6))
        days: dict[date, Amounts] = {}
        models, teams = _Groups(("provider", "model"), set()), _Groups(("team",), set())
        # A day more at the front, since the zone's day may begin up to 14 hours before the UTC day.
        start = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=1)
        for found in rollups_between(self._store, account_id, start, quarter_of(now) + QUARTER, "main"):
            by_day = found.summed(lambda quarter: quarter.astimezone(zone).date(), lambda cell: cell[1:4])
            for (day, (provider, model, team)), amounts in by_day.items():
                _add(days.setdefault(day, _zeros()), amounts)
                if day >= today.replace(day=1):
                    models.add((provider, model), amounts)
                    teams.add((team,), amounts)
        calendar = [first + timedelta(days=number) for number in range((today - first).days + 1)]
        return Overview(
            today=days.get(today, _zeros()),
            seven_days=_total(days.get(day, {}) for day in calendar if day > today - timedelta(days=7)),
            month=_total(days.get(day, {}) for day in calendar if day >= today.replace(day=1)),
            days=tuple(DaySums(day=day, sums=days.get(day, _zeros())) for day in calendar),
            top_models=models.dearest()[:TOP_MAX],
            top_teams=teams.dearest()[:TOP_MAX],
        )

    def latency(self, account_id: str, query: UsageQuery) -> tuple[ModelLatency, ...]:
        """How fast the models answered in the range; the query's groups and filters play no part.

        Most used first. Raises: InvalidInput, with every complaint about the query.
        """
        _check(query)
        edges = bucket_edges(query.start, query.end, query.bucket_width, ZoneInfo(query.timezone))
        models: dict[Cell, Amounts] = {}
        for day in rollups_between(self._store, account_id, edges[0], edges[-1], "latency"):
            for (_, cell), amounts in day.summed(lambda _: True, lambda cell: cell).items():
                has_room = cell in models or len(models) < GROUPS_MAX
                _add(models.setdefault(cell if has_room else ("latency", OTHER, OTHER), {}), amounts)
        found = [_model_latency(cell, amounts) for cell, amounts in models.items()]
        return tuple(sorted(found, key=lambda each: each.requests, reverse=True))


def bucket_edges(start: datetime, end: datetime, bucket_width: str, zone: tzinfo) -> list[datetime]:
    """Where the buckets that cover the range begin and, at last, end: rising moments in UTC."""
    quarter = quarter_of(start.astimezone(UTC))
    last = quarter_of(end.astimezone(UTC) - _MICROSECOND)
    bucket = _bucket(quarter, bucket_width, zone)
    while _bucket(quarter - QUARTER, bucket_width, zone) == bucket:
        quarter -= QUARTER
    edges = [quarter]
    while edges[-1] <= last:
        quarter += QUARTER
        following = _bucket(quarter, bucket_width, zone)
        if following != bucket:
            edges.append(quarter)
            bucket = following
    return edges


def _bucket(quarter: datetime, bucket_width: str, zone: tzinfo) -> object:
    """What tells the quarter's bucket from its neighbours."""
    local = quarter.astimezone(zone)
    if bucket_width == "1d":
        return local.date()
    return local.date(), local.hour, local.utcoffset()


def _check(query: UsageQuery) -> None:
    complaints = query.complaints()
    if complaints:
        raise InvalidInput(complaints[0].message, complaints[0].param, tuple(complaints))


def _complaints_of_range(start: datetime, end: datetime, bucket_width: str) -> list[InvalidInput]:
    found: list[InvalidInput] = []
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment.utcoffset() is None:
            found.append(InvalidInput("give the moment's offset from UTC, for example …T00:00:00Z", name))
        elif not EARLIEST <= moment <= LATEST:
            found.append(InvalidInput(f"give a moment from {EARLIEST.year} to {LATEST.year}", name))
    if bucket_width not in RANGE_MAX:
        found.append(InvalidInput(f"use one of {', '.join(RANGE_MAX)}", "bucket_width"))
    if start.utcoffset() is None or end.utcoffset() is None:
        return found
    if start >= end:
        found.append(InvalidInput("end_time must lie after start_time", "end_time"))
    elif end - start > RANGE_MAX.get(bucket_width, LATEST - EARLIEST):
        days = RANGE_MAX[bucket_width].days
        found.append(
            InvalidInput(f"with bucket_width={bucket_width}, ask for at most {days} days", "start_time")
        )
    return found


class _Grouping:
    """Tells the group that a cell adds to, None where a filter does not pass it."""

    def __init__(self, query: UsageQuery) -> None:
        places = {name: place for place, name in enumerate(DIMENSIONS[query.kind], 1)}
        self._group_by = [places[name] for name in query.group_by]
        self._filters = [(places[name], frozenset(values)) for name, values in query.filters.items()]

    def __call__(self, cell: Cell) -> tuple[str, ...] | None:
        if not all(cell[place] in accepted for place, accepted in self._filters):
            return None
        return tuple(cell[place] for place in self._group_by)


class _Groups:
    """Sums by the values of some dimensions. `known` are the groups of all that share it, bounded."""

    def __init__(self, dimensions: tuple[str, ...], known: set[tuple[str, ...]]) -> None:
        self.sums: dict[tuple[str, ...], Amounts] = {}
        self._dimensions = dimensions
        self._known = known

    def add(self, group: tuple[str, ...], amounts: Amounts) -> None:
        """Add to the group of these values; to `other`, where it would be one too many."""
        if group not in self._known and len(self._known) >= GROUPS_MAX:
            group = (OTHER,) * len(self._dimensions)
        sums = self.sums.get(group)
        if sums is None:
            self._known.add(group)
            sums = self.sums[group] = _zeros()
        _add(sums, amounts)

    def dearest(self) -> tuple[UsageGroup, ...]:
        """The groups, dearest first, then by their values."""
        ordered = sorted(self.sums.items(), key=lambda each: (-each[1]["cost_nanodollars"], each[0]))
        return tuple(
            UsageGroup(values=dict(zip(self._dimensions, group, strict=True)), sums=sums)
            for group, sums in ordered
        )


def _model_latency(cell: Cell, amounts: Amounts) -> ModelLatency:
    return ModelLatency(
        provider=cell[1],
        model=cell[2],
        requests=amounts["requests"],
        latency_ms=_percentiles(amounts, "latency_"),
        ttft_ms=_percentiles(amounts, "ttft_"),
    )


def _percentiles(amounts: Amounts, prefix: str) -> dict[int, int]:
    counts = {int(name[len(prefix) :]): count for name, count in amounts.items() if name.startswith(prefix)}
    found = {percent: percentile_ms(counts, percent) for percent in (50, 95, 99)}
    return {percent: latency for percent, latency in found.items() if latency is not None}


def _zeros() -> Amounts:
    return dict.fromkeys(SUMS, 0)


def _add(sums: Amounts, amounts: Amounts) -> None:
    for name, amount in amounts.items():
        sums[name] = sums.get(name, 0) + amount


def _total(parts: Iterable[Amounts]) -> Amounts:
    sums = _zeros()
    for amounts in parts:
        _add(sums, amounts)
    return sums


def zone_named(name: str) -> ZoneInfo | None:
    """The IANA zone of that name, None where there is none."""
    return ZoneInfo(name) if name in _zone_names() else None


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())
