"""What is measured: no gateway, nginx as a reverse proxy, ModelTrack with all on, and its relay alone."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from metering.budgets import Budget
from metering.clock import SystemClock
from metering.directory import Directory, KeyTerms
from metering.opening import open_store
from metering.rulebook import Rulebook
from metering.stats import Statistics, UsageQuery

GATEWAY_CORE: Final = 0
LOAD_CORE: Final = 1
READY_SECONDS: Final = 120.0
STOP_SECONDS: Final = 15.0
HOST: Final = "127.0.0.1"
LIMIT_NANODOLLARS: Final = 10**9 * 10**9  # of the budget that every call is held against
READ_BYTES: Final = 64 * 1024
_ROOT: Final = Path(__file__).resolve().parents[1]
_POLL_SECONDS: Final = 0.002

DIRECT: Final = "direct"
NGINX: Final = "nginx"
UNGOVERNED: Final = "ModelTrack, governing off"
SQLITE: Final = "ModelTrack"
PIPED: Final = "ModelTrack, journal piped"
FIRESTORE: Final = "ModelTrack on Firestore"
PORTKEY: Final = "Portkey"
LITELLM: Final = "LiteLLM"


class Missing(Exception):
    """A program that a gateway needs is not installed, or does not start. The text says what to do."""


class Upstream(msgspec.Struct, frozen=True):
    """Where gateways send calls. `ca_file`: who signed its certificate, over TLS."""

    url: str
    ca_file: str = ""


class Gateway(msgspec.Struct, frozen=True):
    """Something calls go through. `start` starts it, pinned, and gives its process.

    `metered` gives the calls and nanodollars that it has recorded so far; None where it records none.
    `ca_file` is for calls to it over TLS.
    """

    name: str
    url: str
    headers: Mapping[str, str] = {}
    start: Callable[[], "subprocess.Popen[bytes] | None"] = lambda: None
    metered: Callable[[], tuple[int, int]] | None = None
    ca_file: str = ""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def pinned(
    command: Sequence[str], core: int, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start a program on one core; what it says goes to the log, or nowhere."""
    with (log or Path(os.devnull)).open("ab") as said:
        return _started(command, core, environment or {}, said.fileno(), said.fileno() if log else None)


def pinned_and_read(
    command: Sequence[str], core: int, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a program on one core whose output somebody reads, as a platform reads what a container says."""
    reading, writing = os.pipe()
    threading.Thread(target=_read_all, args=(reading,), name="reader", daemon=True).start()
    try:
        return _started(command, core, environment, writing, None)
    finally:
        os.close(writing)


def _read_all(descriptor: int) -> None:
    """Read to the end, on the core of the load."""
    with open(descriptor, "rb", buffering=0) as output:
        while output.read(READ_BYTES):
            pass


def _started(
    command: Sequence[str], core: int, environment: Mapping[str, str], output: int, errors: int | None
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        cwd=_ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
    )


@contextmanager
def running(start: Callable[[], "subprocess.Popen[bytes] | None"], port: int) -> Iterator[int]:
    """The started program's pid once its port takes connections; ended at the end. 0 where none is needed."""
    process = start()
    if process is None:
        yield 0
        return
    try:
        wait_for_port(port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def wait_for_port(port: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Return when connections are taken there. Raises: TimeoutError, ChildProcessError."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            if process is not None and process.poll() is not None:
                raise ChildProcessError(f"it ended with {process.returncode}") from None
            time.sleep(_POLL_SECONDS)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")


def provider(port: int) -> Callable[[], "subprocess.Popen[bytes]"]:
    """The demo provider, on the core of the load."""
    return lambda: pinned([sys.executable, "-m", "demo.provider", "--port", str(port)], LOAD_CORE)


def upstream(port: int, tls_port: int, certificate: Path) -> Callable[[], "subprocess.Popen[bytes]"]:
    """The provider of prepared answers, on the core of the load."""
    command = [sys.executable, "-m", "bench.upstream", str(port), str(tls_port), str(certificate)]
    return lambda: pinned(command, LOAD_CORE)


def direct(to: Upstream, folder: Path) -> Gateway:
    """No gateway at all."""
    return Gateway(DIRECT, to.url, ca_file=to.ca_file)


def nginx(to: Upstream, folder: Path) -> Gateway:
    """A reverse proxy with one worker and kept-alive connections to the upstream. Raises: Missing."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    if program is None:
        raise Missing("nginx is missing: install it (Debian: apt-get install nginx-light)")
    port = free_port()
    scheme, _, address = to.url.partition("://")
    trust = _NGINX_TLS.format(ca_file=to.ca_file) if to.ca_file else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _NGINX.format(folder=folder, port=port, address=address, scheme=scheme, trust=trust)
    )
    command = [program, "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(configuration)]
    return Gateway(NGINX, f"http://{HOST}:{port}", start=lambda: pinned(command, GATEWAY_CORE))


def ungoverned(to: Upstream, folder: Path) -> Gateway:
    """The proxy's relay alone: `bench.ungoverned`."""
    port = free_port()
    command = [sys.executable, "-m", "bench.ungoverned", str(port), to.url, to.ca_file]
    return Gateway(UNGOVERNED, f"http://{HOST}:{port}", start=lambda: pinned(command, GATEWAY_CORE))


def modeltrack(to: Upstream, folder: Path) -> Gateway:
    """The proxy on the embedded store; all on but the cache, which would answer in the upstream's place."""
    return _modeltrack(
        SQLITE, to, {"STORE_URL": f"sqlite:///{folder}/modeltrack.db", "DATA_DIR": str(folder)}
    )


def modeltrack_piped(to: Upstream, folder: Path) -> Gateway:
    """The same, its journal on stdout, which somebody reads, as it is hosted."""
    url = f"sqlite:///{folder}/modeltrack.db"
    return _modeltrack(PIPED, to, {"STORE_URL": url, "DATA_DIR": str(folder), "JOURNAL": "stdout"})


def modeltrack_on_firestore(emulator: str) -> Callable[[Upstream, Path], Gateway]:
    """The proxy on Firestore's emulator, its journal on stdout, as it is hosted."""

    def made(to: Upstream, folder: Path) -> Gateway:
        os.environ["FIRESTORE_EMULATOR_HOST"] = emulator  # for what we read ourselves, too
        url = f"firestore://demo-bench-{secrets.token_hex(8)}"
        return _modeltrack(FIRESTORE, to, {"STORE_URL": url, "DATA_DIR": str(folder), "JOURNAL": "stdout"})

    return made


def _modeltrack(name: str, to: Upstream, settings: Mapping[str, str]) -> Gateway:
    port, secret = free_port(), secrets.token_hex(32)
    environment = {
        **settings,
        "PROXY_PORT": str(port),
        "MODELTRACK_SECRET": secret,
        "ANTHROPIC_BASE_URL": to.url,
        "OPENAI_BASE_URL": to.url,
        **({"UPSTREAM_CA_FILE": to.ca_file} if to.ca_file else {}),
        "CACHE_ENABLED": "false",
        "LOG_LEVEL": "warn",
    }
    store, clock = open_store(settings["STORE_URL"]), SystemClock()
    directory = Directory(store, clock, secret.encode())
    account_id = directory.create_account("bench").account_id
    key, _ = directory.create_key(account_id, KeyTerms())
    budget = Budget(budget_id="", name="bench", limit_nanodollars=LIMIT_NANODOLLARS)
    Rulebook(store, directory, clock).create_budget(account_id, budget)

    def metered() -> tuple[int, int]:
        now = clock.now()
        query = UsageQuery(start=now - timedelta(days=1), end=now + timedelta(hours=1))
        sums = Statistics(store).usage(account_id, query).sums
        return sums["requests"], sums["cost_nanodollars"]

    command = [sys.executable, "-m", "proxy_service"]
    start = pinned_and_read if environment.get("JOURNAL") == "stdout" else pinned
    return Gateway(
        name,
        f"http://{HOST}:{port}",
        headers={"x-modeltrack-key": key, "x-modeltrack-team": "bench"},
        start=lambda: start(command, GATEWAY_CORE, environment),
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
  upstream provider {{ server {address}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    client_max_body_size 32m;
    client_body_buffer_size 512k;
    location / {{
      proxy_pass {scheme}://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
      {trust}
    }}
  }}
}}
"""
_NGINX_TLS = (
    "proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;"
    " proxy_ssl_trusted_certificate {ca_file};"
)
