"""What is known to be critical and could be fixed does not leave the machine."""

from typing import Any

import pytest

from infra.release.gcloud import GcloudFailed
from infra.release.scan import Vulnerable, judge, scan
from tests.release.cloud import PROJECT, REPOSITORY, Cloud, InProcess

IMAGE = f"{REPOSITORY}/proxy:release"


def occurrence(severity: str, *fixes: bool, fix: bool = False) -> dict[str, Any]:
    """As the On-Demand Scanning API tells of a weakness, in packages that are fixed or not."""
    return {
        "noteName": "projects/goog-vulnz/notes/CVE-2026-1",
        "vulnerability": {
            "effectiveSeverity": severity,
            "fixAvailable": fix,
            "packageIssue": [{"affectedPackage": "openssl", "fixAvailable": each} for each in fixes],
        },
    }


def scanned(*found: dict[str, Any], region: str = "europe-west1") -> tuple[str, Cloud]:
    cloud = Cloud({}, weaknesses={"proxy": list(found)})
    return judge(IMAGE, scan(InProcess(PROJECT, region, cloud), IMAGE)), cloud


@pytest.mark.parametrize(
    "found",
    [occurrence("CRITICAL", True), occurrence("CRITICAL", False, True), occurrence("CRITICAL", fix=True)],
)
def test_critical_with_a_fix_is_refused_by_name(found: dict[str, Any]) -> None:
    with pytest.raises(Vulnerable, match="CVE-2026-1"):
        scanned(occurrence("LOW"), found)


def test_critical_without_a_fix_and_all_else_is_told() -> None:
    told, _ = scanned(occurrence("CRITICAL", False), occurrence("HIGH", True), occurrence("HIGH", False))

    assert told == f"{IMAGE}: 1 CRITICAL, 2 HIGH known; none CRITICAL has a fix"


def test_nothing_known_is_told() -> None:
    assert scanned()[0] == f"{IMAGE}: nothing known; none CRITICAL has a fix"


@pytest.mark.parametrize(
    ("region", "place"),
    [("europe-west1", "europe"), ("asia-east1", "asia"), ("us-east1", "us"), ("me-central2", "us")],
)
def test_the_scan_stays_on_the_continent_where_there_is_one(region: str, place: str) -> None:
    _, cloud = scanned(region=region)

    assert all(f"--location={place}" in words for words in cloud.calls)


def test_a_scan_that_came_to_nothing_is_no_clean_bill() -> None:
    class Silent(InProcess):
        def run(self, *words: str, seconds: float = 0) -> str:
            return "null"

    with pytest.raises(GcloudFailed, match="came to nothing"):
        scan(Silent(PROJECT, "us-east1", Cloud({})), IMAGE)
