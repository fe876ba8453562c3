"""What answers cost: documents read by whatever may be asked, for thirty days of an account's figures."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count, product

import pytest

from metering import compaction
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.opening import open_store
from metering.segments import Segment
from metering.shards import SHARDS_MAX
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.services.api.operations import ANSWERED, OPERATIONS, Operation, Place, Sent, World, request_of
from tests.services.api.test_events_and_usage import record

DOCUMENTS_MAX = 100
DAYS = 61
OPEN_QUARTERS = (timedelta(minutes=1), timedelta(minutes=16), timedelta(minutes=31))
# These hand over what is kept, call by call, as much as is asked for.
CALL_BY_CALL = {"GET /v1/events", "GET /v1/exports/events", "GET /v1/exports/focus", "GET /v1/account/export"}
READING = [
    each for each in OPERATIONS if each.method == "GET" and each.name not in CALL_BY_CALL | ANSWERED.keys()
]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CountingStore, Place]]:
    """An account of two months of calls by the hour, that as many instances serve now as have a shard each.

    Its last three quarter hours are not compacted yet: no more are, where that runs every five minutes.
    """
    folder = tmp_path_factory.mktemp("read")
    counting = CountingStore(open_store(f"sqlite:///{folder}/modeltrack.db"))
    world = World(counting, folder)
    place = world.place()
    now = world.clock.now()
    moments = [now - timedelta(days=day, hours=hour) for day in range(DAYS) for hour in (1, 7, 13)]
    events = [
        make_event(
            account_id=place.account_id,
            timestamp=at,
            team=f"team {number % 5}",
            session_id=f"session {number}",
            prompt_template_id=f"template {number % 9}",
        )
        for number, at in enumerate(moments)
    ]
    record(counting, world.clock, *events)
    compaction.run(counting, world.clock)
    for age, shard in product(OPEN_QUARTERS, range(SHARDS_MAX)):
        event = make_event(account_id=place.account_id, timestamp=now - age, session_id=f"late {shard}")
        keep_in_shard(counting, event, shard)
    yield counting, place
    counting.close()


def keep_in_shard(store: DocumentStore, event: CostEvent, shard: int) -> None:
    """Store the event as one of many busy instances does."""
    ledger = Ledger(store, ManualClock(event.timestamp))
    ledger._shards._widths[event.account_id] = SHARDS_MAX
    names = (f"{shard:032x}-{number}" for number in count(1))
    name = next(name for name in names if ledger._shards._shard_of(event.account_id, name) == shard)
    ledger.commit(Segment(name=name, account_id=event.account_id, events=(event,)))


@pytest.mark.parametrize("operation", READING, ids=lambda each: each.name)
def test_thirty_days_are_at_most_a_hundred_documents_with_everything_that_guards_them(
    busy: tuple[CountingStore, Place], operation: Operation
) -> None:
    counting, place = busy
    sent = request_of(operation, place, place.owner)
    before = counting.documents_read

    response = place.owner.ask(Sent("GET", sent.path, {**sent.query, **thirty_days(place, operation)}, None))

    assert response.status_code == 200, response.text
    print(f"{operation.name}: {counting.documents_read - before} documents")  # noqa: T201 - for whoever runs it
    assert counting.documents_read - before <= DOCUMENTS_MAX


def thirty_days(place: Place, operation: Operation) -> dict[str, str]:
    """The range to ask for, where an operation takes one; of odd hours, no more than a week at once."""
    if "start_time" not in {each["name"] for each in operation.parameters("query")}:
        return {}
    now = place.world.clock.now()
    days = 7 if operation.path == "/v1/anomalies" else 30
    return {"start_time": (now - timedelta(days=days)).isoformat(), "end_time": now.isoformat()}
