"""The Python that stands in for the base image's: one of this machine, of its version if there is one."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VERSION_OF_BASE = (3, 12)  # as requirements/images.in has it; a test holds the two together
_ASKED = "import sys, ensurepip, venv; print(sys.base_prefix, *sys.version_info[:2])"
_ASK_SECONDS_MAX = 20.0


class Base(NamedTuple):
    """An installed Python, by its prefix."""

    prefix: Path
    version: tuple[int, int]

    @property
    def is_as_in_the_image(self) -> bool:
        """Whether it is of the version that the image has."""
        return self.version == VERSION_OF_BASE

    @property
    def program(self) -> Path:
        """Its interpreter."""
        return self.prefix / "bin" / f"python{self.version[0]}.{self.version[1]}"


def found_base() -> Base:
    """The one of the image's version that is found first; in vain, the one that this runs on."""
    bases = [base for base in map(_asked, _programs()) if base is not None]
    return next((base for base in bases if base.is_as_in_the_image), bases[-1])


def _programs() -> Iterator[str]:
    named = "python" + ".".join(map(str, VERSION_OF_BASE))
    on_path = shutil.which(named)
    if on_path:
        yield on_path
    for folder in (Path.home() / ".pyenv/versions", Path.home() / ".local/share/uv/python"):
        yield from map(str, sorted(folder.glob(f"*/bin/{named}")))
    yield sys.executable


def _asked(program: str) -> Base | None:
    """What that program is; None where it does not run or lacks what a venv takes."""
    try:
        said = subprocess.run(
            [program, "-c", _ASKED], capture_output=True, text=True, timeout=_ASK_SECONDS_MAX, check=True
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return Base(Path(said[0]), (int(said[1]), int(said[2])))
