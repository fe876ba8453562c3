"""Writes requirements/images.txt: the images of requirements/images.in by the digests that they have now.

`make pin-images`. A digest is that of the manifest that was read, and is held against what the registry says
it is; the image has to be there for linux/amd64, on which Cloud Run runs. Where one image cannot be pinned
nothing is written, and why is said, a line each.
How registries are asked, looked at 2026-11-21:
https://raw.githubusercontent.com/opencontainers/distribution-spec/main/spec.md (pulling manifests),
https://raw.githubusercontent.com/distribution/distribution/v2.7.1/docs/spec/api.md (digest header, tokens).
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import requests

ROOT: Final = Path(__file__).resolve().parents[1]
SECONDS_MAX: Final = 20.0
MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024  # what the specification has registries take
HUB, HUB_REGISTRY = "docker.io", "registry-1.docker.io"
PLATFORM: Final = ("linux", "amd64")

ACCEPTED: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_REFERENCE = re.compile(
    r"(?P<host>[a-z0-9.-]+(?::\d+)?)/(?P<path>[a-z0-9._/-]+):(?P<tag>[A-Za-z0-9_.-]{1,128})"
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class NotPinned(Exception):
    """Why an image has no digest, in words."""


class Image(NamedTuple):
    """An image by its tag, and the name that our files have for it."""

    name: str
    host: str
    path: str
    tag: str

    @property
    def reference(self) -> str:
        """The image as docker names it."""
        return f"{self.host}/{self.path}:{self.tag}"

    @property
    def url(self) -> str:
        """Where its registry tells of it. A registry on this machine is spoken to in the open."""
        registry = HUB_REGISTRY if self.host == HUB else self.host
        scheme = "http" if registry.split(":")[0] in {"127.0.0.1", "localhost"} else "https"
        return f"{scheme}://{registry}/v2/{self.path}"


def images_in(text: str) -> Iterator[Image]:
    """The images of a file such as requirements/images.in. Raises: NotPinned for a line that names none."""
    for line in text.splitlines():
        name, _, reference = line.partition("#")[0].strip().partition(" ")
        if not name:
            continue
        found = _REFERENCE.fullmatch(reference.strip())
        if found is None:
            raise NotPinned(f"{line!r}: give a name and an image such as docker.io/library/python:3.12-slim")
        yield Image(name, found["host"], found["path"], found["tag"])


def digest_of(image: Image, session: requests.Session) -> str:
    """The digest under which its registry has the image now. Raises: NotPinned."""
    read, said = _asked(image, session, f"manifests/{image.tag}")
    digest = _sha256(read)
    if said not in {"", digest}:
        raise NotPinned("what was read is not what the registry says it is")
    if PLATFORM not in _platforms(read, image, session):
        raise NotPinned(f"there is none for {'/'.join(PLATFORM)}")
    return digest


def _platforms(manifest: bytes, image: Image, session: requests.Session) -> set[tuple[str, str]]:
    """What systems and processors it is for: a list of images says so itself, one image its configuration."""
    try:
        told = json.loads(manifest)
        if "manifests" in told:
            named = [each["platform"] for each in told["manifests"]]
            return {(each["os"], each["architecture"]) for each in named}
        digest = str(told["config"]["digest"])
        read, _ = _asked(image, session, f"blobs/{digest}")
        if _sha256(read) != digest:
            raise NotPinned("what was read is not what the registry says it is")
        described = json.loads(read)
        return {(described["os"], described["architecture"])}
    except (ValueError, KeyError, TypeError) as error:
        raise NotPinned("its registry answers with no image") from error


def _asked(image: Image, session: requests.Session, what: str) -> tuple[bytes, str]:
    """What the registry has of the image there, and the digest that it says this has. Raises: NotPinned."""
    try:
        answer = _got(image, session, what, {})
        if answer.status_code == requests.codes.unauthorized:
            token = _token(answer, image, session)
            answer = _got(image, session, what, {"Authorization": f"Bearer {token}"})
        if answer.status_code != requests.codes.ok:
            raise NotPinned(f"its registry answers with status {answer.status_code}")
        return _read(answer), answer.headers.get("Docker-Content-Digest", "")
    except requests.RequestException as error:
        raise NotPinned(f"its registry cannot be reached ({type(error).__name__})") from error


def _got(image: Image, session: requests.Session, what: str, headers: dict[str, str]) -> requests.Response:
    accepted = {"Accept": ", ".join(ACCEPTED), **headers}
    return session.get(f"{image.url}/{what}", headers=accepted, timeout=SECONDS_MAX, stream=True)


def _read(answer: requests.Response) -> bytes:
    read = b""
    for piece in answer.iter_content(65_536):
        read += piece
        if len(read) > MANIFEST_BYTES_MAX:
            raise NotPinned("its manifest is too long to be one")
    return read


def _sha256(read: bytes) -> str:
    return f"sha256:{hashlib.sha256(read).hexdigest()}"


def _token(refusal: requests.Response, image: Image, session: requests.Session) -> str:
    """What lets anybody read the image. Raises: NotPinned, requests.RequestException."""
    scheme, _, said = refusal.headers.get("WWW-Authenticate", "").partition(" ")
    asked = dict(_PARAMETER.findall(said))
    realm = asked.get("realm", "")
    if scheme.lower() != "bearer" or not realm.startswith(("https://", "http://127.0.0.1:")):
        raise NotPinned("its registry wants a log-in that is not known here")
    query = {"service": asked.get("service", ""), "scope": f"repository:{image.path}:pull"}
    answer = session.get(realm, params=query, timeout=SECONDS_MAX)
    if not answer.ok:
        raise NotPinned(f"its registry gives no token (status {answer.status_code})")
    given: dict[str, Any] = answer.json()
    return str(given.get("token") or given.get("access_token", ""))


def main(folder: Path = ROOT / "requirements") -> int:
    """Pin every image, or write nothing; the exit status."""
    lines, complaints = ["# Written by `make pin-images`, from images.in."], []
    try:
        images = list(images_in((folder / "images.in").read_text()))
    except NotPinned as error:
        images, complaints = [], [str(error)]
    with requests.Session() as session:
        for image in images:
            try:
                lines.append(f"{image.name} {image.reference}@{digest_of(image, session)}")
            except NotPinned as error:
                complaints.append(f"{image.reference}: {error}")
    if complaints:
        sys.stderr.write("\n".join((*complaints, "requirements/images.txt is left as it was\n")))
        return 1
    (folder / "images.txt").write_text("\n".join((*lines, "")))
    sys.stdout.write("\n".join((*lines[1:], "")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
