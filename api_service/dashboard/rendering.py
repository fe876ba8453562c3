"""How a page is made: its view, what every page holds, its headers, and what is shown where it failed."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Response, current_app, g, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from api_service.access import SECOND_FACTOR_REQUIRED, Visitor, needs, somebody_logged_in
from api_service.arrivals import HTML
from api_service.bodies import QueryFields
from api_service.dashboard.navigation import BY_NAME, HOME, PAGES, Page, menu_of
from api_service.dashboard.view_state import ZONES, QueryText, ViewState, view_state
from api_service.errors import Refused, refusal_of
from api_service.passwords import PASSWORD_CHARACTERS_MIN
from api_service.roles import ROLES, TABLE, Action, role_may
from api_service.services import services

NAME: Final = "dashboard"
LOG_IN: Final = "/login"
SET_UP_SECOND_FACTOR: Final = "/profile"
ADDRESS_CHARACTERS_MAX: Final = 2_000
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; report-uri /csp-reports"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Vary": "Cookie",
}

PageView = Callable[..., Response]

dashboard = Blueprint(NAME, __name__, template_folder="templates")


def page(name: str) -> Callable[[PageView], PageView]:
    """Declare the view of the page of that name in `navigation.PAGES`, which says its path and right.

    The view gets the `ViewState` that the address asks for, then what stands in the path, by name.
    """
    entry = BY_NAME[name]

    def declare(view: PageView) -> PageView:
        def show(**names: str) -> Response:
            known = services()
            g.page = entry
            g.state = view_state(request.args, request.cookies, known.clock.now())
            if not entry.is_open and g.visitor.session is None:
                raise Refused(403, "session_required", "pages are for people; log in with a browser")
            return view(g.state, **names)

        guarded = needs(entry.need, even_suspended=entry.need == "person")(show)
        guarded.__dict__["takes_query"] = True  # what an address holds besides is nobody's business
        dashboard.add_url_rule(entry.path, f"{name}_page", guarded, methods=["GET"])
        return view

    return declare


def render(template: str, status: int = 200, **shown: object) -> Response:
    """The template as a page, with what every page holds besides `shown`."""
    text = render_template(template, **_held_by_every_page(), **shown)
    response = Response(text, status, content_type=HTML)
    response.headers.update(HEADERS)
    return response


def going_to(address: str) -> Response:
    """Send the browser to that address of ours."""
    return Response(status=303, headers={"Location": address})


def page_address(wanted: str) -> str:
    """The address, where it is one of a page of ours that one may be sent to; else the first page's."""
    is_path = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    is_read = is_path and len(wanted) <= ADDRESS_CHARACTERS_MAX and wanted.isprintable()
    found = _page_at(urlsplit(wanted).path) if is_read else None
    if found is None or found.is_open:
        return HOME
    return wanted.replace("{", "%7B").replace("}", "%7D")  # in forms, braces stand for fields of the answer


def _page_at(path: str) -> Page | None:
    try:
        endpoint, _ = current_app.url_map.bind("").match(path, method="GET")
    except (HTTPException, RequestRedirect):
        return None
    bp, _, name = str(endpoint).rpartition(".")
    return BY_NAME[name.removesuffix("_page")] if bp == NAME else None


def _held_by_every_page() -> dict[str, Any]:
    known = services()
    asking: Visitor | None = g.get("visitor")
    shown: Page = g.get("page") or BY_NAME["home"]
    state: ViewState = g.get("state") or view_state(_fields_asked(), request.cookies, known.clock.now())
    token = known.sessions.csrf_token(asking.session_id) if asking and asking.session else ""
    return {
        "page": shown,
        "password_characters": PASSWORD_CHARACTERS_MIN,
        "page_path": request.path,
        "request_id": g.request_id,
        "state": state,
        "zones": dict.fromkeys((state.zone_of_browser, state.zone, *ZONES)),
        "now": known.clock.now(),
        "visitor": asking,
        "seat": asking.seat if asking else None,
        "csrf_token": token,
        "pages": pages_for(asking),
        "menu": menu_of(pages_for(asking), shown),
    }


def _fields_asked() -> QueryText:
    """The address's fields; none, where it is those that could not be read."""
    try:
        return request.args
    except Refused:
        return QueryFields()


def pages_for(asking: Visitor | None) -> list[Page]:
    """The pages of menu and palette that there are and that the visitor may open."""
    made = current_app.view_functions
    return [
        each
        for each in PAGES
        if f"{NAME}.{each.name}_page" in made and each.group and asking is not None
        if each.need == "anyone" or asking.may(each.need)
    ]


def error_page(error: Exception) -> Response:
    """What a browser is shown instead of the page; whoever owes a log-in or a second factor is led there."""
    refusal = refusal_of(error)
    if refusal.status == 500:
        services().log.broken(error)
    if refusal.status == 401:
        return _to_log_in()
    if refusal.code == SECOND_FACTOR_REQUIRED:
        return _instead(SET_UP_SECOND_FACTOR)
    if g.get("visitor") is None and request.routing_exception is not None:
        g.visitor = somebody_logged_in()
    response = render(
        "error.html" if g.get("visitor") is not None else "error_outside.html",
        refusal.status,
        heading=_heading(refusal.status),
        refusal=refusal,
        roles=_roles_that_may(refusal),
    )
    if refusal.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(refusal.retry_after_seconds)
    return response


def _heading(status: int) -> str:
    if status >= 500:
        return "No answer just now" if status == 503 else "Something went wrong"
    known = {403: "Not open to you", 404: "There is nothing here", 429: "One moment, please"}
    return known.get(status, "That did not work")


def _to_log_in() -> Response:
    wanted = request.full_path.rstrip("?")
    address = LOG_IN if wanted == HOME else f"{LOG_IN}?{urlencode({'next': wanted})}"
    return _instead(address, of_part=LOG_IN)


def _instead(address: str, *, of_part: str = "") -> Response:
    """Send the browser there; where part of a page is asked for, to `of_part`, if that is given."""
    if "HX-Request" in request.headers:
        return Response(status=401, headers={"HX-Redirect": of_part or address})
    return going_to(address)


def _roles_that_may(refusal: Refused) -> list[str]:
    """Who may open the page, where it is the role that is missing."""
    if refusal.code != "role_missing" or request.url_rule is None:
        return []
    need: Action = current_app.view_functions[request.endpoint or ""].__dict__["need"]
    return [role for role in ROLES if role_may(role, need)] if need in TABLE else []
