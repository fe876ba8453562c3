"""The pages for operators say what there is: alerts, secrets, variables, commands."""

import re
from pathlib import Path

import pytest

from infra.release.rollout import PERCENTS
from infra.release.services import TARGETS
from tests.release.checkout import ROOT, build

PAGES = sorted((ROOT / "docs/operations").glob("*.md"))


def page(name: str) -> str:
    return (ROOT / "docs/operations" / name).read_text()


def test_the_first_deploy_takes_ten_commands() -> None:
    block = page("first-deploy.md").partition("```sh")[2].partition("```")[0]
    commands = re.findall(r"^(?:gcloud|terraform|openssl)\b", block, re.MULTILINE)

    assert re.findall(r"^# (\d+)\.", block, re.MULTILINE) == [str(number) for number in range(1, 11)]
    assert len(commands) == 10


def test_every_alert_has_something_to_do() -> None:
    text = page("incidents.md")
    policies = ROOT / "infra/alert_policies.tf"
    titles = re.findall(r'^ +title += "([^"$]+)"$', policies.read_text(), re.MULTILINE)
    events = re.findall(r"^ +events += \[(.+)\]$", (ROOT / "infra/alarms.tf").read_text(), re.MULTILINE)
    said = [" / ".join(re.findall(r'"([^"]+)"', each)) for each in events]

    assert len(titles) > 10
    assert len(said) > 4
    for alert in (*titles, *said, *(f"the job {target} does not run" for target in TARGETS)):
        assert f"**{alert}**" in text, alert


def test_every_secret_has_its_rotation() -> None:
    names = (ROOT / "infra/modules/names/main.tf").read_text().partition("secrets = {")[2].partition("}")[0]

    for secret in [*re.findall(r'"(modeltrack-[a-z-]+)"', names), build()["substitutions"]["_CANARY_SECRET"]]:
        assert f"| `{secret}` |" in page("secrets.md"), secret


def test_the_steps_of_a_release_are_told_as_they_are() -> None:
    text = page("upgrade.md")

    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [step["id"] for step in build()["steps"]]
    assert ", ".join(str(percent) for percent in PERCENTS) + " %" in text
    for name in re.findall(r"\b_[A-Z_]+\b", text):
        assert name in build()["substitutions"], name


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_terraform_variables_and_links_lead_somewhere(file: Path) -> None:
    text = file.read_text()
    declared = set(re.findall(r'^variable "(\w+)"', (ROOT / "infra/variables.tf").read_text(), re.MULTILINE))

    for name in re.findall(r"-var=\"?(\w+)=", text) + re.findall(r"`(\w+) = ", text):
        assert name in declared, name
    for link in re.findall(
        r"\]\((?!https?:)([^)#]+)", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    ):
        assert (file.parent / link).exists(), link
