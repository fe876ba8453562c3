"""What answers cost: documents read by whatever may be asked, for thirty days of an account's figures."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from metering import compaction
from metering.opening import open_store
from tests.builders import make_event
from tests.doubles.counting_store import CountingStore
from tests.services.api.operations import ANSWERED, OPERATIONS, Operation, Place, Sent, World, request_of
from tests.services.api.test_events_and_usage import record

DOCUMENTS_MAX = 100
DAYS = 61
OPEN_QUARTERS = (timedelta(minutes=1), timedelta(minutes=16), timedelta(minutes=31))
# Twelve weeks to forecast from, and thirty days' mix of calls.
LONGER = {"GET /v1/forecast/scenarios": 130}
# These hand over what is kept, call by call, as much as is asked for.
CALL_BY_CALL = {"GET /v1/events", "GET /v1/exports/events", "GET /v1/exports/focus", "GET /v1/account/export"}
READING = [
    each for each in OPERATIONS if each.method == "GET" and each.name not in CALL_BY_CALL | ANSWERED.keys()
]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CountingStore, Place]]:
    """An account of two months of calls by the hour, whose last three quarter hours are not compacted."""
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
    late = [make_event(account_id=place.account_id, timestamp=now - age) for age in OPEN_QUARTERS]
    record(counting, world.clock, *late)
    yield counting, place
    counting.close()


@pytest.mark.parametrize("operation", READING, ids=lambda each: each.name)
def test_thirty_days_are_at_most_a_hundred_documents_with_everything_that_guards_them(
    busy: tuple[CountingStore, Place], operation: Operation
) -> None:
    counting, place = busy
    sent = request_of(operation, place, place.owner)
    before = counting.documents_read

    response = place.owner.ask(Sent("GET", sent.path, {**sent.query, **thirty_days(place, operation)}, None))

    assert response.status_code == 200, response.text
    assert counting.documents_read - before <= LONGER.get(operation.name, DOCUMENTS_MAX)


def thirty_days(place: Place, operation: Operation) -> dict[str, str]:
    """The range to ask for, where an operation takes one; of odd hours, no more than a week at once."""
    if "start_time" not in {each["name"] for each in operation.parameters("query")}:
        return {}
    now = place.world.clock.now()
    days = 7 if operation.path == "/v1/anomalies" else 30
    return {"start_time": (now - timedelta(days=days)).isoformat(), "end_time": now.isoformat()}
