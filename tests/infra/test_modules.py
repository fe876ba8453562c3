"""infra/ is laid out as Terraform lays it out, and its modules without resources pass their own tests."""

import re
import shutil
from pathlib import Path

import pytest

from tests.infra.configuration import read_module
from tests.infra.lint import INFRA
from tests.infra.plans import NO_TERRAFORM, TerraformError, clean_environment, run_terraform

pytestmark = [
    pytest.mark.xdist_group("infra"),
    pytest.mark.skipif(shutil.which("terraform") is None, reason=NO_TERRAFORM),
]

MODULES = sorted(each.name for each in (INFRA / "modules").iterdir())


def is_free_of_providers(module: str) -> bool:
    read = read_module(INFRA / "modules" / module)
    return not [
        each for each in (*read.resources(), *read.of_kind("data")) if each.labels[0] != "terraform_data"
    ]


FREE = [each for each in MODULES if is_free_of_providers(each)]


def run_tests(module: Path) -> str:
    """What `terraform test` says, without any provider."""
    run_terraform(module, clean_environment(), "init", "-input=false")
    return run_terraform(module, clean_environment(), "test")


def a_copy(module: str, directory: Path) -> Path:
    """The module in a copy of infra/, which it may read files beside."""
    shutil.copytree(INFRA, directory / "infra", ignore=shutil.ignore_patterns(".terraform"))
    for each in INFRA.parent.glob("firestore.*"):
        shutil.copy(each, directory)
    return directory / "infra" / "modules" / module


def test_everything_is_formatted() -> None:
    run_terraform(INFRA, clean_environment(), "fmt", "-check", "-diff", "-recursive")


def test_a_file_that_is_not_formatted_is_found(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text("locals {\n  a = 1\n  long = 2\n}\n")

    with pytest.raises(TerraformError, match=re.escape("+  a    = 1")):
        run_terraform(tmp_path, clean_environment(), "fmt", "-check", "-diff", "-recursive")


@pytest.mark.parametrize("module", FREE)
def test_a_module_without_resources_passes_its_tests(tmp_path: Path, module: str) -> None:
    said = run_tests(a_copy(module, tmp_path))

    passed = re.search(r"Success! (\d+) passed, 0 failed", said)
    assert passed, said
    assert int(passed[1]) > 0


def test_a_module_whose_test_fails_is_found(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('output "planted" {\n  value = 1\n}\n')
    (tmp_path / "planted.tftest.hcl").write_text(
        'run "planted" {\n  command = plan\n'
        '  assert {\n    condition = output.planted == 2\n    error_message = "nought"\n  }\n}\n'
    )

    with pytest.raises(TerraformError, match="nought"):
        run_tests(tmp_path)


def test_there_are_modules_without_resources() -> None:
    assert {"indexes", "names"} <= set(FREE)
