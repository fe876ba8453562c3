"""What the command line of the comparison asks for."""

from pathlib import Path

import pytest

from bench.__main__ import options, planned, save
from bench.gateways import LITELLM, NGINX, PORTKEY, SQLITE
from bench.rows import ROWS


def test_by_default_every_row_through_every_gateway() -> None:
    plan = planned(options([]))

    assert plan.rows == list(ROWS)
    assert plan.has_starts
    assert plan.has_tls
    assert {NGINX, SQLITE, LITELLM, PORTKEY} <= set(plan.names)


def test_rows_gateways_and_tls_can_be_left_out() -> None:
    plan = planned(options(["--only", "sse", "json", "--gateways", "sqlite", "nginx", "--no-tls"]))

    assert [row.name for row in plan.rows] == ["json", "sse"]
    assert plan.names == [NGINX, SQLITE]
    assert not plan.has_starts
    assert not plan.has_tls


def test_peers_can_be_left_out() -> None:
    assert not {LITELLM, PORTKEY} & set(planned(options(["--no-peers"])).names)


def test_starts_alone_need_no_row() -> None:
    plan = planned(options(["--only", "start"]))

    assert plan.rows == []
    assert plan.has_starts


def test_streams_have_one_round_and_rates_their_own_seconds() -> None:
    plan = planned(options(["--rounds", "5", "--seconds", "2"]))
    by_name = {row.name: row for row in plan.rows}

    assert plan.rounds_of(by_name["json"]) == plan.rounds_of(by_name["latency"]) == 5
    assert plan.rounds_of(by_name["json-10k"]) == 4
    assert plan.rounds_of(by_name["streams"]) == 1
    assert plan.seconds_of(by_name["json"]) == 2
    assert plan.seconds_of(by_name["latency"]) == 4


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(["--only", "jsno"])

    assert "json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--rounds", "1", "--seconds", "0.1"], ["--rounds", "100", "--seconds", "600"]]
)
def test_bounds_of_rounds_and_seconds_are_taken(arguments: list[str]) -> None:
    plan = planned(options(arguments))

    assert [str(plan.rounds), f"{plan.seconds:g}"] == arguments[1::2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rounds", "0"], "argument --rounds: give a whole number from 1 to 100, not '0'"),
        (["--rounds", "101"], "argument --rounds: give a whole number from 1 to 100, not '101'"),
        (["--seconds=-1"], "argument --seconds: give a number from 0.1 to 600, not '-1'"),
        (["--seconds", "nan"], "argument --seconds: give a number from 0.1 to 600, not 'nan'"),
        (["--save", "/nowhere/x.json"], "argument --save: there is no folder '/nowhere'"),
        (["--save", "/"], "argument --save: '/' cannot be written"),
        (["--gateways", "litellm", "--no-peers"], "--no-peers leaves none of --gateways"),
    ],
)
def test_what_cannot_be_measured_or_kept_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        options(arguments)

    assert said in capsys.readouterr().err


def test_figures_are_kept_where_they_can_be_and_printed_where_they_no_longer_can(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = options(["--save", str(tmp_path / "x.json")]).save
    save(file, b'{"rows": 1}')
    assert file.read_bytes() == b'{"rows": 1}'
    assert options(["--save", str(file)]).save == file

    with pytest.raises(SystemExit, match=r"could not be written \(No such file or directory\)"):
        save(tmp_path / "gone" / "x.json", b'{"rows": 2}')

    assert capsys.readouterr().out == '{"rows": 2}\n'
