"""The account itself, and oneself: plan, settings, retention, taking everything away, ending it; log-in."""

from typing import Final

from flask import Response

from api_service.access import visitor
from api_service.dashboard.reading import section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.accounts import show_account
from api_service.resources.people import list_accounts
from api_service.resources.person import is_fresh, list_own_sessions, show_person
from api_service.resources.plan import show_plan
from api_service.resources.retention import list_retention_rules
from api_service.resources.second_factor import show_second_factor
from api_service.resources.sign_in import list_identities, list_providers
from api_service.services import services
from metering.accounts import EVENTS_KEPT_DAYS_MAX

LIMIT_NAMES: Final = {
    "events_a_month": "Events a month",
    "tracked_usd_a_month": "Tracked US dollars a month",
    "teams": "Teams",
    "providers": "Providers",
    "events_kept_days": "Days that events are kept",
    "requests_a_minute": "Requests to the API a minute",
    "requests_a_minute_of_one": "Those of one key or person",
}
PRICE_NAMES: Final = {
    "input_usd_per_million": "input",
    "output_usd_per_million": "output",
    "cache_read_usd_per_million": "cache read",
    "cache_write_5m_usd_per_million": "cache write, 5 min",
    "cache_write_1h_usd_per_million": "cache write, 1 h",
    "server_tool_call_usd_per_thousand": "1,000 tool calls",
}


@page("account")
def show_account_page(state: ViewState) -> Response:
    """Show the account's plan and settings, and let those who may change, export and end it."""
    asking = visitor()
    return render(
        "account.html",
        account=section_of(show_account),
        plan=section_of(show_plan),
        retention=section_of(list_retention_rules),
        limit_names=LIMIT_NAMES,
        price_names=PRICE_NAMES,
        events_kept_days_max=EVENTS_KEPT_DAYS_MAX,
        may_change=asking.may("settings"),
        may_export=asking.may("export"),
        may_erase=asking.may("erase"),
    )


@page("profile")
def show_profile(state: ViewState) -> Response:
    """Show oneself, and let one change name, address, password, second factor and sessions."""
    accounts = section_of(list_accounts)
    return render(
        "profile.html",
        person=section_of(show_person),
        factor=section_of(show_second_factor),
        identities=section_of(list_identities),
        providers=section_of(list_providers),
        sessions=section_of(list_own_sessions),
        is_fresh=is_fresh(services()),
        account_names={each["account_id"]: each["account_name"] for each in accounts["data"] or []},
    )
