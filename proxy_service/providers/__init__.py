"""The providers: which route a call takes, what it asks, how it leaves, how its answer is read.

match        raw path → `Route` (None: not a provider's path)
read_ask     the body of a metered call → `Ask`
prepare      the call as it leaves → `Prepared`
make_meter   listens to the answer → `Meter`

Everything here is pure: bytes in, values out.
"""

from proxy_service.providers.base import Ask, Edit, Operation, Prepared, PrepareSettings, Route, RouteKind
from proxy_service.providers.meters import make_meter
from proxy_service.providers.routes import dialect_of, match
from proxy_service.refusals import Dialect, RequestRefused, render_error

__all__ = [
    "Ask",
    "Dialect",
    "Edit",
    "Operation",
    "PrepareSettings",
    "Prepared",
    "RequestRefused",
    "Route",
    "RouteKind",
    "dialect_of",
    "make_meter",
    "match",
    "render_error",
]
