"""Look for inputs that break a target: `python -m tests.fuzz [--seconds 60] [target …]`, each for so long.

`make fuzz` runs it, in the environment of its own that `.ci/fuzz` makes.
What is learned on the way is kept in .make/fuzz-found/<target> and built on the next time. An input that
breaks a target is written beside it and named; once mended, it belongs into tests/fuzz/corpus/<target>.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from demo.arguments import whole_number
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
FOUND = ROOT / ".make" / "fuzz-found"
INPUT_BYTES_MAX = 4096
INPUT_SECONDS_MAX = 10
MEMORY_MEGABYTES_MAX = 2048
SECONDS_MAX = 86_400  # for each target; libFuzzer takes 0 as without end


def look(target: str, seconds: int) -> bool:
    """Whether the target held."""
    learned = FOUND / target
    learned.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "tests.fuzz.guided", target),
        *(str(learned), str(CORPUS / target)),
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MEGABYTES_MAX}",
        f"-artifact_prefix={FOUND}/{target}-",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    said = done.stderr + done.stdout
    tried = [line.split()[-1] for line in said.splitlines() if "number_of_executed_units" in line]
    if done.returncode == 0:
        sys.stdout.write(f"{target}: held for {seconds} s, {', '.join(tried) or '?'} inputs\n")
        return True
    sys.stdout.write(f"{target}: BROKEN\n{said}\n")
    return False


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--seconds", type=whole_number(1, SECONDS_MAX), default=60, help="for each target; else 60"
    )
    parser.add_argument(
        "targets", nargs="*", type=_target, metavar="target", help=f"of {', '.join(TARGETS)}; else all"
    )
    options = parser.parse_args()
    held = [look(target, options.seconds) for target in options.targets or TARGETS]
    sys.exit(not all(held))


def _target(name: str) -> str:
    if name not in TARGETS:
        raise argparse.ArgumentTypeError(f"there is no {name!r}; choose from {', '.join(TARGETS)}")
    return name


if __name__ == "__main__":
    main()
