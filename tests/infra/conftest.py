"""Terraform over infra/ and its plans, made once."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.infra.environments import PLANS
from tests.infra.plans import NO_TERRAFORM, Plan, Terraform, copied, provided
from tests.infra.schema import load_schema, why_missing


@pytest.fixture(scope="session")
def terraform_environment() -> Iterator[dict[str, str]]:
    """Where Terraform finds the stand-in; where one of both is missing, a skip that says what to do."""
    missing = why_missing() or (None if shutil.which("terraform") else NO_TERRAFORM)
    if missing:
        pytest.skip(missing)
    with provided(load_schema()) as environment:
        yield environment


@pytest.fixture(scope="session")
def terraform(terraform_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform over infra/ as it is."""
    return copied(terraform_environment, tmp_path_factory.mktemp("infra"))


@pytest.fixture(scope="session")
def plan_of(terraform: Terraform) -> Callable[[str], Plan]:
    """What would be made, by the name of the deployment (`PLANS`)."""

    @cache
    def planned(name: str) -> Plan:
        file, variables = PLANS[name]
        return terraform.plan(file, **variables)

    return planned
