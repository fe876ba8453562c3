"""Telling accounts of things by webhook, Slack and mail: real receivers, that fail and recover."""

import base64
import dataclasses
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api_service.functions import deliver
from api_service.functions.deliver import RETRIES
from api_service.logs import ApiLog
from api_service.mail import MailServer, ServedMail
from api_service.notices import Notice
from metering.collections import membership_path
from metering.settings import SettingsRefused
from metering.stores import Delete, DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.mail_server import RunningMailServer
from tests.doubles.mailbox import Mailbox
from tests.doubles.receiver import Receiver, running_receiver
from tests.services.api.logbook import Logbook
from tests.services.api.telling import Machine, machine, workplace

__all__ = ["machine"]

HOUR = 3600.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def tell(machine: Machine) -> Callable[..., None]:
    """Tells Ada's account of something."""

    def tell_account(**changes: Any) -> None:
        notice = {
            "kind": "alert.budget",
            "title": "80% is spent",
            "text": "It is <so>.",
            "level": "warning",
            "subject_id": "budget_1",
            "data": {"percent": 80},
        }
        machine.place.notices.tell(Notice(account_id=machine.ada.account_id, **(notice | changes)))

    return tell_account


def expected_signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def test_a_webhook_is_called_once_with_a_signed_body(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    secret = machine.made("/v1/webhooks", url=f"{receiver.url}/hook")["secret"]
    tell()

    reports = [machine.deliver(), machine.deliver()]

    assert [each.delivered for each in reports] == [1, 0]
    (got,) = receiver.got
    sent = json.loads(got.body)
    assert (got.path, sent["type"], sent["timestamp"]) == ("/hook", "alert.budget", "2026-11-21T09:30:00Z")
    assert sent["data"]["percent"] == 80
    assert sent["data"]["account_id"] == machine.ada.account_id
    headers = got.headers
    assert headers["webhook-timestamp"] == str(int(machine.clock.now().timestamp()))
    assert headers["webhook-signature"] == expected_signature(
        secret, headers["webhook-id"], headers["webhook-timestamp"], got.body
    )


def test_a_changed_secret_and_the_former_one_sign_for_a_day_then_the_new_one_alone(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    made = machine.made("/v1/webhooks", url=receiver.url)
    new = machine.made(f"/v1/webhooks/{made['id']}/rotate-secret")["secret"]

    for pause in (0.0, 24 * HOUR - 1, 1.0):
        machine.clock.advance(pause)
        tell()
        machine.deliver()

    signers = []
    for got in receiver.got:
        parts = (got.headers["webhook-id"], got.headers["webhook-timestamp"], got.body)
        known = {expected_signature(made["secret"], *parts): "old", expected_signature(new, *parts): "new"}
        signers.append([known[each] for each in got.headers["webhook-signature"].split(" ")])
    assert signers == [["new", "old"], ["new", "old"], ["new"]]


@pytest.mark.battery("F6")
def test_what_fails_is_tried_again_as_scheduled_by_the_same_id_until_it_is_taken(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    machine.made("/v1/webhooks", url=receiver.url)
    tell()
    receiver.statuses = [500, 503, 307]

    assert machine.deliver().failed == 1
    for retry in RETRIES[:3]:
        machine.clock.advance(retry.total_seconds() - 1)
        assert machine.deliver() == deliver.DeliveryReport()
        machine.clock.advance(1)
        machine.deliver()

    assert len(receiver.got) == 4
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    assert len({got.headers["webhook-signature"] for got in receiver.got}) == 4
    (delivery,) = machine.listed("/v1/deliveries")
    assert (delivery["state"], delivery["attempts"], delivery["outcome"]) == ("delivered", 4, "200")


@pytest.mark.battery("F6")
def test_after_the_last_attempt_it_is_given_up_and_can_be_replayed(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    machine.made("/v1/webhooks", url=receiver.url)
    tell()
    receiver.status = 500
    machine.deliver()
    for retry in RETRIES:
        machine.clock.advance(retry.total_seconds())
        last = machine.deliver()

    (failed,) = machine.listed("/v1/deliveries")
    assert (last.given_up, failed["state"], failed["attempts"]) == (1, "failed", 1 + len(RETRIES))
    assert failed["next_attempt_at"] is None

    receiver.status = 200
    replayed = machine.made(f"/v1/deliveries/{failed['id']}/replay")
    again = machine.write("POST", f"/v1/deliveries/{failed['id']}/replay")
    assert (replayed["state"], again.status_code) == ("pending", 409)
    assert machine.deliver().delivered == 1
    assert receiver.got[-1].headers["webhook-id"] == failed["id"]


@pytest.mark.battery("F6")
def test_a_webhook_that_fails_for_half_a_day_is_switched_off_and_others_are_told(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    made = machine.made("/v1/webhooks", url=receiver.url, name="pager")
    machine.made("/v1/channels", kind="email", email="ada@example.com", kinds=["channel.off"])
    receiver.status = 500
    for _ in range(11):
        tell()
        machine.deliver()
        machine.clock.advance(2 * HOUR)

    found = machine.get(f"/v1/webhooks/{made['id']}").get_json()
    assert (found["enabled"], found["off_reason"]) == (False, "it failed again and again")
    assert found["failures"] >= 10
    machine.deliver()
    (letter,) = [each for each in machine.mailbox.to("ada@example.com") if "switched off" in each.subject]
    assert "pager" in letter.text

    got = len(receiver.got)
    tell()
    machine.deliver()
    assert len(receiver.got) == got

    machine.write("PATCH", f"/v1/webhooks/{made['id']}", {"enabled": True})
    receiver.status = 200
    tell()
    machine.deliver()
    found = machine.get(f"/v1/webhooks/{made['id']}").get_json()
    assert (len(receiver.got), found["enabled"], found["failures"]) == (got + 1, True, 0)
    assert found["off_reason"] is None


def test_many_failures_in_a_short_outage_switch_nothing_off(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    made = machine.made("/v1/webhooks", url=receiver.url)
    receiver.status = 500
    for _ in range(12):
        tell()
        machine.deliver()
        machine.clock.advance(61)

    found = machine.get(f"/v1/webhooks/{made['id']}").get_json()
    assert found["failures"] > 10
    assert found["enabled"]


def test_a_webhook_that_says_it_is_gone_is_switched_off_at_once(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    made = machine.made("/v1/webhooks", url=receiver.url)
    receiver.status = 410
    tell()

    machine.deliver()

    found = machine.get(f"/v1/webhooks/{made['id']}").get_json()
    assert (found["enabled"], found["off_reason"]) == (False, "it says that it is gone")


def test_slack_is_sent_its_own_form_with_foreign_words_made_harmless(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    url = f"{receiver.url}/services/T000/B000/canary"
    made = machine.made("/v1/channels", kind="slack", slack_webhook_url=url)
    tell(text="The budget <!channel> & co")

    machine.deliver()

    (got,) = receiver.got
    sent = json.loads(got.body)
    assert got.path == "/services/T000/B000/canary"
    assert sent["text"] == "80% is spent"
    assert sent["blocks"][1]["text"]["text"].startswith(
        "The budget &lt;!channel&gt; &amp; co\n`████████░░` 80%"
    )
    assert made["slack_webhook_hint"] == "nary"
    assert "canary" not in json.dumps(machine.listed("/v1/channels"))


def test_slacks_address_is_kept_sealed(
    machine: Machine, receiver: Receiver, sqlite_store: DocumentStore
) -> None:
    machine.made("/v1/channels", kind="slack", slack_webhook_url=f"{receiver.url}/services/canary-canary")
    secret = machine.made("/v1/webhooks", url=receiver.url)["secret"]

    document = sqlite_store.get(f"accounts/{machine.ada.account_id}/channels/current")
    assert document is not None
    kept = repr(document.fields)
    assert "canary-canary" not in kept
    assert secret not in kept
    assert base64.b64decode(secret.removeprefix("whsec_")) not in document.fields["channels"][1].values()


def test_mail_goes_to_a_member_as_long_as_they_are_one(
    machine: Machine, tell: Callable[..., None], sqlite_store: DocumentStore
) -> None:
    machine.made("/v1/channels", kind="email", email="ada@example.com")
    tell()
    machine.deliver()
    (letter,) = [each for each in machine.mailbox.to("ada@example.com") if each.subject == "80% is spent"]
    assert letter.text.startswith("It is <so>.")

    channels = machine.place.store.get(f"accounts/{machine.ada.account_id}/channels/current")
    assert channels is not None
    person_id = channels.fields["channels"][0]["person_id"]
    sqlite_store.commit([Delete(membership_path(person_id, machine.ada.account_id))])
    tell(title="secret")
    machine.deliver()

    assert not [each for each in machine.mailbox.letters if each.subject == "secret"]


def test_a_notice_reaches_its_member_by_a_real_mail_server(
    machine: Machine, tell: Callable[..., None]
) -> None:
    machine.made("/v1/channels", kind="email", email="ada@example.com")
    server = RunningMailServer()
    server.start()
    try:
        mail = ServedMail(
            MailServer(host="localhost", port=server.port, security="none", sender="modeltrack@example.com"),
            machine.clock,
        )
        machine.place = dataclasses.replace(machine.place, mail=mail)
        tell(title="80% is\r\nBcc: eve@example.com")

        assert machine.deliver().delivered == 1
    finally:
        server.stop()

    (message,) = server.taken.messages
    assert (message["To"], message["Bcc"]) == ("ada@example.com", None)
    assert message["Subject"] == "80% is Bcc: eve@example.com"
    assert "It is <so>." in str(message.get_payload())


def test_mail_that_is_not_taken_is_tried_again(machine: Machine, tell: Callable[..., None]) -> None:
    machine.made("/v1/channels", kind="email", email="ada@example.com")
    tell()
    machine.mailbox.is_down = True
    machine.deliver()
    (delivery,) = machine.listed("/v1/deliveries")
    assert (delivery["state"], delivery["outcome"]) == ("failed", "mail_refused")  # for good, it says

    machine.mailbox.is_down = False
    machine.made(f"/v1/deliveries/{delivery['id']}/replay")
    assert machine.deliver().delivered == 1


def test_a_channel_is_told_of_what_it_takes_and_of_nothing_else(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    machine.made("/v1/webhooks", url=f"{receiver.url}/a", kinds=["alert.anomaly"])
    machine.made("/v1/webhooks", url=f"{receiver.url}/b", least_level="critical")
    for kind, level in (("alert.anomaly", "info"), ("alert.budget", "warning"), ("alert.budget", "critical")):
        tell(kind=kind, level=level)

    machine.deliver()

    assert sorted(got.path for got in receiver.got) == ["/a", "/b"]


def test_without_a_channel_it_is_logged_and_shown(
    machine: Machine, tell: Callable[..., None], sqlite_store: DocumentStore, tmp_path: Path
) -> None:
    logbook = Logbook()
    machine.place = workplace(
        sqlite_store, machine.clock, machine.mailbox, tmp_path, log=ApiLog(machine.clock, "info", logbook)
    )
    tell()

    assert machine.deliver().logged == 1
    (line,) = logbook.lines()
    assert (line["event"], line["kind"], line["words"]) == (
        "notice",
        "alert.budget",
        "80% is spent\nIt is <so>.",
    )
    (notice,) = machine.listed("/v1/notices")
    assert (notice["title"], notice["data"]) == ("80% is spent", {"percent": 80})


def test_the_operators_slack_takes_what_no_slack_channel_of_the_account_takes(
    machine: Machine,
    receiver: Receiver,
    sqlite_store: DocumentStore,
    tmp_path: Path,
    tell: Callable[..., None],
) -> None:
    machine.place = workplace(
        sqlite_store, machine.clock, machine.mailbox, tmp_path, slack_webhook_url=f"{receiver.url}/operator"
    )
    tell()
    machine.deliver()
    machine.made("/v1/channels", kind="slack", slack_webhook_url=f"{receiver.url}/own")
    tell()
    machine.deliver()

    assert [got.path for got in receiver.got] == ["/operator", "/own"]


def test_what_is_told_once_is_told_once(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    machine.made("/v1/webhooks", url=receiver.url)

    for _ in range(3):
        tell(once="2026-11")
    tell(once="2026-12")
    machine.deliver()

    assert len(receiver.got) == 2


def test_two_runs_at_the_same_moment_send_each_message_once(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    machine.made("/v1/webhooks", url=receiver.url)
    for _ in range(10):
        tell()
    machine.clock.advance(1)

    with ThreadPoolExecutor(4) as threads:
        reports = [task.result() for task in [threads.submit(deliver.run, machine.place) for _ in range(4)]]

    assert sum(each.delivered for each in reports) == 10
    assert len({got.headers["webhook-id"] for got in receiver.got}) == len(receiver.got) == 10


def test_whoever_dies_while_sending_leaves_it_to_be_sent_again(
    machine: Machine, receiver: Receiver, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.made("/v1/webhooks", url=receiver.url)
    tell()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deliver._Queue, "_sent", die)  # where a process may be killed
        with pytest.raises(KeyboardInterrupt):
            machine.deliver()
    assert machine.deliver() == deliver.DeliveryReport()
    machine.clock.advance(deliver.CLAIM.total_seconds())

    assert machine.deliver().delivered == 1


@pytest.mark.battery("F6")
def test_a_channel_that_fails_is_asked_once_a_run_and_others_are_not_kept_waiting(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    machine.made("/v1/webhooks", url=f"{receiver.url}/good")
    with running_receiver() as broken:
        broken.status = 500
        machine.made("/v1/webhooks", url=broken.url)
        for _ in range(5):
            tell()

        report = machine.deliver()

        assert (report.delivered, report.failed, len(broken.got)) == (5, 1, 1)


def test_what_cannot_be_opened_any_more_holds_up_nobody_else_and_is_told_to_the_operator(
    machine: Machine,
    receiver: Receiver,
    tell: Callable[..., None],
    sqlite_store: DocumentStore,
    tmp_path: Path,
) -> None:
    machine.made("/v1/webhooks", url=receiver.url)
    machine.made("/v1/channels", kind="email", email="ada@example.com")
    tell()
    logbook = Logbook()
    machine.place = workplace(
        sqlite_store,
        machine.clock,
        machine.mailbox,
        tmp_path,
        modeltrack_secret=secrets.token_hex(32),
        log=ApiLog(machine.clock, "info", logbook),
    )

    report = machine.deliver()

    assert (report.broken, report.delivered, len(receiver.got)) == (1, 1, 0)
    assert [line["kind"] for line in logbook.lines()] == ["Unsealable"]
    waiting = [each for each in machine.listed("/v1/deliveries") if each["channel_kind"] == "webhook"]
    assert (waiting[0]["state"], waiting[0]["outcome"]) == ("pending", "internal")


def test_a_channel_that_is_deleted_gets_nothing_more(
    machine: Machine, receiver: Receiver, tell: Callable[..., None]
) -> None:
    made = machine.made("/v1/webhooks", url=receiver.url)
    tell()
    assert machine.write("DELETE", f"/v1/webhooks/{made['id']}").status_code == 204

    machine.deliver()

    assert not receiver.got
    (delivery,) = machine.listed("/v1/deliveries")
    assert (delivery["state"], delivery["outcome"]) == ("failed", "channel_deleted")


def test_a_hosted_function_without_the_secret_says_so(
    sqlite_store: DocumentStore, clock: ManualClock, mailbox: Mailbox, tmp_path: Path
) -> None:
    logbook = Logbook()
    place = workplace(
        sqlite_store, clock, mailbox, tmp_path,
        modeltrack_hosted=True, store_url="firestore://demo-x", modeltrack_secret="", outbound_networks="",
        log=ApiLog(clock, "info", logbook),
    )  # fmt: skip
    place.notices.tell(Notice(account_id="acct_1", kind="test", title="x", text="x"))
    clock.advance(1)

    with pytest.raises(SettingsRefused):
        deliver.run(place)
    assert "MODELTRACK_SECRET" in logbook.lines()[0]["event"]


def test_the_schedule_is_the_one_that_is_documented() -> None:
    seconds, minute, hour = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1))
    assert list(RETRIES) == [
        5 * seconds, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 10 * hour
    ]  # fmt: skip
