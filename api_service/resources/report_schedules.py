"""Schedules by which reports are sent, to every channel of the account that takes them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec
from flask import Response
from pydantic import Field, StrictBool

from api_service.access import needs, require_unpinned, visitor
from api_service.answers import answer_fields, nothing
from api_service.fields import Input, Name, View, example_of, left_out, without_default
from api_service.ranges import TIMEZONE_CHARACTERS_MAX, Timezone
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from metering.buckets import zone_named
from metering.collections import report_schedules_path
from metering.errors import AlreadyExists, Conflict, InvalidInput, NotFound, RevisionChanged
from metering.ids import new_id
from metering.report_schedules import (
    SCHEDULES_MAX,
    Frequency,
    Schedule,
    Schedules,
    next_due,
    schedules_fields,
    schedules_from,
)
from metering.reports import ReportKind
from metering.stores import Create, Document, Put

CHANGE_ATTEMPTS_MAX: Final = 5

report_schedules = routes_of("report-schedules")

_SCHEDULE_EXAMPLE: dict[str, Any] = {
    "id": "schedule_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "name": "Monday report",
    "period": "weekly",
    "frequency": "weekly",
    "day_of_week": 1,
    "day_of_month": 1,
    "hour": 9,
    "timezone": "Europe/Berlin",
    "enabled": True,
    "next_at": "2026-11-23T08:00:00Z",
    "last_sent_at": None,
    "created_at": "2026-11-21T09:30:00Z",
}


class NewSchedule(Input):
    """When to send which report. It goes to every channel that takes `report.ready`."""

    model_config = example_of(
        {
            "name": "Monday report",
            "period": "weekly",
            "frequency": "weekly",
            "day_of_week": 1,
            "hour": 9,
            "timezone": "Europe/Berlin",
        }
    )

    name: Name
    period: ReportKind = Field(
        description="The last whole period of this kind; sent daily, the present one so far."
    )
    frequency: Frequency = Field(description="How often.")
    day_of_week: int = Field(default=1, strict=True, ge=1, le=7, description="When weekly: 1 is Monday.")
    day_of_month: int = Field(
        default=1, strict=True, ge=1, le=31, description="When monthly; the last one where a month lacks it."
    )
    hour: int = Field(default=9, strict=True, ge=0, le=23, description="At this hour of the zone's clock.")
    timezone: Timezone = "UTC"
    enabled: StrictBool = True


class SchedulePatch(Input):
    """What to change of the schedule; what is left out stays."""

    model_config = example_of({"enabled": False})

    name: Name = left_out("")
    period: ReportKind = left_out("weekly")
    frequency: Frequency = left_out("weekly")
    day_of_week: int = Field(default=1, strict=True, ge=1, le=7, json_schema_extra=without_default)
    day_of_month: int = Field(default=1, strict=True, ge=1, le=31, json_schema_extra=without_default)
    hour: int = Field(default=9, strict=True, ge=0, le=23, json_schema_extra=without_default)
    timezone: str = Field(
        default="UTC", max_length=TIMEZONE_CHARACTERS_MAX, json_schema_extra=without_default
    )
    enabled: StrictBool = left_out(True)


class SchedulePath(Input):
    """Which schedule."""

    schedule_id: str = Field(
        description="The `id` that making and listing schedules show.",
        json_schema_extra={"example": _SCHEDULE_EXAMPLE["id"]},
    )


class ScheduleView(View):
    """When which report is sent."""

    model_config = example_of(_SCHEDULE_EXAMPLE)

    id: str = Field(description="Names it.")
    name: str = Field(description="What its maker called it.")
    period: ReportKind = Field(description="Which report.")
    frequency: Frequency = Field(description="How often.")
    day_of_week: int = Field(description="When weekly: 1 is Monday.")
    day_of_month: int = Field(description="When monthly; the last one where a month lacks it.")
    hour: int = Field(description="At this hour of the zone's clock.")
    timezone: str = Field(description="The zone.")
    enabled: bool = Field(description="Switched off, nothing is sent.")
    next_at: datetime | None = Field(description="When it is due next; null: it is switched off.")
    last_sent_at: datetime | None = Field(description="When it was last sent; null: never.")
    created_at: datetime = Field(description="When it was made.")


class SchedulesView(View):
    """The account's schedules, oldest first."""

    model_config = example_of({"data": [_SCHEDULE_EXAMPLE], "has_more": False, "next_page": None})

    data: list[ScheduleView] = Field(description="The schedules.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


@report_schedules.get("/v1/report-schedules", responses={200: SchedulesView})
@needs("read")
def list_report_schedules() -> Response:
    """List the schedules by which reports are sent."""
    found, _ = _kept()
    return answer_fields(
        {"data": [_shown_schedule(each) for each in found.schedules], "has_more": False, "next_page": None}
    )


@report_schedules.post("/v1/report-schedules", responses={201: ScheduleView, **may_refuse(409, *OF_BODIES)})
@needs("write")
def create_report_schedule(body: NewSchedule) -> Response:
    """Make a schedule. Reports go to the account's channels; without one they are shown as notices."""
    require_unpinned(visitor())
    now = services().clock.now()
    _check_zone(body.timezone)
    schedule = Schedule(schedule_id=new_id("schedule"), created_at=now, **body.model_dump())
    schedule = msgspec.structs.replace(schedule, next_at=next_due(schedule, now))

    def add(schedules: Schedules) -> Schedules:
        if len(schedules.schedules) >= SCHEDULES_MAX:
            raise Conflict(f"an account has at most {SCHEDULES_MAX} schedules; delete one first")
        return schedules.with_one(schedule)

    _change(add)
    return answer_fields(_shown_schedule(schedule), 201)


@report_schedules.get("/v1/report-schedules/<schedule_id>", responses={200: ScheduleView, **may_refuse(404)})
@needs("read")
def show_report_schedule(path: SchedulePath) -> Response:
    """Show a schedule."""
    return answer_fields(_shown_schedule(_found(_kept()[0], path.schedule_id)))


@report_schedules.patch(
    "/v1/report-schedules/<schedule_id>", responses={200: ScheduleView, **may_refuse(404, 409, *OF_BODIES)}
)
@needs("write")
def change_report_schedule(path: SchedulePath, body: SchedulePatch) -> Response:
    """Change a schedule; when it is due next follows from now."""
    require_unpinned(visitor())
    now = services().clock.now()
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    _check_zone(body.timezone)

    def change(schedules: Schedules) -> Schedules:
        changed = msgspec.structs.replace(_found(schedules, path.schedule_id), **changes)
        return schedules.with_one(msgspec.structs.replace(changed, next_at=next_due(changed, now)))

    return answer_fields(_shown_schedule(_found(_change(change), path.schedule_id)))


@report_schedules.delete("/v1/report-schedules/<schedule_id>", responses={204: None, **may_refuse(404, 409)})
@needs("write")
def delete_report_schedule(path: SchedulePath) -> Response:
    """Delete a schedule; nothing is sent by it any more."""
    require_unpinned(visitor())

    def delete(schedules: Schedules) -> Schedules:
        return schedules.without(_found(schedules, path.schedule_id).schedule_id)

    _change(delete)
    return nothing()


def _shown_schedule(schedule: Schedule) -> dict[str, Any]:
    fields = msgspec.structs.asdict(schedule)
    return {"id": fields.pop("schedule_id"), **fields}


def _check_zone(timezone: str) -> None:
    if zone_named(timezone) is None:
        raise InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone")


def _found(schedules: Schedules, schedule_id: str) -> Schedule:
    for each in schedules.schedules:
        if each.schedule_id == schedule_id:
            return each
    raise NotFound("there is no such schedule")


def _kept() -> tuple[Schedules, Document | None]:
    account_id = visitor().account_id
    document = services().store.get(report_schedules_path(account_id))
    return schedules_from(account_id, document.fields if document else None), document


def _change(edit: Callable[[Schedules], Schedules]) -> Schedules:
    """Replace the account's schedules by what `edit` makes of them; whatever that raises passes on."""
    path = report_schedules_path(visitor().account_id)
    for _ in range(CHANGE_ATTEMPTS_MAX):
        kept, document = _kept()
        after = edit(kept)
        fields = schedules_fields(after)
        write = Create(path, fields) if document is None else Put(path, fields, if_revision=document.revision)
        try:
            services().store.commit([write])
        except (AlreadyExists, RevisionChanged):
            continue
        return after
    raise Conflict("the schedules were changed by others again and again; try once more")
