"""Alerts: what an account was alerted to, seen to, put off, or done with."""

import re
from datetime import datetime
from typing import Any

import msgspec
from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.alerts import alert_from
from api_service.answers import answer_fields
from api_service.fields import Input, Moment, View, example_of
from api_service.pages import PAGE_DEFAULT, newest
from api_service.resources.notices import Limit, PageCursor
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from metering.alerting import (
    SNOOZE_MAX,
    Alert,
    AlertKind,
    AlertLevel,
    AlertState,
    acknowledged,
    resolved,
    snoozed,
)
from metering.collections import alerts_collection
from metering.errors import NotFound

alerts = routes_of("alerts")

_ALERT_ID = re.compile(r"alert_[0-9a-f]{32}")
_ALERT_EXAMPLE: dict[str, Any] = {
    "id": "alert_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "kind": "budget",
    "level": "warning",
    "state": "open",
    "subject_id": "budget_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "period": "2026-11",
    "title": "80% of the budget search in production is spent",
    "text": "The budget search in production has spent $400.00 of $500.00 in 2026-11.",
    "data": {"threshold_percent": 80, "percent": 80},
    "fired_at": "2026-11-21T09:30:00Z",
    "ends_at": "2026-12-01T00:00:00Z",
    "changed_by": None,
    "acknowledged_at": None,
    "snoozed_until": None,
    "resolved_at": None,
}


class AlertsQuery(Input):
    """Which alerts."""

    state: AlertState | None = Field(default=None, description="Only those that are kept in this state.")
    page: PageCursor = None
    limit: Limit = PAGE_DEFAULT


class AlertPath(Input):
    """Which alert."""

    alert_id: str = Field(
        description="The `id` that listing alerts shows.",
        json_schema_extra={"example": _ALERT_EXAMPLE["id"]},
    )


class Snooze(Input):
    """Until when to put the alert off."""

    model_config = example_of({"until": "2026-11-22T08:00:00Z"})

    until: Moment = Field(description=f"A moment within the next {SNOOZE_MAX.days} days.")


class AlertView(View):
    """An alert: one finding, which fires once a period and level."""

    model_config = example_of(_ALERT_EXAMPLE)

    id: str = Field(description="Names the alert.")
    kind: AlertKind = Field(
        description="`budget`: a threshold is reached; `forecast`: a budget will be exceeded; `anomaly`: an"
        " hour of a team was far dearer than usual; `unpriced_model`: calls have no known price; `recording`:"
        " the books of a day do not add up; `plan`: 80 % of a limit of the plan are used, or all of it."
    )
    level: AlertLevel = Field(description="How much it matters.")
    state: AlertState = Field(description="Where it stands now; past its `ends_at` it is resolved.")
    subject_id: str = Field(
        description="The id of the budget, the team's name, provider and model, the day, or the plan's limit"
        " that it is about."
    )
    period: str = Field(description="The period, hour or day that it is of.")
    title: str = Field(description="It in one line.")
    text: str = Field(description="The whole in plain words.")
    data: dict[str, Any] = Field(description="The same for programs, as its kind says.")
    fired_at: datetime = Field(description="When it was found.")
    ends_at: datetime | None = Field(description="When it is over by itself; null: not by time.")
    changed_by: str | None = Field(
        description="The id of the person or key that last changed its state; null: nobody."
    )
    acknowledged_at: datetime | None = Field(description="When somebody saw to it; null: nobody has.")
    snoozed_until: datetime | None = Field(description="Until when it is put off; null: it is not.")
    resolved_at: datetime | None = Field(description="When it was resolved; null: by time, or not at all.")


class AlertsView(View):
    """A page of alerts, newest first."""

    model_config = example_of({"data": [_ALERT_EXAMPLE], "has_more": False, "next_page": None})

    data: list[AlertView] = Field(description="The alerts.")
    has_more: bool = Field(description="Whether there are older ones.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


@alerts.get("/v1/alerts", responses={200: AlertsView})
@needs("read")
def list_alerts(query: AlertsQuery) -> Response:
    """List alerts, newest first.

    With `state`, those that are kept so: where time has just ended a snooze or an alert, that is written
    within the hour, and `state` in the answer says how it stands now.
    """
    equal = {} if query.state is None else {"state": query.state}
    page = newest(
        services().store,
        alerts_collection(visitor().account_id),
        "fired_at",
        equal=equal,
        cursor=query.page,
        limit=query.limit,
    )
    shown = [_shown(alert_from(each)) for each in page.documents]
    return answer_fields({"data": shown, "has_more": page.next_page is not None, "next_page": page.next_page})


@alerts.get("/v1/alerts/<alert_id>", responses={200: AlertView, **may_refuse(404)})
@needs("read")
def show_alert(path: AlertPath) -> Response:
    """Show an alert."""
    return answer_fields(_shown(services().alerts.find(visitor().account_id, _id_in(path))))


@alerts.post("/v1/alerts/<alert_id>/acknowledge", responses={200: AlertView, **may_refuse(404, 409)})
@needs("write")
def acknowledge_alert(path: AlertPath) -> Response:
    """Say that somebody is seeing to it. Doing so twice changes nothing."""
    now, by = services().clock.now(), _who()
    changed = services().alerts.change(
        visitor().account_id, _id_in(path), lambda alert: acknowledged(alert, by, now)
    )
    return answer_fields(_shown(changed))


@alerts.post("/v1/alerts/<alert_id>/snooze", responses={200: AlertView, **may_refuse(404, 409, *OF_BODIES)})
@needs("write")
def snooze_alert(path: AlertPath, body: Snooze) -> Response:
    """Put it off. Until then nothing about the same subject is told; then this is, once more, if it lasts."""
    now, by = services().clock.now(), _who()
    changed = services().alerts.change(
        visitor().account_id, _id_in(path), lambda alert: snoozed(alert, by, body.until, now)
    )
    return answer_fields(_shown(changed))


@alerts.post("/v1/alerts/<alert_id>/resolve", responses={200: AlertView, **may_refuse(404, 409)})
@needs("write")
def resolve_alert(path: AlertPath) -> Response:
    """Say that it is done with. It does not fire again in its period; the next period's is another alert."""
    now, by = services().clock.now(), _who()
    changed = services().alerts.change(
        visitor().account_id, _id_in(path), lambda alert: resolved(alert, by, now)
    )
    return answer_fields(_shown(changed))


def _id_in(path: AlertPath) -> str:
    if not _ALERT_ID.fullmatch(path.alert_id):
        raise NotFound("there is no such alert")
    return path.alert_id


def _who() -> str:
    asking = visitor()
    if asking.session is not None:
        return asking.session.person_id
    return "" if asking.key is None else asking.key.key_id


def _shown(alert: Alert) -> dict[str, object]:
    return {
        "id": alert.alert_id,
        "kind": alert.kind,
        "level": alert.level,
        "state": alert.state_at(services().clock.now()),
        "subject_id": alert.subject_id,
        "period": alert.period,
        "title": alert.title,
        "text": alert.text,
        "data": msgspec.Raw(alert.data.encode()),
        "fired_at": alert.fired_at,
        "ends_at": alert.ends_at,
        "changed_by": alert.by or None,
        "acknowledged_at": alert.acknowledged_at,
        "snoozed_until": alert.snoozed_until,
        "resolved_at": alert.resolved_at,
    }
