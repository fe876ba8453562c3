"""The journal's subscription, on the Pub/Sub emulator: lines come, wait, go, and are set aside."""

import base64
import io
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from api_service.functions import recover
from api_service.functions.journal_subscription import JournalSubscription, open_subscription
from api_service.functions.settings import FunctionSettings
from api_service.functions.workplace import Workplace
from api_service.logs import ApiLog
from metering.accounts import LOCAL_ACCOUNT_ID
from metering.journal import parse_line, settled_line
from metering.queued_recovery import HIDDEN_SECONDS, Delivery, QueueUnavailable
from metering.stores import DocumentStore
from tests.builders import changed_settings, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.pubsub_emulator import PubSubEmulatorMissing, running_pubsub_emulator
from tests.stores.accounting import all_events
from tests.system.processes import eventually

SEGMENT = "0" * 32 + "-1"
PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="module")
def pubsub() -> Iterator[str]:
    try:
        with running_pubsub_emulator() as address:
            yield address
    except PubSubEmulatorMissing as missing:
        pytest.skip(str(missing))


class Topics:
    """A topic that lines are published to, one for what is set aside, and their subscriptions."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/v1/"
        self._project = f"projects/demo-{uuid.uuid4().hex[:12]}"
        for name in ("lines", "aside"):
            self._put(f"topics/{name}", {})
            topic = {"topic": f"{self._project}/topics/{name}", "ackDeadlineSeconds": 10}
            self._put(f"subscriptions/{name}", topic)
        self.settings = FunctionSettings(
            journal_subscription=f"{self._project}/subscriptions/lines",
            journal_aside_topic=f"{self._project}/topics/aside",
            pubsub_emulator_host=address,
        )

    def publish(self, *messages: bytes) -> None:
        data = [{"data": base64.b64encode(message).decode()} for message in messages]
        self._ask("POST", "topics/lines:publish", {"messages": data})

    def aside(self) -> list[bytes]:
        found = self._ask("POST", "subscriptions/aside:pull", {"maxMessages": 10, "returnImmediately": True})
        return [base64.b64decode(each["message"]["data"]) for each in found.get("receivedMessages", [])]

    def _put(self, name: str, body: dict[str, object]) -> None:
        self._ask("PUT", name, body)

    def _ask(
        self, method: str, name: str, body: dict[str, object]
    ) -> dict[str, list[dict[str, dict[str, str]]]]:
        answer = requests.request(method, f"{self._url}{self._project}/{name}", json=body, timeout=20)
        answer.raise_for_status()
        told: dict[str, list[dict[str, dict[str, str]]]] = answer.json()
        return told


@pytest.fixture
def topics(pubsub: str) -> Topics:
    return Topics(pubsub)


def pulled(subscription: JournalSubscription, count: int) -> Sequence[Delivery]:
    """So many lines, as soon as they are there."""
    found: list[Delivery] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count and time.monotonic() < deadline:
        found += subscription.pull(100)
    return found


def test_lines_come_as_they_were_written_with_the_moment_of_their_publishing(topics: Topics) -> None:
    line = settled_line(make_event(), SEGMENT)
    topics.publish(line)

    (delivery,) = pulled(open_subscription(topics.settings), 1)

    assert delivery.line == line
    assert abs((datetime.now(UTC) - delivery.published_at).total_seconds()) < PATIENCE_SECONDS


def test_a_log_entry_of_the_platform_holds_the_line(topics: Topics) -> None:
    line = settled_line(make_event(), SEGMENT)
    topics.publish(json.dumps({"jsonPayload": json.loads(line), "severity": "DEFAULT"}).encode())

    (delivery,) = pulled(open_subscription(topics.settings), 1)

    assert parse_line(delivery.line) == parse_line(line)


def test_what_is_acknowledged_is_gone_and_what_is_given_back_comes_again(topics: Topics) -> None:
    topics.publish(b"done", b"again")
    subscription = open_subscription(topics.settings)
    deliveries = pulled(subscription, 2)
    assert subscription.pull(10) == []

    subscription.acknowledge([each for each in deliveries if each.line == b"done"])
    subscription.give_back([each for each in deliveries if each.line == b"again"], 0)

    assert [each.line for each in pulled(subscription, 1)] == [b"again"]


def test_what_is_set_aside_goes_to_its_own_topic(topics: Topics) -> None:
    delivery = Delivery("1", b"no line", datetime.now(UTC))

    open_subscription(topics.settings).set_aside([delivery] * 250)

    found: list[bytes] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < 250 and time.monotonic() < deadline:
        found += topics.aside()
    assert found == [b"no line"] * 250


def test_an_empty_subscription_answers_at_once_with_nothing(topics: Topics) -> None:
    assert open_subscription(topics.settings).pull(10) == []


def test_a_subscription_that_is_not_there_is_told_without_quoting_anything(topics: Topics) -> None:
    missing = changed_settings(
        topics.settings, journal_subscription=topics.settings.journal_subscription + "-canary"
    )

    with pytest.raises(QueueUnavailable) as caught:
        open_subscription(missing).pull(10)

    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_message_stays_hidden_beyond_its_subscriptions_own_deadline(topics: Topics) -> None:
    asked: list[dict[str, object]] = []

    class Watched(JournalSubscription):
        def give_back(self, deliveries: Sequence[Delivery], seconds: int) -> None:
            asked.append({"lines": len(deliveries), "seconds": seconds})
            super().give_back(deliveries, seconds)

    topics.publish(b"line")
    settings = topics.settings
    names = (settings.journal_subscription, settings.journal_aside_topic)
    pulled(Watched(requests.Session(), f"http://{settings.pubsub_emulator_host}", *names), 1)

    assert asked == [{"lines": 1, "seconds": HIDDEN_SECONDS}]


def test_the_job_stores_what_the_subscription_holds(
    topics: Topics, sqlite_store: DocumentStore, tmp_path: Path
) -> None:
    clock = ManualClock(datetime.now(UTC) + timedelta(minutes=3))
    event = make_event(account_id=LOCAL_ACCOUNT_ID, timestamp=datetime.now(UTC))
    topics.publish(settled_line(event, SEGMENT), b"no line")
    settings = changed_settings(topics.settings, journal="stdout", data_dir=tmp_path)
    place = Workplace(settings, sqlite_store, clock, ApiLog(clock, stream=io.StringIO()), Mailbox())

    def recovered() -> bool:
        recover.run(place)
        return bool(all_events(sqlite_store, LOCAL_ACCOUNT_ID))

    eventually(recovered, seconds=PATIENCE_SECONDS, what="the event")

    assert all_events(sqlite_store, LOCAL_ACCOUNT_ID) == [event]
    assert topics.aside() == [b"no line"]
    assert open_subscription(settings).pull(10) == []
