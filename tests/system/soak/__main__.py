"""Let everything run for long under mixed faults, then hold all accounts of it against each other.

    python -m tests.system.soak [--minutes 30] [--seed N] [--store sqlite] [--calls-per-second 30] [--out DIR]

Two proxies and two APIs on one store, callers of many kinds, and at random moments whatever may go wrong.
In the end the provider's bill, events, exports, statistics and budgets are compared to the nanodollar,
and memory is drawn. Ctrl-C ends it early, with the same check. Exit status 0: all held; 1: each violation
is a line.
"""

import argparse
import math
import secrets
import shutil
import signal
import sys
from pathlib import Path

from demo.emulator import EmulatorMissing, command
from tests.system.soak.course import Soak, Terms
from tests.system.soak.stores import STORES

ROOT = Path(__file__).resolve().parents[3]
OUT = ROOT / ".make" / "soak"
SEEDS = 100_000


def main() -> int:
    """Run as the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.system.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=more_than_nothing, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="what repeats a run; chance chooses one")
    parser.add_argument(
        "--store", choices=sorted(STORES), default=None, help="firestore where its emulator is"
    )
    parser.add_argument("--calls-per-second", type=more_than_nothing, default=30.0)
    parser.add_argument("--out", type=Path, default=OUT, help="where picture, tables and logs go")
    options = parser.parse_args()
    seed = secrets.randbelow(SEEDS) if options.seed is None else options.seed
    store = options.store or default_store()
    folder: Path = options.out.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {folder}: {error.strerror}")
    for name in ("deployment", "emulator"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for left in folder.glob("modeltrack.db*"):
        left.unlink()
    rate = options.calls_per_second
    again = f"--minutes {options.minutes:g} --seed {seed} --store {store} --calls-per-second {rate:g}"
    say(f"{options.minutes:g} minutes on {store}; to repeat it: python -m tests.system.soak {again}")
    soak = Soak(Terms(options.minutes * 60, seed, store, rate, folder), say)

    def end_early(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second one ends it at once
        say("ending early; the check follows")
        soak.stop()

    signal.signal(signal.SIGINT, end_early)
    signal.signal(signal.SIGTERM, end_early)
    outcome = soak.run()
    for line in outcome.lines:
        say(line)
    say(f"memory: {folder}/memory.svg and memory.csv; faults: faults.csv")
    for violation in outcome.violations:
        say(f"VIOLATION {violation}")
    if outcome.violations:
        say(f"{len(outcome.violations)} violations; logs: {folder}/deployment; to repeat: {again}")
        return 1
    say(f"all held, for {outcome.seconds / 60:.1f} minutes")
    return 0


def more_than_nothing(text: str) -> float:
    """The number. Raises: ArgumentTypeError, where it is none, 0 or less, or without end."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:  # neither is nan
        raise argparse.ArgumentTypeError(f"give a number of more than 0, not {text!r}")
    return number


def default_store() -> str:
    """Firestore where its emulator can be started here."""
    try:
        command(0, None, OUT)
    except EmulatorMissing:
        return "sqlite"
    return "firestore"


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
