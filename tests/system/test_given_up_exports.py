"""Exports that are opened ahead and given up: nobody else learns of them, and nothing ends with them."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from http.client import HTTPResponse
from pathlib import Path

import pytest
import requests

from api_service.callers import AHEAD_BYTES
from api_service.export_places import EXPORTS_MAX
from metering.clock import SystemClock
from metering.opening import open_store
from metering.tags import TAG_CHARACTERS_MAX
from tests.builders import make_event
from tests.services.api.test_events_and_usage import record
from tests.system.processes import Process, eventually, free_port

SIGN_UP = {"email": "ada@example.com", "password": "correct horse", "account_name": "Ada & Co"}
EXPORT = "/v1/exports/events?format=ndjson"
EVENTS = 9_000  # 17 MB of them, more than a machine keeps for a connection
ROUNDS = 8
LONG_TAG = "t" * TAG_CHARACTERS_MAX
RECEIVE_BYTES = 32 * 1024  # of an export nobody reads, the caller's machine takes no more
STRANGERS_PATHS = ("/login", "/status", "/no-such-page")


class Owner:
    """Somebody logged in whose events are larger than what waits to be sent."""

    def __init__(self, api: Process, store_url: str) -> None:
        self._api = api
        self.session = requests.Session()
        self.session.post(f"{api.url}/v1/signup", json=SIGN_UP, timeout=10).raise_for_status()
        account_id = self.session.get(f"{api.url}/v1/account", timeout=10).json()["id"]
        store, clock = open_store(store_url), SystemClock()
        tags = dict.fromkeys(("team", "app", "feature", "session_id"), LONG_TAG)
        now = clock.now()
        moments = (now - timedelta(milliseconds=number) for number in range(EVENTS))
        record(store, clock, *(make_event(account_id=account_id, timestamp=at, **tags) for at in moments))
        store.close()

    def begin_export(self, stack: ExitStack) -> socket.socket:
        """An export that is asked for and not read."""
        caller = stack.enter_context(socket.socket())
        caller.settimeout(10)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        caller.connect(("127.0.0.1", self._api.port))
        cookies = "; ".join(f"{each.name}={each.value}" for each in self.session.cookies)
        head = f"GET {EXPORT} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nCookie: {cookies}\r\n\r\n"
        caller.sendall(head.encode())
        return caller

    def begin_exports(self, stack: ExitStack) -> list[socket.socket] | None:
        """As many as there are places, each begun; None where a place is taken."""
        with ExitStack() as given_up:
            begun = []
            for _ in range(EXPORTS_MAX):
                caller = self.begin_export(given_up)
                begun.append(caller)
                if not caller.recv(13, socket.MSG_WAITALL).endswith(b" 200 "):
                    return None
            stack.push(given_up.pop_all())
        return begun


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/modeltrack.db"


@pytest.fixture
def api(tmp_path: Path, store_url: str) -> Iterator[Process]:
    """An API service on that store."""
    port = free_port()
    settings = {"PORT": str(port), "DATA_DIR": str(tmp_path / "data"), "STORE_URL": store_url}
    process = Process("api_service", port=port, log=tmp_path / "api.log", settings=settings)
    yield process
    process.stop()


def worker_pids(api: Process) -> list[str]:
    """The processes that the one which was started has begun."""
    return Path(f"/proc/{api.pid}/task/{api.pid}/children").read_text().split()


def as_seen_by_a_stranger(api: Process) -> list[tuple[int, bool, bool]]:
    """Each answer's status, and whether it names a CSRF token or sets a cookie."""
    answers = [requests.get(api.url + path, timeout=10) for path in STRANGERS_PATHS]
    return [(each.status_code, "csrf" in each.text, "Set-Cookie" in each.headers) for each in answers]


def read_at_once(owner: Owner, api: Process) -> bytes | None:
    """A whole export; None where every place is taken."""
    answer = owner.session.get(api.url + EXPORT, timeout=20)
    return answer.content if answer.ok else None


def read_slowly(owner: Owner, api: Process) -> bytes:
    """A whole export, while strangers ask again and again."""
    with ExitStack() as stack:
        response = HTTPResponse(owner.begin_export(stack))
        response.begin()
        pieces = []
        while piece := response.read(AHEAD_BYTES):
            pieces.append(piece)
            as_seen_by_a_stranger(api)
        return b"".join(pieces)


def test_exports_that_are_opened_ahead_and_given_up_touch_nobody_else(api: Process, store_url: str) -> None:
    owner, usual, workers = Owner(api, store_url), as_seen_by_a_stranger(api), worker_pids(api)
    assert usual == [(200, False, False), (200, False, False), (404, False, False)]
    with ExitStack() as stack:
        assert owner.begin_exports(stack)

        assert [as_seen_by_a_stranger(api) for _ in range(ROUNDS)] == [usual] * ROUNDS
        assert owner.session.get(api.url + EXPORT, timeout=10).status_code == 429
    fast = eventually(lambda: read_at_once(owner, api), what="a place that is given back")

    assert len(fast) > EXPORTS_MAX * AHEAD_BYTES
    assert read_slowly(owner, api) == fast
    with ExitStack() as again:
        eventually(lambda: owner.begin_exports(again), what="the giving back of every place")
    assert worker_pids(api) == workers
