"""The battery's checks of what is served where, of addresses inside, and of hostile tags."""

import itertools
import secrets
from urllib.parse import quote

import pytest
import requests

from metering.tags import TAG_CHARACTERS_MAX
from tests.doubles.raw_upstream import dialled, take_answer
from tests.system.battery.rig import IS_FULL, headers_of, request
from tests.system.calls import MESSAGES, call, message
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import Process, eventually
from tests.unit.api_service.test_addresses import NEVER

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
HIDDEN = (
    *("/debug", "/admin", "/console", "/.env", "/.git/config", "/api", "/v0/keys", "/v2/keys", "/internal"),
    *("/docs", "/redoc", "/swagger", "/graphql", "/actuator", "/server-status", "/config", "/stats/all"),
    *("/static/../settings.py", "/static/%2e%2e/settings.py", "/%2e%2e/etc/passwd", "//v1/keys", "/v1//keys"),
    *("/v1/keys/", "/v1/./keys", "/V1/KEYS", "/v1/keys%00", "/v1/keys;x=1", "/v1/%6beys/..", "/v1/proxy/x"),
)
# Self-hosted, an operator may have plain http and any port of a public name called.
INSIDE = [each for each in NEVER if "://hooks.example.com" not in each]


@pytest.fixture
def tenant(sqlite_deployment: Deployment) -> Tenant:
    return sqlite_deployment.tenant()


@pytest.mark.battery("T3")
@pytest.mark.parametrize("service", ["api", "proxy"])
def test_nothing_is_served_but_what_is_told_of(sqlite_deployment: Deployment, service: str) -> None:
    process: Process = getattr(sqlite_deployment, service)
    served = {}

    for path, method in itertools.product(HIDDEN, METHODS):
        with dialled(process.port, request(f"{method} {path}".encode(), {"connection": "close"})) as wire:
            status = take_answer(wire, has_body=method != "HEAD").status
        if not 300 <= status < 500:
            served[f"{method} {path}"] = status

    assert served == {}


@pytest.mark.battery("A7")
@pytest.mark.parametrize(
    ("path", "field", "more"),
    [("/v1/webhooks", "url", {}), ("/v1/channels", "slack_webhook_url", {"kind": "slack"})],
)
def test_no_address_inside_is_taken_however_it_is_spelled(
    sqlite_deployment: Deployment, tenant: Tenant, path: str, field: str, more: dict[str, str]
) -> None:
    told = {"Authorization": f"Bearer {tenant.key}"}

    with requests.Session() as session:
        session.headers.update(told)
        for address in INSIDE:
            answer = session.post(
                f"{sqlite_deployment.api.url}{path}", json={field: address, **more}, timeout=10
            )
            assert answer.status_code == 422, address
        assert session.get(f"{sqlite_deployment.api.url}{path}", timeout=10).json()["data"] == []


@pytest.mark.battery("I3")
def test_tags_without_end_are_served_and_stay_within_bounds(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    hostile = [
        "/",
        "a/b",
        ".",
        "..",
        "__x__",
        "x" * 1501,
        "=1+1",
        "<script>alert(1)</script>",
        "\u202etxt.exe",
    ]
    tags = hostile + [f"team {secrets.token_hex(4)}" for _ in range(20_000 if IS_FULL else 600)]
    series = _series(sqlite_deployment)

    with requests.Session() as session:
        for tag in tags:
            headers = headers_of(tenant) | {"X-ModelTrack-Team": tag.encode().decode("latin-1")}
            answer = session.post(
                sqlite_deployment.proxy.url + MESSAGES, json=message(), headers=headers, timeout=30
            )
            assert answer.status_code == 200, tag

    eventually(
        lambda: sqlite_deployment.usage(tenant)["requests"] == len(tags), seconds=60, what="every event"
    )
    path = "/v1/stats/teams?limit=1000"
    rows = sqlite_deployment.ask_api(tenant, path)["data"]
    assert sum(row["requests"] for row in rows) == len(tags)
    assert len(rows) <= 1_000
    for tag in hostile:
        recorded = tag.removeprefix("\u202e")[:TAG_CHARACTERS_MAX]
        (row,) = sqlite_deployment.ask_api(tenant, f"{path}&team={quote(recorded, safe='')}")["data"]
        assert (row["team"], row["requests"]) == (recorded, 1)
    assert _series(sqlite_deployment) <= series + 5  # nobody's text is a label


def _series(deployment: Deployment) -> int:
    """How many lines of figures the proxy tells."""
    page = call(deployment.proxy.url, "/metrics", None, {}, method="GET").body
    return sum(not line.startswith(b"#") for line in page.splitlines())
