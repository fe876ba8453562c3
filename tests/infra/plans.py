"""What Terraform itself would make of infra/, the stand-in in place of its provider."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.infra.lint import INFRA
from tests.infra.schema import Schema
from tests.infra.stand_in_provider import stand_in_provider

SECONDS_MAX = 100
# Everything is read relative to infra/, and nothing may be written there.
BESIDE = ("firestore.indexes.json", "firestore.rules")
NO_TERRAFORM = (
    "Terraform is missing, so nobody looks at what it makes of infra/: install 1.9 or newer, "
    "https://developer.hashicorp.com/terraform/install"
)


class Resource(NamedTuple):
    """One resource, with those of its arguments that are known."""

    address: str
    type: str
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the block it comes from, without its module and its key."""
        return self.address.split("[")[0].rsplit(".", 1)[-1]


class Plan(NamedTuple):
    """Everything that there would be after an apply, or is."""

    resources: tuple[Resource, ...]
    file: str = ""
    changes: tuple[tuple[str, str], ...] = ()

    def changed(self) -> set[tuple[str, str]]:
        """What is not as it was, by address: `create`, `update`, `delete`, or `delete, create`."""
        return {each for each in self.changes if each[1] not in ("no-op", "read")}

    def of_type(self, *types: str) -> list[Resource]:
        """The resources of those types."""
        return [each for each in self.resources if each.type in types]


class TerraformError(Exception):
    """It refused; the text is its own."""


class Terraform:
    """A copy of infra/ that Terraform is run in."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self._root = root
        self._environment = environment
        self._planned = 0

    def validate(self) -> None:
        """Let it judge the root module and those it calls.

        Raises:
            TerraformError: something does not fit.
        """
        self._run("validate")

    def plan(self, file: str = "", **variables: Any) -> Plan:
        """What it would make of an empty project, by a `*.tfvars` file and variables besides.

        Raises:
            TerraformError: something does not fit.
        """
        return self._plan([], file, variables)

    def plan_again(self, made: Plan, file: str = "", **variables: Any) -> Plan:
        """What it would make of what an apply has made.

        Raises:
            TerraformError: something does not fit.
        """
        return self._plan([f"-state={made.file}"], file, variables)

    def _plan(self, state: list[str], file: str, variables: dict[str, Any]) -> Plan:
        self._planned += 1
        out = f"plan-{self._planned}"
        (self._root / "besides.tfvars.json").write_text(json.dumps(variables))
        given = [f"-var-file={each}" for each in (file, "besides.tfvars.json") if each]
        self._run("plan", "-input=false", "-lock=false", "-refresh=false", f"-out={out}", *state, *given)
        shown = json.loads(self._run("show", "-json", out))
        changes = (
            (each["address"], ", ".join(each["change"]["actions"])) for each in shown["resource_changes"]
        )
        return Plan(tuple(_resources(shown["planned_values"]["root_module"])), out, tuple(changes))

    def apply(self, plan: Plan) -> Plan:
        """What it makes by a plan; what was unknown there is made up.

        Raises:
            TerraformError: something does not fit.
        """
        state = f"{plan.file}.tfstate"
        self._run("apply", "-input=false", "-lock=false", f"-state-out={state}", plan.file)
        shown = json.loads(self._run("show", "-json", state))
        return Plan(tuple(_resources(shown["values"]["root_module"])), state)

    def _run(self, *arguments: str) -> str:
        return run_terraform(self._root, self._environment, *arguments)


def run_terraform(directory: Path, environment: dict[str, str], *arguments: str) -> str:
    """What it prints.

    Raises:
        TerraformError: it fails.
    """
    color = [] if arguments[0] == "show" else ["-no-color"]
    command, *rest = arguments
    ran = subprocess.run(
        ["terraform", command, *color, *rest],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    if ran.returncode:
        raise TerraformError(ran.stdout + ran.stderr)
    return ran.stdout


def clean_environment() -> dict[str, str]:
    """The environment without anything that tells Terraform where to look, and whom to call."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return {**kept, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}


@contextmanager
def provided(schema: Schema) -> Iterator[dict[str, str]]:
    """The environment in which Terraform finds the stand-in as its provider."""
    with stand_in_provider(schema) as found:
        yield {**clean_environment(), "TF_REATTACH_PROVIDERS": found}


def named_in(infra: Path) -> set[str]:
    """The types of resources and data sources that the files there name."""
    return {found for file in infra.rglob("*.tf") for found in re.findall(r"google_\w+", file.read_text())}


def copied(environment: dict[str, str], directory: Path, infra: Path = INFRA) -> Terraform:
    """Terraform over a copy of infra/ in that directory, ready to plan, its state nowhere."""
    root = directory / "infra"
    shutil.copytree(infra, root, ignore=shutil.ignore_patterns(".terraform", "*.tfstate*"))
    for name in BESIDE:
        shutil.copy(INFRA.parent / name, directory / name)
    (root / "state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    run_terraform(root, environment, "init", "-input=false")
    return Terraform(root, environment)


def _resources(module: dict[str, Any]) -> Iterator[Resource]:
    for each in module.get("resources", ()):
        if each["mode"] == "managed":
            yield Resource(each["address"], each["type"], each["values"])
    for inner in module.get("child_modules", ()):
        yield from _resources(inner)
