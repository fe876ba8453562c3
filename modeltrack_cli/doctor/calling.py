"""The one call that is made through the proxy: small, cheap, and in the words of its provider."""

from collections.abc import Mapping
from typing import Any, Final

from modeltrack_cli.calls import Answer, Credential
from modeltrack_cli.doctor.visit import Asked, Provider, Visit

MODELS: Final[Mapping[Provider, str]] = {"anthropic": "claude-haiku-4-5", "openai": "gpt-4o-mini"}
OUTPUT_TOKENS_MAX: Final = 16
APP: Final = "modeltrack-doctor"

KEY_REFUSED: Final = "invalid_modeltrack_key"
# Codes of the proxy's own refusals that say what is wrong.
OWN_CODES: Final = (
    KEY_REFUSED,
    "wrong_scope",
    "account_suspended",
    "key_not_verified",
    "modeltrack_key_misplaced",
    "budget_exceeded",
    "budget_unverifiable",
    "cost_unbounded",
    "upstream_unreachable",
    "upstream_timed_out",
    "upstream_cut",
)

_PATHS: Final[Mapping[Provider, str]] = {
    "anthropic": "/anthropic/v1/messages",
    "openai": "/openai/v1/chat/completions",
}
_TAGS: Final = {
    "X-ModelTrack-App": APP,
    "X-ModelTrack-No-Cache": "true",
    "X-ModelTrack-No-Route": "true",
}
_ANTHROPIC_VERSION: Final = {"anthropic-version": "2023-06-01"}


def make_call(visit: Visit, auth: Credential | None) -> Asked:
    """Make the call, with what opens proxy and provider, or with nothing. Raises: NoAnswer, CommandFailed."""
    provider = visit.options.provider
    body: dict[str, Any] = {
        "model": model(visit),
        "max_tokens": OUTPUT_TOKENS_MAX,
        "messages": [{"role": "user", "content": "Say: ok"}],
    }
    sent = {**_TAGS, **(_ANTHROPIC_VERSION if provider == "anthropic" else {})}
    return visit.ask("proxy", "POST", _PATHS[provider], auth, headers=sent, json=body)


def list_models(visit: Visit, auth: Credential) -> Asked:
    """Ask for the provider's models: costs nothing, makes no event. Raises: NoAnswer, CommandFailed."""
    path = _PATHS[visit.options.provider].removesuffix("/messages").removesuffix("/chat/completions")
    return visit.ask("proxy", "GET", f"{path}/models", auth, headers=_ANTHROPIC_VERSION)


def model(visit: Visit) -> str:
    """Which model is asked for."""
    return visit.options.model or MODELS[visit.options.provider]


def provider_headers(visit: Visit) -> Mapping[str, str]:
    """What opens the provider."""
    if visit.options.provider == "anthropic":
        return {"x-api-key": visit.provider_key}
    return {"Authorization": f"Bearer {visit.provider_key}"}


def own_code(answer: Answer) -> str:
    """The code of the proxy's own refusal, in whichever shape; empty: it is another's, or there is none."""
    if answer.status < 400:
        return ""
    return next((code for code in OWN_CODES if f'"{code}"'.encode() in answer.content), "")
