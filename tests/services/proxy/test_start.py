"""What a fresh process does without until its first call is answered."""

import subprocess
import sys
from pathlib import Path

from metering.budgets import Budget
from metering.clock import SystemClock
from metering.directory import Directory, KeyTerms
from metering.journal import Admitted, Settled, parse_line
from metering.rulebook import Rulebook
from metering.stores import DocumentStore
from tests.builders import SECRET
from tests.doubles.raw_upstream import RawUpstream, answering
from tests.services.proxy.calls import answer, message, messages_call

ROOT = Path(__file__).parents[3]
DOLLAR = 1_000_000_000

# What a service may need and a first call does not: a start would wait for each longer than for much of ours.
SLOW = {
    *("email", "google.cloud.firestore_v1", "grpc", "importlib.metadata", "prometheus_client", "pydantic"),
    *("requests", "sqlite3", "structlog", "tempfile", "urllib3"),
}  # fmt: skip

# Serves, calls itself once, tells the answer and what is loaded by then, and goes. The store is never opened.
PROBE = """
import os, queue, socket, sys, threading
from proxy_service.instance import Instance
from proxy_service.opening import OpeningStore
OpeningStore.open = lambda store: None
from proxy_service.main import main

start, listening = Instance.start, queue.SimpleQueue()

async def started(instance):
    addresses = await start(instance)
    listening.put(addresses[0])
    return addresses

def is_whole(told):  # its last byte waits for the journal
    head, end, body = told.partition(b"\\r\\n\\r\\n")
    length = head.lower().partition(b"\\r\\ncontent-length: ")[2].partition(b"\\r\\n")[0]
    return bool(end) and len(body) == int(length)

def call(sent):
    wire = socket.create_connection(listening.get())
    wire.sendall(sent)
    told = b""
    while not is_whole(told):
        told += wire.recv(65536)
    sys.stderr.write("\\n".join(["", told.partition(b"\\r\\n")[0].decode(), *sys.modules]))
    sys.stderr.flush()
    os._exit(0)

Instance.start = started
threading.Thread(target=call, args=(sys.stdin.buffer.read(),), daemon=True).start()
main()
"""


def first_call(upstream: RawUpstream, sent: bytes, **settings: str) -> tuple[str, set[str], bytes]:
    """The first line of the answer, the modules that were loaded by then, and the journal."""
    ran = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=ROOT,
        env={
            "PATH": "",
            "PROXY_PORT": "0",
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{upstream.port}",
            "MODELTRACK_SECRET": SECRET.decode(),
            "JOURNAL": "stdout",
            "LOG_LEVEL": "error",
            **settings,
        },
        input=sent,
        capture_output=True,
        timeout=60,
        check=True,
    )
    _, told, *modules = ran.stderr.decode().split("\n")
    return told, set(modules), ran.stdout


def key_with_a_budget(store: DocumentStore) -> str:
    """A key of an account that may spend a dollar, and no more."""
    directory = Directory(store, SystemClock(), SECRET)
    account_id = directory.create_account("start").account_id
    budget = Budget(budget_id="", name="all", limit_nanodollars=DOLLAR, mode="strict")
    Rulebook(store, directory, SystemClock()).create_budget(account_id, budget)
    return directory.create_key(account_id, KeyTerms())[0]


def test_a_first_call_is_identified_admitted_journalled_and_answered_before_the_store_is_loaded(
    firestore_store: DocumentStore, firestore_project: str, emulator: str
) -> None:
    key = key_with_a_budget(firestore_store).encode()
    sent = messages_call(headers=b"X-ModelTrack-Key: %b\r\n" % key)

    with RawUpstream(answering(answer(message()))) as upstream:
        told, loaded, journal = first_call(
            upstream, sent, STORE_URL=f"firestore://{firestore_project}", FIRESTORE_EMULATOR_HOST=emulator
        )

    admitted, settled = (parse_line(line) for line in journal.splitlines())
    assert (told, loaded & SLOW) == ("HTTP/1.1 200 OK", set())
    assert isinstance(admitted, Admitted)
    assert [hold.budget_id for hold in admitted.holds]
    assert isinstance(settled, Settled)
    assert not settled.event.unadmitted


def test_a_machine_without_files_of_budgets_and_rules_loads_nothing_to_read_them(tmp_path: Path) -> None:
    with RawUpstream(answering(answer(message()))) as upstream:
        told, loaded, _ = first_call(upstream, messages_call(), DATA_DIR=str(tmp_path))

    assert (told, loaded & SLOW) == ("HTTP/1.1 200 OK", {"sqlite3"})
