"""Browsers that come from elsewhere, and pages for them.

A session's cookie is SameSite=Strict: a browser that follows a link of another site does not send it, nor on
its way back from Google or GitHub. So whoever arrives like that gets a small page first, which leads on by
itself; that next request comes from our own page, and the cookie with it. Once only: a second time the
address answers as it does to anybody without a session. The page holds no script and no style.
"""

from html import escape
from typing import Final

from flask import Flask, Response, current_app, request

from api_service.access import Need
from api_service.services import Services, services

HTML: Final = "text/html; charset=utf-8"
ONCE_SECONDS: Final = 10  # within which one browser is led on once

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>ModelTrack</title>{refresh}
</head>
<body>
<p>{words}</p>
<p><a href="{address}">{link}</a></p>
</body>
</html>
"""


def lead_on(app: Flask) -> None:
    """Let browsers that come from elsewhere arrive with their session; before anything else is decided."""
    app.before_request(_lead_on)


def leading_to(address: str) -> Response:
    """The page that leads to that address of ours."""
    refresh = f'\n<meta http-equiv="refresh" content="0;url={escape(address)}">'
    text = _PAGE.format(refresh=refresh, words="One moment …", address=escape(address), link="Go on")
    return Response(text, content_type=HTML)


def telling(words: str, address: str, status: int) -> Response:
    """The page that tells what went wrong, with a way on."""
    text = _PAGE.format(refresh="", words=escape(words), address=escape(address), link="Go on")
    return Response(text, status, content_type=HTML)


def wants_page() -> bool:
    """Whether it is a browser that is to show the answer."""
    return "text/html" in request.headers.get("Accept", "")


def _lead_on() -> Response | None:
    known = services()
    if not _is_arrival(known):
        return None
    query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
    response = leading_to(f"{request.path}{query}")
    response.set_cookie(
        _cookie_name(known),
        "1",
        max_age=ONCE_SECONDS,
        path="/",
        secure=known.settings.is_https,
        httponly=True,
        samesite="Lax",
    )
    return response


def _is_arrival(known: Services) -> bool:
    if request.method != "GET" or request.url_rule is None or not wants_page():
        return False
    need: Need | None = current_app.view_functions[request.endpoint or ""].__dict__.get("need")
    comes_by_link = request.headers.get("Sec-Fetch-Mode") == "navigate"
    is_from_elsewhere = request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}
    has_been_led = _cookie_name(known) in request.cookies
    has_session = known.cookie_name in request.cookies or "Authorization" in request.headers
    return need != "anyone" and comes_by_link and is_from_elsewhere and not (has_session or has_been_led)


def _cookie_name(known: Services) -> str:
    return "__Host-modeltrack_arrived" if known.settings.is_https else "modeltrack_arrived"
