"""docs/settings.md lists every setting with its default."""

import re
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest

from api_service.functions.settings import FunctionSettings
from api_service.settings import ApiSettings, SendingSettings
from metering.settings import DeploymentSettings, SettingsRefused
from proxy_service.settings import ProxySettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
SECTIONS = {
    "Both services": DeploymentSettings,
    "Proxy": ProxySettings,
    "API and functions": SendingSettings,
    "API": ApiSettings,
    "Functions": FunctionSettings,
}


def _section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def _rows(title: str) -> dict[str, str]:
    """Setting → its default's cell."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", _section(title), re.MULTILINE)
    return {name: default for names, default in rows for name in re.findall(r"`([A-Z_]+)`", names)}


def _own_fields(settings: type[DeploymentSettings]) -> set[str]:
    inherited = {name for each in SECTIONS.values() if issubclass(settings, each) and settings is not each
                 for name in each.declared()}  # fmt: skip
    return {name.upper() for name in set(settings.declared()) - inherited}


@pytest.mark.parametrize(("title", "settings"), SECTIONS.items(), ids=list(SECTIONS))
def test_every_setting_is_documented_and_no_other(title: str, settings: type[DeploymentSettings]) -> None:
    assert set(_rows(title)) == _own_fields(settings)


@pytest.mark.parametrize(("title", "settings"), SECTIONS.items(), ids=list(SECTIONS))
def test_every_plain_default_is_the_documented_one(title: str, settings: type[DeploymentSettings]) -> None:
    rows = _rows(title)
    for name in _own_fields(settings):
        default = settings.declared()[name.lower()].default
        if isinstance(default, bool):
            assert rows[name] == f"`{str(default).lower()}`"
        elif isinstance(default, int | float) or (isinstance(default, str) and default):
            assert rows[name].startswith(f"`{default:g}`" if isinstance(default, float) else f"`{default}`")


@pytest.mark.parametrize("settings", SECTIONS.values(), ids=list(SECTIONS))
@pytest.mark.parametrize("nonsense", ["canary", "-1", "1.5", "1e400", "9" * 5000])
def test_nonsense_is_answered_with_what_to_give_and_never_repeated(
    settings: type[DeploymentSettings], nonsense: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, field in settings.declared().items():
        plain = get_args(field.kind)[0] if get_origin(field.kind) is Annotated else field.kind
        if plain not in {str, Path, Path | None}:
            monkeypatch.setenv(name.upper(), nonsense)

    with pytest.raises(SettingsRefused) as refused:
        settings()

    assert refused.value.complaints
    for line in refused.value.complaints:
        assert re.match(r"[A-Z_, ]+: (give|at least|required|hosted)", line)
        assert "hould be" not in line
        assert nonsense not in line
