"""So many exports of an account at once, on all instances together, and none kept out by one that died."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_service.errors import Refused
from api_service.export_places import EXPORTS_MAX, KEPT_EACH_SECONDS, LEASE_SECONDS, ExportPlaces
from metering.stores import DocumentStore, Query
from tests.builders import SECRET
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.test_account_export import keep_events
from tests.services.api.test_sign_in import session_cookie

PATHS = ["/v1/account/export", "/v1/exports/events?format=ndjson", "/v1/exports/focus"]


def begins(client: FlaskClient, path: str = PATHS[0]) -> TestResponse:
    return client.get(path, buffered=False)


@pytest.fixture
def apps(make_app: MakeApp, store: DocumentStore) -> list[Flask]:
    """Two instances."""
    return [make_app(store), make_app(store)]


@pytest.fixture
def ada(
    apps: list[Flask], sign_up: Callable[..., Person], store: DocumentStore, clock: ManualClock
) -> Person:
    """Somebody with more than one piece to export."""
    person = sign_up(on=apps[0])
    keep_events(store, clock, person.account_id, 1_500)
    clock.advance(60)
    return person


@pytest.fixture
def browsers(apps: list[Flask], ada: Person) -> list[FlaskClient]:
    """Ada's, more than there are places, on one instance and the other."""
    made = [apps[number % 2].test_client() for number in range(EXPORTS_MAX + 1)]
    for each in made:
        each.set_cookie("modeltrack_session", session_cookie(ada.client))
    return made


def test_exports_of_an_account_are_so_many_on_all_instances_together(
    browsers: list[FlaskClient], apps: list[Flask], sign_up: Callable[..., Person]
) -> None:
    under_way = [begins(each, PATHS[n % 3]) for n, each in enumerate(browsers[:EXPORTS_MAX])]

    refused = begins(browsers[-1])
    elses = begins(sign_up("bob@example.com", on=apps[0]).client)

    assert [each.status_code for each in under_way] == [200] * EXPORTS_MAX
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (429, "too_many_exports")
    assert 0 < int(refused.headers["Retry-After"]) <= LEASE_SECONDS
    assert elses.status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_the_place_of_one_that_is_whole_or_given_up_is_free_again(ada: Person, path: str) -> None:
    for _ in range(EXPORTS_MAX + 1):
        whole = begins(ada.client, path)
        assert whole.status_code == 200
        assert whole.get_data()
    for _ in range(EXPORTS_MAX + 1):
        given_up = begins(ada.client, path)
        assert given_up.status_code == 200
        given_up.close()


def test_what_an_instance_that_died_left_holds_a_place_for_a_minute(
    browsers: list[FlaskClient], clock: ManualClock
) -> None:
    left = [begins(each) for each in browsers[:EXPORTS_MAX]]
    wait = int(begins(browsers[-1]).headers["Retry-After"])

    clock.advance(wait - 1)
    assert begins(browsers[-1]).status_code == 429
    clock.advance(1)
    assert begins(browsers[-1]).status_code == 200
    assert len(left) == EXPORTS_MAX


def places(store: DocumentStore, clock: ManualClock) -> ExportPlaces:
    return ExportPlaces(store, clock, SECRET)


def slow(clock: ManualClock, seconds: float, count: int = 5) -> Iterator[bytes]:
    for _ in range(count):
        clock.advance(seconds)
        yield b"piece"


def test_a_clock_that_is_set_back_makes_no_dead_exports_place_last(
    store: DocumentStore, clock: ManualClock
) -> None:
    for _ in range(EXPORTS_MAX):
        places(store, clock).take("acct_a")
    with pytest.raises(Refused):
        places(store, clock).take("acct_a")

    clock.jump(-24 * 3600)
    clock.advance(LEASE_SECONDS)

    taken = [places(store, clock).take("acct_a") for _ in range(EXPORTS_MAX)]
    assert len(taken) == EXPORTS_MAX
    with pytest.raises(Refused):
        places(store, clock).take("acct_a")


def test_one_whose_clock_is_set_back_still_says_that_it_is_under_way(
    store: DocumentStore, clock: ManualClock
) -> None:
    held = places(store, clock).take("acct_a").while_held(slow(clock, KEPT_EACH_SECONDS))
    clock.jump(-24 * 3600)
    next(held)

    with pytest.raises(Refused):
        [places(store, clock).take("acct_a") for _ in range(EXPORTS_MAX)]


def test_one_that_goes_on_keeps_its_place(store: DocumentStore, clock: ManualClock) -> None:
    held = places(store, clock).take("acct_a").while_held(slow(clock, KEPT_EACH_SECONDS))
    others = [places(store, clock).take("acct_a") for _ in range(EXPORTS_MAX - 1)]
    for _ in range(4):
        next(held)
        with pytest.raises(Refused):
            [places(store, clock).take("acct_a") for _ in range(len(others) + 1)]
        clock.advance(LEASE_SECONDS - KEPT_EACH_SECONDS - 1)


def test_one_that_slept_through_its_lease_ends_where_others_have_its_place(
    store: DocumentStore, clock: ManualClock
) -> None:
    held = places(store, clock).take("acct_a").while_held(slow(clock, 1))
    next(held)
    clock.advance(LEASE_SECONDS)
    others = [places(store, clock).take("acct_a") for _ in range(EXPORTS_MAX)]

    with pytest.raises(Refused):
        next(held)
    assert len(others) == EXPORTS_MAX


def test_the_store_is_told_of_no_account_and_forgets_it_in_time(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    places(sqlite_store, clock).take("acct_a")

    (document,) = sqlite_store.query(Query(collection="rates"))

    assert "acct_a" not in document.path + repr(document.fields)
    assert (document.fields["ends_at"] - clock.now()).total_seconds() == LEASE_SECONDS
