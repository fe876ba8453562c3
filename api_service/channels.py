"""Channels: how an account is told of things, by Slack, by e-mail to one of its people, by webhook.

All channels of an account are one document, so that telling it of something reads them at once, and that
there are never more than `CHANNELS_MAX`. What lets its holder write or sign in the account's name is sealed
there: a Slack webhook's address, and what a webhook's calls are signed with.

A channel that fails again and again is switched off (`after_failure`): `FAILURES_MAX` attempts in a row and
for `FAILING_MAX`, or at once where the other side says that it is gone. Its people are told by the others.
"""

import base64
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import msgspec

from metering.clock import Clock
from metering.collections import channels_path
from metering.errors import AlreadyExists, Conflict, NotFound, RevisionChanged
from metering.ids import new_id
from metering.sealing import Sealer
from metering.stores import Create, DocumentStore, Put

CHANNELS_MAX: Final = 20
CHANGE_ATTEMPTS_MAX: Final = 8
FAILURES_MAX: Final = 10
FAILING_MAX: Final = timedelta(hours=12)  # ten failures alone are an outage of a minute
SIGNING_OVERLAP: Final = timedelta(hours=24)
SIGNING_SECRET_BYTES: Final = 32
SIGNING_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what Standard Webhooks writes before a secret
HINT_CHARACTERS: Final = 4
PURPOSE: Final = "channel"

ChannelKind = Literal["slack", "email", "webhook"]
Level = Literal["info", "warning", "critical"]
LEVELS: Final[Sequence[Level]] = ("info", "warning", "critical")
NoticeKind = Literal[
    "alert.budget",
    "alert.forecast",
    "alert.anomaly",
    "alert.unpriced_model",
    "alert.recording",
    "alert.plan",
    "report.ready",
    "channel.off",
    "test",
]

Outcome = TypeVar("Outcome")


class Channel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way of telling an account.

    `kinds` are the kinds of notice that it takes, all where none is named, from `least_level` on. `url` is a
    webhook's, `person_id` is who an e-mail goes to. `failures` are in a row, since `failing_since`.
    """

    channel_id: str
    kind: ChannelKind
    name: str = ""
    kinds: tuple[NoticeKind, ...] = ()
    least_level: Level = "info"
    enabled: bool = True
    created_at: datetime
    url: str = ""
    person_id: str = ""
    sealed_address: bytes = b""
    hint: str = ""
    sealed_secret: bytes = b""
    sealed_former_secret: bytes = b""
    former_secret_until: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    off_reason: str = ""
    last_success_at: datetime | None = None

    def takes(self, kind: NoticeKind, level: Level) -> bool:
        """Whether it is to be told of such a thing."""
        is_wanted = not self.kinds or kind in self.kinds
        return self.enabled and is_wanted and LEVELS.index(level) >= LEVELS.index(self.least_level)


def after_success(channel: Channel, now: datetime) -> Channel:
    """The channel once it took what it was sent."""
    return msgspec.structs.replace(channel, failures=0, failing_since=None, last_success_at=now)


def after_failure(channel: Channel, now: datetime, *, is_gone: bool = False) -> Channel:
    """The channel once an attempt failed; switched off, where that was one too many."""
    since = channel.failing_since or now
    failures = channel.failures + 1
    is_off = is_gone or (failures >= FAILURES_MAX and now - since >= FAILING_MAX)
    failed = msgspec.structs.replace(channel, failures=failures, failing_since=since)
    if not is_off or not channel.enabled:
        return failed
    why = "it says that it is gone" if is_gone else "it failed again and again"
    return msgspec.structs.replace(failed, enabled=False, off_reason=why)


class Channels:
    """The channels of accounts in a store. Every method raises StoreUnavailable.

    `secret` gives the deployment's own when something is to be sealed or opened.
    """

    def __init__(self, store: DocumentStore, clock: Clock, secret: Callable[[], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._secret = secret

    def of(self, account_id: str) -> tuple[Channel, ...]:
        """The account's channels, oldest first."""
        document = self._store.get(channels_path(account_id))
        return () if document is None else channels_in(document.fields)

    def create(self, account_id: str, channel: Channel, *, address: str = "") -> tuple[Channel, str]:
        """Add a channel on these terms; it, and the secret that a webhook's calls are signed with.

        A Slack webhook's address is sealed and not to be had again. Raises: Conflict (too many channels).
        """
        channel_id = new_id("channel")
        made = msgspec.structs.replace(channel, channel_id=channel_id, created_at=self._clock.now())
        if address:
            sealed = self._sealed(address.encode(), account_id, channel_id, "address")
            made = msgspec.structs.replace(made, sealed_address=sealed, hint=address[-HINT_CHARACTERS:])
        signing = b""
        if made.kind == "webhook":
            signing = secrets.token_bytes(SIGNING_SECRET_BYTES)
            sealed = self._sealed(signing, account_id, channel_id, "secret")
            made = msgspec.structs.replace(made, sealed_secret=sealed)

        def edit(channels: tuple[Channel, ...]) -> tuple[tuple[Channel, ...], None]:
            if len(channels) >= CHANNELS_MAX:
                raise Conflict(f"an account has at most {CHANNELS_MAX} channels; delete one first")
            return (*channels, made), None

        self._edit(account_id, edit)
        return made, _shown_secret(signing)

    def change(self, account_id: str, channel_id: str, edit: Callable[[Channel], Channel]) -> Channel:
        """Replace the channel by what `edit` makes of it. Raises: NotFound, and whatever `edit` raises."""

        def edit_all(channels: tuple[Channel, ...]) -> tuple[tuple[Channel, ...], Channel]:
            place = _place_of(channels, channel_id)
            after = edit(channels[place])
            return (*channels[:place], after, *channels[place + 1 :]), after

        return self._edit(account_id, edit_all)

    def delete(self, account_id: str, channel_id: str) -> None:
        """End the channel. Raises: NotFound."""

        def edit(channels: tuple[Channel, ...]) -> tuple[tuple[Channel, ...], None]:
            place = _place_of(channels, channel_id)
            return (*channels[:place], *channels[place + 1 :]), None

        self._edit(account_id, edit)

    def rotate_secret(self, account_id: str, channel_id: str) -> tuple[Channel, str]:
        """Give the webhook another secret; calls are signed with the former one, too, `SIGNING_OVERLAP` long.

        Raises: NotFound.
        """
        signing = secrets.token_bytes(SIGNING_SECRET_BYTES)
        now = self._clock.now()

        def edit(channel: Channel) -> Channel:
            former = self._opened(channel.sealed_secret, account_id, channel_id, "secret")
            return msgspec.structs.replace(
                channel,
                sealed_secret=self._sealed(signing, account_id, channel_id, "secret"),
                sealed_former_secret=self._sealed(former, account_id, channel_id, "former secret"),
                former_secret_until=now + SIGNING_OVERLAP,
            )

        return self.change(account_id, channel_id, edit), _shown_secret(signing)

    def address_of(self, account_id: str, channel: Channel) -> str:
        """Where the channel's calls go. Raises: Unsealable."""
        if channel.url:
            return channel.url
        return self._opened(channel.sealed_address, account_id, channel.channel_id, "address").decode()

    def signing_secrets_of(self, account_id: str, channel: Channel) -> tuple[bytes, ...]:
        """What the webhook's calls are signed with now, the present secret first. Raises: Unsealable."""
        present = self._opened(channel.sealed_secret, account_id, channel.channel_id, "secret")
        until = channel.former_secret_until
        if until is None or until <= self._clock.now():
            return (present,)
        former = self._opened(channel.sealed_former_secret, account_id, channel.channel_id, "former secret")
        return (present, former)

    def _edit(
        self,
        account_id: str,
        edit: Callable[[tuple[Channel, ...]], tuple[tuple[Channel, ...], Outcome]],
    ) -> Outcome:
        path = channels_path(account_id)
        for _ in range(CHANGE_ATTEMPTS_MAX):
            document = self._store.get(path)
            before = () if document is None else channels_in(document.fields)
            after, outcome = edit(before)
            if after == before:
                return outcome
            fields = {"account_id": account_id, "channels": [_fields(each) for each in after]}
            write = Create(path, fields) if document is None else Put(path, fields, document.revision)
            try:
                self._store.commit([write])
            except (AlreadyExists, RevisionChanged):
                continue  # somebody else was faster; what they did counts
            return outcome
        raise Conflict("the channels were changed by others again and again; try once more")

    def _sealed(self, plain: bytes, account_id: str, channel_id: str, what: str) -> bytes:
        return self._sealer().sealed(plain, f"{channels_path(account_id)} {channel_id} {what}")

    def _opened(self, sealed: bytes, account_id: str, channel_id: str, what: str) -> bytes:
        return self._sealer().opened(sealed, f"{channels_path(account_id)} {channel_id} {what}")

    def _sealer(self) -> Sealer:
        return Sealer(self._secret(), PURPOSE)


def channels_in(fields: dict[str, Any]) -> tuple[Channel, ...]:
    """The channels that an account's document holds, oldest first."""
    return tuple(msgspec.convert(each, Channel) for each in fields["channels"])


def channel_among(channels: Sequence[Channel], channel_id: str) -> Channel:
    """The channel of that id. Raises: NotFound."""
    return channels[_place_of(channels, channel_id)]


def _place_of(channels: Sequence[Channel], channel_id: str) -> int:
    for place, each in enumerate(channels):
        if each.channel_id == channel_id:
            return place
    raise NotFound("there is no such channel")


def _shown_secret(signing: bytes) -> str:
    return SIGNING_SECRET_PREFIX + base64.b64encode(signing).decode() if signing else ""


def _fields(channel: Channel) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(channel, builtin_types=(datetime, bytes))
    return fields
