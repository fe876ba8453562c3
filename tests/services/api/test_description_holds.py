"""Requests made up from the description, as an owner and as nobody: every answer is one that it describes.

A few of each operation by default, the same each time; PROOF=full tries many, others each time.
"""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.services.api.operations import (
    OPERATIONS,
    TARGETS,
    Operation,
    Visitor,
    World,
    running_world,
)

IS_FULL = os.environ.get("PROOF") == "full"
EXAMPLES = {"owner": 200, "nobody": 50} if IS_FULL else {"owner": 5, "nobody": 2}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
WRONG = schemathesis.GenerationMode.NEGATIVE
COOKIE = ParameterLocation.COOKIE


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("description")) as running:
        yield running


@pytest.fixture(scope="module")
def schema(world: World) -> Any:
    loaded = schemathesis.openapi.from_wsgi("/openapi.json", world.app)
    loosen_tuples(loaded.raw_schema)
    return loaded


def loosen_tuples(node: Any) -> None:
    """Describe tuples by what any element of theirs is: schemathesis 4.32 makes bad `items` of the rest."""
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        loosen_tuples(each)
    if isinstance(node, dict) and "prefixItems" in node:
        node["items"] = {"anyOf": node.pop("prefixItems")}


def test_no_two_things_are_described_under_one_name() -> None:
    def kinds_of(model: type[BaseModel]) -> set[type[BaseModel]]:
        kinds = set(model.__subclasses__())
        return kinds.union(*map(kinds_of, kinds))

    named = Counter(
        each.__name__ for each in kinds_of(BaseModel) if each.__module__.startswith("api_service.")
    )
    assert [name for name, number in named.items() if number > 1] == []


@pytest.mark.battery("I1")
@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_answer_is_one_that_the_description_knows(
    world: World, schema: Any, operation: Operation, kind: str
) -> None:
    place = world.place()
    described = schema[operation.path][operation.method]
    own = {
        each["name"]: TARGETS["path", each["name"]](place, place.owner)
        for each in operation.parameters("path")
        if kind == "owner"
    }
    modes = list(schemathesis.GenerationMode)
    made = st.one_of([described.as_strategy(generation_mode=mode) for mode in modes])

    @settings(
        max_examples=EXAMPLES[kind],
        derandomize=not IS_FULL,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(made, st.booleans())
    def ask(case: Any, is_own: bool) -> None:
        world.clock.advance(60)
        visitor = place.visitor(kind)
        if is_own and own:
            case.path_parameters = own
        answer(case, visitor)

    ask()


def answer(case: Any, visitor: Visitor) -> None:
    """Ask as the visitor does, and hold the answer to the description."""
    cookie = visitor.client.get_cookie("modeltrack_session")
    cookies = {} if cookie is None else {"modeltrack_session": cookie.value}
    headers = {**(case.headers or {}), **visitor.headers}
    made_wrong = [where for where, how in case.meta.components.items() if how.mode is WRONG]
    # What is wrong with the cookie alone is put right by the visitor's own.
    checks = [*CHECKS, negative_data_rejection] if {*made_wrong} - {COOKIE} else CHECKS
    case.call_and_validate(headers=headers, cookies=cookies, checks=checks)
