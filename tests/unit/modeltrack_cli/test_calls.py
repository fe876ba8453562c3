"""Calls end in time whatever answers, and what opens a place goes to that place alone."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from modeltrack_cli import calls
from modeltrack_cli.calls import Credential, NoAnswer, Nobody, ask
from modeltrack_cli.doctor import dialling
from modeltrack_cli.doctor.dialling import CannotConnect, ask_in_the_clear
from modeltrack_cli.doctor.visit import Options
from tests.doubles.canned_visit import CannedVisit

PIECE_SECONDS = 0.02
DRIPS = {
    "a head that never ends": (b"HTTP/1.1 200 OK\r\nA: ", b"x"),
    "a body that takes days": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    "promises of an answer": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@contextmanager
def dripping(how: str) -> Iterator[int]:
    """The port of somebody who never ends and is never silent for long."""
    first, piece = DRIPS[how]
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            taken, _ = server.accept()
            with taken:
                taken.sendall(first)
                for _ in itertools.takewhile(lambda _: not over.wait(PIECE_SECONDS), itertools.count()):
                    try:
                        taken.sendall(piece)
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("how", DRIPS)
def test_whoever_answers_a_byte_at_a_time_is_not_waited_for_forever(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ANSWER_SECONDS_MAX", 0.1)

    with dripping(how) as port, pytest.raises(NoAnswer, match="Timeout"):
        ask("the API", "GET", f"http://127.0.0.1:{port}/", Nobody(), seconds=0.3)


@pytest.mark.parametrize("how", ["a head that never ends", "promises of an answer"])
def test_nor_is_it_over_plain_http(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "TIMES_AS_LONG", 1)
    visit = CannedVisit(options=Options(question_seconds=0.3))

    with dripping(how) as port, pytest.raises(CannotConnect):
        ask_in_the_clear(visit, "127.0.0.1", port, "/health")


def test_keys_for_this_machine_pass_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Listening(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as the library calls it
            told.append(self.path)

        def log_message(self, *_said: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Listening) as proxy, socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_address[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        key = Credential("Authorization", "Bearer mt_a-key")
        with pytest.raises(NoAnswer):
            ask("the API", "GET", f"http://127.0.0.1:{other.getsockname()[1]}/v1/events", key, seconds=0.2)
        proxy.shutdown()
        thread.join()

    assert told == []
