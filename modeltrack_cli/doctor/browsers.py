"""What browsers are told: headers that keep pages apart, cookies, and that no other site may ask."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from modeltrack_cli.calls import NoAnswer
from modeltrack_cli.doctor.findings import Verdict, failed, not_checked, passed, words_of
from modeltrack_cli.doctor.visit import NAMES, Place, Visit

HSTS_SECONDS_MIN: Final = 15_552_000  # 180 days

_ELSEWHERE: Final = "https://elsewhere.example"
_BROWSER: Final = {
    "Accept": "text/html",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "cross-site",
}
_UNSAFE: Final = ("'unsafe-inline'", "'unsafe-eval'", "*")
_ALLOWED: Final = "Access-Control-Allow-Origin"
_FRONT: Final = "see what stands before the API and changes headers"


def headers(visit: Visit) -> Verdict:
    """Whether the log-in page has every header that a browser needs to keep it safe."""
    try:
        told = visit.ask("api", "GET", "/login", headers={"Accept": "text/html"}).answer.headers
    except NoAnswer as error:
        return not_checked(error.reason)
    lacking = [*_lacking(told, is_https=visit.deployment.is_https("api"))]
    if lacking:
        advice = f"give PUBLIC_URL as https://…, and {_FRONT}"
        return failed(f"the log-in page lacks {', '.join(lacking)}", advice)
    return passed("the log-in page has all of them")


def cookies(visit: Visit) -> Verdict:
    """Whether a cookie is kept from scripts, from other sites and from plain http.

    The one that is looked at is what a browser gets that comes from elsewhere.
    """
    try:
        found = visit.ask("api", "GET", "/overview", headers=_BROWSER).answer.cookies
    except NoAnswer as error:
        return not_checked(error.reason)
    if not found:
        return not_checked("none was set", f"{_FRONT}: a browser from elsewhere is set one at /overview")
    for each in found:
        lacking = [*_lacking_of_cookie(each, is_https=visit.deployment.is_https("api"))]
        if lacking:
            name = words_of(each.partition("=")[0])
            return failed(f"{name} lacks {', '.join(lacking)}", f"give PUBLIC_URL as https://…, and {_FRONT}")
    return passed(
        "shut to scripts, other sites and plain http"
        if visit.deployment.is_https("api")
        else "shut to scripts and other sites"
    )


def other_sites(visit: Visit) -> Verdict:
    """Whether pages of other sites are given nothing: neither service has any business with them."""
    asked: tuple[tuple[Place, str, str], ...] = (
        ("api", "GET", "/health"),
        ("api", "OPTIONS", "/v1/events"),
        ("proxy", "GET", "/health"),
    )
    sent = {"Origin": _ELSEWHERE, "Access-Control-Request-Method": "GET"}
    for place, method, path in asked:
        try:
            told = visit.ask(place, method, path, headers=sent).answer.headers
        except NoAnswer as error:
            return not_checked(f"{NAMES[place]}: {error.reason}")
        if _ALLOWED in told:
            return failed(
                f"{NAMES[place]} lets pages of {words_of(told[_ALLOWED])} read {path}",
                f"take the header {_ALLOWED} out of what stands before {NAMES[place]}",
            )
    return passed("pages of other sites are given nothing")


def _lacking(told: Mapping[str, str], *, is_https: bool) -> Iterator[str]:
    policy = _directives(told.get("Content-Security-Policy", ""))
    scripts = policy.get("script-src", policy.get("default-src"))
    if scripts is None or any(each in scripts for each in _UNSAFE):
        yield "a Content-Security-Policy that limits scripts"
    if policy.get("frame-ancestors") != ["'none'"] and told.get("X-Frame-Options", "").upper() != "DENY":
        yield "X-Frame-Options"
    if told.get("X-Content-Type-Options", "").lower() != "nosniff":
        yield "X-Content-Type-Options"
    if "Referrer-Policy" not in told:
        yield "Referrer-Policy"
    if "no-store" not in told.get("Cache-Control", ""):
        yield "Cache-Control: no-store"
    if is_https and _hsts_seconds(told) < HSTS_SECONDS_MIN:
        yield "Strict-Transport-Security of 180 days or more"


def _lacking_of_cookie(cookie: str, *, is_https: bool) -> Iterator[str]:
    name = cookie.partition("=")[0].strip()
    marks = {
        each.strip().partition("=")[0].lower(): each.partition("=")[2].strip()
        for each in cookie.split(";")[1:]
    }
    if "httponly" not in marks:
        yield "HttpOnly"
    if marks.get("samesite", "").lower() not in {"strict", "lax"}:
        yield "SameSite"
    if is_https and "secure" not in marks:
        yield "Secure"
    if is_https and not (name.startswith("__Host-") and marks.get("path") == "/" and "domain" not in marks):
        yield "the prefix __Host-"


def _directives(policy: str) -> dict[str, list[str]]:
    parts = [each.split() for each in policy.split(";")]
    return {each[0].lower(): each[1:] for each in parts if each}


def _hsts_seconds(told: Mapping[str, str]) -> int:
    found = re.search(r"max-age=(\d{1,12})", told.get("Strict-Transport-Security", ""))
    return int(found[1]) if found else 0
