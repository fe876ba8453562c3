"""What was deployed is tried at its own address before anybody is sent there, and no fault gets past that."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from infra.release.smoke import TRIES_MAX, Addresses, Canary, SmokeFailed, smoke
from tests.release.sites import (
    COMMIT,
    KEY,
    PROVIDER_KEY,
    REFUSAL,
    REQUEST_ID,
    Answer,
    Asked,
    Site,
    api,
    proxy,
    serving,
)

CANARY = Canary(KEY, PROVIDER_KEY)
OLD = {"X-ModelTrack-Version": "0.1.0+" + "0" * 40}


def tried(
    proxy_site: Site = proxy,
    api_site: Site = api,
    canary: Canary | None = CANARY,
    tries: int = 2,
    commit: str = COMMIT,
) -> list[str]:
    """What is said of the two. Raises: SmokeFailed."""
    said: list[str] = []
    with ExitStack() as open_sites:
        first, second = (open_sites.enter_context(serving(site)) for site in (proxy_site, api_site))
        at = Addresses(first, second, commit)
        smoke(at, canary, said.append, lambda _seconds: None, tries)
    return said


def but(site: Site, path: str, answer: Answer, *, only_if: Callable[[Asked], bool] = lambda _: True) -> Site:
    """The site, with another answer at a path."""
    return lambda asked: answer if asked.path == path and only_if(asked) else site(asked)


def is_strangers(asked: Asked) -> bool:
    return "x-modeltrack-key" not in asked.headers and "authorization" not in asked.headers


def test_a_call_goes_through_the_proxy_and_its_event_comes_out_of_the_api() -> None:
    assert tried()[-2:] == [
        f"call {REQUEST_ID}: 200 of the provider",
        f"event {REQUEST_ID} came out of the API",
    ]


def test_without_a_providers_key_the_providers_refusal_is_enough() -> None:
    assert tried(canary=Canary(KEY))[-2:] == [
        f"call {REQUEST_ID}: 401 of the provider",
        f"event {REQUEST_ID} came out of the API",
    ]


def test_without_a_providers_key_a_refusal_of_ours_is_not_taken_for_the_providers() -> None:
    with pytest.raises(SmokeFailed, match="not the proxy"):
        tried(canary=Canary("mt_unknown"))


@pytest.mark.parametrize(
    "answer",
    [Answer(404, "<html>"), Answer(403, {"message": "Forbidden"}), Answer(401, {}), Answer(400, REFUSAL)],
)
def test_without_a_providers_key_nobody_elses_refusal_is_taken_for_the_providers(answer: Answer) -> None:
    led_astray = Answer(answer.status, answer.body, {"X-ModelTrack-Request-ID": REQUEST_ID})
    site = but(proxy, "/v1/messages", led_astray, only_if=lambda asked: not is_strangers(asked))

    with pytest.raises(SmokeFailed, match="somebody else"):
        tried(site, canary=Canary(KEY))


def test_without_a_key_it_is_said_that_no_call_was_made() -> None:
    assert "no call was made" in tried(canary=None)[-1]


OK = {"status": "ok"}
FAULTS = {
    "proxy is not alive": (but(proxy, "/health", Answer(500, {})), api, "proxy /health"),
    "proxy reaches no store": (but(proxy, "/readyz", Answer(503, {})), api, "proxy /readyz"),
    "API is not alive": (proxy, but(api, "/health", Answer(404, {})), "API /health"),
    "API reaches no store": (proxy, but(api, "/readyz", Answer(503, {})), "API /readyz"),
    "another proxy answers": (but(proxy, "/health", Answer(200, OK, OLD)), api, "another revision"),
    "another API answers": (proxy, but(api, "/health", Answer(200, OK)), "another revision"),
    "another page answers": (but(proxy, "/health", Answer(200, "<html>")), api, "proxy /health"),
    "open relay": (but(proxy, "/v1/messages", Answer(200, {}), only_if=is_strangers), api, "without a key"),
    "open relay to a provider that refuses": (
        but(proxy, "/v1/messages", Answer(401, REFUSAL), only_if=is_strangers),
        api,
        "the proxy that refuses",
    ),
    "refusal in no form": (but(proxy, "/v1/messages", Answer(401, {}), only_if=is_strangers), api, "form"),
    "open API": (proxy, but(api, "/v1/events", Answer(200, {"data": []}), only_if=is_strangers), "events"),
    "call is not known": (
        but(proxy, "/v1/messages", Answer(200, {}), only_if=lambda asked: not is_strangers(asked)),
        api,
        "must get an id",
    ),
    "provider is not reached": (
        but(
            proxy,
            "/v1/messages",
            Answer(502, {"type": "error"}, {"X-ModelTrack-Request-ID": REQUEST_ID}),
            only_if=lambda asked: not is_strangers(asked),
        ),
        api,
        "502",
    ),
    "event does not arrive": (
        proxy,
        but(api, "/v1/events", Answer(200, {"data": []}), only_if=lambda asked: not is_strangers(asked)),
        "event req_",
    ),
    "API knows no key": (proxy, but(api, "/v1/events", Answer(401, {})), "event req_"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str) -> None:
    proxy_site, api_site, said = FAULTS[fault]

    with pytest.raises(SmokeFailed, match=said):
        tried(proxy_site, api_site)


def test_where_no_commit_is_known_any_version_will_do() -> None:
    assert tried(commit="")


def test_a_start_may_take_a_while() -> None:
    answers = iter([Answer(503, {})] * (TRIES_MAX - 1))

    assert tried(lambda asked: next(answers, None) or proxy(asked), tries=TRIES_MAX)


def test_a_start_may_not_take_forever() -> None:
    answers = iter([Answer(503, {})] * TRIES_MAX)

    with pytest.raises(SmokeFailed):
        tried(lambda asked: next(answers, None) or proxy(asked), tries=TRIES_MAX)


def test_an_address_that_nobody_answers_is_a_fault() -> None:
    with serving(proxy) as closed:
        pass
    with pytest.raises(SmokeFailed, match="does not answer"):
        smoke(Addresses(closed, closed), None, lambda _: None, lambda _: None, tries=1)


def test_keys_are_not_sent_on_to_where_a_redirect_leads() -> None:
    asked_elsewhere: list[Asked] = []

    def elsewhere(asked: Asked) -> Answer:
        asked_elsewhere.append(asked)
        return Answer(200, {"data": [{"request_id": REQUEST_ID}]}, {"X-ModelTrack-Request-ID": REQUEST_ID})

    with serving(elsewhere) as address:
        moved = Answer(302, {}, {"Location": address, "X-ModelTrack-Request-ID": REQUEST_ID})
        for moving_proxy, moving_api in (
            (but(proxy, "/v1/messages", moved, only_if=lambda asked: not is_strangers(asked)), api),
            (proxy, but(api, "/v1/events", moved, only_if=lambda asked: not is_strangers(asked))),
        ):
            with pytest.raises(SmokeFailed):
                tried(moving_proxy, moving_api)

    assert asked_elsewhere == []


@pytest.mark.parametrize(
    "at",
    [
        Addresses("http://proxy.example", "https://api.example"),
        Addresses("https://proxy.example", "http://api.example"),
    ],
)
def test_keys_do_not_travel_readable(at: Addresses) -> None:
    with pytest.raises(SmokeFailed, match="https"):
        smoke(at, CANARY, lambda _: None, lambda _: None, tries=1)


def test_neither_key_is_told() -> None:
    told = [*tried(), repr(CANARY)]
    for fault in ("call is not known", "provider is not reached", "event does not arrive"):
        proxy_site, api_site, _ = FAULTS[fault]
        with pytest.raises(SmokeFailed) as failed:
            tried(proxy_site, api_site)
        told.append(str(failed.value))

    assert not [line for line in told if KEY in line or PROVIDER_KEY in line]
