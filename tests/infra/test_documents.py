"""infra/README.md tells of everything that is there to be set, and of every file."""

import re

from tests.infra.lint import INFRA

DAY_SECONDS = 86_400
README = (INFRA / "README.md").read_text()


def test_every_variable_is_told_of() -> None:
    variables = re.findall(r'^variable "(\w+)"', (INFRA / "variables.tf").read_text(), re.MULTILINE)

    assert [name for name in variables if f"`{name}`" not in README] == []


def test_every_file_is_told_of_and_no_other() -> None:
    told = set(re.findall(r"`([a-z_]+\.tf(?:vars)?)`", README)) - {"variables.tf"}
    there = {file.name for file in INFRA.glob("*.tf*") if file.suffix in {".tf", ".tfvars"}}

    assert told >= there - {"variables.tf", "outputs.tf", "terraform.tfvars"}
    assert told <= there


def test_variables_stand_in_alphabetical_order() -> None:
    for file in [INFRA / "variables.tf", *INFRA.glob("modules/*/variables.tf")]:
        names = re.findall(r'^variable "(\w+)"', file.read_text(), re.MULTILINE)
        assert names == sorted(names), file


def test_what_is_ones_own_is_set_in_no_file_that_is_committed() -> None:
    own = {"project", "region", "location", "domain", "network", "mail_from", "smtp_host", "proxy_image"}
    for file in INFRA.glob("*.tfvars"):
        if file.name != "terraform.tfvars":
            assert not own & set(re.findall(r"^(\w+)\s*=", file.read_text(), re.MULTILINE)), file.name


def test_copies_live_as_long_as_the_table_of_what_is_kept_says() -> None:
    kept = (INFRA.parent / "docs" / "retention.md").read_text()
    seconds = re.findall(r'retention = "(\d+)s"', (INFRA / "backups.tf").read_text())

    daily, weekly = (int(each) // DAY_SECONDS for each in seconds)
    assert f"{daily} and {weekly} days" in kept
    assert f"{weekly} days after its last deletion" in kept
