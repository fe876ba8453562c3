"""One deployment for each store, shared by the system tests; every test takes an account of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.tcp_relay import TcpRelay
from tests.emulator import new_project
from tests.system.deployment import Deployment, Tenant


@contextmanager
def _running(folder: Path, store_url: str) -> Iterator[Deployment]:
    deployment = Deployment(folder, store_url)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()


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


@pytest.fixture(params=["sqlite", "firestore"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Running services; the test runs once on each kind of store."""
    found: Deployment = request.getfixturevalue(f"{request.param}_deployment")
    return found


@pytest.fixture
def tenant(deployment: Deployment) -> Tenant:
    """A new account in the deployment."""
    return deployment.tenant()


@pytest.fixture
def firestore_relay(emulator: str) -> Iterator[TcpRelay]:
    """A relay before the emulator, to be stopped."""
    with TcpRelay(emulator) as relay:
        yield relay


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one store on one worker: each worker would else start every deployment."""
    for item in items:
        store = "firestore" if "firestore" in item.name else "sqlite"
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(f"system-{store}"))
