"""Ending an account."""

from datetime import datetime

from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer
from api_service.errors import Complaint, Refused
from api_service.fields import Input, View, example_of
from api_service.routing import routes_of
from api_service.services import services
from metering.erasure import close_account
from metering.retention_rules import ERASED_WITHIN, RULES

erasure = routes_of("erasure")


class Confirmation(Input):
    """That it is meant."""

    confirm: str = Field(
        max_length=100,
        description="The account's own id, so that nobody ends an account by a slip.",
        json_schema_extra={"example": "acct_0190f3c2a1b47d6e8f90a1b2c3d4e5f6"},
    )


class ErasureView(View):
    """An account that is being erased."""

    model_config = example_of(
        {
            "id": "acct_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
            "requested_at": "2026-11-21T09:30:00Z",
            "erased_by": "2026-12-21T09:30:00Z",
            "what_is_left": RULES["books"].what,
        }
    )

    id: str = Field(description="The account that was.")
    requested_at: datetime = Field(description="Since when nobody gets at it, and its keys are dead.")
    erased_by: datetime = Field(description="By when everything of it is gone, what came late included.")
    what_is_left: str = Field(description="What is kept, without anybody's name.")


@erasure.delete("/v1/account", responses={202: ErasureView}, security=[{"session": []}])
@needs("erase")
def erase_account(query: Confirmation) -> Response:
    """Erase the account, with everything it holds. There is no way back.

    From this moment its keys are dead on every instance of the proxy and nobody gets in. Its events, usage,
    settings, audit log and people (those who are in no other account) are deleted within minutes; take an
    export first (`GET /v1/account/export`).
    """
    known, asking = services(), visitor()
    if query.confirm != asking.account_id:
        text = "give the account's id, as GET /v1/account shows it, to say that this very account is meant"
        raise Refused(422, "invalid_input", text, "confirm", [Complaint("confirm", text)])
    by = asking.session.person_id if asking.session else ""
    closed = close_account(known.store, known.directory, known.clock, asking.account_id, by)
    return answer(
        ErasureView(
            id=closed.account_id,
            requested_at=closed.requested_at,
            erased_by=closed.requested_at + ERASED_WITHIN,
            what_is_left=RULES["books"].what,
        ),
        202,
    )
