"""The jobs as functions: the real targets, served by functions-framework, on a real store."""

import json
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import functions_framework
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_service.functions import main as targets
from api_service.functions.jobs import JOBS
from metering.clock import SystemClock
from metering.compaction import CompactionReport
from metering.directory import Directory
from metering.ledger import Ledger
from metering.opening import open_store
from metering.segments import Segment
from tests.builders import SECRET, make_event

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "api_service" / "functions" / "main.py"

Serve = Callable[[str], FlaskClient]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serves one target as its own process would, on a store under `tmp_path`."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])  # the framework adds the source's folder
    monkeypatch.setattr(sys, "modules", sys.modules.copy())

    def serve_target(name: str) -> FlaskClient:
        monkeypatch.setenv("FUNCTION_TARGET", name)  # as the framework does, which never takes it back
        app: Flask = functions_framework.create_app(name, str(SOURCE))  # type: ignore[no-untyped-call]  # has none
        return app.test_client()

    return serve_target


@pytest.mark.parametrize("name", [job.name for job in JOBS])
def test_a_post_runs_the_job_and_answers_with_its_figures(serve: Serve, name: str) -> None:
    response = serve(name).post("/")

    assert response.status_code == 200
    assert all(type(figure) is int for figure in response.get_json().values())


def test_every_job_is_a_target_and_what_is_said_of_its_figures_true_of_its_report(serve: Serve) -> None:
    names = {name for name, each in vars(targets).items() if isinstance(each, types.FunctionType)}

    assert {job.name for job in JOBS} <= names
    for job in JOBS:
        assert {*job.alarming, *job.routine} <= serve(job.name).post("/").get_json().keys()


def test_what_a_function_did_is_kept_in_the_store_that_the_services_use(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, clock = open_store(f"sqlite:///{tmp_path}/modeltrack.db"), SystemClock()
    account = Directory(store, clock, SECRET).create_account("Ada")
    event = make_event(account_id=account.account_id, timestamp=clock.now() - timedelta(days=500))
    segment = Segment(name=f"{'a' * 32}-1", account_id=account.account_id, events=(event,))
    Ledger(store, clock).commit(segment)

    response = serve("retain").post("/")

    assert response.get_json()["segments"] == 1
    assert Ledger(store).events(account.account_id).events == ()
    (line,) = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert (line["level"], line["event"], line["job"], line["segments"]) == ("info", "job done", "retain", 1)
    store.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_nothing_but_a_post_runs_a_job(serve: Serve, method: str) -> None:
    assert serve("retain").open("/", method=method).status_code == 405


def test_a_store_that_cannot_be_opened_fails_the_run_and_says_so(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "modeltrack.db").write_text("this is no database")

    response = serve("retain").post("/")

    assert response.status_code == 500
    line = json.loads(capsys.readouterr().err.splitlines()[0])
    assert line["level"] == "error"


def test_settings_that_make_no_sense_are_told_by_name_and_never_by_value(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STORE_URL", "canary://x")

    with pytest.raises(SystemExit) as ended:
        serve("retain")

    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "STORE_URL" in said
    assert "canary" not in said


def test_a_job_that_runs_is_not_begun_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def run(*_: object) -> CompactionReport:
        begun.set()
        go_on.wait(30)
        return CompactionReport()

    monkeypatch.setattr("metering.compaction.run", run)
    client = serve("compact")
    first = threading.Thread(target=client.post, args=("/",))
    first.start()
    assert begun.wait(30)

    second = client.application.test_client().post("/")
    go_on.set()
    first.join(30)

    assert second.status_code == 409
    assert client.post("/").status_code == 200


def test_a_process_loads_only_the_job_that_it_runs() -> None:
    probe = (
        "import sys, api_service.functions.main, api_service.functions.schedule\n"
        "print([name for name in sys.modules if name in ("
        "'metering.recovery', 'metering.compaction', 'metering.seeding', 'metering.nightly_check',"
        " 'metering.retention', 'metering.sqlite', 'google.cloud.firestore', 'grpc', 'flask_openapi3')])"
    )

    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "[]"
