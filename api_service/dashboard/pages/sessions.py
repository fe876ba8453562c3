"""Sessions: the latest ones and what each came to, and one of them call by call along a line of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from flask import Response, request

from api_service.dashboard.pages.narrowing import answer_address, narrowed
from api_service.dashboard.reading import Fields, answer_of, section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.sessions import list_sessions, show_timeline

FILTERS: Final = ("team", "app")
SESSIONS: Final = 25
NARROWEST: Final = Decimal("0.4")  # percent of the line of time: what is shorter would not be seen
_MILLISECOND: Final = timedelta(milliseconds=1)


@page("sessions")
def show_sessions(state: ViewState) -> Response:
    """List the sessions that had calls in the range, the latest first."""
    known = narrowed(state, FILTERS)
    query = {**state.time, **known.filters, "limit": SESSIONS, "page": _asked("page") or None}
    sessions = section_of(list_sessions, query=query)
    return render(
        "sessions.html",
        sessions=sessions,
        most=max((each["cost_nanodollars"] for each in sessions["data"] or ()), default=0),
        csv=answer_address("/v1/sessions", {**query, "format": "csv"}),
        address_of=lambda session_id: state.address("/sessions/view", session_id=session_id),
        passed_over=known.passed_over,
    )


@page("session")
def show_session(state: ViewState) -> Response:
    """Show one session call by call."""
    session_id = _asked("session_id")
    if not session_id:
        return render("session.html", session_id="", timeline=None, csv="", back=state.address("/sessions"))
    timeline = answer_of(show_timeline, query={"session_id": session_id, "page": _asked("page") or None})
    following = timeline["next_page"]
    return render(
        "session.html",
        session_id=session_id,
        timeline=timeline,
        steps=_steps(timeline["data"]),
        csv=_csv(session_id, timeline["session"]),
        earlier=following and state.address(request.path, session_id=session_id, page=following),
        back=state.address("/sessions"),
    )


def _asked(name: str) -> str:
    return next(iter(request.args.getlist(name)), "")


def _csv(session_id: str, session: Fields | None) -> str:
    """The session's events as an export, from the first that is shown on."""
    if session is None:
        return ""
    query = {"session_id": session_id, "start_time": session["first_at"], "format": "csv"}
    return answer_address("/v1/exports/events", query)


@dataclass(frozen=True)
class Step:
    """One call, and where it lies on the line of time, in percent from the first call to the last's end."""

    gap_ms: int | None
    event: Fields
    begins: Decimal
    lasts: Decimal


def _steps(calls: Sequence[Fields]) -> list[Step]:
    """The calls along one line of time."""
    if not calls:
        return []
    begins = [datetime.fromisoformat(each["event"]["timestamp"]) for each in calls]
    lasts = [timedelta(milliseconds=each["event"]["latency_ms"]) for each in calls]
    whole = max(start + length for start, length in zip(begins, lasts, strict=True)) - begins[0]
    return [
        Step(
            call["gap_ms"],
            call["event"],
            begins=min(_percent(start - begins[0], whole), 100 - NARROWEST),
            lasts=max(_percent(length, whole), NARROWEST),
        )
        for call, start, length in zip(calls, begins, lasts, strict=True)
    ]


def _percent(part: timedelta, whole: timedelta) -> Decimal:
    if not whole // _MILLISECOND:
        return Decimal(0)
    return round(Decimal(part // _MILLISECOND) * 100 / (whole // _MILLISECOND), 2)
