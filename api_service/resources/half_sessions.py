"""Half sessions: whoever gave the right password, or came from Google or GitHub, and owes a code still.

One opens nothing but the step that is missing, for a few minutes, in the browser that began.
"""

from datetime import datetime, timedelta
from typing import Literal

from flask import Response, request
from pydantic import Field

from api_service.answers import answer
from api_service.auditing import concerns
from api_service.fields import View, example_of
from api_service.people import Person, Seat
from api_service.services import Services, TicketOf
from api_service.sign_ins import LIFETIME_SECONDS, FoundSignIn, SignIn, sign_in_over


class CodeAwaited(View):
    """Half a log-in: `POST /v1/login/second-factor` completes it with a code, in this browser."""

    model_config = example_of({"status": "code_awaited", "expires_at": "2026-11-21T09:35:00Z"})

    status: Literal["code_awaited"] = Field(description="The password was right; a code is needed, too.")
    expires_at: datetime = Field(description="Until when it can be given.")


def awaiting_code(known: Services, seat: Seat) -> Response:
    """The answer that begins a half session for the person."""
    expires_at = known.clock.now() + timedelta(seconds=LIFETIME_SECONDS["second_factor"])
    response = answer(CodeAwaited(status="code_awaited", expires_at=expires_at), 202)
    begin_half_session(known, seat, response)
    return response


def begin_half_session(known: Services, seat: Seat, response: Response, return_to: str = "/") -> None:
    """Let the answer begin a half session for the person."""
    person: Person = seat.person
    concerns(seat.account.account_id, person.person_id)
    sign_in = SignIn(
        purpose="second_factor", person_id=person.person_id, epoch=person.epoch, return_to=return_to
    )
    set_cookie(known, response, "second_factor", known.sign_ins.begin(sign_in))


def half_session(known: Services) -> tuple[FoundSignIn, Person]:
    """The half session of this browser, and whose it is. Raises: Refused (400)."""
    found = known.sign_ins.find(request.cookies.get(known.ticket_name("second_factor"), ""))
    if found is None or found.sign_in.purpose != "second_factor":
        raise sign_in_over()
    person = known.people.person(found.sign_in.person_id)
    if person is None or person.epoch != found.sign_in.epoch:
        raise sign_in_over()
    return found, person


def set_cookie(known: Services, response: Response, of: TicketOf, ticket: str) -> None:
    """Give the browser a ticket. One for a visit elsewhere comes back from there, so it is not Strict."""
    response.set_cookie(
        known.ticket_name(of),
        ticket,
        max_age=LIFETIME_SECONDS["second_factor" if of == "second_factor" else "log_in"],
        path="/",
        secure=known.settings.is_https,
        httponly=True,
        samesite="Strict" if of == "second_factor" else "Lax",
    )


def forget_cookie(known: Services, response: Response, of: TicketOf) -> None:
    """Let the browser forget its ticket."""
    response.delete_cookie(
        known.ticket_name(of),
        path="/",
        secure=known.settings.is_https,
        httponly=True,
        samesite="Strict" if of == "second_factor" else "Lax",
    )
