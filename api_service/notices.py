"""Notices: what an account is told, once to each of its channels.

Telling writes the notice and a **delivery** for each channel that takes it, in one commit, which may be the
caller's own (`writes_of`): so whatever was decided and its telling are kept together or not at all. The job
`deliver` sends deliveries (`api_service.functions.deliver`), as often as it takes.

On a machine of one's own, SLACK_WEBHOOK_URL takes whatever no Slack channel of the account takes. Without
anything that takes it, a notice is logged and shown (`GET /v1/notices`) all the same.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from api_service.channels import ChannelKind, Level, NoticeKind, channels_in
from api_service.settings import SendingSettings
from metering.clock import Clock
from metering.collections import channels_path, delivery_path, notices_collection
from metering.errors import AlreadyExists
from metering.ids import new_id, repeatable_digest
from metering.stores import Create, Document, DocumentStore, Write

TITLE_CHARACTERS_MAX: Final = 200
TEXT_CHARACTERS_MAX: Final = 20_000
DATA_BYTES_MAX: Final = 64 * 1024
OPERATORS_SLACK: Final = "operators_slack"  # the channel that SLACK_WEBHOOK_URL is
LOG: Final = "log"  # the channel of those who have none

DeliveryKind = ChannelKind | Literal["log"]
DeliveryState = Literal["pending", "delivered", "failed"]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell an account.

    `title` is one line, `text` the whole in plain words; `subject_id` names what it is about, `data` says it
    to programs in JSON. With `once` it is told once only, whoever tells it how often:
    the same kind, subject and `once` are the same notice.
    """

    account_id: str
    kind: NoticeKind
    title: str
    text: str
    level: Level = "info"
    subject_id: str = ""
    data: Mapping[str, Any] = {}
    once: str = ""


class ToldNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice as it is kept. `data` is JSON."""

    notice_id: str
    account_id: str
    kind: NoticeKind
    title: str
    text: str
    level: Level
    subject_id: str
    data: str
    created_at: datetime


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One notice on its way to one channel. `next_at` is when it is tried next; None: it is not any more.

    `outcome` says how the last attempt ended: an HTTP status, or a reason of `outbound.CallFailed`.
    """

    delivery_id: str
    account_id: str
    notice_id: str
    channel_id: str
    channel_kind: DeliveryKind
    created_at: datetime
    state: DeliveryState = "pending"
    attempts: int = 0
    next_at: datetime | None = None
    attempted_at: datetime | None = None
    outcome: str = ""


class Notices:
    """Tells accounts of things. A store failure passes to the caller: nobody was told, or all will be."""

    def __init__(self, store: DocumentStore, clock: Clock, *, has_operators_slack: bool = False) -> None:
        self._store = store
        self._clock = clock
        self._has_operators_slack = has_operators_slack

    def tell(self, notice: Notice) -> bool:
        """Tell the account; False where it was told of that before (`once`)."""
        try:
            self._store.commit(self.writes_of(notice))
        except AlreadyExists:
            return False
        return True

    def writes_of(self, notice: Notice) -> list[Write]:
        """What tells the account, for a commit of the caller's own: at most `CHANNELS_MAX` + 2 writes.

        One of them creates the notice, so a commit with a notice that was told before (`once`) does nothing
        and raises AlreadyExists. Reads the account's channels.
        """
        told = _told(notice, self._clock.now())
        document = self._store.get(channels_path(notice.account_id))
        channels = () if document is None else channels_in(document.fields)
        taking: list[tuple[str, DeliveryKind]] = [
            (each.channel_id, each.kind) for each in channels if each.takes(notice.kind, notice.level)
        ]
        if self._has_operators_slack and "slack" not in {kind for _, kind in taking}:
            taking.append((OPERATORS_SLACK, "slack"))
        deliveries = [_delivery(told, *each) for each in taking or [(LOG, LOG)]]
        return [
            Create(notice_path(told.account_id, told.notice_id), _fields(told)),
            *(Create(delivery_path(each.delivery_id), delivery_fields(each)) for each in deliveries),
        ]


def notice_path(account_id: str, notice_id: str) -> str:
    """Where a notice is kept."""
    return f"{notices_collection(account_id)}/{notice_id}"


def notice_from(document: Document) -> ToldNotice:
    """The notice that a document holds."""
    return msgspec.convert(document.fields, ToldNotice)


def delivery_from(document: Document) -> Delivery:
    """The delivery that a document holds."""
    return msgspec.convert(document.fields, Delivery)


def delivery_fields(delivery: Delivery) -> dict[str, Any]:
    """The delivery as its document's fields."""
    fields: dict[str, Any] = msgspec.to_builtins(delivery, builtin_types=(datetime,))
    return fields


def notices_of(settings: SendingSettings, store: DocumentStore, clock: Clock) -> Notices:
    """What tells accounts of things, as this deployment does."""
    return Notices(store, clock, has_operators_slack=bool(settings.slack_webhook_url.get_secret_value()))


def _fields(told: ToldNotice) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(told, builtin_types=(datetime,))
    return fields


def _told(notice: Notice, now: datetime) -> ToldNotice:
    identity = (notice.account_id, notice.kind, notice.subject_id, notice.once)
    data = msgspec.json.encode(notice.data).decode()
    if len(data.encode()) > DATA_BYTES_MAX:
        raise ValueError(f"the data of a notice are at most {DATA_BYTES_MAX} bytes")
    return ToldNotice(
        notice_id=f"notice_{repeatable_digest('notice', *identity)}" if notice.once else new_id("notice"),
        account_id=notice.account_id,
        kind=notice.kind,
        title=notice.title[:TITLE_CHARACTERS_MAX],
        text=notice.text[:TEXT_CHARACTERS_MAX],
        level=notice.level,
        subject_id=notice.subject_id,
        data=data,
        created_at=now,
    )


def _delivery(told: ToldNotice, channel_id: str, kind: DeliveryKind) -> Delivery:
    return Delivery(
        delivery_id=f"msg_{repeatable_digest('delivery', told.account_id, told.notice_id, channel_id)}",
        account_id=told.account_id,
        notice_id=told.notice_id,
        channel_id=channel_id,
        channel_kind=kind,
        created_at=told.created_at,
        next_at=told.created_at,
    )
