"""What browsers are told of answers of our own, and that nothing is added to a provider's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.raw_upstream import RawUpstream, answering, call
from tests.services.proxy.calls import answer, get, message, messages_call, post
from tests.services.proxy.running import RunningProxy

SNIFFING = b"x-content-type-options"
HTTPS = b"strict-transport-security"
OURS = {
    "health": get(b"/health"),
    "readiness": get(b"/readyz"),
    "figures": get(b"/stats"),
    "an unknown path": get(b"/favicon.ico"),
    "a wrong method": get(b"/v1/messages"),
    "a body that is no JSON": post(b"/v1/messages", b"no", b"X-ModelTrack-Key: mt_no\r\n"),
    "a malformed head": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "another version": b"GET / HTTP/2.7\r\nHost: a\r\n\r\n",
}
PREFLIGHT = (
    b"OPTIONS /v1/messages HTTP/1.1\r\nHost: a\r\n"
    b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-api-key\r\n\r\n"
)


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


@pytest.mark.parametrize("request_of", OURS.values(), ids=OURS)
def test_every_answer_of_our_own_is_taken_for_what_it_says_it_is(
    tmp_path: Path, upstream: RawUpstream, request_of: bytes
) -> None:
    with RunningProxy(tmp_path, upstream) as proxy:
        got = call(proxy.port, request_of)

    assert got.header(SNIFFING) == b"nosniff"
    assert got.header(HTTPS) is None  # on a machine of one's own there may be no https


@pytest.mark.parametrize("is_hosted", [False, True])
def test_no_answer_of_our_own_lets_another_site_in(
    tmp_path: Path, upstream: RawUpstream, *, is_hosted: bool
) -> None:
    origin = b"\r\nOrigin: https://elsewhere.example\r\n"
    asked = [
        *OURS.values(),
        *([PREFLIGHT] if is_hosted else []),
    ]  # without a key it is the provider's to answer
    with RunningProxy(tmp_path, upstream, is_hosted=is_hosted) as proxy:
        got = [call(proxy.port, each.replace(b"\r\n", origin, 1)) for each in asked]

    names = {name.lower() for each in got for name, _ in each.headers}
    assert SNIFFING in names
    assert not [name for name in names if name.startswith(b"access-control-")]
    assert not upstream.requests


@pytest.mark.parametrize("name", ["health", "an unknown path", "a body that is no JSON"])
def test_hosted_they_say_that_the_host_speaks_https_alone(
    tmp_path: Path, upstream: RawUpstream, name: str
) -> None:
    with RunningProxy(tmp_path, upstream, is_hosted=True) as proxy:
        got = call(proxy.port, OURS[name])

    assert got.header(HTTPS) == b"max-age=31536000; includeSubDomains"
    assert got.header(SNIFFING) == b"nosniff"


def test_a_provider_that_cannot_be_reached_is_told_of_likewise(tmp_path: Path) -> None:
    with RawUpstream() as gone:
        pass
    with RunningProxy(tmp_path, gone) as proxy:
        got = call(proxy.port, messages_call())

    assert (got.status, got.header(SNIFFING)) == (502, b"nosniff")


def test_a_providers_answer_says_what_the_provider_said(tmp_path: Path, upstream: RawUpstream) -> None:
    with RunningProxy(tmp_path, upstream) as proxy:
        got = call(proxy.port, messages_call())

    assert got.status == 200
    assert (got.header(SNIFFING), got.header(HTTPS)) == (None, None)
