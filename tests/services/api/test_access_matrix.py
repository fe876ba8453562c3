"""Who may do what, cell by cell: every operation described, every kind of visitor, and another tenant."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from werkzeug.test import TestResponse

from api_service.roles import ROLES, TABLE, role_may
from tests.services.api.operations import (
    ANSWERED,
    DATABASE,
    NEED_OF,
    OPERATIONS,
    TARGETS,
    VISITORS,
    Operation,
    Place,
    Sent,
    World,
    request_of,
    running_world,
)

KNOWN_TO_ALL = {"period", "provider", "model"}  # models of the price list
OWN_HEADERS = {"X-Request-ID", "X-RateLimit-Remaining"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[World]:
    with running_world(folder) as running:
        yield running


def expected(operation: Operation, kind: str) -> tuple[int, str]:
    """What the table of roles says of the cell: a status, and the code of a refusal."""
    need, done = NEED_OF[operation.name], ANSWERED.get(operation.name, (operation.done, ""))
    state, _, which = kind.rpartition(" ")
    if need == "anyone":
        return done
    if which == "nobody":
        return 401, "unauthenticated"
    if state == "suspended" and need != "person":
        return 403, "account_suspended"
    if kind == "owing owner" and need != "person":
        return 403, "second_factor_required"
    if which in ROLES:
        return done if role_may(which, need) else (403, "role_missing")
    if TABLE[need].scope is None:
        return 403, "session_required"
    return done if TABLE[need].scope == which or kind == "owing key" else (403, "scope_missing")


def outcome(response: TestResponse) -> tuple[int, str]:
    body = response.get_json(silent=True) or {}
    return response.status_code, body["error"]["code"] if response.status_code >= 400 else ""


def test_the_table_names_every_operation_and_nothing_else() -> None:
    assert {each.name for each in OPERATIONS} == set(NEED_OF)


@pytest.mark.battery("T1")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_each_visitor_does_what_the_table_of_roles_says_and_no_more(
    world: World, operation: Operation
) -> None:
    found = {}
    for kind in VISITORS:
        place = world.place()
        asking = place.visitor(kind)
        sent = request_of(operation, place, asking)
        if kind.startswith("suspended"):
            place.suspend()
        if kind.startswith("owing"):
            place.require_second_factor()
        found[kind] = outcome(asking.ask(sent))

    assert found == {kind: expected(operation, kind) for kind in VISITORS}


NAMED = [
    (operation, where, each["name"])
    for operation in OPERATIONS
    for where in ("path", "query")
    for each in operation.parameters(where)
    if each["name"].endswith("_id") or (where, each["name"]) in TARGETS
    if each["name"] not in KNOWN_TO_ALL
]


@pytest.mark.battery("T1")
@pytest.mark.parametrize(
    ("operation", "where", "name"), NAMED, ids=[f"{each.name} {name}" for each, _, name in NAMED]
)
def test_what_another_tenant_has_is_answered_like_what_nobody_has(
    world: World, folder: Path, operation: Operation, where: str, name: str
) -> None:
    ours, theirs = world.place(), world.place()
    asking = ours.visitor("owner")
    sent = request_of(operation, ours, asking)
    foreign = TARGETS[where, name](theirs, theirs.owner)
    unknown = unknown_like(foreign)
    kept = rows_about(folder, theirs.account_id, foreign, but=ours.account_id)

    answers = [
        told(asking.ask(naming(sent, operation, where, name, each)), each) for each in (foreign, unknown)
    ]

    assert answers[0] == answers[1]
    assert answers[0][0] in {200, 404, 422}
    assert rows_about(folder, theirs.account_id, foreign, but=ours.account_id) == kept


FOREIGN_SIGNS = ["é", ".", "__all__", "a b", "%", "\x00", "person_" + "0" * 31 + "é", "x" * 2_000]


@pytest.mark.battery("T1")
@pytest.mark.parametrize(
    ("operation", "where", "name"), NAMED, ids=[f"{each.name} {name}" for each, _, name in NAMED]
)
def test_no_sign_in_a_name_makes_a_path_of_it(
    world: World, operation: Operation, where: str, name: str
) -> None:
    place = world.place()
    sent = request_of(operation, place, place.owner)

    for signs in FOREIGN_SIGNS:
        value = quote(signs, safe="") if where == "path" else signs
        response = place.owner.ask(naming(sent, operation, where, name, value))

        assert response.status_code in {200, 404, 422}, (signs, response.text)


def unknown_like(known: str) -> str:
    """Something of the same form that nobody has."""
    before, _, digits = known.rpartition("_")
    return f"{before}_{digits[::-1]}" if before else known[:-8] + known[-8:][::-1]


def naming(sent: Sent, operation: Operation, where: str, name: str, value: str) -> Sent:
    if where == "query":
        return Sent(sent.method, sent.path, {**sent.query, name: value}, sent.json)
    assert operation.path.count("{") == 1, "say here which of its names is meant"
    return Sent(sent.method, re.sub("{[a-z_]+}", value, operation.path), sent.query, sent.json)


def told(response: TestResponse, value: str) -> tuple[int, str, dict[str, str]]:
    """The answer but for what is the request's own: its id, its place among others, what it asked for."""
    headers = {name: text for name, text in response.headers.items() if name not in OWN_HEADERS}
    text = response.text.replace(response.headers["X-Request-ID"], "").replace(value, "")
    return response.status_code, text, headers


def rows_about(folder: Path, *ids: str, but: str) -> set[tuple[str, str, int]]:
    """What is stored about any of the ids: documents with their revisions, but for those of `but`."""
    connection = sqlite3.connect(folder / DATABASE)
    rows = connection.execute("SELECT collection, id, revision, fields FROM documents").fetchall()
    connection.close()
    return {
        (collection, document_id, revision)
        for collection, document_id, revision, fields in rows
        if but not in collection
        and any(each in f"{collection}/{document_id}" or each.encode() in fields for each in ids)
    }


def test_nobody_switches_to_or_ends_the_account_of_another(world: World) -> None:
    ours, theirs = world.place(), world.place()
    asking = ours.visitor("owner")

    def switched(account_id: str) -> tuple[int, str, dict[str, str]]:
        sent = Sent("POST", "/v1/session/switch", {}, {"account_id": account_id})
        return told(asking.ask(sent), account_id)

    assert switched(theirs.account_id) == switched(unknown_like(theirs.account_id))
    assert {switched(each)[0] for each in (theirs.account_id, "é", ".", "__all__")} == {404}


READING = [each for each in OPERATIONS if each.method == "GET" and "{" not in each.path]


@pytest.fixture(scope="module")
def neighbours(world: World) -> tuple[Place, Place, set[str]]:
    """Two accounts that hold one of everything, and what names the second one's."""
    ours, theirs = world.place(), world.place()
    held: set[str] = set()
    for place in (ours, theirs):
        held = {make(place, place.owner) for (_, name), make in TARGETS.items() if name not in KNOWN_TO_ALL}
    return ours, theirs, held | {theirs.host.email, theirs.host.person_id}


@pytest.mark.battery("T1")
@pytest.mark.parametrize("operation", READING, ids=lambda each: each.name)
def test_no_list_and_no_figure_holds_anything_of_another_tenant(
    world: World, neighbours: tuple[Place, Place, set[str]], operation: Operation
) -> None:
    ours, theirs, held = neighbours
    asking = ours.visitor("owner")

    response = asking.ask(request_of(operation, ours, asking))

    assert response.status_code == 200
    assert [each for each in held if each in response.text] == []
    assert theirs.account_id not in response.text
