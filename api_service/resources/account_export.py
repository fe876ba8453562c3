"""Taking everything away that an account holds."""

from itertools import chain

from flask import Response

from api_service.access import needs, visitor
from api_service.account_export import Source, pieces_of_export
from api_service.roles import role_may
from api_service.routing import routes_of
from api_service.services import services

CONTENT_TYPE = "application/x-ndjson"

_SAID = {
    "description": "One JSON object a line: `kind` and `data`. The last is of the kind `end`; without it the"
    " export was cut.",
    "content": {CONTENT_TYPE: {"schema": {"type": "string"}}},
}

account_export = routes_of("export")


@account_export.get("/v1/account/export", responses={200: _SAID}, security=[{"session": []}])
@needs("export")
def export_account() -> Response:
    """Export everything the account holds: settings, people, keys, usage, events, audit log.

    NDJSON, made as fast as it is read, however much it is. No secret is in it: no key, no password, nothing
    that is sealed. What was never set is in it with the value that holds then. It ends early where the
    account is suspended meanwhile, or you lose the right to it. Three exports of an account may be under way
    at once, of whatever kind; 429 `too_many_exports` beyond.
    """
    known, asking = services(), visitor()
    account_id = asking.account_id
    person_id = asking.session.person_id if asking.session else ""
    epoch = asking.session.epoch if asking.session else 0
    place_id = asking.session.place_id if asking.session else ""

    def may_go_on() -> bool:
        seat = known.people.seat(person_id, account_id)
        return (
            seat is not None
            and seat.place.place_id == place_id
            and seat.account.status == "active"
            and seat.person.epoch == epoch
            and role_may(seat.place.role, "export")
            and not known.second_factors.is_owed(seat.account, person_id)
        )

    source = Source(known.store, known.directory, known.ledger, known.statistics, known.clock)
    place = known.export_places.take(account_id)
    held = place.while_held(pieces_of_export(source, account_id, may_go_on))
    first = next(held)  # at once, so that what is wrong by then is an error's answer
    response = Response(chain([first], held), content_type=CONTENT_TYPE)
    response.call_on_close(place.give_back)
    response.headers["Content-Disposition"] = f'attachment; filename="modeltrack-{account_id}.ndjson"'
    return response
