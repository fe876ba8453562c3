"""What many tests stand on: a store of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from metering.opening import open_store
from metering.stores import DocumentStore


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[DocumentStore]:
    """An empty embedded store."""
    store = open_store(f"sqlite:///{tmp_path}/modeltrack.db")
    yield store
    store.close()


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest) -> DocumentStore:
    """An empty store; the test runs once on each kind."""
    found: DocumentStore = request.getfixturevalue(f"{request.param}_store")
    return found
