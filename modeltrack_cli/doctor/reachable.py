"""Do both services answer, are they what they should be, and of one version?"""

import re
from typing import Final

from metering.version import VERSION, VERSION_HEADER
from modeltrack_cli.calls import Answer, NoAnswer, json_of
from modeltrack_cli.doctor.findings import Verdict, failed, passed, words_of
from modeltrack_cli.doctor.visit import ADDRESS_SETTINGS, NAMES, Asked, Place, Visit

# What each puts on every answer, and the other does not.
_MARKS: Final[dict[Place, str]] = {"api": "X-Request-ID", "proxy": "X-ModelTrack-Request-ID"}
_OTHER: Final[dict[Place, Place]] = {"api": "proxy", "proxy": "api"}
_RELEASE: Final = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})")


def health(visit: Visit, place: Place) -> Verdict:
    """Whether the process answers. `/health`, since Google's front end keeps `/healthz` for itself."""
    try:
        asked = visit.ask(place, "GET", "/health")
    except NoAnswer as error:
        return failed(
            error.reason, f"look whether {NAMES[place]} runs, and whether {ADDRESS_SETTINGS[place]} is right"
        )
    answer = asked.answer
    if answer.status == 200 and _MARKS[place] in answer.headers and _says(answer, "ok"):
        visit.read_date(place, asked)
        visit.versions[place] = answer.headers.get(VERSION_HEADER, "")
        return passed(f"in {_milliseconds(asked)}")
    return _not_well(place, answer)


def readiness(visit: Visit, place: Place) -> Verdict:
    """Whether it can work: the API reaches its store; the proxy is not about to end."""
    try:
        asked = visit.ask(place, "GET", "/readyz")
    except NoAnswer as error:
        return failed(error.reason, f"look at the log of {NAMES[place]}: it is alive, and cannot work")
    if asked.answer.status == 200:
        return passed(f"in {_milliseconds(asked)}")
    if place == "api":
        return failed(
            f"it answers {asked.answer.status}: the store does not answer it",
            "look at the store, at STORE_URL, and at what the API's service account may do"
            " (roles/datastore.user)",
        )
    return failed(
        f"it answers {asked.answer.status}: it is ending",
        "ask again in ten seconds; if that goes on, see why its instances end",
    )


def versions(visit: Visit) -> Verdict:
    """Whether both are of one build, not older than this command, and the one that is wanted."""
    api, proxy = visit.versions.get("api", ""), visit.versions.get("proxy", "")
    advice = "deploy both services from one build (docs/operations/upgrade.md)"
    if not api or not proxy:
        silent = " and ".join(NAMES[place] for place in NAMES if not visit.versions.get(place))
        return failed(f"{silent} tells no version: older than {VERSION}", advice)
    if api != proxy:
        return failed(f"the API is {words_of(api)}, the proxy {words_of(proxy)}", advice)
    wanted = visit.deployment.version
    if wanted and api != wanted:
        return failed(
            f"both are {words_of(api)}, and {wanted} is wanted", "shift traffic to the wanted revision"
        )
    told, own = _release(api), _release(VERSION)
    if told is None or own is None or told < own:
        return failed(
            f"both are {words_of(api)}, older than this command ({VERSION})", "upgrade the deployment"
        )
    return passed(f"both {words_of(api)}")


def _says(answer: Answer, word: str) -> bool:
    found = json_of(answer)
    return isinstance(found, dict) and found.get("status") == word


def _not_well(place: Place, answer: Answer) -> Verdict:
    setting, status = ADDRESS_SETTINGS[place], answer.status
    if _MARKS[_OTHER[place]] in answer.headers and VERSION_HEADER in answer.headers:
        return failed(f"that is {NAMES[_OTHER[place]]}", f"give {setting} as the address of {NAMES[place]}")
    if status in {401, 403}:
        return failed(
            f"something before it refuses everybody ({status})",
            f"see whether {setting} is right; on Cloud Run let anybody invoke the service (roles/run.invoker"
            " for allUsers), or go where you are let in",
        )
    if status >= 500:
        return failed(f"it answers {status}", f"look at the log of {NAMES[place]}, and at its last revision")
    return failed(
        f"what answers ({status}) is not ModelTrack",
        f"give {setting} as its address, without a path behind it",
    )


def _release(version: str) -> tuple[int, ...] | None:
    found = _RELEASE.match(version)
    return None if found is None else tuple(map(int, found.groups()))


def _milliseconds(asked: Asked) -> str:
    return f"{max(1, round(asked.seconds * 1000))} ms"
