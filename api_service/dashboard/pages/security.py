"""Security, for anybody: what is tracked, what is not, how data flows, how long it stays."""

from typing import Final, NamedTuple

from flask import Response

from api_service.dashboard.rendering import page, render
from api_service.dashboard.security_txt import ACKNOWLEDGED_WITHIN_HOURS, contact_address
from api_service.dashboard.view_state import ViewState
from api_service.resources.events import EventView
from api_service.services import services
from metering.retention_rules import RULES

# Of a cost event, which field stands under what; what stands nowhere is told last.
_GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "Which call": (
        "request_id", "timestamp", "ended_at", "account_id", "key_id", "deployment", "attempt",
    ),
    "What served it": (
        "provider", "model", "requested_model", "service_tier", "region", "streaming", "routed",
        "routing_rule", "cache_hit",
    ),
    "What it used": (
        "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens",
        "cache_write_1h_tokens", "reasoning_tokens", "server_tool_calls",
    ),
    "What it cost": (
        "cost_nanodollars", "cost_usd", "price_version", "unpriced", "estimated", "estimate_method",
        "saved_nanodollars", "saved_usd", "counterfactual_nanodollars", "charges", "unadmitted",
    ),
    "How it went": ("latency_ms", "ttft_ms", "status_code", "state"),
    "Your own words, as you send them": (
        "team", "app", "feature", "customer_tier", "session_id", "trace_id", "prompt_template_id",
    ),
    "Off unless the account turns it on": ("prompt_fingerprint",),
}  # fmt: skip


class Group(NamedTuple):
    """Fields of an event that belong together, each with what it means."""

    title: str
    fields: list[tuple[str, str]]


@page("security")
def show_security(state: ViewState) -> Response:
    """Show what becomes of what passes through here."""
    known = services()
    contact = known.settings.security_contact
    return render(
        "security.html",
        groups=tracked(),
        retention=RULES.values(),
        is_hosted=known.settings.is_hosted,
        contact=contact,
        contact_address=contact_address(contact),
        acknowledged_within_hours=ACKNOWLEDGED_WITHIN_HOURS,
    )


def tracked() -> list[Group]:
    """Every field of a cost event, by the API's own description of it."""
    meanings = {name: field.description or "" for name, field in EventView.model_fields.items()}
    found = [
        Group(title, [(name, meanings.pop(name)) for name in names if name in meanings])
        for title, names in _GROUPS.items()
    ]
    return [*found, Group("Besides", list(meanings.items()))] if meanings else found
