"""A release replaces exactly what there is: both services, and a function for each job."""

import re

from api_service.functions.jobs import JOBS
from infra.release.services import ALL, TARGETS
from tests.release.checkout import ROOT

NAMES = (ROOT / "infra/modules/names/main.tf").read_text()


def test_there_is_a_function_for_every_job() -> None:
    assert sorted(TARGETS) == sorted(job.name for job in JOBS)


def test_services_are_called_as_terraform_calls_them() -> None:
    services = re.findall(
        r'^    \w+ += "(modeltrack-\w+)"$', NAMES.partition("services = {")[2].partition("}")[0], re.M
    )
    jobs = re.findall(r"^    (\w+) += \{ schedule", NAMES, re.MULTILINE)

    assert sorted(each.name for each in ALL) == sorted([*services, *(f"modeltrack-{job}" for job in jobs)])
