"""Which addresses are called: what is not of the public internet is refused, however it is written."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_service.addresses import HOSTED_PORTS, URL_CHARACTERS_MAX, Reach, checked_url, is_public, networks_in
from metering.errors import InvalidInput

HOSTED = Reach(is_hosted=True)
OWN = Reach(is_hosted=False)
AT_HOME = Reach(is_hosted=False, networks=(ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/modeltrack",
        "https://hooks.example.com:8443/a?b=c",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "https://xn--bcher-kva.example.org/",
        "https://a_b.example.org/",
    ],
)
def test_a_public_address_is_kept_as_it_is(url: str) -> None:
    assert checked_url(url, HOSTED) == url


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("HTTPS://Hooks.Example.com", "https://hooks.example.com/"),
        ("https://hooks.example.com./x", "https://hooks.example.com/x"),
        ("https://hooks.example.com?x=1", "https://hooks.example.com/?x=1"),
    ],
)
def test_a_url_is_kept_in_its_usual_form(url: str, kept: str) -> None:
    assert checked_url(url, HOSTED) == kept


NEVER = [
    *(
        "https://127.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://2130706433/",
        "https://0x7f000001/",
    ),
    *("https://0x7f.0.0.1/", "https://017700000001/", "https://0177.0.0.1/", "https://127.0.0.01/"),
    *("https://0/", "https://0.0.0.0/", "https://10.1.2.3/", "https://172.16.0.1/", "https://192.168.1.1/"),
    *("https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/", "https://198.18.0.1/"),
    *("https://168.63.129.16/", "https://[::ffff:168.63.129.16]/"),
    *("https://224.0.0.1/", "https://255.255.255.255/", "https://192.0.0.8/", "https://192.88.99.1/"),
    *("https://[::1]/", "https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/"),
    *("https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::7f00:1]/"),
    *(
        "https://[2002:7f00:1::]/",
        "https://[2001:0:4136:e378::]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
    ),
    *("https://[fec0::1]/", "https://[ff0e::1]/", "https://[fe80::1%25eth0]/", "https://[2606:4700::1%251]/"),
    *("https://localhost/", "https://LOCALHOST/", "https://a.localhost/", "https://localhost./"),
    *("https://metadata.google.internal/", "https://printer.local/", "https://intranet/", "https://db/"),
    *("http://hooks.example.com/", "file:///etc/passwd", "ftp://example.com/", "gopher://example.com/"),
    *("https://hooks.example.com:22/", "https://hooks.example.com:6379/", "https://hooks.example.com:0/"),
    *("https://hooks.example.com:99999/", "https://hooks.example.com:x/", "https:///x", "https://", "x", ""),
    *(
        "https://ada:secret@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com\\@127.0.0.1/",
    ),
    *("https://127.0.0.1%2f@example.com/", "https://exam%70le.com/", "https://example.com/#x"),
    *("https://①②⑦.0.0.1/", "https://ⓔxample.com/", "https://example。com/", "https://exa mple.com/"),
    *("https://example.com/\r\nX: y", "https://example.com/\t", "https://a..b/", "https://-a.example.com/"),
    *("https://[127.0.0.1]/", "https://[::1/", "https://1.2.3.4.5/", "https://256.1.1.1/", "//example.com/"),
    f"https://example.com/{'x' * URL_CHARACTERS_MAX}",
]


@pytest.mark.battery("A7")
@pytest.mark.parametrize("url", NEVER)
def test_no_spelling_of_another_address_is_kept(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_url(url, HOSTED, "url")

    assert refused.value.param == "url"
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("port", sorted(HOSTED_PORTS))
def test_hosted_the_ports_of_https_are_called(port: int) -> None:
    assert checked_url(f"https://example.com:{port}/", HOSTED) == f"https://example.com:{port}/"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/", "http://10.255.0.1/", "http://collector.internal:80/x"]
)
def test_at_home_the_operators_own_networks_are_called(url: str) -> None:
    assert checked_url(url, AT_HOME) == url


@pytest.mark.parametrize("url", ["http://192.168.0.1/", "http://[::1]/", "http://0x7f000001/"])
def test_at_home_no_other_networks_are_called(url: str) -> None:
    with pytest.raises(InvalidInput):
        checked_url(url, AT_HOME)


def test_at_home_the_refusal_names_the_setting() -> None:
    with pytest.raises(InvalidInput, match="OUTBOUND_NETWORKS"):
        checked_url("http://127.0.0.1:9000/", OWN)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_written_as_ipv6_is_judged_as_itself(address: IPv4Address) -> None:
    assert is_public(ip_address(f"::ffff:{address}")) == is_public(address)


@pytest.mark.battery_class("addresses in any spelling")
@given(st.ip_addresses(v=4))
def test_no_private_ipv4_address_is_public_in_any_embedding(address: IPv4Address) -> None:
    number = int(address)
    for prefix in ("::", "64:ff9b::"):
        embedded = IPv6Address(int(IPv6Address(prefix)) + number)
        assert not is_public(embedded)
    assert not is_public(IPv6Address((0x2002 << 112) + (number << 80)))


@pytest.mark.battery_class("addresses in any spelling")
@given(st.ip_addresses())
def test_nothing_is_public_that_the_registries_do_not_call_global(address: IPv4Address | IPv6Address) -> None:
    is_mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    if not is_mapped and (not address.is_global or address.is_multicast or address.is_reserved):
        assert not is_public(address)


@pytest.mark.parametrize("text", ["", " , ", "10.0.0.0/8", "10.0.0.0/8, ::1/128"])
def test_networks_are_a_list_with_commas(text: str) -> None:
    assert [str(each) for each in networks_in(text)] == [
        each for each in text.replace(" ", "").split(",") if each
    ]


@pytest.mark.parametrize("text", ["10.0.0.1/8", "x", "10.0.0.0/33", ",".join(["10.0.0.0/8"] * 51)])
def test_what_is_no_list_of_networks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"network|host bits|too many|not permitted"):
        networks_in(text)
