"""How budgets say no: in words a person can act on, and in fields a program can.

Whether coming back helps is said in the way SDKs obey: `Retry-After` where the rest is only held, and
`x-should-retry: false` where it is spent.
"""

from datetime import UTC, datetime
from typing import Final

from metering.bounds import ANSWER_LIMITS
from metering.money import usd_text
from proxy_service.refusals import RequestRefused
from proxy_service.stakes import BudgetExceeded, Fitting, StakeStanding

_CAPS: Final = ANSWER_LIMITS | {"max_tool_calls", "n", "tools.max_uses"}


def budget_exceeded(exceeded: BudgetExceeded, fitting: Fitting | None = None) -> RequestRefused:
    """A budget has no room for the call: 429 `budget_exceeded`, with the output cap that would fit."""
    standing, needed = exceeded.standing, exceeded.needed_nanodollars
    need = "" if needed is None else f", and ${usd_text(needed)} is what this call may cost"
    wait = (
        "the rest is held by calls under way: try again shortly"
        if exceeded.is_only_held
        else f"it resets at {_moment(standing.resets_at)}"
    )
    return RequestRefused(
        429,
        "budget_exceeded",
        f"the budget {_named(standing)} has no room for this call in {standing.period}: of"
        f" ${usd_text(standing.limit_nanodollars)}, ${usd_text(standing.spent_nanodollars)} is spent and"
        f" ${usd_text(standing.held_nanodollars)} held{need}; {wait}{_shorter(fitting)}",
        None if fitting is None else fitting.param,
        details=_details(standing)
        | ({} if needed is None else {"needed_usd": usd_text(needed)})
        | ({} if fitting is None else {"fits_with": f"{fitting.param}<={fitting.tokens}"}),
        retry="soon" if exceeded.is_only_held else "never",
    )


def budget_unverifiable(standing: StakeStanding) -> RequestRefused:
    """A strict budget cannot be asked: 503 `budget_unverifiable`."""
    return RequestRefused(
        503,
        "budget_unverifiable",
        f"the strict budget {_named(standing)} cannot be asked at the moment; try again",
        details=_details(standing),
        retry="soon",
    )


def cost_unbounded(standing: StakeStanding, param: str) -> RequestRefused:
    """A strict budget is over a call that nothing bounds: 400 `cost_unbounded`, naming the field at fault."""
    return RequestRefused(
        400,
        "cost_unbounded",
        f"the strict budget {_named(standing)} refuses calls whose cost nothing bounds: {_bounding(param)}",
        param or None,
        details={"budget_id": standing.budget_id, "budget_name": standing.name},
    )


def _named(standing: StakeStanding) -> str:
    named = f"{standing.name} ({standing.budget_id})" if standing.name else standing.budget_id
    return f"{named} of {standing.value}" if standing.value else named


def _details(standing: StakeStanding) -> dict[str, str]:
    return {
        "budget_id": standing.budget_id,
        "budget_name": standing.name,
        "period": standing.period,
        "value": standing.value,
        "limit_usd": usd_text(standing.limit_nanodollars),
        "spent_usd": usd_text(standing.spent_nanodollars),
        "held_usd": usd_text(standing.held_nanodollars),
        "resets_at": _moment(standing.resets_at),
    }


def _shorter(fitting: Fitting | None) -> str:
    if fitting is None:
        return ""
    return f"; with {fitting.param} of at most {fitting.tokens} there may be room for it now"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _bounding(param: str) -> str:
    if not param:
        return "what calls of this path come to cannot be foreseen"
    if param == "model":
        return "the price or the limits of its model are not known"
    if param == "content-encoding":
        return "send the body uncompressed"
    if param == "body":
        return "send a plain JSON object with each key once"
    if param in _CAPS:
        return f"set {param}"
    return f"{param} may make it cost more than can be foreseen; leave it out"
