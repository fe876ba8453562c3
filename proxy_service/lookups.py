"""Who may have a key looked up: a flood of made-up keys must keep no real one out.

A key that is known costs nothing here. One that is not yet known is looked up, and if there is no such key
(or the store does not say), that is charged to the address the call came from: each has `IN_VAIN_BURST` such
look-ups, and `IN_VAIN_PER_SECOND` more with time.

| what the address has left | look-ups running | |
|---|---|---|
| nothing | any | told to come back |
| less than half | half of `LOOK_UPS_MAX` or more | told to come back |
| at least half | fewer than `LOOK_UPS_MAX` | looked up |

So those who send made-up keys share one half of the room, and the other is for all who do not. Of IPv6 a
whole /64 is one address; what is no address is one too. Callers behind the same address share its luck.
"""

import ipaddress
from typing import Final

from proxy_service.memory import Memory

LOOK_UPS_MAX: Final = 256  # running at once
IN_VAIN_PER_SECOND: Final = 10.0
IN_VAIN_BURST: Final = 60.0
ADDRESSES_MAX: Final = 10_000  # the least recently seen starts afresh
_IPV6_HOST_BITS: Final = 64


class TooManyLookUps(Exception):
    """More unseen keys, at once or from one address, than are looked up."""


class RateCap:
    """At most so many a second, after a burst of so many."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._at = 0.0

    def left(self, now: float) -> float:
        """How many are left."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        return self._left

    def take(self, now: float) -> bool:
        """Take one, if one is left."""
        if self.left(now) < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """One that was taken was not used."""
        self._left = min(self._burst, self._left + 1)


class LookUpRoom:
    """What each address has left of look-ups in vain."""

    def __init__(self, look_ups_max: int = LOOK_UPS_MAX) -> None:
        self._look_ups_max = look_ups_max
        self._allowances: Memory[RateCap] = Memory(ADDRESSES_MAX)

    def take(self, address: str, running: int, now: float) -> RateCap:
        """Begin one more look-up beside those running; give it back where it finds its key.

        Raises: TooManyLookUps.
        """
        network = _network(address)
        allowance = self._allowances.get(network)
        if allowance is None:
            allowance = RateCap(IN_VAIN_PER_SECOND, IN_VAIN_BURST)
            self._allowances.put(network, allowance)
        is_trusted = allowance.left(now) >= IN_VAIN_BURST / 2
        room = self._look_ups_max if is_trusted else self._look_ups_max // 2
        if running >= room or not allowance.take(now):
            raise TooManyLookUps
        return allowance


def _network(address: str) -> str:
    """The name an address goes by here."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return f"{int(parsed) >> _IPV6_HOST_BITS:x}::" if mapped is None else str(mapped)
