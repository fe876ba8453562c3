"""The API service as a process: how it starts, refuses to, is spoken to badly, and ends."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from api_service.server import ANSWER_SECONDS, REQUEST_SECONDS
from metering.version import VERSION
from tests.system.processes import ROOT, Process, eventually, free_port

SIGN_UP = {"email": "ada@example.com", "password": "correct horse", "account_name": "Ada & Co"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Process]:
    """An API service on a store of its own."""
    port = free_port()
    settings = {"PORT": str(port), "DATA_DIR": str(tmp_path / "data")}
    process = Process("api_service", port=port, log=tmp_path / "api.log", settings=settings)
    yield process
    process.stop()


def spoken_to(api: Process, raw: bytes) -> bytes:
    """All that the service answers to these bytes until it hangs up."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
        connection.sendall(raw)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_it_serves_on_a_store_of_its_own_with_no_settings_at_all(api: Process) -> None:
    assert requests.get(f"{api.url}/readyz", timeout=5).json() == {"status": "ok"}
    assert requests.post(f"{api.url}/v1/signup", json=SIGN_UP, timeout=10).status_code == 201
    assert b"session cookies" not in api.log.read_bytes()  # they do not leave this machine


def test_its_health_tells_its_version(api: Process) -> None:
    for path in ("/healthz", "/health", "/readyz"):
        assert requests.get(f"{api.url}{path}", timeout=5).headers["X-ModelTrack-Version"] == VERSION


def test_a_scraper_on_this_machine_gets_the_figures_on_a_port_of_their_own(tmp_path: Path) -> None:
    port, metrics_port = free_port(), free_port()
    settings = {"PORT": str(port), "METRICS_PORT": str(metrics_port), "DATA_DIR": str(tmp_path / "data")}
    process = Process(
        "api_service", port=port, log=tmp_path / "api.log", settings=settings | {"API_HOST": "0.0.0.0"}
    )
    try:
        told = requests.get(f"http://0.0.0.0:{metrics_port}/metrics", timeout=5)  # as in Cloud Run
        there = requests.get(f"http://127.0.0.1:{metrics_port}/healthz", timeout=5)
        with socket.socket() as afar:
            reached = afar.connect_ex(("127.0.0.2", metrics_port))
    finally:
        process.stop()

    assert 'modeltrack_api_requests_total{method="GET",status="2xx"}' in told.text
    assert (there.status_code, reached) == (404, errno.ECONNREFUSED)


def test_a_request_that_is_under_way_ends_before_the_process_does(api: Process) -> None:
    body = json.dumps(SIGN_UP).encode()
    head = (
        f"POST /v1/signup HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
        connection.sendall(head.encode() + body[:10])
        requests.get(f"{api.url}/healthz", timeout=5)  # answered after the other request was taken on
        api.send(signal.SIGTERM)
        eventually(lambda: not is_listening(api.port), what="the end of listening")
        connection.sendall(body[10:])

        assert connection.recv(65536).startswith(b"HTTP/1.1 201 ")

    assert api.wait(10) == 0


def is_listening(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /canary HT/1\r\n\r\n", 400),
        (b"GET /canary HTTP/1.1\r\nHost: x\r\nca nary: 1\r\n\r\n", 400),
        (b"GET /" + b"c" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"c" * 70_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
    ],
    ids=["version", "header name", "address", "header", "length", "two framings"],
)
def test_what_is_no_request_is_refused_in_the_one_shape_and_not_logged(
    api: Process, raw: bytes, status: int
) -> None:
    head, _, body = spoken_to(api, raw).partition(b"\r\n\r\n")

    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    error = json.loads(body)["error"]
    assert error.keys() == {"code", "message", "param", "retryable", "request_id", "details"}
    assert b"canary" not in body + api.log.read_bytes()


GET = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LOG_IN = b"POST /v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", GET[:-2], LOG_IN + b"Content-Length: 100\r\n\r\n{", GET * 200],
    ids=["nothing", "half a head", "half a body", "what it reads no answers to"],
)
def test_callers_that_dawdle_hold_up_nobody_else(api: Process, sent: bytes) -> None:
    dawdling = [socket.create_connection(("127.0.0.1", api.port)) for _ in range(60)]
    for connection in dawdling:
        connection.sendall(sent)

    # Before any of them is given up, which would let others through, too. The last ones ask for 60 MB and
    # more at once: what is made of that for them is work like any, and a health check waits its turn.
    patience_seconds = min(REQUEST_SECONDS, ANSWER_SECONDS) / 2
    answers = [requests.get(f"{api.url}/healthz", timeout=patience_seconds).status_code for _ in range(5)]

    for connection in dawdling:
        connection.close()
    assert answers == [200] * 5


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
def test_requests_that_come_at_once_are_answered_in_order(api: Process, framing: bytes) -> None:
    last = GET.replace(b"Host", b"Connection: close\r\nHost")

    answers = spoken_to(api, LOG_IN + framing + GET + last).split(b"HTTP/1.1 ")[1:]

    assert [answer[:3] for answer in answers] == [b"422", b"200", b"200"]


def test_a_caller_that_asks_first_is_told_to_go_on(api: Process) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as connection:
        connection.sendall(LOG_IN + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")

        assert connection.recv(65536).startswith(b"HTTP/1.1 422 ")


def test_a_caller_that_sends_too_much_gets_to_see_why_it_is_refused(api: Process) -> None:
    body = b"{" * 3_000_000

    answer = spoken_to(api, LOG_IN + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close\r\n" in answer


def test_settings_that_make_no_sense_are_all_named_and_none_is_repeated(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": "99999",
        "PUBLIC_URL": "canary",
        "MODELTRACK_SECRET": "canary",
        "JOURNAL_SUBSCRIPTION": "canary",
        "DATA_DIR": str(tmp_path),
    }

    ended = subprocess.run(
        [sys.executable, "-m", "api_service"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 2
    for name in ("PORT", "PUBLIC_URL", "MODELTRACK_SECRET", "JOURNAL_SUBSCRIPTION"):
        assert ended.stderr.count(f"\n{name}:") == 1
    assert "canary" not in ended.stderr
