"""One's own affairs: name, password, e-mail address, sessions."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from flask import Response
from pydantic import Field

from api_service.access import needs, network_of_caller, visitor
from api_service.answers import answer, nothing
from api_service.attempts import LOGINS_FROM_ADDRESS_MAX, LOGINS_MAX, MAILS_FROM_ADDRESS_MAX, MAILS_MAX
from api_service.auditing import concerns, concerns_whoever
from api_service.errors import Refused
from api_service.fields import (
    ID_CHARACTERS_MAX,
    Email,
    Input,
    MailedToken,
    NewPassword,
    Password,
    PersonName,
    View,
    example_of,
)
from api_service.letters import Letter, address_change, address_changed, password_changed, password_reset
from api_service.people import Person, Seat
from api_service.resources.people import (
    PERSON_EXAMPLE,
    LoggedIn,
    PersonView,
    mail_confirmation,
    own_seat,
    person_view,
    set_device_cookie,
    signed_in_at,
    subject_of,
    with_session,
    without_session,
)
from api_service.routing import OF_BODIES, OF_VISITORS, may_refuse, routes_of
from api_service.services import Services, services
from api_service.sessions import ListedSession
from metering.errors import NotFound, StoreError

FRESH: Final = timedelta(minutes=10)
LEFT_OUT_WHERE_FRESH: Final = (
    "One's password. Left out by who has none, and has signed in within ten minutes."
)

person = routes_of("person", is_open=True)

_SHOWS = "that shows that it is you"
_TOKEN_EXAMPLE = {"token": "Zx3…the-text-behind-#token=…Q"}  # nosec B105 # made up
_SESSION_EXAMPLE: dict[str, Any] = {
    "id": "session_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "account_id": "acct_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "network": "203.0.113.7",
    "created_at": "2026-11-21T09:30:00Z",
    "seen_at": "2026-11-21T10:00:00Z",
    "expires_at": "2026-11-28T09:30:00Z",
    "is_current": True,
}


class PersonPatch(Input):
    """What to change of oneself."""

    model_config = example_of({"name": "Ada"})

    name: PersonName


class NewPasswordOfOwn(Input):
    """The password one has, and the one to have."""

    model_config = example_of(
        {"current_password": "correct horse battery", "password": "staple hoof seven"}  # nosec B105 # made up
    )

    current_password: Password
    password: NewPassword


class WantedAddress(Input):
    """The e-mail address to have, and one's password."""

    model_config = example_of(
        {"email": "ada@example.net", "password": "correct horse battery"}  # nosec B105 # made up
    )

    email: Email
    password: Password


class AddressToReset(Input):
    """Whose password is forgotten."""

    model_config = example_of({"email": "ada@example.com"})

    email: Email


class TokenGiven(Input):
    """What came by mail."""

    model_config = example_of(_TOKEN_EXAMPLE)

    token: MailedToken


class PasswordByToken(Input):
    """What came by mail, and the password to have."""

    model_config = example_of({**_TOKEN_EXAMPLE, "password": "staple hoof seven"})  # nosec B105 # made up

    token: MailedToken
    password: NewPassword


class SessionPath(Input):
    """Which session."""

    session_id: str = Field(
        max_length=ID_CHARACTERS_MAX,
        description="The `id` that listing sessions shows.",
        json_schema_extra={"example": _SESSION_EXAMPLE["id"]},
    )


class OwnSessionView(View):
    """One log-in of oneself."""

    id: str = Field(description="Names the session, and opens nothing.")
    account_id: str = Field(description="The account it is in.")
    network: str = Field(description="Where the log-in came from: an address, of IPv6 its /64 network.")
    created_at: datetime = Field(description="When one logged in.")
    seen_at: datetime = Field(description="When it was last used, to five minutes.")
    expires_at: datetime = Field(description="When it ends by itself; earlier when it lies idle for a day.")
    is_current: bool = Field(description="Whether it is the one that asks.")


class OwnSessionsView(View):
    """All sessions of oneself that may be used, the newest first."""

    model_config = example_of({"data": [_SESSION_EXAMPLE], "has_more": False, "next_page": None})

    data: list[OwnSessionView] = Field(description="The sessions, the newest first.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


class MailedView(View):
    """A mail is on its way, if there is anybody to send it to."""

    model_config = example_of({"status": "accepted"})

    status: Annotated[str, Field(description="Always `accepted`; it says nothing of who has an address.")]


class PersonAnswer(PersonView):
    """Oneself."""

    model_config = example_of(PERSON_EXAMPLE)


_OWN = [{"session": list[str]()}]


@person.get("/v1/person", responses={200: PersonAnswer, **may_refuse(*OF_VISITORS)}, security=_OWN)
@needs("person", even_suspended=True)
def show_person() -> Response:
    """Show oneself."""
    return answer(person_view(own_seat().person))


@person.patch(
    "/v1/person", responses={200: PersonAnswer, **may_refuse(*OF_VISITORS, *OF_BODIES)}, security=_OWN
)
@needs("person", even_suspended=True)
def change_person(body: PersonPatch) -> Response:
    """Change one's name."""
    changed = services().people.change(
        own_seat().person.person_id, lambda now: msgspec.structs.replace(now, name=body.name)
    )
    return answer(person_view(changed))


@person.post(
    "/v1/person/password",
    responses={200: LoggedIn, **may_refuse(409, 429, *OF_VISITORS, *OF_BODIES)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def change_password(body: NewPasswordOfOwn) -> Response:
    """Change one's password.

    All of one's sessions end, on every instance; the answer begins a new one. A mail tells of it.
    """
    known, seat = services(), own_seat()
    check_in_full(known, seat.person, body.current_password, "current_password")
    changed = known.people.change_password(seat.person, known.passwords.hashed(body.password))
    forget_sessions(known, changed)
    known.postbox.send(password_changed(changed.email, known.clock.now()))
    return with_session(known, Seat(changed, seat.account, seat.place), status=200)


@person.post(
    "/v1/person/email",
    responses={202: MailedView, **may_refuse(429, *OF_VISITORS, *OF_BODIES)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def ask_for_address(body: WantedAddress) -> Response:
    """Ask for another e-mail address. A link is mailed to it, and the change happens when that is followed.

    The answer is the same where somebody else has the address; then nothing is mailed.
    """
    known, own = services(), own_seat().person
    check_in_full(known, own, body.password, "password")
    known.attempts.take(("mail", body.email), MAILS_MAX)

    def write() -> Letter | None:
        if known.people.is_taken(body.email):
            return None
        token = known.people.token("change_address", own, body.email)
        return address_change(body.email, known.settings.base_url, token)

    known.postbox.later(write)
    return _accepted()


@person.post(
    "/v1/person/confirmation",
    responses={202: MailedView, **may_refuse(429, *OF_VISITORS)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def ask_for_confirmation() -> Response:
    """Ask for another mail with the link that confirms one's address."""
    known, own = services(), own_seat().person
    known.attempts.take(("mail", own.email), MAILS_MAX)
    mail_confirmation(known, own)
    return _accepted()


@person.get(
    "/v1/person/sessions", responses={200: OwnSessionsView, **may_refuse(*OF_VISITORS)}, security=_OWN
)
@needs("person", even_suspended=True)
def list_own_sessions() -> Response:
    """List one's sessions, in all accounts."""
    known = services()
    current = known.sessions.public_id(visitor().session_id)
    data = [_session_view(each, current) for each in _sessions(known)]
    return answer(OwnSessionsView(data=data, has_more=False, next_page=None))


@person.delete(
    "/v1/person/sessions/<session_id>",
    responses={204: None, **may_refuse(404, *OF_VISITORS)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def end_session(path: SessionPath) -> Response:
    """End one of one's sessions, on every instance at once.

    Another than the present one within ten minutes of logging in: that shows that it is you.
    """
    known = services()
    if path.session_id != known.sessions.public_id(visitor().session_id):
        require_fresh_sign_in(known, _SHOWS)
    for each in _sessions(known):
        if each.public_id == path.session_id:
            known.sessions.end(each)
            return nothing()
    raise NotFound("there is no such session")


@person.delete("/v1/person/sessions", responses={204: None, **may_refuse(*OF_VISITORS)}, security=_OWN)
@needs("person", even_suspended=True)
def end_all_sessions() -> Response:
    """Log out everywhere: all of one's sessions end, this one too, and no mailed link works any more.

    Within ten minutes of logging in: that shows that it is you.
    """
    known, own = services(), own_seat().person
    require_fresh_sign_in(known, _SHOWS)
    known.people.end_all_sessions(own.person_id)
    forget_sessions(known, own)
    return without_session(known)


@person.post("/v1/password-reset", responses={202: MailedView, **may_refuse(403, *OF_BODIES, 429, 503)})
@needs("anyone")
def ask_for_reset(body: AddressToReset) -> Response:
    """Ask for a mail with a link that sets a new password.

    The answer says nothing, nor does the time it takes, of whether anybody has that address.
    """
    known = services()
    known.attempts.take(("mails", network_of_caller()), MAILS_FROM_ADDRESS_MAX)
    known.attempts.take(("mail", body.email), MAILS_MAX)

    def write() -> Letter | None:
        found = known.people.by_email(body.email)
        if found is None:
            return None
        token = known.people.token("reset_password", found)
        return password_reset(found.email, known.settings.base_url, token)

    if not known.afterwards.do(lambda: known.postbox.later(write)):
        raise Refused(503, "busy", "too much is waiting; try again in a moment", retry_after_seconds=5)
    concerns_whoever(subject_of(known, lambda: known.people.by_email(body.email)))
    return _accepted()


@person.post("/v1/password-reset/confirm", responses={204: None, **may_refuse(403, *OF_BODIES, 429, 503)})
@needs("anyone")
def reset_password(body: PasswordByToken) -> Response:
    """Set a new password by what came by mail, once.

    All of the person's sessions end, on every instance, and no other mailed link of theirs works any more.
    The browser is known from then on: however many strangers try the address's password, it may log in.
    """
    known = services()
    _take_token_attempt(known)
    concerns_whoever(subject_of(known, lambda: known.people.person_of_token("reset_password", body.token)))
    known.people.check_token("reset_password", body.token)  # before the work of hashing
    changed = known.people.reset_password(body.token, known.passwords.hashed(body.password))
    _note(known, changed)
    forget_sessions(known, changed)
    known.postbox.send(password_changed(changed.email, known.clock.now()))
    response = nothing()
    set_device_cookie(known, response, changed.email)  # whoever strangers keep out by trying gets in again
    return response


@person.post("/v1/email/confirm", responses={204: None, **may_refuse(403, *OF_BODIES, 429, 503)})
@needs("anyone")
def confirm_address(body: TokenGiven) -> Response:
    """Confirm one's e-mail address by what came by mail, once."""
    known = services()
    _take_token_attempt(known)
    _note(known, known.people.confirm_address(body.token))
    return nothing()


@person.post("/v1/email/change", responses={204: None, **may_refuse(403, 409, *OF_BODIES, 429, 503)})
@needs("anyone")
def change_address(body: TokenGiven) -> Response:
    """Change one's e-mail address by what came by mail to the new one, once. The old one is told."""
    known = services()
    _take_token_attempt(known)
    before, changed = known.people.change_address(body.token)
    _note(known, changed)
    known.postbox.send(address_changed(before, known.clock.now()))
    return nothing()


def _take_token_attempt(known: Services) -> None:
    known.attempts.take(("tokens", network_of_caller()), LOGINS_FROM_ADDRESS_MAX)


def _note(known: Services, changed: Person) -> None:
    """Have the change noted in the account that the person has been in for longest."""
    with suppress(StoreError):  # it is done already, and what is answered must say so
        for place in known.people.places_of(changed.person_id)[:1]:
            concerns(place.account_id, changed.person_id)


def check_password(known: Services, own: Person, password: str, param: str) -> None:
    """Whoever has a session may still not know the password. Raises: Refused (422, 429)."""
    attempts = ("password", own.person_id)
    known.attempts.take(attempts, LOGINS_MAX)
    if not known.passwords.matches(own.password_hash or None, password):
        raise Refused(422, "invalid_input", "this is not your password", param)
    known.attempts.forget(attempts)


def check_in_full(known: Services, own: Person, password: str, param: str) -> None:
    """See that it is them by all that a log-in asks for: a code is not old where they show codes.

    Raises: Refused (403, 422, 429).
    """
    if known.second_factors.of(own.person_id) is not None:
        require_fresh_sign_in(known, "it takes the code of your app, too")
    check_password(known, own, password, param)


def check_it_is_them(known: Services, own: Person, password: str) -> None:
    """See that it is them: by their password, or where they have none, by having signed in just now.

    Raises: Refused (403, 422, 429).
    """
    if own.password_hash:
        check_password(known, own, password, "password")
    else:
        require_fresh_sign_in(known, "you have no password to show")


def is_fresh(known: Services) -> bool:
    """Whether whoever asks has just shown who they are, and in every way that they have to."""
    at = signed_in_at()
    return at is not None and known.clock.now() - at <= FRESH


def require_fresh_sign_in(known: Services, why: str) -> None:
    """Whoever has found somebody's session open does not change how that person comes in.

    Raises: Refused (403).
    """
    if not is_fresh(known):
        minutes = FRESH // timedelta(minutes=1)
        raise Refused(403, "sign_in_again", f"log in anew, and do this within {minutes} minutes: {why}")


def forget_sessions(known: Services, ended: Person) -> None:
    """Remove what is kept of sessions that are void."""
    with suppress(StoreError):  # they are void already; retention deletes what is left
        known.sessions.forget_all(ended.person_id)


def _sessions(known: Services) -> list[ListedSession]:
    own = own_seat().person
    stays = {each.account_id: each.place_id for each in known.people.places_of(own.person_id)}
    listed = known.sessions.of(own.person_id, own.epoch)
    return [each for each in listed if stays.get(each.session.account_id) == each.session.place_id]


def _session_view(listed: ListedSession, current: str) -> OwnSessionView:
    session = listed.session
    return OwnSessionView(
        id=listed.public_id,
        account_id=session.account_id,
        network=session.network,
        created_at=session.created_at,
        seen_at=session.seen_at,
        expires_at=session.expires_at,
        is_current=listed.public_id == current,
    )


def _accepted() -> Response:
    return answer(MailedView(status="accepted"), 202)
