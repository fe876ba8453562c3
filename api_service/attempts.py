"""How often somebody may try: limits on log-ins, sign-ups and the like, which all instances share.

Where the store gives no answer nobody gets to try: to guess a password during an outage would be free else,
and who has it needs the store anyway.
"""

import ipaddress

from api_service.errors import Refused
from api_service.rates import Name, Rates, Standing, Window

WINDOW_SECONDS = 900
LOGINS_MAX = 10  # for one e-mail address from one network address
LOGINS_FROM_ADDRESS_MAX = 100
# Of one e-mail address from all networks together, by strangers; by browsers that are known as many again.
LOGINS_OF_ADDRESS = (Window(30, WINDOW_SECONDS), Window(60, 3 * 3600), Window(120, 24 * 3600))
SIGN_UPS_FROM_ADDRESS_MAX = 60
MAILS_MAX = 5  # to one e-mail address
MAILS_FROM_ADDRESS_MAX = 60  # that one network address, or one account, has sent


class Attempts:
    """Counts attempts by name, in any quarter of an hour. Every method raises StoreUnavailable."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def take(self, name: Name, most: int) -> None:
        """Count one attempt. Raises: Refused (429) beyond the limit, saying when to come back."""
        standing = self._rates.take([(name, Window(most, WINDOW_SECONDS))])
        if standing.wait_seconds:
            raise Refused(
                429,
                "too_many_attempts",
                f"too many attempts; try again in {standing.wait_seconds} seconds",
                retry_after_seconds=standing.wait_seconds,
            )

    def take_of_address(self, email: str, *, is_known: bool) -> Standing:
        """Count one attempt at the address, from wherever; `is_known` says whether the browser is.

        How long to wait grows with the attempts: a quarter of an hour after the first 30, hours after more.
        Raises: Refused (429).
        """
        standing = self._rates.take(_of_address(email, is_known=is_known))
        if standing.wait_seconds:
            raise Refused(
                429,
                "too_many_attempts",
                f"too many attempts at this address; try again in {standing.wait_seconds} seconds, from a"
                " browser that you logged in with before, or after setting a new password by mail",
                retry_after_seconds=standing.wait_seconds,
            )
        return standing

    def give_back_of_address(self, email: str, standing: Standing, *, is_known: bool) -> None:
        """The attempt was no guess: do not count it."""
        self._rates.give_back(_of_address(email, is_known=is_known), standing)

    def forget(self, name: Name) -> None:
        """Count from zero again: it was the right person."""
        self._rates.forget(name, Window(0, WINDOW_SECONDS))


def _of_address(email: str, *, is_known: bool) -> list[tuple[Name, Window]]:
    who = "known" if is_known else "strangers"
    return [(("logins of", who, email, str(each.seconds)), each) for each in LOGINS_OF_ADDRESS]


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
