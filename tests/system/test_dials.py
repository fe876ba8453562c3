"""Nothing is dialled but the upstream, the store and the sinks that somebody configured."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from api_service.functions.jobs import JOBS
from tests.doubles.receiver import Receiver, running_receiver
from tests.emulator import new_project
from tests.system.calls import CHAT, MESSAGES, chat, message
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import ROOT, eventually, free_port
from tests.system.test_jobs import runs

INHERITED = ("PATH", "HOME", "FIRESTORE_EMULATOR_HOST")
RECORDER = ROOT / "tests" / "doubles" / "dial_recorder"
ASKED_OF_THE_API = (
    "/openapi.json", "/v1/usage", "/v1/costs", "/v1/stats/overview", "/v1/forecast", "/v1/suggestions",
    "/v1/estimator/models", "/v1/anomalies", "/v1/events", "/v1/exports/focus", "/v1/alerts",
)  # fmt: skip
RUN_FUNCTIONS = """
import sys
import functions_framework
for name in sys.argv[1:]:
    served = functions_framework.create_app(name, "api_service/functions/main.py").test_client()
    assert served.post("/").status_code == 200, name
"""


class Recorded(Deployment):
    """A deployment whose services write down what they dial."""

    def watch(self, **settings: str) -> None:
        """Have the services that start from now on do so, and know these settings."""
        self.dialled_file = self.folder / "dialled"
        self.settings = {
            "PYTHONPATH": str(RECORDER),
            "DIALLED_FILE": str(self.dialled_file),
            "OUTBOUND_NETWORKS": "127.0.0.0/8",
            **settings,
        }

    @property
    def dialled(self) -> set[str]:
        """All addresses and names, as far as Python hears of them."""
        return set(self.dialled_file.read_text().splitlines()) if self.dialled_file.exists() else set()

    def run_functions(self) -> None:
        """Run each function once, as its own process would."""
        settings = self._shared() | self.settings | {"DATA_DIR": str(self.folder / "functions")}
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", RUN_FUNCTIONS, *(job.name for job in JOBS)],
            cwd=ROOT,
            env={name: os.environ[name] for name in INHERITED if name in os.environ} | settings,
            timeout=60,
            check=True,
        )


@pytest.fixture(params=["sqlite", "firestore"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Recorded]:
    """Services that are watched, not yet started, on a store of their own."""
    url = f"sqlite:///{tmp_path}/modeltrack.db"
    if request.param == "firestore":
        request.getfixturevalue("emulator")
        url = f"firestore://{new_project()}"
    watched = Recorded(tmp_path, url)
    try:
        yield watched
    finally:
        watched.stop()


@pytest.fixture
def sink() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def use(deployment: Recorded, tenant: Tenant, sink: Receiver) -> None:
    """Calls of several kinds through the proxy, and what a tenant asks the API."""
    for path, body, key in (
        (MESSAGES, message(), "x-api-key"),
        (MESSAGES, message(stream=True), "x-api-key"),
        (CHAT, chat(), "authorization"),
        ("/v1/nothing/of/ours", {}, "x-api-key"),
    ):
        given = {key: f"Bearer {tenant.provider_key}" if key == "authorization" else tenant.provider_key}
        answer = requests.post(
            deployment.proxy.url + path, json=body, headers=tenant.headers | given, timeout=20
        )
        assert answer.status_code in {200, 404}
    deployment.events(tenant, 4)
    for path in ASKED_OF_THE_API:
        assert requests.get(deployment.api.url + path, headers=bearer(tenant), timeout=30).ok, path
    hook = requests.post(
        f"{deployment.api.url}/v1/webhooks", json={"url": sink.url}, headers=bearer(tenant), timeout=20
    ).json()
    tried = f"{deployment.api.url}/v1/webhooks/{hook['id']}/test"
    assert requests.post(tried, headers=bearer(tenant), timeout=20).json()["delivered"]


def bearer(tenant: Tenant) -> dict[str, str]:
    return {"Authorization": f"Bearer {tenant.key}"}


def test_from_start_to_end_nothing_is_dialled_but_upstream_store_and_sink(
    deployment: Recorded, sink: Receiver, request: pytest.FixtureRequest
) -> None:
    deployment.watch()
    deployment.start()
    use(deployment, deployment.tenant(), sink)
    eventually(lambda: all(runs(deployment.api).get((job.name, "done")) for job in JOBS), what="every job")
    deployment.run_functions()
    deployment.stop()

    upstream_and_sink = {f"dialled 127.0.0.1:{port}" for port in (deployment.provider.port, sink.port)}
    store = set()
    if deployment.store_url.startswith("firestore"):
        store = {f"dialled {request.getfixturevalue('emulator')}"}
    assert deployment.dialled - {"looked-up 127.0.0.1"} == upstream_and_sink | store


def test_a_service_that_calls_home_would_be_seen(tmp_path: Path) -> None:
    deployment = Recorded(tmp_path, f"sqlite:///{tmp_path}/modeltrack.db")
    home = f"127.0.0.1:{free_port()}"
    deployment.watch(DIALLED_PLANT=home)
    try:
        deployment.start_api()
        eventually(lambda: deployment.dialled, what="the planted dial")
    finally:
        deployment.stop()

    assert deployment.dialled == {f"dialled {home}"}


HEARD = {
    "urllib": ("import urllib.request as r; r.urlopen('http://127.0.0.1:9')", "dialled 127.0.0.1:9"),
    "requests": ("import requests; requests.get('http://home.invalid', timeout=5)", "looked-up home.invalid"),
    "a datagram": (
        "import socket as s; s.socket(type=s.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "dialled 127.0.0.1:9",
    ),
    "the loop": (
        "import asyncio, uvloop; uvloop.run(asyncio.open_connection('127.0.0.1', 9))",
        "dialled 127.0.0.1:9",
    ),
    "a name by the loop": (
        "import asyncio, uvloop; uvloop.run(asyncio.open_connection('home.invalid', 9))",
        "looked-up home.invalid",
    ),
}


@pytest.mark.parametrize(("planted", "seen"), HEARD.values(), ids=list(HEARD))
def test_each_way_to_dial_is_heard(tmp_path: Path, planted: str, seen: str) -> None:
    deployment = Recorded(tmp_path, "")
    deployment.watch()

    subprocess.run(
        [sys.executable, "-c", planted],
        env={"PATH": os.environ["PATH"]} | deployment.settings,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert seen in deployment.dialled
