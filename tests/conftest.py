"""What many tests stand on: a store of their own, of either kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from demo.emulator import EmulatorMissing, running_emulator
from metering import firestore
from metering.opening import open_store
from metering.store_urls import DEFAULT_DATABASE
from metering.stores import DocumentStore
from tests.battery import NAME as BATTERY
from tests.battery import BatteryTable
from tests.emulator import new_project, undeclared_indexes
from tests.index_gate import NAME, IndexGate

CASE_NAME_CHARACTERS_MAX = 30
ROOT = Path(__file__).resolve().parents[1]

# How long an example takes says something of the machine alone; one that hangs meets the test's own timeout.
settings.register_profile("whatever the machine does", deadline=None)
settings.load_profile("whatever the machine does")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take what `make battery` asks for."""
    parser.addoption("--battery-table", action="store_true", help="write docs/battery.md")


def pytest_configure(config: pytest.Config) -> None:
    """Have the index gate look at what is queried, and the battery at what its tests come to."""
    config.pluginmanager.register(IndexGate(config), NAME)
    config.pluginmanager.register(BatteryTable(config), BATTERY)


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the Firestore emulator: one for each process that runs tests, under our own rules.

    FIRESTORE_EMULATOR_HOST names it from then on, for stores opened by their address and for processes
    that a test starts.
    """
    try:
        with running_emulator(ROOT / "firestore.rules") as address, pytest.MonkeyPatch.context() as patch:
            patch.setenv("FIRESTORE_EMULATOR_HOST", address)
            yield address
            gate: IndexGate = request.config.pluginmanager.getplugin(NAME)
            gate.ask(address)
    except EmulatorMissing as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture
def firestore_project() -> str:
    """A project that no other test uses."""
    return new_project()


@pytest.fixture
def firestore_store(emulator: str, firestore_project: str) -> Iterator[DocumentStore]:
    """An empty store on the emulator. A query that needs an index we do not declare fails the test."""
    store = firestore.open_store(firestore_project, DEFAULT_DATABASE, emulator_address=emulator)
    yield store
    store.close()
    assert not undeclared_indexes(emulator, firestore_project)


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[DocumentStore]:
    """An empty embedded store."""
    store = open_store(f"sqlite:///{tmp_path}/modeltrack.db")
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "firestore"])
def store(request: pytest.FixtureRequest) -> DocumentStore:
    """An empty store; the test runs once on each kind."""
    found: DocumentStore = request.getfixturevalue(f"{request.param}_store")
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests recorded (`record_property("figure", …)`)."""
    for report in terminalreporter.stats.get("passed", ()):
        for name, text in report.user_properties if report.when == "call" else ():
            if name == "figure":
                terminalreporter.write_line(text)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name cases of long texts by their parameter: made-up keys would be named otherwise on each worker."""
    return argname if isinstance(val, str | bytes) and len(val) > CASE_NAME_CHARACTERS_MAX else None
