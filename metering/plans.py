"""Plans: what an account may use. They are data, `plans.toml`; here is what that file may say.

A limit of None is none. What happens where an account uses more is said beside the limits, for people; it is
never that a call is refused, slowed or left unrecorded.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

SELF_HOSTED: Final = "self_hosted"  # of every account on a machine of one's own
FREE: Final = "free"  # of every account that is made where many share a deployment

_FILE: Final = Path(__file__).with_name("plans.toml")


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One plan. `requests_a_minute` are those to the API, of the whole account and of one key or person."""

    title: str
    is_paid: bool = False
    events_a_month: int | None = None
    tracked_usd_a_month: int | None = None
    teams: int | None = None
    providers: int | None = None
    events_kept_days: int | None = None
    requests_a_minute: int
    requests_a_minute_of_one: int


class _Plans(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at_limit: Mapping[str, str]
    plans: Mapping[str, Plan]


def all_plans() -> Mapping[str, Plan]:
    """Every plan, by the name that accounts carry."""
    return _read().plans


def plan_named(name: str) -> Plan:
    """The plan of that name; one that the file knows no more limits like `FREE`, which promises least."""
    plans = all_plans()
    return plans.get(name) or plans[FREE]


def at_limit() -> Mapping[str, str]:
    """What happens where an account uses more, by the limit's name."""
    return _read().at_limit


@cache
def _read() -> _Plans:
    return msgspec.toml.decode(_FILE.read_bytes(), type=_Plans)
