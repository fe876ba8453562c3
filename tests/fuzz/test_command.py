"""What `make fuzz` is asked for: bounded, since libFuzzer takes 0 seconds as without end."""

import sys

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz.targets import TARGETS


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was looked at, for how many seconds."""
    looked: list[tuple[str, int]] = []

    def look(target: str, seconds: int) -> bool:
        looked.append((target, seconds))
        return True

    monkeypatch.setattr(command, "look", look)
    return looked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *(
            ([f"--seconds={given}"], f"--seconds: give a whole number from 1 to 86,400, not '{given}'")
            for given in ("0", "-1", "86401", "1.5", "")
        ),
        (["no_target"], f"there is no 'no_target'; choose from {', '.join(TARGETS)}"),
    ],
)
def test_what_would_never_end_or_is_no_target_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looked: list[tuple[str, int]],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz", *arguments])

    with pytest.raises(SystemExit, match="2"):
        command.main()

    assert said in capsys.readouterr().err
    assert looked == []


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], [(each, 60) for each in TARGETS]),
        (["--seconds=1", next(iter(TARGETS))], [(next(iter(TARGETS)), 1)]),
        (["--seconds=86400"], [(each, 86_400) for each in TARGETS]),
    ],
)
def test_targets_are_looked_at_for_so_long_each_and_all_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch,
    looked: list[tuple[str, int]],
    arguments: list[str],
    wanted: list[tuple[str, int]],
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz", *arguments])

    with pytest.raises(SystemExit, match=r"0|False"):
        command.main()

    assert looked == wanted


def test_its_usage_names_the_targets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz", "--help"])

    with pytest.raises(SystemExit, match="0"):
        command.main()

    said = capsys.readouterr().out
    assert "[]" not in said
    assert all(each in said for each in TARGETS)
