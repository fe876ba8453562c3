"""The battery's checks of what is sent to the API, over every operation that takes a body."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from api_service.sessions import (
    IDLE_SECONDS_MAX,
    LIFETIME_SECONDS,
    SEEN_RESOLUTION_SECONDS,
    Sessions,
)
from metering.errors import Unauthenticated
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import SECRET
from tests.services.api.operations import (
    DATABASE,
    NEED_OF,
    OPERATION_OF,
    OPERATIONS,
    TARGETS,
    Operation,
    Sent,
    Visitor,
    World,
    document,
    request_of,
    running_world,
)

# A map of names to names takes any: none of them is a field.
IDLE, LIFETIME = timedelta(seconds=IDLE_SECONDS_MAX), timedelta(seconds=LIFETIME_SECONDS)
MAPS = {"PUT /v1/infrastructure/namespace-map"}
WITH_BODY = [each for each in OPERATIONS if each.example is not None and each.name not in MAPS]
INGESTING = [OPERATION_OF["POST /v1/reconciliations"], OPERATION_OF["POST /v1/infrastructure/costs"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("battery")


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[World]:
    with running_world(folder) as running:
        yield running


def sent_by(world: World, operation: Operation) -> tuple[Visitor, Sent]:
    """An owner and a request of theirs that would be served."""
    place = world.place()
    return place.owner, request_of(operation, place, place.owner)


def with_body(sent: Sent, body: object) -> Sent:
    return Sent(sent.method, sent.path, sent.query, body)


def fields_of(sent: Sent) -> dict[str, Any]:
    assert isinstance(sent.json, dict)
    return deepcopy(sent.json)


NOT_THEIRS = {
    "account_id": "acct_" + "0" * 32,
    "tenant_id": "acct_" + "0" * 32,
    "user_id": "person_" + "0" * 32,
    "role": "owner",
    "balance": 1_000_000,
    "budget": 1_000_000,
    "spend": 0,
    "scopes": ["write"],
    "hash": "0" * 64,
    "key_hash": "0" * 64,
    "created_at": "2020-01-01T00:00:00Z",
    "id": "x",
    "status": "active",
    "plan": "enterprise",
    "blocked": True,
    "temp_budget_increase": 1_000_000,
    "temp_limit": 1_000_000,
    "__proto__": {"role": "owner"},
    "__class__": "x",
    "constructor": {},
    "$where": "1",
}


@pytest.mark.battery("A6")
@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda each: each.name)
def test_a_field_that_is_not_a_callers_to_set_is_refused_by_its_name(
    world: World, operation: Operation
) -> None:
    asking, sent = sent_by(world, operation)
    known = known_fields(operation)

    for name, value in NOT_THEIRS.items():
        if name in known:
            continue
        response = asking.ask(with_body(sent, {**fields_of(sent), name: value}))
        assert response.status_code == 422, (name, response.text)
        assert name in response.get_json()["error"]["message"] + str(response.get_json()["error"]["param"])


def known_fields(operation: Operation) -> set[str]:
    """What the description says that a body has."""
    schema = operation.described["requestBody"]["content"]["application/json"]["schema"]
    described = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return set(described.get("properties", {}))


CONTENT = (
    *("prompt", "messages", "content", "completion", "output", "response", "system", "input", "text"),
    *("api_key", "authorization", "password", "secret", "token"),
)


@pytest.mark.battery("V2")
@pytest.mark.parametrize("operation", INGESTING, ids=lambda each: each.name)
def test_content_among_machine_data_is_refused_by_its_path_and_not_repeated_or_kept(
    world: World, folder: Path, operation: Operation
) -> None:
    canary = f"canary {secrets.token_hex(12)}"
    asking, sent = sent_by(world, operation)

    for name in CONTENT:
        for body, path in poisoned(fields_of(sent), name, canary):
            response = asking.ask(with_body(sent, body))
            assert response.status_code == 422, (path, response.text)
            assert canary not in response.text
            assert path in response.get_json()["error"]["message"] + str(response.get_json()["error"]), path
    kept = b"".join(file.read_bytes() for file in folder.glob(f"{DATABASE}*"))
    assert canary.encode() not in kept


def poisoned(body: dict[str, Any], name: str, canary: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The body with such a field at its root, in each object within, and deep in another field of a row."""
    yield {**body, name: canary}, name
    yield {**body, name: [{"a": [canary]}]}, name
    for list_name, rows in body.items():
        if isinstance(rows, list):
            row = rows[0]
            yield {**body, list_name: [{**row, name: canary}]}, f"{list_name}.0.{name}"
            yield {**body, list_name: [row, {**row, name: [canary]}]}, f"{list_name}.1.{name}"
            deep = {**row, "more": {"a": {"b": [{name: canary}]}}}
            yield {**body, list_name: [deep]}, f"{list_name}.0.more"


# JSON as it is written, since some of it is no JSON.
NO_NUMBERS = ("NaN", "Infinity", "1e400", "9223372036854775808", "true", "[]", '"five"', '"NaN"', "{}")
NO_MOMENTS = ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2025-10-01T00:00:00Z", "2026-11-21T10:00:00")
NUMBERS = {  # costs below nothing are credits
    "cost_usd": (),
    "gpu_count": ("-1", "1.5", "9007199254740993"),
    "gpu_utilization_percent": ("-1", "100.01"),
}


@pytest.mark.battery("I2")
def test_what_is_no_number_or_moment_is_refused_by_its_path_and_changes_no_total(world: World) -> None:
    asking, sent = sent_by(world, OPERATION_OF["POST /v1/infrastructure/costs"])
    rows = fields_of(sent)["rows"]
    spoilt = [(name, raw) for name, more in NUMBERS.items() for raw in (*NO_NUMBERS, *more)]
    spoilt += [(name, f'"{moment}"') for name in ("start_time", "end_time") for moment in NO_MOMENTS]
    before = totals(asking)

    for name, raw in spoilt:
        body = json.dumps({"rows": [{**rows[0], name: "HERE"}]}).replace('"HERE"', raw)
        response = as_written(asking, sent, body)
        assert response.status_code in {400, 422}, (name, raw, response.text)
        if response.status_code == 422:
            at_fault = {name, "end_time"} if name == "start_time" else {name}  # an end too far behind it
            assert response.get_json()["error"]["param"].rpartition(".")[2] in at_fault, (name, raw)

    assert totals(asking) == before


def as_written(asking: Visitor, sent: Sent, body: str) -> TestResponse:
    return asking.client.open(
        sent.path,
        method=sent.method,
        data=body.encode(),
        content_type="application/json",
        headers=dict(asking.headers),
        environ_base={"REMOTE_ADDR": asking.address},
    )


def totals(asking: Visitor) -> Mapping[str, Any]:
    found: Mapping[str, Any] = asking.ask(Sent("GET", "/v1/infrastructure", {}, None)).get_json()
    return found


FORGED: dict[str, Mapping[str, str | None]] = {
    "another site": {"Origin": "https://evil.example"},
    "an origin that hides": {"Origin": "null"},
    "no origin": {"Origin": None},
    "no token": {"X-CSRF-Token": None},
    "an empty token": {"X-CSRF-Token": ""},
    "a made-up token": {"X-CSRF-Token": "0" * 64},
}
CHANGING = [
    each
    for each in OPERATIONS
    if each.method != "GET" and not each.is_open and NEED_OF[each.name] != "anyone"
]


@pytest.mark.battery("A3")
@pytest.mark.parametrize("operation", CHANGING, ids=lambda each: each.name)
def test_no_forged_page_changes_anything_by_any_operation(world: World, operation: Operation) -> None:
    place = world.place()
    asking = place.visitor("owner")  # beside the one who stays
    sent = request_of(operation, place, asking)
    others = world.place().owner.headers["X-CSRF-Token"]

    for forged in (*FORGED.values(), {"X-CSRF-Token": others}):
        headers = {name: value for name, value in {**asking.headers, **forged}.items() if value is not None}
        response = replace(asking, headers=headers).ask(sent)
        assert response.status_code == 403, (forged, response.text)
    assert asking.ask(sent).status_code == operation.done  # nothing that it needs was used up


HEAVY = {
    "depth": b"[" * 100_000,
    "as many keys as fit": b"{" + b",".join(b'"k%d":1' % at for at in range(100_000)) + b"}",
    "a string of a megabyte": b'{"name":"' + b"x" * 1_000_000 + b'"}',
    "a key twice": b'{"name":"a","name":"b"}',
    "no UTF-8": b'{"name":"\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
}


@pytest.mark.battery("I4")
@pytest.mark.parametrize("body", HEAVY.values(), ids=HEAVY.keys())
def test_heavy_and_double_json_is_refused_within_a_second(world: World, body: bytes) -> None:
    asking, sent = sent_by(world, OPERATION_OF["PATCH /v1/account"])
    began = time.process_time()  # of this process alone, in which all of it is done

    response = asking.client.open(
        sent.path,
        method=sent.method,
        data=body,
        content_type="application/json",
        headers=dict(asking.headers),
    )

    assert response.status_code in {400, 413, 422}
    assert time.process_time() - began < 1


READING = [
    (operation, each["name"])
    for operation in OPERATIONS
    if operation.method == "GET"
    for each in operation.parameters("path")
    if ("path", each["name"]) in TARGETS and each["name"] not in {"period", "provider"}
]
BENDS = (str, str.upper, str.title, lambda text: text + "/", lambda text: text[:-1], lambda text: f" {text}")


@pytest.mark.battery_class("any account's question, only its own answer")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(READING),
    st.sampled_from(BENDS),
    st.text(max_size=8),
    st.sampled_from(["owner", "viewer", "key read"]),
)
def test_however_another_accounts_id_is_written_nobody_is_told_of_it(
    world: World, read: tuple[Operation, str], bend: Any, ending: str, kind: str
) -> None:
    operation, name = read
    world.clock.advance(60)
    ours, theirs = world.place(), world.place()
    foreign = TARGETS["path", name](theirs, theirs.owner)
    asking = ours.visitor(kind)
    written = quote(bend(foreign) + ending, safe="")
    sent = Sent("GET", operation.path.replace("{" + name + "}", written), {}, None)

    response = asking.ask(sent)

    assert response.status_code in {301, 308, 404, 422}, response.text
    assert theirs.account_id not in response.text


def any_case(name: str) -> st.SearchStrategy[str]:
    """The name with each letter large or small."""
    return st.tuples(*(st.sampled_from((each, each.upper())) for each in name)).map("".join)


WRAPPED = st.recursive(
    st.just("HERE"),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=2) | st.dictionaries(st.text(max_size=4), inner, min_size=1)
    ),
    max_leaves=4,
)


@pytest.mark.battery_class("content at any depth")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(INGESTING), st.sampled_from(CONTENT).flatmap(any_case), WRAPPED, st.booleans())
def test_content_is_refused_wherever_it_stands_and_however_its_name_is_written(
    world: World, operation: Operation, name: str, wrapped: Any, is_in_row: bool
) -> None:
    world.clock.advance(60)
    canary = f"canary {secrets.token_hex(12)}"
    asking, sent = sent_by(world, operation)
    body = fields_of(sent)
    value = json.loads(json.dumps(wrapped).replace("HERE", canary))
    rows = next(each for each in body.values() if isinstance(each, list))
    (rows[0] if is_in_row else body)[name] = value

    response = asking.ask(with_body(sent, body))

    assert response.status_code == 422, response.text
    assert canary not in response.text


JUMPS = st.lists(st.tuples(st.booleans(), st.integers(-IDLE_SECONDS_MAX, 2 * IDLE_SECONDS_MAX)), max_size=12)


@pytest.mark.battery_class("clocks that jump")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(JUMPS)
def test_however_the_clock_jumps_a_session_lives_as_long_as_it_may(
    world: World, jumps: list[tuple[bool, int]]
) -> None:
    clock, place = ManualClock(), world.place().host_place
    sessions = Sessions(world.store, clock, SECRET)
    opened = seen = clock.now()
    session_id = sessions.open(place, 0, "")

    for is_used, seconds in jumps:
        clock.jump(seconds)
        now = clock.now()
        is_live = now - opened < LIFETIME and now - seen < IDLE
        if not is_used:
            continue
        try:
            sessions.find(session_id)
            assert is_live
        except Unauthenticated:
            assert not is_live
        if is_live and now - seen >= timedelta(seconds=SEEN_RESOLUTION_SECONDS):
            seen = now
