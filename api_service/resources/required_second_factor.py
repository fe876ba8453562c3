"""Whether an account requires a second factor of its members.

Who has none then gets at nothing of the account, by no session of before either, until they have set one up
(`api_service.access`). Keys are for programs, and go on as they were. So do the person's other accounts.
"""

from datetime import datetime
from typing import Any

import msgspec
from flask import Response
from pydantic import Field

from api_service.access import needs, still_allowed
from api_service.answers import answer
from api_service.errors import Refused
from api_service.fields import View, example_of
from api_service.members import Member
from api_service.people import Person
from api_service.resources.people import PERSON_EXAMPLE, own_seat
from api_service.resources.second_factor import CodeGiven, use_code
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import Services, services
from metering.accounts import Account

required_second_factor = routes_of("required second factor")

_SESSION: list[dict[str, list[str]]] = [{"session": []}]
_MEMBER_EXAMPLE: dict[str, Any] = {name: PERSON_EXAMPLE[name] for name in ("id", "email", "name")}


class MemberWithoutView(View):
    """A member who has no second factor."""

    id: str = Field(description="Names the person.")
    email: str = Field(description="The address they log in with.")
    name: str = Field(description="What they are called; empty: they did not say.")


class RequiredSecondFactorView(View):
    """Whether members get at the account without a second factor."""

    model_config = example_of(
        {"required": True, "since": "2026-11-21T09:30:00Z", "members_without": [_MEMBER_EXAMPLE]}
    )

    required: bool = Field(description="Whether members without a second factor get at nothing.")
    since: datetime | None = Field(description="Since when; null: it is not required.")
    members_without: list[MemberWithoutView] = Field(
        description="The members who have none: whom it keeps out, or would."
    )


@required_second_factor.get(
    "/v1/account/second-factor", responses={200: RequiredSecondFactorView}, security=_SESSION
)
@needs("people")
def show_required_second_factor() -> Response:
    """Show whether the account requires a second factor of its members, and who of them has none."""
    return answer(_view(services(), own_seat().account))


@required_second_factor.post(
    "/v1/account/second-factor/require",
    responses={200: RequiredSecondFactorView, **may_refuse(409, 429, *OF_BODIES)},
    security=_SESSION,
)
@needs("people")
def require_second_factor(body: CodeGiven) -> Response:
    """Require a second factor of everybody in the account, by a code of one's own.

    From this moment members who have none are refused everything of the account, 403
    `second_factor_required`, in sessions that are under way, too, and however they signed in. They may log
    in, set one up, and go on. Keys, and their other accounts, are not concerned. Whoever has none themselves
    is refused, 409 `second_factor_missing`.
    """
    return _changed(body, is_required=True)


@required_second_factor.post(
    "/v1/account/second-factor/waive",
    responses={200: RequiredSecondFactorView, **may_refuse(409, 429, *OF_BODIES)},
    security=_SESSION,
)
@needs("people")
def waive_second_factor(body: CodeGiven) -> Response:
    """Require a second factor no more, by a code of one's own. Those that people have stay on."""
    return _changed(body, is_required=False)


def _changed(body: CodeGiven, *, is_required: bool) -> Response:
    known, seat = services(), own_seat()
    _use_own_code(known, seat.person, body.code)
    now = known.clock.now()

    def edit(account: Account) -> Account:
        since = (account.second_factor_required_at or now) if is_required else None
        return msgspec.structs.replace(account, second_factor_required_at=since)

    account = known.directory.change_account(seat.account.account_id, edit, demanding=still_allowed())
    return answer(_view(known, account))


def _use_own_code(known: Services, own: Person, code: str) -> None:
    """Whoever asks it of others has one at hand. Raises: Refused (409, 422, 429)."""
    if known.second_factors.of(own.person_id) is None:
        raise Refused(
            409,
            "second_factor_missing",
            "set up a second factor of your own first: it would be required of you, too",
        )
    use_code(known, own, code)


def _view(known: Services, account: Account) -> RequiredSecondFactorView:
    members = known.members.of(account.account_id)
    secured = known.second_factors.people_with([each.person.person_id for each in members])
    without = [each for each in members if each.person.person_id not in secured]
    return RequiredSecondFactorView(
        required=account.second_factor_required_at is not None,
        since=account.second_factor_required_at,
        members_without=[_member_view(each) for each in without],
    )


def _member_view(member: Member) -> MemberWithoutView:
    person = member.person
    return MemberWithoutView(id=person.person_id, email=person.email, name=person.name)
