"""What an account's rollups say of the days ahead, of odd hours and of money to save.

Reads rollups and hands them to the modules that reckon: `forecasts`, `anomalies`, `mixes`. Documents read,
one a UTC day, beside the open shards of the last hour:

| question | days read |
|---|---|
| a forecast, of whatever horizon, and scenarios | `forecasts.HISTORY_DAYS_MAX` + 2 = 86 |
| anomalies of a day, of a week | 30, 36 |
| mixes: suggestions, similar features | 31 |

A forecast has no room for the open shards of an account that many instances write for: beyond a few of them
(`quarters.open_room`) it is made as of the last quarter hour that is compacted, an hour ago at most.

A store failure passes to the caller: no figure is made up.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from heapq import nsmallest
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from metering.anomalies import COMPARED_DAYS, MATERIAL_NANODOLLARS, Anomaly, Hours
from metering.day_memory import NO_MEMORY, DayMemory
from metering.errors import InvalidInput
from metering.forecasts import HISTORY_DAYS_MAX, Forecast, Range, forecast
from metering.ids import repeatable_digest
from metering.mixes import Mix, Model, mix_of
from metering.periods import is_timezone
from metering.quarters import DayRollups, Within, open_room, rollups_between, rollups_within
from metering.questions import AnyQuestion, Question
from metering.rollups import DIMENSIONS, OTHER, QUARTER, Amounts, Kind, quarter_of
from metering.stores import DocumentStore
from metering.usage_groups import Group, Grouping, add

MIX_DAYS: Final = 30
ANOMALY_DAYS_MAX: Final = 7
TEAMS_MAX: Final = 1_000  # judged one by one, the dearest; all others are judged together, as `other`
TEAMS_HELD_MAX: Final = 5_000  # until all is read, and known which these are
TEAM_HOURS_HELD_MAX: Final = 1_000_000  # hours in which a team spent something, and models of such hours
ANOMALIES_MAX: Final = 1_000
MIXES_MAX: Final = 10_000
MIXES_HELD_MAX: Final = 40_000  # until all is read, and known which are dearest

Filters = Mapping[str, Sequence[str]]

_DAY: Final = timedelta(days=1)
_COST: Final = "cost_nanodollars"


class DailySpend(msgspec.Struct, frozen=True, kw_only=True):
    """What each complete day of a zone cost, oldest first, and what today has cost so far.

    Calls before `complete_to` are all counted, later ones are not; today is that moment's day.
    """

    today: date
    days: tuple[int, ...]
    today_nanodollars: int
    complete_to: datetime

    @property
    def first(self) -> date:
        """The first of the days."""
        return self.today - len(self.days) * _DAY


class PeriodOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a period has cost so far, and what it is forecast to cost by its end, in nanodollars."""

    spent: int
    by_its_end: Range


class TeamAnomaly(msgspec.Struct, frozen=True, kw_only=True):
    """An odd hour of a team, with its calls, and the model that cost most in it."""

    team: str
    anomaly: Anomaly
    requests: int
    top_model: Model
    top_model_nanodollars: int

    @property
    def anomaly_id(self) -> str:
        """The same for the same team and hour, whenever it is asked for and on whichever zone's clock."""
        return repeatable_digest("anomaly", self.team, self.anomaly.starts_at.isoformat())


class Outlooks:
    """Answers about one account at a time; with a `memory`, of what days came to, sooner."""

    def __init__(self, store: DocumentStore, memory: DayMemory = NO_MEMORY) -> None:
        self._store = store
        self._memory = memory

    def daily_spend(self, account_id: str, now: datetime, timezone: str, filters: Filters) -> DailySpend:
        """What the last days cost. `filters` pass any of their values of `DIMENSIONS` of kind main or key.

        Raises: InvalidInput, for a zone or a mix of dimensions that does not exist.
        """
        spending = _Spending(now, timezone, filters)
        within = self._within(account_id, spending)
        for day in within.days:
            spending.add(day)
        return spending.told(within.complete_to)

    def spend_and_mixes(self, account_id: str, now: datetime, timezone: str) -> tuple[DailySpend, list[Mix]]:
        """`daily_spend` of all calls, and `mixes`, each day read once. Raises: InvalidInput, for no zone."""
        spending, mixes = _Spending(now, timezone, {}), _Mixes(now)
        within = self._within(account_id, spending, mixes.asked)
        for day in within.days:
            spending.add(day)
            mixes.add(day)
        return spending.told(within.complete_to), mixes.told()

    def of_period(
        self, account_id: str, now: datetime, timezone: str, filters: Filters, first: date, end: date
    ) -> PeriodOutlook | None:
        """What the days from `first` to before `end` cost so far and will have cost; today is one of them.

        At most the last `HISTORY_DAYS_MAX` days are looked back upon, so no period may begin earlier. None
        where there is too little history to forecast. Raises: InvalidInput, as `daily_spend`.
        """
        spend = self._daily_spend_so_far(account_id, now, timezone, filters)
        ahead = (end - spend.today).days
        found = forecast(spend.days, max(1, ahead))
        if found is None or ahead < 1 or first < spend.first:
            return None
        before = sum(spend.days[(first - spend.first).days :])
        return PeriodOutlook(spent=before + spend.today_nanodollars, by_its_end=_by_end(found, spend, before))

    def anomalies(
        self,
        account_id: str,
        start: datetime,
        end: datetime,
        timezone: str = "UTC",
        *,
        material: int = MATERIAL_NANODOLLARS,
    ) -> list[TeamAnomaly]:
        """The odd hours of each team in the range, the latest first. At most `ANOMALIES_MAX`.

        `starts_at` is in UTC. Raises: InvalidInput, for a zone that does not exist, an empty range or one
        beyond `ANOMALY_DAYS_MAX`.
        """
        if not is_timezone(timezone):
            raise InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone")
        if start >= end:
            raise InvalidInput("start_time must lie in the past, and before end_time", "start_time")
        if end - start > ANOMALY_DAYS_MAX * _DAY:
            raise InvalidInput(f"give a range of at most {ANOMALY_DAYS_MAX} days", "start_time")
        if quarter_of(start) > quarter_of(end - QUARTER / 2):
            return []  # it began just now: no quarter hour of it is told yet
        table = self._hours(account_id, start.astimezone(UTC), end.astimezone(UTC), ZoneInfo(timezone))
        table.name_dearest()
        found = [anomaly for team in table.spent for anomaly in table.anomalies(team, material)]
        found.sort(key=lambda each: (each.anomaly.starts_at, each.anomaly.spent), reverse=True)
        return found[:ANOMALIES_MAX]

    def _hours(self, account_id: str, start: datetime, end: datetime, zone: ZoneInfo) -> "_HourTable":
        table = _HourTable(start - COMPARED_DAYS * _DAY, start, end, zone)
        by_team = Question(table.place, Grouping("main", ("team",), {}), {_COST})
        by_model = Question(
            table.place,
            Grouping("main", ("team", "provider", "model"), {}),
            {_COST, "requests"},
            since=table.judged,
        )
        for day in self._days(account_id, table.begins, table.ends, "main", by_team, by_model):
            for (place, (team,)), sums in day.summed(by_team).items():
                table.add(team, place, sums.get(_COST, 0))
            for (place, values), sums in day.summed(by_model).items():
                table.add_model(place, values, sums)
        return table

    def mixes(self, account_id: str, now: datetime) -> list[Mix]:
        """What was used in the last `MIX_DAYS` days, by model and feature.

        The dearest `MIXES_MAX` are told by name, the other features of each model together, as `other`.
        """
        mixes = _Mixes(now)
        for day in self._days(account_id, mixes.start, mixes.end, "main", mixes.asked):
            mixes.add(day)
        return mixes.told()

    def _within(self, account_id: str, spending: "_Spending", *more: AnyQuestion) -> Within:
        start, end = spending.start, spending.end
        return rollups_within(
            self._store,
            account_id,
            start,
            end,
            spending.kind,
            open_max=open_room((start, end)),
            memory=self._memory,
            questions=(spending.asked, *more),
        )

    def _days(
        self, account_id: str, start: datetime, end: datetime, kind: Kind, *questions: AnyQuestion
    ) -> Iterator[DayRollups]:
        return rollups_between(
            self._store, account_id, start, end, kind, memory=self._memory, questions=questions
        )

    def _daily_spend_so_far(
        self, account_id: str, now: datetime, timezone: str, filters: Filters
    ) -> DailySpend:
        """`daily_spend` up to now, however many shards are open."""
        spending = _Spending(now, timezone, filters)
        for day in self._days(account_id, spending.start, spending.end, spending.kind, spending.asked):
            spending.add(day)
        return spending.told(now)


def kind_of(filters: Filters) -> Kind:
    """The kind of cell that answers. Raises: InvalidInput, for what no cell holds together."""
    kind: Kind = "key" if "key_id" in filters else "main"
    for name in filters:
        if name not in DIMENSIONS[kind]:
            raise InvalidInput("key_id goes with provider and model only", name)
    return kind


def _by_end(found: Forecast, spend: DailySpend, before: int) -> Range:
    """What was spent before today and the days ahead; today costs no less than it has."""
    ahead = found.between(0, len(found.days))
    today = found.between(0, 1).predicted
    more = max(0, spend.today_nanodollars - today)
    least = before + spend.today_nanodollars
    return Range(
        predicted=before + ahead.predicted + more,
        low=None if ahead.low is None else max(least, before + ahead.low),
        high=None if ahead.high is None else before + ahead.high + more,
    )


class _Spending:
    """What each of the last days of a zone cost, as it is added up. Raises InvalidInput as `daily_spend`."""

    def __init__(self, now: datetime, timezone: str, filters: Filters) -> None:
        if not is_timezone(timezone):
            raise InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone")
        self.kind = kind_of(filters)
        self._zone = ZoneInfo(timezone)
        self._now = now
        self._first = now.astimezone(self._zone).date() - HISTORY_DAYS_MAX * _DAY
        # The zone's day may begin up to 14 hours before the UTC day; skipped midnights are moments, too.
        self.start = quarter_of(datetime.combine(self._first, time(), self._zone).astimezone(UTC))
        self.end = quarter_of(now) + QUARTER
        self.asked = Question(self._day_of, Grouping(self.kind, (), filters), {_COST})
        self._costs: dict[date, int] = {}

    def add(self, day: DayRollups) -> None:
        """Add a UTC day."""
        for (local, _), sums in day.summed(self.asked).items():
            self._costs[local] = self._costs.get(local, 0) + sums.get(_COST, 0)

    def told(self, complete_to: datetime) -> DailySpend:
        """What was added; all of it lies before that moment."""
        complete_to = min(complete_to, self._now)
        today = self._day_of(complete_to)
        return DailySpend(
            today=today,
            days=tuple(
                self._costs.get(self._first + ago * _DAY, 0) for ago in range((today - self._first).days)
            ),
            today_nanodollars=self._costs.get(today, 0),
            complete_to=complete_to,
        )

    def _day_of(self, moment: datetime) -> date:
        return moment.astimezone(self._zone).date()


class _Mixes:
    """What was used in the last `MIX_DAYS` days, as it is added up.

    Which features are told by name is known at the end. Where more would be held by then than may be, those
    that were dearest so far keep their names, and no other wins one.
    """

    def __init__(self, now: datetime) -> None:
        self.start, self.end = quarter_of(now - MIX_DAYS * _DAY), quarter_of(now) + QUARTER
        self._sums: dict[Group, Amounts] = {}
        self._is_full = False
        grouping = Grouping("main", ("provider", "model", "feature"), {})
        self.asked = Question(lambda _: True, grouping, since=self.start)

    def add(self, day: DayRollups) -> None:
        """Add a UTC day, as far as it lies in the range."""
        for (_, group), amounts in day.summed(self.asked).items():
            has_room = group in self._sums or not self._is_full or len(self._sums) < MIXES_MAX
            add(self._sums.setdefault(group if has_room else _of_any_feature(group), {}), amounts)
            if len(self._sums) >= MIXES_HELD_MAX and not self._is_full:
                self._name_dearest()

    def told(self) -> list[Mix]:
        """The mixes of what was added."""
        self._name_dearest()
        return [mix_of(group, amounts) for group, amounts in self._sums.items()]

    def _name_dearest(self) -> None:
        self._is_full = True
        if len(self._sums) <= MIXES_MAX:
            return
        features = [group for group in self._sums if group != _of_any_feature(group)]
        named = set(nsmallest(MIXES_MAX, features, self._rank))
        for group in [each for each in features if each not in named]:
            add(self._sums.setdefault(_of_any_feature(group), {}), self._sums.pop(group))

    def _rank(self, group: Group) -> tuple[bool, int, Group]:
        # What names no feature is never spread over others, however little it cost.
        return group[2] != "", -self._sums[group].get(_COST, 0), group


def _of_any_feature(group: Group) -> Group:
    return (*group[:2], OTHER)


class _HourTable:
    """What the hours of a range cost by team, on a zone's own clock; those from `start` on are judged.

    Which teams are judged by name is known at the end, as with `_Mixes`.
    """

    def __init__(self, begins: datetime, start: datetime, end: datetime, zone: ZoneInfo) -> None:
        self.begins, self.ends = _hour(quarter_of(begins), zone), quarter_of(end - QUARTER / 2) + QUARTER
        self._places: dict[datetime, int] = {}
        self._starts: list[datetime] = []
        quarter, opened = self.begins, None
        while quarter < self.ends:
            hour = _hour(quarter, zone)
            if hour != opened:
                self._starts.append(quarter.astimezone(zone))
                opened = hour
            self._places[quarter] = len(self._starts) - 1
            quarter += QUARTER
        self._first = self._places[quarter_of(start)]
        self.judged = self._starts[self._first].astimezone(UTC)
        self.spent: dict[str, list[int]] = {}
        self._held = 0
        self._is_full = False
        self._models: dict[tuple[int, str], dict[Model, tuple[int, int]]] = {}

    def place(self, quarter: datetime) -> int:
        """Which hour the quarter hour lies in."""
        return self._places[quarter]

    def add(self, team: str, place: int, cost: int) -> None:
        """Add what a team spent in an hour."""
        known = self._known(team)
        hours = self.spent.get(known)
        if hours is None:
            hours = self.spent[known] = [0] * len(self._starts)
        self._held += not hours[place]
        hours[place] += cost
        self._keep_bounds()

    def add_model(self, place: int, values: tuple[str, ...], sums: Mapping[str, int]) -> None:
        """Add what a team spent on a model in an hour that is judged."""
        team, provider, model = values
        models = self._models.setdefault((place, self._known(team)), {})
        before = len(models)
        _add_model(models, Model(provider, model), sums.get(_COST, 0), sums.get("requests", 0))
        self._held += len(models) - before
        self._keep_bounds()

    def name_dearest(self) -> None:
        """Judge all but the dearest `TEAMS_MAX` teams together, from now on too."""
        self._is_full = True
        teams = self.spent.keys() - {OTHER}
        named = nsmallest(TEAMS_MAX, teams, self._rank)
        others = teams.difference(named)
        if not others:
            return
        together = self.spent.setdefault(OTHER, [0] * len(self._starts))
        for team in others:
            for place, cost in enumerate(self.spent.pop(team)):
                together[place] += cost
        for place, team in [each for each in self._models if each[1] not in self.spent]:
            models = self._models.setdefault((place, OTHER), {})
            for model, (cost, requests) in self._models.pop((place, team)).items():
                _add_model(models, model, cost, requests)

    def anomalies(self, team: str, material: int) -> list[TeamAnomaly]:
        """The team's odd hours."""
        hours = Hours(self._starts, self.spent[team])
        found = []
        for place in range(self._first, len(self._starts)):
            anomaly = hours.anomaly(place, material=material)
            if anomaly is not None:
                models = self._models[place, team]
                top = max(models, key=lambda model: (models[model][0], model))
                found.append(
                    TeamAnomaly(
                        team=team,
                        anomaly=msgspec.structs.replace(anomaly, starts_at=anomaly.starts_at.astimezone(UTC)),
                        requests=sum(requests for _, requests in models.values()),
                        top_model=top,
                        top_model_nanodollars=models[top][0],
                    )
                )
        return found

    def _known(self, team: str) -> str:
        has_room = team in self.spent or not self._is_full or len(self.spent) < TEAMS_MAX
        return team if has_room else OTHER

    def _keep_bounds(self) -> None:
        is_much = len(self.spent) >= TEAMS_HELD_MAX or self._held >= TEAM_HOURS_HELD_MAX
        if is_much and not self._is_full:
            self.name_dearest()

    def _rank(self, team: str) -> tuple[bool, int, str]:
        # What names no team is never judged with others, however little it cost.
        return team != "", -sum(self.spent[team]), team


def _add_model(models: dict[Model, tuple[int, int]], model: Model, cost: int, requests: int) -> None:
    known_cost, known_requests = models.get(model, (0, 0))
    models[model] = (known_cost + cost, known_requests + requests)


def _hour(quarter: datetime, zone: ZoneInfo) -> datetime:
    """Where the hour of the zone's clock began that the quarter hour lies in, in UTC."""
    return quarter - timedelta(minutes=quarter.astimezone(zone).minute)
