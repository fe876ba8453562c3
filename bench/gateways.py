"""What is measured: no gateway, nginx as a reverse proxy, and ModelTrack with metering and journal on."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec

from metering.clock import SystemClock
from metering.directory import Directory, KeyTerms
from metering.opening import open_store
from metering.stats import Statistics, UsageQuery

GATEWAY_CORE = 0
LOAD_CORE = 1
READY_SECONDS = 30.0
HOST = "127.0.0.1"
_ROOT = Path(__file__).resolve().parents[1]
_POLL_SECONDS = 0.002


class Missing(Exception):
    """A program that the benchmarks need is not installed."""


class Gateway(msgspec.Struct, frozen=True):
    """Something calls go through. `start` starts it, pinned, and gives its process.

    `metered` gives the calls and nanodollars that it has recorded so far; None where it records none.
    """

    name: str
    url: str
    headers: Mapping[str, str] = {}
    start: Callable[[], "subprocess.Popen[bytes] | None"] = lambda: None
    metered: Callable[[], tuple[int, int]] | None = None


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def pinned(
    command: Sequence[str], core: int, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a program on one core."""
    return subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        cwd=_ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


@contextmanager
def running(start: Callable[[], "subprocess.Popen[bytes] | None"], port: int) -> Iterator[int]:
    """The started program's pid once its port takes connections; ended at the end. 0 where none is needed."""
    process = start()
    if process is None:
        yield 0
        return
    try:
        wait_for_port(port)
        yield process.pid
    finally:
        process.terminate()
        process.wait(15)


def wait_for_port(port: int) -> None:
    """Return when connections are taken there. Raises: TimeoutError."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            time.sleep(_POLL_SECONDS)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")


def provider(port: int) -> Callable[[], "subprocess.Popen[bytes]"]:
    """The demo provider, on the core of the load."""
    return lambda: pinned([sys.executable, "-m", "demo.provider", "--port", str(port)], LOAD_CORE)


def direct(upstream: str) -> Gateway:
    """No gateway at all."""
    return Gateway("direct", upstream)


def nginx(upstream: str, folder: Path) -> Gateway:
    """A reverse proxy with one worker and kept-alive connections to the upstream. Raises: Missing."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    if program is None:
        raise Missing("nginx is missing: install it (Debian: apt-get install nginx-light)")
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _NGINX.format(folder=folder, port=port, upstream=upstream.removeprefix("http://"))
    )
    command = [program, "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(configuration)]
    return Gateway("nginx", f"http://{HOST}:{port}", start=lambda: pinned(command, GATEWAY_CORE))


def modeltrack(upstream: str, folder: Path) -> Gateway:
    """The proxy on the embedded store: identity, metering, prices, journal and segments on; no cache."""
    port, secret = free_port(), secrets.token_hex(32)
    store_url = f"sqlite:///{folder}/modeltrack.db"
    settings = {
        "PROXY_PORT": str(port),
        "DATA_DIR": str(folder),
        "STORE_URL": store_url,
        "MODELTRACK_SECRET": secret,
        "ANTHROPIC_BASE_URL": upstream,
        "CACHE_ENABLED": "false",
        "LOG_LEVEL": "warn",
    }
    store, clock = open_store(store_url), SystemClock()
    directory = Directory(store, clock, secret.encode())
    account_id = directory.create_account("bench").account_id
    key, _ = directory.create_key(account_id, KeyTerms())

    def metered() -> tuple[int, int]:
        now = clock.now()
        query = UsageQuery(start=now - timedelta(days=1), end=now + timedelta(hours=1))
        sums = Statistics(store).usage(account_id, query).sums
        return sums["requests"], sums["cost_nanodollars"]

    command = [sys.executable, "-m", "proxy_service"]
    return Gateway(
        "ModelTrack",
        f"http://{HOST}:{port}",
        headers={"x-modeltrack-key": key, "x-modeltrack-team": "bench"},
        start=lambda: pinned(command, GATEWAY_CORE, settings),
        metered=metered,
    )


_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream provider {{ server {upstream}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    client_max_body_size 32m;
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""
