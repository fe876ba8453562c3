import sys
from pathlib import Path

import pytest

from tests.system.soak.__main__ import main


@pytest.mark.parametrize("option", ["--minutes", "--calls-per-second"])
@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "half", ""])
def test_what_no_run_can_last_or_make_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, given: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", f"{option}={given}"])

    with pytest.raises(SystemExit, match="2"):
        main()

    assert f"argument {option}: give a number of more than 0, not '{given}'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["soak", "--out", str(tmp_path / "file" / "within")])

    with pytest.raises(SystemExit, match="2"):
        main()

    assert "within: Not a directory" in capsys.readouterr().err
