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


WRONG = (
    "gcloud run services frob modeltrack-proxy",
    "gcloud run services update modeltrack-proxy --imag=x",
    "gcloud firestore databases restore --destination-database=another",
    "gcloud run services update-traffic modeltrack-proxy --to-latest --to-revisions=a=100",
)


def test_gcloud_knows_every_command_of_releases_and_documents_and_none_that_is_planted(
    tmp_path: Path,
) -> None:
    """All in one, since gcloud takes seconds to start."""
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed: https://cloud.google.com/sdk/docs/install")
    planted = tmp_path / "planted.md"
    planted.write_text(
        "\n".join(("Do this:", "```sh", "# gcloud no comment", *WRONG, "gcloud version", "```"))
    )
    releases = commands_of_a_release()
    documents = [each for document in DOCUMENTS for each in commands_in(document)]
    assert len({each.words for each in releases}) > 8
    assert len(documents) > 50

    refused = refusals([*releases, *documents, *commands_in(planted)], tmp_path)

    assert [each for each in refused if not each.startswith("planted.md")] == []
    assert [each.split(": ")[1] for each in refused] == list(WRONG)


SOME = """Say `gcloud run services list --region=<region>`, as gcloud itself does.

1. Do:

   ```
   gcloud run revisions list --region=r
   ```

```
x=$(gcloud projects describe <project> --format='value(projectNumber)') \\
  && gcloud run jobs list --region=$REGION | wc -l
```
"""


def test_commands_are_found_wherever_a_document_has_them(tmp_path: Path) -> None:
    document = tmp_path / "some.md"
    document.write_text(SOME)

    assert sorted(each.words for each in commands_in(document)) == [
        "gcloud projects describe word --format='value(projectNumber)'",
        "gcloud run jobs list --region=word",
        "gcloud run revisions list --region=r",
        "gcloud run services list --region=word",
    ]
