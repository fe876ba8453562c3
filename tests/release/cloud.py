"""A Google Cloud of a few services, small enough to read: what gcloud and docker would do, and to whom.

`Cloud.call` is one command. `on_path` makes programs called gcloud and docker that hand their words to it;
`InProcess` saves the processes where hundreds of releases are tried. Each command is recorded, and any can be
made to fail, before it has done anything or after it has done everything.
"""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from infra.release.gcloud import Gcloud, GcloudFailed
from infra.release.services import Image, Service

PROJECT, REGION = "a-project", "europe-west1"
REPOSITORY = f"{REGION}-docker.pkg.dev/{PROJECT}/modeltrack"
DIGESTS: dict[Image, str] = {"proxy": "a" * 64, "api": "b" * 64}
IMAGES: dict[Image, str] = {
    image: f"{REPOSITORY}/{image}@sha256:{digest}" for image, digest in DIGESTS.items()
}
OLD_IMAGE = "us-docker.pkg.dev/somebody/old@sha256:" + "0" * 64

_PROGRAM = """#!/usr/bin/env bash
exec 3<>/dev/tcp/127.0.0.1/{port}
(IFS=$'\\x1f'; printf '%s\\n' "{name}"$'\\x1f'"$*" >&3)
IFS= read -r status <&3
if [ "$status" = 0 ]; then cat <&3; else cat <&3 >&2; fi
exit "$status"
"""


class Refused(Exception):
    """The command fails; the message is what it prints."""


@dataclass
class Run:
    """One Cloud Run service: revisions in order with their images, and who gets how much."""

    name: str
    revisions: dict[str, str]
    split: dict[str, int]
    tags: dict[str, str] = field(default_factory=dict)
    follows_latest: bool = True
    sidecars: dict[str, str] = field(default_factory=dict)
    is_ready: bool = True

    @property
    def latest(self) -> str:
        return list(self.revisions)[-1]

    def shown(self) -> dict[str, Any]:
        """As `gcloud run services describe --format=json` shows it."""
        traffic: list[dict[str, Any]] = [
            {"revisionName": name, "percent": percent} for name, percent in self.split.items()
        ]
        traffic += [
            {"revisionName": name, "tag": tag, "url": f"https://{tag}---{self.name}.example"}
            for tag, name in self.tags.items()
        ]
        containers = {"service": self.revisions[self.latest], **self.sidecars}
        return {
            "spec": {"template": {"spec": {"containers": [
                {"name": name, "image": image} for name, image in containers.items()
            ]}}},
            "status": {
                "latestCreatedRevisionName": self.latest,
                "latestReadyRevisionName": self.latest if self.is_ready else next(iter(self.revisions)),
                "traffic": traffic,
            },
        }  # fmt: skip


@dataclass
class Cloud:
    """The services, and every command there was. `fails` says how one fails, by its number and words."""

    services: dict[str, Run]
    calls: list[list[str]] = field(default_factory=list)
    fails: Callable[[int, list[str]], str] = lambda _number, _words: ""  # "", "before" or "after"
    after: Callable[[list[str]], None] = lambda _words: None
    weaknesses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def call(self, words: Sequence[str]) -> str:
        """What the command prints. Raises: Refused."""
        told = list(words)
        self.calls.append(told)
        how = self.fails(len(self.calls), told)
        if how == "before":
            raise Refused("it was made to fail")
        printed = self._done(told)
        self.after(told)
        if how == "after":
            raise Refused("it was made to fail, and has done its work")
        return printed

    def _done(self, words: list[str]) -> str:
        flags = dict(word.lstrip("-").partition("=")[::2] for word in words if word.startswith("--"))
        plain = [word for word in words if not word.startswith("--")]
        for told, answer in self._answers.items():
            if tuple(plain[: len(told)]) == told:
                return answer(self, plain[-1], flags)
        raise Refused(f"no such command: {' '.join(words)}")

    def _named(self, name: str) -> Run:
        if name not in self.services:
            raise Refused(f"no service {name}")
        return self.services[name]

    def _secret(self, name: str) -> str:
        if name not in self.secrets:
            raise Refused(f"NOT_FOUND: Secret [{name}] not found or has no versions.")
        return self.secrets[name]

    def _deploy(self, run: Run, flags: dict[str, str]) -> str:
        if run.sidecars and flags.get("container") != "service":
            raise Refused("say which container")
        new = f"{run.name}-{len(run.revisions) + 1:05}"
        run.revisions[new] = flags["image"]
        run.tags[flags["tag"]] = new
        if "no-traffic" not in flags and run.follows_latest:
            run.split = {new: 100}
        run.follows_latest = False
        return ""

    def _divide(self, run: Run, flags: dict[str, str]) -> str:
        if "remove-tags" in flags:
            run.tags.pop(flags["remove-tags"])
            return ""
        if "to-latest" in flags:
            run.split, run.follows_latest = {run.latest: 100}, True
            return ""
        asked = {name: int(percent) for name, _, percent in
                 (share.partition("=") for share in flags["to-revisions"].split(","))}  # fmt: skip
        if not asked.keys() <= run.revisions.keys() or sum(asked.values()) != 100:
            raise Refused(f"no such division: {asked}")
        run.split, run.follows_latest = asked, False
        return ""

    def _listed(self, scan: str, _flags: dict[str, str]) -> str:
        return json.dumps(next((found for image, found in self.weaknesses.items() if image in scan), []))

    _answers: ClassVar[dict[tuple[str, ...], Callable[[Any, str, dict[str, str]], str]]] = {
        ("gcloud", "run", "services", "describe"): lambda self, name, _: json.dumps(
            self._named(name).shown()
        ),
        ("gcloud", "run", "services", "update"): lambda self, name, flags: self._deploy(
            self._named(name), flags
        ),
        ("gcloud", "run", "services", "update-traffic"): lambda self, name, flags: self._divide(
            self._named(name), flags
        ),
        ("gcloud", "scheduler", "jobs", "run"): lambda self, name, _: str(self._named(name).latest),
        ("gcloud", "auth", "print-access-token"): lambda _self, _, __: "ya29.a-token\n",
        ("gcloud", "secrets", "versions", "access"): lambda self, _, flags: self._secret(flags["secret"]),
        ("gcloud", "artifacts", "docker", "images", "scan"): lambda _self, image, _: json.dumps(
            {"response": {"scan": f"projects/{PROJECT}/scans/{image}"}}
        ),
        ("gcloud", "artifacts", "docker", "images", "list-vulnerabilities"): _listed,
        ("docker", "build"): lambda _self, _, __: "",
        ("docker", "push"): lambda _self, _, __: "",
        ("docker", "image", "inspect"): lambda _self, image, _: _digests(image),
    }

    def who_serves(self) -> dict[str, dict[str, int]]:
        """Each service's division."""
        return {name: run.split for name, run in self.services.items()}


def _digests(image: str) -> str:
    """What docker knows of an image that was pushed here, and once elsewhere."""
    name: Image = "proxy" if "/proxy:" in image else "api"
    return f"elsewhere.example/{name}@sha256:{'c' * 64}\n{IMAGES[name]}\n"


@dataclass(frozen=True)
class InProcess(Gcloud):
    """gcloud without the processes."""

    cloud: Cloud = field(default_factory=lambda: Cloud({}))

    def run(self, *words: str, seconds: float = 0) -> str:
        try:
            return self.cloud.call(["gcloud", *words])
        except Refused as refused:
            raise GcloudFailed(str(refused)) from None


def cloud_of(services: Sequence[Service]) -> Cloud:
    """A cloud where each service follows its one revision."""
    return Cloud(
        {
            each.name: Run(each.name, {f"{each.name}-00001": OLD_IMAGE}, {f"{each.name}-00001": 100})
            for each in services
        }
    )


@contextmanager
def on_path(cloud: Cloud, folder: Path) -> Iterator[Path]:
    """A folder with programs called gcloud and docker that act on the cloud."""

    class Answering(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words = self.rfile.readline().decode().rstrip("\n").split("\x1f")
            try:
                status, printed = 0, cloud.call(words)
            except Refused as refused:
                status, printed = 1, f"ERROR: (gcloud) {refused}\n"
            self.wfile.write(f"{status}\n{printed}".encode())

    with socketserver.TCPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            for name in ("gcloud", "docker"):
                program = folder / name
                program.write_text(_PROGRAM.format(port=server.server_address[1], name=name))
                program.chmod(0o755)
            yield folder
        finally:
            server.shutdown()
            thread.join()
