"""All that is looked at, in order, and what each look rests on."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from modeltrack_cli.doctor import (
    browsers,
    canary,
    clocks,
    door,
    reachable,
    settled,
    store_rules,
    transport,
    upkeep,
)
from modeltrack_cli.doctor.findings import Finding, Verdict, not_checked, on_one_line
from modeltrack_cli.doctor.visit import Visit
from modeltrack_cli.errors import CommandFailed

Look = Callable[[Visit], Verdict]


class Check(NamedTuple):
    """One look. Where something that it `needs` is wrong, it says nothing new, and is left out."""

    name: str
    title: str
    look: Look
    needs: tuple[str, ...] = ()
    needs_key: bool = False


_CALLED: Final = ("one_store", "call")

CHECKS: Final[tuple[Check, ...]] = (
    Check("api_certificate", "API: certificate", partial(transport.certificate, place="api")),
    Check("api_tls", "API: TLS versions", partial(transport.protocols, place="api")),
    Check("api_http", "API: plain http", partial(transport.plain_http, place="api")),
    Check("api_health", "API: answers", partial(reachable.health, place="api"), ("api_tls",)),
    Check("api_ready", "API: reaches its store", partial(reachable.readiness, place="api"), ("api_health",)),
    Check("api_headers", "API: headers for browsers", browsers.headers, ("api_health",)),
    Check("api_cookies", "API: cookies", browsers.cookies, ("api_health",)),
    Check("proxy_certificate", "Proxy: certificate", partial(transport.certificate, place="proxy")),
    Check("proxy_tls", "Proxy: TLS versions", partial(transport.protocols, place="proxy")),
    Check("proxy_http", "Proxy: plain http", partial(transport.plain_http, place="proxy")),
    Check("proxy_health", "Proxy: answers", partial(reachable.health, place="proxy"), ("proxy_tls",)),
    Check(
        "proxy_ready", "Proxy: takes calls", partial(reachable.readiness, place="proxy"), ("proxy_health",)
    ),
    Check("versions", "Both: version", reachable.versions, ("api_health", "proxy_health")),
    Check("other_sites", "Both: other sites' pages", browsers.other_sites, ("api_health", "proxy_health")),
    Check("parts", "Status of the parts", upkeep.parts, ("api_ready",)),
    Check("jobs", "Background jobs", upkeep.jobs, ("api_ready",)),
    Check("no_key", "Calls without a key", door.nobody, ("proxy_health",)),
    Check(
        "unknown_key",
        "Calls with an unknown key",
        door.unknown_key,
        ("proxy_certificate", "proxy_health", "api_ready"),
    ),
    Check(
        "one_store",
        "One store, one secret",
        canary.one_store,
        ("api_certificate", "proxy_certificate", "api_ready", "proxy_ready"),
        needs_key=True,
    ),
    Check("call", "A call through the proxy", canary.call, ("one_store",), needs_key=True),
    Check("told", "What its answer says", canary.told, _CALLED, needs_key=True),
    Check("arrival", "Its event's arrival", settled.arrival, _CALLED, needs_key=True),
    Check("cost", "Its cost", settled.cost, (*_CALLED, "told", "arrival"), needs_key=True),
    Check("budgets", "Warnings of budgets", settled.budgets, _CALLED, needs_key=True),
    Check("books", "The account's books", upkeep.books, ("one_store",), needs_key=True),
    Check("revocation", "A revoked key", door.revocation, ("one_store",), needs_key=True),
    Check("clocks", "Clocks", clocks.clocks),
    Check("rules", "Firestore's rules", store_rules.rules),
)


def examine(visit: Visit, begin: Callable[[Check], None]) -> Iterator[Finding]:
    """A finding for each check, as soon as there is one; `begin` is told of each before it is looked at."""
    useless: set[str] = set()
    titles = {check.name: check.title for check in CHECKS}
    for check in CHECKS:
        begin(check)
        began = visit.clock.monotonic()
        missing = [name for name in check.needs if name in useless]
        if missing:
            verdict = not_checked(f"see “{titles[missing[0]]}” first")
        elif check.needs_key and not visit.has_key:
            verdict = not_checked(
                "no key was given", "set MODELTRACK_KEY to a key with the scopes proxy and read"
            )
        else:
            verdict = _looked(check, visit)
        if missing or (verdict.state == "failed" and not verdict.bears):
            useless.add(check.name)
        seconds = visit.clock.monotonic() - began
        yield Finding(
            check.name,
            check.title,
            verdict.state,
            on_one_line(verdict.found),
            on_one_line(verdict.advice),
            round(seconds, 3),
        )


def _looked(check: Check, visit: Visit) -> Verdict:
    try:
        return check.look(visit)
    except CommandFailed as error:  # no key may go there
        return not_checked(str(error))
    except Exception as error:  # noqa: BLE001 - one answer that nobody foresaw leaves the other checks be
        return not_checked(
            f"what was answered could not be made sense of ({type(error).__name__})",
            "see what answers there; if it is ModelTrack, tell whoever maintains it, with both versions",
        )
