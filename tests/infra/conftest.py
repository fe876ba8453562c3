"""Terraform over infra/ and its plans, made once."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.infra.environments import PLANS
from tests.infra.lint import INFRA
from tests.infra.plans import NO_TERRAFORM, Plan, Terraform, copied, named_in, provided
from tests.infra.schema import load_schema, why_missing

# Besides those of infra/: what tests plant wrong things in.
PLANTED = {"google_cloud_run_v2_service", "google_project"}


@pytest.fixture(scope="session")
def terraform_environment() -> Iterator[dict[str, str]]:
    """Where Terraform finds the stand-in; where one of both is missing, a skip that says what to do."""
    missing = why_missing() or (None if shutil.which("terraform") else NO_TERRAFORM)
    if missing:
        pytest.skip(missing)
    with provided(load_schema().only(named_in(INFRA) | PLANTED)) as environment:
        yield environment


@pytest.fixture(scope="session")
def terraform(terraform_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform over infra/ as it is."""
    return copied(terraform_environment, tmp_path_factory.mktemp("infra"))


@pytest.fixture(scope="session")
def plan_of(terraform: Terraform) -> Callable[[str], Plan]:
    """What an apply would make, by the name of the deployment (`PLANS`)."""

    @cache
    def planned(name: str) -> Plan:
        file, variables = PLANS[name]
        return terraform.plan(file, **variables)

    return planned


@pytest.fixture(scope="session")
def applied(terraform: Terraform, plan_of: Callable[[str], Plan]) -> Callable[[str], Plan]:
    """What an apply makes, by the name of the deployment (`APPLIED`): nothing in it is unknown any more."""

    @cache
    def made(name: str) -> Plan:
        return terraform.apply(plan_of(name))

    return made
