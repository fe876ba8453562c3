"""The README's bill is the script's, and what the script reckons with is what the code does."""

import importlib.util
import io
import re
import secrets
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from api_service.functions.jobs import JOBS
from api_service.functions.settings import FunctionSettings
from api_service.functions.workplace import Workplace
from api_service.logs import ApiLog
from metering import leases, queued_recovery, segments
from metering.accounts import LOCAL_ACCOUNT_ID
from metering.directory import Directory
from metering.events import Charge, CostEvent
from metering.journal import Admitted, Hold, admitted_line, settled_line
from metering.leases import charge_writes
from metering.ledger import Ledger
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.setting_kinds import Secret
from metering.sqlite.store import open_store
from metering.stores import Write
from proxy_service.logs import CallLine
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.journal_queue import MemoryQueue
from tests.doubles.mailbox import Mailbox

INFRA = Path(__file__).parents[2] / "infra"
INSTANCE = "a" * 32
LEASE = f"{'c' * 32}.{INSTANCE}.1"
BUDGET = f"bud_{'b' * 32}"
ACCOUNTS = 4
MINUTES = 60


def load_bill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bill", INFRA / "bill.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["bill"] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bill() -> ModuleType:
    return load_bill()


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(open_store(tmp_path / "modeltrack.db"))


def usual_event() -> CostEvent:
    """A call with tags and one budget, whose ids and figures repeat nothing."""
    return make_event(
        request_id=f"req_{secrets.token_hex(16)}",
        app="web-frontend",
        feature="answer",
        session_id=secrets.token_hex(16),
        input_tokens=secrets.randbelow(5_000),
        output_tokens=secrets.randbelow(900),
        latency_ms=secrets.randbelow(20_000),
        cost_nanodollars=secrets.randbelow(10**8),
        charges=(Charge(BUDGET, "2026-11", LEASE, 10_000_000),),
    )


def stored_bytes(events: Sequence[CostEvent]) -> int:
    return len(msgspec.msgpack.encode(segments.segment_fields(events)))


def test_the_readme_shows_what_the_script_prints(bill: ModuleType) -> None:
    assert bill.table() in (INFRA / "README.md").read_text()


def test_a_price_takes_off_what_is_free_and_steps_down(bill: ModuleType) -> None:
    price = bill.Price(usd=10, per=2, source="", free=4, then=((6, 5), (10, 1)))

    assert [price.of(amount) for amount in (0, 4, 6, 10, 14, 16)] == [0, 0, 10, 30, 40, 41]


def test_every_price_says_where_and_when_it_was_read(bill: ModuleType) -> None:
    prices = [value for value in vars(bill).values() if isinstance(value, bill.Price)]

    assert len(prices) >= 20
    for price in prices:
        assert re.search(r"\bread 20\d\d-\d\d-\d\d$", price.source), price


def test_a_larger_deployment_costs_more_and_each_event_less(bill: ModuleType) -> None:
    totals = [sum(cost(size) for _, cost in bill.ITEMS) for size in bill.SIZES]
    each = [total / size.events for total, size in zip(totals, bill.SIZES, strict=True)]

    assert totals == sorted(totals)
    assert each == sorted(each, reverse=True)


def test_the_journal_has_as_many_bytes_a_call(bill: ModuleType) -> None:
    event = usual_event()
    admitted = Admitted(
        request_id=event.request_id,
        timestamp=event.timestamp,
        account_id=event.account_id,
        key_id=event.key_id,
        provider=event.provider,
        model=event.model,
        requested_model=event.model,
        instance=INSTANCE,
        team=event.team,
        app=event.app,
        feature=event.feature,
        session_id=event.session_id,
        estimate_nanodollars=12_345_678,
        holds=(Hold(BUDGET, "2026-11", LEASE, 12_345_678),),
    )
    written = len(admitted_line(admitted)) + len(settled_line(event, f"{INSTANCE}-12"))

    assert written == pytest.approx(bill.JOURNAL_BYTES, rel=0.1)


def test_the_log_has_as_many_bytes_a_call(bill: ModuleType) -> None:
    event = usual_event()
    line = CallLine(
        request_id=event.request_id,
        account_id=event.account_id,
        key_id=event.key_id,
        provider=event.provider,
        operation="messages",
        kind="metered",
        model=event.model,
        status=event.status_code,
        refusal="",
        state=event.state,
        cost_nanodollars=event.cost_nanodollars,
        latency_ms=event.latency_ms,
        timestamp=AT.isoformat(),
    )

    assert len(msgspec.json.encode(line)) == pytest.approx(bill.CALL_LINE_BYTES, rel=0.1)


def test_a_commit_is_as_many_writes(bill: ModuleType, store: CountingStore) -> None:
    ledger = Ledger(store, ManualClock(), admitted=lambda _account, _day: 1)

    def charges(events: Sequence[CostEvent]) -> Sequence[Write]:
        return charge_writes(ACCOUNT_ID, events, expires_at=AT + timedelta(minutes=1))

    for number in range(3):
        events = tuple(usual_event() for _ in range(5))
        name = f"{INSTANCE}-{number}"
        ledger.commit(segments.Segment(name=name, account_id=ACCOUNT_ID, events=events), charges)

    # The first of a day notes the day, too.
    assert [commit.writes for commit in store.commits[1:]] == [bill.WRITES_A_COMMIT] * 2


def test_events_are_stored_in_as_many_bytes(bill: ModuleType) -> None:
    events = [usual_event() for _ in range(1_000)]

    assert stored_bytes(events[:1]) == pytest.approx(bill.SEGMENT_BYTES, rel=0.25)
    assert stored_bytes(events) / 1_000 == pytest.approx(bill.EVENT_BYTES, rel=0.25)


def test_recovery_reads_as_many_documents_a_segment(bill: ModuleType, store: CountingStore) -> None:
    clock = ManualClock()
    Directory(store, clock, secrets.token_bytes(32)).ensure_local_account()
    queue, ledger, count = MemoryQueue(clock), Ledger(store, clock), 40
    for number in range(count):
        event, name = make_event(account_id=LOCAL_ACCOUNT_ID), f"{INSTANCE}-{number}"
        ledger.commit(segments.Segment(name=name, account_id=LOCAL_ACCOUNT_ID, events=(event,)))
        queue.publish(settled_line(event, name))
    before = store.documents_read

    found = queued_recovery.run(store, clock, queue, lambda: Pricer(load_price_table())).events_found

    assert found == count
    assert (store.documents_read - before) / count == pytest.approx(bill.RECOVERY_READS_A_SEGMENT, rel=0.25)


def test_what_is_written_takes_place_as_often(bill: ModuleType) -> None:
    assert bill.SEAL_SECONDS == segments.AGE_BUSY_SECONDS
    assert bill.REPORT_SECONDS == leases.LITTLE_NEWS_SECONDS
    assert 1 / (leases.SELDOM * leases.REPORT_SECONDS) == bill.REPORTS_A_SECOND
    assert bill.RENEWAL_SECONDS == leases.RENEWAL_SECONDS


def reads_a_minute(accounts: int, folder: Path) -> float:
    """What all jobs read in a minute, once each has run, by the schedules of infra/README.md."""
    store, clock, secret = CountingStore(open_store(folder / "m.db")), ManualClock(), secrets.token_hex(32)
    ledger = Ledger(store, clock)
    for number in range(accounts):
        account_id = Directory(store, clock, secret.encode()).create_account(f"account {number}").account_id
        events = (make_event(account_id=account_id, timestamp=clock.now()),)
        ledger.commit(segments.Segment(name=f"{number:032x}-1", account_id=account_id, events=events))
    clock.advance(20 * MINUTES)
    settings = FunctionSettings(
        data_dir=folder, modeltrack_secret=Secret(secret), proxy_public_url="http://127.0.0.1:9"
    )
    place = Workplace(settings, store, clock, ApiLog(clock, "error", io.StringIO()), Mailbox())
    minutes_between = {"compact": 5, "measure": 5, "retain": 60, "check": 24 * 60}
    reads = 0.0
    for is_measured in (False, True):
        for job in JOBS:
            before = store.documents_read
            job.run(place)
            if is_measured:
                reads += (store.documents_read - before) / minutes_between.get(job.name, 1)
        clock.advance(MINUTES)
    return reads


def test_jobs_read_as_many_documents(bill: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "some").mkdir()
    without, some = reads_a_minute(0, tmp_path / "none"), reads_a_minute(ACCOUNTS, tmp_path / "some")

    assert without == pytest.approx(bill.JOB_READS, rel=0.25)
    assert (some - without) / ACCOUNTS == pytest.approx(bill.JOB_READS_AN_ACCOUNT, rel=0.25)
