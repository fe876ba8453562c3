"""An account in which every page has something to show: history, budgets, rules, keys, people, alerts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests

from metering.clock import SystemClock
from metering.collections import alert_look_path
from metering.opening import open_store
from metering.stores import Put
from tests.browser import history
from tests.browser.site import PASSWORD, Person, Site, link_in, new_address
from tests.system.processes import eventually

DAYS = 20
BUDGETS: tuple[dict[str, Any], ...] = (
    {"name": "All models", "limit_usd": "700", "action": "warn"},
    {"name": "Search", "limit_usd": "150", "scope": {"team": "search"}, "action": "downgrade"},
    {"name": "Support", "limit_usd": "220", "scope": {"team": "support"}, "action": "block"},
    {
        "name": "Research, a day",
        "limit_usd": "40",
        "scope": {"team": "research"},
        "period": "day",
        "action": "warn",
    },
    {"name": "Growth", "limit_usd": "9", "scope": {"team": "growth"}, "action": "block", "mode": "strict"},
)
RULES: tuple[dict[str, Any], ...] = (
    {
        "name": "Sonnet to Haiku from 70 %",
        "provider": "anthropic",
        "from_models": ["claude-sonnet-4-6"],
        "to_model": "claude-haiku-4-5",
        "threshold": 70,
    },
    {
        "name": "Small answers from the small model",
        "provider": "openai",
        "from_models": ["gpt-4o"],
        "to_model": "gpt-4o-mini",
        "threshold": 90,
    },
)
KEYS: tuple[dict[str, Any], ...] = (
    {"name": "search in production", "scopes": ["proxy"], "team": "search"},
    {"name": "support in production", "scopes": ["proxy"], "deployment": "production"},
    {"name": "notebooks", "scopes": ["proxy", "read"], "team": "research"},
    {"name": "dashboards", "scopes": ["read", "stats"]},
    {"name": "batches", "scopes": ["proxy"], "kind": "ingress"},
)
PEOPLE = (("Grace", "admin"), ("Katherine", "member"), ("Dorothy", "billing"), ("Mary", "viewer"))


@dataclass(frozen=True)
class Furnished:
    """The account's owner, the others by their role, and the ids of what pages of their own show."""

    owner: Person
    people: dict[str, Person]
    budget_id: str
    rule_id: str
    session_id: str
    request_id: str

    def path(self, page: str) -> str:
        """That page's address, for pages of one budget, rule, event, session or report."""
        return {
            "/budgets/<budget_id>": f"/budgets/{self.budget_id}",
            "/routing-rules/<rule_id>": f"/routing-rules/{self.rule_id}",
            "/events/<request_id>": f"/events/{self.request_id}",
            "/sessions/view": f"/sessions/view?session_id={self.session_id}",
            "/reports/<period>": f"/reports/{SystemClock().now():%Y-%m}",
        }.get(page, page)


def furnish(site: Site, days: int = DAYS) -> Furnished:
    """Make such an account, with so many days behind it; nothing is waited for but what it shows."""
    owner, now = site.sign_up(account_name="Lovelace & Byron"), SystemClock().now()
    rules = [owner.tell("POST", "/v1/routing-rules", each)["id"] for each in RULES]
    keys = [owner.tell("POST", "/v1/keys", each)["id"] for each in KEYS]
    past = history.Past(owner.account_id, keys, days, now, routing_rule=str(RULES[0]["name"]))
    store = open_store(site.deployment.store_url)
    history.write(store, past)
    store.close()
    budgets = [owner.tell("POST", "/v1/budgets", each)["id"] for each in BUDGETS]
    _tell_of_machines(owner, now)
    _tell_of_bills(owner, now)
    _arrange_notices(owner)
    people = {role: _join(site, owner, name, role) for name, role in PEOPLE}
    owner.tell("POST", "/v1/invites", {"email": new_address(), "role": "member"})
    _forget_the_look(site, owner)
    another = site.second_api()  # its jobs run once at its start
    eventually(lambda: "anomaly" in _kinds_of_alerts(owner), seconds=60, what="the alert of an odd hour")
    another.stop()
    last = owner.tell("GET", "/v1/events?limit=100")["data"]
    session_id = next(each["session_id"] for each in last if each["session_id"])
    longest = max(last, key=lambda each: len(each["model"]))  # a name that has to find room on a phone
    return Furnished(owner, people, budgets[1], rules[0], session_id, longest["request_id"])


def _tell_of_machines(owner: Person, now: datetime) -> None:
    """Costs of graphics processors by the hour, of two namespaces."""
    owner.tell("PUT", "/v1/infrastructure/namespace-map", {"ml-prod": "search", "batch": "research"})
    day = now.replace(minute=0, second=0, microsecond=0)
    rows = [
        {
            "id": f"opencost-{namespace}-{number}",
            "service": "kubernetes",
            "event_type": "gpu_compute",
            "namespace": namespace,
            "gpu_type": gpu,
            "gpu_count": 1,
            "gpu_utilization_percent": str(35 + number % 50),
            "cost_usd": cost,
            "start_time": f"{day - timedelta(hours=number + 1):%Y-%m-%dT%H:%M:%SZ}",
            "end_time": f"{day - timedelta(hours=number):%Y-%m-%dT%H:%M:%SZ}",
        }
        for number in range(240)
        for namespace, gpu, cost in (("ml-prod", "A100", "3.06"), ("batch", "L4", "0.81"))
    ]
    for first in range(0, len(rows), 96):  # two days' at once, which are three by the calendar at most
        owner.tell("POST", "/v1/infrastructure/costs", {"rows": rows[first : first + 96]})


def _tell_of_bills(owner: Person, now: datetime) -> None:
    """What a provider billed on some days, beside what was recorded."""
    days = [
        {
            "day": f"{now - timedelta(days=age):%Y-%m-%d}",
            "models": [{"model": "gpt-4o", "cost_usd": f"{3 + age / 10:.2f}"}],
        }
        for age in range(2, 9)
    ]
    owner.tell("POST", "/v1/reconciliations", {"provider": "openai", "days": days})


def _forget_the_look(site: Site, owner: Person) -> None:
    """Have the account looked at closer, though this hour's look was when it had no history yet."""
    store = open_store(site.deployment.store_url)
    store.commit([Put(alert_look_path(owner.account_id), {"account_id": owner.account_id, "hour": ""})])
    store.close()


def _kinds_of_alerts(owner: Person) -> set[str]:
    return {each["kind"] for each in owner.tell("GET", "/v1/alerts")["data"]}


def _arrange_notices(owner: Person) -> None:
    owner.tell("POST", "/v1/webhooks", {"name": "pager", "url": "http://127.0.0.1:9/modeltrack"})
    owner.tell("POST", "/v1/channels", {"name": "the owner", "kind": "email", "email": owner.email})
    owner.tell(
        "POST",
        "/v1/report-schedules",
        {"name": "Monday report", "period": "weekly", "frequency": "weekly", "day_of_week": 1, "hour": 9},
    )


def _join(site: Site, owner: Person, name: str, role: str) -> Person:
    """Somebody invited who has joined."""
    address = new_address()
    owner.tell("POST", "/v1/invites", {"email": address, "role": role})
    token = link_in(site.letter_to(address, "Join")).partition("#token=")[2]
    session = requests.Session()
    asked = {"token": token, "name": name, "password": PASSWORD}
    answer = session.post(f"{site.url}/v1/invites/sign-up", json=asked, timeout=20)
    assert answer.ok, answer.text
    told = answer.json()
    return Person(address, owner.account_id, told["csrf_token"], session, site.url)
