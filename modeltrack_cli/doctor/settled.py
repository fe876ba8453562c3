"""What becomes of the call: its event, what that says, and whether budgets warn."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from modeltrack_cli.calls import Answer, NoAnswer, json_of
from modeltrack_cli.doctor.findings import Verdict, failed, not_checked, passed, words_of
from modeltrack_cli.doctor.visit import REQUEST_ID, Canary, Visit

POLL_SECONDS: Final = 0.1
POLL_SECONDS_MAX: Final = 1.0

_COST: Final = "X-ModelTrack-Cost-USD"
_WARNING: Final = "X-ModelTrack-Budget-Warning"
_TELL_US: Final = "tell whoever maintains ModelTrack, with the versions of both services"


def arrival(visit: Visit) -> Verdict:
    """How long it takes until the call's event can be read."""
    canary = visit.called
    if not REQUEST_ID.fullmatch(canary.request_id):
        return not_checked("the call's id is not known")
    path, began = f"/v1/events/{canary.request_id}", visit.clock.monotonic()
    pause, answered = POLL_SECONDS, 404
    while (waited := visit.clock.monotonic() - began) <= visit.options.arrival_seconds:
        try:
            answer = visit.ask("api", "GET", path, visit.key_for_api()).answer
        except NoAnswer as error:
            return not_checked(error.reason)
        found = json_of(answer)
        if answer.status == 200 and isinstance(found, dict):
            canary.event = found
            _read_clock(visit, canary)
            return passed(f"its event could be read after {waited:.1f} s")
        answered = answer.status
        if answered not in {404, 429, 503}:
            break
        visit.wait(pause)
        pause = min(2 * pause, POLL_SECONDS_MAX)
    if answered != 404:
        return not_checked(f"/v1/events answers {answered}")
    return failed(
        f"its event has not come in {waited:.0f} s",
        "look at the proxy's log for `store`, at what its service account may do (roles/datastore.user), and"
        " whether its CPU stays allocated after an answer; the journal keeps the call meanwhile",
    )


def _read_clock(visit: Visit, canary: Canary) -> None:
    try:
        admitted_at = datetime.fromisoformat(str((canary.event or {}).get("timestamp")))
    except ValueError:
        return
    if admitted_at.tzinfo is not None:
        visit.read_moment("proxy", admitted_at, canary.asked)


def cost(visit: Visit) -> Verdict:
    """Whether the event says what the answer said: its cost, and the provider's own count of tokens."""
    answer, event = visit.called.asked.answer, visit.called.event
    if event is None:
        return not_checked("the event was not seen")
    if answer.status != 200:
        return not_checked("a call that the provider refuses costs nothing")
    if event.get("unpriced"):
        return failed(f"no price is known for {words_of(str(event.get('model')))}", "name another (--model)")
    in_event, in_answer = _amount(str(event.get("cost_usd"))), _amount(answer.headers.get(_COST, ""))
    if _COST in answer.headers and in_answer != in_event:
        return failed(f"the answer said {in_answer} USD, its event says {in_event}", _TELL_US)
    usage, counted = _usage(answer), _counted(event)
    if usage is not None and usage != counted:
        return failed(f"the provider counted {usage} tokens in and out, the event says {counted}", _TELL_US)
    if _COST in answer.headers:
        return passed(f"{in_event} USD in the answer and in the event")
    return passed(f"{in_event} USD in the event; the answer came in pieces, and so told none")


def budgets(visit: Visit) -> Verdict:
    """Whether the answer warns where the budget that stands worst is one over the whole account."""
    warning = visit.called.asked.answer.headers.get(_WARNING, "")
    if warning:
        return passed(f"it warns: {words_of(warning)}")
    enabled = [each for each in visit.budgets if each.get("enabled") is True]
    worst = max(enabled, key=_percent, default=None)
    if worst is None or not _warns_of_every_call(worst):
        return passed("none that is over the whole account is near its limit")
    name = words_of(str(worst.get("name") or worst.get("id")))
    return failed(
        f"{name} is at {_percent(worst)} %, and the answer does not warn",
        f"see what stands before the proxy and drops {_WARNING}, and whether the proxy reads its store",
    )


def _warns_of_every_call(budget: Mapping[str, Any]) -> bool:
    """Whether it is a limit for all of the account, past its first threshold."""
    scope, thresholds = budget.get("scope"), budget.get("thresholds_percent")
    if not isinstance(scope, dict) or any(scope.values()) or budget.get("each") is not None:
        return False
    return isinstance(thresholds, list) and bool(thresholds) and _percent(budget) >= min(thresholds)


def _percent(budget: Mapping[str, Any]) -> int:
    percent = budget.get("percent")
    return percent if isinstance(percent, int) else 0


def _amount(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _usage(answer: Answer) -> tuple[int, int] | None:
    """The provider's own count: tokens in that are billed as such or read from its cache, and tokens out."""
    found = json_of(answer)
    usage = found.get("usage") if isinstance(found, dict) else None
    if not isinstance(usage, dict):
        return None
    names = (
        ("prompt_tokens", "completion_tokens")
        if "prompt_tokens" in usage
        else ("input_tokens", "output_tokens")
    )
    read = usage.get("cache_read_input_tokens", 0) if names[0] == "input_tokens" else 0
    try:
        return int(usage[names[0]]) + int(read or 0), int(usage[names[1]])
    except (KeyError, TypeError, ValueError):
        return None


def _counted(event: Mapping[str, Any]) -> tuple[int, int]:
    return (
        int(event.get("input_tokens", 0)) + int(event.get("cache_read_tokens", 0)),
        int(event.get("output_tokens", 0)),
    )
