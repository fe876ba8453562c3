"""`make run`: everything starts, works, says what is wrong in one line, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import requests

from tests.emulator import new_project
from tests.system.processes import ROOT, eventually, free_port

STARTED_WITHIN_SECONDS = 60.0
STOPPED_WITHIN_SECONDS = 20.0


class Run:
    """One `make run` on ports of its own; `said` is what it has printed so far."""

    def __init__(self, folder: Path, **settings: str) -> None:
        names = ("PROXY_PORT", "PORT", "DEMO_PORT")
        self.ports = {name: settings.get(name) or str(free_port()) for name in names}
        inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "demo.run"],
            cwd=ROOT,
            env={**inherited, "DATA_DIR": str(folder), **self.ports, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._process.stdout or nullcontext() as lines:
            for line in lines or ():
                self.said += line

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def wait_until_ready(self) -> None:
        eventually(
            lambda: "Ctrl-C stops it" in self.said or self._process.poll() is not None,
            seconds=STARTED_WITHIN_SECONDS,
        )
        assert self._process.poll() is None, self.said

    def found(self, pattern: str) -> str:
        found = re.search(pattern, self.said)
        assert found, self.said
        return found[1]

    def children(self) -> list[int]:
        """The pids of what it started."""
        pids = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        return [int(pid) for path in pids for pid in path.read_text().split()]

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def status(self) -> int:
        """Its exit status, once it has ended."""
        status = self._process.wait(STOPPED_WITHIN_SECONDS)
        self._reader.join(STOPPED_WITHIN_SECONDS)
        return status

    def end(self) -> None:
        if self._process.poll() is None:
            self.send(signal.SIGTERM)
            self.status()


def _is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started = Run(tmp_path)
    yield started
    started.end()


def test_a_newcomer_pastes_two_lines_and_sees_what_the_call_cost(run: Run) -> None:
    run.wait_until_ready()

    lines = run.said.replace("\\\n", "").splitlines()
    call, question = (line for line in lines if line.startswith("curl "))
    answer = subprocess.run(["/bin/sh", "-c", f"{call} -sS"], capture_output=True, text=True, check=True)
    assert '"type":"message"' in answer.stdout
    found = eventually(lambda: _answer_with_usage(question))
    assert '"team":"search"' in found.replace(" ", "")


def _answer_with_usage(question: str) -> str | None:
    answer = subprocess.run(["/bin/sh", "-c", f"{question} -sS"], capture_output=True, text=True, check=True)
    return answer.stdout if "claude-sonnet-4-6" in answer.stdout else None


def test_the_login_that_is_shown_works(run: Run) -> None:
    run.wait_until_ready()

    email, password = run.found(r"login +(\S+)"), run.found(r"login +\S+ / (\S+)")
    answer = requests.post(
        f"{run.url('PORT')}/v1/login", json={"email": email, "password": password}, timeout=10
    )

    assert answer.status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_stops_cleanly_and_leaves_no_process(run: Run, number: int) -> None:
    run.wait_until_ready()
    children = run.children()

    run.send(number)

    assert run.status() == 0, run.said
    assert len(children) == 3
    assert not any(map(_is_running, children))


def test_it_stops_at_once_while_it_is_still_starting(run: Run) -> None:
    eventually(run.children)
    children = run.children()

    run.send(signal.SIGINT)

    assert run.status() == 0, run.said
    assert not any(map(_is_running, children))


def test_a_service_that_dies_ends_everything_and_is_named(run: Run) -> None:
    run.wait_until_ready()
    children = run.children()
    requests.get(f"{run.url('PROXY_PORT')}/v1/unknown", timeout=10)  # a routine line, and no cause

    os.kill(children[-1], signal.SIGKILL)

    assert run.status() == 1
    assert re.search(r"make run: (proxy|api|provider) stopped by itself \(signal 9\)$", run.said.rstrip())
    assert not any(map(_is_running, children))


def test_nothing_is_left_when_it_is_killed_itself(run: Run) -> None:
    run.wait_until_ready()
    children = run.children()

    run.send(signal.SIGKILL)

    eventually(lambda: not any(map(_is_running, children)), what="the end of every child")


def test_a_second_run_says_that_the_port_is_taken(run: Run, tmp_path: Path) -> None:
    run.wait_until_ready()

    second = Run(tmp_path, **run.ports)

    assert second.status() == 1
    (line,) = second.said.splitlines()
    assert re.fullmatch(r"make run: port \d+ is taken: .*PROXY_PORT=…", line)


def test_the_second_start_keeps_the_account_and_the_key_and_gives_a_new_one(run: Run, tmp_path: Path) -> None:
    run.wait_until_ready()
    first_key = run.found(r"key +(mt_\w+)")
    run.end()

    again = Run(tmp_path)
    try:
        again.wait_until_ready()
        second_key = again.found(r"key +(mt_\w+)")
        statuses = [
            requests.get(
                f"{again.url('PORT')}/v1/events",
                headers={"Authorization": f"Bearer {key}"},
                timeout=10,
            ).status_code
            for key in (first_key, second_key)
        ]
    finally:
        again.end()

    assert first_key != second_key
    assert statuses == [200, 200]
    assert "as shown at the first start" in again.said
    assert "lost it?" in again.said


def test_settings_that_make_no_sense_are_said_in_words(tmp_path: Path) -> None:
    refused = Run(tmp_path, UPSTREAM="fake")
    failed = Run(tmp_path, LOG_LEVEL="loud", CACHE_MAX_BYTES="0", API_THREADS="x")

    assert refused.status() == 1
    assert refused.said == "make run: UPSTREAM: give demo or real\n"
    assert failed.status() == 1
    assert failed.said.splitlines() == [
        "make run: LOG_LEVEL: give 'debug', 'info', 'warn' or 'error'",
        "CACHE_MAX_BYTES: give a number of at least 1",
        "API_THREADS: give a whole number",
    ]


def test_the_real_providers_need_no_demo_provider(tmp_path: Path) -> None:
    run = Run(tmp_path, UPSTREAM="real")
    try:
        run.wait_until_ready()

        assert len(run.children()) == 2
        assert "$ANTHROPIC_API_KEY" in run.said
    finally:
        run.end()


def test_the_firestore_emulator_can_be_the_store(tmp_path: Path, emulator: str) -> None:
    run = Run(tmp_path, STORE_URL=f"firestore://{new_project()}", FIRESTORE_EMULATOR_HOST=emulator)
    try:
        run.wait_until_ready()

        assert not list(tmp_path.glob("*.db"))
    finally:
        run.end()
