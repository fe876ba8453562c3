"""Terraform itself accepts infra/, and applies every kind of deployment, to a stand-in for Google."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.environments import APPLIED, PLANS
from tests.infra.plans import Plan, Terraform, TerraformError, copied

pytestmark = pytest.mark.xdist_group("infra")

PLANTED = """
variable "ingress" {
  type    = string
  default = "INGRESS_TRAFFIC_ALL"
}

data "google_project" "this" {}

resource "google_cloud_run_v2_service" "proxy" {
  name     = "proxy-${data.google_project.this.number}"
  location = "europe-west1"
  ingress  = var.ingress

  template {
    containers {
      image = "image"
    }
  }
}

output "uri" {
  value = google_cloud_run_v2_service.proxy.uri
}
"""


def test_terraform_accepts_infra(terraform: Terraform) -> None:
    terraform.validate()


@pytest.mark.parametrize("name", PLANS)
def test_terraform_plans_every_kind_of_deployment(plan_of: Callable[[str], Plan], name: str) -> None:
    print(f"{name}: {len(plan_of(name).resources)} resources")  # noqa: T201 - shown by `pytest -s`

    assert plan_of(name).of_type("google_firestore_database")


@pytest.mark.parametrize("name", APPLIED)
def test_terraform_makes_what_it_planned(
    plan_of: Callable[[str], Plan], applied: Callable[[str], Plan], name: str
) -> None:
    planned, made = ({each.address for each in plan.resources} for plan in (plan_of(name), applied(name)))

    assert made == planned


def test_the_second_apply_adds_to_the_first_and_takes_nothing_away(
    terraform: Terraform, applied: Callable[[str], Plan]
) -> None:
    founded = applied("foundation")
    file, variables = PLANS["production"]

    second = terraform.plan_again(founded, file, **variables)

    assert {action for _, action in second.changed()} == {"create"}
    assert len(second.changed()) == len(second.resources) - len(founded.resources)


def test_an_apply_leaves_what_there_is_and_the_images_that_releases_chose(
    terraform: Terraform, applied: Callable[[str], Plan]
) -> None:
    file, variables = PLANS["everything"]
    others = {name: variables[name].replace("0123", "3210") for name in ("proxy_image", "api_image")}

    again = terraform.plan_again(applied("everything"), file, **(variables | others))

    assert again.changed() == set()


def test_a_changed_setting_changes_what_has_it_and_nothing_else(
    terraform: Terraform, applied: Callable[[str], Plan]
) -> None:
    file, variables = PLANS["everything"]

    again = terraform.plan_again(applied("everything"), file, **(variables | {"proxy_instances_max": 7}))

    assert again.changed() == {
        ("module.proxy[0].google_cloud_run_v2_service.this", "update"),
        ('google_monitoring_alert_policy.alert["instances_at_bound"]', "update"),
    }


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        ("  ingress  =", "  ingres   =", 'An argument named "ingres" is not expected here'),
        ("template {", "templat {", 'Blocks of type "templat" are not expected here'),
        ('      image = "image"\n', "", 'The argument "image" is required'),
        (
            'resource "google_cloud_run_v2_service"',
            'resource "google_cloud_run_v3_service"',
            "Invalid resource type",
        ),
        (
            "proxy.uri",
            "proxy.url",
            'This object has no argument, nested block, or exported attribute named "url"',
        ),
        ("= var.ingress", "= [var.ingress]", "string required"),
        ('"INGRESS_TRAFFIC_ALL"', '"ALL"', "ingress is to be one of INGRESS_TRAFFIC_ALL"),
        ("this.number}", 'this.number + "x"}', "Invalid operand"),
    ],
)
def test_terraform_refuses_what_was_planted(
    terraform_environment: dict[str, str], tmp_path: Path, old: str, new: str, refusal: str
) -> None:
    assert PLANTED.count(old) == 1, old
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "main.tf").write_text(PLANTED.replace(old, new))

    with pytest.raises(TerraformError) as refused:
        copied(terraform_environment, tmp_path / "copy", tmp_path / "planted").plan()

    assert refusal in " ".join(str(refused.value).replace("\n", " ").split())
