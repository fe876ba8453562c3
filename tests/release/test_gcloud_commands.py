"""Every gcloud command in our documents and releases is one that gcloud knows."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.release.error_rates import answers_by_revision
from infra.release.rollout import Rollout
from infra.release.scan import scan
from infra.release.services import PROXY
from infra.release.traffic import Traffic
from metering.clock import SystemClock
from tests.release.checkout import ROOT
from tests.release.cloud import IMAGES, PROJECT, REGION, REPOSITORY, InProcess, cloud_of
from tests.release.gcloud_commands import Command, commands_in, refusals, told
from tests.release.sites import Answer, serving

DOCUMENTS = sorted([
    *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "infra/README.md", *ROOT.glob("infra/*.tf"),
    ROOT / "cloudbuild.yaml",
])  # fmt: skip


@pytest.fixture(autouse=True)
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed: https://cloud.google.com/sdk/docs/install")
    monkeypatch.chdir(tmp_path)


def commands_of_a_release() -> list[Command]:
    cloud = cloud_of([PROXY])
    cloud.services[PROXY.name].sidecars = {"collector": "a-scraper"}
    cloud.secrets = {"a-key": "x"}
    gcloud = InProcess(PROJECT, REGION, cloud)

    def rates(*_asked: object) -> Mapping[str, object]:
        return {}

    rollout = Rollout(Traffic(gcloud), rates, SystemClock(), lambda _: None, lambda _: None)  # type: ignore[arg-type]
    rollout.shift(rollout.deploy([PROXY], IMAGES))
    Traffic(gcloud).run_job(PROXY)
    scan(gcloud, f"{REPOSITORY}/proxy:release")
    gcloud.run("secrets", "versions", "access", "latest", "--secret=a-key")
    with serving(lambda _: Answer(200, {})) as url:
        answers_by_revision(gcloud, PROXY, SystemClock().now(), SystemClock().now(), url)
    return [Command(told(words), "infra/release") for words in cloud.calls]


def test_gcloud_knows_every_command_that_a_release_runs() -> None:
    commands = commands_of_a_release()

    assert len({each.words for each in commands}) > 8
    assert refusals(commands) == []


def test_gcloud_knows_every_command_in_our_documents() -> None:
    commands = [each for document in DOCUMENTS for each in commands_in(document)]

    assert len(commands) > 50
    assert refusals(commands) == []


WRONG = (
    "gcloud run services frob modeltrack-proxy",
    "gcloud run services update modeltrack-proxy --imag=x",
    "gcloud firestore databases restore --destination-database=another",
    "gcloud run services update-traffic modeltrack-proxy --to-latest --to-revisions=a=100",
)


def test_commands_that_gcloud_does_not_know_are_found(tmp_path: Path) -> None:
    document = tmp_path / "planted.md"
    document.write_text(
        "\n".join(("Do this:", "```sh", "# gcloud nothing at all", *WRONG, "gcloud version", "```"))
    )

    assert [each.split(": ")[1] for each in refusals(commands_in(document))] == list(WRONG)


def test_commands_are_found_wherever_a_document_has_them(tmp_path: Path) -> None:
    document = tmp_path / "some.md"
    document.write_text(
        "1. Do:\n\n   ```\n   gcloud run revisions list --region=r\n   ```\nSay `gcloud run services list --region=<region>`, as gcloud itself does.\n\n```\n"
        "x=$(gcloud projects describe <project> --format='value(projectNumber)') \\\n"
        "  && gcloud run jobs list --region=$REGION | wc -l\n```\n"
    )

    assert sorted(each.words for each in commands_in(document)) == [
        "gcloud projects describe word --format='value(projectNumber)'",
        "gcloud run jobs list --region=word",
        "gcloud run revisions list --region=r",
        "gcloud run services list --region=word",
    ]
