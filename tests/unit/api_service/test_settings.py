import secrets
from pathlib import Path
from typing import Any

import pytest

from api_service.settings import ApiSettings
from metering.settings import SettingsRefused

HOSTED: dict[str, Any] = {
    "k_service": "api",
    "store_url": "firestore://demo-x",
    "modeltrack_secret": secrets.token_hex(32),
    "public_url": "https://api.example.com",
    "proxy_public_url": "https://proxy.example.com",
    "smtp_host": "mail.example.com",
    "mail_from": "modeltrack@example.com",
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ApiSettings.declared():
        monkeypatch.delenv(name.upper(), raising=False)


def settings(tmp_path: Path, **given: Any) -> ApiSettings:
    return ApiSettings(**{"data_dir": tmp_path} | given)


def test_the_defaults_are_the_published_ones(tmp_path: Path) -> None:
    found = settings(tmp_path)

    assert (found.listen_host, found.port) == ("127.0.0.1", 3001)
    assert found.base_url == "http://127.0.0.1:3001"
    assert not found.is_https
    assert found.hops == 0


def test_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "4001")

    assert settings(tmp_path).port == 4001


def test_a_page_of_this_machine_may_write_by_any_of_its_names(tmp_path: Path) -> None:
    assert settings(tmp_path).origins == {
        "http://127.0.0.1:3001",
        "http://localhost:3001",
        "http://[::1]:3001",
    }


def test_a_page_of_the_public_address_alone_may_write_there(tmp_path: Path) -> None:
    found = settings(tmp_path, **HOSTED)

    assert found.origins == {"https://api.example.com"}
    assert found.is_https
    assert found.listen_host == "0.0.0.0"
    assert found.host_names is None
    assert found.hops == 1


def test_a_service_for_other_machines_takes_any_host_name(tmp_path: Path) -> None:
    assert settings(tmp_path, api_host="0.0.0.0").host_names is None
    assert settings(tmp_path, api_host="0.0.0.0", public_url="https://api.example.com").host_names is None


def test_in_a_container_for_this_machine_it_takes_this_machines_names_alone(tmp_path: Path) -> None:
    found = settings(tmp_path, api_host="0.0.0.0", public_url="http://127.0.0.1:3001")

    assert found.host_names == frozenset(("127.0.0.1", "localhost", "::1"))


def _named(given: Any) -> str:
    """A case by what is wrong in it: its name is the same in every process, the secret is not."""
    if not isinstance(given, dict):
        return str(given)
    return str({name: value for name, value in given.items() if HOSTED.get(name) != value})


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"port": 0}, "PORT"),
        ({"port": 65536}, "PORT"),
        ({"port": "http"}, "PORT"),
        ({"port": 3001, "metrics_port": 3001}, "METRICS_PORT"),
        ({"metrics_port": 0}, "METRICS_PORT"),
        ({"metrics_port": 65536}, "METRICS_PORT"),
        ({"forwarding_hops": -1}, "FORWARDING_HOPS"),
        ({"forwarding_hops": 9}, "FORWARDING_HOPS"),
        ({"public_url": "api.example.com"}, "PUBLIC_URL"),
        ({"public_url": "https://api.example.com/path"}, "PUBLIC_URL"),
        ({"public_url": "https://user@api.example.com"}, "PUBLIC_URL"),
        ({"public_url": "https://api.example.com:x"}, "PUBLIC_URL"),
        ({"public_url": "ftp://api.example.com"}, "PUBLIC_URL"),
        ({"proxy_public_url": "https://"}, "PROXY_PUBLIC_URL"),
        ({"api_threads": 1}, "API_THREADS"),
        ({"log_level": "loud"}, "LOG_LEVEL"),
        ({**HOSTED, "public_url": ""}, "PUBLIC_URL"),
        ({**HOSTED, "public_url": "http://api.example.com"}, "PUBLIC_URL"),
        ({**HOSTED, "modeltrack_secret": "changeme"}, "MODELTRACK_SECRET"),
        ({**HOSTED, "smtp_host": ""}, "SMTP_HOST"),
        ({**HOSTED, "smtp_security": "none"}, "SMTP_SECURITY"),
        ({**HOSTED, "mail_from": ""}, "MAIL_FROM"),
        ({"smtp_host": "mail.example.com", "mail_from": "a@b\nBcc: c@example.com"}, "MAIL_FROM"),
        ({"smtp_user": "changeme"}, "SMTP_USER, SMTP_PASSWORD"),
        ({"smtp_password": "changeme"}, "SMTP_USER, SMTP_PASSWORD"),
    ],
    ids=_named,
)
def test_what_makes_no_sense_is_refused_by_name_and_not_repeated(
    tmp_path: Path, given: dict[str, Any], name: str
) -> None:
    with pytest.raises(SettingsRefused) as refused:
        settings(tmp_path, **given)

    assert [line.partition(":")[0] for line in refused.value.complaints] == [name]
    assert "changeme" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "is_readable"),
    [
        ({}, False),
        ({"public_url": "http://localhost:3001"}, False),
        ({"public_url": "https://api.example.com", "api_host": "0.0.0.0"}, False),
        ({"public_url": "http://api.example.com"}, True),
        ({"api_host": "0.0.0.0"}, True),
        ({"public_url": "http://localhost:3001", "api_host": "0.0.0.0"}, False),
    ],
    ids=str,
)
def test_cookies_travel_readable_without_https_beyond_this_machine(
    tmp_path: Path, given: dict[str, str], is_readable: bool
) -> None:
    assert settings(tmp_path, **given).is_readable_on_the_way == is_readable


@pytest.mark.parametrize(
    ("api_jobs", "is_hosted", "runs"),
    [(None, False, True), (None, True, False), (False, False, False), (True, True, True)],
)
def test_jobs_run_here_unless_the_deployment_is_hosted_or_says_otherwise(
    api_jobs: bool | None, is_hosted: bool, runs: bool
) -> None:
    given: dict[str, Any] = {"api_jobs": api_jobs} | (HOSTED if is_hosted else {})

    assert ApiSettings(**given).runs_jobs is runs


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"google_client_id": "a"}, "GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET"),
        ({"github_client_secret": "b"}, "GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET"),
        ({"google_issuer": "accounts.google.com"}, "GOOGLE_ISSUER"),
        ({"github_url": "https://github.com/"}, "GITHUB_URL"),
        ({"github_api_url": "ftp://api.github.com"}, "GITHUB_API_URL"),
        (HOSTED | {"google_issuer": "http://accounts.google.com"}, "GOOGLE_ISSUER"),
    ],
)
def test_a_client_that_providers_cannot_know_is_complained_of(
    tmp_path: Path, given: dict[str, Any], name: str
) -> None:
    with pytest.raises(SettingsRefused) as refused:
        settings(tmp_path, **given)

    (complaint,) = refused.value.complaints
    assert complaint.startswith(name)
