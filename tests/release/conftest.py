"""A release's surroundings: a cloud, programs that act on it, and a checkout to run in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.release.services import ALL
from tests.release.checkout import Checkout, check_out
from tests.release.cloud import Cloud, cloud_of, on_path


@pytest.fixture
def cloud() -> Cloud:
    """A cloud in which every service serves."""
    return cloud_of(ALL)


@pytest.fixture
def checkout(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkout]:
    """A checkout that is the working directory, with gcloud and docker of the cloud on PATH."""
    folder, programs = tmp_path / "checkout", tmp_path / "programs"
    check_out(folder)
    programs.mkdir()
    monkeypatch.chdir(folder)
    with on_path(cloud, programs):
        monkeypatch.setenv("PATH", str(programs), prepend=":")
        yield Checkout(folder, programs)
