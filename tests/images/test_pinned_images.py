"""Bases are pinned by digests that registries gave, and nothing is built on any other."""

import runpy
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.registry import Registry, index_for, single_image
from tests.images.replay import ROOT

DIGEST = "sha256:" + "0123456789abcdef" * 4
WANTED = "docker.io/library/python:3.12-slim-bookworm"

Pin = Callable[[Path], int]


@pytest.fixture(scope="module")
def pinning() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / ".ci/pin_images.py"))


@pytest.fixture
def pin(pinning: dict[str, Any]) -> Pin:
    """What `make pin-images` does, in another folder."""
    found: Pin = pinning["main"]
    return found


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry(index_for("linux/arm64", "linux/amd64")) as registry:
        yield registry


def asked_for(folder: Path, *references: str) -> Path:
    """A folder whose images.in names these; its images.txt holds what was pinned last."""
    (folder / "images.in").write_text(
        "".join(f"image{number} {reference}\n" for number, reference in enumerate(references))
    )
    (folder / "images.txt").write_text("as before\n")
    return folder


def test_an_image_is_pinned_by_the_digest_of_what_its_registry_has(
    tmp_path: Path, registry: Registry, pin: Pin
) -> None:
    reference = f"{registry.host}/library/python:3.12-slim"

    assert pin(asked_for(tmp_path, reference)) == 0
    assert (tmp_path / "images.txt").read_text().splitlines()[1:] == [f"image0 {reference}@{registry.digest}"]
    assert registry.asked[1] == "/token?service=double&scope=repository%3Alibrary%2Fpython%3Apull"


def test_a_registry_that_wants_no_token_is_asked_for_none(tmp_path: Path, pin: Pin) -> None:
    with Registry(index_for("linux/amd64"), wants_token=False) as registry:
        assert pin(asked_for(tmp_path, f"{registry.host}/python:3")) == 0

    assert registry.asked == ["/v2/python/manifests/3"]


def test_what_is_not_what_the_registry_says_is_not_pinned(
    tmp_path: Path, registry: Registry, pin: Pin, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.digest = DIGEST

    assert pin(asked_for(tmp_path, f"{registry.host}/python:3")) == 1
    assert "not what the registry says" in capsys.readouterr().err
    assert (tmp_path / "images.txt").read_text() == "as before\n"


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (index_for("linux/arm64", "windows/amd64"), "none for linux/amd64"),
        (b'{"schemaVersion": 2, "config": {}}', "no image"),
        (b"<html>", "no image"),
        (single_image("linux/amd64")[0], "not what the registry says"),
        (b" " * (4 * 1024 * 1024 + 1), "too long"),
    ],
    ids=["other platforms", "no configuration", "no JSON", "another configuration", "too long"],
)
def test_what_could_not_run_on_cloud_run_is_not_pinned(
    tmp_path: Path, manifest: bytes, words: str, pin: Pin, capsys: pytest.CaptureFixture[str]
) -> None:
    with Registry(manifest) as registry:
        assert pin(asked_for(tmp_path, f"{registry.host}/python:3")) == 1

    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("platform", "status"), [("linux/amd64", 0), ("linux/arm64", 1)])
def test_an_image_that_is_there_alone_says_in_its_configuration_what_it_is_for(
    tmp_path: Path, platform: str, status: int, pin: Pin
) -> None:
    manifest, configuration = single_image(platform)
    with Registry(manifest, blob=configuration) as registry:
        assert pin(asked_for(tmp_path, f"{registry.host}/google.com/sdk:573.0.0")) == status


def test_where_one_registry_cannot_be_reached_nothing_is_written(
    tmp_path: Path, registry: Registry, pin: Pin, capsys: pytest.CaptureFixture[str]
) -> None:
    with Registry(b"") as gone:
        pass

    assert pin(asked_for(tmp_path, f"{registry.host}/python:3", f"{gone.host}/caddy:2")) == 1
    assert (tmp_path / "images.txt").read_text() == "as before\n"
    said = capsys.readouterr().err
    assert f"{gone.host}/caddy:2: its registry cannot be reached" in said
    assert "python" not in said


def test_an_unknown_tag_is_said_with_the_registrys_status(
    tmp_path: Path, registry: Registry, pin: Pin, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.status = 404

    assert pin(asked_for(tmp_path, f"{registry.host}/python:none")) == 1
    assert "answers with status 404" in capsys.readouterr().err


@pytest.mark.parametrize("reference", ["python", "python:3.12", "docker.io/library/python", "-v /:x"])
def test_an_image_without_registry_or_tag_is_none(
    tmp_path: Path, reference: str, pin: Pin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin(asked_for(tmp_path, reference)) == 1
    assert "give a name and an image" in capsys.readouterr().err


def base_image(folder: Path, pinned: str | None, name: str = "python") -> subprocess.CompletedProcess[str]:
    """What `.ci/base-image` says in a checkout whose images.txt has that line."""
    for part in (".ci", "requirements"):
        (folder / part).mkdir()
    shutil.copy(ROOT / ".ci/base-image", folder / ".ci")
    shutil.copy(ROOT / "requirements/images.in", folder / "requirements")
    if pinned is not None:
        (folder / "requirements/images.txt").write_text(f"# written\n{pinned}\n")
    command = [str(folder / ".ci/base-image"), name]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_a_pinned_base_is_told_with_its_digest(tmp_path: Path) -> None:
    said = base_image(tmp_path, f"python {WANTED}@{DIGEST}")

    assert (said.returncode, said.stdout) == (0, f"{WANTED}@{DIGEST}\n")


@pytest.mark.parametrize(
    "pinned",
    [
        None,
        "",
        f"caddy {WANTED}@{DIGEST}",
        f"python {WANTED}",
        f"python {WANTED}@sha256:",
        f"python {WANTED}@{DIGEST[:-1]}",
        f"python {WANTED}@{DIGEST}0",
        f"python docker.io/library/python:3.11-slim-bookworm@{DIGEST}",
    ],
)
def test_a_base_without_a_digest_of_the_wanted_tag_is_refused(tmp_path: Path, pinned: str | None) -> None:
    said = base_image(tmp_path, pinned)

    assert (said.returncode, said.stdout) == (1, "")
    assert "make pin-images" in said.stderr


def test_an_image_that_nobody_named_is_refused(tmp_path: Path) -> None:
    said = base_image(tmp_path, f"ruby {WANTED}@{DIGEST}", "ruby")

    assert (said.returncode, said.stdout) == (1, "")


def test_what_is_pinned_is_what_is_wanted_or_nothing() -> None:
    def names_in(path: Path) -> list[str]:
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition("@")[0] for line in lines if not line.startswith("#")]

    wanted, pinned = (names_in(ROOT / "requirements" / name) for name in ("images.in", "images.txt"))

    assert pinned in ([], wanted)


def test_both_images_are_built_on_what_base_image_tells() -> None:
    said = subprocess.run(
        ["make", "-n", "images"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    ).stdout

    assert "base=$(.ci/base-image python) &&" in said
    assert '--build-arg PYTHON_IMAGE="$base"' in said
