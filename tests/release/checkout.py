"""A checkout of what a release reads, every image pinned, with doubles of gcloud and docker.

`run_step` runs a step of cloudbuild.yaml as Cloud Build would, its substitutions replaced.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from infra.release.__main__ import main
from tests.release.cloud import PROJECT, REGION

ROOT: Final = Path(__file__).resolve().parents[2]
BUILD_ID: Final = "7c1fb03e-b6a1-4d43-9d1c-2f6a2c2b1a11"
_READ: Final = (
    ".ci/base-image",
    "cloudbuild.yaml",
    "infra/release/build",
    "infra/release/push",
    "infra/release/unless-push-only",
    "requirements/images.in",
)
_SUBSTITUTION: Final = re.compile(r"\$\{(\w+)\}|\$(\w+)")

Step = dict[str, Any]


def build() -> dict[str, Any]:
    """cloudbuild.yaml, read."""
    read: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    return read


def substitutions(**given: str) -> dict[str, str]:
    """What Cloud Build replaces in the steps: its own, those of the file, and those given."""
    told = {
        "PROJECT_ID": PROJECT,
        "BUILD_ID": BUILD_ID,
        **build()["substitutions"],
        "_REGION": REGION,
        **given,
    }
    return {name: replaced(value, told) for name, value in told.items()}


def replaced(text: str, told: Mapping[str, str]) -> str:
    """The text with its substitutions. Raises: KeyError for one that nobody gives."""
    return _SUBSTITUTION.sub(lambda named: told[named[1] or named[2]], text)


@dataclass
class Checkout:
    """The folder, and the programs of the doubles."""

    folder: Path
    programs: Path

    def words(self, step: Step, **given: str) -> list[str]:
        """What Cloud Build would run."""
        told = substitutions(**given)
        return [step["entrypoint"], *(replaced(word, told) for word in step["args"])]

    def run_step(self, name: str, *further: str, **given: str) -> tuple[int, str]:
        """Run a step; its exit status and what it said. Those in Python get further options, no pauses."""
        step = next(each for each in build()["steps"] if each["id"] == name)
        words = [*self.words(step, **given), *further]
        if words[:3] == ["python3", "-m", "infra.release"]:
            return main(words[3:], pause_factor=0), ""
        if words[1].endswith("unless-push-only") and words[2] == "false":
            return main(words[3:], pause_factor=0), ""
        return self.run(words, {"REVISION": given.get("_REVISION", "")})

    def run(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run a program there; its exit status and what it said."""
        path = f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            words,
            cwd=self.folder,
            env={**os.environ, "PATH": path, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr


def check_out(folder: Path) -> None:
    """Make the checkout, every image pinned."""
    for name in _READ:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    lines = [line.split() for line in (folder / "requirements/images.in").read_text().splitlines()]
    pinned = [
        f"{words[0]} {words[1]}@sha256:{number:064x}"
        for number, words in enumerate(lines)
        if words and words[0] != "#"
    ]
    (folder / "requirements/images.txt").write_text("\n".join(pinned) + "\n")
