"""A cell: a program runs in a folder that is its whole file system, as in a container, without an engine.

Where we are root and Linux lets us, a program sees a mount namespace of its own with that folder as its
root: the image's files, of this machine the system's libraries, and the base's Python in /usr/local, nothing
else. All of it is read-only for a service, which runs as the image's user without a way to other rights.
Elsewhere the same files are used where they lie, their paths put in for the image's, by whoever runs the
tests; `confinement` says which it is.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.images.base import Base

SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "etc")  # of this machine, in place of the base image's
OF_IMAGES = ("app", "venv", "data", "build", "empty", "usr/local")
_PATH_OF_IMAGE = re.compile(rf"(?<![\w./-])/({'|'.join(OF_IMAGES)})(?![\w-])")

# $0 the folder, $1 where it becomes the root, $2 the Python, $3 what is mounted, $4 how; then the command.
# A mount namespace ends with its last process, and every mount with it.
_MOUNT = r"""
set -eu
image=$0 root=$1 python=$2 mounts=$3 how=$4; shift 4
mount --make-rprivate /
mount --bind "$image/tree" "$root"
mount -o remount,bind,"$how" "$root"
for each in $mounts; do
  from=${each%%=*} to=$root${each#*=}
  case $from in
    tmpfs) mount -t tmpfs -o mode=1777 tmpfs "$to" ;;
    overlay) mount -t overlay -o "lowerdir=$python,upperdir=$image/local,workdir=$image/work" overlay "$to"
             mount -o remount,bind,"$how" "$to" ;;
    rw:*) mount --rbind "${from#rw:}" "$to" ;;
    *) mount -o bind,ro "$from" "$to" ;;
  esac
done
exec chroot "$root" "$@"
"""


@cache
def can_confine() -> bool:
    """Whether this machine lets us make a mount namespace with an overlay in it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "chroot"))):
        return False
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir a b c d &&"
         " mount -t overlay -o lowerdir=a,upperdir=b,workdir=c overlay d"],
        capture_output=True, check=False,
    )  # fmt: skip
    return tried.returncode == 0


class Cell(NamedTuple):
    """The folder of an image: `tree` is its root, `local` what differs from the base's Python."""

    folder: Path
    base: Base

    @property
    def tree(self) -> Path:
        """The image's files."""
        return self.folder / "tree"

    def prepare(self) -> None:
        """Make the folder, with what every image has."""
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        for name in ("local/bin", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        for name in ("tmp", "proc", "dev", "root", *(n for n in SYSTEM if not Path("/", n).is_symlink())):
            (self.tree / name).mkdir(parents=True)
        for name in SYSTEM:
            if Path("/", name).is_symlink():
                (self.tree / name).symlink_to(Path("/", name).readlink())
        if not can_confine():
            (self.tree / "usr/local/bin").mkdir(parents=True)
            (self.tree / "usr/local/bin/python").symlink_to(self.base.program)
        elif self.base.prefix == Path("/usr"):
            (self.folder / "local/bin/python").symlink_to(self.base.program)

    @property
    def confinement(self) -> str:
        """How programs are held in here, in words."""
        if can_confine():
            return "in a root of its own, read-only, as the image's user"
        return "unconfined, as whoever runs the tests: not root on Linux, or mounts are not allowed"

    def to_build(self, command: Sequence[str], environment: Mapping[str, str], at: str) -> list[str]:
        """The command line that runs it as a build's step: as root, free to write, with the network."""
        others = [
            name for name in sorted(each.name for each in Path("/").iterdir())
            if name not in {*SYSTEM, "proc", "dev", "sys", "tmp", *OF_IMAGES} and Path("/", name).is_dir()
            and not Path("/", name).is_symlink()
        ]  # fmt: skip
        for name in others if can_confine() else ():
            (self.tree / name).mkdir(exist_ok=True)
        return self._entered(
            command,
            environment,
            at,
            mounts=["tmpfs=/tmp", *(f"/{name}=/{name}" for name in others)],
            how="rw",
        )

    def to_run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        at: str,
        *,
        user: str,
        writable: Mapping[str, Path] | None = None,
    ) -> list[str]:
        """The command line that runs a service, which can write to `writable` alone: path → folder."""
        number = user.partition(":")[0]
        dropped = [
            *("setpriv", "--reuid", number, "--regid", number, "--clear-groups", "--no-new-privs"),
            *("--inh-caps=-all", "--bounding-set=-all"),
        ]
        mounts = [f"rw:{folder}={path}" for path, folder in (writable or {}).items()]
        if can_confine():
            return self._entered(
                [*dropped, *self._inside(command, environment, at)], None, "/",
                mounts=mounts, how="ro",
            )  # fmt: skip
        return self._entered(command, self._with(environment, writable or {}), at, mounts=[], how="")

    def _entered(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None,
        at: str,
        *,
        mounts: Sequence[str],
        how: str,
    ) -> list[str]:
        if not can_confine():
            inside = self._inside(command, environment or {}, at)
            return [inside[0], *map(self._placed, inside[1:])]
        prefix = self.base.prefix
        lower = self.folder / "empty" if prefix == Path("/usr") else prefix
        lower.mkdir(exist_ok=True)
        of_system = [f"/{name}=/{name}" for name in SYSTEM if not Path("/", name).is_symlink()]
        if not Path("/usr/local").is_relative_to(prefix):  # where its libraries may be looked for
            (self.tree / prefix.relative_to("/")).mkdir(parents=True, exist_ok=True)
            of_system.append(f"{prefix}={prefix}")
        mounted = ["rw:/proc=/proc", "rw:/dev=/dev", *mounts, *of_system, "overlay=/usr/local"]
        inside = list(command) if environment is None else self._inside(command, environment, at)
        return [
            *("unshare", "-m", "sh", "-c", _MOUNT, str(self.folder), str(self.folder / "root")),
            *(str(lower), " ".join(mounted), how, *inside),
        ]

    @staticmethod
    def _inside(command: Sequence[str], environment: Mapping[str, str], at: str) -> list[str]:
        settings = [f"{name}={value}" for name, value in environment.items()]
        return ["env", "-i", "-C", at, *settings, *command]

    def _placed(self, text: str) -> str:
        """The text with the image's paths as they are on this machine."""
        return _PATH_OF_IMAGE.sub(lambda found: f"{self.tree}/{found[1]}", text)

    @staticmethod
    def _with(environment: Mapping[str, str], writable: Mapping[str, Path]) -> dict[str, str]:
        moved = dict(environment)
        for path, folder in writable.items():
            moved = {name: str(folder) if value == path else value for name, value in moved.items()}
        return moved
