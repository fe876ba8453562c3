"""Signing in with Google and GitHub, and linking an identity there to oneself.

    page    POST /v1/sign-in/google        → the address to go to, and a ticket in a cookie
    browser goes there, signs in, and is sent back to
            GET /v1/sign-in/google/return  → a session, and a page that leads on

The ticket's cookie is Lax and lives ten minutes, since the way back comes from elsewhere; the session's own
stays Strict, and is sent from that page on (`api_service.arrivals`).
"""

from datetime import datetime
from typing import Annotated, Any

from flask import Response, request
from pydantic import ConfigDict, Field

from api_service.access import needs, network_of_caller, visitor
from api_service.answers import answer, nothing
from api_service.arrivals import leading_to, telling, wants_page
from api_service.attempts import LOGINS_FROM_ADDRESS_MAX, SIGN_UPS_FROM_ADDRESS_MAX
from api_service.auditing import concerns
from api_service.errors import Refused, refusal_of
from api_service.fields import Form, Input, Password, View, example_of
from api_service.identities import Identity
from api_service.letters import identity_changed
from api_service.people import Person, Seat
from api_service.resources.half_sessions import (
    begin_half_session,
    forget_cookie,
    set_cookie,
)
from api_service.resources.people import (
    begin_session,
    end_earlier_session,
    own_seat,
    set_device_cookie,
    set_session_cookie,
)
from api_service.resources.person import check_in_full, require_fresh_sign_in
from api_service.routing import OF_BODIES, OF_VISITORS, may_refuse, routes_of
from api_service.services import Services, services
from api_service.sign_in_providers import Attempt, ProviderName, SignInProvider
from api_service.sign_ins import SignIn, sign_in_over
from metering.errors import Conflict, MeteringError, NotFound

CODE_CHARACTERS_MAX = 4096
SECOND_FACTOR_PAGE = "/second-factor"  # where whoever came from a provider shows a code
LOG_IN_PAGE = "/login"

sign_in = routes_of("sign-in", is_open=True)

_OWN = [{"session": list[str]()}]
_PROVIDER_EXAMPLE = {"provider": "google", "title": "Google"}
_IDENTITY_EXAMPLE: dict[str, Any] = {
    **_PROVIDER_EXAMPLE,
    "email": "ada@example.com",
    "linked_at": "2026-11-21T09:30:00Z",
}

ReturnTo = Annotated[
    str,
    Form(r"/|(/[A-Za-z0-9._~-]{1,64}){1,8}/?", "give a path of this service's own pages, such as /usage"),
    Field(description="The page of this service to go to in the end; a path only."),
]


class ProviderPath(Input):
    """Which provider."""

    provider: ProviderName = Field(description="Where one signs in.", json_schema_extra={"example": "google"})


class SignInBegin(Input):
    """Where to go when signed in."""

    model_config = example_of({"return_to": "/usage"})

    return_to: ReturnTo = "/"


class LinkBegin(Input):
    """One's password, and where to go when linked."""

    model_config = example_of(
        {"password": "correct horse battery", "return_to": "/settings"}  # nosec B105 # made up
    )

    password: Password
    return_to: ReturnTo = "/"


class ReturnQuery(Input):
    """What the provider sends the browser back with. What else it sends is not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: str = Field(default="", max_length=CODE_CHARACTERS_MAX, description="What we sent it there with.")
    code: str = Field(default="", max_length=CODE_CHARACTERS_MAX, description="Stands for who signed in.")
    error: str = Field(default="", max_length=CODE_CHARACTERS_MAX, description="Why nobody did.")
    iss: str = Field(default="", max_length=CODE_CHARACTERS_MAX, description="Who sends it back.")


class ProviderView(View):
    """Somewhere to sign in."""

    provider: ProviderName = Field(description="Names it.")
    title: str = Field(description="What people call it.")


class ProvidersView(View):
    """Where one may sign in besides by password; empty: nowhere."""

    model_config = example_of({"data": [_PROVIDER_EXAMPLE], "has_more": False, "next_page": None})

    data: list[ProviderView] = Field(description="Those that are set up here.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


class SignInBegunView(View):
    """Where the browser goes next."""

    model_config = example_of(
        {"url": "https://accounts.google.com/o/oauth2/v2/auth?response_type=code&client_id=…&state=…"}
    )

    url: str = Field(description="The provider's page, for this browser and within ten minutes.")


class IdentityView(ProviderView):
    """An identity of one's own."""

    email: str = Field(description="The address that the provider said when it was linked; empty: none.")
    linked_at: datetime = Field(description="When it was linked.")


class IdentitiesView(View):
    """All identities that let one in."""

    model_config = example_of(
        {
            "data": [_IDENTITY_EXAMPLE],
            "has_more": False,
            "next_page": None,
            "has_password": True,  # nosec B105 # a flag
        }
    )

    data: list[IdentityView] = Field(description="The identities.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")
    has_password: bool = Field(description="Whether one has a password, too.")


@sign_in.get("/v1/sign-in-providers", responses={200: ProvidersView, **may_refuse(503)})
@needs("anyone")
def list_providers() -> Response:
    """List where one may sign in besides by password."""
    data = [ProviderView(provider=name, title=each.title) for name, each in services().providers.items()]
    return answer(ProvidersView(data=data, has_more=False, next_page=None))


@sign_in.post(
    "/v1/sign-in/<provider>",
    responses={200: SignInBegunView, **may_refuse(403, 404, *OF_BODIES, 429, 503)},
)
@needs("anyone")
def begin_sign_in(path: ProviderPath, body: SignInBegin) -> Response:
    """Begin to sign in, or up, elsewhere: the answer says where the browser goes.

    Whoever is known by a verified address of theirs is logged in; who is not, signs up. A session that this
    browser has ends.
    """
    known = services()
    known.attempts.take(("logins", network_of_caller()), LOGINS_FROM_ADDRESS_MAX)
    provider = _provider(known, path.provider)
    begun = SignIn(purpose="log_in", provider=path.provider, return_to=body.return_to)
    response = _going_to(known, provider, begun)
    end_earlier_session(known)
    return response


@sign_in.get(
    "/v1/sign-in/<provider>/return",
    responses={200: None, **may_refuse(403, 404, 429, 503)},
)
@needs("anyone")
def return_from_provider(path: ProviderPath, query: ReturnQuery) -> Response:
    """Come back from where one signed in, in the browser that began, once.

    The answer is a page that leads on: to `return_to`, or to `/second-factor` where a code is owed still.
    Browsers are shown refusals as a page, too.
    """
    known = services()
    try:
        known.attempts.take(("returns", network_of_caller()), LOGINS_FROM_ADDRESS_MAX)
        response = _completed(known, path.provider, query)
    except MeteringError as error:
        refusal = refusal_of(error)
        if not wants_page():
            raise refusal from None
        response = telling(refusal.message, LOG_IN_PAGE, refusal.status)
    forget_cookie(known, response, "sign_in")
    return response


@sign_in.get(
    "/v1/person/identities", responses={200: IdentitiesView, **may_refuse(*OF_VISITORS)}, security=_OWN
)
@needs("person", even_suspended=True)
def list_identities() -> Response:
    """List the identities elsewhere that let one in."""
    own = own_seat().person
    data = [
        IdentityView(provider=name, title=_title(name), email=each.email, linked_at=each.linked_at)
        for name, each in _by_provider(own)
    ]
    return answer(
        IdentitiesView(data=data, has_more=False, next_page=None, has_password=bool(own.password_hash))
    )


@sign_in.post(
    "/v1/person/identities/<provider>",
    responses={200: SignInBegunView, **may_refuse(404, 429, *OF_VISITORS, *OF_BODIES)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def begin_link(path: ProviderPath, body: LinkBegin) -> Response:
    """Begin to link an identity elsewhere to oneself, whatever its address: it lets one in from then on."""
    known, own = services(), own_seat().person
    provider = _provider(known, path.provider)
    check_in_full(known, own, body.password, "password")
    begun = SignIn(
        purpose="link",
        provider=path.provider,
        return_to=body.return_to,
        person_id=own.person_id,
        epoch=own.epoch,
        session=known.sessions.public_id(visitor().session_id),
    )
    return _going_to(known, provider, begun)


@sign_in.delete(
    "/v1/person/identities/<provider>",
    responses={204: None, **may_refuse(404, 409, *OF_VISITORS)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def unlink(path: ProviderPath) -> Response:
    """Unlink an identity: it lets one in no more. One's only way in stays.

    Within ten minutes of logging in: that shows that it is you.
    """
    known = services()
    require_fresh_sign_in(known, "that shows that it is you")
    changed = known.identities.unlink(own_seat().person.person_id, path.provider)
    _tell(known, changed, path.provider, is_linked=False)
    return nothing()


def _completed(known: Services, name: ProviderName, query: ReturnQuery) -> Response:
    provider = _provider(known, name)
    ticket = request.cookies.get(known.ticket_name("sign_in"), "")
    found = known.sign_ins.find(ticket)
    begun = None if found is None else found.sign_in
    is_ours = known.sign_ins.is_bond("state", ticket, query.state)
    if found is None or begun is None or begun.provider != name or not is_ours:
        raise sign_in_over()
    known.sign_ins.use(found)
    if query.iss and query.iss != provider.issuer:
        raise sign_in_over()  # it was another provider's answer that the browser was made to bring here
    if query.error or not query.code:
        raise Refused(403, "sign_in_declined", "nobody was signed in there; begin again, or log in here")
    identity = provider.identity(_attempt(known, name, ticket), query.code)
    if begun.purpose == "link":
        return _linked(known, begun, identity)
    return _entered(known, _seat_of(known, identity), begun.return_to)


def _seat_of(known: Services, identity: Identity) -> Seat:
    """Where whoever has that identity comes in; with an account of their own, if they are new."""
    recognised = known.identities.recognise(identity)
    if recognised is None:
        known.attempts.take(("sign-up", network_of_caller()), SIGN_UPS_FROM_ADDRESS_MAX)
        try:
            return known.identities.sign_up(identity)
        except Conflict:  # they came twice at the same moment
            raise sign_in_over() from None
    if recognised.is_new:
        _tell(known, recognised.person, identity.provider, is_linked=True)
    return known.people.seat_to_begin_in(recognised.person)


def _entered(known: Services, seat: Seat, return_to: str) -> Response:
    concerns(seat.account.account_id, seat.person.person_id)
    if known.second_factors.of(seat.person.person_id) is not None:
        response = leading_to(f"{SECOND_FACTOR_PAGE}#return_to={return_to}")
        begin_half_session(known, seat, response)
        return response
    response = leading_to(return_to)
    set_session_cookie(known, response, begin_session(known, seat))
    set_device_cookie(known, response, seat.person.email)
    return response


def _linked(known: Services, begun: SignIn, identity: Identity) -> Response:
    listed = known.sessions.of(begun.person_id, begun.epoch)
    asking = [each.session for each in listed if each.public_id == begun.session]
    if not asking:
        raise Refused(403, "session_ended", "the session that asked for this has ended; log in again")
    concerns(asking[0].account_id, begun.person_id)
    changed = known.identities.link(begun.person_id, begun.epoch, identity)
    _tell(known, changed, identity.provider, is_linked=True)
    return leading_to(begun.return_to)


def _going_to(known: Services, provider: SignInProvider, begun: SignIn) -> Response:
    ticket = known.sign_ins.begin(begun)
    url = provider.address(_attempt(known, begun.provider, ticket))
    response = answer(SignInBegunView(url=url))
    set_cookie(known, response, "sign_in", ticket)
    return response


def _attempt(known: Services, provider: str, ticket: str) -> Attempt:
    return Attempt(
        return_url=f"{known.settings.base_url}/v1/sign-in/{provider}/return",
        state=known.sign_ins.bond("state", ticket),
        nonce=known.sign_ins.bond("nonce", ticket),
        verifier=known.sign_ins.bond("verifier", ticket),
    )


def _provider(known: Services, name: ProviderName) -> SignInProvider:
    found = known.providers.get(name)
    if found is None:
        raise NotFound(f"signing in with {_title(name)} is not set up here")
    return found


def _by_provider(person: Person) -> list[tuple[ProviderName, Any]]:
    names: tuple[ProviderName, ...] = ("google", "github")
    return [(name, person.identities[name]) for name in names if name in person.identities]


def _title(name: str) -> str:
    return {"google": "Google", "github": "GitHub"}[name]


def _tell(known: Services, person: Person, provider: str, *, is_linked: bool) -> None:
    known.postbox.send(
        identity_changed(person.email, known.clock.now(), _title(provider), is_linked=is_linked)
    )
