"""How the service stands, as anybody may ask: measured, kept for a moment, and nobody's own figures."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from flask.testing import FlaskClient

from api_service.functions import measure
from api_service.functions.settings import FunctionSettings
from api_service.functions.workplace import Workplace
from api_service.logs import ApiLog
from api_service.request_limits import OF_STATUS
from api_service.resources.status import StatusView
from api_service.settings import ApiSettings
from api_service.status_board import KEPT_SECONDS, proxy_probe
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.mailbox import Mailbox
from tests.doubles.stores import StoreDown
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.logbook import Logbook
from tests.services.api.test_events_and_usage import record
from tests.unit.api_service.test_settings import HOSTED

NOWHERE = "http://127.0.0.1:1"


class Healthy(BaseHTTPRequestHandler):
    """A proxy as far as its health is concerned."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        body = b'{"status":"ok"}' if self.path == "/health" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def proxy_url() -> Iterator[str]:
    """Where a proxy answers that it is well."""
    Healthy.asked = 0
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def workplace(store: DocumentStore, clock: ManualClock, proxy_url: str) -> Workplace:
    settings = FunctionSettings(proxy_public_url=proxy_url)
    return Workplace(settings, store, clock, ApiLog(clock, "error", Logbook()), Mailbox())


def told(client: FlaskClient) -> dict[str, object]:
    response = client.get("/v1/status")
    assert response.status_code == 200, response.text
    body: dict[str, object] = response.get_json()
    StatusView.model_validate(body)
    return body


def test_what_was_measured_is_told_to_anybody_and_gaps_are_gaps(
    make_app: MakeApp, store: DocumentStore, clock: ManualClock, proxy_url: str
) -> None:
    client = make_app(store, proxy_public_url=proxy_url).test_client()
    for _ in range(2):
        assert measure.run(workplace(store, clock, proxy_url)).samples == 1
        clock.advance(3600)
    measure.run(workplace(store, clock, NOWHERE))

    body = json.loads(client.get("/v1/status").text)

    assert (body["state"], body["store"]["state"], body["proxy"]["state"]) == ("up", "up", "up")
    slots = body["history"]["data"]
    measured = {number: each for number, each in enumerate(slots) if each["samples"]}
    assert sorted(measured) == [87, 91, 95]
    assert [(each["proxy_up"], each["proxy_down"]) for each in measured.values()] == [(1, 0), (1, 0), (0, 1)]
    assert {each["store_ms"] for number, each in enumerate(slots) if number not in measured} == {None}
    assert body["recording"]["recorded_at"] is None


def test_the_machines_own_traffic_is_told_where_it_is_self_hosted(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, client: FlaskClient
) -> None:
    event = make_event(account_id=ada.account_id, timestamp=clock.now(), latency_ms=900)
    record(sqlite_store, clock, event)
    measure.run(workplace(sqlite_store, clock, NOWHERE))

    body = json.loads(client.get("/v1/status").text)

    (provider,) = body["providers"]["data"]
    assert (provider["provider"], provider["hour"]["calls"], provider["hour"]["p50_ms"]) == (
        "anthropic", 1, 1024,
    )  # fmt: skip
    assert body["recording"]["age_seconds"] == 0
    assert ada.account_id not in json.dumps(body)


def test_a_store_that_is_silent_is_told_and_nothing_is_made_up(make_app: MakeApp) -> None:
    body = told(make_app(StoreDown(), proxy_public_url=NOWHERE).test_client())

    assert (body["state"], body["store"]) == ("down", {"state": "down", "latency_ms": None})
    assert body["proxy"] == {"state": "down", "latency_ms": None}
    assert json.dumps(body["history"]).count('"samples": 0') == 96


def test_many_questions_cost_the_store_and_the_proxy_one(
    make_app: MakeApp, sqlite_store: DocumentStore, clock: ManualClock, proxy_url: str
) -> None:
    counting = CountingStore(sqlite_store)
    client = make_app(counting, proxy_public_url=proxy_url).test_client()

    first = told(client)
    answers = [told(client) for _ in range(20)]
    reads, asked = counting.documents_read, Healthy.asked
    clock.advance(KEPT_SECONDS + 1)

    assert answers == [first] * 20
    assert (reads, asked, counting.commits) == (2, 1, [])
    assert told(client) != first
    assert (counting.documents_read, Healthy.asked) == (4, 2)


def test_who_asks_too_often_waits_and_costs_the_store_nothing(make_app: MakeApp, clock: ManualClock) -> None:
    client = make_app(StoreDown(), proxy_public_url=NOWHERE).test_client()

    statuses = [client.get("/v1/status").status_code for _ in range(OF_STATUS.limit + 1)]
    refused = client.get("/v1/status")

    assert statuses == [200] * OF_STATUS.limit + [429]
    assert 0 < int(refused.headers["Retry-After"]) <= OF_STATUS.seconds
    clock.advance(OF_STATUS.seconds)
    assert client.get("/v1/status").headers["X-RateLimit-Remaining"] == str(OF_STATUS.limit - 1)


def test_a_proxy_whose_address_nobody_gave_is_unknown(clock: ManualClock) -> None:
    assert ApiSettings().proxy_probed_url == ""
    assert proxy_probe("", clock)().state == "unknown"


def test_hosted_this_very_machine_is_no_address_of_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)  # that of other tests; hosted, it is refused
    here, elsewhere = "https://127.0.0.1:8443", "https://proxy.example.com"

    assert ApiSettings(proxy_public_url=here).proxy_probed_url == here
    assert ApiSettings(**HOSTED | {"proxy_public_url": here}).proxy_probed_url == ""
    assert ApiSettings(**HOSTED | {"proxy_public_url": elsewhere}).proxy_probed_url == elsewhere


def test_whoever_answers_otherwise_is_no_proxy(clock: ManualClock, proxy_url: str) -> None:
    assert proxy_probe(f"{proxy_url}/elsewhere", clock)().state == "down"
