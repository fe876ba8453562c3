"""One's own affairs: password, address, sessions; what comes by mail, and who is told nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_service.attempts import LOGINS_MAX, MAILS_MAX
from api_service.resources.person import FRESH
from api_service.tokens import LIFETIME_SECONDS, TOKENS_OF_PERSON_MAX
from metering.directory import Directory
from metering.stores import DocumentStore, Query
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.services.api.conftest import PASSWORD, MakeApp, Person
from tests.services.api.logbook import Logbook
from tests.services.api.test_sign_in import HOSTED, log_in, session_cookie

SignUp = Callable[..., Person]
ANOTHER = "staple hoof seven"
ADA = "ada@example.com"


def reset(client: FlaskClient, email: str = ADA) -> Any:
    return client.post("/v1/password-reset", json={"email": email})


def confirm_reset(client: FlaskClient, token: str, password: str = ANOTHER) -> Any:
    return client.post("/v1/password-reset/confirm", json={"token": token, "password": password})


# The password


@pytest.mark.battery("A2")
def test_a_changed_password_ends_every_other_session_and_begins_a_new_one(
    ada: Person, client: FlaskClient, mailbox: Mailbox
) -> None:
    assert log_in(client).status_code == 200

    changed = ada.write("POST", "/v1/person/password", {"current_password": PASSWORD, "password": ANOTHER})

    assert changed.status_code == 200
    assert changed.get_json()["csrf_token"] != ada.csrf_token
    assert ada.get("/v1/account").status_code == 200
    assert client.get("/v1/account").status_code == 401
    assert log_in(client).status_code == 401
    assert log_in(client, password=ANOTHER).status_code == 200
    assert mailbox.to(ADA)[-1].subject == "Your password was changed"


def test_a_password_is_changed_by_nobody_who_does_not_know_it(ada: Person, client: FlaskClient) -> None:
    sent = {"current_password": "not the password", "password": ANOTHER}

    answers = [ada.write("POST", "/v1/person/password", sent) for _ in range(LOGINS_MAX + 1)]

    assert [each.status_code for each in answers] == [422] * LOGINS_MAX + [429]
    assert answers[0].get_json()["error"]["param"] == "current_password"
    assert log_in(client).status_code == 200


def test_a_session_that_an_old_password_opens_at_the_same_moment_is_void(
    ada: Person, app: Flask, client: FlaskClient
) -> None:
    services = app.extensions["modeltrack"]
    as_read_by_login = services.people.by_email(ADA)
    place = services.people.place(as_read_by_login.person_id, ada.account_id)
    ada.write("POST", "/v1/person/password", {"current_password": PASSWORD, "password": ANOTHER})

    late = services.sessions.open(place, as_read_by_login.epoch, "")
    client.set_cookie("modeltrack_session", services.sessions.cookie_value(late))

    assert client.get("/v1/account").status_code == 401


def test_renewing_an_old_hash_never_brings_an_old_password_back(
    ada: Person, app: Flask, client: FlaskClient
) -> None:
    services = app.extensions["modeltrack"]
    as_read_by_login = services.people.by_email(ADA)
    ada.write("POST", "/v1/person/password", {"current_password": PASSWORD, "password": ANOTHER})

    services.people.renew_password_hash(as_read_by_login, services.passwords.hashed(PASSWORD))

    assert log_in(client).status_code == 401
    assert log_in(client, password=ANOTHER).status_code == 200


# Reset


@pytest.mark.battery("A5")
def test_a_forgotten_password_is_set_anew_by_mail_once(
    ada: Person, client: FlaskClient, mailbox: Mailbox
) -> None:
    assert reset(client).status_code == 202
    token = mailbox.token(ADA)

    first, second = confirm_reset(client, token), confirm_reset(client, token, "one more password")

    assert (first.status_code, second.status_code) == (204, 400)
    assert second.get_json()["error"]["code"] == "token_invalid"
    assert ada.get("/v1/account").status_code == 401
    assert log_in(client).status_code == 401
    assert log_in(client, password=ANOTHER).status_code == 200
    assert mailbox.to(ADA)[-1].subject == "Your password was changed"


@pytest.mark.battery("A5")
def test_of_two_who_use_a_reset_at_once_one_does(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, mailbox: Mailbox
) -> None:
    apps = [make_app(store), make_app(store)]
    sign_up(on=apps[0])
    reset(apps[0].test_client())
    token = mailbox.token(ADA)

    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda n: confirm_reset(apps[n % 2].test_client(), token, f"password no {n}"), range(4))
        )

    assert sorted(each.status_code for each in answers) == [204, 400, 400, 400]


@pytest.mark.battery("A5", "R3")
def test_a_reset_lasts_an_hour(
    ada: Person, client: FlaskClient, mailbox: Mailbox, clock: ManualClock
) -> None:
    reset(client)
    early = mailbox.token(ADA)
    reset(client)
    late = mailbox.token(ADA)

    clock.advance(LIFETIME_SECONDS["reset_password"] - 1)
    assert confirm_reset(client, early).status_code == 204
    reset(client)
    late = mailbox.token(ADA)
    clock.advance(LIFETIME_SECONDS["reset_password"])

    assert confirm_reset(client, late).status_code == 400


@pytest.mark.battery("A5")
@pytest.mark.parametrize("how", ["reset", "change", "everywhere"])
def test_once_a_password_changed_or_everybody_is_out_no_mailed_link_works(
    ada: Person, client: FlaskClient, mailbox: Mailbox, how: str
) -> None:
    reset(client)
    earlier = mailbox.token(ADA)
    if how == "reset":
        reset(client)
        assert confirm_reset(client, mailbox.token(ADA)).status_code == 204
    elif how == "change":
        ada.write("POST", "/v1/person/password", {"current_password": PASSWORD, "password": ANOTHER})
    else:
        ada.write("DELETE", "/v1/person/sessions")

    assert confirm_reset(client, earlier, "yet another one").status_code == 400


@pytest.mark.battery("A5")
def test_an_unknown_address_is_answered_like_a_known_one(
    ada: Person, client: FlaskClient, mailbox: Mailbox
) -> None:
    mailbox.letters.clear()

    known, unknown = reset(client), reset(client, "nobody@example.com")

    assert known.status_code == unknown.status_code == 202
    assert known.data == unknown.data
    assert [*known.headers.keys()] == [*unknown.headers.keys()]
    assert [each.to for each in mailbox.letters] == [ADA]


def test_nothing_that_depends_on_the_address_happens_before_the_answer(
    ada: Person, app: Flask, client: FlaskClient
) -> None:
    services = app.extensions["modeltrack"]
    written: list[object] = []

    def keep(work: object) -> bool:
        written.append(work)
        return True

    services.postbox.__dict__["later"] = written.append  # as if the thread were slow
    reads: list[str] = []
    services.people.__dict__["by_email"] = reads.append
    services.afterwards.__dict__["do"] = keep

    reset(client)

    assert len(written) == 2  # the mail, and what notes it
    assert reads == []


def test_an_address_is_mailed_so_often_whoever_asks(
    ada: Person, client: FlaskClient, mailbox: Mailbox
) -> None:
    answers = [reset(client).status_code for _ in range(MAILS_MAX + 1)]
    unknown = [reset(client, "nobody@example.com").status_code for _ in range(MAILS_MAX + 1)]

    assert answers == unknown == [202] * MAILS_MAX + [429]


@pytest.mark.battery("A5")
@pytest.mark.parametrize("token", ["x", "Zx" * 20, "../x", "\u00e9", "x" * 200])
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/password-reset/confirm", {"password": ANOTHER}),
        ("/v1/email/confirm", {}),
        ("/v1/email/change", {}),
        ("/v1/invites/look-up", {}),
        ("/v1/invites/sign-up", {"password": ANOTHER}),
    ],
)
def test_a_guessed_token_opens_nothing(
    client: FlaskClient, token: str, path: str, more: dict[str, str]
) -> None:
    response = client.post(path, json={"token": token, **more})

    assert (response.status_code, response.get_json()["error"]["code"]) == (400, "token_invalid")


def test_a_token_is_good_for_its_own_purpose_only(ada: Person, client: FlaskClient, mailbox: Mailbox) -> None:
    confirmation = mailbox.token(ADA)

    assert confirm_reset(client, confirmation).status_code == 400
    assert client.post("/v1/email/change", json={"token": confirmation}).status_code == 400
    assert client.post("/v1/email/confirm", json={"token": confirmation}).status_code == 204


def test_a_database_holds_no_token_and_a_log_neither(
    ada: Person, client: FlaskClient, mailbox: Mailbox, sqlite_store: DocumentStore, logbook: Logbook
) -> None:
    reset(client)
    confirm_reset(client, token := mailbox.token(ADA))
    reset(client)

    kept = sqlite_store.query(Query(collection="tokens"))

    assert kept
    assert mailbox.token(ADA) not in repr(kept)
    for secret in (token, mailbox.token(ADA), ADA, PASSWORD, ANOTHER):
        assert secret not in logbook.getvalue()


def test_a_person_has_a_bounded_number_of_tokens(
    ada: Person, client: FlaskClient, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    for _ in range(TOKENS_OF_PERSON_MAX + 5):
        clock.advance(200)
        assert reset(client).status_code == 202

    assert len(sqlite_store.query(Query(collection="tokens"))) == TOKENS_OF_PERSON_MAX


# The address


def test_an_address_is_confirmed_by_the_mail_of_the_sign_up(
    ada: Person, client: FlaskClient, mailbox: Mailbox
) -> None:
    before = ada.get("/v1/person").get_json()
    token = mailbox.token(ADA)

    answers = [client.post("/v1/email/confirm", json={"token": token}).status_code for _ in range(2)]

    assert before["address_confirmed"] is False
    assert ada.get("/v1/person").get_json() == {**before, "address_confirmed": True}
    assert answers == [204, 400]


def test_hosted_keys_and_invites_wait_until_the_address_is_confirmed(
    make_app: MakeApp, sqlite_store: DocumentStore, mailbox: Mailbox
) -> None:
    app = make_app(sqlite_store, **HOSTED)
    client = app.test_client()
    base = {"base_url": "https://api.example.com"}
    sent = {"email": ADA, "password": PASSWORD}
    page = {"Origin": "https://api.example.com"}
    token = client.post("/v1/signup", json=sent, headers=page, **base).get_json()["csrf_token"]
    page |= {"X-CSRF-Token": token}

    def write(path: str, json: object) -> Any:
        return client.post(path, json=json, headers=page, **base)

    early = [write("/v1/keys", {}), write("/v1/invites", {"email": "bob@example.com"})]
    assert write("/v1/person/confirmation", None).status_code == 202
    confirmed = client.post("/v1/email/confirm", json={"token": mailbox.token(ADA)}, **base)
    late = [write("/v1/keys", {}), write("/v1/invites", {"email": "bob@example.com"})]

    assert [each.get_json()["error"]["code"] for each in early] == ["address_unconfirmed"] * 2
    assert confirmed.status_code == 204
    assert [each.status_code for each in late] == [201, 201]


def ask_for_address(ada: Person, email: str, password: str = PASSWORD) -> Any:
    return ada.write("POST", "/v1/person/email", {"email": email, "password": password})


def test_an_address_changes_when_the_new_one_says_so_and_the_old_one_is_told(
    ada: Person, client: FlaskClient, mailbox: Mailbox
) -> None:
    assert ask_for_address(ada, "ada@example.net").status_code == 202
    assert log_in(client, email="ada@example.net").status_code == 401

    confirmed = client.post("/v1/email/change", json={"token": mailbox.token("ada@example.net")})

    assert confirmed.status_code == 204
    assert log_in(client).status_code == 401
    assert log_in(client, email="ada@example.net").status_code == 200
    assert ada.get("/v1/person").get_json()["email"] == "ada@example.net"
    assert mailbox.to(ADA)[-1].subject == "Your e-mail address was changed"
    assert client.post("/v1/signup", json={"email": ADA, "password": PASSWORD}).status_code == 201


def test_an_address_is_changed_by_nobody_who_does_not_know_the_password(
    ada: Person, mailbox: Mailbox
) -> None:
    response = ask_for_address(ada, "eve@example.com", "not the password")

    assert (response.status_code, response.get_json()["error"]["param"]) == (422, "password")
    assert mailbox.to("eve@example.com") == []


def test_an_address_of_somebody_else_is_asked_for_in_vain_and_without_a_word(
    ada: Person, sign_up: SignUp, mailbox: Mailbox
) -> None:
    sign_up("bob@example.com")
    mailbox.letters.clear()

    taken, free = ask_for_address(ada, "bob@example.com"), ask_for_address(ada, "ada@example.net")

    assert (taken.status_code, taken.data) == (free.status_code, free.data)
    assert [each.to for each in mailbox.letters] == ["ada@example.net"]


def test_an_address_that_somebody_took_meanwhile_stays_theirs(
    ada: Person, sign_up: SignUp, client: FlaskClient, mailbox: Mailbox
) -> None:
    ask_for_address(ada, "ada@example.net")
    token = mailbox.token("ada@example.net")
    sign_up("ada@example.net")

    assert client.post("/v1/email/change", json={"token": token}).status_code == 409
    assert ada.get("/v1/person").get_json()["email"] == ADA


def test_a_reset_that_went_to_the_old_address_is_void_once_it_changed(
    ada: Person, client: FlaskClient, mailbox: Mailbox
) -> None:
    reset(client)
    old = mailbox.token(ADA)
    ask_for_address(ada, "ada@example.net")
    client.post("/v1/email/change", json={"token": mailbox.token("ada@example.net")})

    assert confirm_reset(client, old).status_code == 400


def test_whoever_reads_the_mail_gets_an_address_back_that_somebody_else_signed_up_with(
    app: Flask, sign_up: SignUp, mailbox: Mailbox
) -> None:
    squatter = sign_up("victim@example.com")
    ask_for_address(squatter, "squatter@example.com")
    waiting = mailbox.token("squatter@example.com")
    victim = app.test_client()
    reset(victim, "victim@example.com")

    assert confirm_reset(victim, mailbox.token("victim@example.com")).status_code == 204

    assert squatter.get("/v1/account").status_code == 401
    assert victim.post("/v1/email/change", json={"token": waiting}).status_code == 400
    assert log_in(victim, "victim@example.com", ANOTHER).get_json()["person"]["address_confirmed"]


# Sessions


def test_sessions_are_listed_with_the_one_that_asks(ada: Person, app: Flask, clock: ManualClock) -> None:
    clock.advance(60)
    other = app.test_client()
    log_in(other, **{"User-Agent": "canary"})

    listed = ada.get("/v1/person/sessions").get_json()["data"]

    assert [each["is_current"] for each in listed] == [False, True]
    assert {each["network"] for each in listed} == {"127.0.0.1"}
    assert listed[0]["account_id"] == ada.account_id
    assert session_cookie(other).rpartition(".")[0] not in repr(listed)


def test_one_session_is_ended_from_another_at_once(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    other = there.test_client()
    log_in(other)
    (theirs,) = [each for each in ada.get("/v1/person/sessions").get_json()["data"] if not each["is_current"]]

    ended = ada.write("DELETE", f"/v1/person/sessions/{theirs['id']}")

    assert ended.status_code == 204
    assert other.get("/v1/account").status_code == 401
    assert ada.get("/v1/account").status_code == 200


@pytest.mark.parametrize(("seconds", "is_taken"), [(0, True), (1, False)])
def test_other_sessions_and_ways_in_are_ended_by_who_has_just_logged_in(
    ada: Person, app: Flask, clock: ManualClock, seconds: int, is_taken: bool
) -> None:
    log_in(app.test_client())
    listed = ada.get("/v1/person/sessions").get_json()["data"]
    (own,) = [each["id"] for each in listed if each["is_current"]]
    (other,) = [each["id"] for each in listed if not each["is_current"]]
    clock.advance(FRESH.total_seconds() + seconds)

    answers = [
        ada.write("DELETE", "/v1/person/identities/google"),
        ada.write("DELETE", f"/v1/person/sessions/{other}"),
        ada.write("DELETE", "/v1/person/sessions"),
    ]

    assert [each.status_code for each in answers] == ([404, 204, 204] if is_taken else [403] * 3)
    if not is_taken:
        assert {each.get_json()["error"]["code"] for each in answers} == {"sign_in_again"}
        assert "log in anew" in ada.get("/profile", headers={"Accept": "text/html"}).text
        assert ada.write("DELETE", f"/v1/person/sessions/{own}").status_code == 204  # as logging out does


def test_nobody_ends_sessions_of_others(ada: Person, sign_up: SignUp) -> None:
    bob = sign_up("bob@example.com")
    (theirs,) = bob.get("/v1/person/sessions").get_json()["data"]

    foreign = ada.write("DELETE", f"/v1/person/sessions/{theirs['id']}")
    unknown = ada.write("DELETE", "/v1/person/sessions/session_none")

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.get_json()["error"]["message"] == unknown.get_json()["error"]["message"]
    assert bob.get("/v1/account").status_code == 200


def test_logging_out_everywhere_ends_all_sessions_on_every_instance_at_once(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    other = there.test_client()
    log_in(other)
    assert other.get("/v1/account").status_code == 200

    assert ada.write("DELETE", "/v1/person/sessions").status_code == 204

    assert other.get("/v1/account").status_code == 401
    assert ada.get("/v1/account").status_code == 401
    assert store.query(Query(collection="sessions")) == []
    assert log_in(other).status_code == 200


def test_ones_own_affairs_are_open_while_the_account_is_suspended(ada: Person, directory: Directory) -> None:
    directory.set_status(ada.account_id, "suspended")

    assert ada.get("/v1/account").status_code == 403
    assert ada.get("/v1/person").status_code == 200
    assert ada.get("/v1/accounts").get_json()["data"][0]["status"] == "suspended"
    assert ada.write("DELETE", "/v1/person/sessions").status_code == 204


def test_a_name_is_ones_own_to_say(ada: Person) -> None:
    assert ada.get("/v1/person").get_json()["name"] == ""

    changed = ada.write("PATCH", "/v1/person", {"name": " Ada \u202eLovelace\n"})

    assert changed.get_json()["name"] == "Ada Lovelace"
    assert ada.get("/v1/session").get_json()["person"]["name"] == "Ada Lovelace"


def test_who_signs_up_without_names_has_an_account_all_the_same(client: FlaskClient) -> None:
    body = client.post("/v1/signup", json={"email": "grace@example.com", "password": PASSWORD}).get_json()

    assert body["account"]["name"] == "Account of grace"
    assert body["person"]["name"] == ""
