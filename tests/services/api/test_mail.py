"""Mail by a real mail server, printed without one, and the box where it waits."""

import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
import trustme

from api_service.errors import Refused
from api_service.letters import Letter, confirmation, invitation
from api_service.logs import ApiLog
from api_service.mail import (
    SUBJECT_CHARACTERS_MAX,
    WAITING_MAX,
    DeliveryFailed,
    Mail,
    MailServer,
    NoMail,
    Postbox,
    PrintedMail,
    Security,
    ServedMail,
    mail_of,
)
from api_service.settings import ApiSettings
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.mail_server import RunningMailServer
from tests.doubles.mailbox import Mailbox
from tests.services.api.logbook import Logbook

FROM = "modeltrack@example.com"
ADA = "ada@example.com"

MakeServer = Callable[..., RunningMailServer]


@pytest.fixture
def running() -> Iterator[MakeServer]:
    """Starts mail servers that stop with the test."""
    started: list[RunningMailServer] = []

    def run(**options: Any) -> RunningMailServer:
        server = RunningMailServer(**options)
        server.start()
        started.append(server)
        return server

    yield run
    for server in started:
        server.stop()


def mail_by(port: int, clock: ManualClock, security: Security = "none", **options: str) -> Mail:
    server = MailServer(host="localhost", port=port, security=security, sender=FROM, **options)
    return ServedMail(server, clock)


def test_a_mail_arrives_as_it_was_written(running: MakeServer, clock: ManualClock) -> None:
    server = running()

    mail_by(server.port, clock).send(ADA, "Grüße, Ada", "Zeile 1\n.\n\nünïcödé → https://x/#token=abc\n")

    (message,) = server.taken.messages
    assert message["X-RcptTo"] == ADA
    assert message["From"] == FROM
    assert message["Date"] == "Sat, 21 Nov 2026 09:30:00 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    text = message.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().splitlines() == ["Zeile 1", ".", "", "ünïcödé → https://x/#token=abc"]


def test_a_subject_is_one_line_whatever_it_holds(running: MakeServer, clock: ManualClock) -> None:
    server = running()

    mail_by(server.port, clock).send(ADA, "Join\r\nBcc: eve@example.com\r\n\r\nhello" + "x" * 500, "text")

    (message,) = server.taken.messages
    assert message["Bcc"] is None
    assert message["X-RcptTo"] == ADA
    subject = str(make_header(decode_header(str(message["Subject"]))))
    assert subject.startswith("Join Bcc: eve@example.com hellox")
    assert len(subject) == SUBJECT_CHARACTERS_MAX


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate of localhost that this machine trusts."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return context


def test_mail_goes_encrypted_to_a_server_that_shows_who_it_is(
    running: MakeServer, clock: ManualClock, certificate: ssl.SSLContext
) -> None:
    server = running(certificate=certificate, password="hunter2")

    mail_by(server.port, clock, "starttls", user="us", password="hunter2").send(ADA, "Hello", "text")

    assert len(server.taken.messages) == 1


def test_nothing_is_told_to_a_server_that_nobody_vouches_for(running: MakeServer, clock: ManualClock) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    server = running(certificate=context)

    with pytest.raises(DeliveryFailed, match="SSLCertVerificationError"):
        mail_by(server.port, clock, "starttls").send(ADA, "Hello", "text")

    assert server.taken.messages == []


def test_a_server_that_offers_no_encryption_gets_nothing(running: MakeServer, clock: ManualClock) -> None:
    server = running()

    with pytest.raises(DeliveryFailed):
        mail_by(server.port, clock, "starttls").send(ADA, "Hello", "text")

    assert server.taken.messages == []


@pytest.mark.parametrize(
    ("answer", "is_final"), [("550 no such mailbox ada@example.com", True), ("451 later", False)]
)
def test_a_refusal_is_told_without_the_address(
    running: MakeServer, clock: ManualClock, answer: str, is_final: bool
) -> None:
    server = running()
    server.taken.refusal = answer

    with pytest.raises(DeliveryFailed) as failed:
        mail_by(server.port, clock).send(ADA, "Hello", "text")

    assert failed.value.is_final == is_final
    assert answer[:3] in str(failed.value)
    assert ADA not in str(failed.value)
    assert failed.value.__context__ is None or failed.value.__suppress_context__


def test_a_wrong_password_is_told_and_not_repeated(
    running: MakeServer, clock: ManualClock, certificate: ssl.SSLContext
) -> None:
    server = running(certificate=certificate, password="hunter2")
    mail = mail_by(server.port, clock, "starttls", user="us", password="canary")

    with pytest.raises(DeliveryFailed) as failed:
        mail.send(ADA, "Hello", "text")

    assert "535" in str(failed.value)
    assert "canary" not in str(failed.value) + repr(MailServer("h", 1, "none", FROM, "us", "canary"))


def test_a_server_that_is_not_there_fails_the_mail_for_now(clock: ManualClock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DeliveryFailed) as failed:
            mail_by(taken.getsockname()[1], clock).send(ADA, "Hello", "text")

    assert not failed.value.is_final


def test_without_a_server_ones_own_machine_prints_mail_at_every_level(
    clock: ManualClock, logbook: Logbook, tmp_path: Path
) -> None:
    mail = mail_of(ApiSettings(data_dir=tmp_path), clock, ApiLog(clock, "error", logbook))

    mail.send(ADA, "Hello", "line 1\nline 2")

    (line,) = logbook.lines()
    assert isinstance(mail, PrintedMail)
    assert (line["event"], line["to"], line["text"]) == ("mail", ADA, "line 1\nline 2")


def test_hosted_without_a_server_no_mail_is_printed(logbook: Logbook) -> None:
    with pytest.raises(DeliveryFailed, match="SMTP_HOST"):
        NoMail().send(ADA, "Hello", "text")

    assert logbook.getvalue() == ""


class Never(Executor):
    """Takes work and does none."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()


def test_the_box_holds_so_much_and_says_when_it_is_full(clock: ManualClock, logbook: Logbook) -> None:
    box = Postbox(Mailbox(), ApiLog(clock, stream=logbook), executor=Never())
    for _ in range(WAITING_MAX):
        box.send(Letter(ADA, "Hello", "text"))

    with pytest.raises(Refused) as refused:
        box.send(Letter(ADA, "Hello", "text"))

    assert refused.value.status == 503


def test_what_was_sent_makes_room(clock: ManualClock, logbook: Logbook) -> None:
    mailbox = Mailbox()
    box = Postbox(mailbox, ApiLog(clock, stream=logbook), executor=AtOnce())

    for _ in range(WAITING_MAX + 1):
        box.later(lambda: None)
        box.send(Letter(ADA, "Hello", "text"))

    assert len(mailbox.letters) == WAITING_MAX + 1


def test_a_mail_that_nobody_takes_is_logged_without_its_words(clock: ManualClock, logbook: Logbook) -> None:
    mailbox = Mailbox()
    mailbox.is_down = True
    letter = confirmation(ADA, "https://api.example.com", "canary")

    Postbox(mailbox, ApiLog(clock, stream=logbook), executor=AtOnce()).send(letter)

    (line,) = logbook.lines()
    assert line["level"] == "error"
    assert "canary" not in logbook.getvalue() + repr(letter)
    assert ADA not in logbook.getvalue()


def test_a_letter_that_cannot_be_written_costs_itself_alone(clock: ManualClock, logbook: Logbook) -> None:
    def write() -> Letter:
        raise RuntimeError("canary")

    Postbox(Mailbox(), ApiLog(clock, stream=logbook), executor=AtOnce()).later(write)

    (line,) = logbook.lines()
    assert (line["event"], line["kind"]) == ("broken", "RuntimeError")
    assert "canary" not in logbook.getvalue()


class Recovering(Mailbox):
    """Takes mail from the given attempt on; closes the box it belongs to, if told to."""

    def __init__(self, works_from: int) -> None:
        super().__init__()
        self.works_from = works_from
        self.attempts = 0
        self.box: Postbox | None = None

    def send(self, to: str, subject: str, text: str) -> None:
        self.attempts += 1
        if self.box is not None:
            self.box.close()
        if self.attempts < self.works_from:
            raise DeliveryFailed("later")
        super().send(to, subject, text)


@pytest.mark.parametrize(("works_from", "arrives"), [(1, True), (2, True), (3, True), (4, False)])
def test_a_mail_is_tried_three_times(
    clock: ManualClock, logbook: Logbook, monkeypatch: pytest.MonkeyPatch, works_from: int, arrives: bool
) -> None:
    monkeypatch.setattr("api_service.mail.PAUSES_SECONDS", (0, 0))
    mailbox = Recovering(works_from)

    Postbox(mailbox, ApiLog(clock, stream=logbook), executor=AtOnce()).send(Letter(ADA, "Hello", "text"))

    assert bool(mailbox.letters) == arrives
    assert mailbox.attempts == min(works_from, 3)


def test_a_box_that_closes_tries_nothing_again(clock: ManualClock, logbook: Logbook) -> None:
    mailbox = Recovering(works_from=2)
    mailbox.box = Postbox(mailbox, ApiLog(clock, stream=logbook), executor=AtOnce())

    mailbox.box.send(Letter(ADA, "Hello", "text"))

    assert mailbox.attempts == 1


def test_the_words_of_a_letter_stand_apart_from_an_accounts_name() -> None:
    letter = invitation(
        ADA,
        "https://api.example.com",
        "tkn",
        account_name="Bob & Co",
        role="viewer",
        by="",
        by_address="bob@example.com",
    )

    assert "https://api.example.com/accept-invite#token=tkn" in letter.text
    assert "“Bob & Co”" in letter.subject


def test_threads_of_its_own_send_what_waits_even_while_the_box_closes(
    clock: ManualClock, logbook: Logbook
) -> None:
    mailbox = Mailbox()
    box = Postbox(mailbox, ApiLog(clock, stream=logbook))

    for _ in range(20):
        box.send(Letter(ADA, "Hello", "text"))
    box.close()

    assert len(mailbox.letters) == 20


def test_a_box_that_was_never_used_closes_at_once(clock: ManualClock, logbook: Logbook) -> None:
    Postbox(Mailbox(), ApiLog(clock, stream=logbook)).close()

    assert logbook.getvalue() == ""
