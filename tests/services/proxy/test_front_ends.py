"""Behind front ends of ours the caller is who these say, and never who it says itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from metering.directory import KeyTerms
from tests.doubles.raw_upstream import RawUpstream, answering, call
from tests.services.proxy.calls import answer, get, message, messages_call
from tests.services.proxy.running import RunningProxy

OFFICE, ELSEWHERE, BALANCER = "203.0.113.9", "198.51.100.7", "34.1.2.3"


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


def limited_to_the_office(proxy: RunningProxy) -> str:
    """The path of a new account's ingress address that takes calls from one network alone."""
    account_id = proxy.directory.create_account("Ada").account_id
    terms = KeyTerms(kind="ingress", name="office", scopes=("proxy",), addresses=("203.0.113.0/24",))
    return f"/ws/{proxy.directory.create_key(account_id, terms)[0]}"


def status(proxy: RunningProxy, ingress: str, *forwarded: str) -> int:
    headers = "".join(f"X-Forwarded-For: {each}\r\n" for each in forwarded).encode()
    return call(proxy.port, messages_call(path=f"{ingress}/v1/messages".encode(), headers=headers)).status


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (None, [OFFICE], 200),  # Cloud Run alone
        (None, [f"{OFFICE}, {ELSEWHERE}"], 403),  # somebody who says to be in the office
        (None, [], 403),
        (2, [f"{OFFICE},{BALANCER}"], 200),  # Google's load balancer before it
        (2, [f"{OFFICE}, {ELSEWHERE},{BALANCER}"], 403),
        (2, [OFFICE, f"{ELSEWHERE},{BALANCER}"], 403),
        (2, [OFFICE], 403),  # it did not come by way of the load balancer
        (0, [OFFICE], 403),
    ],
)
def test_an_ingress_address_is_limited_by_what_our_front_ends_say(
    tmp_path: Path, upstream: RawUpstream, hops: int | None, forwarded: list[str], expected: int
) -> None:
    with RunningProxy(tmp_path, upstream, is_hosted=True, forwarding_hops=hops) as proxy:
        assert status(proxy, limited_to_the_office(proxy), *forwarded) == expected


@pytest.mark.parametrize(("hops", "is_kept"), [(1, False), (0, True)])
def test_what_front_ends_add_stays_behind_where_there_are_any(
    tmp_path: Path, upstream: RawUpstream, hops: int, is_kept: bool
) -> None:
    added = b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 1.2.3.4\r\nVia: 1.1 x\r\n"
    with RunningProxy(tmp_path, upstream, forwarding_hops=hops) as proxy:
        assert call(proxy.port, messages_call(headers=added)).status == 200

    names = (b"x-forwarded-for", b"x-forwarded-proto", b"x-real-ip", b"via")
    assert [upstream.requests[0].header(name) is not None for name in names] == [is_kept] * 4


def test_a_front_end_nobody_told_of_opens_no_figures(tmp_path: Path, upstream: RawUpstream) -> None:
    with RunningProxy(tmp_path, upstream) as proxy:
        assert call(proxy.port, get(b"/stats")).status == 200
        assert call(proxy.port, get(b"/stats", b"X-Forwarded-For: 127.0.0.1\r\n")).status == 401
