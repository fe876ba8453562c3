"""What one step of a release hands to the next: small files in `.make/release` of the checkout."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from infra.release.services import ALL, IMAGES, Image, Service

FOLDER: Final = Path(".make/release")
_BY_DIGEST: Final = re.compile(r"[a-z0-9./_-]+@sha256:[0-9a-f]{64}")


class FolderIncomplete(Exception):
    """A step before this one has not left what it should have."""


@dataclass(frozen=True)
class Planned:
    """One service on its way: what served before, what is to serve, and where that can be tried already."""

    service: Service
    before: str
    candidate: str
    url: str

    @property
    def is_news(self) -> bool:
        """Whether anything is to change."""
        return self.before != self.candidate


def images_pushed() -> dict[Image, str]:
    """Each image as the registry knows it, by digest. Raises: FolderIncomplete."""
    return {image: _by_digest(image) for image in IMAGES}


def _by_digest(image: Image) -> str:
    file = FOLDER / f"{image}.image"
    try:
        named = file.read_text().strip()
    except FileNotFoundError:
        raise FolderIncomplete(f"{file} is missing: the step push has not run") from None
    if not _BY_DIGEST.fullmatch(named):
        raise FolderIncomplete(f"{file} names no image by its digest")
    return named


def write_plan(plan: tuple[Planned, ...]) -> None:
    """Keep what was deployed for the steps to come."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(each), "service": each.service.name} for each in plan]
    (FOLDER / "plan.json").write_text(json.dumps(rows, indent=1) + "\n")


def read_plan() -> tuple[Planned, ...]:
    """What was deployed. Raises: FolderIncomplete."""
    try:
        rows = json.loads((FOLDER / "plan.json").read_text())
    except FileNotFoundError:
        raise FolderIncomplete("plan.json is missing: the step deploy has not run") from None
    named = {service.name: service for service in ALL}
    return tuple(Planned(**{**row, "service": named[row["service"]]}) for row in rows)
