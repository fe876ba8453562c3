"""What the single measurements and the demo provider refuse before they begin, with a line that says why."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import cold_start, cost, memory, pages, statistics
from demo import provider

REFUSED: list[tuple[Callable[[], object], list[str], str]] = [
    *(
        (
            memory.main,
            [f"--calls={given}"],
            f"--calls: give a whole number from 20 to 1,000,000,000, not '{given}'",
        )
        for given in ("0", "-5", "19", "1000000001", "many")
    ),
    (memory.main, ["--megabytes=19"], "--megabytes: give a whole number from 20 to 100,000, not '19'"),
    (pages.main, ["--events=0"], "--events: give a whole number from 1 to 100,000,000, not '0'"),
    (cold_start.main, ["--starts=0"], "--starts: give a whole number from 1 to 1,000, not '0'"),
    (
        statistics.main,
        ["--events", "10", "0"],
        "--events: give a whole number from 1 to 1,000,000,000, not '0'",
    ),
    (statistics.main, ["--teams=-1"], "--teams: give a whole number from 1 to 1,000,000, not '-1'"),
    (
        statistics.main,
        ["--folder=/nowhere"],
        "--folder: there is no folder '/nowhere' that can be written to",
    ),
    (cost.main, ["--measured=/nowhere"], "--measured: '/nowhere' cannot be read: No such file or directory"),
    (cost.main, ["--measured=/"], "--measured: '/' cannot be read: Is a directory"),
    (provider.main, ["--port=65536"], "--port: give a whole number from 0 to 65,535, not '65536'"),
    (provider.main, ["--port=-1"], "--port: give a whole number from 0 to 65,535, not '-1'"),
    (provider.main, ["--tls", "/no/1", "/no/2"], "--tls: they are no certificate and its key: No such file"),
]


@pytest.mark.parametrize(("main", "arguments", "said"), REFUSED)
def test_what_cannot_be_begun_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Callable[[], object],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["", *arguments])

    with pytest.raises(SystemExit, match="2"):
        main()

    assert said in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no JSON", b"\xff", b"[]", b"{}", b'{"rows":{"json":1}}'])
def test_a_file_that_is_no_measurement_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["", "--measured", str(tmp_path / "x.json")])

    with pytest.raises(SystemExit, match="2"):
        cost.main()

    assert "is nothing that `python -m bench --save` wrote: " in capsys.readouterr().err
