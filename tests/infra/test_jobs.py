"""Each job runs as infra/ has it: a function of its own, on the schedule that the table tells."""

import re
from typing import Any

import pytest

from api_service.functions import main
from api_service.functions.jobs import JOBS
from metering.queued_recovery import CLAIM_SECONDS
from tests.infra.lint import INFRA
from tests.infra.outputs import outputs_of, why_no_terraform

pytestmark = pytest.mark.skipif(why_no_terraform() is not None, reason=why_no_terraform() or "")

CRON = {
    "minute": r"\* \* \* \* \*",
    "5 minutes": r"\*/5 \* \* \* \*",
    "hour": r"[0-5]?\d \* \* \* \*",
    "day, after 06:00 UTC": r"[0-5]?\d 6 \* \* \*",
}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return outputs_of(
        "names",
        tmp_path_factory.mktemp("terraform"),
        project="example-project",
        project_number="123456789012",
        region="europe-west1",
        domain="",
        environment="production",
    )


def test_every_job_is_a_function_and_every_function_a_job(names: dict[str, Any]) -> None:
    assert names["jobs"].keys() == names["functions"].keys() == {job.name for job in JOBS}


def test_every_function_has_an_entry_point_of_that_name() -> None:
    assert all(callable(getattr(main, job.name)) for job in JOBS)
    assert '"--source", "api_service/functions/main.py"' in (INFRA / "functions.tf").read_text()


def test_schedules_are_those_that_the_table_tells(names: dict[str, Any]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", (INFRA / "README.md").read_text(), re.MULTILINE)

    assert len(rows) == len(JOBS)
    for job, every in rows:
        assert re.fullmatch(CRON[every.strip()], names["jobs"][job]["schedule"]), job


def test_a_run_of_recovery_ends_before_its_claim_does(names: dict[str, Any]) -> None:
    assert names["jobs"]["recover"]["timeout_seconds"] < CLAIM_SECONDS
