"""Let everything run for long under mixed faults, then hold all accounts of it against each other.

    python -m tests.system.soak [--minutes 30] [--seed N] [--store sqlite] [--calls-per-second 30] [--out DIR]

Two proxies and two APIs on one store, callers of many kinds, and at random moments whatever may go wrong.
In the end the provider's bill, events, exports, statistics and budgets are compared to the nanodollar,
and memory is drawn. Ctrl-C ends it early, with the same check. Exit status 0: all held; 1: each violation
is a line; 2: it was asked for what it cannot do, and nothing was touched.
"""

import argparse
import fcntl
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.arguments import number, whole_number
from demo.emulator import EmulatorMissing, command
from tests.system.soak.course import CALLS_OF_A_RUN_MAX, Soak, Terms
from tests.system.soak.judgement import shown
from tests.system.soak.stores import STORES

ROOT = Path(__file__).resolve().parents[3]
OUT = ROOT / ".make" / "soak"
SEEDS = 100_000  # of which chance chooses one
SEED_MAX = 100_000_000
MINUTES = (0.1, 1_440.0)
CALLS_PER_SECOND = (0.1, 1_000.0)
LOCK = "soak.lock"  # in the folder of a run; whoever holds it runs there
LEFT = ("deployment", "emulator", "modeltrack.db*")  # by an earlier run, in its folder


class Refused(Exception):
    """Why there can be no run in that folder."""


def main() -> int:
    """Run as the command line says; the exit status."""
    parser, options = _options()
    store = options.store or default_store()
    if store == "firestore" and default_store() != store:
        parser.error("argument --store: there is no Firestore emulator here; sqlite needs none")
    calls = options.minutes * 60 * options.calls_per_second
    if calls > CALLS_OF_A_RUN_MAX:
        parser.error(
            f"--minutes by --calls-per-second come to {calls:,.0f} calls; a run makes {CALLS_OF_A_RUN_MAX:,}"
            " at most"
        )
    seed = secrets.randbelow(SEEDS) if options.seed is None else options.seed
    folder: Path = options.out.resolve()
    try:
        with _alone_in(folder):
            return _run(Terms(options.minutes * 60, seed, store, options.calls_per_second, folder))
    except Refused as refused:
        parser.error(f"argument --out: {folder}: {refused}")


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.system.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=number(*MINUTES), default=30.0)
    parser.add_argument(
        "--seed", type=whole_number(0, SEED_MAX), default=None, help="what repeats a run; chance chooses one"
    )
    parser.add_argument(
        "--store", choices=sorted(STORES), default=None, help="firestore where its emulator is"
    )
    parser.add_argument("--calls-per-second", type=number(*CALLS_PER_SECOND), default=30.0)
    parser.add_argument("--out", type=Path, default=OUT, help="where picture, tables and logs go")
    return parser, parser.parse_args()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """The folder for one run, without what an earlier one left there; the kernel frees it with the process.

    Raises: Refused, with nothing deleted, where another run is in it or what lies there is of no run.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (left := _left_in(folder)) and folder != OUT and not (folder / LOCK).exists():
            raise Refused(f"no run left {left[0].name} there: give a folder of its own")
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Refused(error.strerror) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused("another run is in it: wait for its end, or give another folder") from None
        _clear(folder)
        yield
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    """Delete what an earlier run left. Raises: Refused, where that may not be."""
    try:
        for path in _left_in(folder):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise Refused(f"what an earlier run left cannot be deleted: {error.strerror}") from None


def _left_in(folder: Path) -> list[Path]:
    return [path for name in LEFT for path in folder.glob(name)]


def _run(terms: Terms) -> int:
    folder = terms.folder
    again = (
        f"--minutes {terms.seconds / 60:g} --seed {terms.seed} --store {terms.store}"
        f" --calls-per-second {terms.calls_per_second:g}"
    )
    say(f"{terms.seconds / 60:g} minutes on {terms.store}; to repeat it: python -m tests.system.soak {again}")
    soak = Soak(terms, say)

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
    for violation in shown(outcome.violations):
        say(f"VIOLATION {violation}")
    if outcome.violations:
        say(f"{len(outcome.violations):,} violations; logs: {folder}/deployment; to repeat: {again}")
        return 1
    say(f"all held, for {outcome.seconds / 60:.1f} minutes")
    return 0


def default_store() -> str:
    """Firestore where its emulator can be started here."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            command(0, None, Path(folder))
    except EmulatorMissing:
        return "sqlite"
    return "firestore"


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
