"""Fetches the vendored scripts again, as `static/vendor/VERSIONS.toml` pins them: `make vendor`, with npm.

A build step: nothing imports it. A package whose digest is another than the pinned one is refused, and
leaves what is there as it is. To move to another version, change the file first; npm says the digest:
`npm view htmx.org@2.0.11 dist.integrity`.
"""

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "static" / "vendor"
FETCH_SECONDS_MAX: Final = 120


def pinned() -> list[dict[str, str]]:
    """What is vendored, as its table says."""
    packages: list[dict[str, str]] = tomllib.loads((FOLDER / "VERSIONS.toml").read_text())["package"]
    return packages


def file_of(package: Mapping[str, str]) -> Path:
    """Where the package's one file lies here."""
    return FOLDER / Path(package["path"]).name


def main() -> int:
    """Fetch every package; gives the exit code."""
    for package in pinned():
        content = _fetched(package)
        if content is None or hashlib.sha256(content).hexdigest() != package["sha256"]:
            sys.stderr.write(f"{package['name']} {package['version']} is not what VERSIONS.toml pins\n")
            return 1
        file_of(package).write_bytes(content)
    return 0


def _fetched(package: Mapping[str, str]) -> bytes | None:
    """The package's one file; None where the package is not the pinned one."""
    with tempfile.TemporaryDirectory() as folder:
        named = f"{package['name']}@{package['version']}"
        subprocess.run(  # nosec B603 B607 # noqa: S603 - a fixed command, and names of our own table
            ["npm", "pack", "--silent", "--pack-destination", folder, named],  # noqa: S607 - npm, wherever it is
            check=True,
            timeout=FETCH_SECONDS_MAX,
            stdout=subprocess.DEVNULL,
        )
        (archive,) = Path(folder).iterdir()
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != package["integrity"]:
            return None
        with tarfile.open(archive) as members:
            file = members.extractfile(f"package/{package['path']}")
            return None if file is None else file.read()


if __name__ == "__main__":
    sys.exit(main())
