"""Channels: how an account is told of things by Slack and e-mail. Webhooks are a resource of their own."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from flask import Response
from pydantic import Field, StrictBool, model_validator

from api_service.access import needs, require_unpinned, visitor
from api_service.addresses import checked_url
from api_service.answers import answer_fields, nothing
from api_service.channels import Channel, Level, NoticeKind, channel_among
from api_service.fields import Email, Input, Tag, View, example_of, left_out
from api_service.notices import ToldNotice
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.sending import Sent
from api_service.services import services
from metering.collections import membership_path, person_path
from metering.errors import InvalidInput, NotFound
from metering.ids import new_id

channels = routes_of("channels")

KINDS_MAX = 20
URL_TEXT_MAX = 2_048
UrlText = Annotated[str, Field(max_length=URL_TEXT_MAX)]
Kinds = Annotated[
    list[NoticeKind], Field(max_length=KINDS_MAX, description="Only these kinds of notice; empty: all.")
]
LeastLevel = Annotated[Level, Field(description="Only notices of this level and above.")]

_CHANNEL_EXAMPLE: dict[str, Any] = {
    "id": "channel_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "kind": "slack",
    "name": "#llm-costs",
    "kinds": ["alert.budget", "alert.forecast"],
    "least_level": "warning",
    "enabled": True,
    "created_at": "2026-11-21T09:30:00Z",
    "email": None,
    "slack_webhook_hint": "wX9k",
    "failures": 0,
    "failing_since": None,
    "off_reason": None,
    "last_success_at": "2026-11-21T09:31:00Z",
}
_NEW_CHANNEL_EXAMPLE: dict[str, Any] = {
    "kind": "slack",
    "name": "#llm-costs",
    "slack_webhook_url": "https://hooks.slack.com/services/T000/B000/XXXX",
    "kinds": ["alert.budget", "alert.forecast"],
    "least_level": "warning",
}


class NewChannel(Input):
    """What the channel is to be: an incoming webhook of Slack, or mail to somebody of this account."""

    model_config = example_of(_NEW_CHANNEL_EXAMPLE)

    kind: Literal["slack", "email"]
    name: Tag = ""
    slack_webhook_url: UrlText | None = Field(default=None, description="With kind slack; never shown again.")
    email: Email | None = Field(default=None, description="With kind email: of somebody of this account.")
    kinds: Kinds = Field(default=[])
    least_level: LeastLevel = "info"

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "NewChannel":
        given = {"slack": self.slack_webhook_url, "email": self.email}
        if given[self.kind] is None or len([each for each in given.values() if each is not None]) > 1:
            raise ValueError("give slack_webhook_url with kind slack, or email with kind email, not both")
        return self


class ChannelPatch(Input):
    """What to change of the channel; what is left out stays. One switched on begins anew."""

    model_config = example_of({"least_level": "critical"})

    name: Tag = left_out("")
    kinds: Kinds = left_out([])
    least_level: LeastLevel = left_out("info")
    enabled: StrictBool = left_out(True)


class ChannelPath(Input):
    """Which channel."""

    channel_id: str = Field(
        description="The `id` that creating and listing channels show.",
        json_schema_extra={"example": _CHANNEL_EXAMPLE["id"]},
    )


class ChannelBase(View):
    """What is the same of all ways of telling an account."""

    id: str = Field(description="Names it.")
    name: str = Field(description="What its maker called it.")
    kinds: list[NoticeKind] = Field(description="Only these kinds of notice; empty: all.")
    least_level: Level = Field(description="Only notices of this level and above.")
    enabled: bool = Field(description="Switched off, it is sent nothing.")
    created_at: datetime = Field(description="When it was made.")
    failures: int = Field(description="How many attempts failed since the last success.")
    failing_since: datetime | None = Field(description="Since when; null: the last attempt was a success.")
    off_reason: str | None = Field(description="Why we switched it off; null: we did not.")
    last_success_at: datetime | None = Field(description="When it last took what it was sent, to a minute.")


class ChannelView(ChannelBase):
    """A channel."""

    model_config = example_of(_CHANNEL_EXAMPLE)

    kind: Literal["slack", "email"] = Field(description="What it sends by.")
    email: str | None = Field(
        description="Who gets it, with kind email; null: nobody of this account any more."
    )
    slack_webhook_hint: str | None = Field(
        description="The last four characters of Slack's URL, with kind slack."
    )


class ChannelsView(View):
    """The account's channels, oldest first."""

    model_config = example_of({"data": [_CHANNEL_EXAMPLE], "has_more": False, "next_page": None})

    data: list[ChannelView] = Field(description="The channels.")
    has_more: bool = Field(description="Always false: all channels are on one page.")
    next_page: str | None = Field(description="Always null.")


class TestView(View):
    """What came of a test."""

    model_config = example_of({"delivered": False, "outcome": "404", "message": "it answered 404"})

    delivered: bool = Field(description="Whether the other side took it.")
    outcome: str = Field(description="Its HTTP status, or why there was none, for programs.")
    message: str = Field(description="The same in words; empty: all is well.")


@channels.get("/v1/channels", responses={200: ChannelsView})
@needs("read")
def list_channels() -> Response:
    """List the channels of Slack and e-mail."""
    found = [each for each in services().channels.of(visitor().account_id) if each.kind != "webhook"]
    return answer_fields({"data": _shown(found), "has_more": False, "next_page": None})


@channels.post("/v1/channels", responses={201: ChannelView, **may_refuse(409, *OF_BODIES)})
@needs("settings")
def create_channel(body: NewChannel) -> Response:
    """Make a channel. From now on it is told of what it takes; send a test to be sure."""
    known = services()
    require_unpinned(visitor())
    terms = Channel(
        channel_id="",
        kind=body.kind,
        name=body.name,
        kinds=tuple(dict.fromkeys(body.kinds)),
        least_level=body.least_level,
        created_at=known.clock.now(),
        person_id="" if body.email is None else _member_of(body.email),
    )
    url = body.slack_webhook_url
    address = "" if url is None else checked_url(url, known.notice_sender.reach, "slack_webhook_url")
    made, _ = known.channels.create(visitor().account_id, terms, address=address)
    return answer_fields(_shown([made])[0], 201)


@channels.get("/v1/channels/<channel_id>", responses={200: ChannelView, **may_refuse(404)})
@needs("read")
def show_channel(path: ChannelPath) -> Response:
    """Show a channel."""
    return answer_fields(_shown([_channel(path)])[0])


@channels.patch("/v1/channels/<channel_id>", responses={200: ChannelView, **may_refuse(404, 409, *OF_BODIES)})
@needs("settings")
def change_channel(path: ChannelPath, body: ChannelPatch) -> Response:
    """Change a channel; what is left out stays."""
    require_unpinned(visitor())
    _channel(path)
    changed = services().channels.change(
        visitor().account_id,
        path.channel_id,
        lambda channel: patched(channel, body.model_dump(exclude_unset=True)),
    )
    return answer_fields(_shown([changed])[0])


@channels.delete("/v1/channels/<channel_id>", responses={204: None, **may_refuse(404, 409)})
@needs("settings")
def delete_channel(path: ChannelPath) -> Response:
    """Delete a channel. What was on its way to it is not sent any more."""
    require_unpinned(visitor())
    _channel(path)
    services().channels.delete(visitor().account_id, path.channel_id)
    return nothing()


@channels.post("/v1/channels/<channel_id>/test", responses={200: TestView, **may_refuse(404)})
@needs("settings")
def test_channel(path: ChannelPath) -> Response:
    """Send a test by the channel now, and say what came of it. It changes nothing, however it ends."""
    return answer_fields(tested(_channel(path)))


def patched(channel: Channel, given: Mapping[str, Any]) -> Channel:
    """The channel with what was given; one that is switched on begins anew."""
    changes = dict(given)
    if "kinds" in changes:
        changes["kinds"] = tuple(dict.fromkeys(changes["kinds"]))
    if changes.get("enabled"):
        changes |= {"failures": 0, "failing_since": None, "off_reason": ""}
    return msgspec.structs.replace(channel, **changes)


def base_fields(channel: Channel) -> dict[str, object]:
    """What is shown of any channel."""
    return {
        "id": channel.channel_id,
        "name": channel.name,
        "kinds": channel.kinds,
        "least_level": channel.least_level,
        "enabled": channel.enabled,
        "created_at": channel.created_at,
        "failures": channel.failures,
        "failing_since": channel.failing_since,
        "off_reason": channel.off_reason or None,
        "last_success_at": channel.last_success_at,
    }


def tested(channel: Channel) -> dict[str, object]:
    """Send a test by the channel; what came of it."""
    known = services()
    notice = ToldNotice(
        notice_id=new_id("notice"),
        account_id=visitor().account_id,
        kind="test",
        title="A test from ModelTrack",
        text="This is a test: whoever reads it will be told of what this channel takes.",
        level="info",
        subject_id=channel.channel_id,
        data="{}",
        created_at=known.clock.now(),
    )
    sent: Sent = known.notice_sender.test(channel, notice, new_id("msg"))
    return {"delivered": sent.is_delivered, "outcome": sent.outcome, "message": sent.words}


def _channel(path: ChannelPath) -> Channel:
    found = channel_among(services().channels.of(visitor().account_id), path.channel_id)
    if found.kind == "webhook":
        raise NotFound("there is no such channel")
    return found


def _member_of(email: str) -> str:
    """The id of the person of this account with that address: nobody else is sent what an account is told."""
    known = services()
    person = known.people.by_email(email)
    if person is None or known.store.get(membership_path(person.person_id, visitor().account_id)) is None:
        raise InvalidInput("give the address of somebody who belongs to this account", "email")
    if known.settings.is_hosted and person.confirmed_at is None:
        raise InvalidInput("whoever has this address has to confirm it first", "email")
    return person.person_id


def _shown(found: Sequence[Channel]) -> list[dict[str, object]]:
    paths = {each.channel_id: person_path(each.person_id) for each in found if each.person_id}
    people = services().store.get_many([*dict.fromkeys(paths.values())]) if paths else {}
    emails = {
        channel_id: people[path].fields["email"] for channel_id, path in paths.items() if path in people
    }
    return [
        {
            **base_fields(each),
            "kind": each.kind,
            "email": emails.get(each.channel_id),
            "slack_webhook_hint": each.hint or None,
        }
        for each in found
    ]
