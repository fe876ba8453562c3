"""The providers: which route a call takes, what it asks, how it leaves, how its answer is read.

match         raw path → `Route` (None: not a provider's path)
read_ask      the body of a metered call → `Ask`
read_template what of it makes the call's template, in one form for all providers (None: nothing)
read_extent   the same body → how far the call may reach (`metering.bounds.Extent`)
redirected    the call turned to another model → `Redirected` (None: it cannot be edited safely)
prepare       the call as it leaves → `Prepared`
answer_edit   what changes of the answer on its way to the caller (None: nothing)
make_meter    listens to the answer as it came → `Meter`
render_error  an error of our own in the caller's provider's words

Everything here is pure: bytes in, values out. What is refused raises `RequestRefused`.
"""

from proxy_service.providers.asks import read_ask
from proxy_service.providers.base import Ask, Edit, Operation, Prepared, PrepareSettings, Route, RouteKind
from proxy_service.providers.extents import read_extent
from proxy_service.providers.meters import make_meter
from proxy_service.providers.preparing import (
    AnswerEdit,
    answer_edit,
    prepare,
    refuse_signature,
    refuses_include_usage,
)
from proxy_service.providers.redirects import Redirected, redirected
from proxy_service.providers.routes import dialect_of, match
from proxy_service.providers.templates import read_template
from proxy_service.refusals import Dialect, RequestRefused, render_error

__all__ = [
    "AnswerEdit",
    "Ask",
    "Dialect",
    "Edit",
    "Operation",
    "PrepareSettings",
    "Prepared",
    "Redirected",
    "RequestRefused",
    "Route",
    "RouteKind",
    "answer_edit",
    "dialect_of",
    "make_meter",
    "match",
    "prepare",
    "read_ask",
    "read_extent",
    "read_template",
    "redirected",
    "refuse_signature",
    "refuses_include_usage",
    "render_error",
]
