"""Known weaknesses of an image that is built but not pushed: found by Artifact Analysis, told, and judged.

The answers are occurrences of the On-Demand Scanning API
(https://cloud.google.com/artifact-analysis/docs/ods-cloudbuild, 2026-11-21).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.release.gcloud import Gcloud, GcloudFailed

REFUSED: Final = "CRITICAL"
SCAN_SECONDS_MAX: Final = 1_200
_CONTINENTS: Final = {"europe": "europe", "asia": "asia", "australia": "asia"}


class Vulnerable(Exception):
    """The image holds what is known to be critical, and a newer version would not."""


@dataclass(frozen=True)
class Weakness:
    """One known weakness of one package."""

    note: str
    severity: str
    package: str
    has_fix: bool


def scan(gcloud: Gcloud, image: str) -> Sequence[Weakness]:
    """What is known of a local image. Raises: GcloudFailed, also where the scan came to nothing."""
    place = f"--location={_CONTINENTS.get(gcloud.region.partition('-')[0], 'us')}"
    done = gcloud.ask("artifacts", "docker", "images", "scan", image, place, seconds=SCAN_SECONDS_MAX)
    try:
        name = done["response"]["scan"]
    except (KeyError, TypeError):
        raise GcloudFailed(f"the scan of {image} came to nothing") from None
    found = gcloud.ask("artifacts", "docker", "images", "list-vulnerabilities", name, place)
    return [_weakness(each) for each in found]


def _weakness(occurrence: Any) -> Weakness:
    known = occurrence["vulnerability"]
    issues = known.get("packageIssue") or [{}]
    return Weakness(
        note=occurrence.get("noteName", "").rpartition("/")[2],
        severity=known.get("effectiveSeverity", "SEVERITY_UNSPECIFIED"),
        package=issues[0].get("affectedPackage", "?"),
        has_fix=bool(known.get("fixAvailable")) or any(issue.get("fixAvailable") for issue in issues),
    )


def judge(image: str, found: Iterable[Weakness]) -> str:
    """How many there are of each severity, in a line. Raises: Vulnerable, naming those that must be fixed."""
    found = tuple(found)
    bad = [each for each in found if each.severity == REFUSED and each.has_fix]
    if bad:
        named = ", ".join(sorted({f"{each.note} in {each.package}" for each in bad}))
        raise Vulnerable(f"{image}: {len(bad)} {REFUSED} with a fix: {named}")
    counts = Counter(each.severity for each in found)
    told = ", ".join(f"{count} {severity}" for severity, count in sorted(counts.items())) or "nothing"
    return f"{image}: {told} known; none {REFUSED} has a fix"
