"""What `modeltrack privacy-check` refuses before it asks anybody anything: all of it, at once."""

from pathlib import Path

import pytest

from modeltrack_cli.__main__ import main
from modeltrack_cli.privacy.command import Given
from modeltrack_cli.privacy.command import complaints as told
from modeltrack_cli.settings import CommandSettings

METRICS_URL = "give all of it, such as http://127.0.0.1:9464/metrics"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment that nobody could ask: where a run began, its complaint would be another."""
    for name in ("MODELTRACK_PASSWORD", "MODELTRACK_CODE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELTRACK_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELTRACK_PROXY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELTRACK_KEY", "mt_of_nobody")
    monkeypatch.setenv("MODELTRACK_EMAIL", "")


def complaints(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What is said, with the status of what could not be begun."""
    assert main(["privacy-check", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return [line.removeprefix("modeltrack: ") for line in said.err.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metrics-url", "nothttp"], f"--metrics-url: {METRICS_URL}"),
        (["--metrics-url", "127.0.0.1:9464/metrics"], f"--metrics-url: {METRICS_URL}"),
        (["--metrics-url", "ftp://ada@host/metrics"], f"--metrics-url: {METRICS_URL}"),
        (["--metrics-url", "http://host:nine/metrics"], f"--metrics-url: {METRICS_URL}"),
        (["--metrics-url", "http:///metrics"], f"--metrics-url: {METRICS_URL}"),
        (["--wait", "-5"], "--wait: give more than 0 and at most 600 seconds"),
        (["--wait", "0"], "--wait: give more than 0 and at most 600 seconds"),
        (["--wait", "600.1"], "--wait: give more than 0 and at most 600 seconds"),
        (["--timeout", "nan"], "--timeout: give more than 0 and at most 600 seconds"),
        (["--timeout", "soon"], "--timeout: give more than 0 and at most 600 seconds"),
        (
            ["--url", "api.example.com"],
            "give MODELTRACK_URL as scheme and host, such as https://api.example.com",
        ),
        (
            ["--proxy-url", "http://proxy.example.com"],
            "MODELTRACK_PROXY_URL: a key is sent by https only, but to this machine",
        ),
        (["--logs", "/nowhere/at.all"], "/nowhere/at.all: there is no such file or folder"),
        (["--logs", "/proc/self/mem"], "/proc/self/mem: it cannot be read (OSError)"),
        (["--keep", "/nowhere/run.json"], "/nowhere/run.json: it cannot be written"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert complaints(capsys, *arguments) == [said]


@pytest.mark.parametrize("seconds", [0.1, 600.0])
def test_bounds_of_seconds_and_whole_addresses_are_taken(seconds: float, tmp_path: Path) -> None:
    given = Given(
        url="https://api.example.com/behind/a/path",
        proxy_url="http://localhost:8080",
        logs=[str(tmp_path), "-", str(Path(__file__))],
        metrics_url=["HTTPS://ada@host:9464/metrics?a=b"],
        timeout=seconds,
        wait=seconds,
        keep=str(tmp_path / "run.json"),
        of="",
        json=False,
    )

    assert told(given, CommandSettings()) == []


def test_all_complaints_come_together(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELTRACK_KEY", "")
    monkeypatch.setenv("MODELTRACK_EMAIL", "ada@example.com")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    given = ["--url", "nowhere", "--timeout", "-1", "--wait", "x", "--logs", "/no/1", "--logs", "/no/2"]
    figures = ["--metrics-url", "http://host/metrics", "--metrics-url", "nothttp", "--keep", "/"]

    said = complaints(capsys, *given, *figures)

    assert [line.partition(":")[0] for line in said] == [
        "give MODELTRACK_URL as scheme and host, such as https",
        "REQUESTS_CA_BUNDLE",
        "--timeout",
        "--wait",
        "/no/1",
        "/no/2",
        "--metrics-url (number 2)",
        "/",
        "set MODELTRACK_KEY to a key of the account with the scopes proxy, read and stats",
        "set MODELTRACK_PASSWORD to the password of MODELTRACK_EMAIL",
    ]


def test_an_earlier_run_is_looked_for_in_logs_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    none = tmp_path / "run.json"

    said = complaints(capsys, "--of", str(none), "--metrics-url", "http://host/metrics")

    assert said == [
        "--of looks through logs: give --logs",
        "--of sends nothing and looks at logs alone: leave out --keep and --metrics-url",
        f"{none}: there is no run in it that was kept with --keep",
    ]
