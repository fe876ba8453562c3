"""Checkov finds nothing in infra/ and the images that is not explained, and nothing is explained in vain.

Where a rule of its does not fit, the resource says so inside: `# checkov:skip=CKV_GCP_62: why`. `make infra`
installs it, apart from everything else: it brings a hundred packages.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.infra.lint import INFRA
from tests.infra.schema import MADE

HOME, MISSING = MADE / "checkov", MADE / "checkov-missing"
INSTALLED = MADE / "checkov-installed"
SECONDS_MAX = 240
WORDS_OF_AN_EXPLANATION = 5
SKIP = re.compile(r"[ \t]*# checkov:skip=(\w+):?(.*)\n")
DOCKERFILES = ("proxy_service/Dockerfile", "api_service/Dockerfile")

pytestmark = [
    pytest.mark.xdist_group("infra"),
    pytest.mark.timeout(SECONDS_MAX + 60),
    pytest.mark.skipif(
        not INSTALLED.exists(),
        reason=MISSING.read_text().strip() if MISSING.exists() else "no checkov: run `make infra`",
    ),
]

# One that fails, and one that says no reason.
PLANTED = """
resource "google_storage_bucket" "open" {
  name     = "open"
  location = "EU"
}

resource "google_pubsub_topic" "silent" {
  # checkov:skip=CKV_GCP_83:
  name = "silent"
}
"""


class Finding(NamedTuple):
    """A rule that something breaks; `why` it may, where it says so."""

    file: str
    thing: str
    rule: str
    why: str | None = None


class Verdict(NamedTuple):
    """What checkov says of a folder."""

    passed: int
    failed: set[Finding]
    skipped: set[Finding]
    unread: set[str]

    def of(self, folder: str) -> "Verdict":
        """The same of what lies in there, named from there."""
        prefix = f"/{folder}/"

        def inside(found: set[Finding]) -> set[Finding]:
            here = (each for each in found if each.file.startswith(prefix))
            return {each._replace(file=each.file[len(prefix) :]) for each in here}

        unread = {each for each in self.unread if prefix in each}
        return Verdict(self.passed, inside(self.failed), inside(self.skipped), unread)


def judged(folder: Path) -> Verdict:
    """What it says, asking nobody."""
    frameworks = ["--framework", "terraform", "dockerfile"]
    asked = [
        "--directory",
        ".",
        *frameworks,
        "--skip-download",
        "--compact",
        "--soft-fail",
        "--output",
        "json",
    ]
    ran = subprocess.run(
        [str(HOME.resolve() / "bin" / "checkov"), *asked],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=True,
    )
    answered = json.loads(ran.stdout)
    reports: list[dict[str, Any]] = answered if isinstance(answered, list) else [answered]
    results = [each["results"] for each in reports]
    return Verdict(
        sum(len(each["passed_checks"]) for each in results),
        {finding(one) for each in results for one in each["failed_checks"]},
        {finding(one) for each in results for one in each["skipped_checks"]},
        {file for each in results for file in each["parsing_errors"]},
    )


def finding(said: dict[str, Any]) -> Finding:
    why = said["check_result"].get("suppress_comment")
    file, thing = said["file_path"], said["resource"]
    whole = file.endswith("Dockerfile")  # of which it names the instruction only where it fails
    return Finding(file, "" if whole else thing, said["check_id"], why and why.strip())


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """Of everything as it is, of the same without its explanations, and of what is planted."""
    folder = tmp_path_factory.mktemp("checkov")
    for name in ("as_it_is", "bare"):
        shutil.copytree(INFRA, folder / name / "infra", ignore=shutil.ignore_patterns(".terraform"))
        for dockerfile in DOCKERFILES:
            (folder / name / dockerfile).parent.mkdir()
            shutil.copy(INFRA.parent / dockerfile, folder / name / dockerfile)
    for file in (*(folder / "bare").rglob("*.tf"), *(folder / "bare").rglob("Dockerfile")):
        file.write_text(SKIP.sub("", file.read_text()))
    (folder / "planted").mkdir()
    (folder / "planted" / "main.tf").write_text(PLANTED)
    return judged(folder)


def unexplained(verdict: Verdict) -> set[Finding]:
    """What fails, and what is skipped without a sentence that says why."""
    silent = {each for each in verdict.skipped if len((each.why or "").split()) < WORDS_OF_AN_EXPLANATION}
    return verdict.failed | silent


def test_nothing_fails_and_every_skip_says_why(verdict: Verdict) -> None:
    ours = verdict.of("as_it_is")
    print(f"checkov: {verdict.passed} checks passed, {len(ours.skipped)} explained")  # noqa: T201 - by `pytest -s`

    assert unexplained(ours) == set()


def test_every_file_is_read(verdict: Verdict) -> None:
    assert verdict.unread == set()
    assert verdict.passed > 0


def test_nothing_is_explained_that_would_not_fail(verdict: Verdict) -> None:
    explained = {each._replace(why=None) for each in verdict.of("as_it_is").skipped}

    assert verdict.of("bare").failed == explained


def test_an_unexplained_failure_and_an_unexplained_skip_are_found(verdict: Verdict) -> None:
    found = {(each.thing, each.rule) for each in unexplained(verdict.of("planted"))}

    assert ("google_storage_bucket.open", "CKV_GCP_29") in found
    assert ("google_pubsub_topic.silent", "CKV_GCP_83") in found
