"""What a hosted service does not start with: each by its name, never its value, and all of it at once."""

import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from flask import Flask

from api_service.functions.settings import FunctionSettings
from api_service.settings import ApiSettings
from metering.placeholders import is_guessable, is_placeholder
from metering.setting_kinds import Secret
from metering.settings import DeploymentSettings, SettingsRefused
from proxy_service.settings import ProxySettings

ROOT = Path(__file__).parents[2]
SECRET = secrets.token_hex(32)
SERVICES = (ProxySettings, ApiSettings, FunctionSettings)
HOSTED = {
    "K_SERVICE": "modeltrack",
    "STORE_URL": "firestore://production",
    "MODELTRACK_SECRET": SECRET,
    "PUBLIC_URL": "https://api.example.com",
    "PROXY_PUBLIC_URL": "https://proxy.example.com",
    "SMTP_HOST": "mail.example.com",
    "MAIL_FROM": "modeltrack@example.com",
}
REHEARSAL = {
    "K_SERVICE": "",
    "MODELTRACK_HOSTED": "true",
    "STORE_URL": "firestore://demo-x",
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
}
DEBUGGING = {
    "DEBUG": "1",
    "FLASK_DEBUG": "true",
    "PYTHONDEVMODE": "1",
    "PYTHONASYNCIODEBUG": "1",
    "SSLKEYLOGFILE": "/tmp/keys",  # noqa: S108 - never written
    "GRPC_TRACE": "all",
    "GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google",
}


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in SERVICES:
        for name in service.declared():
            monkeypatch.delenv(name.upper(), raising=False)


def named(service: type[DeploymentSettings], environment: Mapping[str, str]) -> list[str]:
    """The settings that the service complains of, in that environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            service()
        except SettingsRefused as refused:
            told = refused.complaints
        else:
            return []
    for line in told:
        value = environment.get(_name_in(line), "")
        assert len(value) < 8 or value not in line
    return [_name_in(line) for line in told]


def _name_in(complaint: str) -> str:
    return complaint.partition(":")[0]


@pytest.mark.parametrize("service", SERVICES)
def test_a_hosted_service_starts_with_what_the_settings_page_asks_for(
    service: type[DeploymentSettings],
) -> None:
    assert named(service, HOSTED) == []
    assert named(service, HOSTED | REHEARSAL) == []


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", DEBUGGING)
def test_no_hosted_service_starts_with_a_debugging_switch(
    service: type[DeploymentSettings], name: str
) -> None:
    assert named(service, HOSTED | {name: DEBUGGING[name]}) == [name]
    assert named(service, HOSTED | REHEARSAL | {name: DEBUGGING[name]}) == [name]
    assert named(service, {name: DEBUGGING[name]}) == []


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("off", ["0", "false", "False", "no", "NO", ""])
def test_a_switch_that_is_off_is_no_matter(service: type[DeploymentSettings], off: str) -> None:
    assert named(service, HOSTED | {"DEBUG": off, "FLASK_DEBUG": off}) == []


@pytest.mark.parametrize("word", ["0", "False", "no", "off", "f", "n", " 0", "1", "true", "2"])
def test_whatever_switches_flasks_debugging_on_is_refused(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_DEBUG", word)
    is_on = Flask("a-service").debug

    assert named(ApiSettings, HOSTED | {"FLASK_DEBUG": word}) == (["FLASK_DEBUG"] if is_on else [])


@pytest.mark.parametrize("service", SERVICES)
def test_an_emulator_is_for_rehearsals_alone(service: type[DeploymentSettings]) -> None:
    at = {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1"}

    assert named(service, HOSTED | at) == ["FIRESTORE_EMULATOR_HOST"]
    assert named(service, HOSTED | at | {"STORE_URL": "firestore://demo-x"}) == ["FIRESTORE_EMULATOR_HOST"]
    assert named(service, HOSTED | REHEARSAL | {"STORE_URL": HOSTED["STORE_URL"]}) == [
        "FIRESTORE_EMULATOR_HOST"
    ]
    assert named(service, at) == []


def test_the_journals_emulator_is_not_for_hosted_functions() -> None:
    at = {"PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}

    assert named(FunctionSettings, HOSTED | at) == ["PUBSUB_EMULATOR_HOST"]
    assert named(FunctionSettings, at) == []


@pytest.mark.parametrize(
    "secret",
    [
        "changeme",
        "changeme" * 8,
        "change-me-to-at-least-32-random-characters",
        "0123456789abcdef" * 4,
        "<your secret of thirty-two characters>",
        "${MODELTRACK_SECRET} or another one, as you like",
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "qwertyuiopasdfghjklzxcvbnm1234567890",
        "9876543210987654321098765432109876543210",
        SECRET[:31],
    ],
)
@pytest.mark.parametrize("hosted", [HOSTED, {}], ids=["hosted", "self-hosted"])
def test_a_secret_that_anybody_could_know_is_none(secret: str, hosted: Mapping[str, str]) -> None:
    for service in SERVICES:
        assert named(service, {**hosted, "MODELTRACK_SECRET": secret}) == ["MODELTRACK_SECRET"]
        assert named(service, {**hosted, "MODELTRACK_SECRET": SECRET[:32]}) == []


def test_a_hosted_service_without_the_secret_does_not_start_but_functions_that_open_nothing_do() -> None:
    without = HOSTED | {"MODELTRACK_SECRET": ""}

    assert named(ProxySettings, without) == named(ApiSettings, without) == ["MODELTRACK_SECRET"]
    assert named(FunctionSettings, without | {"FUNCTION_TARGET": "recover"}) == []
    assert named(FunctionSettings, without | {"FUNCTION_TARGET": "deliver"}) == ["MODELTRACK_SECRET"]


@pytest.mark.parametrize("length", range(32, 129, 32))
def test_no_secret_that_was_drawn_is_taken_for_one_of_an_example(length: int) -> None:
    drawn = [draw(length) for draw in (secrets.token_hex, secrets.token_urlsafe) for _ in range(200)]

    assert not any(is_placeholder(each) or is_guessable(each) for each in drawn)


@pytest.mark.parametrize("name", ["SMTP_PASSWORD", "GOOGLE_CLIENT_SECRET", "GITHUB_CLIENT_SECRET"])
def test_what_others_made_for_us_is_not_what_examples_say(name: str) -> None:
    beside = {"SMTP_PASSWORD": "SMTP_USER"}.get(name, name.replace("SECRET", "ID"))
    given = HOSTED | {beside: "modeltrack"}

    assert named(ApiSettings, given | {name: "change-me"}) == [name]
    assert named(ApiSettings, given | {name: "your-client-secret-goes-here"}) == [name]
    assert named(ApiSettings, given | {name: "x" * 40}) == [name]
    assert named(ApiSettings, given | {name: SECRET[:11]}) == [name]
    assert named(ApiSettings, given | {name: SECRET[:12]}) == []


@pytest.mark.parametrize("name", ["PUBLIC_URL", "PROXY_PUBLIC_URL"])
def test_nobody_reaches_a_hosted_service_without_https(name: str) -> None:
    readable = HOSTED[name].replace("https", "http")

    assert named(ApiSettings, HOSTED | {name: readable}) == [name]
    assert named(ApiSettings, HOSTED | {name: ""}) == [name]
    assert named(ApiSettings, {name: readable}) == []
    assert named(FunctionSettings, HOSTED | {"PROXY_PUBLIC_URL": "http://proxy.example.com"}) == [
        "PROXY_PUBLIC_URL"
    ]


@pytest.mark.parametrize("name", ["ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "BEDROCK_ENDPOINT_URL"])
def test_no_provider_of_a_hosted_proxy_is_on_this_machine(name: str) -> None:
    for here in (
        "http://127.0.0.1:8090",
        "https://127.0.0.1:8090",
        "https://localhost",
        "https://[::1]:8090",
    ):
        assert named(ProxySettings, HOSTED | {name: here}) == [name]
        assert named(ProxySettings, {name: here}) == []
    assert named(ProxySettings, HOSTED | {name: "http://demo.example.com"}) == [name]
    assert named(ProxySettings, HOSTED | {name: "https://demo.example.com"}) == []
    assert named(ProxySettings, HOSTED | REHEARSAL | {name: "https://localhost:8090"}) == []


def _examples() -> Iterator[str]:
    """Every value that this repository gives MODELTRACK_SECRET."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if (
            path.suffix in {".md", ".yaml", ".yml", ".py", ".sh", ".tf", ".tfvars", ".env", ""}
            and path.is_file()
        ):
            text = path.read_text(errors="replace")
            yield from re.findall(r"MODELTRACK_SECRET['\"]?\s*[=:]\s*['\"]?([^\s'\"`,)}]+)", text)


def test_no_secret_that_stands_in_this_repository_is_one() -> None:
    for value in _examples():
        with pytest.raises(SettingsRefused, match="MODELTRACK_SECRET"):
            DeploymentSettings(modeltrack_secret=Secret(value))


WRONG = {
    "STORE_URL": "canary://x",
    "MODELTRACK_SECRET": "canary",
    "DEBUG": "1",
    "SSLKEYLOGFILE": "canary",
    "SMTP_USER": "canary",
    "SMTP_PASSWORD": "canary",
    "PROXY_PUBLIC_URL": "http://canary",
}
STARTS = {
    "proxy": (["-m", "proxy_service"], {"STORE_URL", "MODELTRACK_SECRET", "DEBUG", "SSLKEYLOGFILE"}),
    "api": (["-m", "api_service"], set(WRONG) - {"SMTP_USER"}),
    "function": (
        ["-m", "functions_framework", "--source", "api_service/functions/main.py", "--target", "retain"],
        set(WRONG) - {"SMTP_USER"},
    ),
}


@pytest.mark.parametrize("service", STARTS)
def test_a_process_says_everything_that_is_wrong_and_ends_at_once(service: str) -> None:
    command, expected = STARTS[service]
    hosted = {name: value for name, value in HOSTED.items() if name not in WRONG}

    ended = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PORT": "0", **hosted, **WRONG},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2, ended.stderr
    assert {name for name in WRONG if name in ended.stderr} >= expected
    assert "canary" not in ended.stderr + ended.stdout
