"""Every service and job starts from exactly the settings that infra/ gives it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from api_service.functions.jobs import JOBS
from api_service.functions.settings import FunctionSettings
from api_service.settings import ApiSettings
from metering.settings import DeploymentSettings, SettingsRefused
from proxy_service.settings import ProxySettings
from tests.infra.outputs import outputs_of, why_no_terraform

pytestmark = pytest.mark.skipif(why_no_terraform() is not None, reason=why_no_terraform() or "")

CLASSES: dict[str, type[DeploymentSettings]] = {
    "proxy": ProxySettings,
    "api": ApiSettings,
    **{job.name: FunctionSettings for job in JOBS},
}
SMTP = {
    "host": "smtp.example.com",
    "port": 587,
    "security": "starttls",
    "user": "",
    "from": "modeltrack@example.com",
}
LEAST: dict[str, Any] = {
    "project": "example-project",
    "database": "(default)",
    "urls": {"proxy": "https://proxy.example.com", "api": "https://api.example.com"},
    "jobs": [job.name for job in JOBS],
    "api_threads": 16,
    "metrics_port": 0,
    "security_contact": "security@example.com",
    "google_client_id": "",
    "github_client_id": "",
    "journal_subscription": "projects/example-project/subscriptions/modeltrack-journal",
    "journal_aside_topic": "projects/example-project/topics/modeltrack-journal-aside",
    "smtp": SMTP,
}
MOST = LEAST | {
    "metrics_port": 9464,
    "google_client_id": "google",
    "github_client_id": "github",
    "smtp": SMTP | {"port": 465, "security": "tls", "user": "mailer"},
}

# By what modules/settings calls it; Secret Manager gives the value.
SECRETS = {
    "secret": "3f1c8a20d4b7e96510f2a8c4d6e9b073",
    "smtp_password": "b81d0c7f52e94a36",
    "google_client_secret": "9d4e60b7a1f8235c0e7db94162fa83c5",
    "github_client_secret": "62c7f09ae5d1b83470fe2a96c8d4b1057e3f9a20",
}

Environments = Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module", params=["least", "most"])
def environments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """What each service and job finds in its environment, with the least and the most that may be given."""
    given = LEAST if request.param == "least" else MOST
    told = outputs_of("settings", tmp_path_factory.mktemp("terraform"), **given)
    plain = told["environment"] | told["job_environment"]
    secret = told["secrets"] | told["job_secrets"]
    return {
        who: plain[who] | {setting: SECRETS[which] for setting, which in secret[who].items()}
        for who in CLASSES
    }


def start(who: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> DeploymentSettings:
    """The settings that this environment makes on Cloud Run, with nothing else in it."""
    for name in CLASSES[who].declared():
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in {**environment, "K_SERVICE": f"modeltrack-{who}", "PORT": "8080"}.items():
        monkeypatch.setenv(name, value)
    return CLASSES[who]()


@pytest.mark.parametrize("who", CLASSES)
def test_what_infra_gives_is_enough_to_start_and_makes_sense(
    who: str, environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = start(who, environments[who], monkeypatch)

    assert settings.is_hosted
    assert settings.store_url == "firestore://example-project/(default)"


@pytest.mark.parametrize("who", CLASSES)
def test_nothing_is_given_that_is_no_setting(who: str, environments: Environments) -> None:
    assert {name.lower() for name in environments[who]} <= CLASSES[who].declared().keys()


@pytest.mark.parametrize(
    ("who", "missing"),
    [
        ("proxy", "MODELTRACK_SECRET"),
        ("api", "MODELTRACK_SECRET"),
        ("api", "SMTP_HOST"),
        ("api", "PUBLIC_URL"),
        ("deliver", "MAIL_FROM"),
        ("recover", "JOURNAL_ASIDE_TOPIC"),
        ("measure", "STORE_URL"),
    ],
)
def test_without_one_of_them_nothing_starts(
    who: str, missing: str, environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {name: value for name, value in environments[who].items() if name != missing}

    with pytest.raises(SettingsRefused) as refused:
        start(who, environment, monkeypatch)

    assert missing in str(refused.value)


def test_only_the_job_that_opens_channels_has_the_deployments_secret(environments: Environments) -> None:
    jobs = [job.name for job in JOBS]

    assert [job for job in jobs if "MODELTRACK_SECRET" in environments[job]] == ["deliver"]


def test_recovery_alone_is_told_of_the_journal_and_measuring_of_the_proxy(environments: Environments) -> None:
    assert [who for who in CLASSES if "JOURNAL_SUBSCRIPTION" in environments[who]] == ["recover"]
    assert [who for who in CLASSES if "PROXY_PUBLIC_URL" in environments[who]] == ["api", "measure"]


def test_terraform_that_refuses_a_module_is_heard(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="smtp"):
        outputs_of("settings", tmp_path, **{name: value for name, value in LEAST.items() if name != "smtp"})
