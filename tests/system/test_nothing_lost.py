"""Money is exact whatever dies: two proxies of which one is killed, the store cut off, replies lost.

`PROOF=full` makes it ten thousand calls and an outage of half a minute (`make proof`); else a tenth of that.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from metering.budgets import Budget
from tests.system.deployment import Deployment, Row, Tenant
from tests.system.outages import CutOff, LockedSqlite, RelayedFirestore
from tests.system.processes import Process, eventually
from tests.system.statement import Statement, recorded_nanodollars, statement
from tests.system.traffic import Traffic

LOST_REPLIES_PERCENT = 20
LIMIT = 1_000_000 * 10**9  # generous: what is proved is the counting, not the limit
LEASE_SECONDS = 120.0  # after which a killed proxy's slices are handed back at the latest
BUDGETS = (
    Budget(budget_id="", name="strict", mode="strict", limit_nanodollars=LIMIT),
    Budget(budget_id="", name="normal", limit_nanodollars=LIMIT),
)


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    calls: int
    calls_per_second: float
    outage_seconds: float
    patience_seconds: float


SIZE = (
    Size(calls=10_000, calls_per_second=110, outage_seconds=30, patience_seconds=180)
    if os.environ.get("PROOF") == "full"
    else Size(calls=600, calls_per_second=70, outage_seconds=3, patience_seconds=60)
)
TIMEOUT_SECONDS = 60 + 3 * (SIZE.calls / SIZE.calls_per_second) + SIZE.patience_seconds


@dataclass
class Scene:
    """A deployment of its own on a store that can be cut off, and its two proxies."""

    deployment: Deployment
    cut_off: CutOff
    tenant: Tenant
    proxies: list[Process]

    def replace_first_proxy(self) -> None:
        """Kill it, and start another one where it was."""
        port = self.proxies[0].port
        self.proxies[0].kill()
        self.proxies[0] = self.deployment.start_proxy(port=port)


@pytest.fixture(params=["sqlite", "firestore"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Two proxies and an API that share a folder and a store; of their commits' replies a part is lost."""
    cut_off: CutOff = LockedSqlite(tmp_path)
    if request.param == "firestore":
        cut_off = RelayedFirestore(request.getfixturevalue("firestore_relay"))
    deployment = cut_off.deployment(tmp_path / "deployment", lost_replies_percent=LOST_REPLIES_PERCENT)
    try:
        proxies = deployment.start_twice()
        yield Scene(deployment, cut_off, deployment.tenant(), proxies)
    finally:
        cut_off.end()
        deployment.stop()


@pytest.mark.battery("C5", "B3", "F4")
@pytest.mark.timeout(TIMEOUT_SECONDS)
def test_every_call_is_recorded_once_and_as_billed_whatever_dies(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment, tenant = scene.deployment, scene.tenant
    salt = tenant.provider_key
    urls = [proxy.url for proxy in scene.proxies]
    for budget in BUDGETS:
        deployment.rulebook().create_budget(tenant.account_id, budget)
    with Traffic(urls, tenant.headers, SIZE.calls, SIZE.calls_per_second, salt) as traffic:
        _wait_for(traffic, SIZE.calls * 3 // 10)
        scene.cut_off.begin()
        cut_off_at = time.monotonic()
        _wait_until(cut_off_at + SIZE.outage_seconds / 3)
        scene.replace_first_proxy()
        _wait_until(cut_off_at + SIZE.outage_seconds)
        scene.cut_off.end()

    found = _complete(deployment, tenant, traffic)
    with capsys.disabled():
        print(f"\n{found.printed()}")  # noqa: T201 - for whoever runs the test

    assert found.differences() == []
    usage = deployment.usage(tenant)
    assert usage["requests"] == len(found.events)
    assert usage["cost_usd"] * 10**9 == recorded_nanodollars(found.events.values())
    _assert_conserved(deployment, tenant, found)
    _assert_budgets_agree(deployment, tenant, usage["cost_usd"])


def _assert_conserved(deployment: Deployment, tenant: Tenant, found: Statement) -> None:
    """Law 5: of all calls that were admitted, none is in flight, and each has its event."""
    states = Counter(str(event["state"]) for event in found.events.values())
    lost, refused = states["lost"], states["refused"]

    def counts() -> Row:
        days = deployment.ask_api(tenant, "/v1/conservation")["data"]
        return {name: sum(day[name] for day in days) for name in ("admitted", "settled", "in_flight", "lost")}

    settled = len(found.events) - lost - refused
    wanted = {"admitted": settled + lost, "settled": settled, "in_flight": 0, "lost": lost}
    assert counts() == wanted
    assert deployment.differences(tenant) == []


def _assert_budgets_agree(deployment: Deployment, tenant: Tenant, cost_usd: Decimal) -> None:
    """Law 4: each budget over all calls has counted what all events cost; when all is over, it holds nothing.

    A call by a key that the store could not tell of is counted once recovery has told whose it was.
    """

    def standings() -> list[tuple[Decimal, Decimal]]:
        page = deployment.ask_api(tenant, "/v1/budgets")
        return [(budget["spent_usd"], budget["held_usd"]) for budget in page["data"]]

    def agree() -> bool:
        return [spent for spent, _ in standings()] == [cost_usd, cost_usd]

    eventually(agree, seconds=SIZE.patience_seconds, what="the counting of all calls")
    deployment.stop_proxies()
    over = [(cost_usd, Decimal(0))] * 2
    eventually(lambda: standings() == over, seconds=LEASE_SECONDS, what="the handing back of what was held")


def _wait_for(traffic: Traffic, calls: int) -> None:
    eventually(lambda: len(traffic.made) >= calls, seconds=TIMEOUT_SECONDS, what=f"{calls} calls")


def _wait_until(moment: float) -> None:
    eventually(lambda: time.monotonic() >= moment, seconds=SIZE.patience_seconds, what="a moment")


def _complete(deployment: Deployment, tenant: Tenant, traffic: Traffic) -> Statement:
    """The statement once every call that needs an event has one; else the last one, to be told from."""
    deadline = time.monotonic() + SIZE.patience_seconds

    def look() -> Statement | None:
        found = statement(deployment, tenant, traffic.made, traffic.salt)
        return found if not found.without_event() or time.monotonic() > deadline else None

    return eventually(look, seconds=2 * SIZE.patience_seconds, what="every event")
