"""The job `alert`: looks at each account for what it is to be alerted to (`metering.alerting`).

Budgets are looked at in every run; of one with a limit for each value, the `VALUES_A_RUN_MAX` values that
have spent most, and the others once an hour. Once an hour also what is read from rollups (forecasts, odd
hours, models without a price) and the nightly check's results; what has ended is settled then. Documents read
of an account then: 86 for each of at most `FORECASTS_A_LOOK_MAX` budgets, some 65 for the rest.

Forecasts are of budgets with one limit, the nearest to it first; of a limit for each value none is made.

One account's damage leaves no other unlooked at: it is counted, in the log, and tried again.
"""

from collections import Counter
from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from api_service.alerts import Alerts
from api_service.functions.workplace import Workplace
from metering.accounts import Account
from metering.alerting import (
    Calls,
    Finding,
    anomaly_finding,
    budget_findings,
    forecast_finding,
    has_come_right,
    highest_of_plan,
    plan_findings,
    recording_findings,
    unpriced_findings,
    used_of,
)
from metering.budgets import Budget, undated
from metering.collections import alert_look_path, policy_path
from metering.directory import all_accounts, policy_from
from metering.errors import InvalidInput, StoreUnavailable
from metering.file_configuration import NO_FILES, FileConfiguration, WatchedFiles, configuration_files
from metering.nightly_check import checks_since
from metering.outlooks import Filters, Outlooks, PeriodOutlook
from metering.periods import period_of
from metering.plans import plan_named
from metering.standings import BudgetStanding, standings_of
from metering.stats import Statistics, UsageQuery
from metering.stores import Put
from metering.usage_groups import UsageGroup

FORECASTS_A_LOOK_MAX: Final = 20
VALUES_A_RUN_MAX: Final = 50
HOURS_LOOKED_AT: Final = timedelta(hours=3)  # late events still count
CHECKS_BACK: Final = timedelta(days=7)  # how long ago a day may be whose books are told of


class AlertReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to. `broken` are accounts that could not be looked at."""

    fired: int = 0
    settled: int = 0
    looks: int = 0
    broken: int = 0


def run(workplace: Workplace) -> AlertReport:
    """Look at all active accounts. Raises: StoreUnavailable; what was fired by then stays."""
    files = _files(workplace)
    totals: Counter[str] = Counter()
    for account in all_accounts(workplace.store):
        if account.status != "active":
            continue
        try:
            totals += _Look(workplace, account, files).look()
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one account's damage leaves no other unlooked at
            workplace.log.broken(error)
            totals["broken"] += 1
    return AlertReport(**totals)


def _files(workplace: Workplace) -> FileConfiguration:
    settings = workplace.settings
    if settings.is_hosted:
        return NO_FILES
    watched = WatchedFiles(configuration_files(settings.data_dir, settings.routing_file), workplace.clock)
    return watched.look()


class _Look:
    """One look at an account."""

    def __init__(self, workplace: Workplace, account: Account, files: FileConfiguration) -> None:
        self._store = workplace.store
        self._account = account
        self._account_id = account.account_id
        self._files = files
        self._now = workplace.clock.now()
        self._alerts = Alerts(workplace.store, workplace.clock, workplace.notices)

    def look(self) -> Counter[str]:
        """Fire what there is to fire; the figures of a report."""
        budgets = self._budgets()
        standings = standings_of(self._store, self._account_id, budgets, self._now)
        reached = [budget_findings(budget, standings[budget.budget_id]) for budget in budgets]
        first = [each for findings in reached for each in findings[:VALUES_A_RUN_MAX]]
        did = Counter(fired=self._alerts.fire(self._account_id, first))
        hour = self._now.strftime("%Y-%m-%dT%H")
        path = alert_look_path(self._account_id)
        before = self._store.get(path)
        if before is None or before.fields["hour"] != hour:
            others = [each for findings in reached for each in findings[VALUES_A_RUN_MAX:]]
            did += self._look_closer(budgets, standings, others)
            self._store.commit([Put(path, {"account_id": self._account_id, "hour": hour})])
        return did

    def _budgets(self) -> list[Budget]:
        document = self._store.get(policy_path(self._account_id))
        if document is None:
            return []
        return [each for each in self._files.merged(policy_from(document)).budgets if each.enabled]

    def _look_closer(
        self, budgets: list[Budget], standings: dict[str, BudgetStanding], others: list[Finding]
    ) -> Counter[str]:
        checks = checks_since(self._store, self._account_id, (self._now - CHECKS_BACK).date())
        groups = self._used_this_month()
        used = _unpriced_calls(groups)
        of_plan = self._of_plan(groups)
        findings = [*recording_findings(checks), *self._unpriced(used), *self._anomalies(), *others]
        findings += highest_of_plan(of_plan)
        findings += self._forecasts(budgets, standings, [model for _, model, _ in used])
        fired = self._alerts.fire(self._account_id, findings)
        plan_ids = [each.alert_id(self._account_id) for each in of_plan]
        settled = self._alerts.settle(self._account_id, lambda alert: has_come_right(alert, checks, plan_ids))
        return Counter(fired=fired, settled=settled, looks=1)

    def _used_this_month(self) -> list[UsageGroup]:
        """What was used this month in UTC, by model and team."""
        month = period_of("month", "UTC", self._now)
        query = UsageQuery(
            start=month.starts_at,
            end=self._now + timedelta(minutes=1),
            group_by=("provider", "model", "team"),
        )
        buckets = Statistics(self._store).usage(self._account_id, query).buckets
        return [group for bucket in buckets for group in bucket.groups]

    def _of_plan(self, groups: list[UsageGroup]) -> list[Finding]:
        calls = (
            Calls(
                each.values["provider"],
                each.values["team"],
                each.sums["requests"],
                each.sums["cost_nanodollars"],
            )
            for each in groups
        )
        month = period_of("month", "UTC", self._now)
        return plan_findings(plan_named(self._account.plan), used_of(calls), month)

    def _unpriced(self, used: list[tuple[str, str, int]]) -> list[Finding]:
        return unpriced_findings(used, period_of("month", "UTC", self._now))

    def _anomalies(self) -> list[Finding]:
        start = (self._now - HOURS_LOOKED_AT).replace(minute=0, second=0, microsecond=0)
        found = Outlooks(self._store).anomalies(self._account_id, start, self._now)
        return [anomaly_finding(each) for each in found]

    def _forecasts(
        self, budgets: list[Budget], standings: dict[str, BudgetStanding], models: list[str]
    ) -> list[Finding]:
        """Of the budgets nearest to their limit."""
        nearest = sorted(
            (each for each in budgets if each.each is None),
            key=lambda each: standings[each.budget_id].values[0].standing.percent,
            reverse=True,
        )
        unspent = [each for each in nearest if 0 < standings[each.budget_id].values[0].standing.percent < 100]
        found = [
            forecast_finding(each, standings[each.budget_id], self._outlook(each, models), self._now)
            for each in unspent[:FORECASTS_A_LOOK_MAX]
        ]
        return [each for each in found if each is not None]

    def _outlook(self, budget: Budget, models: list[str]) -> PeriodOutlook | None:
        period = period_of(budget.period, budget.timezone, self._now)
        zone = ZoneInfo(budget.timezone)
        first, end = (moment.astimezone(zone).date() for moment in (period.starts_at, period.ends_at))
        try:
            return Outlooks(self._store).of_period(
                self._account_id, self._now, budget.timezone, filters_of(budget, models), first, end
            )
        except InvalidInput:
            return None  # rollups do not keep keys together with teams and apps


def _unpriced_calls(groups: list[UsageGroup]) -> list[tuple[str, str, int]]:
    """Of each model that was used, how many of its calls have no known price."""
    counts: Counter[tuple[str, str]] = Counter()
    for each in groups:
        counts[each.values["provider"], each.values["model"]] += each.sums["unpriced_requests"]
    return [(*model, count) for model, count in counts.items()]


def filters_of(budget: Budget, models: list[str]) -> Filters:
    """What of the rollups the budget counts; of `models` those that it takes for its own."""
    scope = budget.scope
    filters: dict[str, list[str]] = {}
    for name in ("team", "app", "key_id"):
        if getattr(scope, name):
            filters[name] = [getattr(scope, name)]
    if scope.unattributed:
        filters["team"] = [""]
    if scope.model:
        filters["model"] = [scope.model, *(each for each in models if undated(each) == undated(scope.model))]
    return filters
