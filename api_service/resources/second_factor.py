"""One's second factor: setting it up, showing codes, switching it off."""

from datetime import datetime
from typing import Annotated

from flask import Response
from pydantic import Field, StringConstraints

from api_service.access import needs, network_of_caller
from api_service.answers import answer, nothing
from api_service.attempts import LOGINS_FROM_ADDRESS_MAX
from api_service.auditing import concerns
from api_service.fields import Input, Password, View, example_of
from api_service.letters import recovery_code_used, second_factor_changed
from api_service.people import Person, Seat
from api_service.resources.half_sessions import forget_cookie, half_session
from api_service.resources.people import (
    LOGGED_IN_EXAMPLE,
    LoggedIn,
    begin_session,
    logged_in,
    own_seat,
    set_session_cookie,
    signed_in_at,
    with_session,
)
from api_service.resources.person import LEFT_OUT_WHERE_FRESH, check_it_is_them, forget_sessions
from api_service.routing import OF_BODIES, OF_VISITORS, may_refuse, routes_of
from api_service.second_factors import RECOVERY_CODES
from api_service.services import Services, services

CODE_CHARACTERS_MAX = 40
CODES_MAX = 5  # a quarter of an hour and person: some 0.15 % of guessing one in a day

second_factor = routes_of("second factor", is_open=True)

_OWN = [{"session": list[str]()}]
_CODES_EXAMPLE = ["1a2b3c4-d5e6f70-8192a3b-4c5d6e7"]
_PASSWORD_EXAMPLE = {"password": "correct horse battery"}  # nosec B105 # made up

Code = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=CODE_CHARACTERS_MAX),
    Field(description="The six digits that the app shows now, or a recovery code; either is good once."),
]


class PasswordOfOwn(Input):
    """One's password."""

    model_config = example_of(_PASSWORD_EXAMPLE)

    password: Password = Field(default="", description=LEFT_OUT_WHERE_FRESH)


class CodeGiven(Input):
    """A code."""

    model_config = example_of({"code": "492039"})

    code: Code


class PasswordAndCode(Input):
    """One's password, and a code."""

    model_config = example_of({**_PASSWORD_EXAMPLE, "code": "492039"})

    password: Password = Field(default="", description=LEFT_OUT_WHERE_FRESH)
    code: Code


class SecondFactorView(View):
    """Whether one's log-ins ask for a code."""

    model_config = example_of(
        {"enabled": True, "since": "2026-11-21T09:30:00Z", "recovery_codes_left": RECOVERY_CODES}
    )

    enabled: bool = Field(description="Whether each log-in asks for a code.")
    since: datetime | None = Field(description="Since when; null: it does not.")
    recovery_codes_left: int = Field(description="How many recovery codes were not used.")


class EnrolmentView(View):
    """What the app is to be told. Shown once; it counts when one of its codes was shown."""

    model_config = example_of(
        {
            "secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",  # nosec B105 # made up
            "otpauth_url": "otpauth://totp/ModelTrack:ada%40example.com"
            "?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=ModelTrack",
            "qr_code": "data:image/svg+xml;charset=utf-8,…",
        }
    )

    secret: str = Field(description="The secret, in base32, to be typed in.")
    otpauth_url: str = Field(description="The same, as apps read it.")
    qr_code: str = Field(description="The same as a picture: a `data:` address of a QR code in SVG.")


class RecoveryCodesView(View):
    """Codes for when the app is lost, each good once. Shown once."""

    model_config = example_of({"recovery_codes": _CODES_EXAMPLE})

    recovery_codes: list[str] = Field(description="The codes; all earlier ones are void.")


class SecondFactorOn(LoggedIn):
    """The second factor is on; a session of its own begins, and all others have ended."""

    model_config = example_of({**LOGGED_IN_EXAMPLE, "recovery_codes": _CODES_EXAMPLE})

    recovery_codes: list[str] = Field(description="Codes for when the app is lost, each good once.")


@second_factor.post(
    "/v1/login/second-factor", responses={200: LoggedIn, **may_refuse(403, *OF_BODIES, 429, 503)}
)
@needs("anyone")
def complete_log_in(body: CodeGiven) -> Response:
    """Complete a log-in by a code, in the browser that began it and within five minutes."""
    known = services()
    known.attempts.take(("codes", network_of_caller()), LOGINS_FROM_ADDRESS_MAX)
    half, person = half_session(known)
    seat = known.people.seat_to_begin_in(person)
    concerns(seat.account.account_id, person.person_id)
    use_code(known, person, body.code)
    known.sign_ins.use(half)
    response = with_session(known, seat, status=200)
    forget_cookie(known, response, "second_factor")
    return response


@second_factor.get(
    "/v1/person/second-factor",
    responses={200: SecondFactorView, **may_refuse(*OF_VISITORS)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def show_second_factor() -> Response:
    """Show whether one's log-ins ask for a code."""
    found = services().second_factors.of(own_seat().person.person_id)
    return answer(
        SecondFactorView(
            enabled=found is not None,
            since=None if found is None else found.confirmed_at,
            recovery_codes_left=0 if found is None else len(found.recovery_hashes),
        )
    )


@second_factor.post(
    "/v1/person/second-factor",
    responses={201: EnrolmentView, **may_refuse(409, 429, *OF_VISITORS, *OF_BODIES)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def begin_second_factor(body: PasswordOfOwn) -> Response:
    """Begin to set up a second factor. Nothing changes before one of its codes is shown, within 15 minutes.

    Who has no password, because they sign in elsewhere, has done so within ten minutes.
    """
    known, own = services(), own_seat().person
    check_it_is_them(known, own, body.password)
    made = known.second_factors.enrol(own.person_id, own.email)
    return answer(
        EnrolmentView(secret=made.secret, otpauth_url=made.otpauth_url, qr_code=_qr_code(made.otpauth_url)),
        201,
    )


@second_factor.post(
    "/v1/person/second-factor/confirm",
    responses={200: SecondFactorOn, **may_refuse(409, 429, *OF_VISITORS, *OF_BODIES)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def confirm_second_factor(body: CodeGiven) -> Response:
    """Switch the second factor on, by a code of the app. All of one's sessions end; a new one begins."""
    known, seat = services(), own_seat()
    _take_attempt(known, seat.person)
    codes = known.second_factors.confirm(seat.person.person_id, body.code)
    _forget_attempts(known, seat.person)
    changed = known.people.end_all_sessions(seat.person.person_id)
    forget_sessions(known, changed)
    known.postbox.send(second_factor_changed(changed.email, known.clock.now(), is_on=True))
    seat = Seat(changed, seat.account, seat.place)
    session_id = begin_session(known, seat, signed_in_at())
    told = logged_in(known, seat, session_id)
    response = answer(SecondFactorOn(**dict(told), recovery_codes=list(codes)))
    set_session_cookie(known, response, session_id)
    return response


@second_factor.post(
    "/v1/person/second-factor/recovery-codes",
    responses={200: RecoveryCodesView, **may_refuse(409, 429, *OF_VISITORS, *OF_BODIES)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def renew_recovery_codes(body: PasswordAndCode) -> Response:
    """Make new recovery codes; the earlier ones are void."""
    known, own = services(), own_seat().person
    check_it_is_them(known, own, body.password)
    _take_attempt(known, own)
    codes = known.second_factors.renew_recovery_codes(own.person_id, body.code)
    _forget_attempts(known, own)
    return answer(RecoveryCodesView(recovery_codes=list(codes)))


@second_factor.post(
    "/v1/person/second-factor/switch-off",
    responses={204: None, **may_refuse(409, 429, *OF_VISITORS, *OF_BODIES)},
    security=_OWN,
)
@needs("person", even_suspended=True)
def switch_second_factor_off(body: PasswordAndCode) -> Response:
    """Switch the second factor off, by password and code. A mail tells of it."""
    known, own = services(), own_seat().person
    check_it_is_them(known, own, body.password)
    _take_attempt(known, own)
    known.second_factors.switch_off(own.person_id, body.code)
    _forget_attempts(known, own)
    known.postbox.send(second_factor_changed(own.email, known.clock.now(), is_on=False))
    return nothing()


def use_code(known: Services, person: Person, code: str) -> None:
    """Use up a code of the person's. Raises: Refused (422, 429)."""
    _take_attempt(known, person)
    means = known.second_factors.use(person.person_id, code)
    _forget_attempts(known, person)
    if means == "recovery_code":
        found = known.second_factors.of(person.person_id)
        left = 0 if found is None else len(found.recovery_hashes)
        known.postbox.send(recovery_code_used(person.email, known.clock.now(), left=left))


def _qr_code(text: str) -> str:
    import segno  # noqa: PLC0415 - seldom needed

    # black on white whatever the page's colours are: many readers know no other
    return segno.make(text, micro=False).svg_data_uri(scale=4, light="#fff", xmldecl=False)


def _take_attempt(known: Services, person: Person) -> None:
    known.attempts.take(("code", person.person_id), CODES_MAX)


def _forget_attempts(known: Services, person: Person) -> None:
    """It was the right code, so it was the right person."""
    known.attempts.forget(("code", person.person_id))
