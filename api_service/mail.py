"""Mail to people: one plain text at a time, to one address, by the operator's own mail server.

Without a server, a self-hosted machine prints its mail to its log, for whoever runs it to read; a hosted
service says at its start that it needs one, and a function without one fails to deliver.

What is sent may hold a link that lets its reader in, so nothing of it stands in an exception or, where there
is a server, in the log.
"""

import re
import smtplib
import ssl
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP as WIRE_FORMAT
from email.utils import format_datetime
from threading import BoundedSemaphore, Event
from typing import Literal, Protocol

from api_service.afterwards import FewThreads
from api_service.errors import Refused
from api_service.letters import Letter
from api_service.logs import ApiLog
from api_service.settings import SendingSettings
from metering.clock import Clock
from metering.ids import new_id

SERVER_TIMEOUT_SECONDS = 10.0  # of each step: connecting, greeting, every command's answer
SUBJECT_CHARACTERS_MAX = 150
TEXT_CHARACTERS_MAX = 100_000
WAITING_MAX = 200
SENDERS = 2
PAUSES_SECONDS = (2.0, 10.0)  # before the second attempt, before the third
CLOSING_SECONDS_MAX = 3.0

Security = Literal["starttls", "tls", "none"]

_NO_SUBJECT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class DeliveryFailed(Exception):
    """The mail was not taken. `is_final`: nor will it be, however often it is tried."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


class Mail(Protocol):
    """What sends mail. Safe to share between threads."""

    def send(self, to: str, subject: str, text: str) -> None:
        """Hand one plain text to the mail server, which sees to the rest.

        `to` is an address as `people.normalised_email` gives it. Takes a minute at the worst, so that no
        request should wait for it. Raises: DeliveryFailed, which names neither the address nor the text.
        """


@dataclass(frozen=True)
class MailServer:
    """The mail server to hand mail to, and who it is from."""

    host: str
    port: int
    security: Security
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)


class ServedMail:
    """Mail by a mail server, over a connection of its own each: they are few and far between."""

    def __init__(self, server: MailServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    def send(self, to: str, subject: str, text: str) -> None:
        """As `Mail.send`."""
        message = self._message(to, subject, text)
        try:
            with self._connection() as connection:
                connection.send_message(message, self._server.sender, [to])
        except (smtplib.SMTPException, OSError, ValueError) as error:
            # The server's words may repeat what was sent to it, so only its code is kept.
            code = _code_of(error)
            raise DeliveryFailed(
                f"the mail server did not take it ({code or type(error).__name__})",
                is_final=500 <= code < 600,
            ) from None

    def _connection(self) -> smtplib.SMTP:
        server, trusted = self._server, ssl.create_default_context()
        if server.security == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=SERVER_TIMEOUT_SECONDS, context=trusted
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=SERVER_TIMEOUT_SECONDS)
        try:
            if server.security == "starttls":
                connection.starttls(context=trusted)
            if server.user:
                connection.login(server.user, server.password)
        except BaseException:
            connection.close()
            raise
        return connection

    def _message(self, to: str, subject: str, text: str) -> EmailMessage:
        message = EmailMessage(policy=WIRE_FORMAT)
        message["From"] = self._server.sender
        message["To"] = to
        message["Subject"] = subject_line(subject)
        message["Date"] = format_datetime(self._clock.now())
        message["Message-ID"] = f"<{new_id('mail')}@{self._server.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text[:TEXT_CHARACTERS_MAX])
        return message


class PrintedMail:
    """Mail without a server: a line in the log of a machine of one's own, whatever its level."""

    def __init__(self, log: ApiLog) -> None:
        self._log = log

    def send(self, to: str, subject: str, text: str) -> None:
        """As `Mail.send`."""
        self._log.printed_mail(to, subject_line(subject), text[:TEXT_CHARACTERS_MAX])


class NoMail:
    """No mail at all: a hosted process that was told of no server."""

    def send(self, to: str, subject: str, text: str) -> None:
        """As `Mail.send`; always raises DeliveryFailed."""
        raise DeliveryFailed("SMTP_HOST is not set", is_final=True)


def mail_of(settings: SendingSettings, clock: Clock, log: ApiLog) -> Mail:
    """What sends mail in this deployment."""
    if settings.smtp_host:
        server = MailServer(
            host=settings.smtp_host,
            port=settings.smtp_port,
            security=settings.smtp_security,
            sender=settings.mail_from,
            user=settings.smtp_user,
            password=settings.smtp_password.get_secret_value(),
        )
        return ServedMail(server, clock)
    return NoMail() if settings.is_hosted else PrintedMail(log)


def subject_line(text: str) -> str:
    """The text as one line of at most `SUBJECT_CHARACTERS_MAX`: it may hold an account's name."""
    return _NO_SUBJECT.sub(" ", text).strip()[:SUBJECT_CHARACTERS_MAX]


class Postbox:
    """Mail that nobody waits for: written and sent after the answer, in a thread of its own.

    An answer tells nothing that way, not even by its time, of whether there was anybody to write to. What
    waits here when the process is killed is lost; whoever misses a mail asks for it again.
    """

    def __init__(self, mail: Mail, log: ApiLog, *, executor: Executor | None = None) -> None:
        self._mail = mail
        self._log = log
        self._executor = executor or FewThreads("postbox", SENDERS, CLOSING_SECONDS_MAX)
        self._room = BoundedSemaphore(WAITING_MAX)
        self._closing = Event()

    def later(self, write: Callable[[], Letter | None]) -> None:
        """Send what `write` makes, if anything, a moment later. It may read the store and change it.

        Raises: Refused (503) when too many wait already.
        """
        if not self._room.acquire(blocking=False):
            raise Refused(
                503, "busy", "too much mail is waiting; try again in a moment", retry_after_seconds=30
            )
        try:
            self._executor.submit(self._deliver, write)
        except BaseException:
            self._room.release()
            raise

    def send(self, letter: Letter) -> None:
        """Send it a moment later. Raises: Refused (503) when too many wait already."""
        self.later(lambda: letter)

    def close(self) -> None:
        """Send what waits, once each, as far as `CLOSING_SECONDS_MAX` goes; the rest is lost."""
        self._closing.set()
        self._executor.shutdown()

    def _deliver(self, write: Callable[[], Letter | None]) -> None:
        try:
            letter = write()
            if letter is not None:
                self._send(letter)
        except DeliveryFailed as failed:
            self._log.fault(f"a mail was not delivered: {failed}")
        except Exception as error:  # noqa: BLE001 - the edge: it costs this mail only
            self._log.broken(error)
        finally:
            self._room.release()

    def _send(self, letter: Letter) -> None:
        for pause_seconds in PAUSES_SECONDS:
            try:
                return self._mail.send(letter.to, letter.subject, letter.text)
            except DeliveryFailed as failed:
                if failed.is_final or self._closing.wait(pause_seconds):
                    raise
        return self._mail.send(letter.to, letter.subject, letter.text)


def _code_of(error: BaseException) -> int:
    """The mail server's status, 0 where it gave none."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return max((code for code, _ in error.recipients.values()), default=0)
    return error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0
