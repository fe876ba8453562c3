"""What the command line of the comparison asks for."""

import pytest

from bench.__main__ import options, planned
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
