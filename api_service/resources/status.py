"""How the service stands: measured, never assumed, and open to anybody."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from flask import Response
from pydantic import Field

from api_service.access import needs
from api_service.answers import answer_fields
from api_service.fields import Input, View
from api_service.routing import may_refuse, routes_of
from api_service.services import services
from api_service.status_board import KEPT_SECONDS, Board
from api_service.tables import answer_csv, with_csv
from metering.provider_health import ACCOUNTS_MIN, CALLS_MIN, ProviderHealth, Window
from metering.status_history import Answered, Sample, Slot

PER_MILLE = 1000
_COLUMNS = ("start_time", "samples", "store_ms", "proxy_up", "proxy_down", "proxy_ms")

status = routes_of("status", is_open=True)

State = Literal["up", "down", "unknown"]

_WINDOW: dict[str, Any] = {"calls": None, "error_rate": 0.004, "p50_ms": 905, "p95_ms": 4096}
_EXAMPLE: dict[str, Any] = {
    "checked_at": "2026-11-21T09:30:00Z",
    "state": "up",
    "api": {"state": "up"},
    "store": {"state": "up", "latency_ms": 12},
    "proxy": {"state": "up", "latency_ms": 4},
    "recording": {
        "measured_at": "2026-11-21T09:27:31Z",
        "recorded_at": "2026-11-21T09:27:30Z",
        "age_seconds": 150,
        "instances": 2,
    },
    "providers": {
        "measured_at": "2026-11-21T09:27:31Z",
        "accounts_min": ACCOUNTS_MIN,
        "calls_min": CALLS_MIN,
        "data": [{"provider": "anthropic", "hour": _WINDOW, "day": _WINDOW}],
    },
    "history": {
        "slot_seconds": 900,
        "data": [
            {
                "start_time": "2026-11-20T09:45:00Z",
                "samples": 3,
                "store_ms": 14,
                "proxy_up": 3,
                "proxy_down": 0,
                "proxy_ms": 5,
                "error_rates": {"anthropic": 0.004},
            },
            {
                "start_time": "2026-11-20T10:00:00Z",
                "samples": 0,
                "store_ms": None,
                "proxy_up": 0,
                "proxy_down": 0,
                "proxy_ms": None,
                "error_rates": {},
            },
        ],
    },
}


class StatusFields(Input):
    """How to tell it."""

    format: Literal["json", "csv"] = Field(
        default="json",
        description="csv: the history alone, one line a slot.",
        json_schema_extra={"example": "json"},
    )


class StatusApiView(View):
    """The service that answers this."""

    state: Literal["up"] = Field(description="It answers, or this would not be read.")


class StatusStoreView(View):
    """Where everything is kept."""

    state: Literal["up", "down"] = Field(description="Whether it answered a read just now.")
    latency_ms: int | None = Field(description="How long that took; null: it did not answer.")


class StatusProxyView(View):
    """What relays calls."""

    state: State = Field(description="Whether it answered just now; `unknown`: its address is not given.")
    latency_ms: int | None = Field(description="How long that took; null: it did not answer.")


class StatusRecordingView(View):
    """When a call was recorded last, at the last look. Null: not known, or too few accounts to tell."""

    measured_at: datetime | None = Field(description="When that was looked at.")
    recorded_at: datetime | None = Field(description="When the last call was recorded.")
    age_seconds: int | None = Field(
        description="How long ago that is. It also grows while nobody calls, and is no fault by itself."
    )
    instances: int | None = Field(description="Instances of the proxy heard of in the quarter hour before.")


class StatusProviderWindowView(View):
    """How a provider answered in a stretch of time."""

    calls: int | None = Field(description="Calls; null: not told, where they are of several people's.")
    error_rate: float = Field(
        description="The part of calls without a usable answer, from 0 to 1; callers' own mistakes count."
    )
    p50_ms: int | None = Field(description="Half of whole answers took no longer, to a factor of √2.")
    p95_ms: int | None = Field(description="95 % of them took no longer.")


class StatusProviderView(View):
    """One provider, as calls through this service see it."""

    provider: str = Field(description="Which.")
    hour: StatusProviderWindowView | None = Field(description="In the last hour; null: too little to tell.")
    day: StatusProviderWindowView | None = Field(description="In the last 24 hours; null: likewise.")


class StatusProvidersView(View):
    """The providers that had calls in the last 24 hours. What might be one account's figure is not told."""

    measured_at: datetime | None = Field(description="When that was looked at; null: not lately.")
    accounts_min: int | None = Field(
        description="Fewer accounts are not told of, nor one that made more than half of the calls; null:"
        " this machine's accounts are its owner's."
    )
    calls_min: int | None = Field(description="Fewer calls are not told of; null: likewise.")
    data: list[StatusProviderView] = Field(description="The providers.")


class StatusSlotView(View):
    """A quarter hour. Without samples nothing is known of it: it is a gap."""

    start_time: datetime = Field(description="When it began.")
    samples: int = Field(description="How often was measured in it.")
    store_ms: int | None = Field(description="The slowest read of the store.")
    proxy_up: int = Field(description="How often the proxy answered.")
    proxy_down: int = Field(description="How often it did not.")
    proxy_ms: int | None = Field(description="Its slowest answer.")
    error_rates: dict[str, float] = Field(
        description="By provider, that of the hour before the last sample, where it may be told."
    )


class StatusHistoryView(View):
    """The last 24 hours, oldest first."""

    slot_seconds: int = Field(description="How long a slot is.")
    data: list[StatusSlotView] = Field(description="Every slot, measured or not.")


class StatusView(View):
    """How the service stands. Every figure was measured; what was not is null or a gap."""

    model_config = with_csv(_EXAMPLE)

    checked_at: datetime = Field(
        description=f"When it was measured: at most {KEPT_SECONDS:.0f} seconds ago, as a rule."
    )
    state: Literal["up", "down"] = Field(description="`down`: the store or the proxy did not answer.")
    api: StatusApiView = Field(description="This API.")
    store: StatusStoreView = Field(description="The store.")
    proxy: StatusProxyView = Field(description="The proxy.")
    recording: StatusRecordingView = Field(description="The recording of calls.")
    providers: StatusProvidersView = Field(description="The providers.")
    history: StatusHistoryView = Field(description="What was measured every five minutes.")


@status.get("/v1/status", responses={200: StatusView, **may_refuse(503)})
@needs("anyone")
def show_status(query: StatusFields) -> Response:
    """Show how the service stands: store, proxy, recording, providers, and the last 24 hours.

    The answer is kept in memory for some seconds, so that it may be asked for often.
    """
    known = services()
    board = known.status.shown()
    if query.format == "csv":
        return answer_csv(_COLUMNS, [_shown_slot(each) for each in board.slots], None)
    return answer_fields(_shown(board, is_hosted=known.settings.is_hosted))


def _shown(board: Board, *, is_hosted: bool) -> dict[str, object]:
    is_down = "down" in (board.store.state, board.proxy.state)
    return {
        "checked_at": board.checked_at,
        "state": "down" if is_down else "up",
        "api": {"state": "up"},
        "store": _shown_answered(board.store),
        "proxy": _shown_answered(board.proxy),
        "recording": _shown_recording(board.last, board.checked_at),
        "providers": {
            "measured_at": board.last and board.last.at,
            "accounts_min": ACCOUNTS_MIN if is_hosted else None,
            "calls_min": CALLS_MIN if is_hosted else None,
            "data": [_shown_provider(each) for each in board.last.providers] if board.last else [],
        },
        "history": {
            "slot_seconds": 900,
            "data": [_shown_slot(each) for each in board.slots],
        },
    }


def _shown_answered(each: Answered) -> dict[str, object]:
    return {"state": each.state, "latency_ms": each.latency_ms}


def _shown_recording(last: Sample | None, now: datetime) -> dict[str, object]:
    at = None if last is None else last.recording.recorded_at
    return {
        "measured_at": last and last.at,
        "recorded_at": at,
        "age_seconds": None if at is None else max(0, round((now - at).total_seconds())),
        "instances": last and last.recording.instances,
    }


def _shown_provider(each: ProviderHealth) -> dict[str, object]:
    return {
        "provider": each.provider,
        "hour": _shown_window(each.hour),
        "day": _shown_window(each.day),
    }


def _shown_window(window: Window | None) -> Mapping[str, object] | None:
    if window is None:
        return None
    return {
        "calls": window.calls,
        "error_rate": window.errors_per_mille / PER_MILLE,
        "p50_ms": window.p50_ms,
        "p95_ms": window.p95_ms,
    }


def _shown_slot(slot: Slot) -> dict[str, object]:
    proxies = [each.proxy for each in slot.samples]
    last = slot.samples[-1].providers if slot.samples else ()
    return {
        "start_time": slot.start,
        "samples": len(slot.samples),
        "store_ms": max((each.store_ms for each in slot.samples), default=None),
        "proxy_up": sum(each.state == "up" for each in proxies),
        "proxy_down": sum(each.state == "down" for each in proxies),
        "proxy_ms": max((each.latency_ms for each in proxies if each.latency_ms is not None), default=None),
        "error_rates": {
            each.provider: each.hour.errors_per_mille / PER_MILLE for each in last if each.hour is not None
        },
    }
