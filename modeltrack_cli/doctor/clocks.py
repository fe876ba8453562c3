"""Do the clocks agree? Budgets' periods, sessions and second factors go by them."""

from typing import Final

from modeltrack_cli.doctor.findings import Verdict, failed, not_checked, passed
from modeltrack_cli.doctor.visit import NAMES, Visit

APART_SECONDS_MAX: Final = 5.0


def clocks(visit: Visit) -> Verdict:
    """Whether both services' clocks and this machine's agree, by all moments that were told on the way."""
    if not visit.readings:
        return not_checked("neither service told the time")
    worst = max(visit.readings, key=lambda reading: abs(reading.ahead_seconds))
    ahead = [reading.ahead_seconds for reading in visit.readings]
    apart = max(ahead) - min(ahead)
    if max(abs(worst.ahead_seconds), apart) <= APART_SECONDS_MAX:
        return passed(f"within {APART_SECONDS_MAX:.0f} s of each other")
    side = "ahead of" if worst.ahead_seconds > 0 else "behind"
    found = f"{NAMES[worst.place]} is {abs(worst.ahead_seconds):.0f} s {side} this machine"
    if apart <= APART_SECONDS_MAX and len({reading.place for reading in visit.readings}) > 1:
        return failed(
            f"{found}, and both services agree", "set this machine's clock (NTP), and run this again"
        )
    return failed(found, f"set the clock of the machine that runs {NAMES[worst.place]} (NTP)")
