"""How often the API may be asked, as the account's plan says, and the headers that tell callers about it.

| who asks | counts for |
|---|---|
| a key, or a person by a session | that key or person, and the account |
| nobody, where nobody is asked for (signing up, logging in) | the network address |
| whoever is refused before that, or asks for what is not there | as far as known, else the address |

Every counted answer says how its caller stands: `X-RateLimit-Limit`, `X-RateLimit-Remaining` (of whichever
limit has least left) and `X-RateLimit-Reset`, the unix second at which all of it is there again if nothing
more is asked. Health checks, this API's description, the service's own figures and what pages load besides
themselves (which is all in memory) are not counted. How the service stands is answered from memory, so that
who asks for it is counted in this process alone.

The store giving no answer limits nobody: nothing that is worth limiting is to be had without it, and a
request must not fail for the sake of a count. (Attempts at passwords are another matter: `attempts`.)
"""

from flask import Flask, Response, current_app, g, request

from api_service.access import Need, Visitor, network_of_caller
from api_service.errors import Refused, answer_of
from api_service.process_rates import ProcessRates
from api_service.rates import Name, Standing, Window
from api_service.services import services
from metering.errors import StoreError
from metering.plans import plan_named

OF_ADDRESS = Window(300)  # requests a minute of nobody in particular
OF_STATUS = Window(60)  # of an address, for how the service stands
TIMEOUT_SECONDS = 2.0
UNCOUNTED_ROUTES = frozenset(
    {"/healthz", "/health", "/readyz", "/metrics", "/openapi.json", "/static/<name>"}
)


COUNTED_HERE = frozenset({"/v1/status", "/status"})

_HERE = "modeltrack counted here"


def limit_requests(app: Flask) -> None:
    """Count requests once it is known who makes them, and refuse what is too much."""
    app.extensions[_HERE] = ProcessRates()
    app.before_request(_count)
    app.after_request(_tell)


def _count() -> None:
    if request.url_rule is None or request.url_rule.rule in UNCOUNTED_ROUTES:
        return
    asking: Visitor | None = g.get("visitor")
    need: Need = current_app.view_functions[request.endpoint or ""].__dict__["need"]
    if asking is None and need != "anyone":
        return  # shown on a machine of one's own to whoever sits at it
    is_here = request.url_rule.rule in COUNTED_HERE
    standing = _taken_here() if is_here else _taken(_subjects_of(asking) if asking else [_of_address()])
    if standing is not None and standing.wait_seconds:
        raise _refusal(standing)


def _taken_here() -> Standing:
    rates: ProcessRates = current_app.extensions[_HERE]
    standing = rates.take(network_of_caller(), OF_STATUS, services().clock.now().timestamp())
    g.rate_standing = standing
    return standing


def _taken(subjects: list[tuple[Name, Window]]) -> Standing | None:
    try:
        standing = services().rates.take(subjects, timeout_seconds=TIMEOUT_SECONDS)
    except StoreError:
        return None  # see above
    g.rate_standing = standing
    return standing


def _subjects_of(asking: Visitor) -> list[tuple[Name, Window]]:
    plan = plan_named(asking.account.plan)
    one = asking.key.key_id if asking.key else asking.session.person_id if asking.session else ""
    return [
        (("one", asking.account_id, one), Window(plan.requests_a_minute_of_one)),
        (("account", asking.account_id), Window(plan.requests_a_minute)),
    ]


def _of_address() -> tuple[Name, Window]:
    return ("address", network_of_caller()), OF_ADDRESS


def _refusal(standing: Standing) -> Refused:
    return Refused(
        429,
        "too_many_requests",
        f"too many requests within a minute; try again in {standing.wait_seconds} seconds",
        retry_after_seconds=standing.wait_seconds,
    )


def _tell(response: Response) -> Response:
    if "rate_standing" not in g and _is_refused_uncounted(response):
        asking: Visitor | None = g.get("visitor")
        standing = _taken(_subjects_of(asking) if asking else [_of_address()])
        if standing is not None and standing.wait_seconds:
            response = answer_of(_refusal(standing))
    told: Standing | None = g.get("rate_standing")
    if told is not None:
        response.headers["X-RateLimit-Limit"] = str(told.limit)
        response.headers["X-RateLimit-Remaining"] = str(told.remaining)
        response.headers["X-RateLimit-Reset"] = str(told.reset_at)
    return response


def _is_refused_uncounted(response: Response) -> bool:
    is_counted = request.url_rule is None or request.url_rule.rule not in UNCOUNTED_ROUTES
    return is_counted and 300 <= response.status_code < 500  # pages lead to the log-in instead
