"""The pages about alerts and how people are told: what stands there, and what is offered to whom."""

import pytest
from flask import Flask

from api_service.roles import ROLES, TABLE
from api_service.services import EXTENSION
from metering.alerting import Finding
from tests.services.api.conftest import Person
from tests.services.api.operations import Sent, World
from tests.services.api.test_dashboard import BROWSER, HOSTILE, read, world

__all__ = ["world"]

PATHS = ("/alerts", "/alerts/channels", "/alerts/webhooks", "/alerts/notices")


@pytest.fixture
def alert_id(app: Flask, ada: Person) -> str:
    """An alert about a team with a hostile name."""
    finding = Finding(
        kind="anomaly",
        subject_id=HOSTILE,
        period="2026-11-21T09",
        step="critical",
        level="critical",
        title=f"{HOSTILE}: 40 times the usual spend in one hour",
        text=f"{HOSTILE} spent $40.00, where $1.00 were to be expected.",
        data={},
    )
    app.extensions[EXTENSION].alerts.fire(ada.account_id, [finding])
    [found] = ada.get("/v1/alerts").get_json()["data"]
    return str(found["id"])


def operations_on(person: Person, path: str) -> list[str]:
    forms = read(person.get(path, headers=BROWSER)).of("form")
    return [each["data-operation"] for each in forms if "data-operation" in each]


def test_text_of_callers_is_text_in_alerts_and_their_links(ada: Person, alert_id: str) -> None:
    response = ada.get("/alerts", headers=BROWSER)
    links = [each["href"] for each in read(response).of("a") if "team=" in each.get("href", "")]

    assert "<img src=x" not in response.text
    assert HOSTILE in " ".join(read(response).words)
    assert len(links) == 1
    assert links[0].startswith("/teams?")


def test_an_alert_is_offered_what_its_state_allows(ada: Person, alert_id: str) -> None:
    def offered() -> set[str]:
        return {each.rpartition("/")[2] for each in operations_on(ada, "/alerts") if alert_id in each}

    fresh = offered()
    ada.write("POST", f"/v1/alerts/{alert_id}/acknowledge")
    seen_to = offered()
    ada.write("POST", f"/v1/alerts/{alert_id}/resolve")

    assert fresh == {"acknowledge", "snooze", "resolve"}
    assert seen_to == {"snooze", "resolve"}
    assert offered() == set()


def test_every_length_that_an_alert_is_put_off_for_is_taken(ada: Person, alert_id: str) -> None:
    page = read(ada.get("/alerts", headers=BROWSER))
    lengths = [each["value"] for each in page.of("option") if each.get("value", "").startswith("20")]

    answers = [ada.write("POST", f"/v1/alerts/{alert_id}/snooze", {"until": each}) for each in lengths]

    assert len(lengths) == 4
    assert {each.status_code for each in answers} == {200}


def test_alerts_are_narrowed_by_their_state(ada: Person, alert_id: str) -> None:
    def count(state: str) -> int:
        return len(read(ada.get(f"/alerts?state={state}", headers=BROWSER)).of("article"))

    assert (count("open"), count("resolved"), count("nonsense")) == (1, 0, 1)


@pytest.mark.parametrize("role", ROLES)
def test_channels_and_webhooks_are_made_by_those_alone_who_may(world: World, role: str) -> None:
    client = world.place().visitor(role).client
    for path, operation in (("channels", "POST /v1/channels"), ("webhooks", "POST /v1/webhooks")):
        forms = read(client.get(f"/alerts/{path}", headers=BROWSER)).of("form")

        assert (operation in {each.get("data-operation") for each in forms}) is (
            role in TABLE["settings"].roles
        )


def test_no_page_shows_a_secret_or_slacks_address(ada: Person) -> None:
    slack = "https://hooks.slack.com/services/T000/B000/abcdefgh"
    made = ada.write("POST", "/v1/webhooks", {"url": "https://hooks.example.com/x"}).get_json()
    ada.write("POST", "/v1/channels", {"kind": "slack", "slack_webhook_url": slack})

    texts = [ada.get(path, headers=BROWSER).text for path in PATHS]

    assert made["secret"].startswith("whsec_")
    assert not any(made["secret"] in text or "abcdefgh" in text for text in texts)
    assert any("Slack …efgh" in text for text in texts)


@pytest.mark.parametrize("role", ROLES)
def test_a_webhooks_address_is_shown_whole_to_those_alone_who_may_change_it(world: World, role: str) -> None:
    place = world.place()
    url = "https://hooks.example.com/t0ken?key=s3cret"
    place.owner.ask(Sent("POST", "/v1/webhooks", {}, {"url": url}))
    asking = place.visitor(role)

    [told] = asking.client.get("/v1/webhooks").get_json()["data"]
    page = asking.client.get("/alerts/webhooks", headers=BROWSER).text

    is_shown = role in TABLE["settings"].roles
    assert told["url"] == (url if is_shown else "https://hooks.example.com/…")
    assert ("t0ken" in page) is is_shown


def test_who_is_told_by_nobody_is_told_so(ada: Person) -> None:
    before = " ".join(read(ada.get("/alerts", headers=BROWSER)).words)
    ada.write("POST", "/v1/channels", {"kind": "email", "email": ada.email})
    after = " ".join(read(ada.get("/alerts", headers=BROWSER)).words)

    assert "Nobody is told of alerts yet" in before
    assert "Nobody is told of alerts yet" not in after
