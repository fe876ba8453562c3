"""Who is let in: nobody without a key, no key that nobody made, and none a second after its end."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from metering.keys import new_key
from modeltrack_cli.calls import Credential, NoAnswer, json_of
from modeltrack_cli.doctor.calling import KEY_REFUSED, list_models, make_call, own_code, provider_headers
from modeltrack_cli.doctor.findings import Verdict, failed, not_applicable, not_checked, passed
from modeltrack_cli.doctor.visit import Asked, Visit

ACTS_WITHIN_SECONDS: Final = 1.0
LOOKED_AT_SECONDS: Final = 10.0  # a key that works for longer is told of as that
REFUSALS_IN_A_ROW: Final = 5  # instances are several, and each learns it by itself
ENDS_AFTER_SECONDS: Final = 600  # by itself, should nobody get to revoke it
POLL_SECONDS: Final = 0.05


def nobody(visit: Visit) -> Verdict:
    """Whether a call without a key is refused. It carries no provider's key either, so it costs nothing."""
    if not visit.deployment.is_hosted:
        return not_applicable(
            "self-hosted, calls need no key unless KEY_REQUIRED is set; keep strangers from the proxy"
        )
    try:
        answer = make_call(visit, None).answer
    except NoAnswer as error:
        return not_checked(error.reason)
    if own_code(answer) == KEY_REFUSED:
        return passed("a call without a key is refused (401)")
    return failed(
        f"an open relay: a call without a key went through to the provider, who said {answer.status}",
        "set KEY_REQUIRED=true for the proxy (MODELTRACK_HOSTED=true where you run it for others), or keep"
        " strangers from its address, at once",
    )


def unknown_key(visit: Visit) -> Verdict:
    """Whether a key is refused that is well formed and that nobody made."""
    try:
        answer = make_call(visit, Credential("X-ModelTrack-Key", new_key())).answer
    except NoAnswer as error:
        return not_checked(error.reason)
    if own_code(answer) == KEY_REFUSED:
        return passed("a key that nobody made is refused (401)")
    return failed(
        f"a key that nobody made gets {answer.status}",
        "the proxy cannot ask its store, and meanwhile lets well-formed keys pass: see its log for `store`",
    )


def revocation(visit: Visit) -> Verdict:
    """How long a key works on after it was revoked. It is made for that, and ends by itself in any case."""
    if not visit.options.tries_revocation:
        return not_applicable("not asked for (--revocation)")
    ends_at = visit.clock.now() + timedelta(seconds=ENDS_AFTER_SECONDS)
    body = {"name": "modeltrack doctor", "scopes": ["proxy"], "expires_at": f"{ends_at:%Y-%m-%dT%H:%M:%SZ}"}
    try:
        asked = visit.ask("api", "POST", "/v1/keys", visit.key_for_api(), json=body)
    except NoAnswer as error:
        return not_checked(error.reason)
    made = json_of(asked.answer)
    if asked.answer.status != 201 or not isinstance(made, dict):
        advice = "give a key with the scope write" if asked.answer.status == 403 else "look at the API's log"
        return not_checked(f"no key could be made ({asked.answer.status})", advice)
    with suppress(ArithmeticError, TypeError, ValueError):
        visit.read_moment("api", datetime.fromisoformat(str(made.get("created_at"))), asked)
    key_id, key = (
        str(made.get("id")),
        Credential("X-ModelTrack-Key", str(made.get("key")), provider_headers(visit)),
    )
    try:
        was_known = own_code(list_models(visit, key).answer) != KEY_REFUSED
    except NoAnswer:
        was_known = False
    revoked = _revoke(visit, key_id)
    if revoked is None:
        return failed("the key could not be revoked", f"revoke {key_id} by hand; it ends in ten minutes")
    if not was_known:
        return failed(
            "the new key was refused before it was revoked", "see whether the proxy reads the API's store"
        )
    return _seconds_alive(visit, key)


def _revoke(visit: Visit, key_id: str) -> Asked | None:
    try:
        asked = visit.ask("api", "DELETE", f"/v1/keys/{quote(key_id, safe='')}", visit.key_for_api())
    except NoAnswer:
        return None
    return asked if asked.answer.status == 204 else None


def _seconds_alive(visit: Visit, key: Credential) -> Verdict:
    revoked_at = visit.clock.monotonic()
    last_worked, refusals = 0.0, 0
    while refusals < REFUSALS_IN_A_ROW:
        asked_at = visit.clock.monotonic() - revoked_at
        if asked_at > LOOKED_AT_SECONDS:
            break
        try:
            is_refused = own_code(list_models(visit, key).answer) == KEY_REFUSED
        except NoAnswer as error:
            return not_checked(error.reason)
        refusals = refusals + 1 if is_refused else 0
        last_worked = last_worked if is_refused else asked_at
        visit.wait(POLL_SECONDS)
    if last_worked <= ACTS_WITHIN_SECONDS and refusals >= REFUSALS_IN_A_ROW:
        return passed(f"a revoked key worked for {last_worked:.2f} s more")
    return failed(
        f"a revoked key still worked after {last_worked:.1f} s",
        "see in the proxy's log whether it can read its store; instances ask twice a second what changed",
    )
