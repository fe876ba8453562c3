"""What a run prints of what it looked at."""

import json
from collections.abc import Sequence

from modeltrack_cli.privacy.canaries import Canaries
from modeltrack_cli.privacy.looking import Gaze, Looked
from modeltrack_cli.privacy.report import document, exit_code, lines
from modeltrack_cli.privacy.run import Outcome
from modeltrack_cli.privacy.search import Wanted
from modeltrack_cli.privacy.sending import Post


def outcome_of(looked: Sequence[Looked]) -> Outcome:
    post = Post({"api": "http://127.0.0.1:9", "proxy": "http://127.0.0.1:9"}, seconds=1.0, ca_file=None)
    canaries = Canaries()
    gaze = Gaze(post, Wanted(canaries, {}))
    gaze.looked += looked
    return Outcome(canaries, post, gaze, 0)


def printed(looked: Sequence[Looked]) -> list[str]:
    """The lines of what was looked at, with single spaces."""
    found = [" ".join(line.split()) for line in lines(outcome_of(looked), has_logs=True)]
    return [line for line in found if line.startswith(("looked at", "✓", "–"))]


def test_each_source_is_printed_once_below_what_it_is() -> None:
    looked = [
        Looked("page /models for you", 10, 1),
        Looked("page /events for you", 100, 5),
        Looked("API GET /v1/events", 1, 1, "it answers 404"),
        Looked("page /events for you", 2_000, 6),
        Looked("log proxy.log", 7, 2, "tells of 3 requests of this run"),
        Looked("the account's export", 9, 4, "whole"),
        Looked("figures at 127.0.0.1:9464", 8, 3),
        Looked("proxy GET /metrics", 5, 1),
    ]

    assert printed(looked) == [
        "looked at: the account's export, and what was answered (1)",
        "✓ the account's export 9 bytes 4 lines whole",
        "looked at: questions of the API (1)",
        "✓ API GET /v1/events 1 bytes 1 lines it answers 404",
        "looked at: pages (2)",
        "✓ page /events for you ×2 2,100 bytes 11 lines",
        "✓ page /models for you 10 bytes 1 lines",
        "looked at: the proxy's figures (1)",
        "✓ proxy GET /metrics 5 bytes 1 lines",
        "looked at: what was given besides (2)",
        "✓ figures at 127.0.0.1:9464 8 bytes 3 lines",
        "✓ log proxy.log 7 bytes 2 lines tells of 3 requests of this run",
    ]


def test_a_source_of_which_one_answer_could_not_be_looked_at_was_not_all_looked_at() -> None:
    trouble = "it answers 500"
    looked = [Looked("page /a for you", 1, 1), *[Looked("page /a for you", 2, 1, trouble, trouble)] * 2]

    assert printed(looked)[1:] == ["– page /a for you ×3 5 bytes 3 lines not all looked at: it answers 500"]
    assert exit_code(outcome_of(looked)) == 2


def test_the_document_names_each_source_once_with_how_often_it_was_asked() -> None:
    looked = [Looked("page /a for you", 1, 1), Looked("page /a for you", 2, 1)]

    told = json.loads(document(outcome_of(looked), has_logs=True))

    assert told["looked_at"] == [
        {"source": "page /a for you", "bytes": 3, "lines": 2, "note": "", "trouble": "", "times": 2}
    ]


def test_reports_of_many_periods_are_one_line_but_for_those_that_could_not_be_looked_at() -> None:
    periods = ["2026-11", "2026-W47", "2026-Q4"]
    bad = Looked("page /reports/2026-10 for you", 0, 0, "", "it answers 500")
    looked = [*[Looked(f"page /reports/{each} for you", 2, 1) for each in periods], bad]

    assert printed(looked)[1:] == [
        "– page /reports/2026-10 for you 0 bytes 0 lines not all looked at: it answers 500",
        "✓ page /reports/{period} for you ×3 6 bytes 3 lines",
    ]
    assert len(json.loads(document(outcome_of(looked), has_logs=True))["looked_at"]) == 4
