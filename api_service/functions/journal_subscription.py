"""The queue of hosted proxies' journal lines: a Pub/Sub subscription, spoken to over REST.

Proxies write lines to standard output, where the platform takes each as a log entry; a sink publishes those
entries to a topic. So a message is an entry in JSON, with the line in it as an object (`jsonPayload`, whose
numbers have been through floating point) or as text (`textPayload`); it may be the bare line, too.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import google.auth
import msgspec
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from api_service.functions.settings import FunctionSettings
from metering.queued_recovery import HIDDEN_SECONDS, Delivery, QueueUnavailable

SCOPES: Final = ("https://www.googleapis.com/auth/pubsub",)
TIMEOUT_SECONDS: Final = 30.0
HANDLES_A_REQUEST: Final = 1_000
ASIDE_A_REQUEST: Final = 100  # lines of at most 64 KiB: below the 10 MB of a request
DIGITS_MAX: Final = 20  # of a whole number that was written as a float


class JournalSubscription:
    """The lines of a subscription; what is set aside goes to a topic. For one thread."""

    def __init__(self, session: requests.Session, base_url: str, subscription: str, aside_topic: str) -> None:
        self._session = session
        self._subscription_url = f"{base_url}/v1/{subscription}"
        self._topic_url = f"{base_url}/v1/{aside_topic}"

    def pull(self, count: int) -> Sequence[Delivery]:
        """See `JournalQueue`."""
        # Else the answer to a queue that is empty takes more than a minute.
        asked = {"maxMessages": count, "returnImmediately": True}
        found = self._ask(f"{self._subscription_url}:pull", asked).get("receivedMessages", [])
        deliveries = [_delivery(each) for each in found]
        if deliveries:  # whatever the subscription's own deadline is
            self.give_back(deliveries, HIDDEN_SECONDS)
        return deliveries

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `JournalQueue`."""
        for handles in _handles(deliveries):
            self._ask(f"{self._subscription_url}:acknowledge", {"ackIds": handles})

    def give_back(self, deliveries: Sequence[Delivery], seconds: int) -> None:
        """See `JournalQueue`."""
        for handles in _handles(deliveries):
            asked = {"ackIds": handles, "ackDeadlineSeconds": seconds}
            self._ask(f"{self._subscription_url}:modifyAckDeadline", asked)

    def set_aside(self, deliveries: Sequence[Delivery]) -> None:
        """See `JournalQueue`."""
        for start in range(0, len(deliveries), ASIDE_A_REQUEST):
            portion = deliveries[start : start + ASIDE_A_REQUEST]
            messages = [{"data": base64.b64encode(each.line).decode()} for each in portion]
            self._ask(f"{self._topic_url}:publish", {"messages": messages})

    def _ask(self, url: str, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._session.post(url, json=asked, timeout=TIMEOUT_SECONDS, allow_redirects=False)
            answer.raise_for_status()
            told = answer.json()
        except (requests.RequestException, GoogleAuthError, ValueError):
            # Without its cause, whose text may quote an answer; the next run asks again.
            raise QueueUnavailable("the journal's subscription gives no usable answer") from None
        if not isinstance(told, dict):
            raise QueueUnavailable("the journal's subscription gives no usable answer")
        return told


def open_subscription(settings: FunctionSettings) -> JournalSubscription:
    """The subscription that the settings name, or the same on an emulator. Raises: QueueUnavailable."""
    names = (settings.journal_subscription, settings.journal_aside_topic)
    if settings.pubsub_emulator_host:
        return JournalSubscription(requests.Session(), f"http://{settings.pubsub_emulator_host}", *names)
    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
    except GoogleAuthError:
        raise QueueUnavailable("there are no credentials for the journal's subscription") from None
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]  # it has no types
    return JournalSubscription(session, "https://pubsub.googleapis.com", *names)


def line_in(message: bytes) -> bytes:
    """The journal's line that a message holds; the message itself, where it holds none in either form."""
    try:
        entry = json.loads(message, parse_float=_number)
    except (ValueError, RecursionError):
        return message
    if not isinstance(entry, dict):
        return message
    text, payload = entry.get("textPayload"), entry.get("jsonPayload")
    if isinstance(text, str):
        return text.encode(errors="replace")
    if isinstance(payload, dict):
        if payload.get("line") == "admitted" and "timestamp" in entry:
            payload.setdefault("timestamp", entry["timestamp"])  # where the platform took it for its own
        return json.dumps(payload).encode()
    return message


def _number(text: str) -> int | float:
    """The number as it was before it went through floating point."""
    number = Decimal(text)
    if number.adjusted() < DIGITS_MAX and number == number.to_integral_value():
        return int(number)
    return float(text)


def _delivery(received: dict[str, Any]) -> Delivery:
    try:
        message = received["message"]
        return Delivery(
            handle=str(received["ackId"]),
            line=line_in(base64.b64decode(message.get("data", ""))),
            published_at=msgspec.convert(message["publishTime"], datetime),
        )
    except (KeyError, TypeError, AttributeError, binascii.Error, msgspec.ValidationError):
        raise QueueUnavailable("the journal's subscription gives no usable answer") from None


def _handles(deliveries: Sequence[Delivery]) -> list[list[str]]:
    handles = [each.handle for each in deliveries]
    return [handles[start : start + HANDLES_A_REQUEST] for start in range(0, len(handles), HANDLES_A_REQUEST)]
