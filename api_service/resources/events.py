"""Cost events: what each metered call used and cost."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from flask import Response
from pydantic import Field, create_model

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import FilterTag, Form, Input, Moment, Usd, View, any_of, example_of
from api_service.routing import may_refuse, routes_of
from api_service.services import services
from metering.errors import InvalidInput, NotFound
from metering.event_pages import CURSOR_CHARACTERS_MAX, EVENTS_A_PAGE_MAX, FILTER_VALUES_MAX
from metering.events import CostEvent, Provider, State, wire_fields

EVENTS_A_PAGE = 100
CLAIMS_MAX = 2

StatusCode = Annotated[str, Form(r"0|[1-5][0-9]{2}", "give a status of HTTP, for example 429")]
Claim = Literal["true", "false"]

_REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")

events = routes_of("events")


class EventFilters(Input):
    """Which events; each filter may be given several times, and then any of its values passes."""

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
    trace_id: list[FilterTag] = any_of("this trace", FILTER_VALUES_MAX)
    prompt_template_id: list[FilterTag] = any_of("this prompt template", FILTER_VALUES_MAX)
    prompt_fingerprint: list[FilterTag] = any_of("calls of this prompt fingerprint", FILTER_VALUES_MAX)
    requested_model: list[FilterTag] = any_of("calls that asked for this model", FILTER_VALUES_MAX)
    routing_rule: list[FilterTag] = any_of("calls that this rule turned to another model", FILTER_VALUES_MAX)
    service_tier: list[FilterTag] = any_of("calls of this tier of the provider's", FILTER_VALUES_MAX)
    region: list[FilterTag] = any_of("calls that ran in this region", FILTER_VALUES_MAX)
    status_code: list[StatusCode] = any_of("calls that were given this status", FILTER_VALUES_MAX)
    cache_hit: list[Claim] = any_of("answers from memory, or only others", CLAIMS_MAX)
    routed: list[Claim] = any_of("calls that a rule turned to another model, or only others", CLAIMS_MAX)
    streaming: list[Claim] = any_of("streams, or only others", CLAIMS_MAX)
    estimated: list[Claim] = any_of("calls with an estimated figure, or only others", CLAIMS_MAX)
    unpriced: list[Claim] = any_of("calls without a known price, or only others", CLAIMS_MAX)


class EventsQuery(EventFilters):
    """Which events to show; each filter may be given several times, and then any of its values passes."""

    start_time: Moment | None = Field(
        default=None,
        description="From this moment on (2026-11-21T00:00:00Z or unix seconds).",
        json_schema_extra={"example": "2026-11-21T00:00:00Z"},
    )
    end_time: Moment | None = Field(default=None, description="Before this moment; left out: until now.")
    limit: int = Field(
        default=EVENTS_A_PAGE,
        ge=1,
        le=EVENTS_A_PAGE_MAX,
        description="Events a page at most.",
        json_schema_extra={"example": 20},
    )
    page: str | None = Field(
        default=None,
        max_length=CURSOR_CHARACTERS_MAX,
        description="`next_page` of the answer before, with the same query.",
    )


_FILTERS = tuple(EventFilters.model_fields)


_EXAMPLE = CostEvent(
    request_id="req_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    timestamp=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
    ended_at=datetime(2026, 11, 21, 9, 30, 1, 840_000, tzinfo=UTC),
    account_id="acct_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    provider="anthropic",
    model="claude-sonnet-4-6",
    requested_model="claude-sonnet-4-6",
    input_tokens=1200,
    output_tokens=150,
    cost_nanodollars=5_850_000,
    price_version="genai-prices-0.2.3",
    latency_ms=1840,
    status_code=200,
    team="search",
)
_MEANINGS = {
    "request_id": "The event's id; the answer carried it as X-ModelTrack-Request-ID.",
    "timestamp": "When the call was admitted; price and period follow it.",
    "ended_at": "When the call was over.",
    "account_id": "Whose call it was.",
    "key_id": "The id of the key that named the account; empty: none was needed.",
    "deployment": "The deployment that the key pins.",
    "provider": "Where the call went.",
    "model": "The model that served the call, in the provider's words.",
    "requested_model": "The model that the caller asked for.",
    "input_tokens": "Input that was neither read from nor written to a prompt cache.",
    "output_tokens": "Output, reasoning included.",
    "cache_read_tokens": "Input read from the provider's prompt cache.",
    "cache_write_5m_tokens": "Input written to the provider's prompt cache for five minutes.",
    "cache_write_1h_tokens": "Input written to the provider's prompt cache for an hour.",
    "reasoning_tokens": "The part of output_tokens that was reasoning.",
    "server_tool_calls": "Calls of the provider's own tools.",
    "service_tier": "The provider's service tier; empty: none said.",
    "region": "Where the provider ran the call; empty: not said.",
    "cost_nanodollars": "The cost; 0 also where no price is known, see unpriced.",
    "price_version": "The price list that the cost follows.",
    "unpriced": "Whether no price is known for the model.",
    "estimated": "Whether any figure is ours rather than the provider's.",
    "estimate_method": "How it was estimated; none: it was not.",
    "latency_ms": "From admission to the last byte.",
    "ttft_ms": "From admission to the first byte of a streamed answer; null: no stream, or none came.",
    "status_code": "The status that the caller got; 0: none.",
    "state": "How the call ended.",
    "streaming": "Whether the answer was a stream.",
    "attempt": "Which attempt at the call this was, from 1.",
    "team": "The caller's or the key's team.",
    "app": "The caller's or the key's app.",
    "feature": "The caller's feature.",
    "customer_tier": "The tier of the caller's customer.",
    "session_id": "The caller's session.",
    "trace_id": "The caller's trace.",
    "prompt_template_id": "The caller's prompt template.",
    "prompt_fingerprint": "A keyed hash of system prompt and tools; empty: none was made.",
    "cache_hit": "Whether the call was answered from memory, and nothing went to the provider.",
    "routed": "Whether another model than the one asked for was chosen by rule.",
    "routing_rule": "That rule; empty: none.",
    "saved_nanodollars": "What the cache or the rule saved.",
    "counterfactual_nanodollars": "What a routed call would have cost at the model it asked for.",
    "unadmitted": "Whether a budget could not be asked, and the call was served all the same.",
    "charges": "What budgets were charged: budget, period, lease, nanodollars.",
    "cost_usd": "The cost in US dollars, exact.",
    "saved_usd": "The saving in US dollars, exact.",
}


class EventPath(Input):
    """Which call, by the id that its answer carried."""

    request_id: str = Field(
        description="The answer's X-ModelTrack-Request-ID.",
        json_schema_extra={"example": _EXAMPLE.request_id},
    )


_SHOWN = wire_fields(_EXAMPLE) | {"cost_usd": 0.00585, "saved_usd": 0}
_SHOWN_EXAMPLE: dict[str, Any] = msgspec.to_builtins(_SHOWN)
_TYPES: dict[str, Any] = {
    **{each.name: each.type for each in msgspec.structs.fields(CostEvent)},
    "charges": list[tuple[str, str, str, int]],
    "cost_usd": Usd,
    "saved_usd": Usd,
}
EVENT_FIELDS = tuple(_TYPES)
_FIELDS: dict[str, Any] = {name: (kind, Field(description=_MEANINGS[name])) for name, kind in _TYPES.items()}


class _EventBase(View):
    model_config = example_of(_SHOWN_EXAMPLE)


EventView: type[View] = create_model(
    "EventView",
    __base__=_EventBase,
    __doc__="One metered call. Money is in US dollars (`cost_usd`, exact) and in nanodollars.",
    **_FIELDS,
)


class EventsView(View):
    """A page of events, newest first. It may hold fewer than asked for, even none, and still not be the last.

    `scanned_to` is the moment down to which everything was looked at; null: all was.
    """

    model_config = example_of(
        {"data": [_SHOWN_EXAMPLE], "has_more": False, "next_page": None, "scanned_to": None}
    )

    data: list[EventView] = Field(  # type: ignore[valid-type]  # made from the event's own fields
        description="The events, newest first."
    )
    has_more: bool = Field(description="Whether there may be older ones.")
    next_page: str | None = Field(description="What `page` takes for those; null: there are none.")
    scanned_to: datetime | None = Field(description="Down to when everything was looked at; null: all was.")


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
            kept_since=_kept_since(),
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


@events.get("/v1/events/<request_id>", responses={200: EventView, **may_refuse(404)})
@needs("read")
def show_event(path: EventPath) -> Response:
    """Show the event of one call."""
    if not _REQUEST_ID.fullmatch(path.request_id):
        raise NotFound("no such event")
    event = services().ledger.event(visitor().account_id, path.request_id, _kept_since())
    return answer_fields(wire_fields(event))


def _kept_since() -> datetime:
    return visitor().account.settings.events_kept_since(services().clock.now())
