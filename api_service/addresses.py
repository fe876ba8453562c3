"""Which addresses we call when a tenant names them: addresses of the public internet, and nothing else.

A URL is looked at twice: when it is saved, by its words (`checked_url`), and each time a connection is made,
by the numbers its name leads to just then (`is_public`). Only the second holds, since names change what they
lead to; the first tells people at once.

A self-hosted machine also calls what its operator lists in OUTBOUND_NETWORKS.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from metering.errors import InvalidInput

URL_CHARACTERS_MAX: Final = 2_048
HOSTED_PORTS: Final = frozenset({443, 8443})
NETWORKS_MAX: Final = 50

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PRINTABLE = re.compile(r"[!-~]+")
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # how the last part of an IPv4 address may be written
_DOTTED = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")
_INNER_NAMES = (
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home.arpa",
    "corp",
    "home",
    "test",
    "invalid",
)

# What is not of the public internet (IANA's special-purpose registries, read 2026-11-21:
# https://www.iana.org/assignments/iana-ipv4-special-registry, …/iana-ipv6-special-registry). Of IPv6 only
# global unicast is called at all; what embeds an IPv4 address (6to4, Teredo) is not.
_SPECIAL: Final[Sequence[Network]] = tuple(
    ip_network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
        "168.63.129.16/32",  # no entry there: what Azure tells its virtual machines, secrets included
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")


@dataclass(frozen=True)
class Reach:
    """What may be called: the public internet, and `networks` besides.

    Hosted, it is by https and on `HOSTED_PORTS` alone.
    """

    is_hosted: bool
    networks: tuple[Network, ...] = ()

    def allows(self, address: str) -> bool:
        """Whether a connection may be made to the address, in the form in which name resolution gives it."""
        try:
            found = _unmapped(ip_address(address))
        except ValueError:
            return False
        return is_public(found) or any(found in network for network in self.networks)


def networks_in(text: str) -> tuple[Network, ...]:
    """The networks in a list with commas, for example `10.0.0.0/8, 127.0.0.0/8`. Raises: ValueError."""
    named = [each.strip() for each in text.split(",") if each.strip()]
    if len(named) > NETWORKS_MAX:
        raise ValueError("too many networks")
    return tuple(ip_network(each) for each in named)


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet."""
    address = _unmapped(address)
    if isinstance(address, IPv6Address) and (address not in _GLOBAL_UNICAST or address.scope_id):
        return False
    return address.is_global and not any(address in network for network in _SPECIAL)


def _unmapped(address: Address) -> Address:
    """An IPv4 address that is written as IPv6, as itself: connecting to either leads to the same machine."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def checked_url(text: str, reach: Reach, param: str = "url") -> str:
    """The URL in its usual form, where it may be called as far as its words tell.

    Raises: InvalidInput, which says what is wrong and never repeats the URL.
    """
    parts = _parts(text, reach, param)
    host = (parts.hostname or "").rstrip(".")
    _check_host(host, reach, param)
    shown = f"[{host}]" if ":" in host else host
    port = "" if parts.port is None else f":{parts.port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{shown}{port}{parts.path or '/'}{query}"


def _parts(text: str, reach: Reach, param: str) -> SplitResult:
    wanted = "give an https:// URL such as https://hooks.example.com/modeltrack"
    if len(text) > URL_CHARACTERS_MAX or not _PRINTABLE.fullmatch(text) or "\\" in text:
        raise InvalidInput(f"{wanted}, at most {URL_CHARACTERS_MAX} characters long", param)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidInput(wanted, param) from None
    if parts.scheme not in ({"https"} if reach.is_hosted else {"https", "http"}) or not parts.hostname:
        raise InvalidInput(wanted, param)
    if "@" in parts.netloc or "%" in parts.netloc or parts.fragment:
        raise InvalidInput(f"{wanted}, without a name, password or fragment in it", param)
    if port == 0 or (reach.is_hosted and port is not None and port not in HOSTED_PORTS):
        raise InvalidInput(f"use port {' or '.join(map(str, sorted(HOSTED_PORTS)))}", param)
    return parts


def _check_host(host: str, reach: Reach, param: str) -> None:
    inner = InvalidInput(
        "this address is not on the public internet"
        + ("" if reach.is_hosted else "; whoever runs this machine may allow it in OUTBOUND_NETWORKS"),
        param,
    )
    if ":" in host or _DOTTED.fullmatch(host):
        if not reach.allows(host):
            raise inner
        return
    last = host.rpartition(".")[2]
    if _NUMBER.fullmatch(last):  # 127.1, 2130706433, 0x7f.0.0.1: other ways to write a machine's number
        raise InvalidInput("write an IP address as four decimal numbers", param)
    if not _NAME.fullmatch(host):
        raise InvalidInput("give a host's name in ASCII (an international one as xn--…)", param)
    is_inner = "." not in host or any(host == name or host.endswith(f".{name}") for name in _INNER_NAMES)
    if is_inner and not reach.networks:
        raise inner
