import asyncio
from datetime import datetime

import msgspec
import pytest

from metering.buckets import Range
from metering.errors import StoreUnavailable
from metering.keys import new_key
from metering.rule_savings import RoutingFigures, RuleSums
from metering.usage_groups import zeros
from proxy_service.cache import AnswerCache, CacheRules
from proxy_service.exposition import ProcessState
from proxy_service.identity import Credentials, Identity
from proxy_service.policy import KeyUses, PolicyMemory
from proxy_service.process_figures import ProcessFigures
from proxy_service.providers import RequestRefused, match
from proxy_service.service_routes import Reply, ServiceRoutes, check_method
from proxy_service.tally import Tally
from proxy_service.wire import Headers, RequestHead
from tests.builders import ACCOUNT_ID, SECRET, make_event, make_key_record, make_policy
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.directory import DirectoryDouble

PLAIN = new_key()
STATS = ("/stats", "/cache/stats", "/routing/stats", "/metrics")
NOBODY, KEY = Credentials(), Credentials(key=PLAIN)
LOOPBACK, AFAR = "127.0.0.1", "203.0.113.9"


class Desk:
    """The service routes of a process that recorded one call; `sums` are what rollups say of the account."""

    def __init__(self, *, is_hosted: bool = False, scope: str = "stats") -> None:
        clock, directory = ManualClock(), DirectoryDouble()
        directory.put(make_policy(), make_key_record(PLAIN, scopes=(scope,)))
        self.tally = Tally()
        self.tally.count(make_event(provider="openai"))
        self.asked: list[str] = []
        self.is_store_down = False
        self.state = ProcessState()
        identity = Identity(
            PolicyMemory(directory, self.tally, look_up_threads=AtOnce(), poll_thread=AtOnce()),
            KeyUses(directory.note_key_use, clock, AtOnce()),
            clock, SECRET, self.tally, is_key_required=is_hosted,
        )  # fmt: skip
        rules = CacheRules(enabled=True, temperature_zero_only=False)
        cache = AnswerCache(rules, entries_max=10, bytes_max=10, ttl_seconds=60)
        self.routes = ServiceRoutes(
            identity,
            ProcessFigures(self.tally, cache, clock, lambda: self.state),
            cache,
            clock,
            is_hosted=is_hosted,
            figures_of_month=self._figures_of_month,
            version="9.9.9+0190f3c",
        )

    async def _figures_of_month(self, account_id: str, now: datetime) -> RoutingFigures:
        if self.is_store_down:
            raise StoreUnavailable
        self.asked.append(account_id)
        known = {"requests": 4, "cache_hits": 1, "input_tokens": 70, "cost_nanodollars": 2_500_000_000}
        known |= {"saved_nanodollars": 200_000_000, "cache_saved_nanodollars": 300_000_000}
        known |= {"routed": 1, "blocked": 1}
        rules = RuleSums()
        rules.add(("openai", "gpt-4o-mini", "cheaper"), {"requests": 1})
        return RoutingFigures(range=Range(now, now), sums=zeros() | known, rules=rules.rules())

    def get(
        self,
        path: str,
        given: Credentials = NOBODY,
        peer: str = LOOPBACK,
        method: bytes = b"GET",
        headers: Headers = [],  # noqa: B006 - nobody changes it
    ) -> Reply:
        return asyncio.run(self.routes.reply(RequestHead(method, path.encode(), headers), given, peer))

    def refusal(self, path: str, given: Credentials = NOBODY, peer: str = LOOPBACK) -> int:
        with pytest.raises(RequestRefused) as refused:
            self.get(path, given, peer)
        return refused.value.status


def content(reply: Reply) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(reply.body)
    return found


@pytest.mark.parametrize("is_hosted", [True, False])
def test_health_is_open_to_all_and_readiness_ends_with_shutdown(is_hosted: bool) -> None:
    desk = Desk(is_hosted=is_hosted)

    assert content(desk.get("/healthz", peer=AFAR)) == content(desk.get("/health")) == {"status": "ok"}
    assert content(desk.get("/readyz", peer=AFAR)) == {"status": "ready"}
    desk.routes.is_draining = True
    assert (desk.get("/readyz").status, desk.get("/healthz").status) == (503, 200)


def test_health_tells_the_version_and_the_time_to_anybody() -> None:
    for path in ("/healthz", "/health", "/readyz"):
        told = dict(Desk().get(path, peer=AFAR).headers)

        assert told[b"X-ModelTrack-Version"] == b"9.9.9+0190f3c"
        assert told[b"Date"] == b"Sat, 21 Nov 2026 09:30:00 GMT"


def test_self_hosted_figures_are_those_of_this_process() -> None:
    desk = Desk()

    assert content(desk.get("/stats")) == {
        "total_requests": 1,
        "total_tokens": 1200,
        "total_cost_usd": 0.01,
        "since": "2026-11-21T09:30:00Z",
    }
    assert content(desk.get("/cache/stats")) == {
        "total_hits": 0,
        "total_misses": 0,
        "hit_rate_percent": 0,
        "entries_count": 0,
        "max_entries": 10,
        "ttl_seconds": 60,
        "estimated_savings_usd": 0,
        "since": "2026-11-21T09:30:00Z",
    }
    assert content(desk.get("/routing/stats"))["total_pass_through"] == 1


def test_the_cache_tells_how_often_it_helped() -> None:
    desk = Desk()
    desk.tally.cache_misses = 2
    desk.tally.count(make_event(state="cache_hit", cache_hit=True, saved_nanodollars=4_500_000))

    told = content(desk.get("/cache/stats"))

    assert (told["total_hits"], told["total_misses"], told["hit_rate_percent"]) == (1, 2, 33.33)
    assert told["estimated_savings_usd"] == 0.0045


@pytest.mark.parametrize("path", STATS)
def test_self_hosted_figures_are_open_to_this_machine_and_to_keys_with_the_scope(path: str) -> None:
    assert Desk().get(path, peer="::1").status == 200
    assert Desk().refusal(path, peer=AFAR) == 401
    assert Desk().get(path, KEY, AFAR).status == 200
    assert Desk(scope="proxy").refusal(path, KEY, AFAR) == 403


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        (b"127.0.0.1:8080", True),
        (b"localhost", True),
        (b"[::1]:8080", True),
        (b"rebound.example:8080", False),
        (b"127.0.0.1.rebound.example", False),
        (b"[", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("path", STATS)
def test_a_page_whose_name_leads_to_this_machine_is_not_of_it(
    path: str, host: bytes, *, is_open: bool
) -> None:
    if is_open:
        assert Desk().get(path, headers=[(b"Host", host)]).status == 200
        return
    with pytest.raises(RequestRefused) as refused:
        Desk().get(path, headers=[(b"Host", host)])
    assert refused.value.status == 401


@pytest.mark.parametrize("header", [b"X-Forwarded-For", b"forwarded", b"Via", b"X-Real-IP"])
def test_what_a_front_end_on_this_machine_hands_on_is_not_of_this_machine(header: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        Desk().get("/stats", headers=[(header, b"127.0.0.1")])

    assert refused.value.status == 401


@pytest.mark.parametrize("path", STATS)
def test_hosted_figures_are_the_accounts_own_and_need_its_key(path: str) -> None:
    desk = Desk(is_hosted=True)

    assert desk.refusal(path) == 401
    assert desk.get(path, KEY, AFAR).status == 200
    assert desk.asked == [ACCOUNT_ID]
    assert Desk(is_hosted=True, scope="proxy").refusal(path, KEY) == 403


def test_hosted_figures_tell_nothing_of_other_accounts() -> None:
    desk = Desk(is_hosted=True)

    assert content(desk.get("/stats", KEY)) == {
        "total_requests": 4,
        "total_tokens": 70,
        "total_cost_usd": 2.5,
        "since": "2026-11-01T00:00:00Z",
    }
    assert b"openai" not in desk.get("/metrics", KEY).body


def test_hosted_figures_wait_for_a_store_that_is_down() -> None:
    desk = Desk(is_hosted=True)
    desk.is_store_down = True

    assert desk.refusal("/stats", KEY) == 503


def test_metrics_are_told_with_labels_of_our_own() -> None:
    desk = Desk()
    desk.tally.count_overhead(0.3)

    lines = desk.get("/metrics").body.decode().splitlines()

    assert 'modeltrack_calls_total{provider="openai",state="completed",status="2xx"} 1.0' in lines
    assert 'modeltrack_provider_tokens_total{kind="input_tokens",provider="openai"} 1000.0' in lines
    assert 'modeltrack_overhead_seconds_bucket{le="0.0005"} 1.0' in lines
    assert 'modeltrack_overhead_seconds_bucket{le="0.00025"} 0.0' in lines
    assert not any("search" in line or "claude" in line for line in lines)


def test_metrics_tell_how_the_process_is_at_this_moment() -> None:
    desk = Desk()
    desk.tally.admitted_calls, desk.tally.settled_calls = 5, 3
    desk.state = ProcessState(
        has_store_answered=False,
        store_errors={"commit": 4},
        events_waiting=7,
        oldest_segment_wait_seconds=1.5,
    )

    lines = desk.get("/metrics").body.decode().splitlines()

    assert "modeltrack_calls_in_flight 2.0" in lines
    assert "modeltrack_store_answers 0.0" in lines
    assert 'modeltrack_store_errors_total{operation="commit"} 4.0' in lines
    assert "modeltrack_events_waiting 7.0" in lines
    assert "modeltrack_oldest_segment_wait_seconds 1.5" in lines


def test_an_accounts_metrics_tell_nothing_of_the_process() -> None:
    told = Desk(is_hosted=True).get("/metrics", KEY).body

    assert b"process_" not in told
    assert b"modeltrack_store_answers" not in told


def test_what_is_not_there_is_answered_with_what_is() -> None:
    reply = Desk().get("/stats/../secrets")

    assert (reply.status, "POST /v1/messages" in reply.body.decode()) == (404, True)


def test_service_routes_are_read_only() -> None:
    with pytest.raises(RequestRefused) as refused:
        Desk().get("/stats", method=b"POST")

    assert refused.value.status == 405


@pytest.mark.parametrize(
    ("method", "path", "is_refused"),
    [
        (b"GET", b"/v1/messages", True),
        (b"PUT", b"/v1/embeddings", True),
        (b"DELETE", b"/bedrock/v1/messages", True),
        (b"POST", b"/v1/messages", False),
        (b"OPTIONS", b"/v1/messages", False),
        (b"GET", b"/v1/models", False),
        (b"GET", b"/v1/chat/completions", False),
        (b"GET", b"/v1/responses/resp_1", False),
        (b"DELETE", b"/v1/files/file_1", False),
        (b"PUT", b"/v1/something", False),
    ],
)
def test_a_models_own_path_takes_post_only(method: bytes, path: bytes, is_refused: bool) -> None:
    head = RequestHead(method, path, [])
    route = match(head)
    assert route is not None

    if is_refused:
        with pytest.raises(RequestRefused, match="POST"):
            check_method(head, route)
    else:
        check_method(head, route)


def test_hosted_figures_tell_what_the_cache_saved_and_what_routing_did_apart() -> None:
    desk = Desk(is_hosted=True)

    cache, routing = (content(desk.get(path, KEY)) for path in ("/cache/stats", "/routing/stats"))

    assert (cache["estimated_savings_usd"], routing["estimated_savings"]) == (0.3, -0.1)
    assert (routing["total_blocked"], routing["total_pass_through"], routing["rule_hits"]) == (
        1, 2, {"cheaper": 1},
    )  # fmt: skip
