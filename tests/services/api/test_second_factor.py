"""The second factor: codes of an app and of paper, each good once, and log-ins that owe one."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_service.attempts import WINDOW_SECONDS
from api_service.operator import operate
from api_service.resources.person import FRESH
from api_service.resources.second_factor import CODES_MAX
from api_service.second_factors import ENROLMENT_SECONDS, RECOVERY_CODES, STEP_SECONDS
from api_service.sign_ins import LIFETIME_SECONDS
from metering.errors import NotFound
from metering.stores import DocumentStore, Query
from tests.doubles.clock import ManualClock
from tests.doubles.identity_providers import IdentityProvider, running_identity_provider
from tests.doubles.mailbox import Mailbox
from tests.services.api.conftest import ORIGIN, PASSWORD, MakeApp, Person
from tests.services.api.logbook import Logbook
from tests.services.api.test_oauth import comes_back, confirm, connected, signs_in

__all__ = ["connected"]  # a fixture

OWN = "/v1/person/second-factor"


class Phone:
    """The app that shows codes."""

    def __init__(self, secret: str, clock: ManualClock) -> None:
        self.secret = secret
        self._totp = pyotp.TOTP(secret)
        self._clock = clock

    def code(self, steps_away: int = 0) -> str:
        return self._totp.generate_otp(int(self._clock.now().timestamp()) // STEP_SECONDS + steps_away)

    def next_code(self) -> str:
        """A code that was not used yet."""
        self._clock.advance(STEP_SECONDS)
        return self.code()

    def wrong_code(self) -> str:
        good = {self.code(step) for step in range(-3, 4)}
        return next(each for each in ("000000", "111111", "222222", "333333") if each not in good)


def enrols(person: Person, clock: ManualClock) -> Phone:
    response = person.write("POST", OWN, {"password": PASSWORD})
    assert response.status_code == 201, response.text
    return Phone(response.get_json()["secret"], clock)


@pytest.fixture
def phone(ada: Person, clock: ManualClock) -> Phone:
    """Ada's, with her second factor on; her recovery codes are used by who needs them."""
    made = enrols(ada, clock)
    confirmed = ada.write("POST", f"{OWN}/confirm", {"code": made.code()})
    assert confirmed.status_code == 200, confirmed.text
    ada.csrf_token = confirmed.get_json()["csrf_token"]
    return made


def gives_password(client: FlaskClient) -> TestResponse:
    return client.post(
        "/v1/login",
        json={"email": "ada@example.com", "password": PASSWORD},
        headers={"Origin": ORIGIN},
    )


def gives_code(client: FlaskClient, code: str) -> TestResponse:
    return client.post("/v1/login/second-factor", json={"code": code}, headers={"Origin": ORIGIN})


def is_in(client: FlaskClient) -> bool:
    return client.get("/v1/person").status_code == 200


def code_of(response: TestResponse) -> str:
    return str(response.get_json()["error"]["code"])


def test_the_app_is_told_what_it_needs(ada: Person, clock: ManualClock) -> None:
    told = ada.write("POST", OWN, {"password": PASSWORD}).get_json()
    parts = urlsplit(told["otpauth_url"])

    assert (parts.scheme, parts.netloc, parts.path) == ("otpauth", "totp", "/ModelTrack:ada%40example.com")
    assert parse_qs(parts.query) == {"secret": [told["secret"]], "issuer": ["ModelTrack"]}
    assert len(told["secret"]) * 5 == 160


def test_nothing_counts_before_a_code_was_shown(ada: Person, app: Flask, clock: ManualClock) -> None:
    phone = enrols(ada, clock)

    assert gives_password(app.test_client()).status_code == 200
    assert not ada.get(OWN).get_json()["enabled"]
    wrong = ada.write("POST", f"{OWN}/confirm", {"code": phone.wrong_code()})
    assert (wrong.status_code, code_of(wrong)) == (422, "code_wrong")
    assert ada.write("POST", f"{OWN}/confirm", {"code": phone.code()}).status_code == 200


def test_setting_up_takes_the_password_and_a_quarter_of_an_hour_at_most(
    ada: Person, clock: ManualClock
) -> None:
    assert ada.write("POST", OWN, {"password": "not the password"}).status_code == 422
    in_time = enrols(ada, clock)
    clock.advance(ENROLMENT_SECONDS - 1)
    late = enrols(ada, clock)
    clock.advance(ENROLMENT_SECONDS)

    assert ada.write("POST", f"{OWN}/confirm", {"code": late.code()}).status_code == 409
    again = enrols(ada, clock)
    assert ada.write("POST", f"{OWN}/confirm", {"code": in_time.code()}).status_code == 422
    assert ada.write("POST", f"{OWN}/confirm", {"code": again.code()}).status_code == 200
    assert ada.write("POST", OWN, {"password": PASSWORD}).status_code in {401, 403}  # of the old session


def test_a_repeated_code_is_answered_again_in_the_browser_that_owed_it_alone(
    app: Flask, phone: Phone, clock: ManualClock
) -> None:
    repeated = {"Origin": ORIGIN, "Idempotency-Key": "log-in-1"}
    gives_password(own := app.test_client())
    sent = {"code": phone.next_code()}
    assert own.post("/v1/login/second-factor", json=sent, headers=repeated).status_code == 200

    foreign = (stranger := app.test_client()).post("/v1/login/second-factor", json=sent, headers=repeated)

    assert foreign.status_code in {400, 409}
    assert "Set-Cookie" not in foreign.headers or not is_in(stranger)
    assert not is_in(stranger)


def test_switching_on_ends_all_sessions_but_a_new_one_and_mails(
    ada: Person, app: Flask, clock: ManualClock, mailbox: Mailbox
) -> None:
    gives_password(elsewhere := app.test_client())
    phone = enrols(ada, clock)
    told = ada.write("POST", f"{OWN}/confirm", {"code": phone.code()}).get_json()

    assert not is_in(elsewhere)
    assert is_in(ada.client)
    assert told["person"]["email"] == ada.email
    assert len(set(told["recovery_codes"])) == RECOVERY_CODES
    assert all(len(each.replace("-", "")) * 4 >= 112 for each in told["recovery_codes"])  # random bits
    assert mailbox.to(ada.email)[-1].subject == "Your second factor is on"
    ada.csrf_token = told["csrf_token"]
    assert ada.write("POST", OWN, {"password": PASSWORD}).status_code == 409


def test_a_log_in_takes_two_steps_and_half_of_it_opens_nothing(ada: Person, app: Flask, phone: Phone) -> None:
    client = app.test_client()
    half = gives_password(client)

    assert half.status_code == 202
    assert half.get_json()["status"] == "code_awaited"
    (cookie,) = half.headers.getlist("Set-Cookie")
    assert all(each in cookie for each in ("SameSite=Strict", "HttpOnly", "Max-Age=300"))
    for path in ("/v1/person", "/v1/account", "/v1/session", "/v1/accounts", OWN):
        assert client.get(path).status_code == 401
    ticket = client.get_cookie("modeltrack_second_factor")
    assert ticket is not None
    client.set_cookie("modeltrack_session", ticket.value)  # it is no session under another name
    assert not is_in(client)
    whole = gives_code(client, phone.next_code())
    assert whole.status_code == 200
    assert whole.get_json()["person"]["email"] == ada.email
    assert is_in(client)
    assert client.get_cookie("modeltrack_second_factor") is None


def test_a_wrong_password_is_answered_as_always(ada: Person, client: FlaskClient, phone: Phone) -> None:
    sent = {"email": ada.email, "password": "not the password"}

    assert client.post("/v1/login", json=sent).status_code == 401


@pytest.mark.parametrize(("away", "status"), [(-2, 422), (-1, 200), (0, 200), (1, 200), (2, 422)])
def test_a_clock_may_be_a_step_off(
    client: FlaskClient, phone: Phone, clock: ManualClock, away: int, status: int
) -> None:
    clock.advance(10 * STEP_SECONDS)
    gives_password(client)

    assert gives_code(client, phone.code(away)).status_code == status


def test_a_code_is_good_once_and_no_earlier_one_after_it(app: Flask, phone: Phone) -> None:
    first, second = app.test_client(), app.test_client()
    for each in (first, second):
        gives_password(each)
    code = phone.next_code()

    assert gives_code(first, f" {code[:3]} {code[3:]} ").status_code == 200
    assert code_of(gives_code(second, code)) == "code_wrong"
    assert code_of(gives_code(second, phone.code(-1))) == "code_wrong"
    assert gives_code(second, phone.next_code()).status_code == 200


def test_the_code_that_switched_it_on_logs_nobody_in(client: FlaskClient, phone: Phone) -> None:
    gives_password(client)

    assert code_of(gives_code(client, phone.code())) == "code_wrong"


def test_of_two_who_show_one_code_at_once_on_two_instances_one_gets_in(
    make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person], clock: ManualClock
) -> None:
    apps = [make_app(store), make_app(store)]
    ada = sign_up(on=apps[0])
    phone = enrols(ada, clock)
    told = ada.write("POST", f"{OWN}/confirm", {"code": phone.code()}).get_json()
    for code in (phone.next_code(), told["recovery_codes"][0]):
        clients = [each.test_client() for each in apps]
        for client in clients:
            gives_password(client)
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(gives_code, clients, [code, code]))
        assert sorted(each.status_code for each in found) == [200, 422]


def test_a_recovery_code_is_good_once_however_it_is_copied(
    ada: Person, app: Flask, clock: ManualClock, mailbox: Mailbox
) -> None:
    phone = enrols(ada, clock)
    codes = ada.write("POST", f"{OWN}/confirm", {"code": phone.code()}).get_json()["recovery_codes"]
    for code in (codes[0].upper(), codes[1].replace("-", " ")):
        gives_password(client := app.test_client())
        assert gives_code(client, code).status_code == 200
        gives_password(again := app.test_client())
        assert code_of(gives_code(again, code)) == "code_wrong"

    assert ada.get(OWN).get_json()["recovery_codes_left"] == RECOVERY_CODES - 2
    assert f"You have {RECOVERY_CODES - 2} left" in mailbox.to(ada.email)[-1].text


def test_new_recovery_codes_make_the_old_ones_void(
    ada: Person, client: FlaskClient, clock: ManualClock
) -> None:
    phone = enrols(ada, clock)
    told = ada.write("POST", f"{OWN}/confirm", {"code": phone.code()}).get_json()
    ada.csrf_token = told["csrf_token"]
    sent = {"password": PASSWORD, "code": phone.next_code()}
    new = ada.write("POST", f"{OWN}/recovery-codes", sent).get_json()["recovery_codes"]

    assert len(new) == RECOVERY_CODES
    assert not set(new) & set(told["recovery_codes"])
    gives_password(client)
    assert gives_code(client, told["recovery_codes"][0]).status_code == 422
    assert gives_code(client, new[0]).status_code == 200


def test_a_half_session_lasts_five_minutes_and_is_used_up(
    app: Flask, phone: Phone, clock: ManualClock
) -> None:
    early, late = app.test_client(), app.test_client()
    gives_password(early)
    clock.advance(LIFETIME_SECONDS["second_factor"] - 1)
    ticket = early.get_cookie("modeltrack_second_factor")
    assert ticket is not None
    assert gives_code(early, phone.code()).status_code == 200
    early.set_cookie("modeltrack_second_factor", ticket.value)
    assert code_of(gives_code(early, phone.next_code())) == "sign_in_over"

    gives_password(late)
    clock.advance(LIFETIME_SECONDS["second_factor"])
    assert code_of(gives_code(late, phone.code())) == "sign_in_over"


def test_codes_are_for_nobody_without_the_password(client: FlaskClient, phone: Phone) -> None:
    for ticket in (None, "x", "x" * 65):
        if ticket:
            client.set_cookie("modeltrack_second_factor", ticket)
        response = gives_code(client, phone.next_code())
        assert (response.status_code, code_of(response)) == (400, "sign_in_over")


def test_a_new_password_ends_half_sessions_and_leaves_the_second_factor(
    ada: Person, app: Flask, phone: Phone
) -> None:
    gives_password(half := app.test_client())
    changed = "staple hoof seven"
    ada.write("POST", "/v1/person/password", {"current_password": PASSWORD, "password": changed})

    assert code_of(gives_code(half, phone.next_code())) == "sign_in_over"
    sent = {"email": ada.email, "password": changed}
    assert app.test_client().post("/v1/login", json=sent).status_code == 202


def test_a_password_reset_by_mail_goes_around_no_second_factor_and_ends_no_identity(
    make_app: MakeApp,
    store: DocumentStore,
    connected: dict[str, str],
    sign_up: Callable[..., Person],
    provider: IdentityProvider,
    mailbox: Mailbox,
    clock: ManualClock,
) -> None:
    ada = sign_up(on=(app := make_app(store, **connected)))
    confirm(ada, mailbox)
    begun = ada.write("POST", "/v1/person/identities/google", {"password": PASSWORD})
    comes_back(ada.client, provider.signs_in(begun.get_json()["url"]))
    phone = enrols(ada, clock)
    assert ada.write("POST", f"{OWN}/confirm", {"code": phone.code()}).status_code == 200
    (client := app.test_client()).post("/v1/password-reset", json={"email": ada.email})
    sent = {"token": mailbox.token(ada.email), "password": "staple hoof seven"}
    assert client.post("/v1/password-reset/confirm", json=sent).status_code == 204

    own = {"email": ada.email, "password": sent["password"]}
    assert client.post("/v1/login", json=own).status_code == 202
    assert not is_in(client)
    assert gives_code(client, phone.next_code()).status_code == 200
    linked = client.get("/v1/person/identities").get_json()["data"]
    assert [each["provider"] for each in linked] == ["google"]
    assert signs_in(by_google := app.test_client(), provider).status_code == 200
    assert not is_in(by_google)


def test_codes_are_tried_a_few_times_on_all_instances_together(
    make_app: MakeApp, sqlite_store: DocumentStore, app: Flask, phone: Phone, clock: ManualClock
) -> None:
    clients = [app.test_client(), make_app(sqlite_store).test_client()]
    for client in clients:
        gives_password(client)
    for number in range(CODES_MAX):
        assert gives_code(clients[number % 2], phone.wrong_code()).status_code == 422

    for client in clients:
        refused = gives_code(client, phone.code())
        assert (refused.status_code, code_of(refused)) == (429, "too_many_attempts")
        assert int(refused.headers["Retry-After"]) > 0
    clock.advance(WINDOW_SECONDS + WINDOW_SECONDS / 60)
    gives_password(clients[0])
    assert gives_code(clients[0], phone.code()).status_code == 200


def test_right_codes_use_up_no_tries(app: Flask, phone: Phone) -> None:
    for _ in range(CODES_MAX + 1):
        gives_password(client := app.test_client())
        assert gives_code(client, phone.next_code()).status_code == 200


@pytest.mark.parametrize("operation", ["switch-off", "recovery-codes"])
def test_what_weakens_it_takes_password_and_code(ada: Person, phone: Phone, operation: str) -> None:
    def tries(password: str, code: str) -> int:
        sent = {"password": password, "code": code}
        return ada.write("POST", f"{OWN}/{operation}", sent).status_code

    assert tries("not the password", phone.next_code()) == 422
    assert tries(PASSWORD, phone.wrong_code()) == 422
    assert ada.get(OWN).get_json()["enabled"]
    assert tries(PASSWORD, phone.code()) in {200, 204}


def test_switched_off_nobody_is_asked_for_codes(
    ada: Person, client: FlaskClient, phone: Phone, mailbox: Mailbox
) -> None:
    sent = {"password": PASSWORD, "code": phone.next_code()}

    assert ada.write("POST", f"{OWN}/switch-off", sent).status_code == 204
    assert gives_password(client).status_code == 200
    assert mailbox.to(ada.email)[-1].subject == "Your second factor is off"
    assert ada.write("POST", f"{OWN}/switch-off", sent).status_code == 409
    assert ada.get(OWN).get_json() == {"enabled": False, "since": None, "recovery_codes_left": 0}


def test_the_secret_and_the_codes_stand_nowhere_readable(
    ada: Person, client: FlaskClient, clock: ManualClock, sqlite_store: DocumentStore, logbook: Logbook
) -> None:
    phone = enrols(ada, clock)
    codes = ada.write("POST", f"{OWN}/confirm", {"code": phone.code()}).get_json()["recovery_codes"]
    gives_password(client)
    gives_code(client, phone.next_code())

    (document,) = sqlite_store.query(Query(collection="second_factors"))
    said = f"{document.fields} {logbook.getvalue()}"
    for secret in (phone.secret, phone.code(), codes[0], codes[0].replace("-", "")):
        assert secret not in said


def test_somebody_elses_sealed_secret_is_of_no_use(
    ada: Person,
    sign_up: Callable[..., Person],
    client: FlaskClient,
    phone: Phone,
    sqlite_store: DocumentStore,
) -> None:
    from metering.stores import Put  # noqa: PLC0415 - an intruder's means

    bob = sign_up("bob@example.com")
    bobs_id = bob.get("/v1/person").get_json()["id"]
    (adas,) = sqlite_store.query(Query(collection="second_factors"))
    sqlite_store.commit([Put(f"second_factors/{bobs_id}", {**adas.fields, "person_id": bobs_id})])
    client.post("/v1/login", json={"email": bob.email, "password": PASSWORD})

    assert gives_code(client, phone.next_code()).status_code == 500
    assert not is_in(client)


def test_another_site_shows_no_codes(client: FlaskClient, phone: Phone) -> None:
    gives_password(client)
    sent = {"code": phone.next_code()}
    response = client.post("/v1/login/second-factor", json=sent, headers={"Origin": "https://evil.example"})

    assert code_of(response) == "foreign_origin"


def test_the_audit_log_tells_both_steps_and_wrong_codes(
    client: FlaskClient, phone: Phone, clock: ManualClock
) -> None:
    clock.advance(1)
    gives_password(client)
    clock.advance(1)
    gives_code(client, phone.wrong_code())
    gives_code(client, phone.next_code())

    told = client.get("/v1/audit-events").get_json()["data"]
    found = [(each["operation"], each["outcome"]) for each in told[:3]]
    assert found == [("complete_log_in", "done"), ("complete_log_in", "refused"), ("log_in", "done")]


def test_a_repeat_of_the_second_step_is_answered_in_its_own_browser_alone(
    app: Flask, client: FlaskClient, phone: Phone
) -> None:
    gives_password(client)
    ticket = client.get_cookie("modeltrack_second_factor")
    assert ticket is not None
    sent = {"json": {"code": phone.next_code()}, "headers": {"Idempotency-Key": "1"}}
    first = client.post("/v1/login/second-factor", **sent)
    client.set_cookie("modeltrack_second_factor", ticket.value)  # as if the answer had been lost

    assert client.post("/v1/login/second-factor", **sent).get_json() == first.get_json()
    elsewhere = app.test_client().post("/v1/login/second-factor", **sent)
    assert (elsewhere.status_code, code_of(elsewhere)) == (409, "idempotency_key_reused")


def test_the_operator_lets_in_who_has_lost_everything(
    ada: Person, client: FlaskClient, phone: Phone, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    person_id, out = ada.get("/v1/person").get_json()["id"], io.StringIO()
    clock.advance(1)

    assert operate(sqlite_store, clock, ["second-factor-off", person_id], out) == 0
    assert gives_password(client).status_code == 200
    (newest, *_) = [
        each
        for each in ada.get("/v1/audit-events").get_json()["data"]
        if each["operation"] == "switch_second_factor_off"
    ]
    assert (newest["actor"], newest["target_id"]) == ("operator", person_id)
    with pytest.raises(NotFound):
        operate(sqlite_store, clock, ["second-factor-off", person_id], out)
    with pytest.raises(NotFound):
        operate(sqlite_store, clock, ["second-factor-off", "../accounts/x"], out)


@pytest.fixture
def provider(clock: ManualClock) -> Iterator[IdentityProvider]:
    with running_identity_provider(clock) as running:
        yield running


def test_who_comes_from_google_owes_the_code_too(
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    connected: dict[str, str],
    ada: Person,
    phone: Phone,
    provider: IdentityProvider,
    mailbox: Mailbox,
) -> None:
    ada.write("POST", "/v1/person/confirmation")
    confirm(ada, mailbox)
    client = make_app(sqlite_store, **connected).test_client()
    begun = client.post("/v1/sign-in/google", json={"return_to": "/usage"}).get_json()
    back = comes_back(client, provider.signs_in(begun["url"]))

    assert 'content="0;url=/second-factor#return_to=/usage"' in back.text
    assert not is_in(client)
    assert gives_code(client, phone.next_code()).status_code == 200
    assert is_in(client)
    assert signs_in(client, provider).status_code == 200
    assert not is_in(client)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/person/password", {"current_password": PASSWORD, "password": "staple hoof seven"}),
        ("/v1/person/email", {"email": "ada@example.net", "password": PASSWORD}),
        ("/v1/person/identities/google", {"password": PASSWORD}),
    ],
)
@pytest.mark.parametrize(("seconds", "is_taken"), [(0, True), (1, False)])
def test_what_lets_one_in_is_changed_soon_after_a_code_was_shown(  # noqa: PLR0917  # fixtures, by name
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    connected: dict[str, str],
    sign_up: Callable[..., Person],
    clock: ManualClock,
    path: str,
    sent: dict[str, str],
    seconds: int,
    *,
    is_taken: bool,
) -> None:
    ada = sign_up(on=make_app(sqlite_store, **connected))
    phone = enrols(ada, clock)
    confirmed = ada.write("POST", f"{OWN}/confirm", {"code": phone.code()})
    ada.csrf_token = confirmed.get_json()["csrf_token"]
    clock.advance(FRESH.total_seconds() + seconds)

    answered = ada.write("POST", path, sent)

    assert answered.status_code == 403 or is_taken, answered.text
    assert answered.status_code < 300 or not is_taken, answered.text
    assert is_taken or code_of(answered) == "sign_in_again"
