"""What the service says of itself: its parts, its background jobs, and whether the books agree."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from modeltrack_cli.calls import NoAnswer, json_of
from modeltrack_cli.doctor.findings import Verdict, failed, not_checked, passed
from modeltrack_cli.doctor.visit import Visit

MEASURED_MINUTES_MAX: Final = 15  # the job `measure` runs every five
SETTLED_HOURS_MAX: Final = 3  # the longest call takes one, recovery comes minutes after
CHECKED_HOURS_MAX: Final = 30  # after a day's end; the job `check` looks at each ended day once

_STATUS: Final = "/v1/status"


def parts(visit: Visit) -> Verdict:
    """Whether the API itself finds its store and its proxy well."""
    found = _status(visit)
    if isinstance(found, Verdict):
        return found
    down = [each for each in ("store", "proxy") if _state(found, each) == "down"]
    if down == ["proxy"] and "proxy" not in visit.versions:
        return not_checked("the API finds the proxy down, too: see “Proxy: answers” first")
    if down:
        advice = {
            "store": "look at the store, and at what the API's service account may do",
            "proxy": "it answers here: give the API PROXY_PUBLIC_URL as an address where that reaches it,"
            " with a certificate of a well-known authority; if the proxy has just come back, ask again in ten"
            " seconds",
        }
        return failed(f"the API finds the {' and the '.join(down)} down", advice[down[-1]])
    if _state(found, "proxy") == "unknown":
        if visit.deployment.is_hosted:
            return failed("the API does not know where the proxy is", "set PROXY_PUBLIC_URL of the API")
        return passed("the API finds its store well; it was not told of the proxy")
    return passed("the API finds its store and the proxy well")


def jobs(visit: Visit) -> Verdict:
    """Whether the background jobs run, by the age of what the job `measure` wrote last."""
    found = _status(visit)
    if isinstance(found, Verdict):
        return found
    advice = (
        "see in Cloud Scheduler whether modeltrack-measure and the other jobs run and what they answer; on a"
        " machine of your own, whether API_JOBS is false; after a first deploy, wait fifteen minutes"
    )
    recording = found.get("recording")
    measured_at = _moment(recording.get("measured_at") if isinstance(recording, dict) else None)
    if measured_at is None:
        return failed("no background job has measured anything yet", advice)
    age = visit.clock.now() - measured_at
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes > MEASURED_MINUTES_MAX:
        return failed(f"the job `measure` ran {minutes} minutes ago for the last time", advice)
    return passed(f"the job `measure` ran {minutes} minutes ago")


def books(visit: Visit) -> Verdict:
    """Whether recovery leaves no call open, and the nightly check found the account's books sound."""
    try:
        answer = visit.ask("api", "GET", "/v1/conservation", visit.key_for_api()).answer
    except NoAnswer as error:
        return not_checked(error.reason)
    found = json_of(answer)
    if answer.status != 200 or not isinstance(found, dict) or not isinstance(found.get("data"), list):
        return not_checked(f"/v1/conservation answers {answer.status}")
    now = visit.clock.now()
    days = [each for each in found["data"] if isinstance(each, dict)]
    left = sum(each.get("in_flight", 0) for each in days if _ended(each, now, SETTLED_HOURS_MAX))
    if left:
        return failed(
            f"{left} calls of days that are over were neither settled nor lost",
            "see why the job `recover` does not store them: its log, and its subscription's oldest message",
        )
    return _checked(found.get("last_check"), days, now)


def _checked(last: object, days: Sequence[Mapping[str, Any]], now: datetime) -> Verdict:
    if isinstance(last, dict) and last.get("is_sound") is not True:
        return failed(
            f"the nightly check found differences on {last.get('date')}",
            "read them at /v1/conservation, and tell them with the logs of that day",
        )
    due = [
        str(each["date"]) for each in days if each.get("admitted") and _ended(each, now, CHECKED_HOURS_MAX)
    ]
    checked = str(last.get("date")) if isinstance(last, dict) else ""
    if due and checked < max(due):
        return failed(f"{max(due)} was not checked yet", "see why the job `check` does not run")
    return passed(f"sound on {checked}" if checked else "nothing is open; no day was due to be checked yet")


def _ended(day: Mapping[str, Any], now: datetime, hours: int) -> bool:
    """Whether that day was over so many hours ago."""
    begun = _moment(f"{day.get('date')}T00:00:00+00:00")
    return begun is not None and now >= begun + timedelta(days=1, hours=hours)


def _status(visit: Visit) -> Mapping[str, Any] | Verdict:
    """What the API says of itself, asked once: who has no key may not ask often."""
    if visit.status is not None:
        return visit.status
    try:
        answer = visit.ask("api", "GET", _STATUS).answer
    except NoAnswer as error:
        return not_checked(error.reason)
    found = json_of(answer)
    if answer.status != 200 or not isinstance(found, dict):
        return not_checked(f"{_STATUS} answers {answer.status}")
    visit.status = found
    return found


def _state(found: Mapping[str, Any], part: str) -> object:
    told = found.get(part)
    return told.get("state") if isinstance(told, dict) else None


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None
