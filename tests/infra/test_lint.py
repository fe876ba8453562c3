"""infra/ is what the provider's schema and Terraform's language allow, and the lint finds what is not."""

import re
from pathlib import Path

import pytest

from tests.infra.configuration import Expression, read_file, references
from tests.infra.lint import INFRA, lint
from tests.infra.schema import PROVIDER_VERSION, load_schema, why_missing

pytestmark = pytest.mark.skipif(why_missing() is not None, reason=why_missing() or "")

SOUND = """
variable "project" {
  description = "Id of the project."
  type        = string
}

locals {
  days = { events = 7, other = 30 }
}

data "google_project" "this" {
  project_id = var.project
}

resource "google_firestore_database" "events" {
  name                    = "(default)"
  location_id             = "eur3"
  type                    = "FIRESTORE_NATIVE"
  delete_protection_state = "DELETE_PROTECTION_ENABLED"
}

resource "google_cloud_run_v2_service" "proxy" {
  for_each = local.days

  name     = "proxy-${each.key}"
  location = "europe-west1"

  template {
    timeout = "3600s"

    containers {
      image = module.names.images["proxy"]

      dynamic "env" {
        for_each = { DATABASE = google_firestore_database.events.name }
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, template[0].containers[0].image]
  }
}

module "names" {
  source  = "./modules/names"
  project = data.google_project.this.number
}
"""
NAMES = """
variable "project" {
  description = "Id of the project."
  type        = string
}

output "images" {
  description = "By service."
  value       = { proxy = "${var.project}/proxy" }
}
"""


def found_in(directory: Path, root: str, names: str = NAMES) -> list[str]:
    """What the lint says of a root module and the one it calls, without the places."""
    (directory / "modules" / "names").mkdir(parents=True)
    (directory / "main.tf").write_text(root)
    (directory / "modules" / "names" / "main.tf").write_text(names)
    return [each.what for each in lint(directory, load_schema())]


def planted(old: str, new: str) -> str:
    assert SOUND.count(old) == 1, old
    return SOUND.replace(old, new)


def test_infra_has_nothing_that_the_provider_does_not_know_and_lacks_nothing_it_requires() -> None:
    assert [str(each) for each in lint(INFRA, load_schema())] == []


def test_the_schema_is_of_the_version_that_infra_asks_for() -> None:
    asked_for = re.search(r'version = "~> (\d+\.\d+)"', (INFRA / "versions.tf").read_text())

    assert asked_for
    assert PROVIDER_VERSION.startswith(asked_for[1] + ".")
    assert load_schema().version == PROVIDER_VERSION


def test_nothing_is_found_in_what_is_sound(tmp_path: Path) -> None:
    assert found_in(tmp_path, SOUND) == []


DATABASE, PROXY = "google_firestore_database.events", "google_cloud_run_v2_service.proxy"


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (
            'resource "google_firestore_database" "events"',
            'resource "google_firestore_databse" "events"',
            "unknown resource google_firestore_databse: not in google 6.50.0",
        ),
        (
            'data "google_project" "this"',
            'data "google_projct" "this"',
            "unknown data source google_projct: not in google 6.50.0",
        ),
        (
            "delete_protection_state =",
            "delete_protection_stat  =",
            f"{DATABASE}: unknown argument delete_protection_stat (is delete_protection_state meant?)",
        ),
        (
            'timeout = "3600s"',
            'time_out = "3600s"',
            "template: unknown argument time_out (is timeout meant?)",
        ),
        ("value = env.value", "valu  = env.value", "content: unknown argument valu (is value meant?)"),
        ("    containers {", "    container {", "template: unknown block container (is containers meant?)"),
        ('dynamic "env"', 'dynamic "envs"', "containers: unknown block envs (is env meant?)"),
        (
            "  lifecycle {",
            "  traffic = { percent = 100 }\n  lifecycle {",
            f"{PROXY}: traffic is a block: write `traffic {{ … }}` without =",
        ),
        (
            '  location_id             = "eur3"',
            "  location_id {}",
            f"{DATABASE}: location_id is an argument: write `location_id = …`",
        ),
        (
            '  type                    = "FIRESTORE_NATIVE"\n',
            "  # no type\n",
            f"{DATABASE}: missing required argument type",
        ),
        ("          name  = env.key\n", "", "content: missing required argument name"),
        (
            '"FIRESTORE_NATIVE"',
            '"NATIVE"',
            f'{DATABASE}: type is to be one of FIRESTORE_NATIVE, DATASTORE_MODE, not "NATIVE"',
        ),
        ('"eur3"', '["eur3"]', f"{DATABASE}: location_id is to be a string, not a list"),
        (
            'timeout = "3600s"',
            'max_instance_request_concurrency = "many"',
            'template: max_instance_request_concurrency is to be a number, not "many"',
        ),
        ("  lifecycle {", "  template {}\n  lifecycle {", f"{PROXY}: block template may stand once"),
        ("[client, ", "[client]\n    prevent_destry = [", "lifecycle: unknown argument prevent_destry"),
        (
            "project_id = var.project",
            "project_id = var.projct",
            "undeclared variable projct (is project meant?)",
        ),
        ("for_each = local.days", "for_each = local.day", "undeclared local value day (is days meant?)"),
        (
            "= google_firestore_database.events.name",
            "= google_firestore_database.event.name",
            "google_firestore_database.event is declared nowhere",
        ),
        (
            "= google_firestore_database.events.name",
            "= google_firestore_database.events.nam",
            f"{DATABASE} has no attribute nam",
        ),
        (
            "data.google_project.this.number",
            "data.google_project.that.number",
            "data.google_project.that is declared nowhere (is data.google_project.this meant?)",
        ),
        (
            "module.names.images",
            "module.names.image",
            "undeclared output of module.names image (is images meant?)",
        ),
        ("module.names.images", "module.name.images", "undeclared module name (is names meant?)"),
        (
            "  project = data",
            "  projct  = data",
            "module.names: unknown argument projct (is project meant?)",
        ),
        (
            "  project = data.google_project.this.number\n",
            "",
            "module.names: missing required argument project",
        ),
        ('"./modules/names"', '"./modules/name"', "module.names: no module at ./modules/name"),
        ("  days = {", "  old  = 1\n  days = {", "nothing reads local value old"),
        (
            "locals {\n  days",
            'variable "old" {\n  type = string\n  description = "?"\n  validation {\n'
            '    condition = var.old != ""\n    error_message = "?"\n  }\n}\nlocals {\n  days',
            "nothing reads variable old",
        ),
        ('description = "Id of the project."\n', "", "var.project: missing required argument description"),
        ("\nlocals {", "\nlocal {", "unknown block local"),
        (
            'module "names"',
            'resource "google_firestore_database" "events" {\n  name = "b"\n  location_id = "eur3"\n'
            '  type = "FIRESTORE_NATIVE"\n}\nmodule "names"',
            f"{DATABASE} is declared twice",
        ),
    ],
)
def test_it_finds_what_was_planted(tmp_path: Path, old: str, new: str, found: str) -> None:
    assert any(each.startswith(found) for each in found_in(tmp_path, planted(old, new)))


def test_it_finds_a_required_block_missing_unless_it_is_dynamic(tmp_path: Path) -> None:
    bare = 'resource "google_cloud_run_v2_service" "proxy" {\n  name = "a"\n  location = "b"\n%s}\n'
    dynamic = '  dynamic "template" {\n    for_each = [1]\n    content {}\n  }\n'

    assert found_in(tmp_path / "a", bare % "") == [f"{PROXY}: missing required block template"]
    assert found_in(tmp_path / "b", bare % dynamic) == []


def test_it_finds_values_of_variables_that_there_are_not(tmp_path: Path) -> None:
    (tmp_path / "staging.tfvars").write_text('project = "a"\nregon = "b"\n')

    assert found_in(tmp_path, SOUND) == ["value of undeclared variable regon"]


def test_it_finds_what_is_no_hcl(tmp_path: Path) -> None:
    assert found_in(tmp_path, planted("template {", "template = {{")) == ["is no HCL: Unexpected token '{'"]


def test_it_says_the_file_and_the_line(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(planted("location_id ", "location-id "))

    lines = [str(each) for each in lint(tmp_path, load_schema())]

    assert any(each.startswith(f"{tmp_path / 'main.tf'}:17: {DATABASE}: unknown argument") for each in lines)


@pytest.mark.parametrize(
    ("expression", "chains"),
    [
        ('"a${var.b["x${local.c}"].d}e var.no"', {"var.b.d", "local.c"}),
        ("google_x.y[each.key].name", {"google_x.y.name", "each.key"}),
        ("google_x.y[*].b", {"google_x.y.b"}),
        ("a.b[c.d[e.f]].g", {"a.b.g", "c.d", "e.f"}),
        ('f(var.a, [for k in var.y : "${k}" if k != null]).zz.q', {"var.a", "var.y"}),
        ("{for k, v in local.b : k => {name = v.x} if v != null}", {"local.b", "v.x"}),
        ('"%{if var.t}a{}%{endif}$${var.no}%%{var.no}"', {"var.t"}),
        ('"${jsonencode({a = "}", b = var.z})}"', {"var.z"}),
        ('"<<-EOT\n  a.b \\"${local.a.b}\\"\n  x\n  EOT\n"', {"local.a.b"}),
    ],
)
def test_what_an_expression_refers_to_is_read_from_its_code_alone(expression: str, chains: set[str]) -> None:
    assert {".".join(each) for each in references(Expression(expression))} == chains


def test_text_is_known_and_what_is_computed_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.tf").write_text(
        'locals {\n  a = "x\\n\\"y\\""\n  b = "${var.c}"\n  c = null\n'
        '  d = [-5, "z", { "e" = true, f = var.g }]\n'
        "  e = <<-EOT\n    one\n    two\n  EOT\n}\n"
    )

    (block,) = read_file(tmp_path / "a.tf")

    assert {name: each.value for name, each in block.arguments.items()} == {
        "a": 'x\n"y"',
        "b": Expression('"${var.c}"'),
        "c": None,
        "d": [-5, "z", {"e": True, "f": Expression("var.g")}],
        "e": "one\ntwo",
    }
