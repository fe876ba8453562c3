"""Variables and outputs of every module stand where one looks for them, in the order of the alphabet."""

from pathlib import Path

import pytest

from tests.infra.configuration import Block, read_module
from tests.infra.lint import INFRA

MODULES = (INFRA, *sorted((INFRA / "modules").iterdir()))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
@pytest.mark.parametrize(("kind", "file"), [("variable", "variables.tf"), ("output", "outputs.tf")])
def test_they_stand_in_their_file_by_the_alphabet(module: Path, kind: str, file: str) -> None:
    found = read_module(module).of_kind(kind)
    names = [each.labels[0] for each in found]

    assert {each.place.file.name for each in found} <= {file}
    assert names == sorted(names)


def is_secret(variable: Block) -> bool:
    return bool(variable.value("sensitive")) or variable.labels[0].endswith(
        ("_secret", "_password", "_token")
    )


def test_no_variable_is_a_secret() -> None:
    """Values of secrets are put in with gcloud, so that neither a file nor the state ever has them."""
    assert not [each.labels[0] for each in read_module(INFRA).of_kind("variable") if is_secret(each)]
