"""Sessions: what the calls that share a session id came to, and one session call by call."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from flask import Response
from pydantic import Field, StringConstraints, create_model

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import FilterTag, Input, Usd, View, any_of, example_of
from api_service.ranges import RangeFields
from api_service.resources.events import EventView
from api_service.routing import may_refuse, routes_of
from api_service.services import services
from api_service.sums import SUM_MEANINGS, shown_money
from api_service.tables import answer_csv, with_csv
from api_service.usage_pages import NO_SUCH_PAGE, ROW_CURSOR_CHARACTERS_MAX, read_key, written_key
from metering.buckets import zone_named
from metering.errors import InvalidInput, NotFound
from metering.event_pages import CURSOR_CHARACTERS_MAX, EVENTS_A_PAGE_MAX, FILTER_VALUES_MAX
from metering.events import CostEvent, wire_fields
from metering.session_packs import SESSION_SUMS
from metering.sessions import (
    RANGE_MAX,
    SESSIONS_MAX,
    Order,
    Place,
    SessionSums,
    session_of,
    sessions_between,
)

SESSIONS_A_PAGE = 50
CALLS_A_PAGE = 200
DEFAULT_RANGE = timedelta(days=7)

sessions = routes_of("sessions")

_MILLISECOND = timedelta(milliseconds=1)
_SUMS: dict[str, Any] = {
    name: (Usd if name.endswith("_usd") else int, Field(description=SUM_MEANINGS[name]))
    for name in (*SESSION_SUMS, "cost_usd", "saved_usd")
}
_SUMS_EXAMPLE: dict[str, Any] = {
    **dict.fromkeys(_SUMS, 0),
    "requests": 12,
    "input_tokens": 14400,
    "output_tokens": 1800,
    "cost_nanodollars": 70_200_000,
    "cost_usd": 0.0702,
}
_SESSION_EXAMPLE: dict[str, Any] = {
    "session_id": "support-4711",
    "teams": ["search"],
    "apps": ["web"],
    "models": ["claude-sonnet-4-6"],
    "first_at": "2026-11-21T09:30:00Z",
    "last_at": "2026-11-21T09:41:30Z",
    "duration_ms": 690_000,
    **_SUMS_EXAMPLE,
}
_COLUMNS = tuple(_SESSION_EXAMPLE)


class SessionsFields(RangeFields):
    """Which sessions. The end left out is now; the start left out is seven days before it.

    Both moments are widened to whole quarter hours; a range is 31 days at most.
    """

    team: list[FilterTag] = any_of("calls of this team", FILTER_VALUES_MAX)
    app: list[FilterTag] = any_of("calls of this app", FILTER_VALUES_MAX)
    sort_by: Order = Field(
        default="latest",
        description="`latest`: by their last call; `cost`: the dearest first, which works through all of the"
        " range, so that a very busy one may be refused with 422 until it is shorter.",
        json_schema_extra={"example": "cost"},
    )
    limit: int = Field(default=SESSIONS_A_PAGE, ge=1, le=SESSIONS_MAX, description="Sessions a page at most.")
    page: str | None = Field(
        default=None,
        max_length=ROW_CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )
    format: Literal["json", "csv"] = Field(
        default="json",
        description="csv: one line a session, and the next page's name in the header X-Next-Page.",
    )


SessionView: type[View] = create_model(
    "SessionView",
    __base__=View,
    __doc__="What the calls of one session came to, as far as they lie in the range.",
    session_id=(str, Field(description="The session, as the caller named it.")),
    teams=(list[str], Field(description="Whose calls they were.")),
    apps=(list[str], Field(description="From which apps.")),
    models=(list[str], Field(description="Which models served them.")),
    first_at=(datetime, Field(description="When the first of them was admitted.")),
    last_at=(datetime, Field(description="When the last of them was admitted.")),
    duration_ms=(int, Field(description="From the first to the last of them.")),
    **_SUMS,
)
SessionSumsView: type[View] = create_model(
    "SessionSumsView", __base__=View, __doc__="Sums of calls of sessions.", **_SUMS
)


class SessionsView(View):
    """A page of sessions, the one with the latest call first, or the dearest."""

    model_config = with_csv(
        {
            "data": [_SESSION_EXAMPLE],
            "has_more": False,
            "next_page": None,
            "complete_to": "2026-11-21T09:30:00Z",
            "has_older": False,
            "nameless": dict.fromkeys(_SUMS, 0),
        }
    )

    data: list[SessionView] = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="The sessions."
    )
    has_more: bool = Field(description="Whether more of them follow.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")
    complete_to: datetime = Field(
        description="All calls before this moment, which is never ahead, are counted; of later ones some may"
        " be missing, for half an hour at most."
    )
    has_older: bool = Field(
        description=f"On the last page: whether there are more sessions than the first {SESSIONS_MAX:,} in"
        " that order, which no page tells; ask for a shorter range."
    )
    nameless: SessionSumsView = Field(  # type: ignore[valid-type]  # as above
        description="The cheapest sessions of very busy hours, which are kept in one sum."
    )


@sessions.get("/v1/sessions", responses={200: SessionsView})
@needs("read")
def list_sessions(query: SessionsFields) -> Response:
    """List the sessions that had calls in a range, latest or dearest first."""
    known = services()
    now = known.clock.now()
    start, end = query.moments(now, DEFAULT_RANGE)
    if zone_named(query.timezone) is None:
        raise InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone")
    if start >= end:
        raise InvalidInput("end_time must lie after start_time", "end_time")
    if end - start > RANGE_MAX:
        raise InvalidInput(f"ask for at most {RANGE_MAX.days} days", "start_time")
    start = max(start, visitor().account.settings.events_kept_since(now))
    if start >= end:
        if query.format == "csv":
            return answer_csv(_COLUMNS, [], None)
        return _answer([], None, min(end, now), dict.fromkeys(SESSION_SUMS, 0), has_older=False)
    report = sessions_between(
        known.store,
        visitor().account_id,
        start,
        end,
        teams=query.team,
        apps=query.app,
        order=query.sort_by,
        limit=query.limit,
        behind=None if query.page is None else _read_place(query.page),
    )
    next_page = None
    if report.has_more:
        last = report.sessions[-1]
        next_page = written_key(last.place if query.sort_by == "latest" else last.place_by_cost)
    if query.format == "csv":
        return answer_csv(_COLUMNS, map(_shown, report.sessions), next_page)
    complete_to = min(report.complete_to, now)  # whole quarter hours are read, also the one under way
    return _answer(report.sessions, next_page, complete_to, report.nameless, has_older=report.has_older)


class TimelineFields(Input):
    """Which session."""

    session_id: Annotated[FilterTag, StringConstraints(min_length=1)] = Field(
        description="The session, as its caller named it in X-ModelTrack-Session-ID.",
        json_schema_extra={"example": "support-4711"},
    )
    limit: int = Field(default=CALLS_A_PAGE, ge=1, le=EVENTS_A_PAGE_MAX, description="Calls a page at most.")
    page: str | None = Field(
        default=None,
        max_length=CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )


class StepView(View):
    """One call of the session."""

    gap_ms: int | None = Field(
        description="From the end of the call before it to its admission; below 0: they overlapped; null: it"
        " is the first one shown."
    )
    event: EventView = Field(  # type: ignore[valid-type]  # made from the event's own fields
        description="The call, as `/v1/events` shows it."
    )


class TimelineView(View):
    """The calls of one session, earliest first: the latest page first, where there are several."""

    model_config = example_of(
        {
            "session": _SESSION_EXAMPLE,
            "trace_ids": ["trace-1"],
            "is_whole": True,
            "data": [{"gap_ms": None, "event": EventView.model_config["json_schema_extra"]["example"]}],  # type: ignore[index]  # as events.py made it
            "has_more": False,
            "next_page": None,
        }
    )

    session: SessionView | None = Field(  # type: ignore[valid-type]  # made from the sums themselves
        description="What the calls shown come to; null: this page shows none."
    )
    trace_ids: list[str] = Field(description="The traces that they belong to.")
    is_whole: bool = Field(description="Whether these are all calls of the session.")
    data: list[StepView] = Field(description="The calls, earliest first.")
    has_more: bool = Field(description="Whether there may be earlier ones.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")


@sessions.get("/v1/sessions/timeline", responses={200: TimelineView, **may_refuse(404)})
@needs("read")
def show_timeline(query: TimelineFields) -> Response:
    """Show one session call by call."""
    known = services()
    try:
        page = known.ledger.events(
            visitor().account_id,
            filters={"session_id": [query.session_id]},
            cursor=query.page,
            limit=query.limit,
            kept_since=visitor().account.settings.events_kept_since(known.clock.now()),
        )
    except InvalidInput as error:
        if error.param == "cursor":
            raise InvalidInput(error.message, "page") from error
        raise
    if query.page is None and not page.events and page.next_cursor is None:
        raise NotFound("there is no such session")
    events = sorted(page.events, key=lambda event: (event.timestamp, event.request_id))
    session = session_of(query.session_id, events)
    return answer_fields(
        {
            "session": None if session is None else _shown(session),
            "trace_ids": sorted({event.trace_id for event in events} - {""}),
            "is_whole": query.page is None and page.next_cursor is None,
            "data": _steps(events),
            "has_more": page.next_cursor is not None,
            "next_page": page.next_cursor,
        }
    )


def _steps(events: Sequence[CostEvent]) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = []
    before: datetime | None = None
    for event in events:
        gap = None if before is None else (event.timestamp - before) // _MILLISECOND
        steps.append({"gap_ms": gap, "event": wire_fields(event)})
        before = event.ended_at
    return steps


def _answer(
    page: Sequence[SessionSums],
    next_page: str | None,
    complete_to: datetime,
    nameless: Mapping[str, int],
    *,
    has_older: bool,
) -> Response:
    return answer_fields(
        {
            "data": [_shown(each) for each in page],
            "has_more": next_page is not None,
            "next_page": next_page,
            "complete_to": complete_to,
            "has_older": has_older,
            "nameless": _shown_sums(nameless),
        }
    )


def _read_place(cursor: str) -> Place:
    """The place behind which the page of that name begins. Raises: InvalidInput."""
    try:
        place: Place = msgspec.convert(read_key(cursor), Place)
    except msgspec.ValidationError as error:
        raise InvalidInput(NO_SUCH_PAGE, "page") from error
    return place


def _shown(session: SessionSums) -> dict[str, object]:
    return {
        "session_id": session.session_id,
        "teams": session.teams,
        "apps": session.apps,
        "models": session.models,
        "first_at": session.first_at,
        "last_at": session.last_at,
        "duration_ms": (session.last_at - session.first_at) // _MILLISECOND,
        **_shown_sums(session.sums),
    }


def _shown_sums(sums: Mapping[str, int]) -> dict[str, object]:
    return {
        **sums,
        **shown_money("cost", sums["cost_nanodollars"]),
        **shown_money("saved", sums["saved_nanodollars"]),
    }
