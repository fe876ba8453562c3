import secrets
from pathlib import Path

import pytest

from metering.settings import SettingsRefused
from proxy_service.settings import ProxySettings, origin_at
from proxy_service.wire import Origin

SECRET = secrets.token_hex(32)


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ProxySettings.declared():
        monkeypatch.delenv(name.upper(), raising=False)


def complaints(**settings: object) -> list[str]:
    with pytest.raises(SettingsRefused) as refused:
        ProxySettings(**settings)  # type: ignore[arg-type]  # wrong ones are the point
    return refused.value.complaints


def hosted(**settings: object) -> dict[str, object]:
    return {
        "k_service": "proxy",
        "store_url": "firestore://a-project",
        "modeltrack_secret": SECRET,
        "data_dir": Path("/nowhere"),
    } | settings


def test_defaults_are_the_published_ones() -> None:
    settings = ProxySettings()

    assert (settings.listen_host, settings.listen_port) == ("127.0.0.1", 8080)
    assert settings.anthropic_base_url == "https://api.anthropic.com"
    assert settings.openai_base_url == "https://api.openai.com"
    assert (settings.cache_ttl_seconds, settings.cache_max_entries, settings.is_cache_on) == (
        3600,
        1000,
        True,
    )
    assert settings.body_limit_bytes == 32 * 1024 * 1024
    assert settings.journal_sink == f"file:{settings.data_dir}"


@pytest.mark.parametrize(
    ("changes", "is_required"),
    [
        ({}, False),
        ({"key_required": True}, True),
        ({"key_required": False}, False),
        ({"is_hosted": True}, True),
    ],
    ids=str,
)
def test_a_key_is_wanted_hosted_and_wherever_somebody_says_so(
    changes: dict[str, object], is_required: bool
) -> None:
    given = hosted() if changes.pop("is_hosted", False) else changes

    assert ProxySettings(**given).is_key_required is is_required  # type: ignore[arg-type]  # as a case says


def test_hosted_nobody_can_do_without_keys() -> None:
    (complaint,) = complaints(**hosted(key_required=False))

    assert complaint.startswith("KEY_REQUIRED: ")


def test_names_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PORT", "9000")
    monkeypatch.setenv("PORT", "3001")
    monkeypatch.setenv("LOG_LEVEL", "")

    settings = ProxySettings()

    assert (settings.listen_port, settings.log_level) == (9000, "info")


def test_on_cloud_run_the_platforms_port_counts_and_every_address_listens() -> None:
    settings = ProxySettings(**hosted(port=8123))  # type: ignore[arg-type]  # made by a function

    assert (settings.listen_host, settings.listen_port) == ("0.0.0.0", 8123)
    assert (settings.journal_sink, settings.is_cache_on) == ("stdout", False)


def test_everything_wrong_is_told_at_once_and_no_value_with_it() -> None:
    told = complaints(
        proxy_port=70000,
        log_level="loud",
        openai_base_url="ftp://secret@host",
        tls_cert=Path("/missing"),
        modeltrack_secret="short-secret",
    )

    named = {line.partition(":")[0] for line in told}
    assert named == {
        "PROXY_PORT",
        "LOG_LEVEL",
        "OPENAI_BASE_URL",
        "TLS_CERT",
        "TLS_CERT, TLS_KEY",
        "MODELTRACK_SECRET",
    }
    assert not any(word in line for line in told for word in ("loud", "secret@", "short-secret", "70000"))


@pytest.mark.parametrize("changes", [{"proxy_port": 9464}, {"k_service": "proxy", "port": 9464}], ids=str)
def test_metrics_have_a_port_of_their_own(changes: dict[str, object]) -> None:
    told = complaints(metrics_port=9464, **changes)

    assert [line for line in told if line.startswith("METRICS_PORT: give another port")]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"store_url": "sqlite:////data/x.db"}, "STORE_URL"),
        ({"anthropic_base_url": "http://api.example.com"}, "ANTHROPIC_BASE_URL"),
        ({"azure_openai_endpoint": "https://one.openai.azure.com"}, "AZURE_OPENAI_ENDPOINT"),
        ({"journal": "file:/data"}, "JOURNAL"),
        ({"journal": "off"}, "JOURNAL"),
        ({"modeltrack_secret": ""}, "MODELTRACK_SECRET"),
        ({"modeltrack_secret": "changeme" * 5}, "MODELTRACK_SECRET"),
    ],
)
def test_hosted_refuses_what_would_lose_events_or_let_strangers_in(
    changes: dict[str, object], named: str
) -> None:
    (told,) = complaints(**hosted(**changes))

    assert told.startswith(f"{named}:")


def test_hosted_refuses_file_configuration(tmp_path: Path) -> None:
    (tmp_path / "budgets.json").write_text("{}")

    (told,) = complaints(**hosted(data_dir=tmp_path))

    assert "budgets.json" in told


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.com", Origin("https", "api.example.com", 443)),
        ("http://127.0.0.1:9/base/", Origin("http", "127.0.0.1", 9, "/base")),
        ("https://[::1]:8443", Origin("https", "::1", 8443)),
    ],
)
def test_a_base_url_says_where_to_dial(url: str, origin: Origin) -> None:
    assert origin_at(url) == origin


@pytest.mark.parametrize(
    "url", ["", "api.example.com", "ftp://x", "https://", "https://u:p@x", "https://x?q", "https://x#f"]
)
def test_a_url_that_could_mean_more_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        origin_at(url)


@pytest.mark.parametrize(
    "url",
    ["https://me:hunter2/9@host", "https://me\u2100:hunter2@host", "https://[hunter2]", "https://h:hunter2"],
)
def test_a_url_that_nobody_can_read_is_refused_without_a_word_of_it(url: str) -> None:
    (complaint,) = complaints(openai_base_url=url)

    assert complaint.startswith("OPENAI_BASE_URL: give a base URL")
    assert "hunter2" not in complaint
