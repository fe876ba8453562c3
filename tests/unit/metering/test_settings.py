import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metering.setting_kinds import Secret
from metering.settings import DeploymentSettings, SettingsRefused, deployment_secret
from metering.version import VERSION

SECRET = secrets.token_hex(32)


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DeploymentSettings.declared():
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_store_lies_in_the_data_directory_unless_told_otherwise(tmp_path: Path) -> None:
    assert DeploymentSettings(data_dir=tmp_path).store_url == f"sqlite:///{tmp_path}/modeltrack.db"
    assert DeploymentSettings(db_path=tmp_path / "x.db").store_url == f"sqlite:///{tmp_path}/x.db"
    assert DeploymentSettings(store_url="firestore://demo-p").store_url == "firestore://demo-p"


def test_two_different_places_for_the_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match="DB_PATH"):
        DeploymentSettings(db_path=tmp_path / "x.db", store_url="firestore://demo-p")


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:///", "firestore://", "canary"])
def test_what_is_no_address_of_a_store_is_refused_with_everything_else(url: str) -> None:
    with pytest.raises(SettingsRefused, match="STORE_URL: give sqlite:///<file>") as refused:
        DeploymentSettings(store_url=url, modeltrack_secret=Secret("short"))

    assert len(refused.value.complaints) == 2
    assert "canary" not in str(refused.value)


def test_a_data_directory_that_cannot_be_had_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(SettingsRefused, match="DATA_DIR: the secret cannot be kept there"):
        deployment_secret(DeploymentSettings(data_dir=tmp_path / "file" / "data"))


@pytest.mark.parametrize(
    ("revision", "told"),
    [("", VERSION), ("0190f3c", f"{VERSION}+0190f3c"), ("a" * 40, f"{VERSION}+{'a' * 40}")],
)
def test_the_version_has_the_revision_where_it_is_known(revision: str, told: str) -> None:
    assert DeploymentSettings(modeltrack_revision=revision).version == told


@pytest.mark.parametrize("revision", ["0190f3", "a" * 41, "main", "0190f3c "])
def test_what_is_no_commit_is_refused_as_revision(revision: str) -> None:
    with pytest.raises(SettingsRefused, match="MODELTRACK_REVISION: give a commit"):
        DeploymentSettings(modeltrack_revision=revision)


def test_a_given_secret_is_used(tmp_path: Path) -> None:
    settings = DeploymentSettings(data_dir=tmp_path, modeltrack_secret=Secret(SECRET))

    assert deployment_secret(settings) == SECRET.encode()
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = DeploymentSettings(data_dir=tmp_path / "new")

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(deployment_secret, [settings] * 8))

    (path,) = (tmp_path / "new").iterdir()
    assert found == {path.read_bytes()}
    assert len(path.read_bytes()) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_secret_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")

    with pytest.raises(SettingsRefused, match="damaged"):
        deployment_secret(DeploymentSettings(data_dir=tmp_path))


def test_no_secret_shows_in_the_settings_text() -> None:
    settings = DeploymentSettings(modeltrack_secret=Secret(SECRET))

    assert SECRET not in repr(settings)


def test_names_of_the_environment_are_read_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("log_level", "warn")

    assert DeploymentSettings().log_level == "warn"


def test_what_is_given_empty_is_not_told_and_what_is_given_as_the_default_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "")
    monkeypatch.setenv("MODELTRACK_HOSTED", "false")

    settings = DeploymentSettings()

    assert not settings.is_told("log_level")
    assert settings.is_told("modeltrack_hosted")


def test_settings_do_not_change() -> None:
    settings = DeploymentSettings()

    with pytest.raises(AttributeError):
        settings.log_level = "debug"  # type: ignore[misc]  # that is the point
