"""Two proxies, many callers, one budget: what is spent, what is refused, and how.

`PROOF=full` makes the longer of the two budgets last for ten thousand calls (`make proof`); else for fewer.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from metering.budgets import Budget, Mode
from metering.events import CostEvent
from metering.journal import Admitted, parse_line
from metering.ledger import Ledger
from metering.opening import open_store
from tests.system.calls import MESSAGES, Reply, call, message
from tests.system.deployment import Deployment, Tenant, nanodollars
from tests.system.processes import Process, eventually

CALLERS = 200
MANY_CALLS = 10_000 if os.environ.get("PROOF") == "full" else 500
LAST_SECONDS = 240.0 if os.environ.get("PROOF") == "full" else 45.0
OUTPUT_TOKENS = (20, 180)
OUTPUT_TOKENS_MAX = 200
USUAL_NANODOLLARS = 1_600_000  # of a call, about
PAGE = 1_000
PAGES_MAX = 100
PROMPT = "What does it cost?"


@pytest.fixture
def proxies(deployment: Deployment) -> Iterator[list[Process]]:
    """Two proxies on one store."""
    second = deployment.start_proxy(data="second")
    yield [deployment.proxy, second]
    second.stop()


@dataclass
class Crowd:
    """Callers that call on and on, and come back when told to; `refusals` are what they were told."""

    proxies: list[Process]
    tenant: Tenant
    answered: int = 0
    refusals: list[Reply] = field(default_factory=list)

    def spend(self) -> None:
        """Have them all call until each was told not to come back, or the time is over."""
        self._until = time.monotonic() + LAST_SECONDS
        self._lock = threading.Lock()
        with ThreadPoolExecutor(CALLERS) as callers:
            for done in [callers.submit(self._call_on, number) for number in range(CALLERS)]:
                done.result()

    def _call_on(self, number: int) -> None:
        dice = random.Random(number)  # noqa: S311 - chance, not secrecy
        proxy = self.proxies[number % len(self.proxies)]
        while time.monotonic() < self._until:
            reply = self.call(proxy, dice.randint(*OUTPUT_TOKENS))
            with self._lock:
                if reply.status == 200:
                    self.answered += 1
                    continue
                self.refusals.append(reply)
            if reply.header("x-should-retry") == "false":
                return
            time.sleep(float(reply.header("retry-after")))

    def call(self, proxy: Process, output_tokens: int) -> Reply:
        """One call, that is answered with so many tokens."""
        headers = {
            **self.tenant.headers,
            "x-api-key": self.tenant.provider_key,
            "anthropic-version": "2023-06-01",
            "content-type": "application/json",
            "x-modeltrack-no-cache": "true",
            "x-demo-output-tokens": str(output_tokens),
            "x-demo-delay-ms": "20",
        }
        return call(proxy.url, MESSAGES, message(PROMPT, max_tokens=OUTPUT_TOKENS_MAX), headers)


@pytest.mark.battery("B1", "B2")
@pytest.mark.not_behind_nginx("the bound that it holds is that of two proxies, and there they are three")
@pytest.mark.parametrize("mode", ["strict", "normal"])
@pytest.mark.parametrize("calls", [10, MANY_CALLS])
def test_what_two_proxies_let_through_stays_within_the_budget(
    deployment: Deployment,
    tenant: Tenant,
    proxies: list[Process],
    record_property: Callable[[str, object], None],
    mode: Mode,
    calls: int,
) -> None:
    limit = calls * USUAL_NANODOLLARS
    budget = _with_budget(deployment, tenant, mode, limit)
    crowd = Crowd(proxies, tenant)
    crowd.spend()
    events = _events(deployment, tenant, crowd.answered + len(crowd.refusals))
    holds = _holds(deployment, tenant)
    spent = sum(event.cost_nanodollars for event in events)
    title = f"{deployment.store_url[:6]}, {mode}, {calls} calls"
    sys.stdout.write(_figures(title, events, holds, limit))
    check = "B1" if mode == "strict" else "B2"
    record_property("battery_figure", f"{check} {max(0, spent - limit) / limit:.2%} of {calls} calls' cost")
    assert spent == sum(row["nanodollars"] for row in deployment.bill(tenant))
    assert spent <= limit + len(proxies) * budget.overdraft_nanodollars
    assert spent > limit - max(holds.values())
    _assert_told_why(crowd.refusals, budget)
    _assert_shown(deployment, tenant, budget, spent)


def test_a_proxy_that_is_told_to_stop_hands_back_what_it_had(deployment: Deployment, tenant: Tenant) -> None:
    budget = _with_budget(deployment, tenant, "strict", MANY_CALLS * USUAL_NANODOLLARS)
    proxy = deployment.start_proxy(data="stopping")
    crowd = Crowd([proxy], tenant)
    assert crowd.call(proxy, 100).status == 200
    proxy.stop()
    shown = deployment.ask_api(tenant, f"/v1/budgets/{budget.budget_id}")
    assert shown["spent_usd"] == deployment.event(tenant)["cost_usd"]
    assert shown["held_usd"] == 0


def _with_budget(deployment: Deployment, tenant: Tenant, mode: Mode, limit: int) -> Budget:
    """A budget over the whole account."""
    terms = Budget(budget_id="", name="everything", limit_nanodollars=limit, mode=mode)
    return deployment.rulebook().create_budget(tenant.account_id, terms)


def _events(deployment: Deployment, tenant: Tenant, count: int) -> list[CostEvent]:
    """All events of the tenant, as soon as there are that many."""
    store = open_store(deployment.store_url)
    ledger = Ledger(store)

    def look() -> list[CostEvent] | None:
        found: list[CostEvent] = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = ledger.events(tenant.account_id, cursor=cursor, limit=PAGE)
            found += page.events
            cursor = page.next_cursor
            if cursor is None:
                break
        return found if len(found) >= count else None

    try:
        found = eventually(look, seconds=30.0, what=f"the storing of {count} events")
    finally:
        store.close()
    assert len(found) == count
    return found


def _holds(deployment: Deployment, tenant: Tenant) -> dict[str, int]:
    """What was held for each call that was let through, by request id, as the proxies' journals say."""
    lines = [
        parse_line(line)
        for file in deployment.folder.glob("*/cost_events*.jsonl")
        for line in file.read_bytes().splitlines()
    ]
    return {
        line.request_id: line.holds[0].nanodollars
        for line in lines
        if isinstance(line, Admitted) and line.account_id == tenant.account_id
    }


def _figures(title: str, events: list[CostEvent], holds: dict[str, int], limit: int) -> str:
    """How well the budget held, beside a plain ledger of one process that would know everything at once."""
    spent = sum(event.cost_nanodollars for event in events)
    refused = [event for event in events if event.state == "refused"]
    falsely = _refused_falsely(events, holds, limit)
    return (
        f"{title}: answered {len(events) - len(refused)} of {len(events)}, spent {spent / limit:.2%} of the"
        f" limit, overspent {max(0, spent - limit) / limit:.2%}, refused falsely {falsely}"
        f" ({falsely / len(events):.2%})\n"
    )


def _refused_falsely(events: list[CostEvent], holds: dict[str, int], limit: int) -> int:
    """How many calls were refused that a plain ledger would have held the same amounts for."""
    need = max(holds.values())
    moments: list[tuple[datetime, int, int]] = []
    for event in events:
        if event.state == "refused":
            moments.append((event.timestamp, 1, 0))
        else:
            held = holds[event.request_id]
            moments.append((event.timestamp, 0, held))
            moments.append((event.ended_at, 0, event.cost_nanodollars - held))
    taken = falsely = 0
    for _, is_refusal, change in sorted(moments):
        taken += change
        falsely += is_refusal and taken + need <= limit
    return falsely


def _assert_told_why(refusals: list[Reply], budget: Budget) -> None:
    """Each refusal names the budget and how it stands, and says whether coming back helps."""
    statuses = {"budget_exceeded": 429}
    if budget.mode == "strict":
        statuses["budget_unverifiable"] = 503  # the store took longer than a call waits for it
    assert 429 in {refusal.status for refusal in refusals}
    months = {f"{moment:%Y-%m}" for moment in (budget.created_at, datetime.now(UTC))}
    for refusal in refusals:
        error = refusal.json()["error"]
        details = error["details"]
        assert refusal.status == statuses[details["error_code"]]
        assert (details["budget_id"], details["budget_name"]) == (budget.budget_id, budget.name)
        assert details["period"] in months
        assert nanodollars(Decimal(details["limit_usd"])) == budget.limit_nanodollars
        spent, held = (nanodollars(Decimal(details[name])) for name in ("spent_usd", "held_usd"))
        assert spent >= 0
        assert held >= 0
        assert datetime.fromisoformat(details["resets_at"]) > datetime.now(UTC)
        assert (refusal.header("retry-after"), refusal.header("x-should-retry")) in {("1", ""), ("", "false")}


def _assert_shown(deployment: Deployment, tenant: Tenant, budget: Budget, spent: int) -> None:
    """The API shows what was spent, and soon that nothing is held any more but what lies in slices."""

    def look() -> bool:
        shown = deployment.ask_api(tenant, f"/v1/budgets/{budget.budget_id}")
        return nanodollars(shown["spent_usd"]) == spent

    eventually(look, what="the whole spend in the API")
