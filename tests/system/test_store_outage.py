"""The store answers nobody for a while: calls go on, nobody gets in, and every event arrives afterwards.

`PROOF=full` makes it a minute (`make proof`).
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import requests

from metering.budgets import Budget
from metering.keys import new_key
from tests.system.calls import MESSAGES, call, message
from tests.system.deployment import Deployment, Tenant, nanodollars
from tests.system.outages import CutOff, RelayedFirestore, SilencedSqlite
from tests.system.processes import Process, eventually
from tests.system.statement import Statement, all_events, statement
from tests.system.traffic import Traffic

OUTAGE_SECONDS = 60.0 if os.environ.get("PROOF") == "full" else 6.0
CALLS_PER_SECOND = 20.0
PATIENCE_SECONDS = 60.0
CALLS_IN_A_ROW = 40
LIMIT = 200_000_000  # of which a proxy leases less at once than what its calls in a row cost
UNKNOWN_TO_THE_STORE = Tenant("", new_key(), "sk-test-unknown")
MALFORMED = Tenant("", "mt_malformed", "sk-test-malformed")


@dataclass
class Scene:
    """A deployment of its own on a store that can be cut off, its two proxies, and accounts of each kind."""

    deployment: Deployment
    cut_off: CutOff
    proxies: list[Process]

    def __post_init__(self) -> None:
        self.busy = self.deployment.tenant()
        self.known = self.deployment.tenant()
        self.unseen = self.deployment.tenant()
        self.revoked = self.deployment.tenant()
        self.suspended = self.deployment.tenant()
        self.strict = self._limited(limit_nanodollars=LIMIT, mode="strict")
        self.normal = self._limited(limit_nanodollars=LIMIT)
        self.warned = self._limited(limit_nanodollars=1, action="warn")
        self.used_up = self._limited(limit_nanodollars=1)

    def _limited(self, **terms: Any) -> Tenant:
        tenant = self.deployment.tenant()
        self.deployment.rulebook().create_budget(tenant.account_id, Budget(budget_id="", **terms))
        return tenant

    def statuses(self, tenant: Tenant) -> list[int]:
        """What a call of the tenant is answered by each proxy."""
        headers = {
            "x-api-key": tenant.provider_key,
            "anthropic-version": "2023-06-01",
            "x-modeltrack-no-cache": "true",
            **tenant.headers,
        }
        return [call(proxy.url, MESSAGES, message(), headers).status for proxy in self.proxies]

    def row_of_statuses(self, tenant: Tenant) -> list[list[int]]:
        """What many calls in a row are answered: by each proxy, each status once for as long as it lasts."""
        rows = [self.statuses(tenant) for _ in range(CALLS_IN_A_ROW)]
        return [[status for status, _ in groupby(column)] for column in zip(*rows, strict=True)]

    def close_doors(self) -> None:
        """Revoke one account's key and suspend another account; what else is used by then stays known."""
        for tenant in (self.revoked, self.suspended):
            assert self.statuses(tenant) == [200, 200]
        directory = self.deployment.directory()
        (key,) = directory.keys_of(self.revoked.account_id)
        directory.revoke_key(self.revoked.account_id, key.key_id)
        directory.set_status(self.suspended.account_id, "suspended")
        eventually(lambda: self.statuses(self.revoked) == [401, 401], what="the revocation")
        eventually(lambda: self.statuses(self.suspended) == [403, 403], what="the suspension")
        for tenant in (self.known, self.busy, self.strict, self.normal, self.warned):
            assert self.statuses(tenant) == [200, 200]
        assert self.statuses(self.used_up) == [429, 429]

    def ask_api(self, tenant: Tenant) -> tuple[int, bool]:
        """The API's status, and whether it says when to ask again."""
        headers = {"Authorization": f"Bearer {tenant.key}"}
        answer = requests.get(f"{self.deployment.api.url}/v1/usage", headers=headers, timeout=30)
        return answer.status_code, "Retry-After" in answer.headers


@pytest.fixture(params=["sqlite", "firestore"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Two proxies and an API that share a folder and a store."""
    cut_off: CutOff = SilencedSqlite(tmp_path)
    if request.param == "firestore":
        cut_off = RelayedFirestore(request.getfixturevalue("firestore_relay"))
    deployment = cut_off.deployment(tmp_path / "deployment")
    try:
        yield Scene(deployment, cut_off, deployment.start_twice())
    finally:
        cut_off.end()
        deployment.stop()


@pytest.mark.battery("F2")
@pytest.mark.timeout(PATIENCE_SECONDS * 3 + OUTAGE_SECONDS)
def test_calls_go_on_nobody_gets_in_and_every_event_arrives(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.close_doors()
    busy = scene.busy
    urls, calls = [proxy.url for proxy in scene.proxies], int(CALLS_PER_SECOND * OUTAGE_SECONDS)
    with Traffic(urls, busy.headers, calls, CALLS_PER_SECOND, busy.provider_key) as traffic:
        eventually(lambda: len(traffic.made) >= 10, what="the first calls")
        scene.cut_off.begin()
        began = time.monotonic()

        seen = {
            "a known key": scene.statuses(scene.known),
            "a key the proxies never saw": scene.statuses(scene.unseen),
            "a well-formed key that nobody has": scene.statuses(UNKNOWN_TO_THE_STORE),
            "a malformed key": scene.statuses(MALFORMED),
            "a revoked key": scene.statuses(scene.revoked),
            "a suspended account": scene.statuses(scene.suspended),
            "a strict budget": scene.row_of_statuses(scene.strict),
            "a normal budget": scene.row_of_statuses(scene.normal),
            "a budget that only warns": scene.row_of_statuses(scene.warned),
            "a budget that is used up": scene.row_of_statuses(scene.used_up),
            "the API": scene.ask_api(scene.known),
        }

    assert seen == {
        "a known key": [200, 200],
        "a key the proxies never saw": [200, 200],
        "a well-formed key that nobody has": [200, 200],
        "a malformed key": [401, 401],
        "a revoked key": [401, 401],
        "a suspended account": [403, 403],
        "a strict budget": [[200, 503], [200, 503]],  # what was leased, and no more
        "a normal budget": [[200], [200]],
        "a budget that only warns": [[200], [200]],
        "a budget that is used up": [[429], [429]],
        "the API": (503, True),
    }
    assert traffic.outcomes.keys() <= {"whole", "provider_error", "cut", "hung_up"}
    _wait_until(began + OUTAGE_SECONDS)
    scene.cut_off.end()
    lasted = time.monotonic() - began
    found = eventually(
        lambda: _complete(statement(scene.deployment, busy, traffic.made, traffic.salt)),
        seconds=PATIENCE_SECONDS,
        what="every event",
    )
    with capsys.disabled():
        print(f"\noutage of {lasted:.0f} seconds\n{found.printed()}")  # noqa: T201 - for whoever runs the test
    assert found.differences() == []
    scene.deployment.assert_billed(scene.unseen, 2)
    scene.deployment.assert_billed(scene.known, 4)
    for tenant in (scene.strict, scene.normal, scene.warned):
        _assert_counted(scene.deployment, tenant)
    assert any(event["unadmitted"] for event in all_events(scene.deployment, scene.normal))


def _wait_until(moment: float) -> None:
    eventually(lambda: time.monotonic() >= moment, seconds=OUTAGE_SECONDS + 1, what="the end of the outage")


def _assert_counted(deployment: Deployment, tenant: Tenant) -> None:
    """The budget has counted what the provider billed, with nobody asked whether it might be spent."""
    billed = sum(row["nanodollars"] for row in deployment.bill(tenant))

    def spent() -> int:
        (budget,) = deployment.ask_api(tenant, "/v1/budgets")["data"]
        return nanodollars(budget["spent_usd"])

    eventually(lambda: spent() == billed, seconds=PATIENCE_SECONDS, what="the counting of every call")


def _complete(found: Statement) -> Statement | None:
    return None if found.without_event() else found
