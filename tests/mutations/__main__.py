"""Break a copy of the tree in each listed way, one at a time, and see which test turns red.

    python -m tests.mutations [words of a title]

First all tests of the list are run on the copy as it is: they have to be green. Then each break is made, its
tests are run until the first fails, and the break is undone. The table goes into docs/battery.md when all
were made; a break that nothing noticed ends the run with status 1.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.battery import DOCUMENT, write_part
from tests.mutations import ROOT, Mutation, Mutations, listed

BEGIN, END = "<!-- made by make mutants -->", "<!-- end of what make mutants made -->"
RUN_SECONDS_MAX = 600
NOTHING = ""
_FAILED = re.compile(r"^(?:FAILED|ERROR) ([^\s\[]+)", re.MULTILINE)


def main(words: Sequence[str]) -> int:
    """Run the list, or what of it has these words in its title; the exit status."""
    everything = listed()
    wanted = [each for each in everything.mutations if all(word in each.title for word in words)]
    with tempfile.TemporaryDirectory(prefix="modeltrack-mutations-") as folder:
        copy = Path(folder)
        copy_tree(copy)
        tests = sorted({test for each in wanted for test in each.tests})
        if (red := first_red(copy, tests, stops=False)) != NOTHING:
            sys.stdout.write(f"red without any break: {red}\n")
            return 1
        caught = {each: tried(copy, each) for each in wanted}
    if len(wanted) == len(everything.mutations):
        write_part(DOCUMENT, BEGIN, END, table(everything, caught))
    return int(NOTHING in caught.values())


def copy_tree(copy: Path) -> None:
    """Put every file that git knows or would take into the folder."""
    named = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(named, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
            target.chmod((ROOT / name).stat().st_mode)


def tried(copy: Path, mutation: Mutation) -> str:
    """The test that noticed the break; nothing, where none did."""
    file = copy / mutation.file
    sound = file.read_text()
    file.write_text(mutation.applied(copy))
    try:
        red = first_red(copy, mutation.tests, stops=True)
    finally:
        file.write_text(sound)
    sys.stdout.write(f"law {mutation.law}, {mutation.title}: {red or 'NOBODY NOTICED'}\n")
    sys.stdout.flush()
    return red


def first_red(copy: Path, tests: Sequence[str], *, stops: bool) -> str:
    """The first of the tests that fails there; nothing, where all pass. Raises: RuntimeError, if none ran."""
    options = ["-q", "-n", "0", "--tb=no", "-rfE", "-p", "no:cacheprovider", *(["-x"] if stops else [])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=copy,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    if done.returncode == 0:
        return NOTHING
    found = _FAILED.search(done.stdout)
    if done.returncode != 1 or found is None:
        raise RuntimeError(f"the tests did not run:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return found[1]


def table(everything: Mutations, caught: dict[Mutation, str]) -> str:
    """Each break, the law that it breaks, and the test that noticed."""
    lines = ["| law | break | file | noticed by |", "|---|---|---|---|"]
    for mutation, red in sorted(caught.items(), key=lambda each: each[0].law):
        law = f"{mutation.law}: {everything.laws[str(mutation.law)]}"
        noticed = f"`{red}`" if red else "**nobody**"
        lines.append(f"| {law} | {mutation.title} | `{mutation.file}` | {noticed} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
