"""The people of an account: listed, given another role, removed."""

from datetime import datetime
from typing import Any

from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer, nothing
from api_service.fields import (
    ID_CHARACTERS_MAX,
    Input,
    View,
    example_of,
)
from api_service.members import Member
from api_service.resources.people import PERSON_EXAMPLE, own_seat
from api_service.roles import Role
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services

members = routes_of("members")

_SESSION: list[dict[str, list[str]]] = [{"session": []}]
_MEMBER_EXAMPLE: dict[str, Any] = {
    "id": PERSON_EXAMPLE["id"],
    "email": "ada@example.com",
    "name": "Ada",
    "role": "admin",
    "since": "2026-11-21T09:30:00Z",
}


class MemberPath(Input):
    """Which member."""

    member_id: str = Field(
        max_length=ID_CHARACTERS_MAX,
        description="The `id` that listing members shows.",
        json_schema_extra={"example": _MEMBER_EXAMPLE["id"]},
    )


class MemberPatch(Input):
    """The role to have."""

    model_config = example_of({"role": "admin"})

    role: Role


class MemberView(View):
    """Somebody who belongs to the account."""

    model_config = example_of(_MEMBER_EXAMPLE)

    id: str = Field(description="Names the person.")
    email: str = Field(description="The address they log in with.")
    name: str = Field(description="What they are called; empty: they did not say.")
    role: Role = Field(description="What they are in this account.")
    since: datetime = Field(description="Since when they belong to it.")


class MembersView(View):
    """All members, the first first."""

    model_config = example_of({"data": [_MEMBER_EXAMPLE], "has_more": False, "next_page": None})

    data: list[MemberView] = Field(description="The members, the first first.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


@members.get("/v1/members", responses={200: MembersView})
@needs("read")
def list_members() -> Response:
    """List the account's members, with their roles."""
    data = [_member_view(each) for each in services().members.of(visitor().account_id)]
    return answer(MembersView(data=data, has_more=False, next_page=None))


@members.patch(
    "/v1/members/<member_id>",
    responses={200: MemberView, **may_refuse(404, 409, *OF_BODIES)},
    security=_SESSION,
)
@needs("people")
def change_role(path: MemberPath, body: MemberPatch) -> Response:
    """Give a member another role, at once on every instance.

    Only an owner makes somebody owner, or changes what an owner is; the last owner stays one.
    """
    seat = own_seat()
    changed = services().members.change_role(
        seat.account.account_id, path.member_id, body.role, by=seat.place
    )
    return answer(_member_view(changed))


@members.post(
    "/v1/members/<member_id>/end-sessions", responses={204: None, **may_refuse(404)}, security=_SESSION
)
@needs("people")
def end_members_sessions(path: MemberPath) -> Response:
    """End a member's sessions in this account, at once on every instance; they stay a member and log in anew.

    Their sessions in other accounts are their own. Only an owner ends an owner's.
    """
    seat = own_seat()
    services().members.end_sessions(seat.account.account_id, path.member_id, by=seat.place)
    return nothing()


@members.delete("/v1/members/<member_id>", responses={204: None, **may_refuse(404, 409)}, security=_SESSION)
@needs("people")
def remove_member(path: MemberPath) -> Response:
    """Remove a member; their sessions in this account end at once. Keys stay: revoke those they know.

    Only an owner removes an owner, and the last owner stays.
    """
    seat = own_seat()
    services().members.remove(seat.account.account_id, path.member_id, by=seat.place)
    return nothing()


def _member_view(member: Member) -> MemberView:
    return MemberView(
        id=member.person.person_id,
        email=member.person.email,
        name=member.person.name,
        role=member.place.role,
        since=member.place.created_at,
    )
