"""Signing up, logging in and out, and in which account."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from flask import Response, request
from pydantic import Field

from api_service.access import needs, network_of_caller, session_of_page, visitor
from api_service.answers import answer, nothing
from api_service.attempts import (
    LOGINS_FROM_ADDRESS_MAX,
    LOGINS_MAX,
    SIGN_UPS_FROM_ADDRESS_MAX,
)
from api_service.auditing import concerns_whoever
from api_service.devices import LIFETIME as DEVICE_LIFETIME
from api_service.errors import Refused
from api_service.fields import (
    ID_CHARACTERS_MAX,
    Email,
    Input,
    Name,
    NewPassword,
    Password,
    PersonName,
    View,
    example_of,
)
from api_service.letters import confirmation
from api_service.people import NOBODY, NewPerson, Person, Seat, default_account_name
from api_service.resources.accounts import ACCOUNT_EXAMPLE
from api_service.resources.half_sessions import CodeAwaited, awaiting_code
from api_service.roles import Role
from api_service.routing import OF_BODIES, OF_VISITORS, may_refuse, routes_of
from api_service.services import Services, services
from api_service.sessions import LIFETIME_SECONDS
from metering.accounts import LOCAL_ACCOUNT_ID, AccountStatus
from metering.errors import NotFound, Unauthenticated
from metering.tags import normalised_tag

people = routes_of("people", is_open=True)


_ACCOUNT_ID = re.compile(rf"acct_[0-9a-f]{{32}}|{LOCAL_ACCOUNT_ID}")
_LOG_IN_EXAMPLE = {"email": "ada@example.com", "password": "correct horse battery"}  # nosec B105 # made up
PERSON_EXAMPLE = {
    "id": "person_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "email": "ada@example.com",
    "name": "Ada",
    "address_confirmed": True,
}
LOGGED_IN_EXAMPLE = {
    "person": PERSON_EXAMPLE,
    "account": {name: ACCOUNT_EXAMPLE[name] for name in ("id", "name", "status")},
    "role": "owner",
    "second_factor_owed": False,
    "csrf_token": "0123456789abcdef" * 4,
}
_PLACE_EXAMPLE = {
    "account_id": ACCOUNT_EXAMPLE["id"],
    "account_name": "Ada & Co",
    "status": "active",
    "role": "owner",
    "is_current": True,
    "since": "2026-11-21T09:30:00Z",
}


class SignUp(Input):
    """A new person and the account to make for them. Both may go without a name."""

    model_config = example_of({**_LOG_IN_EXAMPLE, "account_name": "Ada & Co", "name": "Ada"})

    email: Email
    password: NewPassword
    account_name: Name | None = None
    name: PersonName = ""


class LogIn(Input):
    """Somebody who has signed up."""

    model_config = example_of(_LOG_IN_EXAMPLE)

    email: Email
    password: Password


class PersonView(View):
    """Somebody who logs in."""

    id: str = Field(description="Names the person.")
    email: str = Field(description="The address they log in with.")
    name: str = Field(description="What they are called; empty: they did not say.")
    address_confirmed: bool = Field(
        description="Whether they have shown that mail to the address reaches them; hosted, keys and invites "
        "wait for it."
    )


class AccountOfSession(View):
    """The account that a session is in. What else there is to know of it: `GET /v1/account`."""

    id: str = Field(description="Names the account.")
    name: str = Field(description="What people call it.")
    status: AccountStatus = Field(description="`suspended`: nothing but logging out is served.")


class LoggedIn(View):
    """A session, whose cookie comes along. Send `csrf_token` as X-CSRF-Token with every write."""

    model_config = example_of(LOGGED_IN_EXAMPLE)

    person: PersonView = Field(description="Who is logged in.")
    account: AccountOfSession = Field(description="The account they are logged in to.")
    role: Role = Field(description="What they are there.")
    second_factor_owed: bool = Field(
        description="Whether the account requires a second factor that they do not have: everything of the "
        "account is refused, 403 `second_factor_required`, until one is set up "
        "(`POST /v1/person/second-factor`)."
    )
    csrf_token: str = Field(description="Sent as X-CSRF-Token with every write.")


@people.post("/v1/signup", responses={201: LoggedIn, **may_refuse(403, 409, *OF_BODIES, 429, 503)})
@needs("anyone")
def sign_up(body: SignUp) -> Response:
    """Sign up.

    Makes a person with an account, logs them in, and mails a link that confirms their address. On a
    self-hosted machine the first to sign up becomes the owner of the account that calls without a key
    belong to.
    """
    known = services()
    known.attempts.take(("sign-up", network_of_caller()), SIGN_UPS_FROM_ADDRESS_MAX)
    known.people.refuse_taken(body.email)
    account_name = default_account_name(body.email) if body.account_name is None else body.account_name
    if not normalised_tag(account_name):
        raise Refused(422, "invalid_input", "give the account a name that can be seen", "account_name")
    hashed = known.passwords.hashed(body.password)
    newcomer = NewPerson(email=body.email, password_hash=hashed, name=body.name)
    seat = known.people.sign_up(newcomer, account_name)
    mail_confirmation(known, seat.person)
    return with_session(known, seat, status=201)


@people.post(
    "/v1/login",
    responses={200: LoggedIn, 202: CodeAwaited, **may_refuse(401, 403, *OF_BODIES, 429, 503)},
)
@needs("anyone")
def log_in(body: LogIn) -> Response:
    """Log in, to the account that the person has been in for longest.

    The answer for an unknown address is the same, and takes as long, as for a wrong password. Whoever has a
    second factor is answered 202, and shows a code to `POST /v1/login/second-factor` next.
    """
    known = services()
    network = network_of_caller()
    attempts = ("login", network, body.email)
    known.attempts.take(("logins", network), LOGINS_FROM_ADDRESS_MAX)
    known.attempts.take(attempts, LOGINS_MAX)
    is_known = known.devices.is_known(body.email, request.cookies.get(known.device_cookie_name))
    standing = known.attempts.take_of_address(body.email, is_known=is_known)
    concerns_whoever(subject_of(known, lambda: known.people.by_email(body.email)))
    person = known.people.by_email(body.email)
    stored = None if person is None else person.password_hash
    if not known.passwords.matches(stored, body.password) or person is None:
        raise Unauthenticated("this e-mail address and password do not belong together")
    known.attempts.forget(attempts)
    known.attempts.give_back_of_address(body.email, standing, is_known=is_known)
    if known.passwords.is_outdated(person.password_hash):
        known.people.renew_password_hash(person, known.passwords.hashed(body.password))
    seat = known.people.seat_to_begin_in(person)
    if known.second_factors.of(person.person_id) is not None:
        return awaiting_code(known, seat)
    return with_session(known, seat, status=200)


@people.get("/v1/session", responses={200: LoggedIn, **may_refuse(*OF_VISITORS)}, security=[{"session": []}])
@needs("person", even_suspended=True)
def show_session() -> Response:
    """Show the session: who is logged in, where, as what.

    For a page that was loaded anew and has the cookie, but no `csrf_token` any more.
    """
    _, session_id = session_of_page()
    return answer(logged_in(services(), own_seat(), session_id))


@people.post("/v1/logout", responses={204: None, **may_refuse(*OF_VISITORS)}, security=[{"session": []}])
@needs("person", even_suspended=True)
def log_out() -> Response:
    """Log out. The session ends at once, on every instance."""
    known = services()
    known.sessions.close(visitor().session_id)
    return without_session(known)


class SwitchTo(Input):
    """Which of one's accounts to go on in."""

    model_config = example_of({"account_id": ACCOUNT_EXAMPLE["id"]})

    account_id: Annotated[str, Field(min_length=1, max_length=ID_CHARACTERS_MAX)]


class PlaceView(View):
    """One's place in an account."""

    account_id: str = Field(description="Names the account.")
    account_name: str = Field(description="What people call it.")
    status: AccountStatus = Field(description="`suspended`: it serves nothing but its people's own affairs.")
    role: Role = Field(description="What one is there.")
    is_current: bool = Field(description="Whether the session that asks is there.")
    since: datetime = Field(description="Since when one belongs to it.")


class PlacesView(View):
    """All accounts that one belongs to, the first joined first."""

    model_config = example_of({"data": [_PLACE_EXAMPLE], "has_more": False, "next_page": None})

    data: list[PlaceView] = Field(description="The accounts, the first joined first.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


@people.get(
    "/v1/accounts", responses={200: PlacesView, **may_refuse(*OF_VISITORS)}, security=[{"session": []}]
)
@needs("person", even_suspended=True)
def list_accounts() -> Response:
    """List the accounts that one belongs to."""
    known, current = services(), visitor().account_id
    data = [
        PlaceView(
            account_id=seat.account.account_id,
            account_name=seat.account.name,
            status=seat.account.status,
            role=seat.place.role,
            is_current=seat.account.account_id == current,
            since=seat.place.created_at,
        )
        for seat in known.people.seats_of(own_seat().person)
    ]
    return answer(PlacesView(data=data, has_more=False, next_page=None))


@people.post(
    "/v1/session/switch",
    responses={200: LoggedIn, **may_refuse(404, *OF_VISITORS, *OF_BODIES)},
    security=[{"session": []}],
)
@needs("person", even_suspended=True)
def switch_account(body: SwitchTo) -> Response:
    """Go on in another of one's accounts. The session is a new one, with a new `csrf_token`."""
    known, unknown = services(), NotFound("there is no such account")
    if not _ACCOUNT_ID.fullmatch(body.account_id):
        raise unknown
    seat = known.people.seat(own_seat().person.person_id, body.account_id)
    if seat is None or seat.account.closed_at is not None:
        raise unknown
    return with_session(known, seat, status=200, signed_in_at=signed_in_at())


@people.post(
    "/v1/account/leave",
    responses={204: None, **may_refuse(409, *OF_VISITORS)},
    security=[{"session": []}],
)
@needs("person", even_suspended=True)
def leave_account() -> Response:
    """Leave the account. The last owner cannot; one's sessions there end at once."""
    known, seat = services(), own_seat()
    known.members.remove(seat.account.account_id, seat.person.person_id, by=seat.place)
    known.sessions.close(visitor().session_id)
    return without_session(known)


def own_seat() -> Seat:
    """The person who asks, and where; on routes that need a person."""
    seat = visitor().seat
    if seat is None:
        raise Unauthenticated("log in with e-mail address and password")
    return seat


def mail_confirmation(known: Services, person: Person) -> None:
    """Mail the person a link that confirms their address, a moment later."""
    known.postbox.later(
        lambda: confirmation(person.email, known.settings.base_url, known.people.token("confirm", person))
    )


def person_view(person: Person) -> PersonView:
    """The person as the API shows them to themselves."""
    return PersonView(
        id=person.person_id,
        email=person.email,
        name=person.name,
        address_confirmed=person.confirmed_at is not None,
    )


def logged_in(known: Services, seat: Seat, session_id: str) -> LoggedIn:
    """What a session is answered with."""
    return LoggedIn(
        person=person_view(seat.person),
        account=AccountOfSession(
            id=seat.account.account_id, name=seat.account.name, status=seat.account.status
        ),
        role=seat.place.role,
        second_factor_owed=known.second_factors.is_owed(seat.account, seat.person.person_id),
        csrf_token=known.sessions.csrf_token(session_id),
    )


def with_session(
    known: Services, seat: Seat, *, status: int, signed_in_at: datetime | None = None
) -> Response:
    """The answer that begins a session; one that the browser had before ends."""
    session_id = begin_session(known, seat, signed_in_at)
    response = answer(logged_in(known, seat, session_id), status)
    set_session_cookie(known, response, session_id)
    set_device_cookie(known, response, seat.person.email)
    return response


def begin_session(known: Services, seat: Seat, signed_in_at: datetime | None = None) -> str:
    """A new session's id; the one that the browser had before ends. `signed_in_at` None: just now."""
    end_earlier_session(known)
    return known.sessions.open(seat.place, seat.person.epoch, network_of_caller(), signed_in_at=signed_in_at)


def signed_in_at() -> datetime | None:
    """When the present visitor last showed who they are, for a session that goes on from theirs."""
    session = visitor().session
    return None if session is None else session.signed_in_at or session.created_at


def set_session_cookie(known: Services, response: Response, session_id: str) -> None:
    """Give the browser its session."""
    response.set_cookie(
        known.cookie_name,
        known.sessions.cookie_value(session_id),
        max_age=LIFETIME_SECONDS,
        path="/",
        secure=known.settings.is_https,
        httponly=True,
        samesite="Strict",
    )


def set_device_cookie(known: Services, response: Response, email: str) -> None:
    """Let the browser be known from now on as one of whoever has the address."""
    response.set_cookie(
        known.device_cookie_name,
        known.devices.mark(email),
        max_age=int(DEVICE_LIFETIME.total_seconds()),
        path="/",
        secure=known.settings.is_https,
        httponly=True,
        samesite="Strict",
    )


def subject_of(known: Services, find: Callable[[], Person | None]) -> Callable[[], tuple[str, str] | None]:
    """What finds account and person that an attempt is about: whom `find` gives, where they are longest."""

    def subject() -> tuple[str, str] | None:
        found = find()
        places = known.people.places_of(NOBODY if found is None else found.person_id)
        return (places[0].account_id, places[0].person_id) if places else None

    return subject


def without_session(known: Services) -> Response:
    """Done, and the browser forgets its session."""
    response = nothing()
    response.delete_cookie(
        known.cookie_name, path="/", secure=known.settings.is_https, httponly=True, samesite="Strict"
    )
    return response


def end_earlier_session(known: Services) -> None:
    """End the session that the browser has, if any."""
    cookie = request.cookies.get(known.cookie_name)
    if cookie is None:
        return
    try:
        known.sessions.close(known.sessions.session_id_in(cookie))
    except Unauthenticated:
        return  # it was none of ours
