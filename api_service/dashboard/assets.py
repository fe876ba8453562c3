"""What pages load besides themselves: style, scripts, icon. Read once, compressed once, kept in memory.

Each is served under a name that holds a digest of its bytes (`app.3f2a91c0d4e5b678.js`), so a browser keeps
it for good and asks for it anew exactly when it has changed. No path is ever made of what a browser asks
for: there is a table of names, and what is not in it is not there.

A script names the scripts that it imports as they are called here (`from "./palette.js"`); as it is served,
these names carry their digests.
"""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from flask import Response, request

from metering.errors import NotFound

FOLDER: Final = Path(__file__).parent / "static"
DIGEST_CHARACTERS: Final = 16
FOREVER: Final = "public, max-age=31536000, immutable"

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_IMPORTED: Final = re.compile(rb'((?:from|import)\s*")\./([a-z][a-z-]*\.js)(")')


@dataclass(frozen=True)
class Asset:
    """One file as it is served."""

    served_name: str
    content_type: str
    content: bytes
    compressed: bytes


@dataclass(frozen=True)
class Assets:
    """All files: by the names that templates call them, and by those under which they are served."""

    addresses: Mapping[str, str]
    served: Mapping[str, Asset]

    def address(self, name: str) -> str:
        """Where the file of that name is served."""
        return self.addresses[name]


@cache
def assets() -> Assets:
    """The files beside this module."""
    files = {path.name: path for path in sorted(FOLDER.rglob("*")) if path.suffix in _TYPES}
    made = {name: _made(name, files) for name in files}
    return Assets(
        addresses={name: f"/static/{each.served_name}" for name, each in made.items()},
        served={each.served_name: each for each in made.values()},
    )


def _made(name: str, files: Mapping[str, Path]) -> Asset:
    path = files[name]
    content = path.read_bytes()
    if path.suffix == ".js" and path.parent == FOLDER:
        content = _IMPORTED.sub(lambda found: _with_digest(found, files), content)
    digest = hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]
    return Asset(
        served_name=f"{path.stem}.{digest}{path.suffix}",
        content_type=_TYPES[path.suffix],
        content=content,
        compressed=gzip.compress(content, mtime=0),
    )


def _with_digest(found: re.Match[bytes], files: Mapping[str, Path]) -> bytes:
    imported = _made(found[2].decode(), files).served_name.encode()
    return found[1] + b"./" + imported + found[3]


def serve(name: str) -> Response:
    """The file that is served under that name. Raises: NotFound."""
    asset = assets().served.get(name)
    if asset is None:
        raise NotFound("there is nothing at this address")
    takes_gzip = request.accept_encodings.quality("gzip") > 0
    response = Response(asset.compressed if takes_gzip else asset.content, content_type=asset.content_type)
    response.headers["Cache-Control"] = FOREVER
    response.headers["Vary"] = "Accept-Encoding"
    if takes_gzip:
        response.headers["Content-Encoding"] = "gzip"
    return response
