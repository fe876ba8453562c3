"""The way there: certificates, protocols, and what plain http does."""

import ssl
import warnings
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from modeltrack_cli.doctor.dialling import HTTPS_PORT, CannotConnect, ask_in_the_clear, shake_hands
from modeltrack_cli.doctor.findings import Verdict, failed, not_applicable, not_checked, passed, words_of
from modeltrack_cli.doctor.visit import ADDRESS_SETTINGS, NAMES, Place, Visit

DAYS_LEFT_MIN: Final = 14  # whoever renews by machine does so 30 days before
DAY_SECONDS: Final = 86_400

_OLD_VERSIONS: Final = (("TLS 1.0", "HAS_TLSv1", "TLSv1"), ("TLS 1.1", "HAS_TLSv1_1", "TLSv1_1"))
_MOVED: Final = (
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
)
_REFUSED: Final = (HTTPStatus.FORBIDDEN, HTTPStatus.UPGRADE_REQUIRED)
_PATHS_OF_PROGRAMS: Final[dict[Place, str]] = {"api": "/v1/account", "proxy": "/v1/messages"}
_PLAIN_ADVICE: Final = (
    "have port 80 refuse programs (403), redirect pages to https:// on the same host, and serve nothing;"
    " keys would go readable"
)
_LOCAL: Final = "this machine's own address, by http"

# OpenSSL's codes of what is wrong with a certificate → what to do
# (https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/, 2026-11-21).
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
_ADVICE: Final = {
    _EXPIRED: "renew it; a managed one renews itself while the host name leads to the load balancer",
    _NOT_YET_VALID: "it begins later: look at this machine's clock, then at the certificate",
    _OTHER_NAME: "have the certificate name this host, or give the address that it names",
    _OTHER_ADDRESS: "have the certificate name this host, or give the address that it names",
}
_UNKNOWN_AUTHORITY: Final = (
    "use a certificate of a known authority; for an authority of your own set REQUESTS_CA_BUNDLE to its file"
)


def certificate(visit: Visit, place: Place) -> Verdict:
    """Whether the certificate holds, and for how much longer."""
    if not visit.deployment.is_https(place):
        return _without_tls(visit, place)
    try:
        held = shake_hands(visit, place, visit.trust())
    except ssl.SSLCertVerificationError as error:
        visit.unvouched.add(place)
        return failed(words_of(error.verify_message), _ADVICE.get(error.verify_code, _UNKNOWN_AUTHORITY))
    except (CannotConnect, OSError):
        return not_checked("there was no handshake in which to see it")
    days = int(
        (ssl.cert_time_to_seconds(str(held["notAfter"])) - visit.clock.now().timestamp()) / DAY_SECONDS
    )
    if days < DAYS_LEFT_MIN:
        return failed(
            f"it ends in {days} days", "renew it now; whatever renews it by itself did not", bears=True
        )
    return passed(f"valid for {days} days")


def protocols(visit: Visit, place: Place) -> Verdict:
    """Whether TLS 1.2 or newer is spoken, and nothing older."""
    if not visit.deployment.is_https(place):
        return not_applicable(_LOCAL) if visit.deployment.is_local(place) else not_checked("there is no TLS")
    try:
        spoken = str(shake_hands(visit, place, _any_certificate())["version"])
    except CannotConnect as error:
        return not_checked(error.reason)
    except OSError:
        return _no_handshake(visit, place)
    old = [
        name for name, has, version in _OLD_VERSIONS if getattr(ssl, has) and _speaks(visit, place, version)
    ]
    if old:
        return failed(f"it still speaks {' and '.join(old)}", _newer_only(place), bears=True)
    if not (ssl.HAS_TLSv1 and ssl.HAS_TLSv1_1):
        return not_checked("this machine cannot speak TLS 1.0 or 1.1, so it could not try them")
    return passed(f"{spoken}; 1.0 and 1.1 are refused")


def plain_http(visit: Visit, place: Place) -> Verdict:
    """Whether plain http serves nothing: programs are refused there, and at most pages lead to https."""
    if visit.deployment.is_local(place) and not visit.deployment.is_https(place):
        return not_applicable(_LOCAL)
    host, port = urlsplit(visit.deployment.url(place)).hostname or "", visit.deployment.http_port
    try:
        status, location = ask_in_the_clear(visit, host, port, _PATHS_OF_PROGRAMS[place])
        of_page, leads_to = ask_in_the_clear(visit, host, port, "/")
    except CannotConnect:
        return passed(f"nothing answers on port {port}")
    if status in _MOVED:
        return failed(
            f"it leads programs on to {words_of(location)}",
            "have port 80 refuse them (403), as the examples in infra/ do: a client set up with http:// sends"
            " its key readable with each request, and nobody notices",
        )
    if status not in _REFUSED:
        return failed(f"it answers {status} over plain http", _PLAIN_ADVICE)
    if of_page in _MOVED and _leads_to(leads_to) != ("https", host):
        return failed(f"it leads to {words_of(leads_to)}", _PLAIN_ADVICE)
    if of_page not in _MOVED and of_page not in _REFUSED:
        return failed(f"it answers {of_page} over plain http", _PLAIN_ADVICE)
    return passed(f"{status}" if of_page in _REFUSED else f"{status}; {of_page} to https for pages")


def _leads_to(location: str) -> tuple[str, str]:
    try:
        parts = urlsplit(location)
    except ValueError:
        return "", ""
    return parts.scheme, parts.hostname or ""


def _without_tls(visit: Visit, place: Place) -> Verdict:
    if visit.deployment.is_local(place):
        return not_applicable(_LOCAL)
    return failed(
        "its address is http://, so keys and figures go readable",
        f"put TLS in front, and give {ADDRESS_SETTINGS[place]} as https://",
    )


def _no_handshake(visit: Visit, place: Place) -> Verdict:
    parts = urlsplit(visit.deployment.url(place))
    try:
        ask_in_the_clear(visit, parts.hostname or "", parts.port or HTTPS_PORT, "/health")
    except CannotConnect:
        return failed("it speaks neither TLS 1.2 nor 1.3", _newer_only(place))
    return failed(
        "it speaks plain http there, and no TLS",
        f"put TLS in front of {NAMES[place]}; to look at this machine's own, give {ADDRESS_SETTINGS[place]}"
        " as http://",
    )


def _newer_only(place: Place) -> str:
    return f"set the least version to TLS 1.2 where TLS ends before {NAMES[place]} (infra/: the SSL policy)"


def _any_certificate() -> ssl.SSLContext:
    """For a look at the protocol alone: nothing is sent but the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _speaks(visit: Visit, place: Place, version: str) -> bool:
    """Whether it takes up the offer of that old version and no other."""
    context = _any_certificate()
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL would not even offer it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is asked for so that nobody speaks it
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    try:
        shake_hands(visit, place, context)
    except (CannotConnect, OSError):
        return False
    return True
