"""What is left of the promises when processes race, and when the store's machine misbehaves."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from metering import firestore
from metering.errors import AlreadyExists, StoreUnavailable
from metering.opening import open_store
from metering.stores import Create, Document, DocumentStore, Increment, Put, Query, Write
from tests.doubles.tcp_relay import TcpRelay
from tests.stores.worker import COUNTER, SEGMENTS
from tests.system.processes import ROOT, eventually

SHORT_SECONDS = 0.5
LATE_SECONDS = 5.0  # by which a busy machine may be late; unasked, a store waits for ten
LOST_SECONDS = 2.0  # enough for the commit to be applied, on a busy machine too
COMMIT: list[Write] = [Create(f"{SEGMENTS}/s1", {}), Increment(COUNTER, {("count",): 1})]


@pytest.fixture(params=["sqlite", "firestore"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store, for processes of their own."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/modeltrack.db"
    request.getfixturevalue("emulator")
    return f"firestore://{request.getfixturevalue('firestore_project')}"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of an empty embedded store."""
    return f"sqlite:///{tmp_path}/modeltrack.db"


def _start(*work: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.stores.worker", *work], cwd=ROOT, stdout=subprocess.PIPE
    )


def _end(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def _count(store: DocumentStore) -> int:
    counter = store.get(COUNTER)
    return counter.fields["count"] if counter else 0


def _segments(store: DocumentStore) -> list[Document]:
    return store.query(Query(collection=SEGMENTS, limit=1000))


def _recovers(ask: Callable[[], bool]) -> bool:
    """Wait until something holds; a store that does not answer yet is asked again."""

    def look() -> bool:
        try:
            return ask()
        except StoreUnavailable:
            return False

    return eventually(look, what="the store's recovery")


def test_increments_of_processes_that_start_together_all_count(url: str) -> None:
    processes = [_start("count", url, "40") for _ in range(3)]

    assert [_end(process) for process in processes] == [0, 0, 0]

    with closing(open_store(url)) as store:
        assert _count(store) == 120


def test_a_process_may_fork_before_its_first_call(url: str) -> None:
    assert _end(_start("fork", url, "10")) == 0

    with closing(open_store(url)) as store:
        assert _count(store) == 20


def test_threads_share_a_store(store: DocumentStore) -> None:
    seen: list[int] = []

    def work() -> None:
        for _ in range(10):
            (result,) = store.commit([Increment(COUNTER, {("count",): 1})])
            seen.append(result.values["count",])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(seen) == list(range(1, 81))  # every writer saw its own place


def test_of_rivals_for_one_revision_one_wins(store: DocumentStore) -> None:
    store.commit([Put(COUNTER, {"count": 0})])
    document = store.get(COUNTER)
    assert document is not None
    outcomes: list[str] = []

    def rival(number: int) -> None:
        try:
            store.commit([Put(COUNTER, {"count": number}, if_revision=document.revision)])
            outcomes.append("won")
        except Exception as refusal:  # noqa: BLE001 - its name is what the test asks for
            outcomes.append(type(refusal).__name__)

    threads = [threading.Thread(target=rival, args=(number,)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["RevisionChanged"] * 4 + ["won"]


@pytest.mark.parametrize("statement", ["INSERT INTO documents", "INSERT INTO entries", "COMMIT"])
def test_of_a_process_killed_in_the_middle_of_a_commit_nothing_is_left(
    sqlite_url: str, statement: str
) -> None:
    assert _end(_start("die_at", sqlite_url, statement)) == -9

    with closing(open_store(sqlite_url)) as store:
        assert (_count(store), _segments(store)) == (0, [])
        store.commit(COMMIT)
        assert _count(store) == 1


def test_a_commit_whose_process_died_before_it_heard_counts_once(sqlite_url: str) -> None:
    assert _end(_start("die_unheard", sqlite_url)) == -9

    with closing(open_store(sqlite_url)) as store:
        with pytest.raises(AlreadyExists):
            store.commit(COMMIT)
        assert (_count(store), len(_segments(store))) == (1, 1)


def test_a_process_killed_at_any_moment_leaves_whole_commits(sqlite_url: str) -> None:
    process = _start("go_on", sqlite_url)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(25)]
    process.kill()
    _end(process)

    with closing(open_store(sqlite_url)) as store:
        assert _count(store) == len(_segments(store))
        assert _count(store) >= len(told)
        for number in range(len(told)):
            assert store.query(Query(collection=SEGMENTS, contains=("request_ids", f"req_s{number}")))


@pytest.mark.battery("F7")
def test_a_full_disk_is_an_unavailable_store_that_still_reads(sqlite_url: str) -> None:
    assert _end(_start("fill_disk", sqlite_url)) == 3

    with closing(open_store(sqlite_url)) as store:
        store.commit([Increment(COUNTER, {("count",): 1})])
        assert _count(store) == 2


def test_while_another_process_writes_readers_go_on_and_writers_wait_no_longer_than_asked(
    sqlite_url: str, tmp_path: Path
) -> None:
    with closing(open_store(sqlite_url)) as store:
        store.commit(COMMIT)
        with closing(sqlite3.connect(tmp_path / "modeltrack.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                store.commit([Increment(COUNTER, {("count",): 1})], timeout_seconds=SHORT_SECONDS)
            assert time.monotonic() - began < SHORT_SECONDS + LATE_SECONDS
            assert _count(store) == 1
            other.execute("ROLLBACK")

        store.commit([Increment(COUNTER, {("count",): 1})])
        assert _count(store) == 2


@pytest.fixture
def relay(emulator: str) -> Iterator[TcpRelay]:
    """A relay in front of the emulator."""
    with TcpRelay(emulator) as relay:
        yield relay


@pytest.fixture
def relayed_store(relay: TcpRelay, firestore_project: str) -> Iterator[DocumentStore]:
    """A store on the emulator behind the relay, connected, in the same project as `firestore_store`."""
    store = firestore.open_store(firestore_project, "(default)", emulator_address=relay.address)
    store.get(COUNTER)
    yield store
    store.close()


@pytest.mark.battery_class("commits whose answers are lost")
def test_a_commit_whose_answer_was_lost_counts_once_however_often_it_is_repeated(
    relay: TcpRelay, relayed_store: DocumentStore, firestore_store: DocumentStore
) -> None:
    relay.swallow_replies()
    with pytest.raises(StoreUnavailable):
        relayed_store.commit(COMMIT, timeout_seconds=LOST_SECONDS)
    assert _recovers(lambda: _count(firestore_store) == 1)

    relay.heal()
    assert _recovers(lambda: relayed_store.get(COUNTER) is not None)
    for _ in range(3):
        with pytest.raises(AlreadyExists):
            relayed_store.commit(COMMIT)
    assert _count(firestore_store) == 1


def test_a_store_that_stops_is_unavailable_within_the_time_out_and_recovers(
    relay: TcpRelay, relayed_store: DocumentStore
) -> None:
    relay.stop()
    asked: list[Callable[[], object]] = [
        lambda: relayed_store.commit(COMMIT, timeout_seconds=SHORT_SECONDS),
        lambda: relayed_store.get(COUNTER, timeout_seconds=SHORT_SECONDS),
        lambda: relayed_store.query(Query(collection=SEGMENTS), timeout_seconds=SHORT_SECONDS),
    ]
    for ask in asked:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            ask()
        assert time.monotonic() - began < SHORT_SECONDS + LATE_SECONDS

    relay.resume()  # what was under way may arrive late: the outcome was unknown
    assert _recovers(lambda: relayed_store.query(Query(collection=SEGMENTS)) is not None)
    assert _recovers(lambda: _settled(relayed_store))
    assert _count(relayed_store) == 1


def _settled(store: DocumentStore) -> bool:
    with suppress(AlreadyExists):
        store.commit(COMMIT)
    return True


def test_a_store_that_hangs_up_is_unavailable_and_recovers(
    relay: TcpRelay, relayed_store: DocumentStore
) -> None:
    relay.refuse()
    with pytest.raises(StoreUnavailable):
        relayed_store.commit(COMMIT, timeout_seconds=SHORT_SECONDS)

    relay.heal()
    assert _recovers(lambda: _settled(relayed_store))
    assert _count(relayed_store) == 1
