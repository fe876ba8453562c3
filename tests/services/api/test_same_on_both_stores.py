"""What the API is must not depend on the store: its description, its answers, and who gets them.

The tables of who may do what, and the requests made up from the description, go through every operation on
the embedded store (`test_access_matrix`, `test_description_holds`); here it is once more, in short, on
Firestore.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from werkzeug.test import TestResponse

from metering import firestore
from metering.store_urls import DEFAULT_DATABASE
from metering.stores import DocumentStore
from tests.browser import history
from tests.browser.pages import pages_made
from tests.doubles.clock import ManualClock
from tests.emulator import new_project, undeclared_indexes
from tests.services.api.conftest import Person
from tests.services.api.operations import OPERATIONS, TARGETS, Operation, World, request_of
from tests.services.api.test_access_matrix import NAMED, expected, naming, outcome, told, unknown_like
from tests.services.api.test_description_holds import answer, loosen_tuples

KINDS = ("owner", "viewer")
EXAMPLES = 1
DAYS = 1
OWN = re.compile(r"mt_\S+|[0-9a-f]{6,}")  # keys and ids: drawn by lot
PAGES = [each.path for each in pages_made() if "<" not in each.path]


@pytest.mark.battery("T3")
def test_the_description_is_the_same_byte_for_byte(
    make_app: Callable[..., Flask], sqlite_store: DocumentStore, firestore_store: DocumentStore
) -> None:
    served = [
        make_app(each).test_client().get("/openapi.json").data for each in (sqlite_store, firestore_store)
    ]

    assert served[0] == served[1]
    assert served[0]


@dataclass(frozen=True)
class Twins:
    """Two people with the same account, each on a store of its own."""

    people: tuple[Person, Person]
    clock: ManualClock

    def both_do(self, method: str, path: str, body: object) -> tuple[str, str]:
        """Have both do the same, a minute later; the ids of what came of it."""
        self.clock.advance(60)
        first, second = (each.write(method, path, body).get_json()["id"] for each in self.people)
        return first, second


@pytest.fixture
def twins(
    make_app: Callable[..., Flask],
    sign_up: Callable[..., Person],
    clock: ManualClock,
    sqlite_store: DocumentStore,
    firestore_store: DocumentStore,
) -> Twins:
    stores = (sqlite_store, firestore_store)
    first, second = (sign_up(on=make_app(each)) for each in stores)
    twins = Twins((first, second), clock)
    keys = twins.both_do("POST", "/v1/keys", {"name": "notebooks", "scopes": ["proxy", "read"]})
    for store, person, key in zip(stores, twins.people, keys, strict=True):
        history.write(store, history.Past(person.account_id, [key], DAYS, clock.now()))
    twins.both_do("POST", "/v1/budgets", {"name": "All", "limit_usd": "700", "action": "warn"})
    twins.both_do("POST", "/v1/budgets", {"name": "Search", "limit_usd": "1", "scope": {"team": "search"}})
    return twins


def test_every_page_shows_the_same_text(twins: Twins) -> None:
    shown = {path: [text_of(each.get(path)) for each in twins.people] for path in PAGES}

    differing = {
        path: [pair for pair in zip_longest(*texts) if pair[0] != pair[1]] for path, texts in shown.items()
    }
    assert {path: pairs for path, pairs in differing.items() if pairs} == {}
    assert any("Search" in line for line in shown["/budgets"][0])
    assert any("notebooks" in line for line in shown["/keys"][0])
    assert len(shown["/events"][0]) > 100


def text_of(response: TestResponse) -> list[str]:
    """What a page says, line by line, but for ids and keys."""
    assert response.status_code < 400, response.text
    lines = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", "\n", response.text, flags=re.DOTALL).splitlines()
    return [OWN.sub("*", line.strip()) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def world(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world on Firestore."""
    project = new_project()
    store = firestore.open_store(project, DEFAULT_DATABASE, emulator_address=emulator)
    yield World(store, tmp_path_factory.mktemp("world"))
    store.close()
    assert not undeclared_indexes(emulator, project)


@pytest.fixture(scope="module")
def schema(world: World) -> Any:
    loaded = schemathesis.openapi.from_wsgi("/openapi.json", world.app)
    loosen_tuples(loaded.raw_schema)
    return loaded


@pytest.mark.battery("T1")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_on_firestore_a_visitor_does_what_the_table_of_roles_says(world: World, operation: Operation) -> None:
    found = {}
    for kind in KINDS:
        place = world.place()
        asking = place.visitor(kind)
        found[kind] = outcome(asking.ask(request_of(operation, place, asking)))

    assert found == {kind: expected(operation, kind) for kind in KINDS}


@pytest.mark.battery("T1")
@pytest.mark.parametrize(
    ("operation", "where", "name"), NAMED, ids=[f"{each.name} {name}" for each, _, name in NAMED]
)
def test_on_firestore_what_another_tenant_has_is_answered_like_what_nobody_has(
    world: World, operation: Operation, where: str, name: str
) -> None:
    ours, theirs = world.place(), world.place()
    asking = ours.visitor("owner")
    sent = request_of(operation, ours, asking)
    foreign = TARGETS[where, name](theirs, theirs.owner)

    of_theirs, of_nobodys = (
        told(asking.ask(naming(sent, operation, where, name, each)), each)
        for each in (foreign, unknown_like(foreign))
    )

    assert of_theirs == of_nobodys
    assert of_theirs[0] in {200, 404, 422}


@pytest.mark.battery("I1")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_on_firestore_every_answer_is_one_that_the_description_knows(
    world: World, schema: Any, operation: Operation
) -> None:
    visitor = world.place().owner

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(schema[operation.path][operation.method].as_strategy())
    def ask(case: Any) -> None:
        world.clock.advance(60)
        answer(case, visitor)

    ask()
