"""`modeltrack reconcile` over real HTTP: both providers' cost APIs on one side, the API on the other."""

import io
import threading
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from api_service.resources.reconciliations import ReconciliationView
from modeltrack_cli.__main__ import main
from tests.doubles.clock import ManualClock
from tests.doubles.cost_reports import (
    ANTHROPIC_KEY,
    OPENAI_KEY,
    CostReports,
    anthropic_result,
    openai_result,
    running_cost_reports,
)
from tests.services.api.conftest import Person
from tests.services.api.logbook import Logbook

SETTINGS = ("MODELTRACK_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_ADMIN_KEY")


@pytest.fixture
def reports() -> Iterator[CostReports]:
    with running_cost_reports() as running:
        yield running


@pytest.fixture
def sent(app: Flask) -> list[tuple[bytes, str]]:
    """Body and headers of every request that ModelTrack got."""
    got: list[tuple[bytes, str]] = []
    inner = app.wsgi_app

    def keep(environ: Any, start: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        got.append((body, str(environ)))
        return inner(environ | {"wsgi.input": io.BytesIO(body)}, start)

    app.wsgi_app = keep  # type: ignore[assignment,method-assign]  # as Flask has one do
    return got


@pytest.fixture
def run(
    app: Flask,
    ada: Person,
    bearer: Callable[..., dict[str, str]],
    reports: CostReports,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., int]]:
    """Runs the command with everything in its environment; `without` some of it."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    environment = {
        "MODELTRACK_URL": f"http://127.0.0.1:{server.server_port}/",
        "MODELTRACK_KEY": bearer(ada.account_id, "ingest")["Authorization"].removeprefix("Bearer "),
        "OPENAI_ADMIN_KEY": OPENAI_KEY,
        "OPENAI_ADMIN_URL": reports.url,
        "ANTHROPIC_ADMIN_KEY": ANTHROPIC_KEY,
        "ANTHROPIC_ADMIN_URL": reports.url,
    }

    def run_command(*arguments: str, without: str = "", **changes: str) -> int:
        for name, value in (environment | changes).items():
            monkeypatch.setenv(name, value)
        if without:
            monkeypatch.delenv(without)
        return main(["reconcile", *arguments], clock)

    yield run_command
    server.shutdown()
    thread.join()
    server.server_close()


def billed(person: Person, provider: str) -> dict[str, dict[str, int]]:
    text = person.get(f"/v1/reconciliations?provider={provider}&end_time=2026-11-22").text
    shown: Any = ReconciliationView.model_validate_json(text)
    return {
        str(day.day): {each.model: each.billed_nanodollars for each in day.models}
        for day in shown.days
        if day.posted_at is not None
    }


def test_openais_report_is_posted_by_day_and_model_to_the_nanodollar(
    run: Callable[..., int], ada: Person, reports: CostReports, capsys: pytest.CaptureFixture[str]
) -> None:
    reports.openai = {
        "2026-11-18": [],
        "2026-11-19": [
            openai_result("0.13080438340307526401", "gpt-4o-2024-08-06, input"),
            openai_result("0.06", "gpt-4o-2024-08-06, cached input"),
            openai_result("1E-9", "gpt-4o-mini-2024-07-18, output"),
            openai_result("0.0000000005", "web search tool calls"),
            openai_result("0.000000001", None),
        ],
        "2026-11-20": [openai_result("-0.25", "credits granted", is_text=True)],
        "2026-11-21": [openai_result("5", "gpt-4o-2024-08-06, input")],
    }

    assert run("--provider", "openai") == 0

    assert billed(ada, "openai") == {
        "2026-11-18": {},
        "2026-11-19": {"gpt-4o": 190_804_383, "gpt-4o-mini": 1, "": 2},
        "2026-11-20": {"": -250_000_000},
    }
    assert capsys.readouterr().out == "openai: 3 of 7 days posted, -0.059195614 USD\n"


def test_anthropics_cents_are_dollars(run: Callable[..., int], ada: Person, reports: CostReports) -> None:
    reports.anthropic = {
        "2026-11-20": [
            anthropic_result("123.78912", "claude-sonnet-4-5-20250929", token_type="output_tokens"),
            anthropic_result("0.00001", "claude-sonnet-4-5-20250929", token_type="uncached_input_tokens"),
            anthropic_result("100", None, cost_type="web_search"),
        ]
    }

    assert run("--provider", "anthropic", "--days", "1") == 0

    assert billed(ada, "anthropic") == {"2026-11-20": {"claude-sonnet-4-5": 1_237_891_300, "": 1_000_000_000}}


def test_all_pages_are_read_and_what_is_run_twice_counts_once(
    run: Callable[..., int], ada: Person, reports: CostReports
) -> None:
    days = [str(date(2026, 11, number)) for number in range(1, 21)]
    reports.openai = {day: [openai_result("1.5", "gpt-4o, input")] for day in days}

    assert run("--days", "31", "--provider", "openai") == 0
    assert run("--days", "31", "--provider", "openai") == 0

    assert billed(ada, "openai") == {day: {"gpt-4o": 1_500_000_000} for day in days}
    assert len(reports.asked) == 20


def test_models_beyond_what_a_day_may_hold_are_posted_together(
    run: Callable[..., int], ada: Person, reports: CostReports
) -> None:
    reports.openai = {"2026-11-20": [openai_result(f"{n}", f"ft:m{n:03d}, input") for n in range(1, 251)]}

    assert run("--provider", "openai") == 0

    models = billed(ada, "openai")["2026-11-20"]
    assert len(models) == 200
    assert sum(models.values()) == sum(range(1, 251)) * 10**9
    assert models[""] == sum(range(1, 52)) * 10**9


def test_admin_keys_reach_their_provider_and_nothing_else(
    run: Callable[..., int],
    sent: list[tuple[bytes, str]],
    reports: CostReports,
    logbook: Logbook,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports.openai = {"2026-11-20": [openai_result("1", "gpt-4o, input")]}
    reports.anthropic = {"2026-11-20": [anthropic_result("1", "claude-haiku-4-5")]}

    assert run() == 0

    assert [OPENAI_KEY in str(headers) for _, _, headers in reports.asked] == [True, False]
    assert [ANTHROPIC_KEY in str(headers) for _, _, headers in reports.asked] == [False, True]
    assert len(sent) == 2
    everything = f"{sent} {capsys.readouterr()} {logbook.lines} {[asked[:2] for asked in reports.asked]}"
    assert "canary" not in everything


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"OPENAI_ADMIN_KEY": "canary"}, "OpenAI's cost report: it answered 401: the key is not known there"),
        ({"MODELTRACK_KEY": "canary"}, "ModelTrack: it answered 401: the key is not known there"),
        ({"OPENAI_ADMIN_URL": "http://example.com"}, "OpenAI's cost report: a key is sent by https only"),
        ({"OPENAI_ADMIN_URL": "canary"}, "OpenAI's cost report: give its address as https://host"),
        ({"MODELTRACK_URL": "http://127.0.0.1:1"}, "ModelTrack: no whole answer (ConnectionError)"),
    ],
)
def test_what_goes_wrong_is_said_without_repeating_anything(
    run: Callable[..., int],
    reports: CostReports,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    said: str,
) -> None:
    reports.openai = {"2026-11-20": [openai_result("1", "gpt-4o, input")]}

    assert run("--provider", "openai", **changes) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"modeltrack: {said}")
    assert "canary" not in error


@pytest.mark.parametrize("without", SETTINGS)
def test_a_key_that_is_not_there_is_asked_for_by_its_name(
    run: Callable[..., int], reports: CostReports, capsys: pytest.CaptureFixture[str], without: str
) -> None:
    provider = ("--provider", "anthropic" if without.startswith("ANTHROPIC") else "openai")

    assert run(*provider, without=without) == 1

    assert without in capsys.readouterr().err
    assert not reports.asked


BUCKET = '{"start_time": 1795132800, "results": [%s]}'  # of 2026-11-20


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "[]",
        "{}",
        '{"data": [], "has_more": "no"}',
        '{"data": [], "has_more": true, "next_page": null}',
        '{"data": [{}], "has_more": false}',
        '{"data": [{"start_time": "x", "results": []}], "has_more": false}',
        *(
            f'{{"data": [{BUCKET % result}], "has_more": false}}'
            for result in (
                '{"amount": {"value": NaN, "currency": "usd"}, "line_item": "m"}',
                '{"amount": {"value": "1_0", "currency": "usd"}, "line_item": "m"}',
                '{"amount": {"value": 1e99999, "currency": "usd"}, "line_item": "m"}',
                '{"amount": {"value": true, "currency": "usd"}, "line_item": "m"}',
                '{"amount": {"value": 1, "currency": "eur"}, "line_item": "m"}',
                '{"amount": {"value": 1}, "line_item": "m"}',
                '{"amount": 1, "line_item": "m"}',
                '{"amount": {"value": 1, "currency": "usd"}}',
            )
        ),
    ],
)
def test_a_report_that_cannot_be_read_is_not_posted(
    run: Callable[..., int], ada: Person, reports: CostReports, raw: str
) -> None:
    reports.raw = raw.encode()

    assert run("--provider", "openai") == 1

    assert billed(ada, "openai") == {}


def test_a_redirect_is_not_followed(
    run: Callable[..., int], reports: CostReports, capsys: pytest.CaptureFixture[str]
) -> None:
    reports.status, reports.headers = 302, {"Location": f"{reports.url}/elsewhere"}

    assert run("--provider", "openai") == 1

    assert len(reports.asked) == 1
    assert "it answered 302" in capsys.readouterr().err


@pytest.mark.parametrize("days", ["0", "32", "x", "-1"])
def test_a_number_of_days_that_makes_no_sense_is_refused(run: Callable[..., int], days: str) -> None:
    with pytest.raises(SystemExit):
        run("--days", days)
