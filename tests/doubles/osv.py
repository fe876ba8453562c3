"""A stand-in for OSV: answers of what is known, by name and version, or as badly as it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Osv:
    """What it knows, and what it was asked. With `says`, it answers that and nothing else."""

    known: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    says: bytes | None = None
    status: int = 200
    fails_for: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, name: str, version: str) -> tuple[int, bytes]:
        """The status and the body."""
        self.asked.append((name, version))
        if self.says is not None or name == self.fails_for:
            return (503 if name == self.fails_for else self.status), b"{}" if self.says is None else self.says
        found = self.known.get((name, version), [])
        return self.status, json.dumps({"vulns": found} if found else {}).encode()


def weakness(package: str, name: str, mended_in: str = "9.9", *aliases: str) -> dict[str, Any]:
    """A weakness as OSV describes it: https://ossf.github.io/osv-schema/, read 2026-11-21."""
    return {
        "schema_version": "1.7.0",
        "id": name,
        "aliases": list(aliases),
        "summary": "something is weak",
        "affected": [
            {
                "package": {"name": package, "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": mended_in}]}],
            }
        ],
    }


@contextmanager
def running_osv() -> Iterator[Osv]:
    """One that listens until the block ends."""
    osv = Osv()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = osv.answer(asked["package"]["name"], asked["version"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    osv.url = f"http://127.0.0.1:{server.server_port}/v1/query"
    try:
        yield osv
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
