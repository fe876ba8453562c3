"""Every image that a release runs in or builds upon, by digest: looked at before anything runs, and written.

`make pin-images` asks the registries (requirements/images.txt) and has this module write the digests into
cloudbuild.yaml, whose steps cannot look them up themselves.
"""

import re
from pathlib import Path
from typing import Final

BUILD: Final = Path("cloudbuild.yaml")
PINNED: Final = Path("requirements/images.txt")
WANTED: Final = Path("requirements/images.in")
BASE: Final = "python"  # as infra/release/build asks for it
_STEP_IMAGE: Final = re.compile(r"^(    name: )(\S+?)(@sha256:[0-9a-f]{64})?$", re.MULTILINE)


class NotPinned(Exception):
    """Some image could be another one tomorrow; the message names all of them."""


def check(root: Path) -> None:
    """Hold each step's image, and the services' base, against requirements/images.txt. Raises: NotPinned."""
    digests = _digests(root)
    missing = sorted(
        {
            image
            for _, image, digest in _STEP_IMAGE.findall((root / BUILD).read_text())
            if not digest or digests.get(image) != digest
        }
        | {image for image in _bases(root) if image not in digests}
    )
    if missing:
        raise NotPinned(
            f"not by the digest of {PINNED}: {', '.join(missing)}: run 'make pin-images' where "
            f"registries can be reached, and commit {PINNED} and {BUILD}"
        )


def write(root: Path) -> None:
    """Write each step's image by its digest into cloudbuild.yaml; those that have none are left."""
    digests = _digests(root)
    file = root / BUILD

    def pinned(step: re.Match[str]) -> str:
        return step[1] + step[2] + digests.get(step[2], step[3] or "")

    file.write_text(_STEP_IMAGE.sub(pinned, file.read_text()))


def _bases(root: Path) -> set[str]:
    """What the services' images are built upon, by tag."""
    lines = (line.split() for line in (root / WANTED).read_text().splitlines())
    return {words[1] for words in lines if words[:1] == [BASE]}


def _digests(root: Path) -> dict[str, str]:
    """Image by its tag → `@` and its digest."""
    try:
        lines = (root / PINNED).read_text().splitlines()
    except FileNotFoundError:
        return {}
    named = (line.partition(" ")[2] for line in lines if not line.startswith("#"))
    return {image: f"@{digest}" for image, at, digest in (each.partition("@") for each in named) if at}
