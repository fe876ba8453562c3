"""After a call nothing in the process holds its caller's key or its body, however the call ended."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doubles.raw_upstream import (
    RawUpstream,
    ReceivedRequest,
    Script,
    Wire,
    answering,
    call,
    closing,
    dialled,
    rest_of,
)
from tests.services.proxy.calls import (
    END,
    PROVIDER_KEY,
    STARTED,
    STREAM_HEAD,
    WHOLE_STREAM,
    answer,
    chunk,
    message,
    messages_call,
)

ROOT = Path(__file__).parents[3]
MARK = "-kept-by-nobody-"
MARKED_MESSAGE = message(content=[{"type": "text", "text": f"answer{MARK}2"}], stop_reason="max_tokens")
MARKED_KEY = b"sk-ant-api03" + MARK.encode() + b"0"


@dataclass
class ProbedProxy:
    """A proxy in a process of its own that tells what its memory holds."""

    process: "subprocess.Popen[str]"
    port: int

    def holders(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[ProbedProxy]:
    url = f"http://127.0.0.1:{upstream.port}"
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "PROXY_PORT": "0", "DATA_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.services.proxy.memory_probe"],
        cwd=ROOT,
        env=environment | {"ANTHROPIC_BASE_URL": url, "OPENAI_BASE_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        told = json.loads(process.stderr.readline())
        yield ProbedProxy(process, int(told["addresses"][0].rpartition(":")[2]))
        process.terminate()
        process.communicate(timeout=15)


def marked_call(*, streaming: bool = False) -> bytes:
    raw = messages_call(streaming=streaming, system=f"prompt{MARK}1")
    return raw.replace(PROVIDER_KEY, MARKED_KEY)


def starting(wire: Wire, request: ReceivedRequest) -> None:
    wire.take_body(request)
    wire.send(STREAM_HEAD + chunk(STARTED))
    rest_of(wire)


def test_the_probe_sees_what_a_waiting_call_holds(proxy: ProbedProxy, upstream: RawUpstream) -> None:
    upstream.script = starting

    with dialled(proxy.port, marked_call(streaming=True)) as wire:
        wire.take_until(STARTED)
        assert proxy.holders() > 0


@pytest.mark.battery("V1")
@pytest.mark.parametrize(
    ("script", "streaming"),
    [
        (
            answering(answer(MARKED_MESSAGE)),
            False,
        ),
        (answering(STREAM_HEAD, *map(chunk, WHOLE_STREAM), END), True),
        (answering(answer(b'{"error":"no"}', status=b"429 Slow")), False),
    ],
    ids=["answered", "streamed", "refused by the provider"],
)
def test_nothing_of_an_answered_call_is_held(
    proxy: ProbedProxy, upstream: RawUpstream, script: Script, streaming: bool
) -> None:
    upstream.script = script

    call(proxy.port, marked_call(streaming=streaming))

    assert eventually_held(proxy) == 0


@pytest.mark.battery("V1")
@pytest.mark.parametrize(
    "script",
    [closing(b""), closing(STREAM_HEAD + chunk(STARTED)), closing(b"nonsense\r\n\r\n")],
    ids=["no answer", "cut in the middle", "nonsense"],
)
def test_nothing_of_a_call_that_broke_is_held(
    proxy: ProbedProxy, upstream: RawUpstream, script: Script
) -> None:
    upstream.script = script

    with dialled(proxy.port, marked_call(streaming=True)) as wire:
        wire.take_head()

    assert eventually_held(proxy) == 0


def test_nothing_of_a_call_whose_caller_left_is_held(proxy: ProbedProxy, upstream: RawUpstream) -> None:
    upstream.script = starting

    with dialled(proxy.port, marked_call(streaming=True)) as wire:
        wire.take_until(STARTED)

    assert eventually_held(proxy) == 0


@pytest.mark.parametrize(
    "raw",
    [
        marked_call().replace(b'{"model"', b'["model"'),
        marked_call().replace(b"Content-Type", b"X-ModelTrack-Key"),
        marked_call().replace(b"/v1/messages", b"/v9/messages"),
    ],
    ids=["malformed", "wrong key", "unknown path"],
)
def test_nothing_of_a_refused_call_is_held(proxy: ProbedProxy, raw: bytes) -> None:
    with dialled(proxy.port, raw) as wire:
        wire.take_head()

    assert eventually_held(proxy) == 0


def eventually_held(proxy: ProbedProxy) -> int:
    """What is held once the loop has come to rest: its last turn may end just behind the answer."""
    return min(proxy.holders() for _ in range(20))
