"""The proxy's own routes: health, readiness, and what it did.

Self-hosted, figures are those of this process since its start, open to loopback and to keys with the scope
`stats`. Hosted, a key with that scope is needed, and the figures are that account's own, from its rollups.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from metering.accounts import Caller
from metering.clock import Clock
from metering.errors import StoreUnavailable
from metering.money import usd_text
from metering.rule_savings import RoutingFigures, hits_by_rule, saved_by_routing
from metering.version import VERSION, VERSION_HEADER
from proxy_service.cache import AnswerCache
from proxy_service.exposition import PROMETHEUS, Figures, exposition
from proxy_service.headers import OF_THE_FRONT_END
from proxy_service.identity import Credentials, Identity
from proxy_service.process_figures import ProcessFigures
from proxy_service.providers import RequestRefused, Route, match
from proxy_service.tally import TOKEN_KINDS
from proxy_service.wire import NOT_SNIFFED, Headers, RequestHead

READ_METHODS: Final = frozenset((b"GET", b"HEAD"))
JSON: Final = (b"Content-Type", b"application/json")
HTTPS_ONLY: Final = (b"Strict-Transport-Security", b"max-age=31536000; includeSubDomains")
NOT_KEPT: Final = (b"Cache-Control", b"no-store")

PROVIDER_PATHS: Final = (
    "POST /v1/messages",
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "POST /v1/embeddings",
    "POST /bedrock/v1/messages",
    "POST /bedrock/model/{id}/invoke",
    "POST /bedrock/model/{id}/invoke-with-response-stream",
    "POST /bedrock/model/{id}/converse",
    "POST /bedrock/model/{id}/converse-stream",
    "POST /azure/v1/chat/completions",
    "POST /azure/openai/…",
    "/anthropic/v1/…",
    "/openai/v1/…",
)
SERVICE_PATHS: Final = (
    "GET /healthz",
    "GET /readyz",
    "GET /stats",
    "GET /cache/stats",
    "GET /routing/stats",
    "GET /metrics",
)
_OPEN: Final = frozenset((b"/healthz", b"/health"))

# An account's, of the UTC month of that moment so far.
FiguresOfMonth = Callable[[str, datetime], Awaitable[RoutingFigures]]


class Reply(msgspec.Struct, frozen=True):
    """A whole answer of ours."""

    status: int
    headers: Headers
    body: bytes

    @property
    def reason(self) -> bytes:
        """The status in words."""
        return HTTPStatus(self.status).phrase.encode()


def check_method(head: RequestHead, route: Route) -> None:
    """Refuse (405) what no provider has: a model's own path with another method than POST.

    Stored chat completions are listed at that path, and browsers ask with OPTIONS first.
    """
    if route.kind == "metered" or head.method in (b"POST", b"OPTIONS") or head.path.endswith(b"/completions"):
        return
    as_post = match(msgspec.structs.replace(head, method=b"POST"))
    if as_post is not None and as_post.kind == "metered":
        raise RequestRefused(405, "method_not_allowed", "send this as POST")


class ServiceRoutes:
    """Answers what is no provider's path. `own_headers` are on each answer of ours, and on no provider's."""

    def __init__(
        self,
        identity: Identity,
        process: ProcessFigures,
        cache: AnswerCache,
        clock: Clock,
        *,
        is_hosted: bool,
        figures_of_month: FiguresOfMonth,
        version: str = VERSION,
    ) -> None:
        self.is_draining = False
        self._identity = identity
        self._process = process
        self._cache = cache
        self._clock = clock
        self._is_hosted = is_hosted
        self.own_headers: Headers = [NOT_SNIFFED, HTTPS_ONLY] if is_hosted else [NOT_SNIFFED]
        self._figures_of_month = figures_of_month
        self._version = (VERSION_HEADER.encode(), version.encode())
        self._routes: dict[bytes, Callable[[Figures], Reply]] = {
            b"/stats": _stats,
            b"/cache/stats": self._cache_stats_of,
            b"/routing/stats": _routing_stats,
            b"/metrics": _metrics,
        }

    async def reply(self, head: RequestHead, given: Credentials, peer_address: str) -> Reply:
        """The answer to a request for no provider. Raises: RequestRefused."""
        path = head.path
        show = self._routes.get(path)
        if show is None and path not in _OPEN and path != b"/readyz":
            return _unknown()
        if head.method not in READ_METHODS:
            raise RequestRefused(405, "method_not_allowed", "send this as GET")
        if path == b"/readyz":
            return self._told(503, "draining") if self.is_draining else self._told(200, "ready")
        if show is None:
            return self._told(200, "ok")
        return show(await self._figures(given, is_local=_is_of_this_machine(head, peer_address)))

    def _told(self, status: int, word: str) -> Reply:
        """How this process is, with its version, and the time by its clock."""
        from email.utils import format_datetime  # noqa: PLC0415 - no call needs it, and a start waits for it

        date = (b"Date", format_datetime(self._clock.now(), usegmt=True).encode())
        return Reply(status, [JSON, NOT_KEPT, date, self._version], msgspec.json.encode({"status": word}))

    async def _figures(self, given: Credentials, *, is_local: bool) -> Figures:
        if not self._is_hosted and not given.key and not given.ingress_id and is_local:
            return self._process.now()
        if not given.key:
            raise RequestRefused(401, "invalid_modeltrack_key", "send a ModelTrack key with the scope stats")
        who = await self._identity.identify(given, "stats")
        if not self._is_hosted:
            return self._process.now()
        if who.unseen_key_hash:
            raise _unavailable()
        return await self._of_account(who.caller)

    async def _of_account(self, caller: Caller) -> Figures:
        now = self._clock.now()
        try:
            month = await self._figures_of_month(caller.account_id, now)
        except StoreUnavailable as error:
            raise _unavailable() from error
        sums = month.sums
        return Figures(
            since=now.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
            requests=sums["requests"],
            tokens=sum(sums[kind] for kind in TOKEN_KINDS),
            cost_nanodollars=sums["cost_nanodollars"],
            cache_hits=sums["cache_hits"],
            cache_misses=sums["requests"] - sums["cache_hits"],
            cache_entries=self._cache.entries_of(caller.account_id),
            saved_nanodollars=sums["cache_saved_nanodollars"],
            routed=sums["routed"],
            blocked=sums["blocked"],
            routing_saved_nanodollars=saved_by_routing(sums),
            rule_hits=hits_by_rule(month.rules),
        )

    def _cache_stats_of(self, figures: Figures) -> Reply:
        asked = figures.cache_hits + figures.cache_misses
        return _reply(
            200,
            {
                "total_hits": figures.cache_hits,
                "total_misses": figures.cache_misses,
                "hit_rate_percent": round(100 * figures.cache_hits / asked, 2) if asked else 0,
                "entries_count": figures.cache_entries,
                "max_entries": self._cache.entries_max,
                "ttl_seconds": int(self._cache.ttl_seconds),
                "estimated_savings_usd": _usd(figures.saved_nanodollars),
                "since": figures.since,
            },
        )


def _stats(figures: Figures) -> Reply:
    return _reply(
        200,
        {
            "total_requests": figures.requests,
            "total_tokens": figures.tokens,
            "total_cost_usd": _usd(figures.cost_nanodollars),
            "since": figures.since,
        },
    )


def _routing_stats(figures: Figures) -> Reply:
    return _reply(
        200,
        {
            "total_routed": figures.routed,
            "total_pass_through": figures.requests - figures.routed - figures.blocked,
            "total_blocked": figures.blocked,
            "rule_hits": figures.rule_hits,
            "estimated_savings": _usd(figures.routing_saved_nanodollars),
            "since": figures.since,
        },
    )


def _metrics(figures: Figures) -> Reply:
    return Reply(200, [PROMETHEUS, NOT_KEPT], exposition(figures))


def _unknown() -> Reply:
    error = {
        "type": "not_found",
        "code": "unknown_path",
        "message": "this proxy has no such path; `paths` are those it has",
    }
    return _reply(404, {"error": error, "paths": [*PROVIDER_PATHS, *SERVICE_PATHS]})


def _unavailable() -> RequestRefused:
    return RequestRefused(503, "stats_unavailable", "statistics cannot be read at the moment; try again")


def _reply(status: int, content: dict[str, Any]) -> Reply:
    return Reply(status, [JSON, NOT_KEPT], msgspec.json.encode(content))


def _usd(nanodollars: int) -> msgspec.Raw:
    return msgspec.Raw(usd_text(nanodollars).encode())


def _is_of_this_machine(head: RequestHead, address: str) -> bool:
    """Whether a program on this machine asks: no front end on it, which hands on what may be anybody's.

    Nor a page in a browser on it, whose own name somebody has let point here.
    """
    if any(name.lower() in OF_THE_FRONT_END for name, _ in head.headers):
        return False
    if not all(_is_own_name(value) for name, value in head.headers if name.lower() == b"host"):
        return False
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_own_name(host: bytes) -> bool:
    """Whether that is no name that others give out: an address as such, or this machine's own."""
    try:
        named = urlsplit(f"//{host.decode('latin-1')}").hostname or ""
        return named == "localhost" or bool(ipaddress.ip_address(named))
    except ValueError:
        return False
