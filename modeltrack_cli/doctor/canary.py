"""One call through the proxy, the way callers make it, and what its answer says."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from modeltrack_cli.calls import NoAnswer, json_of
from modeltrack_cli.doctor.calling import KEY_REFUSED, make_call, model, own_code, provider_headers
from modeltrack_cli.doctor.findings import Verdict, failed, not_checked, passed, words_of
from modeltrack_cli.doctor.visit import REQUEST_ID, Canary, Visit

_AMOUNT: Final = re.compile(r"\d{1,12}(?:\.\d{1,9})?")

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
            visit.canary_trouble,
            "the proxy answers its health, and not this call: look at its log, and whether the provider is"
            " slow (--timeout waits longer)",
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
    answer = visit.called.asked.answer
    wanted: dict[str, Callable[[str], object]] = {
        "X-ModelTrack-Request-ID": REQUEST_ID.fullmatch,
        "X-ModelTrack-Cache": {"MISS", "BYPASS"}.__contains__,
        "X-ModelTrack-Overhead-Ms": _AMOUNT.fullmatch,
    }
    if answer.status == 200 and "Content-Length" in answer.headers:  # one in pieces passes as it comes
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
