"""Ending oneself: a person's own erasure, from all accounts at once."""

from typing import Annotated

from flask import Response
from pydantic import Field, StringConstraints

from api_service.access import needs, visitor
from api_service.auditing import noted_as_done
from api_service.departures import erase_person as erase
from api_service.fields import Input, Password, example_of
from api_service.letters import person_erased
from api_service.people import Person
from api_service.resources.people import own_seat, without_session
from api_service.resources.person import LEFT_OUT_WHERE_FRESH, check_it_is_them
from api_service.resources.second_factor import CODE_CHARACTERS_MAX, use_code
from api_service.routing import OF_BODIES, OF_VISITORS, may_refuse, routes_of
from api_service.services import Services, services

departure = routes_of("departure", is_open=True)


class Departure(Input):
    """That it is oneself: one's password, and a code where log-ins ask for one."""

    model_config = example_of({"password": "correct horse battery"})  # nosec B105 # made up

    password: Password = Field(default="", description=LEFT_OUT_WHERE_FRESH)
    code: Annotated[str, StringConstraints(max_length=CODE_CHARACTERS_MAX)] = Field(
        default="", description="A code of one's second factor, or a recovery code, if one has them."
    )


@departure.post(
    "/v1/person/erase",
    responses={204: None, **may_refuse(409, 429, *OF_VISITORS, *OF_BODIES)},
    security=[{"session": []}],
)
@needs("person", even_suspended=True)
def erase_person(body: Departure) -> Response:
    """Erase oneself. There is no way back.

    One leaves all accounts; log-in, identities elsewhere, second factor and sessions are gone on every
    instance at once, and the address is free. 409 `last_owner` names the accounts that would be left without
    an owner: make somebody else owner or close them first. What one did stays in the audit logs of those
    accounts until its time is over, under an id that names nobody any more.
    """
    known, own, here = services(), own_seat().person, visitor().account_id
    _check_it_is_them(known, own, body)
    gone = erase(
        known.store,
        own.person_id,
        lambda account_id: [] if account_id == here else [noted_as_done(account_id, own.person_id)],
    )
    known.postbox.send(person_erased(gone.email, known.clock.now()))
    return without_session(known)


def _check_it_is_them(known: Services, own: Person, body: Departure) -> None:
    """Raises: Refused (403, 422, 429)."""
    check_it_is_them(known, own, body.password)
    if known.second_factors.of(own.person_id) is not None:
        use_code(known, own, body.code)
