"""Reports: what a calendar week, month or quarter cost, beside the true period before it. Reads rollups.

A report is about one whole period of a zone's calendar, compared with the whole one before it: October with
September, however long they are. A period that is not over yet is told up to now, and compared with as much
of the period before as has passed of it (or all of that, where it was shorter).

Documents read: one a UTC day of either period, and the open quarter hours: some 65 for a month, and at most a
hundred where the asker wants no more. Then a period may end a little before now (`Report.covered`).

Recommendations are findings of the report's own figures (`FINDINGS`), each saying from which.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

import msgspec

from metering.buckets import EARLIEST, LATEST, Range, zone_named
from metering.day_memory import NO_MEMORY, DayMemory
from metering.errors import InvalidInput, NotFound
from metering.periods import period_of
from metering.quarters import open_room, rollups_between, rollups_within
from metering.questions import Question
from metering.rollups import OTHER, QUARTER, Amounts, quarter_of
from metering.stats import NOW, THEN, ComparedGroup, DaySums, compared
from metering.stores import DocumentStore
from metering.usage_groups import Grouping, Groups, add, total, zeros

ReportKind = Literal["weekly", "monthly", "quarterly"]
REPORT_KINDS: Final[tuple[ReportKind, ...]] = get_args(ReportKind)
LISTED: Final[Mapping[ReportKind, int]] = {"weekly": 26, "monthly": 6, "quarterly": 4}
TOP_MAX: Final = 10
CUTS: Final = ("team", "model", "feature")  # what spend is told by

MODEL_PERCENT_MIN: Final = 60
GROWTH_PERCENT_MIN: Final = 20
TEAM_GROWTH_PERCENT_MIN: Final = 50
FEATURE_COST_TIMES_MEDIAN: Final = 2
FEATURES_FOR_A_MEDIAN_MIN: Final = 3
PROMPT_CACHE_PERCENT_MIN: Final = 10
PROMPT_TOKENS_MIN: Final = 10_000_000  # fewer are not worth a word about caching
UNALLOCATED_PERCENT_MIN: Final = 10
SAID_SINGLY_MAX: Final = 3  # of one kind

_QUARTER: Final = re.compile(r"([0-9]{4})-Q([1-4])")
_TEXTS: Final[Mapping[ReportKind, re.Pattern[str]]] = {
    "weekly": re.compile(r"[0-9]{4}-W[0-9]{2}"),
    "monthly": re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])"),
    "quarterly": _QUARTER,
}
_ALL: Final = Grouping("main", (), {})
_BY_CUT: Final = {name: Grouping("main", (name,), {}) for name in CUTS}


class ReportPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """One period of a zone's calendar: `2026-W47`, `2026-11` or `2026-Q4`; half-open, in UTC."""

    text: str
    kind: ReportKind
    timezone: str
    start: datetime
    end: datetime

    def is_over(self, now: datetime) -> bool:
        """Whether nothing more is admitted in it."""
        return self.end <= now


FindingKind = Literal[
    "growth", "team_growth", "one_model", "dear_feature", "prompt_cache", "unpriced", "unallocated"
]


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the figures speak for. `how` says from which they were reckoned, `subject` whose."""

    kind: FindingKind
    subject: str
    title: str
    how: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a period cost. `covered` is what of it is told of, `covered_before` what that is compared with.

    `cuts` are the groups by each of `CUTS`, dearest now first; what names no team is a group with an empty
    value.
    """

    period: ReportPeriod
    before: ReportPeriod
    covered: Range
    covered_before: Range
    is_complete: bool
    sums: Amounts
    sums_before: Amounts
    days: tuple[DaySums, ...]
    cuts: dict[str, tuple[ComparedGroup, ...]]
    recommendations: tuple[Recommendation, ...]


def report_period(kind: ReportKind, timezone: str, moment: datetime) -> ReportPeriod:
    """The period of that kind that the moment lies in. Raises: InvalidInput, where there is no such zone."""
    if zone_named(timezone) is None:
        raise InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone")
    if kind == "weekly":
        week = period_of("week", timezone, moment)
        text = week.text.partition("@")[0]
        return ReportPeriod(text=text, kind=kind, timezone=timezone, start=week.starts_at, end=week.ends_at)
    month = period_of("month", timezone, moment)
    first = month.starts_at.astimezone(ZoneInfo(timezone)).date().replace(day=1)
    if kind == "monthly":
        return _of_months(kind, timezone, first, 1)
    return _of_months(kind, timezone, first.replace(month=first.month - (first.month - 1) % 3), 3)


def period_before(period: ReportPeriod) -> ReportPeriod:
    """The one that ends where it begins."""
    return report_period(period.kind, period.timezone, period.start - timedelta(microseconds=1))


def period_named(text: str, timezone: str) -> ReportPeriod:
    """The period of that text. Raises: NotFound, for what is none; InvalidInput, for no zone."""
    if zone_named(timezone) is None:
        raise InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone")
    kind = next((kind for kind, form in _TEXTS.items() if form.fullmatch(text)), None)
    if kind is not None and EARLIEST.year <= int(text[:4]) < LATEST.year:
        try:
            # Noon, since a zone may skip its midnight.
            moment = datetime.combine(_first_day(kind, text), datetime.min.time(), ZoneInfo(timezone))
            period = report_period(kind, timezone, moment.astimezone(UTC) + timedelta(hours=12))
        except ValueError:
            pass  # a year has no such week
        else:
            if period.text == text:
                return period
    raise NotFound("there is no such period; they are written 2026-W47, 2026-11 or 2026-Q4")


def listed_periods(kind: ReportKind, timezone: str, now: datetime) -> list[ReportPeriod]:
    """The periods there are reports of: the present one, and so many before it (`LISTED`); latest first."""
    periods = [report_period(kind, timezone, now)]
    while len(periods) <= LISTED[kind]:
        periods.append(period_before(periods[-1]))
    return periods


class Reports:
    """Makes reports of one account at a time, with a `memory` of what days came to sooner.

    A store failure passes to the caller: no figure is made up.
    """

    def __init__(self, store: DocumentStore, memory: DayMemory = NO_MEMORY) -> None:
        self._store = store
        self._memory = memory

    def report(
        self, account_id: str, period: ReportPeriod, now: datetime, *, in_few_reads: bool = False
    ) -> Report:
        """The report of that period as of now. Raises: NotFound, for one that has not begun.

        `in_few_reads`: a month's is of at most a hundred documents, and where an account's last quarter hours
        are in too many, they are left out until they are compacted.
        """
        if period.start >= now:
            raise NotFound("that period has not begun")
        before = period_before(period)
        covered = Range(period.start, min(period.end, quarter_of(now) + QUARTER))
        room = None
        if in_few_reads:
            before_end = before.end if period.is_over(now) else _as_far(before, covered)
            room = open_room((covered.start, covered.end), (before.start, before_end))
        zone = ZoneInfo(period.timezone)
        groups = {name: Groups((name,)) for name in CUTS}
        cuts_now, cuts_then = (_Cuts(zone, self._memory, groups, side) for side in (NOW, THEN))
        covered = Range(covered.start, cuts_now.read(self._store, account_id, covered, room))
        is_complete = covered.end == period.end and period.is_over(now)
        covered_before = Range(before.start, before.end if is_complete else _as_far(before, covered))
        cuts_then.read(self._store, account_id, covered_before, room)
        cuts = {name: compared(groups[name]) for name in CUTS}
        sums, sums_before = total(cuts_now.days.values()), total(cuts_then.days.values())
        return Report(
            period=period,
            before=before,
            covered=covered,
            covered_before=covered_before,
            is_complete=is_complete,
            sums=sums,
            sums_before=sums_before,
            days=tuple(_days(cuts_now.days, covered, zone)),
            cuts=cuts,
            recommendations=tuple(
                each for find in FINDINGS for each in _first(find(_Figures(sums, sums_before, cuts)))
            ),
        )


def _as_far(before: ReportPeriod, covered: Range) -> datetime:
    """Up to when as much of the period before has passed, or all of it."""
    return min(before.end, before.start + (covered.end - covered.start))


class _Cuts:
    """A range's sums by day of the zone, and its side of the groups by each of `CUTS`."""

    def __init__(self, zone: ZoneInfo, memory: DayMemory, groups: Mapping[str, Groups], side: int) -> None:
        self.days: dict[date, Amounts] = {}
        self._groups = groups
        self._side = side
        self._zone = zone
        self._memory = memory

    def read(self, store: DocumentStore, account_id: str, range_: Range, room: int | None) -> datetime:
        """Add the range, in so many open documents where there is a bound; up to when that is."""
        by_day = Question(self._day_of, _ALL)
        by_cut = {name: Question(lambda _: True, grouping) for name, grouping in _BY_CUT.items()}
        asked: dict[str, Any] = {"memory": self._memory, "questions": (by_day, *by_cut.values())}
        start, end = range_.start, range_.end
        complete_to, days = end, rollups_between(store, account_id, start, end, "main", **asked)
        if room is not None:
            complete_to, _, days = rollups_within(
                store, account_id, start, end, "main", open_max=room, **asked
            )
        for found in days:
            for (day, _), amounts in found.summed(by_day).items():
                add(self.days.setdefault(day, zeros()), amounts)
            for name, question in by_cut.items():
                for (_, group), amounts in found.summed(question).items():
                    self._groups[name].add(group, amounts, self._side)
        return complete_to

    def _day_of(self, quarter: datetime) -> date:
        return quarter.astimezone(self._zone).date()


class _Figures(NamedTuple):
    sums: Amounts
    sums_before: Amounts
    cuts: Mapping[str, Sequence[ComparedGroup]]


def _days(found: Mapping[date, Amounts], covered: Range, zone: ZoneInfo) -> Iterator[DaySums]:
    day = covered.start.astimezone(zone).date()
    last = (covered.end - timedelta(microseconds=1)).astimezone(zone).date()
    while day <= last:
        yield DaySums(day=day, sums=found.get(day) or zeros())
        day += timedelta(days=1)


# What figures speak for


def _growth(figures: _Figures) -> Iterator[Recommendation]:
    now, before = _cost(figures.sums), _cost(figures.sums_before)
    if before and 100 * (now - before) >= GROWTH_PERCENT_MIN * before:
        yield Recommendation(
            kind="growth",
            subject="",
            title=f"Look into what grew: spend is up {_percent(now - before, before)} %",
            how=f"{usd(now)} in this period, {usd(before)} in the one before.",
        )


def _team_growth(figures: _Figures) -> Iterator[Recommendation]:
    for each in figures.cuts["team"]:
        now, before, team = _cost(each.sums), _cost(each.sums_before), each.values["team"]
        if team and team != OTHER and before and 100 * (now - before) >= TEAM_GROWTH_PERCENT_MIN * before:
            yield Recommendation(
                kind="team_growth",
                subject=team,
                title=f"Ask {team} what changed: its spend is up {_percent(now - before, before)} %",
                how=f"{usd(now)} in this period, {usd(before)} in the one before.",
            )


def _one_model(figures: _Figures) -> Iterator[Recommendation]:
    whole = _cost(figures.sums)
    for each in figures.cuts["model"][:1]:
        cost, model = _cost(each.sums), each.values["model"]
        if whole and model != OTHER and 100 * cost > MODEL_PERCENT_MIN * whole:
            yield Recommendation(
                kind="one_model",
                subject=model,
                title=f"See whether all calls of {model} need it: it is {_percent(cost, whole)} % of spend",
                how=f"{usd(cost)} of {usd(whole)}. GET /v1/suggestions prices its tokens on other models.",
            )


def _dear_feature(figures: _Figures) -> Iterator[Recommendation]:
    features = [
        each
        for each in figures.cuts["feature"]
        if each.values["feature"] not in {"", OTHER} and each.sums["requests"] and _cost(each.sums)
    ]
    if len(features) < FEATURES_FOR_A_MEDIAN_MIN:
        return
    costs = sorted(_cost(each.sums) // each.sums["requests"] for each in features)
    median = costs[len(costs) // 2]
    for each in features:
        per_call, feature = _cost(each.sums) // each.sums["requests"], each.values["feature"]
        if per_call > FEATURE_COST_TIMES_MEDIAN * median:
            yield Recommendation(
                kind="dear_feature",
                subject=feature,
                title=f"Look at prompts and model of {feature}: a call costs far more than elsewhere",
                how=f"{usd(_cost(each.sums))} for {each.sums['requests']:,} calls, {usd(per_call)} each;"
                f" the median of {len(features)} features is {usd(median)}.",
            )


def _prompt_cache(figures: _Figures) -> Iterator[Recommendation]:
    sums = figures.sums
    read = sums["cache_read_tokens"]
    prompt = sums["input_tokens"] + read + sums["cache_write_5m_tokens"] + sums["cache_write_1h_tokens"]
    if prompt >= PROMPT_TOKENS_MIN and 100 * read < PROMPT_CACHE_PERCENT_MIN * prompt:
        yield Recommendation(
            kind="prompt_cache",
            subject="",
            title="Let providers cache what prompts have in common: hardly any of them is read from a cache",
            how=f"{read:,} of {prompt:,} tokens of prompt were read from a provider's cache.",
        )


def _unpriced(figures: _Figures) -> Iterator[Recommendation]:
    for each in figures.cuts["model"]:
        count, calls = each.sums["unpriced_requests"], each.sums["requests"]
        if count:
            yield Recommendation(
                kind="unpriced",
                subject=each.values["model"],
                title=f"State a price for {each.values['model'] or 'calls without a model'}: sums lack it",
                how=f"{count:,} of its {calls:,} calls have no known price.",
            )


def _unallocated(figures: _Figures) -> Iterator[Recommendation]:
    whole = _cost(figures.sums)
    for each in figures.cuts["team"]:
        cost = _cost(each.sums)
        if not each.values["team"] and cost and 100 * cost >= UNALLOCATED_PERCENT_MIN * whole:
            yield Recommendation(
                kind="unallocated",
                subject="",
                title=f"Have calls name their team: {_percent(cost, whole)} % of spend names none",
                how=f"{usd(cost)} of {usd(whole)}. A key may also be pinned to a team.",
            )


FINDINGS: Final[Sequence[Callable[[_Figures], Iterator[Recommendation]]]] = (
    _growth,  # total up by 20 %
    _team_growth,  # a team up by 50 %
    _one_model,  # more than 60 % on one model
    _dear_feature,  # a call costs more than twice the median of all features
    _prompt_cache,  # less than 10 % of many prompt tokens read from a cache
    _unpriced,  # calls whose cost nobody knows
    _unallocated,  # at least 10 % names no team
)


def _first(found: Iterator[Recommendation]) -> list[Recommendation]:
    return [each for each, _ in zip(found, range(SAID_SINGLY_MAX), strict=False)]


def usd(nanodollars: int) -> str:
    """The amount for reading: whole cents, and below a dollar four figures."""
    if 0 < abs(nanodollars) < 1_000_000_000:
        return f"${Decimal(nanodollars).scaleb(-9):.4g}"
    cents = (nanodollars + 5_000_000) // 10_000_000
    return f"${cents // 100:,}.{cents % 100:02d}"


def _cost(sums: Mapping[str, int]) -> int:
    return sums["cost_nanodollars"]


def _percent(part: int, whole: int) -> int:
    return (200 * part + whole) // (2 * whole)


def _of_months(kind: ReportKind, timezone: str, first: date, months: int) -> ReportPeriod:
    zone = ZoneInfo(timezone)
    number = first.year * 12 + first.month - 1 + months
    text = f"{first:%Y-%m}" if months == 1 else f"{first.year:04}-Q{(first.month + 2) // 3}"
    start, end = (
        datetime.combine(day, datetime.min.time(), zone).astimezone(UTC)
        for day in (first, date(number // 12, number % 12 + 1, 1))
    )
    return ReportPeriod(text=text, kind=kind, timezone=timezone, start=start, end=end)


def _first_day(kind: ReportKind, text: str) -> date:
    if kind == "weekly":
        return date.fromisocalendar(int(text[:4]), int(text[6:]), 1)
    if kind == "monthly":
        return date.fromisoformat(f"{text}-01")
    return date(int(text[:4]), 3 * int(text[6]) - 2, 1)
