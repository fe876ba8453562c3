"""One deployment for each store, shared by the system tests; every test takes an account of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from metering.clock import SystemClock
from tests.doubles.tcp_relay import TcpRelay
from tests.emulator import new_project
from tests.system.deployment import Deployment, Tenant
from tests.system.front_end import IS_FOR_ALL
from tests.system.invariants import Watched, broken
from tests.system.processes import eventually

MIDNIGHT_IS_NEAR = timedelta(seconds=40)  # more than most tests take, and less than they may
DEPLOYMENTS = {"deployment", "sqlite_deployment", "firestore_deployment", "nginx_deployment"}


@contextmanager
def _running(folder: Path, store_url: str, *, is_behind_nginx: bool = IS_FOR_ALL) -> Iterator[Deployment]:
    deployment = Watched(folder, store_url, is_behind_nginx=is_behind_nginx)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()
    assert broken(deployment) == []


@pytest.fixture(scope="session")
def sqlite_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Running services on the embedded store."""
    folder = tmp_path_factory.mktemp("deployment-sqlite")
    with _running(folder, f"sqlite:///{folder}/modeltrack.db") as deployment:
        yield deployment


@pytest.fixture(scope="session")
def firestore_deployment(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Running services on the Firestore emulator, in a project of their own."""
    folder = tmp_path_factory.mktemp("deployment-firestore")
    with _running(folder, f"firestore://{new_project()}") as deployment:
        yield deployment


@pytest.fixture(scope="session")
def nginx_deployment(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two proxies and two APIs behind nginx, on the Firestore emulator."""
    folder = tmp_path_factory.mktemp("deployment-nginx")
    with _running(folder, f"firestore://{new_project()}", is_behind_nginx=True) as deployment:
        yield deployment


@pytest.fixture(params=["sqlite", "firestore", "nginx"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Running services; the test runs once on each kind of store, and behind nginx where it is marked so."""
    found: Deployment = request.getfixturevalue(f"{request.param}_deployment")
    return found


@pytest.fixture(autouse=True)
def _within_a_day() -> None:
    """Have a test begin behind midnight that would begin right before it: its sums would be of two days."""
    today = (SystemClock().now() + MIDNIGHT_IS_NEAR).date()
    eventually(
        lambda: SystemClock().now().date() >= today,
        seconds=2 * MIDNIGHT_IS_NEAR.total_seconds(),
        what="midnight",
    )


@pytest.fixture(autouse=True)
def _trusted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every client trust the authority of a deployment behind nginx."""
    for name in DEPLOYMENTS.intersection(request.fixturenames):
        if (found := request.getfixturevalue(name)).is_behind_nginx:
            for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
                monkeypatch.setenv(variable, found.ca_file)


@pytest.fixture
def tenant(deployment: Deployment) -> Tenant:
    """A new account in the deployment."""
    return deployment.tenant()


@pytest.fixture
def firestore_relay(emulator: str) -> Iterator[TcpRelay]:
    """A relay before the emulator, to be stopped."""
    with TcpRelay(emulator) as relay:
        yield relay


def _is_wanted(item: pytest.Item) -> bool:
    """Whether the test is run: each is directly, behind nginx those that are marked so.

    With DEPLOYMENT=behind-nginx all that take a deployment are behind it, but for those that say why not.
    """
    if Path(__file__).parent not in item.path.parents or not isinstance(item, pytest.Function):
        return True
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if IS_FOR_ALL:
        is_possible = item.get_closest_marker("not_behind_nginx") is None
        takes_one = bool(DEPLOYMENTS.intersection(item.fixturenames))
        return takes_one and is_possible and parameters.get("deployment") != "nginx"
    return parameters.get("deployment") != "nginx" or item.get_closest_marker("behind_nginx") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one deployment on one worker: each worker would else start every deployment."""
    items[:] = [item for item in items if _is_wanted(item)]
    for item in items:
        kind = next((each for each in ("nginx", "firestore") if each in item.nodeid), "sqlite")
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(f"system-{kind}"))
