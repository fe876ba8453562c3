"""What holds of every operation: made-up credentials, what answers hold, bodies that nobody reads."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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

    for shown in (*MALFORMED, *(f"Bearer {each}" for each in ids)):
        response = replace(asking, headers={**asking.headers, "Authorization": shown}).ask(sent)
        assert response.status_code == 401, (shown, response.text)
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


HEADER_TEXT = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=90
)


@pytest.mark.battery_class("credentials of any shape")
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(GUARDED), st.sampled_from(("", "Bearer ", "bearer ", "Bearer mt_", "Basic ")), HEADER_TEXT
)
def test_no_text_whatever_opens_an_operation(
    world: World, operation: Operation, scheme: str, text: str
) -> None:
    world.clock.advance(60)
    place = world.place()
    asking = place.owner
    sent = request_of(operation, place, asking)

    given_as_key = replace(asking, headers={**asking.headers, "Authorization": scheme + text}).ask(sent)
    nobody = place.visitor("nobody")
    nobody.client.set_cookie("modeltrack_session", text)
    given_as_session = nobody.ask(sent)

    assert (given_as_key.status_code, given_as_session.status_code) == (401, 401)
