"""Log-ins that fail: noted for those whom they concern, and bounded, without keeping owners out."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_service.attempts import LOGINS_OF_ADDRESS
from api_service.devices import LIFETIME
from api_service.resources.second_factor import CODES_MAX
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.services.api.conftest import PASSWORD, MakeApp, Person
from tests.services.api.test_second_factor import enrols
from tests.services.api.test_sign_in import log_in

FIRST, MORE, DAY = LOGINS_OF_ADDRESS
GUESS = "a guess, a guess"
ANOTHER = "staple hoof seven"


class Strangers:
    """Many who try an address's password, each from a network of their own, on one instance or the other."""

    def __init__(self, *apps: Flask) -> None:
        self._apps = apps
        self._number = 0

    def __call__(self, times: int = 1, email: str = "ada@example.com", password: str = GUESS) -> Any:
        for _ in range(times):
            self._number += 1
            client = self._apps[self._number % len(self._apps)].test_client()
            network = f"10.{self._number // 65536}.{self._number // 256 % 256}.{self._number % 256}"
            client.environ_base["REMOTE_ADDR"] = network
            last = log_in(client, email, password)
        return last


@pytest.fixture
def strangers(app: Flask) -> Strangers:
    return Strangers(app)


# How many


@pytest.mark.battery("A5")
def test_an_address_is_tried_so_often_from_all_networks_and_instances_together(
    make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person]
) -> None:
    here, there = make_app(store), make_app(store)
    sign_up(on=here)
    strangers = Strangers(here, there)

    last_let_in = strangers(FIRST.limit)
    refused = strangers()

    assert last_let_in.status_code == 401
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (429, "too_many_attempts")
    assert 0 < int(refused.headers["Retry-After"]) <= FIRST.seconds + FIRST.slot_seconds
    assert strangers(email="nobody@example.com").status_code == 401


def test_the_wait_grows_with_the_attempts_to_a_bound_a_day(
    ada: Person, strangers: Strangers, clock: ManualClock
) -> None:
    let_in, waits = 0, []
    until = clock.now().timestamp() + DAY.seconds
    while clock.now().timestamp() < until:
        answered = strangers()
        if answered.status_code == 401:
            let_in += 1
            continue
        waits.append(int(answered.headers["Retry-After"]))
        clock.advance(waits[-1])

    assert let_in <= DAY.limit
    assert waits[0] <= FIRST.seconds + FIRST.slot_seconds
    assert max(waits) > 3600


def test_a_browser_that_was_logged_in_before_is_not_kept_out_by_strangers(
    ada: Person, strangers: Strangers, clock: ManualClock, client: FlaskClient
) -> None:
    ada.write("POST", "/v1/logout")
    strangers(FIRST.limit)

    assert log_in(ada.client).status_code == 200
    assert log_in(client).status_code == 429
    clock.advance(LIFETIME.total_seconds())
    strangers(FIRST.limit)
    assert log_in(ada.client).status_code == 429


def test_a_new_password_by_mail_lets_its_browser_in_however_many_strangers_try(
    ada: Person, strangers: Strangers, client: FlaskClient, mailbox: Mailbox
) -> None:
    strangers(FIRST.limit)
    assert log_in(client).status_code == 429

    asked = client.post("/v1/password-reset", json={"email": ada.email})
    sent = {"token": mailbox.token(ada.email), "password": ANOTHER}
    reset = client.post("/v1/password-reset/confirm", json=sent)

    assert (asked.status_code, reset.status_code) == (202, 204)
    assert log_in(client, password=ANOTHER).status_code == 200


def test_known_browsers_do_not_guess_for_ever_either(ada: Person) -> None:
    for number in range(FIRST.limit):
        ada.client.environ_base["REMOTE_ADDR"] = f"10.9.9.{number}"
        assert log_in(ada.client, password="not the password").status_code == 401

    ada.client.environ_base["REMOTE_ADDR"] = "10.9.8.1"
    assert log_in(ada.client, password="not the password").status_code == 429


def test_whoever_knows_the_password_logs_in_as_often_as_they_like(ada: Person, strangers: Strangers) -> None:
    for _ in range(FIRST.limit + 1):
        assert strangers(password=PASSWORD).status_code == 200


@pytest.mark.parametrize("name", ["HttpOnly", "SameSite=Strict", "Path=/"])
def test_the_cookie_that_makes_a_browser_known_is_out_of_reach(ada: Person, name: str) -> None:
    cookies = log_in(ada.client).headers.getlist("Set-Cookie")

    (device,) = [each for each in cookies if each.startswith("modeltrack_device=")]
    assert name in device.split("; ")


# What is noted


def noted(person: Person, operation: str) -> list[tuple[str, str, str, str]]:
    entries = person.get("/v1/audit-events").get_json()["data"]
    return [
        (each["actor"], each["outcome"], each["code"] or "", each["network"])
        for each in entries
        if each["operation"] == operation
    ]


def test_a_wrong_password_is_noted_for_whom_it_concerns_and_for_nobody_else(
    ada: Person, sign_up: Callable[..., Person], strangers: Strangers
) -> None:
    bob = sign_up("bob@example.com")
    strangers()
    strangers(email="nobody@example.com")

    assert noted(ada, "log_in") == [("nobody", "refused", "unauthenticated", "10.0.0.1")]
    assert noted(bob, "log_in") == []
    assert "guess" not in ada.get("/v1/audit-events").text


def test_no_more_is_noted_than_was_tried(ada: Person, strangers: Strangers) -> None:
    strangers(FIRST.limit + 20)

    assert len(noted(ada, "log_in")) == FIRST.limit


def test_a_wrong_code_is_noted_and_bounded(ada: Person, app: Flask, clock: ManualClock) -> None:
    phone = enrols(ada, clock)
    confirmed = ada.write("POST", "/v1/person/second-factor/confirm", {"code": phone.code()})
    ada.csrf_token = confirmed.get_json()["csrf_token"]
    log_in(half := app.test_client())

    for _ in range(CODES_MAX + 3):
        half.post("/v1/login/second-factor", json={"code": phone.wrong_code()})

    assert noted(ada, "complete_log_in") == [("nobody", "refused", "code_wrong", "127.0.0.1")] * CODES_MAX


def test_asking_for_a_new_password_and_failing_to_set_it_are_noted(
    ada: Person, client: FlaskClient, mailbox: Mailbox, clock: ManualClock
) -> None:
    client.post("/v1/password-reset", json={"email": ada.email})
    client.post("/v1/password-reset", json={"email": "nobody@example.com"})
    token = mailbox.token(ada.email)
    clock.advance(3600)
    for sent in (token, "no such token"):
        client.post("/v1/password-reset/confirm", json={"token": sent, "password": ANOTHER})

    assert noted(ada, "ask_for_reset") == [("nobody", "done", "", "127.0.0.1")]
    assert noted(ada, "reset_password") == [("nobody", "refused", "token_invalid", "127.0.0.1")]
