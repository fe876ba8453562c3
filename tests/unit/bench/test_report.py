"""Medians, ratios, and what is asked beside what was measured."""

import pytest

from bench.gateways import DIRECT, FIRESTORE, LITELLM, NGINX, PORTKEY, SQLITE, UNGOVERNED
from bench.report import PLAIN, Figures, Results, asked, ending, medians, saved, share_of_others, table
from bench.rows import ROWS, Row

JSON, STREAM, LATENCY, STREAMS = (
    next(row for row in ROWS if row.name == name) for name in ("json", "sse", "latency", "streams")
)


def _figures(cpu: float, rate: float = 1_000.0) -> Figures:
    return {"cpu": cpu, "rate": rate, "broken": 0.0, "others": 0.1}


def _late(p50: float, p99: float) -> Figures:
    return {
        "whole p50": p50,
        "whole p99": p99,
        "first p50": p50,
        "first p99": p99,
        "broken": 0.0,
        "others": 0.0,
    }


def _results(row: Row, **of_gateways: list[Figures]) -> Results:
    names = {"direct": DIRECT, "nginx": NGINX, "off": UNGOVERNED, "sqlite": SQLITE, "firestore": FIRESTORE}
    results = Results()
    for name, rounds in of_gateways.items():
        for figures in rounds:
            results.add(row.name, PLAIN, names[name], figures)
    return results


def _table(row: Row, results: Results) -> str:
    return table(row, results.measured[row.name])


def test_of_rounds_the_median_counts() -> None:
    assert medians({NGINX: [_figures(30), _figures(90), _figures(32)]})[NGINX]["cpu"] == 32


def test_a_row_shows_each_gateway_beside_nginx() -> None:
    results = _results(
        JSON, direct=[_figures(0, 32_000)], nginx=[_figures(32, 18_000)], sqlite=[_figures(128, 7_500)]
    )

    lines = _table(JSON, results).splitlines()

    cells = [line.split() for line in lines]
    assert ["ModelTrack", "128", "4.0", "7,500"] in cells
    assert ["direct", "32,000"] in cells
    assert "  plain: 4.0 x nginx (asked: at most 4.0)" in lines


def test_on_the_emulator_calls_a_second_are_no_result() -> None:
    shown = _table(JSON, _results(JSON, nginx=[_figures(32)], firestore=[_figures(160, 5_000)]))

    assert "5.0" in shown
    assert "5,000" not in shown


def test_what_governing_adds_and_how_much_dearer_peers_are_is_said() -> None:
    side = {
        SQLITE: _figures(120),
        UNGOVERNED: _figures(100),
        LITELLM: _figures(18_000),
        PORTKEY: _figures(2_400),
    }

    assert asked(JSON, side) == [
        "governing adds +20% (asked: at most +40%); LiteLLM x150 (asked: at least x150);"
        " Portkey x20 (asked: at least x18)"
    ]
    assert "Portkey x20 (asked: at least x12)" in asked(STREAM, side)[0]


def test_without_us_nothing_is_asked() -> None:
    assert asked(JSON, {NGINX: _figures(32)}) == []


def test_latency_is_shown_as_what_is_added_to_a_direct_call() -> None:
    shown = _table(LATENCY, _results(LATENCY, direct=[_late(50.2, 51.0)], sqlite=[_late(50.7, 52.5)]))

    assert ["ModelTrack", "+0.50", "+1.50", "+0.50", "+1.50"] in [line.split() for line in shown.splitlines()]
    assert "adds 0.50 ms at p50 (asked: at most 0.6), 1.50 at p99 (2.5)" in shown


def test_of_streams_the_longest_gap_memory_and_share_of_the_core_are_said() -> None:
    figures = {"whole": 999.0, "gap max": 140.4, "resident": 80.2, "core": 0.41, "broken": 1.0, "others": 0.0}

    shown = _table(STREAMS, _results(STREAMS, sqlite=[figures]))

    assert "999 of 1,000 whole, longest gap 140 ms (asked: all, at most 150), 80 MB (120), 41 %" in shown
    assert "ModelTrack broke 1 calls" in shown


def test_starts_and_audits_come_last() -> None:
    results = _results(JSON, sqlite=[_figures(100)])
    results.starts = {SQLITE: {"start": 151.2, "idle": 35.6}, LITELLM: {"idle": 370.0}}
    results.audits = ["the same"]

    *_, ours, theirs, wanted, _, audit = ending(results).splitlines()

    assert ours.split() == ["ModelTrack", "151", "ms", "36", "MB"]
    assert theirs.split() == ["LiteLLM", "370", "MB"]
    assert "at most 400 ms and 80 MB" in wanted
    assert audit == "the same"


def test_the_share_of_others_is_of_the_gateways_core_alone() -> None:
    busy = _figures(100) | {"others": 0.5}

    assert share_of_others(_results(JSON, direct=[busy], sqlite=[_figures(100)])) == pytest.approx(0.1)
    assert share_of_others(Results()) == 0


def test_medians_are_saved_for_a_program() -> None:
    results = _results(JSON, sqlite=[_figures(100), _figures(110)])

    rows = saved(results)["rows"]

    assert rows == {"json": {PLAIN: {SQLITE: _figures(105)}}}
