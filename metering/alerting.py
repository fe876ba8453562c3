"""What an account is alerted to: findings, and the alerts that they make. Pure.

| kind | when | once per |
|---|---|---|
| `budget` | a budget's threshold is reached; of several the highest | budget (and value), period, threshold |
| `forecast` | a budget that is not spent yet is forecast to be, by the end of its period | budget, period |
| `anomaly` | a team's hour is far dearer than such hours are | team, hour, level |
| `unpriced_model` | calls were made that have no known price, and so count for nothing | model, month |
| `recording` | the nightly check found a day's books wrong | day |
| `plan` | 80 % of a limit of the plan are used, or all of it; of both the latter | limit, month, step |

An alert's id says which finding it is of, so whoever finds it again, at the same moment or later, meets the
alert that is there: it fires once.

An alert is `open`, then `acknowledged` or `snoozed` by somebody, and `resolved` at last: by somebody, or by
itself once its period is over or its day's books are right. What is snoozed is told of once more when that
ends. Meanwhile what comes of the same subject (a higher threshold, the next hour) is kept, but not told.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from metering.budgets import Budget
from metering.errors import Conflict, InvalidInput
from metering.ids import repeatable_digest
from metering.money import NANODOLLARS_PER_DOLLAR, rounded_half_even, usd_text
from metering.nightly_check import Check
from metering.outlooks import PeriodOutlook, TeamAnomaly
from metering.periods import Period
from metering.plans import Plan, at_limit
from metering.standings import BudgetStanding, ValueStanding

AlertKind = Literal["budget", "forecast", "anomaly", "unpriced_model", "recording", "plan"]
AlertLevel = Literal["warning", "critical"]
AlertState = Literal["open", "acknowledged", "snoozed", "resolved"]

# Limits of a plan that are used up → how they are said.
_PLAN_LIMITS: Final[Mapping[str, str]] = {
    "events_a_month": "events a month",
    "tracked_usd_a_month": "dollars a month that are tracked",
    "teams": "teams",
    "providers": "providers",
}
_COUNTED_LIMITS: Final = frozenset({"teams", "providers"})
SNOOZE_MAX: Final = timedelta(days=30)
EARLY_PERCENT: Final = 10  # of a period; before that, a forecast says little of it
PLAN_STEPS: Final = (100, 80)  # percent of a plan's limit
SMALL_LIMIT: Final = 5  # of fewer teams, none is few enough for a warning
MODELS_MAX: Final = 50  # of which a month's alerts tell that they have no price


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something to alert an account to.

    `subject_id` names what it is about (`value` of it, where a budget has a limit for each), `period` and
    `step` tell it from others about the same: the period's text, the threshold or level. `ends_at` is when it
    is over by itself; None: not by time.
    """

    kind: AlertKind
    subject_id: str
    value: str = ""
    period: str
    step: str
    level: AlertLevel
    title: str
    text: str
    data: dict[str, Any]
    ends_at: datetime | None = None

    def alert_id(self, account_id: str) -> str:
        """The id of the alert it makes: the same whoever finds it, and however often."""
        parts = (account_id, self.kind, self.subject_id, self.value, self.period, self.step)
        return f"alert_{repeatable_digest('alert', *parts)}"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it is kept. `data` is JSON; `by` names the person or key that last changed its state."""

    alert_id: str
    kind: AlertKind
    subject_id: str
    value: str
    period: str
    level: AlertLevel
    title: str
    text: str
    data: str
    fired_at: datetime
    ends_at: datetime | None = None
    state: AlertState = "open"
    by: str = ""
    acknowledged_at: datetime | None = None
    snoozed_until: datetime | None = None
    resolved_at: datetime | None = None

    def is_about_the_same(self, finding: Finding) -> bool:
        """Whether the finding is of the same kind and subject, whenever and however much."""
        return (self.kind, self.subject_id, self.value) == (finding.kind, finding.subject_id, finding.value)

    def state_at(self, now: datetime) -> AlertState:
        """Its state then: what time itself ends has ended, also where nobody has written so yet."""
        if self.state == "resolved" or (self.ends_at is not None and self.ends_at <= now):
            return "resolved"
        if self.state == "snoozed" and self.snoozed_until is not None and self.snoozed_until <= now:
            return "open"
        return self.state


def fired(finding: Finding, account_id: str, now: datetime, snoozed: Iterable[Alert] = ()) -> Alert:
    """The alert that the finding makes; snoozed as well, where one of `snoozed` is about the same."""
    until = [
        each.snoozed_until
        for each in snoozed
        if each.is_about_the_same(finding) and each.state_at(now) == "snoozed" and each.snoozed_until
    ]
    return Alert(
        alert_id=finding.alert_id(account_id),
        kind=finding.kind,
        subject_id=finding.subject_id,
        value=finding.value,
        period=finding.period,
        level=finding.level,
        title=finding.title,
        text=finding.text,
        data=msgspec.json.encode(finding.data).decode(),
        fired_at=now,
        ends_at=finding.ends_at,
        state="snoozed" if until else "open",
        snoozed_until=max(until, default=None),
    )


def acknowledged(alert: Alert, by: str, now: datetime) -> Alert:
    """The alert once somebody has seen it. Raises: Conflict, where it is resolved."""
    _require_unresolved(alert, now)
    if alert.state == "acknowledged":
        return alert
    return msgspec.structs.replace(
        alert, state="acknowledged", by=by, acknowledged_at=now, snoozed_until=None
    )


def snoozed(alert: Alert, by: str, until: datetime, now: datetime) -> Alert:
    """The alert put off until then. Raises: InvalidInput, Conflict (it is resolved)."""
    if not now < until <= now + SNOOZE_MAX:
        raise InvalidInput(f"give a moment within the next {SNOOZE_MAX.days} days", "until")
    _require_unresolved(alert, now)
    return msgspec.structs.replace(alert, state="snoozed", by=by, snoozed_until=until)


def resolved(alert: Alert, by: str, now: datetime) -> Alert:
    """The alert as done with; `by` nobody where it came to that by itself."""
    if alert.state == "resolved":
        return alert
    return msgspec.structs.replace(alert, state="resolved", by=by, resolved_at=now, snoozed_until=None)


def woken(alert: Alert) -> Alert:
    """The alert once its snoozing is over."""
    return msgspec.structs.replace(alert, state="open", snoozed_until=None)


def _require_unresolved(alert: Alert, now: datetime) -> None:
    if alert.state_at(now) == "resolved":
        raise Conflict("this alert is resolved; the next period's is another one")


def budget_findings(budget: Budget, standing: BudgetStanding) -> list[Finding]:
    """What there is to tell of the budget's thresholds: of each of its limits the highest that is reached."""
    if not budget.enabled:
        return []
    found = []
    for each in standing.values:
        reached = [step for step in budget.thresholds_percent if each.standing.has_reached(step)]
        if reached and each.standing.spent_nanodollars > 0:
            found.append(_of_threshold(budget, standing.period, each, max(reached)))
    return found


def _of_threshold(budget: Budget, period: Period, each: ValueStanding, threshold: int) -> Finding:
    standing, name = each.standing, _name_of(budget, each)
    spent, limit = _dollars(standing.spent_nanodollars), _dollars(standing.limit_nanodollars)
    is_spent = standing.has_reached(100)
    at_limit = {"block": "Calls are refused", "downgrade": "Calls go to cheaper models or are refused"}
    then = f" {at_limit[budget.action]} until then." if is_spent and budget.action in at_limit else ""
    return Finding(
        kind="budget",
        subject_id=budget.budget_id,
        value=_value_of(budget, each),
        period=period.text,
        step=str(threshold),
        level="critical" if is_spent else "warning",
        title=f"{standing.percent}% of the budget {name} is spent",
        text=f"The budget {name} has spent {spent} of {limit} in {period.text}; it begins anew at"
        f" {_moment(period.ends_at)}.{then}",
        data={
            **_budget_data(budget, each, period),
            "threshold_percent": threshold,
            "percent": standing.percent,
        },
        ends_at=period.ends_at,
    )


def forecast_finding(
    budget: Budget, standing: BudgetStanding, outlook: PeriodOutlook | None, now: datetime
) -> Finding | None:
    """What there is to tell of where the budget is heading; None where it will do, or nobody can tell."""
    period, each = standing.period, standing.values[0]
    present = each.standing
    if outlook is None or budget.each is not None or not budget.enabled or present.has_reached(100):
        return None
    if (now - period.starts_at) * 100 < (period.ends_at - period.starts_at) * EARLY_PERCENT:
        return None
    # What is still to come, on top of what the budget itself has counted.
    ahead = max(0, outlook.by_its_end.predicted - outlook.spent)
    predicted = present.spent_nanodollars + ahead
    if predicted <= present.limit_nanodollars:
        return None
    name = _name_of(budget, each)
    return Finding(
        kind="forecast",
        subject_id=budget.budget_id,
        period=period.text,
        step="forecast",
        level="warning",
        title=f"The budget {name} is forecast to be exceeded",
        text=f"By {_moment(period.ends_at)} the budget {name} is forecast to have spent"
        f" {_dollars(predicted)} of {_dollars(present.limit_nanodollars)}; it has spent"
        f" {_dollars(present.spent_nanodollars)} so far.",
        data={
            **_budget_data(budget, each, period),
            "percent": present.percent,
            "predicted_nanodollars": predicted,
            "predicted_usd": usd_text(predicted),
        },
        ends_at=period.ends_at,
    )


def anomaly_finding(found: TeamAnomaly) -> Finding:
    """What there is to tell of a team's odd hour."""
    anomaly, team = found.anomaly, found.team or "calls that name no team"
    hour = anomaly.starts_at
    return Finding(
        kind="anomaly",
        subject_id=found.team,
        period=hour.isoformat(timespec="minutes"),
        step=anomaly.level,
        level=anomaly.level,
        title=f"{team}: {anomaly.factor:g} times the usual spend in one hour",
        text=f"In the hour from {_moment(hour)} {team} spent {_dollars(anomaly.spent)}, where"
        f" {_dollars(anomaly.expected)} were to be expected. Most of it went to {found.top_model.model}"
        f" ({_dollars(found.top_model_nanodollars)} of {found.requests} calls).",
        data={
            "team": found.team,
            "hour": hour,
            "spent_nanodollars": anomaly.spent,
            "expected_nanodollars": anomaly.expected,
            "spent_usd": usd_text(anomaly.spent),
            "expected_usd": usd_text(anomaly.expected),
            "requests": found.requests,
            "top_provider": found.top_model.provider,
            "top_model": found.top_model.model,
        },
        ends_at=hour + timedelta(days=1),
    )


def unpriced_findings(requests: Sequence[tuple[str, str, int]], month: Period) -> list[Finding]:
    """What there is to tell of calls without a known price: (provider, model, how many in that month)."""
    most = sorted((each for each in requests if each[2] > 0), key=lambda each: (-each[2], each[:2]))
    return [
        Finding(
            kind="unpriced_model",
            subject_id=f"{provider}/{model}",
            period=month.text,
            step="",
            level="warning",
            title=f"{model} has no known price",
            text=f"{count} calls to {model} ({provider}) in {month.text} have no known price: they are"
            " recorded, but count towards no budget and no sum. Give its price in the account's settings.",
            data={"provider": provider, "model": model, "requests": count},
            ends_at=month.ends_at,
        )
        for provider, model, count in most[:MODELS_MAX]
    ]


def recording_findings(checks: Iterable[Check]) -> list[Finding]:
    """What there is to tell of days whose books do not add up."""
    return [
        Finding(
            kind="recording",
            subject_id=check.day,
            period=check.day,
            step="",
            level="critical",
            title=f"The books of {check.day} do not add up",
            text=f"The nightly check found {len(check.differences)} differences between the events of"
            f" {check.day} and their sums, and {check.in_flight} calls that are neither settled nor lost. It"
            " looks again each day. GET /v1/conservation shows what it found.",
            data={"day": check.day, "differences": len(check.differences), "in_flight": check.in_flight},
        )
        for check in checks
        if not check.is_sound
    ]


class Calls(msgspec.Struct, frozen=True):
    """Calls of one provider by one team, in a month."""

    provider: str
    team: str
    requests: int
    cost_nanodollars: int


def used_of(month: Iterable[Calls]) -> dict[str, int]:
    """What a month's calls use of the limits that can be used up, by the limit's name; money in dollars."""
    calls = [*month]
    return {
        "events_a_month": sum(each.requests for each in calls),
        "tracked_usd_a_month": sum(each.cost_nanodollars for each in calls) // NANODOLLARS_PER_DOLLAR,
        "teams": len({each.team for each in calls} - {""}),
        "providers": len({each.provider for each in calls}),
    }


def plan_findings(plan: Plan, used: Mapping[str, int], month: Period) -> list[Finding]:
    """What there is to tell of the limits of the plan that are nearly used up, or are, highest step first.

    Amounts are used up when the limit is reached, things (teams, providers) when there are more than that.
    """
    found = []
    for name, said in _PLAN_LIMITS.items():
        limit: int | None = getattr(plan, name)
        for step in PLAN_STEPS if limit else ():
            if limit and _has_reached(name, used[name], limit, step):
                found.append(_plan_finding(plan, name, said, used[name], limit, step, month))
    return found


def highest_of_plan(found: Iterable[Finding]) -> list[Finding]:
    """Of each limit, the highest step."""
    highest: dict[str, Finding] = {}
    for each in found:
        highest.setdefault(each.subject_id, each)
    return [*highest.values()]


def _has_reached(name: str, used: int, limit: int, step: int) -> bool:
    if name in _COUNTED_LIMITS:
        return used > limit if step == 100 else limit >= SMALL_LIMIT and used * 100 >= step * limit
    return used * 100 >= step * limit


def _plan_finding(
    plan: Plan, name: str, said: str, used: int, limit: int, step: int, month: Period
) -> Finding:
    percent = used * 100 // limit
    return Finding(
        kind="plan",
        subject_id=name,
        period=month.text,
        step=str(step),
        level="critical" if step == 100 else "warning",
        title=f"{percent}% of the {said} of the plan {plan.title} are used",
        text=f"{used:,} of {limit:,} {said} of the plan {plan.title} are used in {month.text}; the month ends"
        f" {_moment(month.ends_at)}. No call is refused or slowed for that. At the limit:"
        f" {at_limit()[name]}.",
        data={
            "limit_name": name,
            "limit": limit,
            "used": used,
            "percent": percent,
            "threshold_percent": step,
            "plan": plan.title,
        },
        ends_at=month.ends_at,
    )


def has_come_right(alert: Alert, checks: Iterable[Check], of_plan: Iterable[str] = ()) -> bool:
    """Whether the alert is of a day whose books add up by now, or of a limit that the plan has no more.

    `of_plan` are the ids of alerts that the plan gives rise to now.
    """
    if alert.kind == "plan":
        return alert.alert_id not in set(of_plan)
    return alert.kind == "recording" and any(each.day == alert.period and each.is_sound for each in checks)


def _budget_data(budget: Budget, each: ValueStanding, period: Period) -> dict[str, Any]:
    return {
        "budget_id": budget.budget_id,
        "budget_name": budget.name,
        "value": each.value if budget.each else None,
        "period": period.text,
        "resets_at": period.ends_at,
        "action": budget.action,
        "spent_nanodollars": each.standing.spent_nanodollars,
        "spent_usd": usd_text(each.standing.spent_nanodollars),
        "limit_nanodollars": each.standing.limit_nanodollars,
        "limit_usd": usd_text(each.standing.limit_nanodollars),
    }


def _value_of(budget: Budget, each: ValueStanding) -> str:
    """The value that the limit is of; no tag begins with a blank, as what stands for all others does."""
    if budget.each is None:
        return ""
    return " others" if each.value is None else each.value


def _name_of(budget: Budget, each: ValueStanding) -> str:
    name = budget.name or budget.budget_id
    if budget.each is None:
        return name
    return f"{name} ({budget.each}: {'all others' if each.value is None else each.value or 'none'})"


def _dollars(nanodollars: int) -> str:
    """The amount for people to read: to the cent, and the first digits of less than ten."""
    if abs(nanodollars) < 10_000_000:
        return f"${usd_text(nanodollars)}"
    if abs(nanodollars) < 100_000_000:
        return f"${usd_text(rounded_half_even(nanodollars, 100_000) * 100_000)}"
    cents = (nanodollars + 5_000_000) // 10_000_000
    return f"${cents // 100:,}.{cents % 100:02d}"


def _moment(moment: datetime) -> str:
    return (
        f"{moment:%Y-%m-%d %H:%M} UTC"
        if moment.utcoffset() == timedelta(0)
        else f"{moment:%Y-%m-%d %H:%M %Z}"
    )
