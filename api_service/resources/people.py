"""Signing up, logging in and out."""

from flask import Response, request
from pydantic import Field

from api_service.access import needs, session_of_page, visitor
from api_service.answers import answer, nothing
from api_service.attempts import (
    LOGINS_FROM_ADDRESS_MAX,
    LOGINS_MAX,
    SIGN_UPS_FROM_ADDRESS_MAX,
    network_of,
)
from api_service.errors import Refused
from api_service.fields import Email, Input, Name, NewPassword, Password, View, example_of
from api_service.people import Membership, Person, Role
from api_service.resources.accounts import ACCOUNT_EXAMPLE, AccountView, account_view
from api_service.routing import OF_BODIES, OF_VISITORS, may_refuse, routes_of
from api_service.services import Services, services
from api_service.sessions import LIFETIME_SECONDS
from metering.accounts import Account
from metering.errors import Unauthenticated
from metering.tags import normalised_tag

people = routes_of("people", is_open=True)


_LOG_IN_EXAMPLE = {"email": "ada@example.com", "password": "correct horse battery"}
_LOGGED_IN_EXAMPLE = {
    "person": {"id": "person_0190f3c2a1b47d6e8f90a1b2c3d4e5f6", "email": "ada@example.com"},
    "account": ACCOUNT_EXAMPLE,
    "role": "owner",
    "csrf_token": "0123456789abcdef" * 4,
}


class SignUp(Input):
    """A new person and the account to make for them."""

    model_config = example_of({**_LOG_IN_EXAMPLE, "account_name": "Ada & Co"})

    email: Email
    password: NewPassword
    account_name: Name


class LogIn(Input):
    """Somebody who has signed up."""

    model_config = example_of(_LOG_IN_EXAMPLE)

    email: Email
    password: Password


class PersonView(View):
    """Somebody who logs in."""

    id: str = Field(description="Names the person.")
    email: str = Field(description="The address they log in with.")


class LoggedIn(View):
    """A session, whose cookie comes along. Send `csrf_token` as X-CSRF-Token with every write."""

    model_config = example_of(_LOGGED_IN_EXAMPLE)

    person: PersonView = Field(description="Who is logged in.")
    account: AccountView = Field(description="The account they are logged in to.")
    role: Role = Field(description="What they are there.")
    csrf_token: str = Field(description="Sent as X-CSRF-Token with every write.")


@people.post("/v1/signup", responses={201: LoggedIn, **may_refuse(403, 409, *OF_BODIES, 429, 503)})
@needs("anyone")
def sign_up(body: SignUp) -> Response:
    """Sign up.

    Makes a person with an account and logs them in. On a self-hosted machine the first to sign up becomes
    the owner of the account that calls without a key belong to.
    """
    known = services()
    known.attempts.take(("sign-up", _network(known)), SIGN_UPS_FROM_ADDRESS_MAX)
    known.people.refuse_taken(body.email)
    if not normalised_tag(body.account_name):
        raise Refused(422, "invalid_input", "give the account a name that can be seen", "account_name")
    hashed = known.passwords.hashed(body.password)
    person, account, place = known.people.sign_up(body.email, hashed, body.account_name)
    return _with_session(known, person, account, place, status=201)


@people.post("/v1/login", responses={200: LoggedIn, **may_refuse(401, 403, *OF_BODIES, 429, 503)})
@needs("anyone")
def log_in(body: LogIn) -> Response:
    """Log in.

    The answer for an unknown address is the same, and takes as long, as for a wrong password.
    """
    known = services()
    network = _network(known)
    attempts = ("login", network, body.email)
    known.attempts.take(("logins", network), LOGINS_FROM_ADDRESS_MAX)
    known.attempts.take(attempts, LOGINS_MAX)
    person = known.people.by_email(body.email)
    stored = None if person is None else person.password_hash
    if not known.passwords.matches(stored, body.password) or person is None:
        raise Unauthenticated("this e-mail address and password do not belong together")
    known.attempts.forget(attempts)
    place = known.people.first_place_of(person.person_id)
    account = known.directory.account(place.account_id) if place else None
    if place is None or account is None:
        raise Unauthenticated("this person has no account any more")
    if known.passwords.is_outdated(person.password_hash):
        known.people.change_password_hash(person.person_id, known.passwords.hashed(body.password))
    return _with_session(known, person, account, place, status=200)


@people.get("/v1/session", responses={200: LoggedIn, **may_refuse(*OF_VISITORS)}, security=[{"session": []}])
@needs("read", even_suspended=True)
def show_session() -> Response:
    """Show the session: who is logged in, where, as what.

    For a page that was loaded anew and has the cookie, but no `csrf_token` any more.
    """
    known = services()
    session, session_id = session_of_page()
    person = known.people.person(session.person_id)
    place = known.people.place(session.person_id, session.account_id)
    if person is None or place is None:
        raise Unauthenticated("this session has ended; log in again")
    return answer(_logged_in(known, person, visitor().account, place, session_id))


@people.post("/v1/logout", responses={204: None, **may_refuse(*OF_VISITORS)}, security=[{"session": []}])
@needs("write", even_suspended=True)
def log_out() -> Response:
    """Log out.

    The session ends at once, on every instance. A key has no session to end.
    """
    known = services()
    if visitor().session is not None:
        known.sessions.close(visitor().session_id)
    response = nothing()
    response.delete_cookie(
        known.cookie_name, path="/", secure=known.settings.is_https, httponly=True, samesite="Strict"
    )
    return response


def _logged_in(
    known: Services, person: Person, account: Account, place: Membership, session_id: str
) -> LoggedIn:
    return LoggedIn(
        person=PersonView(id=person.person_id, email=person.email),
        account=account_view(account),
        role=place.role,
        csrf_token=known.sessions.csrf_token(session_id),
    )


def _with_session(
    known: Services, person: Person, account: Account, place: Membership, *, status: int
) -> Response:
    _end_earlier_session(known)
    session_id = known.sessions.open(person.person_id, account.account_id)
    response = answer(_logged_in(known, person, account, place, session_id), status)
    response.set_cookie(
        known.cookie_name,
        known.sessions.cookie_value(session_id),
        max_age=LIFETIME_SECONDS,
        path="/",
        secure=known.settings.is_https,
        httponly=True,
        samesite="Strict",
    )
    return response


def _end_earlier_session(known: Services) -> None:
    cookie = request.cookies.get(known.cookie_name)
    if cookie is None:
        return
    try:
        known.sessions.close(known.sessions.session_id_in(cookie))
    except Unauthenticated:
        return  # it was none of ours


def _network(known: Services) -> str:
    """Where the request comes from, as our own front end says, never as the caller does."""
    hops = known.settings.forwarding_hops
    forwarded = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",")]
    trusted = forwarded[-hops] if 0 < hops <= len(forwarded) else request.remote_addr
    return network_of(trusted or "")
