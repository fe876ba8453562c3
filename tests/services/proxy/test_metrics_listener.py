"""The metrics port of the proxy: all of the process, for whoever is on this machine and for nobody else."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from metering.directory import KeyTerms
from metering.errors import StoreUnavailable
from metering.opening import open_store
from proxy_service.metrics_listener import LIMITS
from tests.doubles.clock import ManualClock
from tests.doubles.raw_upstream import (
    RawUpstream,
    ReceivedAnswer,
    ReceivedRequest,
    Wire,
    answering,
    call,
    dialled,
    take_answer,
)
from tests.doubles.unreliable_store import UnreliableStore
from tests.doubles.waiting import until
from tests.services.proxy.calls import answer, get, message, messages_call
from tests.services.proxy.running import RunningProxy

Figures = dict[tuple[str, ...], float]
NAME, TEAM = "Ada of search", "team-of-ada"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Watched:
    """A hosted proxy with a metrics port, and an account that calls through it."""

    def __init__(self, proxy: RunningProxy, metrics_port: int) -> None:
        self.proxy = proxy
        self.metrics_port = metrics_port
        self.account_id = proxy.directory.create_account(NAME).account_id
        terms = KeyTerms(name="key of ada", scopes=("proxy",), team=TEAM)
        self.key = proxy.directory.create_key(self.account_id, terms)[0]

    @property
    def message(self) -> bytes:
        """A call with the account's key."""
        return messages_call(headers=f"X-ModelTrack-Key: {self.key}\r\n".encode())

    def ask(self, request: bytes = b"GET /metrics", host: str = "127.0.0.1") -> ReceivedAnswer:
        return call(self.metrics_port, request + b" HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())

    def figures(self) -> Figures:
        """Each sample by its name and the values of its labels."""
        told = self.ask()
        assert (told.status, told.header(b"cache-control")) == (200, b"no-store")
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(told.body.decode())
            for sample in family.samples
        }

    def figure(self, name: str, *labels: str) -> float:
        return self.figures()[(f"modeltrack_{name}", *labels)]


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


@pytest.fixture
def watched(tmp_path: Path, upstream: RawUpstream) -> Iterator[Watched]:
    port = free_port()
    with RunningProxy(tmp_path, upstream, is_hosted=True, metrics_port=port) as proxy:
        yield Watched(proxy, port)


def test_calls_of_all_accounts_are_counted_and_none_is_named(watched: Watched) -> None:
    assert call(watched.proxy.port, watched.message).status == 200
    watched.proxy.clock.advance(10)

    until(lambda: watched.figure("events_stored_total") == 1)

    figures = watched.figures()
    assert figures["modeltrack_calls_total", "anthropic", "completed", "2xx"] == 1
    assert figures["modeltrack_admitted_calls_total",] == figures["modeltrack_settled_calls_total",] == 1
    assert figures["modeltrack_overhead_seconds_count",] == 1
    assert figures["modeltrack_store_answers",] == 1
    assert figures["process_resident_memory_bytes",] > 0
    told = watched.ask().body.decode()
    for name in (NAME, TEAM, watched.account_id, "ada", "claude", watched.key):
        assert name not in told


def test_a_call_under_way_is_admitted_and_in_flight(watched: Watched, upstream: RawUpstream) -> None:
    def asked_meanwhile(wire: Wire, _: ReceivedRequest) -> None:
        seen.append(watched.figures())
        wire.send(answer(message()))

    seen: list[Figures] = []
    upstream.script = asked_meanwhile
    call(watched.proxy.port, watched.message)

    assert seen[0]["modeltrack_calls_in_flight",] == 1
    assert seen[0]["modeltrack_admitted_calls_total",] == 1
    assert seen[0]["modeltrack_settled_calls_total",] == 0
    assert seen[0]["modeltrack_connections_open",] == 1
    assert watched.figure("calls_in_flight") == 0


def test_while_the_store_is_silent_the_metrics_say_so_and_what_waits(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    def fails() -> None:
        if is_silent:
            raise StoreUnavailable("no answer came")

    is_silent = False
    port, clock = free_port(), ManualClock()
    store = UnreliableStore(open_store(f"sqlite:///{tmp_path}/modeltrack.db"), before=fails)
    with RunningProxy(
        tmp_path, upstream, store=store, clock=clock, is_hosted=True, metrics_port=port
    ) as proxy:
        watched = Watched(proxy, port)
        call(proxy.port, watched.message)
        clock.advance(10)
        until(lambda: watched.figure("events_stored_total") == 1)
        is_silent = True
        call(proxy.port, watched.message)
        clock.advance(10)

        until(lambda: watched.figure("store_answers") == 0)

        assert watched.figure("store_errors_total", "commit") > 0
        assert watched.figure("events_waiting") == watched.figure("segments_waiting") == 1
        waited = watched.figure("oldest_segment_wait_seconds")
        clock.advance(60)
        assert watched.figure("oldest_segment_wait_seconds") == pytest.approx(waited + 60)
        until(lambda: watched.figure("store_errors_total", "changes") > 0)
        is_silent = False
        until(lambda: watched.figure("store_answers") == 1)
        assert watched.figure("oldest_segment_wait_seconds") == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9464", "0.0.0.0:9464"])
def test_it_goes_by_the_names_of_this_machine(watched: Watched, host: str) -> None:
    assert watched.ask(host=host).status == 200


@pytest.mark.parametrize(
    ("request_line", "host", "status"),
    [
        (b"GET /metrics", "rebound.example.com:9464", 421),
        (b"GET /metrics", "[::2]", 421),
        (b"GET /stats", "localhost", 404),
        (b"POST /metrics", "localhost", 405),
        (b"GET /v1/models", "localhost", 404),
    ],
)
def test_it_is_for_nothing_else(watched: Watched, request_line: bytes, host: str, status: int) -> None:
    told = watched.ask(request_line, host)

    assert (told.status, b"modeltrack_" in told.body) == (status, False)


def test_it_is_on_loopback_alone_and_the_calls_port_still_asks_for_a_key(watched: Watched) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", watched.metrics_port), 1)

    assert call(watched.proxy.port, get(b"/metrics")).status == 401


def test_connections_that_only_stand_there_keep_no_scraper_out(watched: Watched) -> None:
    standing = [
        socket.create_connection(("127.0.0.1", watched.metrics_port)) for _ in range(LIMITS.connections_max)
    ]

    assert watched.ask().status == 200

    for each in standing:
        each.close()


def test_one_connection_serves_scrape_after_scrape(watched: Watched) -> None:
    with dialled(watched.metrics_port) as wire:
        for _ in range(3):
            wire.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert take_answer(wire).status == 200


def test_a_taken_port_is_no_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        proxy = RunningProxy(tmp_path, metrics_port=taken.getsockname()[1])

        with pytest.raises(OSError, match="in use"):
            proxy.__enter__()

        proxy.__exit__()
