"""Sending one notice by one channel, once: what is posted or mailed, and what came of it.

A webhook gets what Standard Webhooks says (https://www.standardwebhooks.com, read 2026-11-21): a JSON body
`{"type", "timestamp", "data"}`, and headers that name the message, the moment, and sign both with the body;
the message's id stays the same however often it is sent. While a secret is being changed there are two
signatures.
"""

from collections.abc import Callable
from datetime import datetime
from threading import BoundedSemaphore
from typing import Any, Final

import msgspec
from standardwebhooks.webhooks import Webhook

from api_service.addresses import Reach
from api_service.channels import Channel, Channels
from api_service.errors import Refused
from api_service.mail import DeliveryFailed, Mail
from api_service.notices import ToldNotice
from api_service.outbound import Answer, CallFailed, Outbound
from api_service.people import person_from
from api_service.settings import SendingSettings
from api_service.slack import slack_message
from metering.clock import Clock
from metering.collections import membership_path, person_path
from metering.stores import DocumentStore

TESTS_AT_ONCE: Final = 4
HTTP_GONE: Final = 410
SLACK_NEVER: Final = frozenset({403, 404, 410})  # the webhook was removed, or its channel was
_FOOTER: Final = (
    "\n\n--\nModelTrack sends this because a channel of your account asks for it: GET /v1/channels"
)


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What came of sending. `outcome`: an HTTP status, or a word of ours; `words` say it to people.

    `is_gone`: the other side will never take anything any more. `is_final`: not this notice.
    """

    is_delivered: bool
    outcome: str
    words: str = ""
    is_gone: bool = False
    is_final: bool = False


class Sender:
    """Sends notices. Safe to share between threads."""

    def __init__(
        self,
        store: DocumentStore,
        clock: Clock,
        channels: Channels,
        outbound: Outbound,
        mail: Mail,
        operators_slack: str = "",
        writes_to_confirmed_alone: bool = False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._channels = channels
        self._outbound = outbound
        self._mail = mail
        self._operators_slack = operators_slack
        self._writes_to_confirmed_alone = writes_to_confirmed_alone
        self._testing = BoundedSemaphore(TESTS_AT_ONCE)

    @property
    def reach(self) -> Reach:
        """What may be called."""
        return self._outbound.reach

    def by_channel(self, channel: Channel, notice: ToldNotice, delivery_id: str) -> Sent:
        """Send it once, as the channel's kind is. Takes a minute at the worst.

        Raises: StoreUnavailable, Unsealable.
        """
        if channel.kind == "email":
            return self._by_mail(channel, notice)
        url = self._channels.address_of(notice.account_id, channel)
        if channel.kind == "slack":
            return self._by_slack(url, notice)
        return self._by_webhook(channel, url, notice, delivery_id)

    def test(self, channel: Channel, notice: ToldNotice, message_id: str) -> Sent:
        """Send it while somebody waits for the outcome.

        Raises: Refused (503) when as many wait already as may, since each keeps a thread of the service.
        """
        if not self._testing.acquire(blocking=False):
            raise Refused(
                503, "busy", "other tests are being sent; try again in a moment", retry_after_seconds=10
            )
        try:
            return self.by_channel(channel, notice, message_id)
        finally:
            self._testing.release()

    def by_operators_slack(self, notice: ToldNotice) -> Sent:
        """Send it to SLACK_WEBHOOK_URL."""
        if not self._operators_slack:
            return Sent(is_delivered=False, outcome="not_configured", words="SLACK_WEBHOOK_URL is not set")
        return self._by_slack(self._operators_slack, notice)

    def _by_mail(self, channel: Channel, notice: ToldNotice) -> Sent:
        """To the person, as long as they are of the account, at the address that they have now."""
        of_person, of_place = (
            person_path(channel.person_id),
            membership_path(channel.person_id, notice.account_id),
        )
        found = self._store.get_many([of_person, of_place])
        if len(found) < 2:
            return Sent(is_delivered=False, outcome="no_member", words="nobody of this account", is_gone=True)
        person = person_from(found[of_person])
        if self._writes_to_confirmed_alone and person.confirmed_at is None:
            return Sent(is_delivered=False, outcome="not_confirmed", words="the address is not confirmed yet")
        try:
            self._mail.send(person.email, notice.title, notice.text + _FOOTER)
        except DeliveryFailed as failed:
            return Sent(
                is_delivered=False, outcome="mail_refused", words=str(failed), is_final=failed.is_final
            )
        return Sent(is_delivered=True, outcome="mailed")

    def _by_slack(self, url: str, notice: ToldNotice) -> Sent:
        data = msgspec.json.decode(notice.data)
        body = msgspec.json.encode(slack_message(notice.title, notice.text, notice.level, data))
        sent = self._posted(url, body, {"Content-Type": "application/json"})
        is_gone = sent.outcome in {str(status) for status in SLACK_NEVER}
        return msgspec.structs.replace(sent, is_gone=is_gone)

    def _by_webhook(self, channel: Channel, url: str, notice: ToldNotice, delivery_id: str) -> Sent:
        body = webhook_body(notice)
        secrets = self._channels.signing_secrets_of(notice.account_id, channel)
        headers = signed_headers(delivery_id, self._clock.now(), body, secrets)
        return self._posted(url, body, {"Content-Type": "application/json", **headers})

    def _posted(self, url: str, body: bytes, headers: dict[str, str]) -> Sent:
        try:
            answer: Answer = self._outbound.post(url, body, headers)
        except CallFailed as failed:
            return Sent(is_delivered=False, outcome=failed.reason, words=str(failed))
        return Sent(
            is_delivered=answer.is_success,
            outcome=str(answer.status),
            words="" if answer.is_success else f"it answered {answer.status}",
            is_gone=answer.status == HTTP_GONE,
        )


def webhook_body(notice: ToldNotice) -> bytes:
    """What a webhook is posted."""
    fields: dict[str, Any] = {
        "type": notice.kind,
        "timestamp": notice.created_at,
        "data": {
            "notice_id": notice.notice_id,
            "account_id": notice.account_id,
            "level": notice.level,
            "title": notice.title,
            "text": notice.text,
            "subject_id": notice.subject_id,
            **msgspec.json.decode(notice.data),
        },
    }
    return msgspec.json.encode(fields)


def signed_headers(message_id: str, at: datetime, body: bytes, secrets: tuple[bytes, ...]) -> dict[str, str]:
    """The headers that let the receiver tell that the body is ours, and new."""
    text = body.decode()
    signatures = [Webhook(each).sign(message_id, at, text) for each in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def sender_of(
    settings: SendingSettings, store: DocumentStore, clock: Clock, mail: Mail, secret: Callable[[], bytes]
) -> Sender:
    """What sends notices, as this deployment does. `secret` gives the deployment's own."""
    return Sender(
        store,
        clock,
        Channels(store, clock, secret),
        Outbound(settings.reach),
        mail,
        settings.slack_webhook_url.get_secret_value(),
        writes_to_confirmed_alone=settings.is_hosted,
    )
