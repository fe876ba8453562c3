"""Which headers cross the proxy. Pure.

Both ways: headers of one connection (and what `Connection` lists) stay behind, as does everything named
`X-ModelTrack-…`, and on the way up our API's cookies; all others pass in order and case. Ours are read here
first, so that listing one of them in `Connection` hides nothing from us.
"""

import msgspec

from metering.accounts import Tags
from metering.tags import normalised_tag
from proxy_service.wire import Headers

OUR_PREFIX = b"x-modeltrack-"
OUR_COOKIES = b"modeltrack_"  # what their names begin with, on https behind `_OF_THIS_HOST`
KEY_HEADER = b"x-modeltrack-key"
NO_CACHE_HEADER = b"x-modeltrack-no-cache"
NO_ROUTE_HEADER = b"x-modeltrack-no-route"

_OF_THIS_HOST = b"__Host-"
_OF_ONE_CONNECTION = frozenset(
    (
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_LOOKED_AT = _OF_ONE_CONNECTION | {b"cookie"}
# What our front ends add to every request; a direct call would not carry it.
OF_THE_FRONT_END = frozenset(
    (
        b"forwarded",
        b"via",
        b"x-cloud-trace-context",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
    )
)
_TAG_HEADERS = {
    b"x-modeltrack-team": "team",
    b"x-modeltrack-app": "app",
    b"x-modeltrack-feature": "feature",
    b"x-modeltrack-customer-tier": "customer_tier",
    b"x-modeltrack-session-id": "session_id",
    b"x-modeltrack-trace-id": "trace_id",
    b"x-modeltrack-prompt-template": "prompt_template_id",
}
_SAYS_NOTHING = frozenset((b"", b"close", b"keep-alive"))
_TRUE = frozenset((b"1", b"true", b"yes"))


class Inbound(msgspec.Struct):
    """A request's headers, told apart.

    `ours`: the first value of each of our headers, by lower-case name. `has_two_keys`: our key header came
    twice with different values. `client_address` is what our front ends say of the caller: of the entries
    of `X-Forwarded-For` that they append, the first. What stands before those, the caller may have written.
    """

    outbound: Headers
    ours: dict[bytes, bytes]
    has_two_keys: bool = False
    client_address: str = ""
    tags_read: Tags | None = None  # once they are asked for

    def has_opted_out_of_cache(self) -> bool:
        """Whether the caller wants no answer from memory."""
        return self.ours.get(NO_CACHE_HEADER, b"").strip().lower() in _TRUE

    def has_opted_out_of_routing(self, also: str = "") -> bool:
        """Whether the caller wants the model it asks for, or none; `also` names a header of the account's."""
        if self.ours.get(NO_ROUTE_HEADER, b"").strip().lower() in _TRUE:
            return True
        named = also.lower().encode()
        return bool(named) and any(
            value.strip().lower() in _TRUE
            for name, value in (*self.ours.items(), *self.outbound)
            if name.lower() == named
        )

    def tags(self) -> Tags:
        """The call's attribution, as the caller gave it."""
        if self.tags_read is None:
            named = [(_TAG_HEADERS.get(name), value) for name, value in self.ours.items()]
            self.tags_read = Tags(**{field: normalised_tag(value) for field, value in named if field})
        return self.tags_read


def read_inbound(headers: Headers, *, forwarding_hops: int) -> Inbound:
    """Tell a request's headers apart; behind front ends of ours, what they added stays behind too.

    `forwarding_hops`: how many entries these append to `X-Forwarded-For`. Fewer there are of a request that
    went another way; then the connection itself says who calls.
    """
    ours: dict[bytes, bytes] = {}
    outbound: Headers = []
    has_two_keys = False
    listed = b""
    forwarded: list[bytes] = []
    for pair in headers:
        name = pair[0].lower()
        if name in _LOOKED_AT:
            if name == b"connection":
                listed += b"," + pair[1]
            elif name == b"cookie":
                outbound += _without_our_cookies(pair)
        elif name.startswith(OUR_PREFIX):
            if ours.setdefault(name, pair[1]) != pair[1] and name == KEY_HEADER:
                has_two_keys = True
        elif forwarding_hops and name in OF_THE_FRONT_END:
            if name == b"x-forwarded-for":
                forwarded += pair[1].split(b",")
        else:
            outbound.append(pair)
    client_address = ""
    if 0 < forwarding_hops <= len(forwarded):
        client_address = forwarded[-forwarding_hops].strip().decode("latin-1")
    return Inbound(_without_listed(outbound, listed), ours, has_two_keys, client_address)


def _without_our_cookies(pair: tuple[bytes, bytes]) -> Headers:
    """The header, but for the cookies of our own API: a browser sends those to every port of its host."""
    if OUR_COOKIES not in pair[1]:
        return [pair]
    cookies = [each.strip() for each in pair[1].split(b";")]
    others = [each for each in cookies if not each.removeprefix(_OF_THIS_HOST).startswith(OUR_COOKIES)]
    if others == cookies:
        return [pair]
    kept = b"; ".join(others)
    return [(pair[0], kept)] if kept else []


def read_answer(headers: Headers) -> Headers:
    """An upstream's headers as the caller gets them, but for ours, which are added to these."""
    kept = []
    listed = b""
    for pair in headers:
        name = pair[0].lower()
        if name in _OF_ONE_CONNECTION:
            if name == b"connection":
                listed += b"," + pair[1]
        elif not name.startswith(OUR_PREFIX):
            kept.append(pair)
    return _without_listed(kept, listed)


def _without_listed(headers: Headers, listed: bytes) -> Headers:
    if not listed:
        return headers
    names = {name.strip().lower() for name in listed.split(b",")} - _SAYS_NOTHING
    return [pair for pair in headers if pair[0].lower() not in names] if names else headers
