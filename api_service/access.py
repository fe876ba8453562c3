"""Who is asking, and what they may do here.

Every route declares what it needs with `needs`; a route that declares nothing serves nobody. There are two
ways in, and one place that reads either: a key in `Authorization: Bearer mt_…`, or a person's session in a
cookie. A request with an Authorization header is judged by that alone, whatever cookie comes with it. What a
role and a scope may is a table of its own (`api_service.roles`).
"""

import hmac
import inspect
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from flask import Flask, current_app, g, request

from api_service.attempts import network_of
from api_service.bodies import refuse_query
from api_service.errors import READING_METHODS, Refused
from api_service.people import Seat, present_place
from api_service.roles import TABLE, Action, role_covers, role_may, scopes_may
from api_service.services import Services, services
from api_service.sessions import Session
from api_service.settings import LOOPBACK_NAMES
from metering.accounts import Account
from metering.directory import Demands, KeyTerms
from metering.errors import Forbidden, NotFound, StoreError, Unauthenticated
from metering.keys import KeyRecord, is_well_formed_key
from metering.stores import Write

Need = Literal["anyone"] | Action
_OF_OTHERS = ("Authorization", "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
SECOND_FACTOR_REQUIRED = "second_factor_required"
LOOPBACK_ADDRESSES = frozenset({"127.0.0.1", "::1"})

View = TypeVar("View", bound=Callable[..., object])

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class Visitor:
    """Who is asking: an account, by a key, or by the session of a person who has a seat there.

    `owes_second_factor`: the account requires one of its members, and this person has none. They get at
    nothing of it then, but may see to their own affairs.
    """

    account: Account
    key: KeyRecord | None = None
    session: Session | None = None
    session_id: str = ""
    seat: Seat | None = None
    owes_second_factor: bool = False

    @property
    def account_id(self) -> str:
        """The account that everything asked for must belong to."""
        return self.account.account_id

    def may(self, action: Action) -> bool:
        """Whether the visitor has that right."""
        if self.key is not None:
            return scopes_may(self.key.scopes, action)
        if self.owes_second_factor and action != "person":
            return False
        return self.seat is not None and role_may(self.seat.place.role, action)


def needs(need: Need, *, even_suspended: bool = False) -> Callable[[View], View]:
    """Declare what a route needs: nobody in particular, or the right to do what `api_service.roles` lists.

    What there is to watch is also shown, self-hosted, to whoever asks from this machine without a key: there
    is no visitor then.
    A suspended account is served only on routes that say so.
    """

    def declare(view: View) -> View:
        view.__dict__["need"] = need
        view.__dict__["takes_query"] = "query" in inspect.signature(view).parameters
        view.__dict__["even_suspended"] = even_suspended
        return view

    return declare


def visitor() -> Visitor:
    """Who makes the present request; only on routes that need somebody."""
    found: Visitor = g.visitor
    return found


def somebody_logged_in() -> Visitor | None:
    """Whose session the request comes with, on routes that need nobody; None: nobody's."""
    known = services()
    if known.cookie_name not in request.cookies or "Authorization" in request.headers:
        return None
    with suppress(Unauthenticated, Refused, StoreError):  # in a closed account, or the store silent: nobody
        return _identified(known)
    return None


def session_of_page() -> tuple[Session, str]:
    """The present visitor's session and its id, for a page of ours alone.

    Raises: Refused, for a key, and for what a page of somebody else makes a browser ask.
    """
    asking = visitor()
    if asking.session is None:
        raise _session_required()
    origin = request.headers.get("Origin")
    is_ours = origin is None or origin in services().settings.origins
    if not is_ours or request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        raise Refused(403, "foreign_origin", "only pages of this service ask for their session (PUBLIC_URL)")
    return asking.session, asking.session_id


def still_may(action: Action) -> Callable[[], Visitor]:
    """What tells who the present visitor is by then, and that they still may do that in the same account.

    Long answers ask it now and then, in any thread: it needs nothing of the request, which is over by then.
    It raises as at the beginning of a request.
    """
    known, began = services(), visitor()

    def look() -> Visitor:
        if began.key is not None:
            asking = _by_record(known, known.directory.key_by_hash(began.key.key_hash))
        else:
            asking = _by_session(known, began.session_id)
        if asking.account_id != began.account_id:
            raise Unauthenticated("this session has moved to another account")
        check_right(asking, action, is_open_to_suspended=False)
        return asking

    return look


def guard(app: Flask) -> None:
    """Let no request reach its route without what the route needs."""
    app.before_request(_check)


def _check() -> None:
    known = services()
    _check_host(known)
    if request.routing_exception is not None or request.endpoint is None:
        return  # answered 404 or 405
    view = current_app.view_functions[request.endpoint]
    need: Need | None = getattr(view, "need", None)
    if need is None:
        raise Forbidden("this address is not open to anybody")
    _check_visitor(known, need, is_open_to_suspended=getattr(view, "even_suspended", False))
    if not getattr(view, "takes_query", False):
        refuse_query(request.args.keys())


def _check_visitor(known: Services, need: Need, *, is_open_to_suspended: bool) -> None:
    if need == "anyone":
        _check_page(known, is_cookie_write=False)
        return
    if need == "stats" and _is_of_this_machine(known):
        return
    g.visitor = _identified(known)
    if g.visitor.session is not None and request.method not in READING_METHODS:
        _check_page(known, is_cookie_write=True)
        _check_csrf_token(known, g.visitor)
    check_right(g.visitor, need, is_open_to_suspended=is_open_to_suspended)


def check_right(asking: Visitor, action: Action, *, is_open_to_suspended: bool) -> None:
    """See that the visitor may do that. Raises: Refused (403)."""
    if asking.account.status == "suspended" and not is_open_to_suspended:
        raise Refused(403, "account_suspended", "this account is suspended; write to support")
    if asking.owes_second_factor and action != "person":
        raise Refused(
            403,
            SECOND_FACTOR_REQUIRED,
            "this account requires a second factor of its members; set one up in your profile"
            " (POST /v1/person/second-factor), and go on",
        )
    if not asking.may(action):
        raise _right_missing(asking, action)


def _right_missing(asking: Visitor, action: Action) -> Refused:
    scope = TABLE[action].scope
    if asking.seat is not None:
        role = asking.seat.place.role
        return Refused(403, "role_missing", f"your role in this account, {role}, does not allow this")
    if scope is None:
        return _session_required()
    return Refused(403, "scope_missing", f"this key lacks the scope {scope}")


def _session_required() -> Refused:
    return Refused(403, "session_required", "no key may do this; log in with e-mail address and password")


def network_of_caller() -> str:
    """Where the request comes from, as our own front end says, never as the caller does."""
    hops = services().settings.hops
    forwarded = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",")]
    trusted = forwarded[-hops] if 0 < hops <= len(forwarded) else request.remote_addr
    return network_of(trusted or "")


def _is_of_this_machine(known: Services) -> bool:
    """Whether the caller is a program on a machine of one's own that names nobody.

    No front end on it, which hands on what may be anybody's; nor a page in a browser on it, whose own name
    somebody has let point here.
    """
    if known.settings.is_hosted or any(each in request.headers for each in _OF_OTHERS):
        return False
    if urlsplit(f"//{request.headers.get('Host', '')}").hostname not in LOOPBACK_NAMES:
        return False
    return request.remote_addr in LOOPBACK_ADDRESSES


def _check_host(known: Services) -> None:
    host = request.headers.get("Host", "")
    if not _HOST.fullmatch(host):
        raise Refused(400, "bad_host", "the Host header is malformed")
    names = known.settings.host_names
    if names is not None and urlsplit(f"//{host}").hostname not in names:
        raise Refused(400, "bad_host", "this service does not go by that name; see PUBLIC_URL")


def _identified(known: Services) -> Visitor:
    authorization = request.headers.getlist("Authorization")
    if authorization:
        return _by_key(known, authorization)
    cookie = request.cookies.get(known.cookie_name)
    if cookie is None:
        raise Unauthenticated("send a key as `Authorization: Bearer mt_…`, or log in")
    return _by_session(known, known.sessions.session_id_in(cookie))


def _by_key(known: Services, authorization: list[str]) -> Visitor:
    scheme, _, plain = authorization[0].partition(" ")
    if len(authorization) > 1 or scheme.lower() != "bearer":
        raise Unauthenticated("send a key as `Authorization: Bearer mt_…`, or log in")
    if not is_well_formed_key(plain):
        raise _key_unknown()
    return _by_record(known, known.directory.key_by_plain(plain))


def _by_record(known: Services, record: KeyRecord | None) -> Visitor:
    if record is None or not record.is_live(known.clock.now()):
        raise _key_unknown()
    account = known.directory.account(record.account_id)
    if account is None or account.closed_at is not None:
        raise _key_unknown()
    with suppress(StoreError):  # the figure is for people's information; nobody is refused for want of it
        known.directory.note_key_use(record.key_hash, known.clock.now())
    return Visitor(account=account, key=record)


def _key_unknown() -> Unauthenticated:
    """One text for everything that is wrong with a key, so that an answer tells nothing about other keys."""
    return Unauthenticated("this key is unknown, has expired or was revoked")


def _by_session(known: Services, session_id: str) -> Visitor:
    session = known.sessions.find(session_id)
    seat = known.people.seat(session.person_id, session.account_id)
    if seat is None or (seat.person.epoch, seat.place.place_id) != (session.epoch, session.place_id):
        raise Unauthenticated("this session has ended; log in again")
    if seat.account.closed_at is not None:
        raise Refused(
            401,
            "account_closed",
            "this account was closed and is being erased; log in again to go on in another of yours",
        )
    return Visitor(
        account=seat.account,
        session=session,
        session_id=session_id,
        seat=seat,
        owes_second_factor=known.second_factors.is_owed(seat.account, seat.person.person_id),
    )


def _check_page(known: Services, *, is_cookie_write: bool) -> None:
    """Refuse what a page of somebody else makes a browser send. Programs send neither header."""
    if request.method in READING_METHODS:
        return
    origin = request.headers.get("Origin")
    is_ours = origin in known.settings.origins or (origin is None and not is_cookie_write)
    if not is_ours or request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Refused(
            403,
            "foreign_origin",
            "with a session, only pages of this service write: their browser sends its address (PUBLIC_URL)"
            " as Origin; programs use a key",
        )


def _check_csrf_token(known: Services, asking: Visitor) -> None:
    sent = request.headers.get("X-CSRF-Token", "")
    if not sent:
        raise Refused(403, "csrf_token_missing", "send the csrf_token of this log-in as X-CSRF-Token")
    expected = known.sessions.csrf_token(asking.session_id)
    if not hmac.compare_digest(sent.encode(), expected.encode()):
        raise Refused(
            403,
            "csrf_token_wrong",
            "the X-CSRF-Token that was sent is not of this log-in; GET /v1/session tells the right one",
        )


def require_no_more_than_own(asking: Visitor, terms: KeyTerms) -> None:
    """Nobody manages keys that may do more than oneself. Raises: Forbidden."""
    own = asking.key
    if own is None:
        _require_role_covers(asking, terms)
        return
    if not set(terms.scopes) <= set(own.scopes):
        raise Forbidden("a key manages no keys with more scopes than its own")
    if (own.team and own.team != terms.team) or (own.app and own.app != terms.app):
        raise Forbidden("a key that is pinned to a team or app manages only keys with the same pins")


def _require_role_covers(asking: Visitor, terms: KeyTerms) -> None:
    for scope in terms.scopes:
        if asking.seat is None or not role_covers(asking.seat.place.role, scope):
            raise Forbidden(f"your role in this account manages no keys with the scope {scope}")


def require_confirmed_address(asking: Visitor) -> None:
    """Hosted, whoever makes keys or invites people has shown that their e-mail address is theirs.

    Raises: Refused (403).
    """
    seat = asking.seat
    if seat is not None and seat.person.confirmed_at is None and services().settings.is_hosted:
        raise Refused(
            403,
            "address_unconfirmed",
            "confirm your e-mail address first: follow the link that was mailed to it, or ask for another",
        )


def still_allowed() -> Demands:
    """What a change of keys, or the account's end, demands: that its maker is at its commit what they were.

    It raises Refused (403) or Unauthenticated where they lost their role, their place or the key meanwhile.
    """
    known, asking = services(), visitor()

    def demand() -> Sequence[Write]:
        if asking.key is not None:  # keys change under the same guard as what is changed here
            record = known.directory.key_by_hash(asking.key.key_hash)
            if record is None or not record.is_live(known.clock.now()):
                raise _key_unknown()
            return ()
        if asking.seat is None:
            raise _session_required()
        place, stays = present_place(known.store, asking.seat.place)
        if place.role != asking.seat.place.role:
            raise Refused(
                403, "role_missing", "your role was changed at the same moment; look, and ask again"
            )
        return (stays,)

    return demand


def require_unpinned(asking: Visitor) -> None:
    """What governs all calls of an account is changed by nobody who stands for one team or app of it.

    Raises: Forbidden.
    """
    own = asking.key
    if own is not None and (own.team or own.app):
        raise Forbidden("a key that is pinned to a team or app changes no budgets and no routing rules")


def require_no_longer_than_own(asking: Visitor, expires_at: datetime | None) -> None:
    """A key that expires makes no key that outlives it. Raises: Forbidden."""
    ends_at = None if asking.key is None else asking.key.expires_at
    if ends_at is not None and (expires_at is None or expires_at > ends_at):
        raise Forbidden("a key that expires makes no keys that outlive it")


def owned_key(keys: list[KeyRecord], key_id: str) -> KeyRecord:
    """The account's key of that id. Raises: NotFound, the same for another account's and for none's."""
    for each in keys:
        if each.key_id == key_id:
            return each
    raise NotFound("there is no such key")
