"""Makes an image's files by doing what its Dockerfile says, step by step, without an engine."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.images.base import Base
from tests.images.cell import Cell
from tests.images.dockerfile import Context, Instruction, Stage, context_of, filled_in, stages_of

ROOT = Path(__file__).resolve().parents[2]
STEP_SECONDS_MAX = 300.0
BASE_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
# How this machine's pip finds packages; a build has its own ways.
_HANDED_ON = ("PIP_", "SSL_CERT_", "REQUESTS_CA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Image(NamedTuple):
    """What a Dockerfile comes to: files, and how a container of it is started."""

    cell: Cell
    environment: Mapping[str, str]
    at: str
    user: str
    entry_point: tuple[str, ...]
    health_check: tuple[str, ...]

    def files(self) -> dict[str, tuple[int, int]]:
        """Its own files: path → size and time of change. Not those of the base."""
        found = {}
        for folder in ("venv", "app", "data"):
            for path in (self.cell.tree / folder).rglob("*"):
                status = path.lstat()
                found[str(path.relative_to(self.cell.tree))] = (status.st_size, status.st_mtime_ns)
        return found

    @property
    def megabytes(self) -> float:
        """What it adds to its base, not compressed."""
        return sum(size for size, _ in self.files().values()) / 1e6

    def command(
        self,
        *command: str,
        settings: Mapping[str, str] | None = None,
        writable: Mapping[str, Path] | None = None,
    ) -> list[str]:
        """The command line that runs the entry point, or another command, as a container of it would."""
        return self.cell.to_run(
            command or self.entry_point, {**self.environment, **(settings or {})}, self.at,
            user=self.user, writable=writable,
        )  # fmt: skip


def replayed(dockerfile: Path, folder: Path, base: Base) -> Image:
    """The image, made in that folder. Raises: subprocess.CalledProcessError for a step that fails."""
    context, made = context_of(ROOT), dict[str, Cell]()
    stages = stages_of(dockerfile.read_text())
    for number, stage in enumerate(stages):
        name = stage.name or str(number)
        made[name] = Cell(folder / name, base)
        made[name].prepare()
        image = _stage_made(stage, made[name], made, context)
    return image


def _stage_made(stage: Stage, cell: Cell, made: Mapping[str, Cell], context: Context) -> Image:
    environment, at, user = dict(BASE_ENVIRONMENT), "/", "0"
    for step in stage.instructions:
        match step.name:
            case "ENV":
                environment |= dict(filled_in(each, {}).split("=", 1) for each in step.words)
            case "WORKDIR":
                at = step.text
                (cell.tree / at.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                user = step.text
            case "COPY":
                _copy(step, cell, made, context)
            case "RUN":
                _run(step, cell, environment, at)
    entry_points, checks = stage.all("ENTRYPOINT"), stage.all("HEALTHCHECK")
    return Image(
        cell,
        {**environment, "HOME": "/"}
        if user != "0"
        else environment,  # of a user that /etc/passwd does not name
        at,
        user,
        tuple(entry_points[-1].words) if entry_points else (),
        tuple(checks[-1]._replace(text=checks[-1].text.removeprefix("CMD ")).words) if checks else (),
    )


def _run(step: Instruction, cell: Cell, environment: Mapping[str, str], at: str) -> None:
    handed_on = {name: value for name, value in os.environ.items() if name.upper().startswith(_HANDED_ON)}
    command = cell.to_build(["/bin/sh", "-c", filled_in(step.text, {})], {**environment, **handed_on}, at)
    ran = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS_MAX,
        check=False,
    )
    assert ran.returncode == 0, f"RUN {step.text[:200]}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"


def _copy(step: Instruction, cell: Cell, made: Mapping[str, Cell], context: Context) -> None:
    (source, target), owner = step.words, step.flags.get("chown", "")
    to = cell.tree / target.lstrip("/")
    if "from" in step.flags:
        # A copy in an image: here a link does, unless it changes hands.
        how = shutil.copy2 if owner else os.link
        shutil.copytree(
            made[step.flags["from"]].tree / source.lstrip("/"),
            to, symlinks=True, dirs_exist_ok=True, copy_function=how,
        )  # fmt: skip
    else:
        for path in context.files(source):
            goal = to / path
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(context.folder / source / path, goal)
    if owner and os.geteuid() == 0:
        user, group = map(int, owner.split(":"))
        for path in (to, *to.rglob("*")):
            os.chown(path, user, group, follow_symlinks=False)
