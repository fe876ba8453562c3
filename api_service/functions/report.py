"""The job `report`: sends the reports that are due (`metering.report_schedules`), each once.

A report's notice and its schedule's next moment are written in one commit, on condition that the schedules
are as they were read: whoever else runs at the same moment, or again after a cut, finds it sent. Delivery to
Slack, mail and webhooks, with retries, is the job `deliver`'s.

One account's damage keeps no other from its reports: it is counted, in the log, and tried again.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from api_service.functions.workplace import Workplace
from api_service.notices import Notice
from metering.accounts import Account
from metering.collections import REPORT_SCHEDULES, account_path
from metering.day_memory import DayMemory
from metering.directory import account_from
from metering.errors import AlreadyExists, RevisionChanged, StoreUnavailable
from metering.money import usd_text
from metering.report_schedules import (
    SCHEDULES_MAX,
    Schedule,
    due_of,
    next_due,
    period_to_send,
    schedules_fields,
    schedules_from,
    sent,
)
from metering.reports import CUTS, Report, Reports, usd
from metering.stores import Put, Query

ACCOUNTS_A_RUN_MAX: Final = 100
TOLD_OF_EACH_CUT: Final = 5


class ReportsSent(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to. `elsewhere` were sent by another run; `broken` are accounts without theirs."""

    sent: int = 0
    elsewhere: int = 0
    broken: int = 0


def run(workplace: Workplace) -> ReportsSent:
    """Send what is due. Raises: StoreUnavailable; what was sent by then stays sent."""
    now = workplace.clock.now()
    due = Query(
        collection=REPORT_SCHEDULES,
        order_by="next_at",
        below=now + timedelta(microseconds=1),
        limit=ACCOUNTS_A_RUN_MAX,
    )
    counts = {"sent": 0, "elsewhere": 0, "broken": 0}
    for document in workplace.store.query(due):
        try:
            for outcome in _send_due(workplace, document.path, now):
                counts[outcome] += 1
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one account's damage keeps no other from its reports
            workplace.log.broken(error)
            counts["broken"] += 1
    return ReportsSent(**counts)


def _send_due(workplace: Workplace, path: str, now: datetime) -> Iterator[Literal["sent", "elsewhere"]]:
    """What became of each schedule of the account that is due, each in a commit of its own."""
    for _ in range(SCHEDULES_MAX):
        document = workplace.store.get(path)
        if document is None:
            return
        schedules = schedules_from(document.fields["account_id"], document.fields)
        due = due_of(schedules, now)
        if not due:
            return
        schedule = due[0]
        account = _account(workplace, schedules.account_id)
        is_served = account is not None and account.status == "active"
        if is_served:
            after = sent(schedule, now)
            writes = workplace.notices.writes_of(_notice(workplace, schedules.account_id, schedule, now))
        else:  # nobody is told of anything while suspended; it comes round again
            after, writes = msgspec.structs.replace(schedule, next_at=next_due(schedule, now)), []
        fields = schedules_fields(schedules.with_one(after))
        try:
            workplace.store.commit([Put(path, fields, if_revision=document.revision), *writes])
        except (RevisionChanged, AlreadyExists):
            yield "elsewhere"
        else:
            if is_served:
                yield "sent"


def _account(workplace: Workplace, account_id: str) -> Account | None:
    document = workplace.store.get(account_path(account_id))
    return None if document is None else account_from(document)


def _notice(workplace: Workplace, account_id: str, schedule: Schedule, now: datetime) -> Notice:
    period = period_to_send(schedule, now)
    report = Reports(workplace.store, DayMemory()).report(account_id, period, now)
    return Notice(
        account_id=account_id,
        kind="report.ready",
        title=f"{schedule.name}: {period.text}, {usd(report.sums['cost_nanodollars'])}",
        text=report_text(report),
        subject_id=schedule.schedule_id,
        data=_data(schedule, report),
        once=f"{schedule.next_at}",
    )


def report_text(report: Report) -> str:
    """The report in plain words."""
    now, before = report.sums["cost_nanodollars"], report.sums_before["cost_nanodollars"]
    whole = "" if report.is_complete else ", up to now"
    lines = [
        f"{report.period.text} ({report.period.timezone}){whole}: {usd(now)} for"
        f" {report.sums['requests']:,} calls. {report.before.text}: {usd(before)} for"
        f" {report.sums_before['requests']:,} calls{'' if report.is_complete else ' in as much time'}."
    ]
    for name in CUTS:
        groups = [each for each in report.cuts[name] if each.sums["requests"]][:TOLD_OF_EACH_CUT]
        if groups:
            lines += ["", f"By {name}:"]
        for each in groups:
            cost, former = each.sums["cost_nanodollars"], each.sums_before["cost_nanodollars"]
            lines.append(f"- {each.values[name] or '(none named)'}: {usd(cost)} (before: {usd(former)})")
    if report.recommendations:
        lines += ["", "Recommendations:"]
    lines += [f"- {each.title}. {each.how}" for each in report.recommendations]
    lines += ["", f"All of it: GET /v1/reports/{report.period.text}?timezone={report.period.timezone}"]
    return "\n".join(lines)


def _data(schedule: Schedule, report: Report) -> dict[str, Any]:
    """The report for programs: amounts of money as exact texts in US dollars and integers in nanodollars."""
    return {
        "schedule_id": schedule.schedule_id,
        "period": report.period.text,
        "kind": report.period.kind,
        "timezone": report.period.timezone,
        "is_complete": report.is_complete,
        "start_time": report.covered.start,
        "end_time": report.covered.end,
        "compared_with": {
            "period": report.before.text,
            "start_time": report.covered_before.start,
            "end_time": report.covered_before.end,
        },
        "requests": report.sums["requests"],
        "cost_nanodollars": report.sums["cost_nanodollars"],
        "cost_usd": usd_text(report.sums["cost_nanodollars"]),
        "cost_before_nanodollars": report.sums_before["cost_nanodollars"],
        "cost_before_usd": usd_text(report.sums_before["cost_nanodollars"]),
        **{
            f"by_{name}": [
                {
                    "value": each.values[name],
                    "cost_nanodollars": each.sums["cost_nanodollars"],
                    "cost_before_nanodollars": each.sums_before["cost_nanodollars"],
                }
                for each in report.cuts[name][:TOLD_OF_EACH_CUT]
            ]
            for name in CUTS
        },
        "recommendations": [msgspec.structs.asdict(each) for each in report.recommendations],
    }
