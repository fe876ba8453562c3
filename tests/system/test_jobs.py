"""Background jobs in the API process: they run beside those of a second process, and end with it."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from api_service.functions.jobs import JOBS
from tests.system.processes import Process, eventually, free_port, stop_all

EXIT_SECONDS_MAX = 10  # what a platform gives


@pytest.fixture
def apis(tmp_path: Path) -> Iterator[list[Process]]:
    """Two API services on one folder and store."""
    started: list[Process] = []
    try:
        for number in range(2):
            port = free_port()
            settings = {"PORT": str(port), "DATA_DIR": str(tmp_path / "data")}
            log = tmp_path / f"api-{number}.log"
            started.append(Process("api_service", port=port, log=log, settings=settings))
        yield started
    finally:
        stop_all(started)


def runs(api: Process) -> dict[tuple[str, str], float]:
    """How often each job ended how."""
    text = requests.get(f"{api.url}/metrics", timeout=10).text
    return {
        (sample.labels["job"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name == "modeltrack_job_runs"
    }


def test_every_job_runs_in_each_of_two_processes_and_none_fails(apis: list[Process]) -> None:
    for api in apis:
        eventually(
            lambda api=api: all(runs(api).get((job.name, "done")) for job in JOBS),  # type: ignore[misc]  # inferred
            what="a run of every job",
        )

    assert not any(count for api in apis for (_, outcome), count in runs(api).items() if outcome != "done")
    began = time.monotonic()
    for api in apis:
        api.send(signal.SIGTERM)
    assert [api.wait() for api in apis] == [0, 0]
    assert time.monotonic() - began < EXIT_SECONDS_MAX
    for api in apis:
        assert "Traceback" not in api.log.read_text()
