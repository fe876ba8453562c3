"""`/metrics` of the API: jobs and books, for whoever watches."""

import secrets
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api_service.app import create_app
from api_service.job_figures import JobFigures
from api_service.settings import ApiSettings
from metering.collections import quarters_collection
from metering.conservation import Admissions
from metering.directory import Directory
from metering.ledger import Ledger
from metering.nightly_check import run
from metering.segments import Segment
from metering.stores import Delete, DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown
from tests.services.api.conftest import SECRET, MakeApp
from tests.stores.accounting import all_documents

Figures = dict[tuple[str, ...], float]


def samples_of(text: str) -> Figures:
    """Each sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figures_of(client: FlaskClient, **headers: str) -> Figures:
    """What the service's own port tells."""
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    assert response.content_type.startswith("text/plain; version=0.0.4")
    return samples_of(response.text)


def unsound_account(store: DocumentStore, clock: ManualClock) -> str:
    """An account of which a call vanished and the rollups are gone, both found by night."""
    account_id = Directory(store, clock, SECRET).create_account("Ada").account_id
    admissions = Admissions()
    for _ in range(2):
        admissions.note(account_id, clock.now())
    event = make_event(account_id=account_id, timestamp=clock.now())
    segment = Segment(name=f"{'a' * 32}-1", account_id=account_id, events=(event,))
    Ledger(store, clock, admitted=admissions.of).commit(segment)
    for shard in all_documents(store, quarters_collection(account_id)):
        store.commit([Delete(shard.path)])
    run(store, ManualClock(clock.now() + timedelta(days=1)), lambda *_: None)
    return account_id


@pytest.fixture
def unsound(sqlite_store: DocumentStore, clock: ManualClock) -> str:
    return unsound_account(sqlite_store, clock)


def test_a_machine_of_ones_own_shows_what_is_wrong_with_any_account(
    client: FlaskClient, unsound: str
) -> None:
    figures = figures_of(client)

    assert figures["modeltrack_unaccounted_calls",] == 1
    assert figures["modeltrack_book_differences",] > 0
    assert figures["modeltrack_calls_today", "settled"] == 1
    assert figures["modeltrack_calls_today", "in_flight"] == 1
    assert figures["modeltrack_store_answers",] == 1


def test_a_key_shows_its_own_account_and_nothing_of_the_process(
    client: FlaskClient, unsound: str, directory: Directory, bearer: Callable[..., dict[str, str]]
) -> None:
    other = directory.create_account("Bob").account_id

    theirs = figures_of(client, **bearer(other, "stats"))
    own = figures_of(client, **bearer(unsound, "stats"))

    assert (theirs["modeltrack_unaccounted_calls",], own["modeltrack_unaccounted_calls",]) == (0, 1)
    assert not any(name[0].startswith(("modeltrack_job", "modeltrack_api", "process_")) for name in own)


def test_jobs_say_how_they_fared(sqlite_store: DocumentStore, clock: ManualClock) -> None:
    jobs = JobFigures()
    app = create_app(ApiSettings(), sqlite_store, clock, SECRET, jobs=jobs)
    jobs.note_done("recover", clock.now())
    jobs.note_failed("recover")
    jobs.note_failed("recover")

    figures = figures_of(app.test_client())

    assert figures["modeltrack_job_runs_total", "recover", "done"] == 1
    assert figures["modeltrack_job_runs_total", "recover", "failed"] == 2
    assert figures["modeltrack_job_runs_total", "recover", "overdue"] == 0
    assert figures["modeltrack_job_last_done_timestamp_seconds", "recover"] == clock.now().timestamp()


def test_while_the_store_is_silent_the_rest_is_shown(make_app: MakeApp, clock: ManualClock) -> None:
    figures = figures_of(make_app(StoreDown()).test_client())

    assert figures["modeltrack_store_answers",] == 0
    assert ("modeltrack_unaccounted_calls",) not in figures


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("203.0.113.9", {}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, 401),
        ("127.0.0.1", {"Forwarded": "for=203.0.113.9"}, 401),
        ("127.0.0.1", {"Via": "1.1 front"}, 401),
        ("127.0.0.1", {"Authorization": "Bearer mt_nonsense"}, 401),
    ],
)
def test_only_this_machine_needs_no_key(
    client: FlaskClient, address: str, headers: dict[str, str], status: int
) -> None:
    answer = client.get("/metrics", headers=headers, environ_overrides={"REMOTE_ADDR": address})

    assert answer.status_code == status


def test_a_page_whose_name_leads_to_this_machine_is_not_of_it(
    make_app: MakeApp, sqlite_store: DocumentStore
) -> None:
    client = make_app(sqlite_store, api_host="0.0.0.0").test_client()

    assert client.get("/metrics", headers={"Host": "rebound.example"}).status_code == 401
    assert client.get("/metrics", headers={"Host": "127.0.0.1:3001"}).status_code == 200


def test_a_key_needs_the_scope_stats(
    client: FlaskClient, unsound: str, bearer: Callable[..., dict[str, str]]
) -> None:
    assert client.get("/metrics", headers=bearer(unsound, "read", "write")).status_code == 403


def test_hosted_nobody_gets_in_without_a_key(make_app: MakeApp, sqlite_store: DocumentStore) -> None:
    hosted: Flask = make_app(
        sqlite_store,
        modeltrack_hosted=True,
        store_url="firestore://demo-x",
        modeltrack_secret=secrets.token_hex(32),
        public_url="https://api.example.com",
        proxy_public_url="https://proxy.example.com",
        smtp_host="mail.example.com",
        mail_from="modeltrack@example.com",
    )
    client = hosted.test_client()

    answer = client.get("/metrics", base_url="https://127.0.0.1:3001")

    assert answer.status_code == 401
