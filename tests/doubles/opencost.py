"""OpenCost's `/allocation/compute`: allocations by hour, as its documents describe them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOUR = timedelta(hours=1)


@dataclass
class OpenCost:
    """`namespaces` is `{cluster/namespace: (GPU cost an hour, GPUs)}`; `windows` is what was asked for."""

    url: str = ""
    namespaces: dict[str, tuple[str, int]] = field(default_factory=dict)
    windows: list[str] = field(default_factory=list)
    raw: bytes | None = None

    def answer(self, path: str, query: dict[str, list[str]]) -> bytes:
        assert path == "/allocation/compute"
        assert (query["step"], query["aggregate"]) == (["1h"], ["cluster,namespace"])
        self.windows += query["window"]
        start, end = (datetime.fromisoformat(each) for each in query["window"][0].split(","))
        hours = []
        while start < end:
            hours.append({name: self._allocation(name, start) for name in self.namespaces})
            start += HOUR
        return json.dumps({"code": 200, "data": hours}).replace('"<', "").replace('>"', "").encode()

    def _allocation(self, name: str, hour: datetime) -> dict[str, Any]:
        cluster, namespace = name.split("/")
        cost, gpus = self.namespaces[name]
        return {
            "name": name,
            "properties": {"cluster": cluster, "namespace": namespace},
            "window": {"start": f"{hour:%Y-%m-%dT%H:%M:%SZ}", "end": f"{hour + HOUR:%Y-%m-%dT%H:%M:%SZ}"},
            "gpuCost": f"<{cost}>",
            "gpuHours": gpus,
            "cpuCost": 999,
            "totalCost": 1000,
        }


@contextmanager
def running_opencost() -> Iterator[OpenCost]:
    """One on a port of its own, until the block ends."""
    opencost = OpenCost()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            content = opencost.raw or opencost.answer(parts.path, parse_qs(parts.query))
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    opencost.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield opencost
    finally:
        server.shutdown()
        server.server_close()
