"""The pages about people and the account: what each role is offered there, and the figures of the API."""

from collections.abc import Callable

import pytest

from api_service.roles import ACTIONS, ROLES, TABLE
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import Person
from tests.services.api.operations import Visitor, World
from tests.services.api.test_dashboard import BROWSER, HOSTILE, read, world

__all__ = ["world"]


def operations_of(asking: Visitor, path: str) -> set[str]:
    """What the forms of that page would ask of the API, ids left out."""
    forms = read(asking.client.get(path, headers=BROWSER)).of("form")
    sent = {each["data-operation"] for each in forms if "data-operation" in each}
    return {operation.split("_")[0].partition("?")[0] for operation in sent}


@pytest.mark.parametrize("role", ROLES)
def test_members_are_changed_by_those_alone_who_may(world: World, role: str) -> None:
    offered = operations_of(world.place().visitor(role), "/members")

    may_change = role in TABLE["people"].roles
    assert ("POST /v1/invites" in offered) is may_change
    assert ("PATCH /v1/members/person" in offered) is may_change
    assert "POST /v1/account/leave" in offered


def test_an_admin_is_offered_no_owner_to_change_and_no_owners_role_to_give(world: World) -> None:
    page = read(world.place().visitor("admin").client.get("/members", headers=BROWSER))

    assert "owner" not in {each.get("value") for each in page.of("option")}
    selects = [each["aria-label"] for each in page.of("select") if "aria-label" in each]
    assert selects
    assert all("owner" not in each.lower() for each in selects)


def test_the_page_of_members_shows_the_table_that_governs(world: World) -> None:
    page = read(world.place().visitor("viewer").client.get("/members", headers=BROWSER))

    shown = "".join(page.words).count("✓")
    assert shown == sum(len(TABLE[action].roles) for action in ACTIONS)


@pytest.mark.parametrize("role", ROLES)
def test_settings_export_and_end_are_offered_to_those_alone_who_may(world: World, role: str) -> None:
    asking = world.place().visitor(role)
    offered = operations_of(asking, "/account")
    links = {each.get("href") for each in read(asking.client.get("/account", headers=BROWSER)).of("a")}

    assert ("PATCH /v1/account" in offered) is (role in TABLE["settings"].roles)
    assert ("DELETE /v1/account" in offered) is (role in TABLE["erase"].roles)
    assert ("/v1/account/export" in links) is (role in TABLE["export"].roles)


def test_names_are_text_on_every_page_about_people(ada: Person) -> None:
    ada.write("PATCH", "/v1/person", {"name": HOSTILE})
    ada.write("PATCH", "/v1/account", {"name": HOSTILE})

    for path in ("/members", "/audit-log", "/account", "/profile"):
        response = ada.get(path, headers=BROWSER)
        assert response.status_code == 200
        assert "<img src=x" not in response.text
        assert HOSTILE in "".join(read(response).words), path


def test_the_audit_log_names_people_and_keys_and_ends_with_the_range(ada: Person) -> None:
    made = ada.write("POST", "/v1/keys", {"name": "notebooks", "scopes": ["read"]}).get_json()
    ada.write("DELETE", f"/v1/keys/{made['id']}")

    today = " ".join(read(ada.get("/audit-log?range=today", headers=BROWSER)).words)
    long_ago = " ".join(
        read(ada.get("/audit-log?range=custom&from=2021-01-01&to=2021-01-02", headers=BROWSER)).words
    )

    assert "Revoke key" in today
    assert "notebooks" in today
    assert made["key"] not in today
    assert "Revoke key" not in long_ago
    assert "Nothing was changed in this range" in long_ago


def test_the_audit_log_leads_on_page_by_page(ada: Person, clock: ManualClock) -> None:
    clock.advance(60)
    for _ in range(51):
        ada.write("PATCH", "/v1/person", {"name": "Ada"})

    first = read(ada.get("/audit-log", headers=BROWSER))
    more = [each["href"] for each in first.of("a") if "page=" in each.get("href", "")]
    second = read(ada.get(more[0], headers=BROWSER))

    assert len(more) == 1
    assert "Sign up" in " ".join(second.words)
    assert "Sign up" not in " ".join(first.words)


def test_the_profile_lists_sessions_and_offers_to_end_the_others(
    ada: Person, log_in_again: Callable[[Person], Person]
) -> None:
    log_in_again(ada)
    page = read(ada.get("/profile", headers=BROWSER))

    ended = [each for each in page.of("form") if "/v1/person/sessions/" in each.get("data-operation", "")]
    assert len(ended) == 1
    assert "this one" in " ".join(page.words)


@pytest.fixture
def log_in_again() -> Callable[[Person], Person]:
    """Logs somebody in with another browser."""

    def log_in(person: Person) -> Person:
        other = person.client.application.test_client()
        answer = other.post("/v1/login", json={"email": person.email, "password": "correct horse battery"})
        assert answer.status_code == 200, answer.text
        told = answer.get_json()
        return Person(other, told["csrf_token"], told["account"]["id"], person.email)

    return log_in
