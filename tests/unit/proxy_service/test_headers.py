import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.accounts import Tags
from proxy_service.headers import read_answer, read_inbound
from proxy_service.wire import Headers

HOP_BY_HOP = (
    b"Connection",
    b"Keep-Alive",
    b"TE",
    b"Trailer",
    b"Transfer-Encoding",
    b"Upgrade",
    b"Proxy-Authorization",
)


def outbound(*headers: tuple[bytes, bytes]) -> Headers:
    return read_inbound(list(headers), forwarding_hops=0).outbound


def test_what_is_nobodys_business_passes_in_order_and_case() -> None:
    headers = [(b"X-Api-Key", b"k"), (b"x-stainless-OS", b"Linux"), (b"Accept", b"*/*"), (b"accept", b"x")]

    assert outbound(*headers) == headers
    assert read_answer(headers) == headers


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_headers_of_one_connection_stay_on_it(name: bytes) -> None:
    kept = (b"Accept", b"*/*")

    assert outbound((name, b"x"), kept) == [kept]
    assert read_answer([(name.lower(), b"x"), kept]) == [kept]


def test_what_connection_lists_stays_on_it_both_ways() -> None:
    headers = [(b"Connection", b"keep-alive, X-Foo"), (b"x-foo", b"1"), (b"X-Bar", b"2")]

    assert outbound(*headers) == [(b"X-Bar", b"2")]
    assert read_answer(headers) == [(b"X-Bar", b"2")]


def test_listing_our_header_in_connection_hides_nothing_from_us() -> None:
    headers = [(b"Connection", b"close, X-ModelTrack-Key"), (b"X-ModelTrack-Key", b"mt_x")]

    inbound = read_inbound(headers, forwarding_hops=0)

    assert (inbound.ours, inbound.outbound) == ({b"x-modeltrack-key": b"mt_x"}, [])


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"modeltrack_session=s3", None),
        (b"__Host-modeltrack_session=s3;modeltrack_device=d", None),
        (b"a=1; modeltrack_session=s3; b=2", b"a=1; b=2"),
        (b"a=modeltrack_session", b"a=modeltrack_session"),
        (b"x_modeltrack_y=1; __Host-modeltrack_sign_in=t", b"x_modeltrack_y=1"),
        (b"x_modeltrack_y=1", b"x_modeltrack_y=1"),
        (b"a=1;\tmodeltrack_zone =UTC;modeltrack_device", b"a=1"),
        (b"a=1;b=2;  c", b"a=1;b=2;  c"),
        (b"", b""),
    ],
)
def test_a_session_at_our_own_api_never_reaches_a_provider(sent: bytes, passed: bytes | None) -> None:
    assert outbound((b"Cookie", sent)) == ([] if passed is None else [(b"Cookie", passed)])


def test_our_headers_never_reach_the_other_side() -> None:
    headers = [(b"X-ModelTrack-Key", b"k"), (b"x-modeltrack-anything", b"v"), (b"X-Other", b"v")]

    assert outbound(*headers) == [(b"X-Other", b"v")]
    assert read_answer(headers) == [(b"X-Other", b"v")]


def test_tags_are_read_once_and_made_harmless() -> None:
    headers = [
        (b"X-ModelTrack-Team", b" search "),
        (b"x-modeltrack-team", b"another"),
        (b"X-ModelTrack-Session-ID", b"s\x01-1"),
        (b"X-ModelTrack-Prompt-Template", b"sk-ant-api03-secretsecret"),
    ]

    tags = read_inbound(headers, forwarding_hops=0).tags()

    assert tags == Tags(team="search", session_id="s-1", prompt_template_id="[redacted]")


def test_two_different_keys_are_seen_and_the_same_key_twice_is_one() -> None:
    def has_two(first: bytes, second: bytes) -> bool:
        headers = [(b"X-ModelTrack-Key", first), (b"x-modeltrack-key", second)]
        return read_inbound(headers, forwarding_hops=0).has_two_keys

    assert (has_two(b"a", b"b"), has_two(b"a", b"a")) == (True, False)


def test_behind_a_front_end_its_own_headers_stay_and_the_last_address_is_the_callers() -> None:
    headers = [(b"X-Forwarded-For", b"6.6.6.6, 203.0.113.9"), (b"Via", b"1.1 google"), (b"Accept", b"*/*")]

    inbound = read_inbound(headers, forwarding_hops=1)

    assert (inbound.outbound, inbound.client_address) == ([(b"Accept", b"*/*")], "203.0.113.9")
    assert outbound(*headers) == headers


@pytest.mark.parametrize(
    ("forwarded", "hops", "caller"),
    [
        ([b"203.0.113.9,34.1.2.3"], 2, "203.0.113.9"),  # as Google's load balancer documents it
        ([b"6.6.6.6, 203.0.113.9, 34.1.2.3"], 2, "203.0.113.9"),  # the caller made the first one up
        ([b"6.6.6.6", b"203.0.113.9, 34.1.2.3"], 2, "203.0.113.9"),  # on a line of its own
        ([b"6.6.6.6, 203.0.113.9", b"34.1.2.3"], 2, "203.0.113.9"),
        ([b"6.6.6.6"], 2, ""),  # not by way of the load balancer: the connection tells
        ([], 1, ""),
        ([b"6.6.6.6, 203.0.113.9"], 0, ""),
    ],
)
def test_the_caller_is_the_first_of_the_entries_that_our_front_ends_add(
    forwarded: list[bytes], hops: int, caller: str
) -> None:
    headers = [(b"X-Forwarded-For", each) for each in forwarded]

    assert read_inbound(headers, forwarding_hops=hops).client_address == caller


@pytest.mark.parametrize(
    ("value", "has_opted_out"), [(b"true", True), (b"1", True), (b"False", False), (b"", False)]
)
def test_the_cache_is_opted_out_of_by_saying_so(value: bytes, has_opted_out: bool) -> None:
    inbound = read_inbound([(b"X-ModelTrack-No-Cache", value)], forwarding_hops=0)

    assert inbound.has_opted_out_of_cache() is has_opted_out


@pytest.mark.battery_class("headers in any order and case")
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=20))))
def test_nothing_is_added_changed_or_reordered(headers: Headers) -> None:
    passed = iter(headers)

    assert all(any(each is pair for pair in passed) for each in read_answer(headers))


@pytest.mark.parametrize(
    ("header", "also", "has_opted_out"),
    [
        ((b"X-ModelTrack-No-Route", b"true"), "", True),
        ((b"x-modeltrack-no-route", b" YES "), "", True),
        ((b"X-ModelTrack-No-Route", b"false"), "", False),
        ((b"X-ModelTrack-No-Route", b"1"), "X-As-Asked", True),
        ((b"x-as-asked", b"1"), "X-As-Asked", True),
        ((b"x-as-asked", b"0"), "X-As-Asked", False),
        ((b"X-ModelTrack-As-Asked", b"true"), "x-modeltrack-as-asked", True),
        ((b"x-as-asked", b"1"), "", False),
    ],
)
def test_a_caller_opts_out_of_routing_by_the_published_header_or_the_accounts_own(
    header: tuple[bytes, bytes], also: str, has_opted_out: bool
) -> None:
    inbound = read_inbound([header], forwarding_hops=0)

    assert inbound.has_opted_out_of_routing(also) is has_opted_out
