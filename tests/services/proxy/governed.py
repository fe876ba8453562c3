"""Accounts with budgets and rules, and an upstream that says what each of its answers used."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from metering.accounts import LOCAL_ACCOUNT_ID, AccountSettings, Policy
from metering.budgets import Budget
from metering.routing import RoutingRule
from tests.builders import make_id
from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, Wire
from tests.services.proxy.calls import answer, message
from tests.services.proxy.running import RunningProxy

SONNET, HAIKU = "claude-sonnet-4-6", "claude-haiku-4-5"
DOLLAR = 1_000_000_000  # nanodollars


def make_budget(**changes: Any) -> Budget:
    """A budget of $1 a month over the whole account, that blocks."""
    fields: dict[str, Any] = {"budget_id": make_id("budget"), "name": "all", "limit_nanodollars": DOLLAR}
    return Budget(**fields | changes)


def make_rule(**changes: Any) -> RoutingRule:
    """The published rule: Sonnet to Haiku at 70 %."""
    fields: dict[str, Any] = {
        "rule_id": make_id("rule"),
        "name": "budget-downgrade",
        "threshold": 70,
        "from_models": (SONNET,),
        "to_model": HAIKU,
        "provider": "anthropic",
    }
    return RoutingRule(**fields | changes)


def govern(
    proxy: RunningProxy,
    budgets: Sequence[Budget] = (),
    rules: Sequence[RoutingRule] = (),
    settings: AccountSettings | None = None,
) -> None:
    """Give the machine's own account these budgets and rules, before its first call."""
    directory = proxy.directory
    directory.ensure_local_account()
    if settings is not None:
        directory.change_settings(LOCAL_ACCOUNT_ID, settings)

    def edit(policy: Policy) -> Policy:
        return msgspec.structs.replace(policy, budgets=tuple(budgets), routing_rules=tuple(rules))

    directory.change(lambda: directory.edition_of_policy(LOCAL_ACCOUNT_ID, edit))


class Using:
    """A script: each answer has used what was said next, or else nothing; in the words of its provider."""

    def __init__(self) -> None:
        self.usages: deque[dict[str, Any]] = deque()

    def __call__(self, wire: Wire, request: ReceivedRequest) -> None:
        wire.take_body(request)
        usage = self.usages.popleft() if self.usages else {"input_tokens": 0, "output_tokens": 0}
        is_chat = b"/chat/completions" in request.line
        wire.send(answer(_chat(request, usage) if is_chat else message(**_said(request, usage))))


def _said(request: ReceivedRequest, usage: dict[str, Any]) -> dict[str, Any]:
    asked = msgspec.json.decode(request.body) if request.body[:1] == b"{" else {}
    return {"model": asked.get("model", SONNET), "usage": usage}


def _chat(request: ReceivedRequest, usage: dict[str, Any]) -> bytes:
    asked = msgspec.json.decode(request.body)
    return msgspec.json.encode(
        {
            "model": asked["model"],
            "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}],
            "usage": {
                "prompt_tokens": usage.get("input_tokens", 0),
                "completion_tokens": usage.get("output_tokens", 0),
            },
        }
    )


def script_of(upstream: RawUpstream) -> Using:
    """The upstream's script."""
    assert isinstance(upstream.script, Using)
    return upstream.script
