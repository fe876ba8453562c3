import fcntl
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system.soak import __main__ as command
from tests.system.soak.__main__ import LOCK, main
from tests.system.soak.course import CALLS_OF_A_RUN_MAX, Outcome, Soak, Terms

LEFT = ("deployment/proxy-1.log", "emulator/export", "modeltrack.db", "modeltrack.db-wal")


class Asked(NamedTuple):
    """What came of a command: its status, what it said, and the runs that it began."""

    status: int
    said: str
    runs: list[Terms]


class Command:
    """`python -m tests.system.soak` in a folder where an earlier run has been, with runs that end at once."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.folder = folder
        self.violations: list[str] = []
        self._patch, self._capsys, self._runs = patch, capsys, list[Terms]()
        ran = self._ran

        def run(soak: Soak) -> Outcome:
            return ran(soak)

        patch.setattr(Soak, "run", run)
        for name in LEFT:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        (folder / LOCK).touch()

    def __call__(self, *arguments: str) -> Asked:
        given = ["soak", "--store", "sqlite", "--out", str(self.folder), *arguments]
        self._patch.setattr(sys, "argv", given)
        try:
            status = main()
        except SystemExit as ended:
            status = int(str(ended.code))
        said = self._capsys.readouterr()
        return Asked(status, said.out + said.err, self._runs)

    @property
    def left(self) -> list[str]:
        return [name for name in LEFT if (self.folder / name).exists()]

    def _ran(self, soak: Soak) -> Outcome:
        self._runs.append(soak._terms)
        return Outcome(self.violations, [], [], [], 60.0)


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return Command(monkeypatch, capsys, tmp_path / "soak")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *(
            ([f"{option}={given}"], f"argument {option}: give a number from 0.1 to {most}, not '{given}'")
            for option, most in (("--minutes", "1,440"), ("--calls-per-second", "1,000"))
            for given in ("0", "-1", "nan", "inf", "half", "", "0.09", "1e9")
        ),
        *(
            (
                [f"--seed={given}"],
                f"argument --seed: give a whole number from 0 to 100,000,000, not '{given}'",
            )
            for given in ("-1", "100000001", "1.5", "", "²")
        ),
        (
            ["--minutes=1440", "--calls-per-second=1000"],
            "come to 86,400,000 calls; a run makes 4,000,000 at most",
        ),
    ],
)
def test_what_no_run_can_last_or_make_is_refused_before_anything_is_deleted(
    soak: Command, arguments: list[str], said: str
) -> None:
    asked = soak(*arguments)

    assert said in asked.said
    assert (asked.status, asked.runs, soak.left) == (2, [], list(LEFT))


@pytest.mark.parametrize(
    ("minutes", "rate", "seed"), [(0.1, 0.1, 0), (1440, 46, 100_000_000), (66, 1000, 1), (2, 30, 4711)]
)
def test_bounds_are_taken_and_what_an_earlier_run_left_is_deleted(
    soak: Command, minutes: float, rate: float, seed: int
) -> None:
    asked = soak(f"--minutes={minutes}", f"--calls-per-second={rate}", f"--seed={seed}")

    assert minutes * 60 * rate <= CALLS_OF_A_RUN_MAX
    assert asked.runs == [Terms(minutes * 60, seed, "sqlite", rate, soak.folder)]
    assert (asked.status, soak.left) == (0, [])


def test_a_second_run_in_one_folder_is_refused_and_takes_nothing_from_the_first(soak: Command) -> None:
    with (soak.folder / LOCK).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        asked = soak()

    assert f"argument --out: {soak.folder}: another run is in it: wait for its end" in asked.said
    assert (asked.status, asked.runs, soak.left) == (2, [], list(LEFT))
    assert soak().status == 0


def test_a_folder_that_no_run_made_keeps_what_lies_there(soak: Command) -> None:
    (soak.folder / LOCK).unlink()

    asked = soak()

    assert "no run left deployment there: give a folder of its own" in asked.said
    assert (asked.status, soak.left) == (2, list(LEFT))
    assert not (soak.folder / LOCK).exists()


def test_a_folder_that_cannot_be_is_told(soak: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    asked = soak("--out", str(tmp_path / "file" / "within"))

    assert "within: Not a directory" in asked.said
    assert asked.status == 2


def test_a_store_that_is_not_here_is_told_before_anything_is_deleted(
    soak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "default_store", lambda: "sqlite")

    asked = soak("--store", "firestore")

    assert "argument --store: there is no Firestore emulator here; sqlite needs none" in asked.said
    assert (asked.status, soak.left) == (2, list(LEFT))


def test_violations_are_counted_one_by_one_though_only_the_first_of_many_are_shown(soak: Command) -> None:
    soak.violations = [f"ada: refused without reason: call {number}" for number in range(334)]
    soak.violations += ["ada: budget tight: holds 5 nanodollars"]

    asked = soak()

    assert "\n335 violations; logs: " in asked.said
    lines = [line for line in asked.said.splitlines() if line.startswith("VIOLATION")]
    assert lines[19:] == [
        "VIOLATION ada: refused without reason: call 19",
        "VIOLATION and 314 more like the last 20",
        "VIOLATION ada: budget tight: holds 5 nanodollars",
    ]
    assert asked.status == 1
