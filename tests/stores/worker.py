"""A process of its own that works on a store, and may die of it: `python -m tests.stores.worker <work> …`."""

import os
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from metering.errors import StoreUnavailable
from metering.opening import open_store
from metering.sqlite import file
from metering.stores import Create, DocumentStore, Increment

COUNTER = "accounts/acct_counter"
SEGMENTS = "accounts/acct_a/segments"


def commit_one(store: DocumentStore, name: str) -> None:
    """One segment and its count, in one commit."""
    store.commit(
        [Create(f"{SEGMENTS}/{name}", {"request_ids": [f"req_{name}"]}), Increment(COUNTER, {("count",): 1})]
    )


def count(url: str, times: str) -> None:
    """Increment the counter that many times."""
    store = open_store(url)
    for _ in range(int(times)):
        store.commit([Increment(COUNTER, {("count",): 1})])
    store.close()


def fork(url: str, times: str) -> None:
    """Open the store, fork, and increment in both processes."""
    store = open_store(url)
    child = os.fork()
    for _ in range(int(times)):
        store.commit([Increment(COUNTER, {("count",): 1})])
    store.close()
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    os._exit(0)


def go_on(url: str) -> None:
    """Commit segment after segment until killed, telling each."""
    store = open_store(url)
    for number in range(1_000_000):
        commit_one(store, f"s{number}")
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def die_at(url: str, statement: str) -> None:
    """Die of kill -9 when a commit comes to the given SQL statement, before it is executed."""
    store = open_store(url)
    connect = file.connect

    def traced(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(
            lambda executed: os.kill(os.getpid(), signal.SIGKILL) if executed.startswith(statement) else None
        )
        return connection

    file.connect = traced
    commit_one(store, "s1")


def die_unheard(url: str) -> None:
    """Die of kill -9 after a commit, before anyone hears of it."""
    commit_one(open_store(url), "s1")
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(url: str) -> None:
    """Commit until the disk is full; leave with 3 when the store said so in its own words."""
    store = open_store(url)
    commit_one(store, "s1")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        for number in range(100):
            store.commit([Create(f"{SEGMENTS}/big{number}", {"blob": b"x" * 100_000})])
    except StoreUnavailable:
        sys.exit(3 if store.get(COUNTER) else 4)


WORKS: dict[str, Callable[..., None]] = {
    "count": count,
    "fork": fork,
    "go_on": go_on,
    "die_at": die_at,
    "die_unheard": die_unheard,
    "fill_disk": fill_disk,
}

if __name__ == "__main__":
    WORKS[sys.argv[1]](*sys.argv[2:])
