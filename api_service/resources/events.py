"""Cost events: what each metered call used and cost."""

import re
from datetime import datetime
from typing import Any

import msgspec
from flask import Response
from pydantic import Field, create_model

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import FilterTag, Input, Moment, Usd, View, any_of
from api_service.routing import routes_of
from api_service.services import services
from metering.errors import InvalidInput, NotFound
from metering.event_pages import CURSOR_CHARACTERS_MAX, EVENTS_A_PAGE_MAX, FILTER_VALUES_MAX
from metering.events import CostEvent, Provider, State, wire_fields

EVENTS_A_PAGE = 100

_REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")

events = routes_of("events")


class EventsQuery(Input):
    """Which events to show; each filter may be given several times, and then any of its values passes."""

    start_time: Moment | None = Field(
        default=None, description="From this moment on (2026-11-21T00:00:00Z or unix seconds)."
    )
    end_time: Moment | None = Field(default=None, description="Before this moment; left out: until now.")
    limit: int = Field(
        default=EVENTS_A_PAGE, ge=1, le=EVENTS_A_PAGE_MAX, description="Events a page at most."
    )
    page: str | None = Field(
        default=None,
        max_length=CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )
    provider: list[Provider] = any_of("calls to this provider", FILTER_VALUES_MAX)
    state: list[State] = any_of("calls that ended in this way", FILTER_VALUES_MAX)
    model: list[FilterTag] = any_of("calls of this model, as its answer named it", FILTER_VALUES_MAX)
    team: list[FilterTag] = any_of("this team", FILTER_VALUES_MAX)
    app: list[FilterTag] = any_of("this app", FILTER_VALUES_MAX)
    feature: list[FilterTag] = any_of("this feature", FILTER_VALUES_MAX)
    customer_tier: list[FilterTag] = any_of("this customer tier", FILTER_VALUES_MAX)
    deployment: list[FilterTag] = any_of("this deployment, as the key pins it", FILTER_VALUES_MAX)
    session_id: list[FilterTag] = any_of("this session", FILTER_VALUES_MAX)
    key_id: list[FilterTag] = any_of("calls by the key of this id", FILTER_VALUES_MAX)


_FILTERS = tuple(
    name for name in EventsQuery.model_fields if name not in {"start_time", "end_time", "limit", "page"}
)


class EventPath(Input):
    """Which call, by the id that its answer carried."""

    request_id: str = Field(description="The answer's X-ModelTrack-Request-ID.")


_FIELDS: dict[str, Any] = {each.name: (each.type, ...) for each in msgspec.structs.fields(CostEvent)}
_CHARGE = tuple[str, str, str, int]

EventView: type[View] = create_model(
    "EventView",
    __base__=View,
    __doc__="One metered call. Money is in US dollars (`cost_usd`, exact) and in nanodollars.",
    **{**_FIELDS, "charges": (list[_CHARGE], ...), "cost_usd": (Usd, ...), "saved_usd": (Usd, ...)},
)


class EventsView(View):
    """A page of events, newest first. It may hold fewer than asked for, even none, and still not be the last.

    `scanned_to` is the moment down to which everything was looked at; null: all was.
    """

    data: list[EventView]  # type: ignore[valid-type]  # made from the event's own fields
    has_more: bool
    next_page: str | None
    scanned_to: datetime | None


@events.get("/v1/events", responses={200: EventsView})
@needs("read")
def list_events(query: EventsQuery) -> Response:
    """List cost events, newest first."""
    filters = {name: getattr(query, name) for name in _FILTERS if getattr(query, name)}
    try:
        page = services().ledger.events(
            visitor().account_id,
            start=query.start_time,
            end=query.end_time,
            filters=filters,
            cursor=query.page,
            limit=query.limit,
        )
    except InvalidInput as error:
        if error.param == "cursor":
            raise InvalidInput(error.message, "page") from error
        raise
    return answer_fields(
        {
            "data": [wire_fields(event) for event in page.events],
            "has_more": page.next_cursor is not None,
            "next_page": page.next_cursor,
            "scanned_to": page.scanned_to,
        }
    )


@events.get("/v1/events/<request_id>", responses={200: EventView})
@needs("read")
def show_event(path: EventPath) -> Response:
    """Show the event of one call."""
    if not _REQUEST_ID.fullmatch(path.request_id):
        raise NotFound("no such event")
    return answer_fields(wire_fields(services().ledger.event(visitor().account_id, path.request_id)))
