"""Who belongs to an account, as what; invites; and an account that always has an owner."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_service.invites import INVITES_MAX, LIFETIME_SECONDS
from api_service.members import MEMBERS_MAX, Members
from api_service.people import Membership, creation_of_place
from api_service.roles import ROLES, Role
from metering.collections import account_path, membership_path
from metering.directory import Directory
from metering.errors import Forbidden
from metering.keys import SCOPES
from metering.stores import Delete, DocumentStore, Query, Update
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.doubles.meddled_store import Meddled
from tests.services.api.conftest import PASSWORD, MakeApp, Person
from tests.services.api.test_sign_in import log_in, session_cookie

SignUp = Callable[..., Person]
Join = Callable[..., Person]
BOB = "bob@example.com"


@pytest.fixture
def join(app: Flask, mailbox: Mailbox) -> Join:
    """Has somebody invite a new person, who signs up by that; `on` another application, where given."""

    def join_account(by: Person, role: str, email: str = BOB, on: Flask | None = None) -> Person:
        invited = by.write("POST", "/v1/invites", {"email": email, "role": role})
        assert invited.status_code == 201, invited.text
        client = (on or app).test_client()
        sent = {"token": mailbox.token(email), "password": PASSWORD}
        body = client.post("/v1/invites/sign-up", json=sent).get_json()
        assert body["role"] == role
        return Person(client, body["csrf_token"], body["account"]["id"], email)

    return join_account


def id_of(person: Person) -> str:
    found: str = person.get("/v1/person").get_json()["id"]
    return found


def give(by: Person, to: Person | str, role: str) -> Any:
    person_id = to if isinstance(to, str) else id_of(to)
    return by.write("PATCH", f"/v1/members/{person_id}", {"role": role})


def logged_out(by: Person, whom: Person | str) -> Any:
    person_id = whom if isinstance(whom, str) else id_of(whom)
    return by.write("POST", f"/v1/members/{person_id}/end-sessions")


def remove(by: Person, whom: Person | str) -> Any:
    person_id = whom if isinstance(whom, str) else id_of(whom)
    return by.write("DELETE", f"/v1/members/{person_id}")


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.get_json()["error"]["code"]


# Invites


def test_somebody_new_signs_up_by_an_invite_into_the_account(
    ada: Person, join: Join, client: FlaskClient, mailbox: Mailbox, clock: ManualClock
) -> None:
    clock.advance(1)
    ada.write("PATCH", "/v1/person", {"name": "Ada"})
    ada.write("POST", "/v1/invites", {"email": BOB, "role": "viewer"})
    (letter,) = mailbox.to(BOB)
    shown = client.post("/v1/invites/look-up", json={"token": mailbox.token(BOB)}).get_json()

    bob = join(ada, "viewer")

    assert "Ada invites you to the account “Ada & Co”" in letter.text
    assert (shown["account_name"], shown["role"], shown["has_login"]) == ("Ada & Co", "viewer", False)
    assert bob.account_id == ada.account_id
    assert bob.get("/v1/person").get_json()["address_confirmed"] is True
    members = bob.get("/v1/members").get_json()["data"]
    assert [(each["email"], each["role"]) for each in members] == [(ada.email, "owner"), (BOB, "viewer")]
    assert ada.get("/v1/invites").get_json()["data"] == []


def test_somebody_who_is_known_joins_with_their_own_log_in_and_switches(
    ada: Person, sign_up: SignUp, mailbox: Mailbox
) -> None:
    bob = sign_up(BOB)
    ada.write("POST", "/v1/invites", {"email": BOB, "role": "member"})
    token = mailbox.token(BOB)
    refused = bob.client.post("/v1/invites/sign-up", json={"token": token, "password": PASSWORD})

    joined = bob.write("POST", "/v1/invites/accept", {"token": token})

    assert refused.status_code == 409
    assert (joined.status_code, joined.get_json()["account"]["id"]) == (200, ada.account_id)
    bob.csrf_token = joined.get_json()["csrf_token"]
    places = bob.get("/v1/accounts").get_json()["data"]
    assert [(each["account_id"], each["role"], each["is_current"]) for each in places] == [
        (bob.account_id, "owner", False),
        (ada.account_id, "member", True),
    ]
    back = bob.write("POST", "/v1/session/switch", {"account_id": bob.account_id})
    assert back.get_json()["account"]["id"] == bob.account_id
    assert bob.get("/v1/account").get_json()["id"] == bob.account_id


def test_switching_makes_a_new_session_and_ends_the_old(ada: Person, app: Flask) -> None:
    before = session_cookie(ada.client)

    switched = ada.write("POST", "/v1/session/switch", {"account_id": ada.account_id})

    stale = app.test_client()
    stale.set_cookie("modeltrack_session", before)
    assert switched.get_json()["csrf_token"] != ada.csrf_token
    assert stale.get("/v1/account").status_code == 401
    assert ada.get("/v1/account").status_code == 200


def test_nobody_switches_to_an_account_of_others(ada: Person, sign_up: SignUp) -> None:
    bob = sign_up(BOB)

    foreign = ada.write("POST", "/v1/session/switch", {"account_id": bob.account_id})
    unknown = ada.write("POST", "/v1/session/switch", {"account_id": "acct_none"})

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.get_json()["error"]["message"] == unknown.get_json()["error"]["message"]


def test_an_invite_works_once(ada: Person, join: Join, mailbox: Mailbox, client: FlaskClient) -> None:
    join(ada, "member")

    again = client.post("/v1/invites/look-up", json={"token": mailbox.token(BOB)})

    assert code(again) == (400, "token_invalid")


def test_of_many_who_use_an_invite_at_once_one_does(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, mailbox: Mailbox
) -> None:
    apps = [make_app(store), make_app(store)]
    ada = sign_up(on=apps[0])
    ada.write("POST", "/v1/invites", {"email": BOB})
    sent = {"token": mailbox.token(BOB), "password": PASSWORD}

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(
            lambda n: apps[n % 2].test_client().post("/v1/invites/sign-up", json=sent).status_code, range(4)
        )

    statuses = sorted(answers)
    assert statuses[0] == 201
    assert set(statuses[1:]) <= {400, 409}
    assert len(ada.get("/v1/members").get_json()["data"]) == 2


def test_an_invite_lasts_seven_days(
    ada: Person, mailbox: Mailbox, client: FlaskClient, clock: ManualClock
) -> None:
    ada.write("POST", "/v1/invites", {"email": BOB})
    sent = {"token": mailbox.token(BOB)}

    clock.advance(LIFETIME_SECONDS - 1)
    assert client.post("/v1/invites/look-up", json=sent).status_code == 200
    clock.advance(1)

    assert code(client.post("/v1/invites/look-up", json=sent)) == (400, "token_invalid")
    log_in(ada.client)
    assert ada.get("/v1/invites").get_json()["data"] == []


def test_an_invite_is_withdrawn_or_replaced(ada: Person, mailbox: Mailbox, client: FlaskClient) -> None:
    ada.write("POST", "/v1/invites", {"email": BOB})
    first = mailbox.token(BOB)
    made = ada.write("POST", "/v1/invites", {"email": BOB, "role": "viewer"}).get_json()
    second = mailbox.token(BOB)

    replaced = client.post("/v1/invites/look-up", json={"token": first}).status_code
    (listed,) = ada.get("/v1/invites").get_json()["data"]
    withdrawn = ada.write("DELETE", f"/v1/invites/{made['id']}").status_code

    assert (replaced, listed, withdrawn) == (400, made, 204)
    assert client.post("/v1/invites/look-up", json={"token": second}).status_code == 400
    assert ada.write("DELETE", f"/v1/invites/{made['id']}").status_code == 404


def test_an_invite_is_for_the_address_it_was_mailed_to(
    ada: Person, sign_up: SignUp, mailbox: Mailbox
) -> None:
    eve = sign_up("eve@example.com")
    ada.write("POST", "/v1/invites", {"email": BOB})

    refused = eve.write("POST", "/v1/invites/accept", {"token": mailbox.token(BOB)})

    assert code(refused) == (403, "invite_of_another")
    assert len(ada.get("/v1/members").get_json()["data"]) == 1


def test_a_member_is_invited_no_more(ada: Person, join: Join) -> None:
    join(ada, "member")

    assert ada.write("POST", "/v1/invites", {"email": BOB}).status_code == 409


def test_open_invites_are_so_many(ada: Person, app: Flask, clock: ManualClock) -> None:
    services = app.extensions["modeltrack"]
    (place,) = services.people.places_of(id_of(ada))
    for number in range(INVITES_MAX - 1):
        services.invites.make(f"p{number}@example.com", "viewer", place)

    assert ada.write("POST", "/v1/invites", {"email": "last@example.com"}).status_code == 201
    assert ada.write("POST", "/v1/invites", {"email": "more@example.com"}).status_code == 409


def test_members_are_so_many(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, mailbox: Mailbox, client: FlaskClient
) -> None:
    def crowd(numbers: range) -> None:
        places = [
            Membership(person_id=f"p{n}", account_id=ada.account_id, role="viewer", created_at=clock.now())
            for n in numbers
        ]
        sqlite_store.commit([creation_of_place(each) for each in places])

    crowd(range(MEMBERS_MAX - 2))
    assert ada.write("POST", "/v1/invites", {"email": BOB}).status_code == 201
    crowd(range(MEMBERS_MAX - 2, MEMBERS_MAX - 1))

    late = client.post("/v1/invites/sign-up", json={"token": mailbox.token(BOB), "password": PASSWORD})

    assert late.status_code == 409
    assert ada.write("POST", "/v1/invites", {"email": "more@example.com"}).status_code == 409


def test_the_store_never_sees_an_invites_token(
    ada: Person, mailbox: Mailbox, sqlite_store: DocumentStore
) -> None:
    answer = ada.write("POST", "/v1/invites", {"email": BOB})

    assert mailbox.token(BOB) not in answer.text
    assert mailbox.token(BOB) not in repr(sqlite_store.query(Query(collection="invites")))


# Roles


@pytest.mark.parametrize(
    ("giver", "role", "status"),
    [
        ("owner", "owner", 201),
        ("admin", "admin", 201),
        ("admin", "owner", 403),
        ("member", "viewer", 403),
        ("billing", "viewer", 403),
        ("viewer", "viewer", 403),
    ],
)
def test_nobody_invites_above_their_own_role(
    ada: Person, join: Join, giver: str, role: str, status: int
) -> None:
    bob = join(ada, giver)

    assert bob.write("POST", "/v1/invites", {"email": "new@example.com", "role": role}).status_code == status


def test_an_admin_changes_everybody_but_owners(ada: Person, join: Join) -> None:
    bob, carol = join(ada, "admin"), join(ada, "member", "carol@example.com")

    assert give(bob, carol, "billing").get_json()["role"] == "billing"
    assert code(give(bob, carol, "owner")) == (403, "forbidden")
    assert code(give(bob, ada, "viewer")) == (403, "forbidden")
    assert code(remove(bob, ada)) == (403, "forbidden")
    assert remove(bob, carol).status_code == 204
    assert give(bob, bob, "viewer").status_code == 200  # whoever may, may also step back
    assert code(give(bob, bob, "admin")) == (403, "role_missing")


def test_a_session_of_before_stays_void_when_its_person_is_invited_back(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, join: Join, mailbox: Mailbox
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    bob = join(ada, "admin", on=there)
    before = session_cookie(bob.client)
    assert remove(ada, bob).status_code == 204
    assert bob.get("/v1/account").status_code == 401
    ada.write("POST", "/v1/invites", {"email": BOB, "role": "viewer"})
    csrf_token = log_in(bob.client, BOB).get_json()["csrf_token"]
    back = Person(bob.client, csrf_token, ada.account_id, BOB)
    joined = back.write("POST", "/v1/invites/accept", {"token": mailbox.token(BOB)})

    stale = there.test_client()
    stale.set_cookie("modeltrack_session", before)

    assert joined.get_json()["account"]["id"] == ada.account_id
    assert bob.get("/v1/account").status_code == 200
    assert stale.get("/v1/account").status_code == 401
    assert stale.get("/v1/session").status_code == 401
    assert len(bob.get("/v1/person/sessions").get_json()["data"]) == 1


def test_a_role_that_changes_acts_on_the_other_instance_at_once(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, join: Join
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    bob = join(ada, "admin", on=there)
    assert bob.write("PATCH", "/v1/account", {"name": "Bob was here"}).status_code == 200

    assert give(ada, bob, "viewer").status_code == 200
    refused = bob.write("PATCH", "/v1/account", {"name": "again"})

    assert code(refused) == (403, "role_missing")
    assert bob.get("/v1/account").status_code == 200
    assert remove(ada, bob).status_code == 204
    assert bob.get("/v1/account").status_code == 401


def test_suspension_acts_on_the_other_instance_at_once(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, clock: ManualClock
) -> None:
    here, there = make_app(store), make_app(store)
    ada = sign_up(on=here)
    other = there.test_client()
    log_in(other)
    assert other.get("/v1/account").status_code == 200

    here.extensions["modeltrack"].directory.set_status(ada.account_id, "suspended")

    assert code(other.get("/v1/account")) == (403, "account_suspended")


def test_a_member_of_another_account_is_nobody_here(ada: Person, sign_up: SignUp) -> None:
    bob = sign_up(BOB)

    for refused in (give(ada, bob, "viewer"), give(ada, "person_none", "viewer")):
        assert code(refused) == (404, "not_found")
    for refused in (remove(ada, bob), remove(ada, "person_none")):
        assert code(refused) == (404, "not_found")
    assert bob.get("/v1/account").status_code == 200


@pytest.mark.parametrize(
    ("role", "makes"),
    [
        ("owner", set(SCOPES)),
        ("admin", set(SCOPES)),
        ("member", {"proxy", "read", "ingest", "stats"}),
        ("billing", set()),
        ("viewer", set()),
    ],
)
def test_nobody_makes_a_key_that_may_do_more_than_oneself(
    ada: Person, join: Join, role: str, makes: set[str]
) -> None:
    bob = ada if role == "owner" else join(ada, role)

    made = {
        scope for scope in SCOPES if bob.write("POST", "/v1/keys", {"scopes": [scope]}).status_code == 201
    }

    assert made == makes


def test_a_member_does_not_touch_keys_that_may_do_more(ada: Person, join: Join, directory: Directory) -> None:
    made = ada.write("POST", "/v1/keys", {"scopes": ["write"]}).get_json()
    bob = join(ada, "member")

    assert code(bob.write("DELETE", f"/v1/keys/{made['id']}")) == (403, "forbidden")
    assert code(bob.write("POST", f"/v1/keys/{made['id']}/rotate")) == (403, "forbidden")


ALLOWED: list[tuple[str, str, object, set[Role]]] = [
    ("GET", "/v1/account", None, set(ROLES)),
    ("GET", "/v1/members", None, set(ROLES)),
    ("GET", "/v1/person", None, set(ROLES)),
    ("GET", "/v1/invites", None, {"owner", "admin"}),
    ("PATCH", "/v1/account", {"name": "New"}, {"owner", "admin"}),
    ("POST", "/v1/budgets", {"limit_usd": 5}, {"owner", "admin", "member"}),
    ("POST", "/v1/keys", {}, {"owner", "admin", "member"}),
    ("POST", "/v1/invites", {"email": "x@example.com", "role": "viewer"}, {"owner", "admin"}),
]


PEOPLES_OWN = [
    ("GET", "/v1/invites"),
    ("POST", "/v1/invites"),
    ("DELETE", "/v1/members/x"),
    ("GET", "/v1/person"),
    ("POST", "/v1/account/leave"),
    ("POST", "/v1/logout"),
]


@pytest.mark.parametrize("role", ROLES)
def test_each_role_does_what_the_table_says_and_no_more(ada: Person, join: Join, role: Role) -> None:
    somebody = ada if role == "owner" else join(ada, role)

    for method, path, body, roles in ALLOWED:
        answer = somebody.write(method, path, body)
        assert (answer.status_code < 300) == (role in roles), (role, method, path, answer.text)
        if role not in roles:
            assert code(answer) == (403, "role_missing")


def test_no_key_manages_people(ada: Person, bearer: Callable[..., dict[str, str]]) -> None:
    header = bearer(ada.account_id, *SCOPES)

    for method, path in PEOPLES_OWN:
        assert code(ada.client.open(path, method=method, headers=header)) == (403, "session_required")


# The last owner


def test_the_last_owner_stays(ada: Person, join: Join) -> None:
    join(ada, "admin")

    assert code(give(ada, ada, "admin")) == (409, "conflict")
    assert code(remove(ada, ada)) == (409, "conflict")
    assert code(ada.write("POST", "/v1/account/leave")) == (409, "conflict")
    assert ada.get("/v1/session").get_json()["role"] == "owner"


def test_an_owner_goes_when_another_stays(ada: Person, join: Join) -> None:
    bob = join(ada, "owner")

    assert give(bob, ada, "viewer").status_code == 200
    assert bob.write("POST", "/v1/account/leave").status_code == 409
    assert give(bob, ada, "owner").status_code == 200
    assert bob.write("POST", "/v1/account/leave").status_code == 204
    assert bob.get("/v1/account").status_code == 401


@pytest.mark.parametrize("how", ["leave", "demote"])
def test_of_owners_who_all_go_at_once_one_stays(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, join: Join, how: str
) -> None:
    apps = [make_app(store), make_app(store)]
    ada = sign_up(on=apps[0])
    owners = [ada, *(join(ada, "owner", f"p{n}@example.com", on=apps[n % 2]) for n in range(3))]
    ids = [id_of(each) for each in owners]

    def go(number: int) -> int:
        own, other = owners[number], ids[(number + 1) % len(ids)]
        if how == "leave":
            return int(own.write("POST", "/v1/account/leave").status_code)
        return int(give(own, other, "viewer").status_code)

    with ThreadPoolExecutor(len(owners)) as pool:
        list(pool.map(go, range(len(owners))))

    places = store.query(Query(collection="memberships", equal={"account_id": ada.account_id}))
    assert sum(each.fields["role"] == "owner" for each in places) >= 1


@pytest.mark.parametrize("how", ["leave", "step back"])
def test_of_two_owners_who_go_by_what_was_true_a_moment_ago_the_second_is_refused(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, join: Join, how: str
) -> None:
    """The one goes between the other's reading and writing, whatever threads do."""
    app = make_app(store)
    ada = sign_up(on=app)
    bob = join(ada, "owner", on=app)
    members, bobs_id, adas_id = app.extensions["modeltrack"].members, id_of(bob), id_of(ada)
    read = members._other_owner_stays
    once = [lambda: bob.write("POST", "/v1/account/leave")]

    def read_and_be_overtaken(leaving: Membership) -> object:
        found = read(leaving)
        if once and leaving.person_id != bobs_id:
            assert once.pop()().status_code == 204
        return found

    members.__dict__["_other_owner_stays"] = read_and_be_overtaken

    answer = ada.write("POST", "/v1/account/leave") if how == "leave" else give(ada, adas_id, "viewer")

    assert answer.status_code == 409
    assert once == []
    assert [each["role"] for each in ada.get("/v1/members").get_json()["data"]] == ["owner"]


# Who has no account any more


@pytest.mark.parametrize("fall", ["removed", "demoted"])
def test_nobody_changes_members_by_a_role_that_they_had_when_their_request_came(
    ada: Person, join: Join, sqlite_store: DocumentStore, fall: str
) -> None:
    bob, carol = join(ada, "owner"), join(ada, "owner", "carol@example.com")
    members = Members(sqlite_store)
    before = next(each.place for each in members.of(ada.account_id) if each.place.person_id == id_of(bob))
    carols_id = id_of(carol)
    assert (remove(ada, bob) if fall == "removed" else give(ada, bob, "viewer")).status_code in {200, 204}

    with pytest.raises(Forbidden):
        members.change_role(ada.account_id, carols_id, "viewer", by=before)
    with pytest.raises(Forbidden):
        members.remove(ada.account_id, carols_id, by=before)


def test_who_was_removed_from_their_only_account_logs_in_to_a_new_one_of_their_own(
    ada: Person, join: Join, app: Flask
) -> None:
    bob = join(ada, "member")
    remove(ada, bob)

    body = log_in(app.test_client(), BOB).get_json()

    assert body["account"]["id"] != ada.account_id
    assert (body["account"]["name"], body["role"]) == ("Account of bob", "owner")
    assert log_in(app.test_client(), BOB).get_json()["account"] == body["account"]


def test_two_log_ins_of_somebody_without_an_account_make_one(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, join: Join
) -> None:
    apps = [make_app(store), make_app(store)]
    ada = sign_up(on=apps[0])
    remove(ada, join(ada, "member", on=apps[0]))

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda n: log_in(apps[n].test_client(), BOB).get_json(), range(2)))

    assert len({each["account"]["id"] for each in found}) == 1


@pytest.mark.parametrize("fall", ["removed", "demoted"])
def test_an_invite_is_worth_no_more_than_what_its_maker_may_give_still(
    ada: Person, join: Join, mailbox: Mailbox, client: FlaskClient, fall: str
) -> None:
    bob = join(ada, "admin")
    bob.write("POST", "/v1/invites", {"email": "bobs.other@example.com", "role": "admin"})
    token = mailbox.token("bobs.other@example.com")
    fallen = remove(ada, bob) if fall == "removed" else give(ada, bob, "member")
    assert fallen.status_code in {200, 204}

    for route in ("look-up", "sign-up"):
        sent = {"token": token} | ({"password": PASSWORD} if route == "sign-up" else {})
        refused = client.post(f"/v1/invites/{route}", json=sent)
        assert code(refused) == (400, "token_invalid")


def test_an_invite_to_an_account_that_is_being_erased_is_void(
    ada: Person, mailbox: Mailbox, client: FlaskClient, sqlite_store: DocumentStore
) -> None:
    ada.write("POST", "/v1/invites", {"email": BOB, "role": "member"})
    assert ada.write("DELETE", f"/v1/account?confirm={ada.account_id}").status_code == 202

    sent = {"token": mailbox.token(BOB), "password": PASSWORD}
    refused = client.post("/v1/invites/sign-up", json=sent)

    assert code(refused) == (400, "token_invalid")
    assert len(sqlite_store.query(Query(collection="memberships", equal={"account_id": ada.account_id}))) == 1


def test_an_invite_to_an_account_that_is_gone_is_void(
    ada: Person, sqlite_store: DocumentStore, client: FlaskClient, mailbox: Mailbox
) -> None:
    ada.write("POST", "/v1/invites", {"email": BOB})
    plain = mailbox.token(BOB)
    sqlite_store.commit([Delete(account_path(ada.account_id))])

    assert client.post("/v1/invites/look-up", json={"token": plain}).status_code == 400


# Whoever loses a right while their request is under way

IN_FLIGHT: dict[str, Callable[[Person, str], Any]] = {
    "changes a role": lambda bob, carol: give(bob, carol, "viewer"),
    "removes a member": remove,
    "invites": lambda bob, _: bob.write("POST", "/v1/invites", {"email": "eve@example.com"}),
    "makes a key": lambda bob, _: bob.write("POST", "/v1/keys", {"scopes": ["read", "write"]}),
    "erases": lambda bob, _: bob.write("DELETE", f"/v1/account?confirm={bob.account_id}"),
}


@pytest.mark.parametrize("what", IN_FLIGHT)
def test_a_right_that_is_lost_between_its_reading_and_the_commit_counts_no_more(
    make_app: MakeApp, store: DocumentStore, sign_up: SignUp, join: Join, what: str
) -> None:
    meddled = Meddled(store)
    ada = sign_up(on=make_app(store))
    carol = id_of(join(ada, "member", "carol@example.com", on=make_app(store)))
    bob = join(ada, "owner", on=make_app(meddled))
    place = membership_path(id_of(bob), ada.account_id)
    meddled.before_commit_that_names = place
    meddled.meddle = lambda: store.commit([Update(place, {"role": "viewer"})])

    refused = IN_FLIGHT[what](bob, carol)

    assert meddled.has_meddled
    assert refused.status_code == 403, refused.text
    assert {each["role"] for each in ada.get("/v1/members").get_json()["data"]} == {
        "owner",
        "member",
        "viewer",
    }
    assert ada.get("/v1/invites").get_json()["data"] == []
    assert ada.get("/v1/keys").get_json()["data"] == []


def test_a_member_is_logged_out_of_the_account_on_every_instance_and_stays_a_member(
    ada: Person, app: Flask, join: Join, make_app: MakeApp, sqlite_store: DocumentStore
) -> None:
    bob = join(ada, "member", on=make_app(sqlite_store))

    assert logged_out(ada, bob).status_code == 204

    assert bob.get("/v1/account").status_code == 401
    assert bob.get("/v1/person").status_code == 401
    again = log_in(app.test_client(), BOB)
    assert (again.status_code, again.get_json()["account"]["id"]) == (200, ada.account_id)
    assert again.get_json()["role"] == "member"
    assert ada.get("/v1/account").status_code == 200


def test_their_sessions_in_other_accounts_are_their_own(
    ada: Person, app: Flask, join: Join, sign_up: SignUp, mailbox: Mailbox
) -> None:
    bob = sign_up(BOB)
    ada.write("POST", "/v1/invites", {"email": BOB, "role": "member"})
    client = app.test_client()
    told = log_in(client, BOB).get_json()
    in_adas = Person(client, told["csrf_token"], ada.account_id, BOB)
    joined = in_adas.write("POST", "/v1/invites/accept", {"token": mailbox.token(BOB)})
    assert joined.get_json()["account"]["id"] == ada.account_id

    assert logged_out(ada, id_of(bob)).status_code == 204

    assert in_adas.get("/v1/account").status_code == 401
    assert bob.get("/v1/account").get_json()["id"] == bob.account_id


@pytest.mark.parametrize(
    ("by", "whom", "status"),
    [("owner", "owner", 204), ("admin", "member", 204), ("admin", "owner", 403), ("member", "viewer", 403)],
)
def test_who_logs_out_whom(ada: Person, join: Join, by: str, whom: str, status: int) -> None:
    makers = join(ada, by, "by@example.com")
    others = join(ada, whom, "whom@example.com")

    assert logged_out(makers, id_of(others)).status_code == status
    assert (others.get("/v1/account").status_code == 401) is (status == 204)
