"""What the battery's tests share: proxies before a scripted upstream, and what a process holds."""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, Script, Wire
from tests.system.calls import MESSAGES, call, message
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import Process

IS_FULL = os.environ.get("PROOF") == "full"
# What a call may take longer because of others. At the ordinary size other tests have the machine, too, and
# only a stall can be told from what they take.
STALL_SECONDS = 0.05 if IS_FULL else 0.5
LATE_SECONDS = 0.0 if IS_FULL else 15.0  # by which whatever takes seconds may be late beside a whole suite
CALLS_A_SECOND = 100.0
KILOBYTE, MEGABYTE = 1024, 1024 * 1024
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@contextmanager
def proxy_before(deployment: Deployment, port: int, **settings: str) -> Iterator[Process]:
    """A proxy of the deployment's whose providers all are what listens on that port."""
    address = f"http://127.0.0.1:{port}"
    upstreams = ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "BEDROCK_ENDPOINT_URL", "AZURE_OPENAI_ENDPOINT")
    told = {**dict.fromkeys(upstreams, address), **settings}
    proxy = deployment.start_proxy(told, data=f"battery-{secrets.token_hex(4)}")
    try:
        yield proxy
    finally:
        proxy.stop()


@contextmanager
def scripted(
    deployment: Deployment, script: Script, **settings: str
) -> Iterator[tuple[Process, RawUpstream]]:
    """A proxy, and the upstream behind it that answers as the script says."""
    with RawUpstream(script) as upstream, proxy_before(deployment, upstream.port, **settings) as proxy:
        yield proxy, upstream


def headers_of(tenant: Tenant, **more: str) -> dict[str, str]:
    """Of a call by the tenant that no answer from memory may serve."""
    return {
        "authorization": f"Bearer {tenant.provider_key}",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "x-modeltrack-no-cache": "true",
        **tenant.headers,
        **more,
    }


def request(line: bytes, headers: Mapping[str, str] | Sequence[tuple[str, str]], body: bytes = b"") -> bytes:
    """A request as it stands on the wire, with what headers it is given and no other."""
    named = headers.items() if isinstance(headers, Mapping) else headers
    head = "".join(f"{name}: {value}\r\n" for name, value in named).encode("latin-1")
    return line + b" HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n" + body


def posted(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole POST on the wire."""
    return request(f"POST {path}".encode(), {**headers, "content-length": str(len(body))}, body)


def whole(body: bytes, *heads: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json") -> bytes:
    """An answer of known length."""
    named = b"".join(head + b"\r\n" for head in heads)
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 " + status + b"\r\nContent-Type: " + kind + b"\r\n" + length + named + b"\r\n" + body


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def frame(fields: Mapping[str, Any] | str) -> bytes:
    """One frame of a stream."""
    return b"data: " + (fields if isinstance(fields, str) else json.dumps(fields)).encode() + b"\n\n"


def chat_piece(text: str, finish: str | None = None) -> dict[str, Any]:
    """One piece of a streamed chat."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [choice]}


def usage_piece(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """The frame of a streamed chat that tells what it used."""
    return {"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [], "usage": usage}


def by_key(scripts: Mapping[str, Script]) -> Script:
    """A script for each provider key: the proxy hands keys on unchanged."""

    def script(wire: Wire, request: ReceivedRequest) -> None:
        given = (request.header(b"authorization") or b"").removeprefix(b"Bearer ").decode()
        scripts[given](wire, request)

    return script


def memory_kilobytes(process: Process) -> int:
    """What the process holds in memory now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def peak_kilobytes(process: Process) -> int:
    """The most that the process has held in memory since its start."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def sockets(process: Process) -> int:
    """How many sockets the process has open."""
    names = []
    for each in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            names.append(each.readlink().name)
    return sum(name.startswith("socket:") for name in names)


def times_of_calls(proxy: Process, tenant: Tenant, count: int) -> list[float]:
    """How long so many calls took, one after another."""
    taken = []
    for _ in range(count):
        began = time.monotonic()
        assert call(proxy.url, MESSAGES, message(), headers_of(tenant)).status == 200
        taken.append(time.monotonic() - began)
    return taken


def times_at_a_rate(proxy: Process, tenant: Tenant, seconds: float) -> list[float]:
    """How long calls took that came a hundred a second, each in its time whatever became of those before."""
    with ThreadPoolExecutor(32) as callers:
        began, idle = time.monotonic(), threading.Event()
        made = []
        for at in range(int(seconds * CALLS_A_SECOND)):
            idle.wait(max(0.0, began + at / CALLS_A_SECOND - time.monotonic()))
            made.append(callers.submit(times_of_calls, proxy, tenant, 1))
        return [taken for each in made for taken in each.result()]


def percentile(values: Sequence[float], part: float) -> float:
    """The value that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part / 100))]
