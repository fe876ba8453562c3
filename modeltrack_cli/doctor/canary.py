"""One call through the proxy, the way callers make it, and what becomes of it."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from modeltrack_cli.calls import Answer, NoAnswer, json_of
from modeltrack_cli.doctor.calling import KEY_REFUSED, make_call, model, own_code, provider_headers
from modeltrack_cli.doctor.findings import Verdict, failed, not_checked, passed, words_of
from modeltrack_cli.doctor.visit import Canary, Visit

POLL_SECONDS: Final = 0.1
POLL_SECONDS_MAX: Final = 1.0

_REQUEST_ID: Final = re.compile(r"req_[0-9a-f]{32}")
_AMOUNT: Final = re.compile(r"\d{1,12}(?:\.\d{1,9})?")
_WARNING: Final = "X-ModelTrack-Budget-Warning"

_KEYS_ADVICE: Final = "give MODELTRACK_KEY a live key of an account, with the scopes proxy and read"
# The proxy's own codes → what is wrong, and what to do.
_REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "wrong_scope": ("the key may make no calls", _KEYS_ADVICE),
    "account_suspended": ("the account is suspended or was ended", _KEYS_ADVICE),
    "key_not_verified": (
        "the proxy cannot verify the key at the moment",
        "the proxy cannot ask its store: look at its log for `store`",
    ),
    "modeltrack_key_misplaced": (
        "the provider's key is a ModelTrack key",
        "set ANTHROPIC_API_KEY or OPENAI_API_KEY to the provider's own",
    ),
    "budget_exceeded": (
        "a budget of the account refuses it",
        "use an account with room in its budgets, or raise the limit; the service itself works",
    ),
    "budget_unverifiable": (
        "a strict budget cannot be asked",
        "the proxy cannot ask its store: look at its log for `store`",
    ),
    "cost_unbounded": (
        "a strict budget has no bound for this call",
        "name a model with a known price (--model)",
    ),
    "upstream_unreachable": (
        "the proxy cannot reach the provider",
        "look at ANTHROPIC_BASE_URL, OPENAI_BASE_URL, and whether the proxy may go out to the internet",
    ),
    "upstream_timed_out": (
        "the provider did not answer the proxy in time",
        "ask again; look at the provider's status",
    ),
    "upstream_cut": ("the provider hung up on the proxy", "ask again; look at the provider's status"),
}


def one_store(visit: Visit) -> Verdict:
    """Whether both services know the key: they share a store, and the secret that keys are hashed under."""
    status = _status_of_key(visit)
    try:
        credential = visit.key_for_proxy(provider_headers(visit))
        visit.canary = Canary(make_call(visit, credential), visit.has_provider_key)
    except NoAnswer as error:
        visit.canary_trouble = error.reason
        return not_checked(f"the proxy: {error.reason}")
    is_known_to_proxy = own_code(visit.canary.asked.answer) != KEY_REFUSED
    if status == 401 and not is_known_to_proxy:
        return failed("neither service knows the key", _KEYS_ADVICE)
    if status == 401 or (status == 200 and not is_known_to_proxy):
        knows, lacks = ("the proxy", "the API") if is_known_to_proxy else ("the API", "the proxy")
        return failed(
            f"{knows} knows the key, and {lacks} does not",
            "give both services the same STORE_URL and the same MODELTRACK_SECRET",
        )
    if status == 403:
        return failed("the key may not read", _KEYS_ADVICE)
    if status != 200:
        return not_checked(f"the API answers {status}" if status else "the API did not answer")
    return passed("both know the key")


def _status_of_key(visit: Visit) -> int:
    """What the API answers to the key; 0: nothing. Keeps the account's budgets."""
    try:
        answer = visit.ask("api", "GET", "/v1/budgets", visit.key_for_api()).answer
    except NoAnswer:
        return 0
    found = json_of(answer)
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        visit.budgets = [each for each in found["data"] if isinstance(each, dict)]
    return answer.status


def call(visit: Visit) -> Verdict:
    """Whether the call was answered by the provider."""
    if visit.canary is None:
        return failed(
            visit.canary_trouble, "look at the proxy's log; it answers its health, and not this call"
        )
    canary, provider = visit.canary, visit.options.provider
    answer, seconds = canary.asked.answer, canary.asked.seconds
    if answer.status == 200:
        return passed(f"{words_of(model(visit))} answered in {seconds:.2f} s")
    code = own_code(answer)
    if code in _REFUSALS:
        return failed(*_REFUSALS[code])
    setting = f"{provider.upper()}_API_KEY"
    if answer.status in {401, 403} and not canary.has_provider_key:
        return not_checked(
            f"the provider refuses a call without a key of its own ({answer.status})", f"set {setting} to one"
        )
    advice = {
        401: f"set {setting} to a live key of the provider's",
        403: f"set {setting} to a key that may use the model",
        404: "name a model that the provider has (--model)",
        429: "the provider limits the key's rate; ask again later",
    }
    return failed(
        f"the provider answered {answer.status}", advice.get(answer.status, "look at the provider's status")
    )


def told(visit: Visit) -> Verdict:
    """Whether the answer says what it should of the call: id, cache, own time, cost."""
    assert visit.canary is not None  # noqa: S101 - the table of checks has it come after the call
    answer = visit.canary.asked.answer
    wanted: dict[str, Callable[[str], object]] = {
        "X-ModelTrack-Request-ID": _REQUEST_ID.fullmatch,
        "X-ModelTrack-Cache": {"MISS", "BYPASS"}.__contains__,
        "X-ModelTrack-Overhead-Ms": _AMOUNT.fullmatch,
    }
    if answer.status == 200:
        wanted["X-ModelTrack-Cost-USD"] = _AMOUNT.fullmatch
    wrong = [name for name, holds in wanted.items() if not holds(answer.headers.get(name, ""))]
    if wrong == ["X-ModelTrack-Cost-USD"]:
        return failed(
            "the answer does not tell its cost",
            f"{words_of(model(visit))} may have no price; else see what before the proxy changes answers",
        )
    if wrong:
        return failed(
            f"the answer lacks {', '.join(wrong)}", "see what stands before the proxy and drops headers"
        )
    overhead = words_of(answer.headers["X-ModelTrack-Overhead-Ms"])
    return passed(f"the proxy's own time was {overhead} ms")


def arrival(visit: Visit) -> Verdict:
    """How long it takes until the call's event can be read."""
    canary = visit.canary
    assert canary is not None  # noqa: S101 - as `told`
    if not _REQUEST_ID.fullmatch(canary.request_id):
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
    canary = visit.canary
    assert canary is not None  # noqa: S101 - as `told`
    answer, event = canary.asked.answer, canary.event
    if event is None:
        return not_checked("the event was not seen")
    if answer.status != 200:
        return not_checked("a call that the provider refuses costs nothing")
    try:
        in_header, in_event = (
            Decimal(answer.headers.get("X-ModelTrack-Cost-USD", "")),
            Decimal(str(event["cost_usd"])),
        )
    except (InvalidOperation, KeyError):
        return not_checked("no cost was told")
    if in_header != in_event:
        return failed(
            f"the answer said {in_header} USD, its event says {in_event}",
            "tell us, with both services' versions",
        )
    usage, counted = _usage(answer), _counted(event)
    if usage is not None and usage != counted:
        return failed(
            f"the provider counted {usage} tokens in and out, the event says {counted}",
            "tell us, with both services' versions",
        )
    return passed(f"{in_event} USD in the answer and in the event")


def budgets(visit: Visit) -> Verdict:
    """Whether the answer warns where a budget over the whole account is near its limit."""
    assert visit.canary is not None  # noqa: S101 - as `told`
    warning = visit.canary.asked.answer.headers.get(_WARNING, "")
    near = [each for each in visit.budgets if _is_near(each)]
    if near and not warning:
        name = words_of(str(near[0].get("name") or near[0].get("id")))
        return failed(
            f"{name} is at {near[0]['percent']} %, and the answer does not warn",
            f"see what stands before the proxy and drops {_WARNING}, and whether the proxy reads its store",
        )
    return passed(
        f"it warns: {words_of(warning)}"
        if warning
        else "none that is over the whole account is near its limit"
    )


def _is_near(budget: Mapping[str, Any]) -> bool:
    """Whether every call has to warn of it: a limit for all of the account, past its first threshold."""
    scope, thresholds, percent = budget.get("scope"), budget.get("thresholds_percent"), budget.get("percent")
    is_of_all = isinstance(scope, dict) and not any(scope.values()) and budget.get("each") is None
    if not (
        is_of_all
        and budget.get("enabled") is True
        and isinstance(percent, int)
        and isinstance(thresholds, list)
    ):
        return False
    return bool(thresholds) and percent >= min(thresholds)


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
