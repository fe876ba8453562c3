"""What docs/settings.md says of the command is what it reads."""

import re
from pathlib import Path

import pytest

from modeltrack_cli.__main__ import main
from modeltrack_cli.settings import CommandSettings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_every_setting_is_documented_with_its_default_and_no_other() -> None:
    section = PAGE.read_text().partition("## The command `modeltrack`")[2]
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", section, re.MULTILINE))

    assert documented == {
        name.upper(): _cell(field.default) for name, field in CommandSettings.declared().items()
    }


def test_a_setting_that_makes_no_sense_is_told_by_name_and_never_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COST_EXPLORER_GRANULARITY", "canary")

    assert main(["reconcile"]) == 1

    assert capsys.readouterr().err == "modeltrack: COST_EXPLORER_GRANULARITY: give 'DAILY' or 'HOURLY'\n"


def _cell(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if isinstance(default, str) and default else "–"
