"""Status and Security, as anybody's browser meets them: measured, and true of the code."""

import pytest
from flask.testing import FlaskClient

from api_service.dashboard.pages.security import tracked
from api_service.resources.events import EventView
from metering.retention_rules import RULES
from metering.status_history import Answered, Sample, add_sample
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown
from tests.services.api.conftest import MakeApp
from tests.services.api.test_dashboard import BROWSER, read

NOWHERE = "http://127.0.0.1:1"


def words(client: FlaskClient, path: str) -> str:
    response = client.get(path, headers=BROWSER)
    assert response.status_code == 200, response.text
    return " ".join(" ".join(read(response).words).split())


def test_what_was_not_measured_is_shown_as_a_gap(
    make_app: MakeApp, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    down = Answered(state="down")
    add_sample(sqlite_store, None, Sample(at=clock.now(), store_ms=7, proxy=down))
    client = make_app(sqlite_store, proxy_public_url=NOWHERE).test_client()

    page = read(client.get("/status", headers=BROWSER))

    bars = [each["class"] for each in page.of("rect")]
    assert (bars.count("gap"), bars.count("up"), bars.count("down")) == (
        95 + 95 + 1,
        1 + 1,
        1 + 1,
    )  # a legend
    store, proxy = (each["aria-label"] for each in page.of("svg") if each.get("role") == "img")
    assert store == (
        "Store, 96 quarter hours: 1 answered, 0 answered at times, 0 did not answer, 95 not measured"
    )
    assert "0 answered, 0 answered at times, 1 did not answer" in proxy
    assert "The proxy does not answer" in " ".join(page.words)


def test_a_silent_store_is_a_page_that_says_so(make_app: MakeApp) -> None:
    client = make_app(StoreDown(), proxy_public_url=NOWHERE).test_client()

    assert "Store and proxy do not answer" in words(client, "/status")
    assert "Report a weakness" in words(client, "/security")


def test_every_field_of_an_event_is_told_of_once(client: FlaskClient) -> None:
    told = [name for group in tracked() for name, _ in group.fields]

    assert sorted(told) == sorted(EventView.model_fields)
    assert [group.title for group in tracked()][-1] == "Off unless the account turns it on"
    shown = words(client, "/security")
    assert all(name in shown for name in told)


def test_retention_is_the_table_that_the_deleting_job_goes_by(client: FlaskClient) -> None:
    shown = words(client, "/security")

    for rule in RULES.values():
        assert f"{rule.what} {rule.until.replace('`', '')}" in shown


@pytest.mark.parametrize(
    ("contact", "address"),
    [("security@example.com", "mailto:security@example.com"), ("https://example.com/report",) * 2],
)
def test_a_weakness_is_reported_to_the_address_that_the_operator_gave(
    make_app: MakeApp, sqlite_store: DocumentStore, contact: str, address: str
) -> None:
    client = make_app(sqlite_store, security_contact=contact).test_client()

    page = read(client.get("/security", headers=BROWSER))

    assert address in [each.get("href") for each in page.of("a")]
