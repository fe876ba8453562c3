"""A registry of images on loopback, as far as asking for a manifest goes: first a token, then that."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

TOKEN = "a-token-for-anybody"
INDEX = "application/vnd.oci.image.index.v1+json"


def index_for(*platforms: str) -> bytes:
    """A list of images for these platforms (`linux/amd64`), as a registry stores it."""
    parted = [each.split("/") for each in platforms]
    listed = [{"platform": {"os": system, "architecture": machine}} for system, machine in parted]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()


def single_image(platform: str) -> tuple[bytes, bytes]:
    """The manifest of an image that is there for one platform alone, and the configuration that it names."""
    system, machine = platform.split("/")
    configuration = json.dumps({"os": system, "architecture": machine}).encode()
    digest = f"sha256:{hashlib.sha256(configuration).hexdigest()}"
    return json.dumps({"schemaVersion": 2, "config": {"digest": digest}}).encode(), configuration


class Registry:
    """Use as a context. `manifest` is what it has for every tag, `digest` what it says that is.

    `blob` is what it has under every other name.
    """

    def __init__(self, manifest: bytes, *, wants_token: bool = True, blob: bytes = b"{}") -> None:
        self.manifest = manifest
        self.blob = blob
        self.digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.status = 200
        self.asked: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                if self.path.startswith("/token?"):
                    self._answer(200, json.dumps({"token": TOKEN}).encode(), {})
                elif wants_token and self.headers["Authorization"] != f"Bearer {TOKEN}":
                    realm = f'Bearer realm="{registry.url}/token",service="double"'
                    self._answer(401, b"{}", {"WWW-Authenticate": realm})
                elif "/blobs/" in self.path:
                    self._answer(registry.status, registry.blob, {})
                else:
                    headers = {"Docker-Content-Digest": registry.digest, "Content-Type": INDEX}
                    self._answer(registry.status, registry.manifest, headers)

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
