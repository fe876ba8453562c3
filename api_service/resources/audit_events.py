"""The audit log, read."""

from datetime import datetime

import msgspec
from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer
from api_service.audit_log import CURSOR_CHARACTERS_MAX, PAGE_MAX, ActorKind, AuditEvent, Outcome
from api_service.fields import Input, Moment, View, example_of
from api_service.routing import routes_of
from api_service.services import services

EVENTS_A_PAGE = 50

audit_events = routes_of("audit")

_EXAMPLE = {
    "id": "audit_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "at": "2026-11-21T09:30:00Z",
    "actor": "person",
    "actor_id": "person_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "operation": "revoke_key",
    "target_id": "key_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "outcome": "done",
    "status": 204,
    "code": None,
    "request_id": "req_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "trace_id": None,
    "network": "203.0.113.7",
}


class AuditQuery(Input):
    """Which entries to show."""

    start_time: Moment | None = Field(
        default=None,
        description="From this moment on (2026-11-21T00:00:00Z or unix seconds).",
        json_schema_extra={"example": "2026-11-21T00:00:00Z"},
    )
    end_time: Moment | None = Field(default=None, description="Before this moment; left out: until now.")
    limit: int = Field(default=EVENTS_A_PAGE, ge=1, le=PAGE_MAX, description="Entries a page at most.")
    page: str | None = Field(
        default=None,
        max_length=CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )


class AuditEventView(View):
    """Who changed what, or was refused to."""

    id: str = Field(description="Names the entry.")
    at: datetime = Field(description="When it was asked for.")
    actor: ActorKind = Field(
        description="A `person`, a `key`, the service's `operator`, or `nobody`: who did not get in."
    )
    actor_id: str | None = Field(description="The id of the person or key; null: neither.")
    operation: str = Field(description="What was asked for: its `operationId` in /openapi.json.")
    target_id: str | None = Field(description="The id of what it was about; null: the account, or nothing.")
    outcome: Outcome = Field(
        description="`begun`: under way, or cut off, and then it may or may not have been done; `failed`: it"
        " may have been done in part."
    )
    status: int | None = Field(description="What was answered; null: not yet.")
    code: str | None = Field(description="The `code` of the refusal; null: it was none.")
    request_id: str | None = Field(description="The X-Request-ID of the answer; null: it was no request.")
    trace_id: str | None = Field(description="The caller's trace, from `traceparent`; null: none was sent.")
    network: str | None = Field(
        description="Where it came from: an address of IPv4, or a /64 network of IPv6; null: from within."
    )


class AuditEventsView(View):
    """A page of the audit log, newest first."""

    model_config = example_of({"data": [_EXAMPLE], "has_more": False, "next_page": None})

    data: list[AuditEventView] = Field(description="The entries, newest first.")
    has_more: bool = Field(description="Whether older ones follow.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


@audit_events.get("/v1/audit-events", responses={200: AuditEventsView})
@needs("audit")
def list_audit_events(query: AuditQuery) -> Response:
    """List who changed what of the account, or was refused to, newest first.

    Entries are kept as long as `GET /v1/retention` says. Nobody changes or removes one.
    """
    page = services().audit.page(
        visitor().account_id,
        start=query.start_time,
        end=query.end_time,
        cursor=query.page,
        limit=query.limit,
    )
    data = [_view(each) for each in page.events]
    return answer(
        AuditEventsView(data=data, has_more=page.next_cursor is not None, next_page=page.next_cursor)
    )


def _view(event: AuditEvent) -> AuditEventView:
    fields = msgspec.structs.asdict(event)
    fields["id"] = fields.pop("event_id")
    del fields["account_id"]
    optional = ("actor_id", "target_id", "status", "code", "request_id", "trace_id", "network")
    return AuditEventView(**fields | {name: fields[name] or None for name in optional})
