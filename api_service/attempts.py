"""How often somebody may try: a limit on log-ins and sign-ups, in this process only.

It slows guessing down where one process serves. Where several do, each counts for itself; the limit that all
of them share is to come (docs/decisions/).
"""

import ipaddress
import threading
from collections import OrderedDict

from api_service.errors import Refused
from metering.clock import Clock

WINDOW_SECONDS = 900
LOGINS_MAX = 10  # for one e-mail address from one network address
LOGINS_FROM_ADDRESS_MAX = 100
SIGN_UPS_FROM_ADDRESS_MAX = 60
REMEMBERED_MAX = 20_000


class Attempts:
    """Counts attempts by name within windows of a quarter hour; forgets the longest untouched when full."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[str, ...], tuple[float, int]] = OrderedDict()

    def take(self, name: tuple[str, ...], most: int) -> None:
        """Count one attempt. Raises: Refused (429) beyond the limit, saying when to come back."""
        now = self._clock.monotonic()
        with self._lock:
            began, count = self._counts.get(name, (now, 0))
            if now - began >= WINDOW_SECONDS:
                began, count = now, 0
            self._counts[name] = (began, min(count, most) + 1)
            self._counts.move_to_end(name)
            if len(self._counts) > REMEMBERED_MAX:
                self._counts.popitem(last=False)
        if count >= most:
            wait = int(began + WINDOW_SECONDS - now) + 1
            raise Refused(
                429, "too_many_attempts", f"too many attempts; try again in {wait} seconds",
                retry_after_seconds=wait,
            )  # fmt: skip

    def forget(self, name: tuple[str, ...]) -> None:
        """Count from zero again: it was the right person."""
        with self._lock:
            self._counts.pop(name, None)


def network_of(address: str) -> str:
    """The part of a network address that one household or machine has to itself: all of IPv4, /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
