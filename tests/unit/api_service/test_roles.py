"""What roles and scopes may: the table, what follows from it, and the page that shows it."""

import re
from pathlib import Path

import pytest

from api_service.roles import ACTIONS, ROLES, TABLE, Role, may_give, role_covers, role_may, scopes_may
from metering.keys import SCOPES

PAGE = Path(__file__).parents[3] / "docs" / "access.md"


def test_the_page_shows_the_table_as_it_is() -> None:
    rows = re.findall(r"^\| `([a-z]+)`: [^|]+\|(.+)\|$", PAGE.read_text(), re.MULTILINE)
    shown = {action: [cell.strip() for cell in cells.split("|")] for action, cells in rows}

    assert shown == {
        action: [
            *("✓" if role in TABLE[action].roles else "–" for role in ROLES),
            f"`{TABLE[action].scope}`" if TABLE[action].scope else "–",
        ]
        for action in ACTIONS
    }


def test_an_owner_may_everything_and_everybody_sees() -> None:
    assert all(role_may("owner", action) for action in ACTIONS)
    assert all(role_may(role, "read") and role_may(role, "person") for role in ROLES)


def test_every_scope_stands_for_something_but_calling_and_no_scope_for_people() -> None:
    allowed = {scope: {action for action in ACTIONS if scopes_may([scope], action)} for scope in SCOPES}

    assert allowed["proxy"] == set()
    assert all(allowed[scope] for scope in SCOPES if scope != "proxy")
    assert not set.union(*allowed.values()) & {"people", "audit", "export", "billing", "erase", "person"}


def test_no_scopes_may_nothing() -> None:
    assert not any(scopes_may([], action) for action in ACTIONS)


@pytest.mark.parametrize(
    ("role", "covered"),
    [
        ("owner", set(SCOPES)),
        ("admin", set(SCOPES)),
        ("member", {"proxy", "read", "ingest", "stats"}),
        ("billing", {"proxy", "read", "stats"}),
        ("viewer", {"proxy", "read", "stats"}),
    ],
)
def test_a_role_covers_a_scope_when_it_may_all_of_it(role: Role, covered: set[str]) -> None:
    assert {scope for scope in SCOPES if role_covers(role, scope)} == covered


def test_owners_alone_make_owners() -> None:
    givers = {(giver, role) for giver in ROLES for role in ROLES if may_give(giver, role)}

    assert givers == {("owner", role) for role in ROLES} | {
        ("admin", role) for role in ROLES if role != "owner"
    }
