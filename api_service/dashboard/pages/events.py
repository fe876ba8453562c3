"""Events: each metered call, the newest first; one of them whole; and the guide to the first one."""

from typing import Final, get_args

from flask import Response, request

from api_service.dashboard.navigation import HOME
from api_service.dashboard.pages.narrowing import answer_address
from api_service.dashboard.reading import answer_of, section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import FILTER_VALUES_MAX, ViewState
from api_service.resources.events import list_events, show_event
from api_service.resources.keys import list_keys
from api_service.services import services
from metering.events import Provider
from metering.events import State as HowEnded

A_PAGE: Final = 50
ONLY_HERE: Final = ("state", "session_id", "trace_id")  # filters that no other page knows
BY_FORM: Final = ("provider", "model", "team", "app", "feature", "customer_tier", "key_id")
STATE_TONES: Final = {
    "completed": "good",
    "cache_hit": "good",
    "refused": "warn",
    "unmetered": "warn",
    "upstream_error": "bad",
    "upstream_truncated": "bad",
    "lost": "bad",
}
TOKENS: Final = (
    ("input_tokens", "Input"),
    ("cache_read_tokens", "Read from the prompt cache"),
    ("cache_write_5m_tokens", "Written to it for 5 minutes"),
    ("cache_write_1h_tokens", "Written to it for an hour"),
    ("output_tokens", "Output"),
    ("reasoning_tokens", "of which reasoning"),
    ("server_tool_calls", "Calls of the provider’s tools"),
)
TAGS: Final = (
    "team", "app", "feature", "customer_tier", "deployment", "key_id", "session_id", "trace_id",
    "prompt_template_id", "prompt_fingerprint",
)  # fmt: skip


@page("events")
def show_events(state: ViewState) -> Response:
    """List events; the newest come in by themselves where that is asked for."""
    own = _own_filters()
    cursor = next(iter(request.args.getlist("page")), None)
    query = {**_moments(state), **state.filters, **own}
    return render(
        "events.html",
        events=section_of(list_events, query={**query, "page": cursor, "limit": A_PAGE}),
        own=own,
        is_live="live" in request.args and cursor is None and state.is_running,
        is_first_page=cursor is None,
        here=lambda **changes: state.address("/events", **{**own, **changes}),
        csv=answer_address("/v1/exports/events", {**query, "format": "csv"}),
        ndjson=answer_address("/v1/exports/events", {**query, "format": "ndjson"}),
        by_form=BY_FORM,
        providers=get_args(Provider),
        ends=get_args(HowEnded),
        tones=STATE_TONES,
    )


@page("event")
def show_event_page(state: ViewState, request_id: str) -> Response:
    """Show one call: what it used, what it cost, whose it was and how it went."""
    event = answer_of(show_event, path={"request_id": request_id})
    return render("event.html", event=event, tokens=TOKENS, tags=TAGS, tones=STATE_TONES)


@page("welcome")
def show_welcome(state: ViewState) -> Response:
    """Guide to the first event, which appears by itself."""
    keys = section_of(list_keys)
    newest = section_of(list_events, query={"limit": 1})
    return render(
        "welcome.html",
        has_key=any(each["status"] == "live" for each in keys["data"] or []),
        newest=newest,
        proxy=services().settings.proxy_public_url.rstrip("/"),
        onward=state.address(HOME, range="today"),
        tones=STATE_TONES,
    )


def _own_filters() -> dict[str, list[str]]:
    found = {name: request.args.getlist(name)[:FILTER_VALUES_MAX] for name in ONLY_HERE}
    return {name: given for name, values in found.items() if (given := [each for each in values if each])}


def _moments(state: ViewState) -> dict[str, object]:
    """The range as moments, by which events are found; one that runs goes on as they come."""
    return {
        name: each for name, each in state.moments.items() if name == "start_time" or not state.is_running
    }
