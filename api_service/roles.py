"""What each role may do, and what a key may: one table for `api_service.access` and docs/access.md.

A person has one role in each account. A key has no role: it may do what its scopes stand for, and nothing
that concerns people, their sessions, what they pay, or the account's end.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from metering.keys import Scope

Role = Literal["owner", "admin", "member", "billing", "viewer"]
Action = Literal[
    "read", "stats", "write", "ingest", "keys", "settings", "people", "audit", "export", "billing", "erase",
    "person",
]  # fmt: skip

ROLES: tuple[Role, ...] = get_args(Role)
ACTIONS: tuple[Action, ...] = get_args(Action)


class Terms(NamedTuple):
    """Who may do something: which roles, and the scope that a key needs; None: no key may."""

    roles: frozenset[Role]
    scope: Scope | None


def _terms(*marks: str, scope: Scope | None) -> Terms:
    return Terms(frozenset(role for role, mark in zip(ROLES, marks, strict=True) if mark == "x"), scope)


TABLE: dict[Action, Terms] = {
    # what it is             owner admin member billing viewer     a key with
    # see everything but people's affairs
    "read":     _terms(      "x",  "x",  "x",   "x",    "x", scope="read"),
    # watch the service's figures of the account
    "stats":    _terms(      "x",  "x",  "x",   "x",    "x", scope="stats"),
    # change budgets, routing rules, alerts, reports
    "write":    _terms(      "x",  "x",  "x",   " ",    " ", scope="write"),
    # hand in what was used or spent elsewhere
    "ingest":   _terms(      "x",  "x",  "x",   " ",    " ", scope="ingest"),
    # make, rotate and revoke keys that may do no more than oneself
    "keys":     _terms(      "x",  "x",  "x",   " ",    " ", scope="write"),
    # change the account's name, settings, channels and webhooks
    "settings": _terms(      "x",  "x",  " ",   " ",    " ", scope="write"),
    # invite people, change their roles, log them out, remove them, require a second factor of them
    "people":   _terms(      "x",  "x",  " ",   " ",    " ", scope=None),
    # see who changed what
    "audit":    _terms(      "x",  "x",  " ",   " ",    " ", scope=None),
    # take away everything that the account holds
    "export":   _terms(      "x",  "x",  " ",   " ",    " ", scope=None),
    # choose the plan and pay for it
    "billing":  _terms(      "x",  " ",  " ",   "x",    " ", scope=None),
    # end the account
    "erase":    _terms(      "x",  " ",  " ",   " ",    " ", scope=None),
    # one's own password, address, sessions and accounts
    "person":   _terms(      "x",  "x",  "x",   "x",    "x", scope=None),
}  # fmt: skip


def role_may(role: Role, action: Action) -> bool:
    """Whether somebody of that role may do that."""
    return role in TABLE[action].roles


def scopes_may(scopes: Iterable[Scope], action: Action) -> bool:
    """Whether a key of those scopes may do that."""
    return TABLE[action].scope in set(scopes)


def role_covers(role: Role, scope: Scope) -> bool:
    """Whether somebody of that role may do all that a key with that scope may."""
    return all(role in terms.roles for terms in TABLE.values() if terms.scope == scope)


def may_give(giver: Role, role: Role) -> bool:
    """Whether somebody of the first role gives the second, and takes it away: owners alone make owners."""
    return role_may(giver, "people") and (role != "owner" or giver == "owner")
