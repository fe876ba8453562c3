"""A service of ours as a process on a store with faults; the product knows nothing of it.

    python -m tests.doubles.faulty_service <module> <percent> <file>

runs `python -m <module>`. Of so many commits in a hundred, though applied, the reply never arrives. While the
file exists, the store answers nobody.
"""

import os
import random
import runpy
import sys
import threading
from pathlib import Path
from unittest import mock

from metering import opening
from metering.errors import StoreUnavailable
from metering.stores import DocumentStore, Write
from tests.doubles.unreliable_store import Fate, UnreliableStore

SILENCE_SECONDS = 1.0  # after which whoever asks a silent store gives up


class Forgotten(list[list[Write]]):
    """Keeps nothing: what passes may not pile up in a process whose memory is looked at."""

    def append(self, _: list[Write]) -> None:
        """Let it go."""


def main() -> None:
    """Run the service that the command line names."""
    module, percent, silencing = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    dice = random.Random(os.getpid())  # noqa: S311 - chance, not secrecy
    open_store, never = opening.open_store, threading.Event()

    def fate() -> Fate:
        return "reply_lost" if dice.randrange(100) < percent else "applied"

    def answer_or_not() -> None:
        if silencing.exists():
            never.wait(SILENCE_SECONDS)
            raise StoreUnavailable("the store is silent")

    def open_faulty_store(url: str) -> DocumentStore:
        # The iterator is asked by several threads at once, which a generator would not bear.
        store = UnreliableStore(open_store(url), iter(fate, None), answer_or_not)
        store.commits = Forgotten()
        return store

    sys.argv = [module]
    with mock.patch.object(opening, "open_store", open_faulty_store):
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
