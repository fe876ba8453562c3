"""The metrics port of the API: all of the process, for whoever is on this machine and for nobody else."""

import hashlib

import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

from api_service.metrics_listener import beside
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.stores import StoreDown
from tests.services.api.conftest import MakeApp
from tests.services.api.test_metrics import Figures, samples_of

PORT = 9464
HOSTED = {
    "modeltrack_hosted": True,
    "store_url": "firestore://demo-x",
    "modeltrack_secret": hashlib.sha256(b"of these tests").hexdigest(),
    "public_url": "https://api.example.com",
    "proxy_public_url": "https://proxy.example.com",
    "smtp_host": "mail.example.com",
    "mail_from": "modeltrack@example.com",
}


def ask(app: Flask, path: str = "/metrics", host: str = "127.0.0.1", method: str = "GET") -> TestResponse:
    """What a process of that application answers on its metrics port."""
    client = Client(beside(app, PORT))
    return client.open(
        path, method=method, headers={"Host": host}, environ_overrides={"SERVER_PORT": str(PORT)}
    )


def figures(app: Flask) -> Figures:
    told = ask(app)
    assert (told.status_code, told.headers["Cache-Control"]) == (200, "no-store")
    return samples_of(told.text)


@pytest.fixture
def counted(sqlite_store: DocumentStore) -> CountingStore:
    return CountingStore(sqlite_store)


@pytest.fixture
def hosted(make_app: MakeApp, counted: CountingStore) -> Flask:
    return make_app(counted, **HOSTED)


def test_hosted_it_tells_how_requests_fared_and_names_nobody(hosted: Flask, clock: ManualClock) -> None:
    client = hosted.test_client()
    client.get("/healthz", base_url="https://api.example.com")
    client.get("/v1/usage", base_url="https://api.example.com")
    client.open("/healthz", method="BREW", base_url="https://api.example.com")

    found = figures(hosted)

    assert found["modeltrack_api_requests_total", "GET", "2xx"] == 1
    assert found["modeltrack_api_requests_total", "GET", "4xx"] == 1
    assert found["modeltrack_api_requests_total", "other", "4xx"] == 1
    assert found["modeltrack_api_request_seconds_count",] == 3
    assert found["modeltrack_store_answers",] == 1
    assert found["process_resident_memory_bytes",] > 0


def test_hosted_a_scrape_reads_one_document_whatever_accounts_there_are(
    hosted: Flask, counted: CountingStore
) -> None:
    before = counted.documents_read

    figures(hosted)

    assert counted.documents_read - before <= 1


def test_hosted_the_books_of_accounts_are_not_told(hosted: Flask) -> None:
    assert not [name for name, *_ in figures(hosted) if name.startswith("modeltrack_calls")]


def test_a_request_that_the_stores_silence_fails_is_counted(make_app: MakeApp) -> None:
    app = make_app(StoreDown(), **HOSTED)
    client = app.test_client()

    assert client.get("/readyz", base_url="https://api.example.com").status_code == 503

    found = figures(app)
    assert found["modeltrack_store_errors_total", "read"] == 1
    assert found["modeltrack_store_errors_total", "write"] == 0
    assert found["modeltrack_api_requests_total", "GET", "5xx"] == 1
    assert found["modeltrack_store_answers",] == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9464", "0.0.0.0:9464"])
def test_it_goes_by_the_names_of_this_machine(hosted: Flask, host: str) -> None:
    assert ask(hosted, host=host).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/metrics", "rebound.example.com:9464", 421),
        ("GET", "/metrics", "api.example.com", 421),
        ("GET", "/healthz", "localhost", 404),
        ("GET", "/v1/usage", "localhost", 404),
        ("POST", "/metrics", "localhost", 405),
    ],
)
def test_it_is_for_nothing_else(hosted: Flask, method: str, path: str, host: str, status: int) -> None:
    told = ask(hosted, path, host, method)

    assert (told.status_code, "modeltrack_" in told.text) == (status, False)


def test_the_services_own_port_is_as_it_was(hosted: Flask) -> None:
    client = Client(beside(hosted, PORT))

    assert client.get("/healthz", base_url="https://api.example.com").status_code == 200
    assert client.get("/metrics", base_url="https://127.0.0.1:3001").status_code == 401
    # What a caller says of a port is not where it came in.
    assert client.get("/metrics", headers={"Host": f"127.0.0.1:{PORT}"}).status_code == 401
