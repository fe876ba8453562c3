"""Questions about rollups: how much was used and spent, when, by whom. Never reads an event.

Thirty days in any zone are at most 100 documents, whatever the traffic: one a UTC day, and the shards of the
few quarter hours that are not compacted yet (`metering.quarters`). A comparison reads both of its ranges,
and leaves the last of these quarter hours out where they were too much.

Time: `usage` widens `start` and `end` to whole buckets (`metering.buckets`), all else to whole quarter hours.
Every quarter hour lies in exactly one bucket, so buckets sum to the range.

Amounts are those of `rollups.SUMS`: counts, tokens, nanodollars, all of them always present. A value `other`
stands for what a full shard collapsed, and for groups beyond the dearest `GROUPS_MAX` of the whole range;
sums are complete all the same. All buckets and both sides of a comparison name the same groups. An empty
value is what no caller laid claim to: a group of its own, never spread over others.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from metering.buckets import (
    BUCKET_WIDTHS,
    EARLIEST,
    LATEST,
    RANGE_MAX,
    Earlier,
    Range,
    bucket_edges,
    range_before,
    whole_quarters,
    zone_named,
)
from metering.day_memory import NO_MEMORY, DayMemory
from metering.errors import InvalidInput
from metering.latencies import Latencies, Latency, ModelLatency
from metering.quarters import DayRollups, Within, open_room, rollups_between, rollups_within
from metering.questions import AnyQuestion, Question
from metering.rollups import DIMENSIONS, KINDS_OF, OTHER, QUARTER, Amounts, Kind, quarter_of
from metering.stores import DocumentStore
from metering.usage_groups import Group, Grouping, Groups, UsageGroup, add, completed, total, zeros

FILTER_VALUES_MAX = 100
TOP_MAX = 5
PARTS_MAX = 100_000  # of all rows of a breakdown, while it is read

NOW, THEN = 0, 1  # the sides of a comparison

GROUPABLE = (*DIMENSIONS["main"], "key_id", "prompt_template_id", "prompt_fingerprint")
_KNOWN: dict[Kind, tuple[str, ...]] = {  # which dimensions go together
    kind: tuple(dict.fromkeys(name for each in KINDS_OF.get(kind, (kind,)) for name in DIMENSIONS[each]))
    for kind in ("main", "key", "template")
}
_ALONE: dict[str, Kind] = {
    "key_id": "key",
    "prompt_template_id": "template",
    "prompt_fingerprint": "template",
}
_NO_ZONE = "give an IANA zone, for example Europe/Berlin"


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to sum up, and how to cut it.

    `start` is inclusive, `end` exclusive. `group_by` and `filters` take the names of `GROUPABLE`; `key_id`
    goes with `provider` and `model` only, and so do `prompt_template_id` and `prompt_fingerprint`, of which a
    call has one at most: it is told by its fingerprint where it names no template. A filter passes any of its
    values.
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
        if zone_named(self.timezone) is None:
            found.append(InvalidInput(_NO_ZONE, "timezone"))
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
            known = [each for each in _KNOWN[_ALONE[name]] if each != name]
            if used - {name, *known}:
                text = f"{name} goes with {', '.join(known[:-1])} and {known[-1]} only"
                found.append(InvalidInput(text, name))
        return found

    def check(self) -> None:
        """Raises: InvalidInput, with everything that is wrong with the query."""
        complaints = self.complaints()
        if complaints:
            raise InvalidInput(complaints[0].message, complaints[0].param, tuple(complaints))

    @property
    def kind(self) -> Kind:
        """The kind of cell that answers the query."""
        used = {*self.group_by, *self.filters}
        return next((kind for name, kind in _ALONE.items() if name in used), "main")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """That kind, with those that are read as one with it."""
        return KINDS_OF.get(self.kind, (self.kind,))


class UsageBucket(msgspec.Struct, frozen=True, kw_only=True):
    """One bucket of time, half-open; no groups where nothing happened. Dearest group first."""

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


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of a range of whole quarter hours, by group and of all. Dearest group first."""

    range: Range
    groups: tuple[UsageGroup, ...]
    sums: Amounts


class ComparedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one combination in a range, and in the one before; all 0 where there was nothing."""

    values: dict[str, str]
    sums: Amounts
    sums_before: Amounts


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A range beside an earlier one, by group (dearest now first) and of all.

    Calls before `complete_to` are all counted; it is the range's end, or not long before.
    """

    complete_to: datetime
    range: Range
    range_before: Range
    groups: tuple[ComparedGroup, ...]
    sums: Amounts
    sums_before: Amounts


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What of a row has this value of a further dimension."""

    value: str
    requests: int
    cost_nanodollars: int


class BreakdownRow(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one combination, and `{further dimension: its dearest values}`, at most `TOP_MAX` each.

    `latency` is told of models, where no filter leaves out some of their calls.
    """

    values: dict[str, str]
    sums: Amounts
    parts: dict[str, tuple[Part, ...]]
    latency: Latency | None = None


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """A range of whole quarter hours, cut by some dimensions. Dearest row first; `sums` are those of all."""

    range: Range
    rows: tuple[BreakdownRow, ...]
    sums: Amounts


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """An account at a glance, in days of one zone.

    `seven_days` is today and the six days before; `days` are those and this month's so far, oldest first.
    `unallocated` is what of this month names no team; `top_models` and `top_teams` are this month's dearest.
    """

    today: Amounts
    seven_days: Amounts
    month: Amounts
    unallocated: Amounts
    days: tuple[DaySums, ...]
    top_models: tuple[UsageGroup, ...]
    top_teams: tuple[UsageGroup, ...]


class Statistics:
    """Answers about one account at a time. A store failure passes to the caller: no figure is made up.

    Every question takes a `UsageQuery` and raises InvalidInput with every complaint about it. With a
    `memory` of what days came to, the same is answered sooner.
    """

    def __init__(self, store: DocumentStore, memory: DayMemory = NO_MEMORY) -> None:
        self._store = store
        self._memory = memory

    def usage(self, account_id: str, query: UsageQuery, *, open_max: int | None = None) -> UsageReport:
        """The sums that the query asks for, bucket by bucket.

        With `open_max`, the last quarter hours are left out where they are in more documents than that.
        """
        query.check()
        edges = bucket_edges(query.start, query.end, query.bucket_width, ZoneInfo(query.timezone))
        groups = Groups(query.group_by)
        asked = Question(
            lambda quarter: bisect_right(edges, quarter) - 1,
            Grouping(query.kind, query.group_by, query.filters),
        )
        range_ = Range(edges[0], edges[-1])
        for day in self._days(account_id, range_, query.kinds, asked, open_max=open_max):
            for (bucket, group), amounts in day.summed(asked).items():
                groups.add(group, amounts, bucket)
        buckets = groups.by_part(len(edges) - 1)
        return UsageReport(
            start=edges[0],
            end=edges[-1],
            buckets=tuple(
                UsageBucket(start=start, end=end, groups=told)
                for start, end, told in zip(edges, edges[1:], buckets, strict=False)
            ),
            sums=total(group.sums for told in buckets for group in told),
        )

    def totals(self, account_id: str, query: UsageQuery) -> Totals:
        """The sums of the range as a whole; the query's bucket width plays no part but for how long it is."""
        query.check()
        range_ = whole_quarters(query.start, query.end)
        groups, asked = Groups(query.group_by), _of_all_the_range(query)
        _add_days(groups, self._days(account_id, range_, query.kinds, asked), asked)
        told = groups.dearest()
        return Totals(range=range_, groups=told, sums=total(group.sums for group in told))

    def comparison(self, account_id: str, query: UsageQuery, earlier: Earlier = "period") -> Comparison:
        """The range beside the one before it (`buckets.range_before`). They may not overlap."""
        query.check()
        range_ = whole_quarters(query.start, query.end)
        # Widened first: else both would count the quarter hour in which one ends and the other starts.
        before = range_before(range_.start, range_.end, ZoneInfo(query.timezone), earlier)
        if before.end > range_.start:
            raise InvalidInput(
                f"compared with the {earlier} before, a range is a {earlier} at most", "start_time"
            )
        groups = Groups(query.group_by)
        room = open_room((range_.start, range_.end), (before.start, before.end))
        asked = _of_all_the_range(query)
        read = self._within(account_id, range_, query.kinds, (asked,), room)
        _add_days(groups, read.days, asked, NOW)
        read_before = self._within(account_id, before, query.kinds, (asked,), max(0, room - read.opened))
        _add_days(groups, read_before.days, asked, THEN)
        is_all_of_it = read_before.complete_to == before.end
        told = compared(groups)
        return Comparison(
            complete_to=read.complete_to if is_all_of_it else read_before.complete_to,
            range=range_,
            range_before=before,
            groups=told,
            sums=total(group.sums for group in told),
            sums_before=total(group.sums_before for group in told),
        )

    def breakdown(self, account_id: str, query: UsageQuery, within: Sequence[str] = ()) -> Breakdown:
        """The range by what the query groups by, and each row of it by each dimension of `within` on its own.

        Cut by key or prompt template, nothing but provider and model is known: else `within` is left out.
        Where all rows have more than `PARTS_MAX` parts, the rows that were dearest until then keep their
        names; beyond as many parts of these, those that are new are `other`.
        """
        query.check()
        within = [name for name in within if name in _KNOWN[query.kind]]
        range_ = whole_quarters(query.start, query.end)
        rows = _Rows(query.group_by, within)
        latencies = Latencies() if _tells_latencies(query) else None
        kinds: tuple[Kind, ...] = query.kinds if latencies is None else (*query.kinds, "latency")
        asked = Question(lambda _: 0, Grouping(query.kind, (*query.group_by, *within), query.filters))
        histograms = _histograms(lambda _: 0, query.filters)
        questions = (asked,) if latencies is None else (asked, histograms)
        for day in self._days(account_id, range_, kinds, *questions):
            for (_, values), amounts in day.summed(asked).items():
                rows.add(values, amounts)
                if latencies is not None:
                    latencies.count((values[0], values[1]), 0, amounts)
            if latencies is not None:
                _add_histograms(latencies, day, histograms)
        told = rows.dearest(latencies)
        return Breakdown(range=range_, rows=told, sums=total(row.sums for row in told))

    def overview(self, account_id: str, now: datetime, timezone: str = "UTC") -> Overview:
        """The account at a glance. Raises: InvalidInput, for a zone that does not exist."""
        zone = zone_named(timezone)
        if zone is None:
            raise InvalidInput(_NO_ZONE, "timezone")
        today = now.astimezone(zone).date()
        first = min(today.replace(day=1), today - timedelta(days=6))
        days: dict[date, Amounts] = {}
        models, teams, unallocated = Groups(("provider", "model")), Groups(("team",)), zeros()
        # A day more at the front, since the zone's day may begin up to 14 hours before the UTC day.
        start = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=1)
        asked = Question(
            lambda quarter: quarter.astimezone(zone).date(),
            Grouping("main", ("provider", "model", "team"), {}),
        )
        for found in self._days(account_id, Range(start, quarter_of(now) + QUARTER), ("main",), asked):
            for (day, (provider, model, team)), amounts in found.summed(asked).items():
                add(days.setdefault(day, zeros()), amounts)
                if day >= today.replace(day=1):
                    models.add((provider, model), amounts)
                    teams.add((team,), amounts)
                    if not team:
                        add(unallocated, amounts)
        calendar = [first + timedelta(days=number) for number in range((today - first).days + 1)]
        return Overview(
            today=days.get(today, zeros()),
            seven_days=total(days.get(day, {}) for day in calendar if day > today - timedelta(days=7)),
            month=total(days.get(day, {}) for day in calendar if day >= today.replace(day=1)),
            unallocated=unallocated,
            days=tuple(DaySums(day=day, sums=days.get(day, zeros())) for day in calendar),
            top_models=models.dearest()[:TOP_MAX],
            top_teams=teams.dearest()[:TOP_MAX],
        )

    def latency(
        self, account_id: str, query: UsageQuery, *, in_buckets: bool = False
    ) -> tuple[ModelLatency, ...]:
        """How fast the models answered in the range, most used first; with their buckets, where asked for.

        The query's groups play no part, and its filters are of provider and model only.
        """
        query.check()
        if query.filters.keys() - {"provider", "model"}:
            raise InvalidInput("latencies are known by provider and model only", min(query.filters))
        edges = bucket_edges(query.start, query.end, query.bucket_width, ZoneInfo(query.timezone))
        buckets = dict(enumerate(map(Range, edges, edges[1:]))) if in_buckets else {}
        latencies = Latencies()

        def bucket_of(quarter: datetime) -> int:
            return bisect_right(edges, quarter) - 1 if in_buckets else 0

        calls = Question(
            bucket_of, Grouping("main", ("provider", "model"), query.filters), {"requests", "errors"}
        )
        histograms = _histograms(bucket_of, query.filters)
        range_ = Range(edges[0], edges[-1])
        for day in self._days(account_id, range_, ("main", "latency"), calls, histograms):
            for (bucket, (provider, model)), amounts in day.summed(calls).items():
                latencies.count((provider, model), bucket, amounts)
            _add_histograms(latencies, day, histograms)
        return latencies.by_model(buckets)

    def _days(
        self,
        account_id: str,
        range_: Range,
        kinds: Sequence[Kind],
        *questions: AnyQuestion,
        open_max: int | None = None,
    ) -> Iterable[DayRollups]:
        if open_max is None:
            return rollups_between(
                self._store,
                account_id,
                range_.start,
                range_.end,
                *kinds,
                memory=self._memory,
                questions=questions,
            )
        return self._within(account_id, range_, kinds, questions, open_max).days

    def _within(
        self,
        account_id: str,
        range_: Range,
        kinds: Sequence[Kind],
        questions: Sequence[AnyQuestion],
        open_max: int,
    ) -> Within:
        return rollups_within(
            self._store,
            account_id,
            range_.start,
            range_.end,
            *kinds,
            open_max=open_max,
            memory=self._memory,
            questions=questions,
        )


class _Rows:
    """The rows of a breakdown, as they are added up."""

    def __init__(self, group_by: Sequence[str], within: Sequence[str]) -> None:
        self._groups = Groups(group_by)
        self._width = len(group_by)
        self._within = tuple(within)
        # By row: requests and cost by the number of the further dimension and its value.
        self._parts: dict[Group, dict[tuple[int, str], tuple[int, int]]] = {}
        self._parts_left = PARTS_MAX

    def add(self, values: tuple[str, ...], amounts: Mapping[str, int]) -> None:
        row = self._groups.add(values[: self._width], amounts)
        parts = self._parts.setdefault(row, {})
        for number, value in enumerate(values[self._width :]):
            part = (number, value)
            if part not in parts:
                if self._parts_left > 0:
                    self._parts_left -= 1
                else:
                    part = (number, OTHER)
            _count(parts, part, amounts.get("requests", 0), amounts.get("cost_nanodollars", 0))
        if self._parts_left == 0 and not self._groups.is_full:
            self._fold()

    def dearest(self, latencies: Latencies | None) -> tuple[BreakdownRow, ...]:
        self._fold()
        groups = [(tuple(group.values.values()), group) for group in self._groups.dearest()]
        named = {row for row, _ in groups if row != self._groups.other}
        return tuple(
            BreakdownRow(
                values=group.values,
                sums=group.sums,
                parts=self._dearest_parts(row),
                latency=None if latencies is None else self._latency(latencies, group, named),
            )
            for row, group in groups
        )

    def _fold(self) -> None:
        """Keep the rows that would be told now; what the others are made of is `other`'s."""
        self._groups.fold()
        for row in [row for row in self._parts if row not in self._groups]:
            of_other = self._parts.setdefault(self._groups.other, {})
            for part, (requests, cost) in self._parts.pop(row).items():
                _count(of_other, part, requests, cost)
        self._parts_left = max(0, PARTS_MAX - sum(map(len, self._parts.values())))

    def _dearest_parts(self, row: Group) -> dict[str, tuple[Part, ...]]:
        found: list[list[Part]] = [[] for _ in self._within]
        for (number, value), (requests, cost) in self._parts.get(row, {}).items():
            found[number].append(Part(value=value, requests=requests, cost_nanodollars=cost))
        for parts in found:
            parts.sort(key=lambda part: (-part.cost_nanodollars, -part.requests, part.value))
        return {name: tuple(parts[:TOP_MAX]) for name, parts in zip(self._within, found, strict=True)}

    def _latency(self, latencies: Latencies, group: UsageGroup, named: Collection[Group]) -> Latency:
        model = (group.values["provider"], group.values["model"])
        if self._groups.is_folded and model == self._groups.other:
            return latencies.of_all_but(named)
        return latencies.of(model)


def _count(
    parts: dict[tuple[int, str], tuple[int, int]], part: tuple[int, str], requests: int, cost: int
) -> None:
    had = parts.get(part, (0, 0))
    parts[part] = (had[0] + requests, had[1] + cost)


def _of_all_the_range(query: UsageQuery) -> Question[int, tuple[str, ...]]:
    return Question(lambda _: 0, Grouping(query.kind, query.group_by, query.filters))


def _add_days(
    groups: Groups, days: Iterable[DayRollups], asked: Question[int, tuple[str, ...]], side: int = NOW
) -> None:
    for day in days:
        for (_, group), amounts in day.summed(asked).items():
            groups.add(group, amounts, side)


def compared(groups: Groups) -> tuple[ComparedGroup, ...]:
    """The groups of a range (part `NOW`) and the one before (`THEN`), dearest now first."""
    found = [
        ComparedGroup(
            values=groups.named(group),
            sums=completed(sides.get(NOW, {})),
            sums_before=completed(sides.get(THEN, {})),
        )
        for group, sides in groups.told().items()
    ]
    return tuple(sorted(found, key=_dearest_now))


def _tells_latencies(query: UsageQuery) -> bool:
    return query.group_by == ("provider", "model") and not query.filters.keys() - {"provider", "model"}


def _histograms(
    bucket_of: Callable[[datetime], int], filters: Mapping[str, Sequence[str]]
) -> Question[int, tuple[str, ...]]:
    # What else is filtered, a latency is not known by: then it is not asked for either.
    return Question(bucket_of, Grouping("latency", ("provider", "model"), filters))


def _add_histograms(
    latencies: Latencies, day: DayRollups, histograms: Question[int, tuple[str, ...]]
) -> None:
    for (bucket, (provider, model)), amounts in day.summed(histograms).items():
        latencies.measure((provider, model), bucket, amounts)


def _dearest_now(group: ComparedGroup) -> tuple[int, int, tuple[str, ...]]:
    return (
        -group.sums["cost_nanodollars"],
        -group.sums_before["cost_nanodollars"],
        tuple(group.values.values()),
    )


def _complaints_of_range(start: datetime, end: datetime, bucket_width: str) -> list[InvalidInput]:
    found: list[InvalidInput] = []
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment.utcoffset() is None:
            found.append(InvalidInput("give the moment's offset from UTC, for example …T00:00:00Z", name))
        elif not EARLIEST <= moment <= LATEST:
            found.append(InvalidInput(f"give a moment from {EARLIEST.year} to {LATEST.year}", name))
    if bucket_width not in RANGE_MAX:
        found.append(InvalidInput(f"use one of {', '.join(BUCKET_WIDTHS)}", "bucket_width"))
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
