"""Two other readers of HTTP/1.1, to hold ours against: nginx as reverse proxy, and uvicorn."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, dialled
from tests.doubles.waiting import until

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors crit;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 64m; underscores_in_headers on;
  client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port}; large_client_header_buffers 4 64k;
    location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1;
                  proxy_set_header Connection ""; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx_before(upstream: RawUpstream, folder: Path) -> Iterator[int]:
    """Run nginx as a reverse proxy; gives its port."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.fail(
            "install nginx (Debian: apt-get install nginx-light): it is the reference for these tests"
        )
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, upstream=upstream.port))
    command = [program, "-p", str(folder), "-e", str(folder / "errors"), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command) as process:
        try:
            until(lambda: is_listening(port))
            yield port
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def uvicorn_recording(requests: list[ReceivedRequest]) -> Iterator[int]:
    """Run uvicorn on httptools with an application that keeps what it is given; gives its port."""
    port = free_port()
    config = uvicorn.Config(
        recording(requests), host="127.0.0.1", port=port, http="httptools", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),), daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        yield port
    finally:
        server.should_exit = True
        thread.join(10)


Message = dict[str, Any]


def recording(requests: list[ReceivedRequest]) -> Any:
    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        line = b"%b %b HTTP/1.1" % (scope["method"].encode(), target)
        request = ReceivedRequest(line, list(scope["headers"]))
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            request.body += message.get("body", b"")
            more = message.get("more_body", False)
        requests.append(request)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def is_listening(port: int) -> bool:
    try:
        with dialled(port):
            return True
    except OSError:
        return False
