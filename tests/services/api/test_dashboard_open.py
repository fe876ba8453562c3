"""Status, Security and security.txt, as anybody's browser meets them: measured, and true of the code."""

from datetime import datetime, timedelta

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
    assert "/.well-known/security.txt" in [each.get("href") for each in page.of("a")]
    assert {"within", "48", "hours,"} <= set(" ".join(page.words).split())


def security_txt(client: FlaskClient) -> dict[str, str]:
    """Field → value; each stands once."""
    answered = client.get("/.well-known/security.txt")
    assert (answered.status_code, answered.content_type) == (200, "text/plain; charset=utf-8")
    assert answered.text.endswith("\n")
    lines = [line.split(": ", 1) for line in answered.text.splitlines()]
    assert len({name for name, _ in lines}) == len(lines)
    return {name: value for name, value in lines}


@pytest.mark.parametrize(
    ("contact", "address"),
    [("security@example.com", "mailto:security@example.com"), ("https://example.com/report",) * 2],
)
def test_security_txt_is_that_of_rfc_9116(
    make_app: MakeApp, sqlite_store: DocumentStore, contact: str, address: str
) -> None:
    app = make_app(sqlite_store, security_contact=contact, public_url="https://api.example.com/")

    told = security_txt(app.test_client())

    assert told.pop("Expires")
    assert told == {
        "Contact": address,
        "Preferred-Languages": "en",
        "Policy": "https://api.example.com/security#report",
        "Canonical": "https://api.example.com/.well-known/security.txt",
    }


def test_security_txt_never_runs_out_and_never_promises_a_year(
    make_app: MakeApp, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    client = make_app(sqlite_store, security_contact="security@example.com").test_client()
    for days in (0, 100, 300):
        clock.advance(days * 86_400)

        expires = datetime.fromisoformat(security_txt(client)["Expires"])

        assert timedelta(days=170) < expires - clock.now() < timedelta(days=365)


def test_security_txt_names_no_address_that_is_not_https(
    make_app: MakeApp, sqlite_store: DocumentStore
) -> None:
    told = security_txt(make_app(sqlite_store, security_contact="security@example.com").test_client())

    assert told.keys() == {"Contact", "Expires", "Preferred-Languages"}


def test_without_a_contact_there_is_no_security_txt(client: FlaskClient) -> None:
    assert client.get("/.well-known/security.txt").status_code == 404


def test_security_txt_is_there_though_the_store_is_silent(make_app: MakeApp) -> None:
    client = make_app(StoreDown(), security_contact="security@example.com").test_client()

    assert security_txt(client)


@pytest.mark.parametrize("contact", ["", "security@example.com"])
def test_who_names_a_contact_gives_leave_to_look_for_weaknesses_in_good_faith(
    make_app: MakeApp, sqlite_store: DocumentStore, contact: str
) -> None:
    shown = words(make_app(sqlite_store, security_contact=contact).test_client(), "/security")

    assert ("Research in good faith is welcome." in shown) == bool(contact)
    assert ("we take no legal steps" in shown) == bool(contact)
