"""Builders of what the proxy's steps hand to each other: valid by default."""

from typing import Any

from metering.accounts import Policy
from metering.usage import Reading, Usage
from proxy_service.call import Errand
from proxy_service.headers import Inbound
from proxy_service.identity import Identified
from proxy_service.providers import Route
from proxy_service.settlement import Admitted
from proxy_service.wire import Headers, Origin
from tests.builders import AT, make_caller, make_id, make_policy

KEY = (b"X-Api-Key", b"sk-ant-1")


def make_route(**changes: Any) -> Route:
    fields: dict[str, Any] = {
        "provider": "anthropic",
        "dialect": "anthropic",
        "kind": "metered",
        "upstream": "anthropic",
        "target": b"/v1/messages",
        "operation": "messages",
    }
    return Route(**fields | changes)


def make_errand(
    *,
    account_id: str | None = None,
    policy: Policy | None = None,
    headers: Headers | None = None,
    ours: dict[bytes, bytes] | None = None,
    route: Route | None = None,
    unseen_key_hash: str = "",
) -> Errand:
    caller = make_caller() if account_id is None else make_caller(account_id=account_id)
    return Errand(
        route=route or make_route(),
        who=Identified(caller, policy or make_policy(), unseen_key_hash=unseen_key_hash),
        inbound=Inbound(outbound=[KEY] if headers is None else headers, ours=ours or {}),
        origin=Origin("https", "api.example.com", 443),
        region="",
    )


def make_admitted(**changes: Any) -> Admitted:
    errand = make_errand()
    fields: dict[str, Any] = {
        "request_id": make_id("req"),
        "timestamp": AT,
        "caller": errand.who.caller,
        "policy": errand.who.policy,
        "tags": errand.inbound.tags(),
        "provider": "anthropic",
        "requested_model": "claude-sonnet-4-5",
    }
    return Admitted(**fields | changes)


def make_reading(**changes: Any) -> Reading:
    fields: dict[str, Any] = {
        "usage": Usage(input_tokens=1000, output_tokens=100),
        "model": "claude-sonnet-4-5-20250929",
        "is_complete": True,
    }
    return Reading(**fields | changes)
