"""The pages before one is in: logging in, signing up, and those that mailed links lead to."""

from flask import Response, request

from api_service.access import somebody_logged_in
from api_service.dashboard.navigation import HOME
from api_service.dashboard.reading import section_of
from api_service.dashboard.rendering import going_to, page, page_address, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.people import list_accounts
from api_service.resources.sign_in import list_providers


@page("home")
def show_home(state: ViewState) -> Response:
    """Lead to the first page, or to the log-in."""
    return going_to(state.address(HOME))


@page("login")
def show_login(state: ViewState) -> Response:
    """Let somebody log in, and go on to where they wanted to go."""
    return _entrance("login.html")


@page("sign_up")
def show_sign_up(state: ViewState) -> Response:
    """Let somebody sign up."""
    return _entrance("sign_up.html")


def _entrance(template: str) -> Response:
    wanted = page_address((request.args.getlist("next") or [HOME])[0])
    if somebody_logged_in() is not None:
        return going_to(wanted)
    return render(template, wanted=wanted, providers=section_of(list_providers))


@page("second_factor")
def show_second_factor(state: ViewState) -> Response:
    """Let whoever gave the right password show a code, too."""
    return render("second_factor.html")


@page("forgot_password")
def show_forgot_password(state: ViewState) -> Response:
    """Let somebody ask for a link that sets a new password."""
    return render("forgot_password.html")


@page("reset_password")
def show_reset_password(state: ViewState) -> Response:
    """Let the reader of a mailed link set a new password."""
    return render("reset_password.html")


@page("confirm_address")
def show_confirm_address(state: ViewState) -> Response:
    """Let the reader of a mailed link confirm their address."""
    return render("confirm_address.html", operation="POST /v1/email/confirm")


@page("change_address")
def show_change_address(state: ViewState) -> Response:
    """Let the reader of a mailed link confirm their new address."""
    return render("confirm_address.html", operation="POST /v1/email/change")


@page("accept_invite")
def show_accept_invite(state: ViewState) -> Response:
    """Let the reader of a mailed invite join, or sign up by it. Its script asks what it leads to."""
    return render("accept_invite.html")


@page("accounts_menu")
def show_accounts(state: ViewState) -> Response:
    """List one's accounts, to go on in another; the header's menu takes its list from here."""
    return render("accounts_menu.html", accounts=section_of(list_accounts))
