"""What the API says of an account, in each of the ways that it says it, and waiting until it can."""

import csv
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import requests

from metering.clock import SystemClock
from metering.nightly_check import Check, check_of
from metering.opening import open_store
from tests.system.deployment import Deployment, Row, Tenant
from tests.system.soak.judgement import BudgetBooks, Total

SETTLING_SECONDS = 240.0  # for each step; a killed proxy's leases last two minutes
LOOK_SECONDS = 1.0
T = TypeVar("T")


def within(seconds: float, claim: Callable[[], bool]) -> bool:
    """Whether the claim came true in time. An API that cannot answer yet is asked again."""
    deadline = time.monotonic() + seconds
    never = threading.Event()
    while True:
        try:
            if claim():
                return True
        except (AssertionError, requests.RequestException):
            pass
        if time.monotonic() > deadline:
            return False
        never.wait(LOOK_SECONDS)


def patiently(read: Callable[[], T]) -> T:
    """What was read, once it could be. Raises: what the last try does.

    An export notes that it is under way; where the reply to that is lost, its place is taken for a minute.
    """
    deadline = time.monotonic() + SETTLING_SECONDS
    while True:
        try:
            return read()
        except (AssertionError, requests.RequestException):
            if time.monotonic() > deadline:
                raise
        threading.Event().wait(LOOK_SECONDS)


def budgets(deployment: Deployment, tenant: Tenant) -> list[BudgetBooks]:
    """What each budget says of itself."""
    found = []
    for budget in deployment.ask_api(tenant, "/v1/budgets")["data"]:
        values = budget["values"] if budget["each"] else [budget]
        is_strict = budget["mode"] == "strict" and budget["action"] == "block"
        found.append(
            BudgetBooks(
                budget["id"],
                budget["name"],
                spent=sum(value["spent_nanodollars"] for value in values),
                held=sum(value["held_nanodollars"] for value in values),
                strict_limit=budget["limit_nanodollars"] if is_strict else None,
            )
        )
    return found


def counts(deployment: Deployment, tenant: Tenant, since: str) -> Row:
    """Calls admitted, settled, lost and in flight since that day."""
    days = deployment.ask_api(tenant, f"/v1/conservation?start_time={since}")["data"]
    return {name: sum(day[name] for day in days) for name in ("admitted", "settled", "in_flight", "lost")}


def _download(deployment: Deployment, tenant: Tenant, path: str) -> Iterator[str]:
    headers = {"Authorization": f"Bearer {tenant.key}"}
    answer = requests.get(deployment.api.url + path, headers=headers, timeout=600, stream=True)
    answer.raise_for_status()
    yield from answer.iter_lines(decode_unicode=True)


def exported(deployment: Deployment, tenant: Tenant, since: str) -> Total:
    """What the export of events comes to."""
    path = f"/v1/exports/events?format=ndjson&start_time={since}"
    costs = [json.loads(line)["cost_nanodollars"] for line in _download(deployment, tenant, path)]
    return Total(len(costs), sum(costs))


def focus_nanodollars(deployment: Deployment, tenant: Tenant, since: str) -> int:
    """What the rows of the FOCUS export cost together."""
    rows = csv.DictReader(_download(deployment, tenant, f"/v1/exports/focus?start_time={since}"))
    return sum(int(row["x_BilledNanodollars"]) for row in rows)


def differences(deployment: Deployment, tenant: Tenant, since: datetime) -> list[str]:
    """What the nightly check will find of each day that the run was on."""
    store, now = open_store(deployment.store_url), SystemClock().now()
    account = deployment.directory().account(tenant.account_id)
    assert account is not None
    days = sorted({since.astimezone(UTC).date(), now.date()})
    checks: list[Check] = [check_of(store, account, day, now) for day in days]
    return [
        *(f"{check.day}: {each}" for check in checks for each in check.differences),
        *(f"{check.day}: {check.in_flight} calls in flight" for check in checks if check.in_flight),
    ]
