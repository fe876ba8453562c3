"""Channels, webhooks, notices and deliveries as resources: made, shown, changed, tested, and whose."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from api_service.addresses import Reach
from api_service.channels import CHANNELS_MAX, Channel, Channels
from api_service.notices import Notice, ToldNotice
from api_service.outbound import Outbound
from api_service.sending import TESTS_AT_ONCE, Sender
from api_service.services import EXTENSION
from metering.collections import membership_path, person_path
from metering.directory import Directory
from metering.stores import Create, DocumentStore, Update
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.doubles.receiver import Receiver, running_receiver
from tests.services.api.conftest import SECRET, Person
from tests.services.api.telling import Machine, machine

__all__ = ["machine"]

SLACK = "https://hooks.slack.com/services/T000/B000/canary"
HOOK = "https://hooks.example.com/modeltrack"
PATHS = ("/v1/channels", "/v1/webhooks")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


def test_a_channel_is_made_shown_changed_and_deleted(machine: Machine) -> None:
    made = machine.made("/v1/channels", kind="slack", name=" #costs ", slack_webhook_url=SLACK)

    path = f"/v1/channels/{made['id']}"
    assert machine.get(path).get_json() == made
    changed = machine.write("PATCH", path, {"least_level": "critical", "kinds": ["alert.budget"]}).get_json()
    assert changed == made | {"least_level": "critical", "kinds": ["alert.budget"]}
    assert machine.listed("/v1/channels") == [changed]
    assert machine.listed("/v1/webhooks") == []
    assert machine.write("DELETE", path).status_code == 204
    assert machine.get(path).status_code == 404


def test_a_webhook_is_made_shown_changed_and_deleted_and_its_secret_shown_once(machine: Machine) -> None:
    made = machine.made("/v1/webhooks", url="HTTPS://Hooks.Example.com/modeltrack")
    secret = made.pop("secret")

    path = f"/v1/webhooks/{made['id']}"
    assert secret.startswith("whsec_")
    assert machine.get(path).get_json() == made
    assert made["url"] == HOOK
    changed = machine.write("PATCH", path, {"url": f"{HOOK}/2", "enabled": False}).get_json()
    assert changed == made | {"url": f"{HOOK}/2", "enabled": False}
    assert machine.listed("/v1/webhooks") == [changed]
    assert machine.listed("/v1/channels") == []
    assert machine.write("DELETE", path).status_code == 204
    assert machine.get(path).status_code == 404


@pytest.mark.battery("A7")
@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/channels", {"kind": "slack"}, ""),
        ("/v1/channels", {"kind": "slack", "slack_webhook_url": SLACK, "email": "ada@example.com"}, ""),
        ("/v1/channels", {"kind": "email", "slack_webhook_url": SLACK}, ""),
        ("/v1/channels", {"kind": "pager", "slack_webhook_url": SLACK}, "kind"),
        ("/v1/channels", {"kind": "email", "email": "nobody"}, "email"),
        ("/v1/channels", {"kind": "email", "email": "stranger@example.com"}, "email"),
        (
            "/v1/channels",
            {"kind": "slack", "slack_webhook_url": "https://192.168.0.1/x"},
            "slack_webhook_url",
        ),
        ("/v1/channels", {"kind": "slack", "slack_webhook_url": SLACK, "kinds": ["canary"]}, "kinds.0"),
        ("/v1/webhooks", {}, "url"),
        ("/v1/webhooks", {"url": "https://169.254.169.254/latest"}, "url"),
        ("/v1/webhooks", {"url": "file:///etc/passwd"}, "url"),
        ("/v1/webhooks", {"url": HOOK, "secret": "mine"}, "secret"),
        ("/v1/webhooks", {"url": HOOK, "least_level": "loud"}, "least_level"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_fields_path(
    machine: Machine, path: str, body: dict[str, Any], param: str
) -> None:
    response = machine.write("POST", path, body)

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param
    assert machine.listed(path) == []


def test_an_account_has_so_many_channels_and_no_more(machine: Machine) -> None:
    for _ in range(CHANNELS_MAX):
        machine.made("/v1/webhooks", url=HOOK)

    assert machine.write("POST", "/v1/webhooks", {"url": HOOK}).status_code == 409
    assert len(machine.listed("/v1/webhooks")) == CHANNELS_MAX


def test_another_accounts_channels_and_deliveries_answer_like_unknown_ones(
    machine: Machine, sign_up: Callable[..., Person], bearer: Callable[..., dict[str, str]]
) -> None:
    webhook = machine.made("/v1/webhooks", url=HOOK)["id"]
    machine.place.notices.tell(Notice(account_id=machine.ada.account_id, kind="test", title="x", text="x"))
    (delivery,) = machine.listed("/v1/deliveries")
    eve = sign_up("eve@example.com", on=machine.app)
    key = bearer(eve.account_id, "read", "write")
    client: FlaskClient = machine.app.test_client()

    for method, path in (
        ("GET", f"/v1/webhooks/{webhook}"),
        ("PATCH", f"/v1/webhooks/{webhook}"),
        ("DELETE", f"/v1/webhooks/{webhook}"),
        ("POST", f"/v1/webhooks/{webhook}/test"),
        ("POST", f"/v1/webhooks/{webhook}/rotate-secret"),
        ("GET", f"/v1/deliveries/{delivery['id']}"),
        ("POST", f"/v1/deliveries/{delivery['id']}/replay"),
    ):
        body: dict[str, str] | None = {} if method in {"PATCH", "POST"} else None
        answers = [
            client.open(each, method=method, json=body, headers=key).get_json()["error"]
            for each in (path, path.replace(webhook[-4:], "0000").replace(delivery["id"][-4:], "0000"))
        ]
        assert answers[0]["code"] == answers[1]["code"] == "not_found", path
        assert answers[0]["message"] == answers[1]["message"]
    for filtered in ("", f"?channel_id={webhook}", "?channel_id=log", "?channel_id=operators_slack"):
        assert client.get(f"/v1/deliveries{filtered}", headers=key).get_json()["data"] == []
    assert client.get("/v1/notices", headers=key).get_json()["data"] == []


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, {"delivered": True, "outcome": "200", "message": ""}),
        (500, {"delivered": False, "outcome": "500", "message": "it answered 500"}),
    ],
)
def test_a_test_is_sent_at_once_and_says_what_came_of_it_but_nothing_of_the_answer(
    machine: Machine, receiver: Receiver, status: int, answer: dict[str, Any]
) -> None:
    made = machine.made("/v1/webhooks", url=receiver.url)
    receiver.status = status

    assert machine.made(f"/v1/webhooks/{made['id']}/test") == answer
    assert b'"type":"test"' in receiver.got[0].body
    assert machine.listed("/v1/deliveries") == []
    assert machine.listed("/v1/webhooks")[0]["failures"] == 0


def test_a_test_by_mail_reaches_the_member(machine: Machine) -> None:
    made = machine.made("/v1/channels", kind="email", email="Ada@example.com")

    assert machine.made(f"/v1/channels/{made['id']}/test")["outcome"] == "mailed"
    assert machine.mailbox.to("ada@example.com")[-1].subject == "A test from ModelTrack"
    assert made["email"] == "ada@example.com"


def test_tests_that_hang_hold_up_a_few_threads_and_no_more(machine: Machine, receiver: Receiver) -> None:
    made = machine.made("/v1/webhooks", url=receiver.url)
    sender = machine.app.extensions[EXTENSION].notice_sender
    for _ in range(TESTS_AT_ONCE):
        assert sender._testing.acquire(blocking=False)

    response = machine.write("POST", f"/v1/webhooks/{made['id']}/test", {})

    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    sender._testing.release()
    assert machine.made(f"/v1/webhooks/{made['id']}/test")["delivered"]


def test_hosted_mail_goes_to_confirmed_addresses_alone(
    sqlite_store: DocumentStore, clock: ManualClock, directory: Directory
) -> None:
    channels = Channels(sqlite_store, clock, lambda: SECRET)
    account = directory.create_account("Ada")
    person = {
        "person_id": "person_1",
        "email": "ada@example.com",
        "password_hash": "",
        "created_at": clock.now(),
    }
    place = {
        "person_id": "person_1",
        "account_id": account.account_id,
        "role": "owner",
        "created_at": clock.now(),
    }
    sqlite_store.commit(
        [
            Create(person_path("person_1"), person),
            Create(membership_path("person_1", account.account_id), place),
        ]
    )
    channel, _ = channels.create(
        account.account_id, Channel(channel_id="", kind="email", person_id="person_1", created_at=clock.now())
    )
    notice = ToldNotice(
        notice_id="notice_1", account_id=account.account_id, kind="test", title="x", text="x", level="info",
        subject_id="", data="{}", created_at=clock.now(),
    )  # fmt: skip
    outbound, mailbox = Outbound(Reach(is_hosted=True)), Mailbox()
    sender = Sender(sqlite_store, clock, channels, outbound, mailbox, writes_to_confirmed_alone=True)

    assert sender.by_channel(channel, notice, "msg_1").outcome == "not_confirmed"
    sqlite_store.commit([Update(person_path("person_1"), {"confirmed_at": clock.now()})])
    assert sender.by_channel(channel, notice, "msg_1").is_delivered
    assert len(mailbox.letters) == 1


def test_a_key_of_one_team_changes_no_channels(
    machine: Machine, bearer: Callable[..., dict[str, str]]
) -> None:
    machine.key = bearer(machine.ada.account_id, "read", "write", team="search")

    for path, body in (
        ("/v1/webhooks", {"url": HOOK}),
        ("/v1/channels", {"kind": "slack", "slack_webhook_url": SLACK}),
    ):
        assert machine.write("POST", path, body).status_code == 403


def test_notices_and_deliveries_are_listed_newest_first_page_by_page(machine: Machine) -> None:
    for number in range(5):
        machine.place.notices.tell(
            Notice(account_id=machine.ada.account_id, kind="test", title=str(number), text="")
        )
        machine.clock.advance(number % 2)  # some at the same moment

    titles, page = [], ""
    for _ in range(3):
        found = machine.get(f"/v1/notices?limit=2{page}").get_json()
        titles += [each["title"] for each in found["data"]]
        page = f"&page={found['next_page']}"
    assert (sorted(titles), found["has_more"], found["next_page"]) == (list("01234"), False, None)
    assert titles[0] == "4"
    assert len(machine.listed("/v1/deliveries?limit=100")) == 5


@pytest.mark.parametrize("page", ["x", "%C3%A9", "A" * 600, "MTIz", "MSAgYQ"])
def test_what_is_no_page_is_refused(machine: Machine, page: str) -> None:
    for path in ("/v1/notices", "/v1/deliveries", "/v1/alerts"):
        response = machine.get(f"{path}?page={page}")

        assert response.status_code == 422
        assert response.get_json()["error"]["param"] == "page"
