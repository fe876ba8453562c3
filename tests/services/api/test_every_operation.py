"""What holds of every operation: made-up credentials, what answers hold, bodies that nobody reads."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from metering.directory import KeyTerms
from metering.keys import SCOPES, key_hash
from tests.doubles.raw_upstream import RawUpstream
from tests.services.api.conftest import SECRET
from tests.services.api.operations import (
    NEED_OF,
    OPERATIONS,
    Operation,
    Sent,
    World,
    request_of,
    running_world,
)

GUARDED = [each for each in OPERATIONS if not each.is_open]
BODILESS = [each for each in GUARDED if each.example is None and each.method != "GET"]
MALFORMED = (
    *(
        "",
        "Bearer",
        "Bearer ",
        "Bearer mt_",
        "Basic YTpi",
        "bearer",
        "Token x",
        "Bearer ' OR 1=1--",
        "Bearer *",
    ),
    *(
        "Bearer mt_" + "0" * 72,
        "Bearer null",
        "Bearer undefined",
        "Bearer " + "x" * 8000,
        "Digest username=a",
    ),
    *("Bearer\tmt_x", "Bearer  x", "Bearer {}", "Bearer []", "Bearer true", "Negotiate x"),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("operations")) as running:
        yield running


@pytest.mark.parametrize("operation", GUARDED, ids=lambda each: each.name)
def test_no_made_up_credential_and_no_id_opens_an_operation(world: World, operation: Operation) -> None:
    place = world.place()
    asking = place.owner
    sent = request_of(operation, place, asking)
    _, record = world.services.directory.create_key(place.account_id, KeyTerms(scopes=SCOPES))
    ids = (place.account_id, place.host.person_id, record.key_id, record.key_hash, "mt_" + record.key_hash)

    for given in (*MALFORMED, *(f"Bearer {each}" for each in ids)):
        response = replace(asking, headers={**asking.headers, "Authorization": given}).ask(sent)
        assert response.status_code == 401, (given, response.text)
    for each in ids:  # nor where a browser's session would stand
        visitor = place.visitor("nobody")
        visitor.client.set_cookie("modeltrack_session", each)
        assert visitor.ask(sent).status_code == 401, each


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_no_answer_holds_a_hash_or_anybody_elses_address(world: World, operation: Operation) -> None:
    place, other = world.place(), world.place()
    plain, record = world.services.directory.create_key(place.account_id, KeyTerms(scopes=SCOPES))
    kind = "owner" if NEED_OF[operation.name] != "anyone" else "nobody"
    asking = place.visitor(kind)

    response = asking.ask(request_of(operation, place, asking))

    for hidden in (record.key_hash, key_hash(plain, SECRET), plain, world.password_hash, "$argon2"):
        assert hidden not in response.text
    assert other.host.email not in response.text
    assert other.account_id not in response.text


@pytest.mark.parametrize("operation", BODILESS, ids=lambda each: each.name)
def test_a_body_that_nobody_asked_for_commands_nothing(
    world: World, operation: Operation, tmp_path: Path
) -> None:
    place = world.place()
    asking = place.visitor("owner")
    sent = request_of(operation, place, asking)
    touched = tmp_path / "touched"

    with RawUpstream() as elsewhere:
        address = f"http://127.0.0.1:{elsewhere.port}/"
        command = {"command": f"touch {touched}", "transport": "stdio", "url": address, "base_url": address}
        response = asking.ask(Sent(sent.method, sent.path, sent.query, command))

    assert response.status_code < 500
    assert (elsewhere.connections, touched.exists()) == (0, False)
