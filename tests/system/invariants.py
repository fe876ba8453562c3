"""What holds once the tests of a deployment are over, whichever they were: the battery's global invariants.

| what | how it is seen |
|---|---|
| nothing is dialled but upstreams, store and configured sinks | each service writes down what it dials |
| no key is in any log, journal or store | every key that tests use is of a form that is searched for |
| each call that was answered has its event, and no two events have one id | the proxies' own logs |
| events, rollups, counts and budgets agree; nothing is in flight and nothing held | the nightly check |
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from metering import reaping, recovery
from metering.clock import SystemClock
from metering.collections import LEASES
from metering.directory import all_accounts
from metering.ledger import Ledger
from metering.nightly_check import check_of
from metering.opening import open_store
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.stores import DocumentStore, Query
from tests.system.deployment import Deployment
from tests.system.processes import ROOT, Process

RECORDER = ROOT / "tests" / "doubles" / "dial_recorder"
AHEAD = timedelta(minutes=5)  # beyond the life of a lease
TESTS_LAST_AT_MOST = timedelta(hours=2)
EVENTS_A_PAGE = 1_000
DIALLED = "dialled"
OURSELVES = {"127.0.0.1", "localhost", "0.0.0.0", "::1"}
_ADDRESS = re.compile(r"(?:127\.0\.0\.1|localhost):(\d+)")
# Test accounts' provider keys and account keys, as `Deployment.tenant` makes them.
_KEYS = re.compile(rb"sk-test-[0-9a-f]{32}|mt_[0-9a-f]{72}")


@dataclass
class Watched(Deployment):
    """A deployment whose services write down what they dial; `told` is what each of them was told."""

    told: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        watching = {
            "PYTHONPATH": str(RECORDER),
            "DIALLED_FILE": str(self.folder / DIALLED),
            "DIALLED_BY_UVLOOP": "1",
        }
        self.settings = {**watching, **self.settings}

    def _service(self, module: str, port: int, log: Path, settings: dict[str, str]) -> Process:
        self.told.append({**settings, **self.settings})
        return super()._service(module, port, log, settings)


def broken(deployment: Watched) -> list[str]:
    """What does not hold of a deployment that was stopped, a line each."""
    store = open_store(deployment.store_url)
    try:
        _tidy(deployment, store)
        return [
            *_dialled_elsewhere(deployment),
            *_keys_kept(deployment.folder),
            *_events_missing(deployment.folder, store),
            *_unsound_books(store),
            *_held(store),
        ]
    finally:
        store.close()


class _Later:
    """A clock that is ahead of ours, for which whatever was not renewed is over."""

    def now(self) -> datetime:
        return SystemClock().now() + AHEAD

    def monotonic(self) -> float:
        return SystemClock().monotonic() + AHEAD.total_seconds()


def _tidy(deployment: Watched, store: DocumentStore) -> None:
    """Do what jobs do for proxies that were killed, or stopped while the store was slow."""
    for folder in {Path(told["DATA_DIR"]) for told in deployment.told if "PROXY_PORT" in told}:
        recovery.run(store, SystemClock(), folder, lambda: Pricer(load_price_table()))
    reaping.run(store, _Later(), lambda _instance, _expired_at: True)


def _dialled_elsewhere(deployment: Watched) -> Iterator[str]:
    allowed = {each.port for each in deployment.started}
    texts = [value for told in deployment.told for value in told.values()]
    texts.append(os.environ.get("FIRESTORE_EMULATOR_HOST", ""))
    allowed |= {int(port) for text in texts for port in _ADDRESS.findall(text)}
    file = deployment.folder / DIALLED
    for line in sorted(set(file.read_text().splitlines() if file.exists() else ())):
        what, _, where = line.partition(" ")
        host, _, port = where.rpartition(":")
        is_allowed = where in OURSELVES if what == "looked-up" else host in OURSELVES and int(port) in allowed
        if not is_allowed:
            yield line


def _keys_kept(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "provider.log" and (found := _KEYS.search(path.read_bytes())):
            yield f"a key in {path.relative_to(folder)}: {found[0][:12]!r}..."


def _events_missing(folder: Path, store: DocumentStore) -> Iterator[str]:
    recorded = Counter(
        request_id for account in all_accounts(store) for request_id in _events(store, account.account_id)
    )
    yield from (f"{count} events with the id {each}" for each, count in recorded.items() if count > 1)
    for log in sorted(folder.glob("proxy-*.log")):
        for line in log.read_bytes().splitlines():
            said = _line(line)
            if said.state and said.request_id and said.request_id not in recorded:
                yield f"a call without its event, {said.state}: {said.request_id}"


class _Line(msgspec.Struct):
    state: str = ""
    request_id: str = ""


def _line(line: bytes) -> _Line:
    try:
        return msgspec.json.decode(line, type=_Line)
    except msgspec.MsgspecError:  # what no call is told by
        return _Line()


def _events(store: DocumentStore, account_id: str) -> Iterator[str]:
    ledger, cursor = Ledger(store, SystemClock()), None
    while True:
        page = ledger.events(account_id, cursor=cursor, limit=EVENTS_A_PAGE)
        yield from (event.request_id for event in page.events)
        if (cursor := page.next_cursor) is None:
            return


def _unsound_books(store: DocumentStore) -> Iterator[str]:
    now = SystemClock().now()
    for account in all_accounts(store):
        for day in sorted({now.date(), (now - TESTS_LAST_AT_MOST).date()}):
            check = check_of(store, account, day, now)
            if not check.is_sound:
                yield f"{account.account_id}: {check}"


def _held(store: DocumentStore) -> Iterator[str]:
    for lease in store.query(Query(collection=LEASES, equal={"state": "open"}, order_by="expires_at")):
        yield f"an open lease: {lease.document_id} {dict(lease.fields)}"
