"""Members of an account and its invites, and the log of who changed what."""

from typing import Final

from flask import Response, request

from api_service.access import visitor
from api_service.dashboard.reading import section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.audit_events import list_audit_events
from api_service.resources.invites import list_invites
from api_service.resources.keys import list_keys
from api_service.resources.members import list_members
from api_service.resources.required_second_factor import show_required_second_factor
from api_service.resources.second_factor import show_second_factor
from api_service.roles import ACTIONS, ROLES, TABLE, Action, Role, may_give

ROLE_MEANINGS: Final[dict[Role, str]] = {
    "owner": "everything, and alone ends the account or makes others owner",
    "admin": "everything but paying and ending the account",
    "member": "reads, sets budgets and rules, makes keys",
    "billing": "reads, and pays",
    "viewer": "reads",
}
ACTION_MEANINGS: Final[dict[Action, str]] = {
    "read": "See costs, events, budgets and rules",
    "stats": "Watch the proxy’s own figures",
    "write": "Change budgets, rules, alerts and reports",
    "ingest": "Hand in costs from elsewhere",
    "keys": "Make, rotate and revoke keys",
    "settings": "Change the account’s settings and channels",
    "people": "Invite, log out and remove people, change roles, require a second factor",
    "audit": "Read the audit log",
    "export": "Take away everything the account holds",
    "billing": "Choose the plan and pay",
    "erase": "End the account",
    "person": "Change one’s own log-in",
}


@page("members")
def show_members(state: ViewState) -> Response:
    """Show who belongs to the account, and let those who may invite and remove people."""
    seat = visitor().seat
    own_role: Role = seat.place.role if seat is not None else "viewer"
    return render(
        "members.html",
        members=section_of(list_members),
        invites=section_of(list_invites),
        second_factor=section_of(show_required_second_factor),
        own_factor=section_of(show_second_factor),
        may_change=visitor().may("people"),
        own_id=seat.person.person_id if seat is not None else "",
        own_role=own_role,
        given=[(role, f"{role}: {ROLE_MEANINGS[role]}") for role in ROLES if may_give(own_role, role)],
        roles=ROLES,
        rights=[(ACTION_MEANINGS[action], TABLE[action].roles) for action in ACTIONS],
    )


@page("audit_log")
def show_audit_log(state: ViewState) -> Response:
    """Show who changed what, the newest first."""
    cursor = next(iter(request.args.getlist("page")), None)
    return render(
        "audit_log.html",
        entries=section_of(list_audit_events, query={**state.moments, "page": cursor}),
        names=_names(),
    )


def _names() -> dict[str, str]:
    """What people and keys are called that entries name by their ids."""
    members = section_of(list_members)["data"] or []
    keys = section_of(list_keys)["data"] or []
    return {
        **{each["id"]: each["name"] or each["email"] for each in members},
        **{each["id"]: each["name"] or f"mt_…{each['hint']}" for each in keys},
    }
