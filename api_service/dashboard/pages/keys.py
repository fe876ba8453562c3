"""Keys: what there is, a new one with snippets to paste, rotating and revoking."""

from flask import Response

from api_service.access import visitor
from api_service.dashboard.reading import section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.keys import list_keys
from api_service.roles import role_covers
from api_service.services import services
from metering.keys import SCOPES, Scope

SCOPE_MEANINGS: dict[Scope, str] = {
    "proxy": "send calls through the proxy",
    "read": "read usage, events and budgets",
    "write": "change budgets, rules, settings and keys",
    "ingest": "hand in costs from elsewhere",
    "stats": "watch the proxy's own figures",
}


@page("keys")
def show_keys(state: ViewState) -> Response:
    """List the keys, and let those who may rotate and revoke them."""
    return render(
        "keys.html",
        keys=section_of(list_keys),
        may_change=visitor().may("keys"),
        proxy=_proxy_address(),
    )


@page("new_key")
def show_new_key(state: ViewState) -> Response:
    """Let somebody make a key that may do no more than they may."""
    seat = visitor().seat
    scopes = [
        (scope, scope, SCOPE_MEANINGS[scope])
        for scope in SCOPES
        if seat is not None and role_covers(seat.place.role, scope)
    ]
    return render("new_key.html", scopes=scopes, proxy=_proxy_address())


def _proxy_address() -> str:
    return services().settings.proxy_public_url.rstrip("/")
