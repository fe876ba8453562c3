"""Both images, made once for all tests of them, and what stands beside their containers."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.images.base import found_base
from tests.images.container import Container
from tests.images.replay import ROOT, Image, replayed
from tests.system.processes import Process, free_port

SERVICES = ("proxy", "api")
MAKE_SECONDS_MAX = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process makes the images and runs all that needs them; the first test waits for that."""
    for item in items:
        if "images" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("images"))
            item.add_marker(pytest.mark.timeout(MAKE_SECONDS_MAX))


@pytest.fixture(scope="session")
def images() -> Iterator[dict[str, Image]]:
    """What each Dockerfile comes to, by its service. In a folder that everybody may walk through."""
    folder = Path(tempfile.mkdtemp(prefix="images-"))
    folder.chmod(0o755)
    base = found_base()
    yield {name: replayed(ROOT / f"{name}_service/Dockerfile", folder / name, base) for name in SERVICES}
    shutil.rmtree(folder)


@pytest.fixture
def data() -> Iterator[Path]:
    """A volume: a folder that is the image's user's."""
    folder = Path(tempfile.mkdtemp(prefix="volume-"))
    if os.geteuid() == 0:
        os.chown(folder, 10001, 10001)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Process]:
    """A demo provider of the test's own, outside of any image."""
    port = free_port()
    process = Process(
        "demo.provider", "--port", str(port), port=port, log=tmp_path / "provider.log", settings={}
    )
    yield process
    process.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Container]]:
    """What starts containers, which end with the test."""
    started: list[Container] = []

    def begin(image: Image, *command: str, **options: object) -> Container:
        log = tmp_path / f"container-{len(started)}.log"
        started.append(Container(image, log, *command, **options))  # type: ignore[arg-type]  # handed on as they are
        return started[-1]

    yield begin
    for container in reversed(started):
        container.stop()
