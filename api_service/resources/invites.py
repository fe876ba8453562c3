"""Invites: made, listed, withdrawn, and taken up by whoever reads the mail."""

from datetime import datetime
from typing import Any

from flask import Response
from pydantic import Field

from api_service.access import needs, network_of_caller, require_confirmed_address, visitor
from api_service.answers import answer, nothing
from api_service.attempts import LOGINS_FROM_ADDRESS_MAX, MAILS_FROM_ADDRESS_MAX, MAILS_MAX
from api_service.fields import (
    ID_CHARACTERS_MAX,
    Email,
    Input,
    MailedToken,
    NewPassword,
    PersonName,
    View,
    example_of,
)
from api_service.invites import Invite
from api_service.letters import invitation
from api_service.resources.accounts import ACCOUNT_EXAMPLE
from api_service.resources.people import PERSON_EXAMPLE, LoggedIn, own_seat, signed_in_at, with_session
from api_service.roles import Role
from api_service.routing import OF_BODIES, OF_VISITORS, may_refuse, routes_of
from api_service.services import services

invites = routes_of("invites", is_open=True)

_SESSION: list[dict[str, list[str]]] = [{"session": []}]
_INVITE_EXAMPLE: dict[str, Any] = {
    "id": "invite_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "email": "grace@example.com",
    "role": "member",
    "invited_by": PERSON_EXAMPLE["id"],
    "created_at": "2026-11-21T09:30:00Z",
    "expires_at": "2026-11-28T09:30:00Z",
}
_TOKEN_EXAMPLE = {"token": "Zx3…the-text-behind-#token=…Q"}  # nosec B105 # made up


class InvitePath(Input):
    """Which invite."""

    invite_id: str = Field(
        max_length=ID_CHARACTERS_MAX,
        description="The `id` that making and listing invites show.",
        json_schema_extra={"example": _INVITE_EXAMPLE["id"]},
    )


class NewInvite(Input):
    """Whom to invite, as what."""

    model_config = example_of({"email": "grace@example.com", "role": "member"})

    email: Email
    role: Role = "member"


class InviteToken(Input):
    """What came by mail."""

    model_config = example_of(_TOKEN_EXAMPLE)

    token: MailedToken


class SignUpByInvite(Input):
    """What came by mail, and how to log in from now on."""

    model_config = example_of(
        {**_TOKEN_EXAMPLE, "password": "correct horse battery", "name": "Grace"}  # nosec B105 # made up
    )

    token: MailedToken
    password: NewPassword
    name: PersonName = ""


class InviteView(View):
    """An address that may join the account. The link was mailed to it and is shown to nobody else."""

    model_config = example_of(_INVITE_EXAMPLE)

    id: str = Field(description="Names the invite; it lets nobody in.")
    email: str = Field(description="Where it was mailed to.")
    role: Role = Field(description="What they will be.")
    invited_by: str = Field(description="The id of the person who invited them.")
    created_at: datetime = Field(description="When it was made.")
    expires_at: datetime = Field(description="Until when its link works.")


class InvitesView(View):
    """All open invites, the newest first."""

    model_config = example_of({"data": [_INVITE_EXAMPLE], "has_more": False, "next_page": None})

    data: list[InviteView] = Field(description="The invites, the newest first.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


class InvitedView(View):
    """What an invite leads to, for whoever holds its link."""

    model_config = example_of(
        {
            "account_id": ACCOUNT_EXAMPLE["id"],
            "account_name": "Ada & Co",
            "email": "grace@example.com",
            "role": "member",
            "expires_at": "2026-11-28T09:30:00Z",
            "has_login": False,
        }
    )

    account_id: str = Field(description="Names the account.")
    account_name: str = Field(description="What people call it.")
    email: str = Field(description="Where the invite was mailed to.")
    role: Role = Field(description="What one will be there.")
    expires_at: datetime = Field(description="Until when the link works.")
    has_login: bool = Field(
        description="Whether somebody logs in with this address: then log in and accept; else sign up by it."
    )


@invites.get("/v1/invites", responses={200: InvitesView, **may_refuse(*OF_VISITORS)}, security=_SESSION)
@needs("people")
def list_invites() -> Response:
    """List the open invites."""
    data = [_invite_view(each) for each in services().invites.of(visitor().account_id)]
    return answer(InvitesView(data=data, has_more=False, next_page=None))


@invites.post(
    "/v1/invites",
    responses={201: InviteView, **may_refuse(409, 429, *OF_VISITORS, *OF_BODIES)},
    security=_SESSION,
)
@needs("people")
def invite(body: NewInvite) -> Response:
    """Invite somebody by mail. An earlier invite of the same address is void.

    Hosted, whoever invites has confirmed their own address before.
    """
    known, seat = services(), own_seat()
    require_confirmed_address(visitor())
    known.attempts.take(("invites", seat.account.account_id), MAILS_FROM_ADDRESS_MAX)
    known.attempts.take(("mail", body.email), MAILS_MAX)
    token, made = known.invites.make(body.email, body.role, by=seat.place)
    known.postbox.send(
        invitation(
            made.email,
            known.settings.base_url,
            token,
            account_name=seat.account.name,
            role=made.role,
            by=seat.person.name,
            by_address=seat.person.email,
        )
    )
    return answer(_invite_view(made), 201)


@invites.delete(
    "/v1/invites/<invite_id>", responses={204: None, **may_refuse(404, *OF_VISITORS)}, security=_SESSION
)
@needs("people")
def withdraw_invite(path: InvitePath) -> Response:
    """Withdraw an invite; its link works no more."""
    services().invites.withdraw(visitor().account_id, path.invite_id)
    return nothing()


@invites.post(
    "/v1/invites/look-up",
    responses={200: InvitedView, **may_refuse(403, *OF_BODIES, 429, 503)},
)
@needs("anyone")
def look_up_invite(body: InviteToken) -> Response:
    """Show what the link of an invite leads to. Nothing changes."""
    known = services()
    _take_token_attempt()
    found, account = known.invites.look_up(body.token)
    return answer(
        InvitedView(
            account_id=account.account_id,
            account_name=account.name,
            email=found.email,
            role=found.role,
            expires_at=found.expires_at,
            has_login=known.people.is_taken(found.email),
        )
    )


@invites.post(
    "/v1/invites/accept",
    responses={200: LoggedIn, **may_refuse(409, 429, *OF_VISITORS, *OF_BODIES)},
    security=_SESSION,
)
@needs("person", even_suspended=True)
def accept_invite(body: InviteToken) -> Response:
    """Join an account by an invite to one's own address, and go on there with a new session."""
    known = services()
    _take_token_attempt()
    seat = known.invites.join(body.token, own_seat().person.person_id)
    return with_session(known, seat, status=200, signed_in_at=signed_in_at())


@invites.post(
    "/v1/invites/sign-up",
    responses={201: LoggedIn, **may_refuse(403, 409, *OF_BODIES, 429, 503)},
)
@needs("anyone")
def sign_up_by_invite(body: SignUpByInvite) -> Response:
    """Sign up by an invite, and be logged in to its account. The address is confirmed thereby."""
    known = services()
    _take_token_attempt()
    found, _ = known.invites.look_up(body.token)  # before the work of hashing
    known.people.refuse_taken(found.email)
    seat = known.invites.sign_up(body.token, known.passwords.hashed(body.password), body.name)
    return with_session(known, seat, status=201)


def _take_token_attempt() -> None:
    services().attempts.take(("tokens", network_of_caller()), LOGINS_FROM_ADDRESS_MAX)


def _invite_view(found: Invite) -> InviteView:
    return InviteView(
        id=found.invite_id,
        email=found.email,
        role=found.role,
        invited_by=found.invited_by,
        created_at=found.created_at,
        expires_at=found.expires_at,
    )
