"""The proxy as a process: what it refuses to start with, how it ends, and what it writes where."""

import json
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metering.journal import Admitted, Settled, parse_line
from proxy_service.main import OPEN_FILES_WANTED
from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, Wire, answering, call, dialled, rest_of
from tests.doubles.waiting import until
from tests.services.proxy.calls import STARTED, STREAM_HEAD, answer, chunk, message, messages_call

ROOT = Path(__file__).parents[3]
END_SECONDS_MAX = 10.0


@contextmanager
def started(
    tmp_path: Path, upstream_port: int = 9, *, ulimit: str = "", **settings: str
) -> Iterator["tuple[subprocess.Popen[bytes], int]"]:
    """The process and its port, once it listens."""
    environment = {
        "PATH": "",
        "PROXY_PORT": "0",
        "DATA_DIR": str(tmp_path),
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{upstream_port}",
    }
    with subprocess.Popen(
        command(ulimit),
        cwd=ROOT,
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        told = json.loads(process.stderr.readline())
        try:
            yield process, int(told["addresses"][0].rpartition(":")[2])
        finally:
            process.kill()


def named_in(told: str) -> list[str]:
    """The settings that are complained of, behind a line that says what this is about."""
    return [line.strip().partition(":")[0] for line in told.splitlines()[1:]]


def command(ulimit: str) -> list[str]:
    """What starts the proxy, under these limits of the shell's `ulimit`."""
    proxy = [sys.executable, "-m", "proxy_service"]
    return ["/bin/sh", "-c", f'ulimit {ulimit} && exec "$@"', "sh", *proxy] if ulimit else proxy


def run_to_end(*, ulimit: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(ulimit),
        cwd=ROOT, env={"PATH": ""} | settings, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


def test_settings_that_make_no_sense_are_told_all_at_once_and_nothing_starts(tmp_path: Path) -> None:
    ended = run_to_end(
        DATA_DIR=str(tmp_path), PROXY_PORT="many", LOG_LEVEL="loud", MODELTRACK_SECRET="tell-nobody"
    )

    assert ended.returncode == 2
    assert named_in(ended.stderr) == ["LOG_LEVEL", "PROXY_PORT", "MODELTRACK_SECRET"]
    assert "tell-nobody" not in ended.stderr


def test_cloud_run_without_a_secret_or_with_a_local_store_is_refused(tmp_path: Path) -> None:
    ended = run_to_end(K_SERVICE="proxy", DATA_DIR=str(tmp_path))

    assert ended.returncode == 2
    assert named_in(ended.stderr) == ["MODELTRACK_SECRET", "STORE_URL"]


def test_a_taken_port_is_said_and_nothing_is_left_running(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_to_end(DATA_DIR=str(tmp_path), PROXY_PORT=str(taken.getsockname()[1]))

    assert ended.returncode == 1
    assert json.loads(ended.stderr.splitlines()[-1])["event"] == "not started"


def test_it_takes_all_the_open_files_it_may_have(tmp_path: Path) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    with started(tmp_path, ulimit="-Sn 256") as (process, _):
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (most, most)


@pytest.mark.parametrize(("missing", "is_told"), [(0, False), (1, True)])
def test_open_files_too_few_for_all_connections_are_told(tmp_path: Path, missing: int, is_told: bool) -> None:
    allowed = OPEN_FILES_WANTED - missing

    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_to_end(
            ulimit=f"-n {allowed}", DATA_DIR=str(tmp_path), PROXY_PORT=str(taken.getsockname()[1])
        )

    told = [json.loads(line) for line in ended.stderr.splitlines()]
    assert told[-1]["event"] == "not started"
    assert [each["allowed"] for each in told if "open files" in each["event"]] == [allowed] * is_told


def test_told_to_stop_it_ends_in_order_and_stores_what_it_has(tmp_path: Path, upstream: RawUpstream) -> None:
    with started(tmp_path, upstream.port) as (process, port):
        call(port, messages_call())
        process.terminate()
        assert process.wait(END_SECONDS_MAX) == 0

    assert list(tmp_path.glob("cost_events*")) == []  # all of it is stored


def test_a_second_signal_ends_it_at_once(tmp_path: Path, upstream: RawUpstream) -> None:
    def hanging(wire: Wire, _: ReceivedRequest) -> None:
        rest_of(wire)

    upstream.script = hanging
    with started(tmp_path, upstream.port) as (process, port), dialled(port, messages_call(streaming=True)):
        until(lambda: bool(upstream.requests))
        process.send_signal(signal.SIGINT)
        until(lambda: is_closed(port))
        process.send_signal(signal.SIGINT)

        assert process.wait(END_SECONDS_MAX) != 0  # which the end in order, that it was told of first, is not


def is_closed(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return False
    except OSError:
        return True


@pytest.mark.battery("B3")
def test_killed_it_leaves_every_call_in_the_journal(tmp_path: Path, upstream: RawUpstream) -> None:
    with started(tmp_path, upstream.port) as (process, port):
        for number in range(3):
            call(port, messages_call(top_k=number))
        upstream.script = lambda wire, _: wire.send(STREAM_HEAD + chunk(STARTED))
        with dialled(port, messages_call(streaming=True)) as wire:
            wire.take_until(STARTED)
            process.kill()
            process.wait(END_SECONDS_MAX)
            rest_of(wire)

    (journal,) = tmp_path.glob("cost_events-*.jsonl")
    lines = [parse_line(line) for line in journal.read_bytes().splitlines()]
    settled = {line.event.request_id for line in lines if isinstance(line, Settled)}
    open_calls = {line.request_id for line in lines if isinstance(line, Admitted)} - settled
    assert (len(settled), len(open_calls)) == (3, 1)


def test_a_journal_on_standard_output_has_it_to_itself(tmp_path: Path, upstream: RawUpstream) -> None:
    with started(tmp_path, upstream.port, JOURNAL="stdout") as (process, port):
        call(port, messages_call())
        process.terminate()
        output, log = process.communicate(timeout=END_SECONDS_MAX)

    assert [type(parse_line(line)) for line in output.splitlines()] == [Admitted, Settled]
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["stopping", "call", "stopped"]
