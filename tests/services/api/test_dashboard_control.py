"""The pages about budgets and calls, and the guide to the first one: the API's figures, and what one may."""

import pytest
from flask import Flask

from api_service.roles import ROLES, TABLE
from api_service.services import EXTENSION
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import Person
from tests.services.api.operations import World
from tests.services.api.test_dashboard import BROWSER, HOSTILE, read, world
from tests.services.api.test_events_and_usage import record

__all__ = ["world"]


def words(person: Person, path: str) -> str:
    return " ".join(" ".join(read(person.get(path, headers=BROWSER)).words).split())


def makes_budget(person: Person, **fields: object) -> str:
    made = person.write("POST", "/v1/budgets", {"limit_usd": "2", **fields})
    assert made.status_code == 201, made.text
    return str(made.get_json()["id"])


@pytest.fixture
def calls(ada: Person, sqlite_store: DocumentStore, clock: ManualClock) -> list[str]:
    """Three calls of ours, a minute apart, the newest last."""
    ids = []
    for team in ("search", "search", HOSTILE):
        event = make_event(
            account_id=ada.account_id,
            team=team,
            timestamp=clock.now(),
            cost_nanodollars=1_500_000_000,
        )
        record(sqlite_store, clock, event)
        ids.append(event.request_id)
        clock.advance(60)
    return ids


@pytest.mark.parametrize("role", ROLES)
def test_budgets_are_made_and_changed_by_those_alone_who_may(world: World, role: str) -> None:
    asking = world.place().visitor(role)
    links = {each.get("href") for each in read(asking.client.get("/budgets", headers=BROWSER)).of("a")}

    assert ("/budgets/new" in links) is (role in TABLE["write"].roles)


def test_a_budget_shows_what_the_api_says_of_it(ada: Person, calls: list[str]) -> None:
    budget_id = makes_budget(ada, name="all of it", limit_usd="10")
    told = ada.get(f"/v1/budgets/{budget_id}").get_json()

    page = read(ada.get(f"/budgets/{budget_id}", headers=BROWSER))
    figures = [each["value"] for each in page.of("data")]

    assert told["spent_nanodollars"] == 4_500_000_000
    assert figures[:3] == [
        str(told[each]) for each in ("spent_nanodollars", "held_nanodollars", "left_nanodollars")
    ]
    assert "45% of the limit" in words(ada, f"/budgets/{budget_id}")


def test_the_budget_nearest_to_its_limit_stands_first_and_one_switched_off_last(
    ada: Person, calls: list[str]
) -> None:
    for name, limit in (("wide", "100"), ("narrow", "5")):
        makes_budget(ada, name=name, limit_usd=limit)
    off = makes_budget(ada, name="idle", limit_usd="1")
    ada.write("PATCH", f"/v1/budgets/{off}", {"enabled": False})

    shown = words(ada, "/budgets")

    assert shown.index("narrow") < shown.index("wide") < shown.index("idle")


def test_a_budget_leads_to_the_calls_that_count(ada: Person, calls: list[str]) -> None:
    budget_id = makes_budget(ada, name="search", scope={"team": "search"})
    page = read(ada.get(f"/budgets/{budget_id}", headers=BROWSER))
    [link] = [each["href"] for each in page.of("a") if each.get("href", "").startswith("/events?range")][:1]

    listed = {each.get("href") for each in read(ada.get(link, headers=BROWSER)).of("a")}

    assert {f"/events/{each}" in listed for each in calls[:2]} == {True}
    assert f"/events/{calls[2]}" not in listed


def test_what_is_of_a_file_is_changed_by_nobody_here(app: Flask, ada: Person) -> None:
    folder = app.extensions[EXTENSION].settings.data_dir
    (folder / "budgets.json").write_text(
        '{"budgets": [{"team": "search", "monthly_limit": 5, "action": "block"}]}'
    )
    [budget] = ada.get("/v1/budgets").get_json()["data"]

    page = read(ada.get(f"/budgets/{budget['id']}", headers=BROWSER))

    assert "budgets.json" in " ".join(page.words)
    assert not [each for each in page.of("form") if "/v1/budgets" in each.get("data-operation", "")]


def test_an_unknown_budget_or_call_is_a_page_that_says_so(ada: Person) -> None:
    for path in ("/budgets/budget_" + "0" * 32, "/events/req_" + "0" * 32, "/events/nonsense"):
        response = ada.get(path, headers=BROWSER)
        assert response.status_code == 404
        assert "There is nothing here" in " ".join(read(response).words)


def test_calls_are_listed_newest_first_and_narrowed_as_asked(ada: Person, calls: list[str]) -> None:
    hrefs = [each.get("href", "") for each in read(ada.get("/events", headers=BROWSER)).of("a")]
    listed = [each.rpartition("/")[2] for each in hrefs if each.startswith("/events/req_")]
    refused = words(ada, "/events?state=refused")

    assert listed == calls[::-1]
    assert "No call in this range is like that." in refused


def test_text_of_callers_is_text_on_the_pages_of_calls(ada: Person, calls: list[str]) -> None:
    for path in ("/events", f"/events/{calls[2]}", "/welcome"):
        response = ada.get(path, headers=BROWSER)
        assert "<img src=x" not in response.text
    assert HOSTILE in " ".join(read(ada.get("/events", headers=BROWSER)).words)


def test_the_files_to_download_are_of_the_same_calls(ada: Person, calls: list[str]) -> None:
    links = [
        each["href"]
        for each in read(ada.get("/events?team=search", headers=BROWSER)).of("a")
        if "download" in each
    ]

    told = [ada.get(link).text for link in links]

    assert len(told) == 2
    for text in told:
        assert all(each in text for each in calls[:2])
        assert calls[2] not in text


def test_a_page_that_follows_asks_again_by_itself_and_an_older_one_does_not(
    ada: Person, calls: list[str]
) -> None:
    def follows(path: str) -> bool:
        return any("data-tail" in each for each in read(ada.get(path, headers=BROWSER)).of("div"))

    assert follows("/events?live=1")
    assert not follows("/events")
    assert not follows("/events?live=1&range=last-month")


def test_the_guide_waits_for_the_first_call_and_shows_it(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    before = words(ada, "/welcome")
    event = make_event(account_id=ada.account_id, timestamp=clock.now(), cost_nanodollars=1_230_000_000)
    record(sqlite_store, clock, event)
    clock.advance(1)
    after = words(ada, "/welcome")

    assert "Waiting for the first call" in before
    assert "Make a key" in before
    assert "Here it is." in after
    assert "$1.23" in after
