"""`pip install .` gives a tenant the command `modeltrack`, with all that it reads, and no service."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import pytest

from metering.version import VERSION

ROOT = Path(__file__).parents[2]
PACKAGES = ("metering", "modeltrack_cli")
BUILD_SECONDS_MAX = 100
NO_CACHES = shutil.ignore_patterns("__pycache__")


def run(*command: str, at: Path, path: Path | None = None) -> str:
    """What the command says, run in that folder without anything of ours but what lies at `path`."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "" if path is None else str(path)}
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=at, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-1000:] + ran.stderr[-1000:]
    return ran.stdout


def pip(at: Path, verb: str, *options: str) -> None:
    """Have pip do something, without the network."""
    run(
        "-W",
        "ignore",
        "-m",
        "pip",
        verb,
        "-q",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
        *options,
        at=at,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built away from it: a build leaves folders behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=NO_CACHES)
    pip(source, "wheel", "--no-build-isolation", "--wheel-dir", str(source / "made"), ".")
    (made,) = (source / "made").glob("*.whl")
    return made


def files_of(folders: Sequence[str]) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_file_of_the_command_and_of_the_domain_and_no_service(wheel: Path) -> None:
    with ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if ".dist-info/" not in name}

    assert held == files_of(PACKAGES)
    assert {"metering/price_table.json", "metering/model_limits.toml", "metering/plans.toml"} <= held


def test_the_installed_command_runs_and_finds_the_price_table(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip(tmp_path, "install", "--target", str(site), str(wheel))

    said = run(str(site / "bin" / "modeltrack"), "reconcile", "--help", at=tmp_path, path=site)
    where = run(
        "-c",
        "import metering.price_table as t; t.load_price_table(); print(t.__file__)",
        at=tmp_path,
        path=site,
    )

    assert said.startswith("usage: modeltrack reconcile")
    assert Path(where.strip()).is_relative_to(site)


def test_what_the_package_asks_for_is_what_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = (ROOT / "requirements" / "run.in").read_text().split()

    assert set(project["project"]["dependencies"]) <= set(wanted)
    assert project["build-system"]["requires"] == ["setuptools>=77"]


def test_services_tell_the_version_of_the_package() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
