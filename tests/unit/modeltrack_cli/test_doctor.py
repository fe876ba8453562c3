"""What `modeltrack doctor` concludes from what it sees, on both sides of each limit."""

import argparse
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.version import VERSION, VERSION_HEADER
from modeltrack_cli.__main__ import main
from modeltrack_cli.doctor import (
    browsers,
    canary,
    checks,
    clocks,
    door,
    reachable,
    settled,
    store_rules,
    upkeep,
)
from modeltrack_cli.doctor.checks import CHECKS, examine
from modeltrack_cli.doctor.command import Given, add_arguments, deployment_of
from modeltrack_cli.doctor.findings import (
    WORDS_MAX,
    Finding,
    State,
    exit_code,
    words_of,
)
from modeltrack_cli.doctor.report import Progress, document, rows, wants_colours
from modeltrack_cli.doctor.visit import Canary, Deployment, Keys, Options, Reading
from modeltrack_cli.settings import CommandSettings
from tests.doubles.canned_visit import HOSTED, CannedVisit, answer
from tests.doubles.clock import ManualClock

PAGE = Path(__file__).parents[3] / "docs" / "operations" / "doctor.md"
OWN = Deployment(api_url="http://127.0.0.1:3001", proxy_url="http://127.0.0.1:8080", is_hosted=False)
REQUEST_ID = "req_" + "0" * 32
CALL = "proxy POST /anthropic/v1/messages"
REFUSED = answer({"error": {"details": {"error_code": "invalid_modeltrack_key"}}}, 401)
SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Strict-Transport-Security": "max-age=15552000",
}


def finding(state: State, advice: str = "") -> Finding:
    return Finding("call", "A call", state, "something", advice, 0.1)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["passed", "not_applicable"], 0),
        (["passed", "not_checked"], 2),
        (["not_checked", "failed"], 1),
    ],
)
def test_the_exit_status_tells_wrong_from_unseen(states: list[State], status: int) -> None:
    assert exit_code(map(finding, states)) == status


@given(st.text(max_size=2 * WORDS_MAX))
def test_what_others_say_commands_no_terminal(text: str) -> None:
    shown = words_of(text)

    assert shown.isprintable()
    assert len(shown) <= WORDS_MAX + 1


def test_the_page_lists_every_check_and_no_other() -> None:
    listed = re.findall(r"^\| (`[a-z_`, ]+) \|", PAGE.read_text(), re.MULTILINE)

    assert {name for cell in listed for name in re.findall(r"[a-z_]+", cell)} == {
        each.name for each in CHECKS
    }


def test_every_check_rests_on_earlier_ones() -> None:
    seen: set[str] = set()
    for check in CHECKS:
        assert set(check.needs) <= seen
        seen.add(check.name)


def test_silence_everywhere_is_told_once_a_service() -> None:
    found = list(examine(CannedVisit(deployment=OWN), lambda _: None))

    assert {each.check for each in found if each.state == "failed"} == {"api_health", "proxy_health"}
    assert "passed" not in {each.state for each in found}


@pytest.mark.parametrize(
    ("ahead", "state"),
    [((5.0, 6.0), "passed"), ((5.1, 6.1), "failed"), ((-6.1, -5.1), "failed"), ((-1, 1), "passed")],
)
def test_a_clock_may_be_five_seconds_off(ahead: tuple[float, float], state: State) -> None:
    visit = CannedVisit()
    visit.readings = [Reading("proxy", *ahead)]

    assert clocks.clocks(visit).state == state


def test_two_services_may_not_be_more_than_five_seconds_apart() -> None:
    visit = CannedVisit()
    visit.readings = [Reading("api", 3, 4), Reading("proxy", -4, -3)]

    assert clocks.clocks(visit).state == "failed"


def test_a_machine_whose_own_clock_is_off_is_told_so() -> None:
    visit = CannedVisit()
    visit.readings = [Reading("api", 60, 61), Reading("proxy", 60.5, 60.6)]

    assert "this machine's clock" in clocks.clocks(visit).advice


def test_the_date_of_an_answer_is_good_to_a_second() -> None:
    visit = CannedVisit({"api GET /health": answer({}, headers={"Date": "Sat, 21 Nov 2026 09:29:59 GMT"})})

    visit.read_date("api", visit.ask("api", "GET", "/health"))

    assert visit.readings[0].ahead_seconds == pytest.approx(0)


@pytest.mark.parametrize("date", ["", "yesterday", "Sat, 99 Nov 2026 09:29:59 GMT", "-1"])
def test_what_is_no_date_tells_no_time(date: str) -> None:
    visit = CannedVisit({"api GET /health": answer({}, headers={"Date": date})})

    visit.read_date("api", visit.ask("api", "GET", "/health"))

    assert not visit.readings


@pytest.mark.parametrize(
    ("api", "proxy", "state"),
    [
        ("0.1.0", "0.1.0", "passed"),
        ("0.2.0+0190f3c", "0.2.0+0190f3c", "passed"),
        ("0.1.0+0190f3c", "0.1.0+7c5d179", "failed"),
        ("0.0.9", "0.0.9", "failed"),
        ("0.1.0", "", "failed"),
        ("new", "new", "failed"),
    ],
)
def test_both_are_of_one_version_not_older_than_the_command(api: str, proxy: str, state: State) -> None:
    visit = CannedVisit()
    visit.versions = {"api": api, "proxy": proxy}

    assert reachable.versions(visit).state == state


@pytest.mark.parametrize(
    ("told", "lacking"),
    [
        ({}, ""),
        ({"Strict-Transport-Security": "max-age=15551999"}, "Strict-Transport-Security"),
        (
            {"Content-Security-Policy": "script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"},
            "limits scripts",
        ),
        ({"Content-Security-Policy": "img-src 'self'; frame-ancestors 'none'"}, "limits scripts"),
        ({"Content-Security-Policy": "default-src 'self'"}, "X-Frame-Options"),
        ({"Content-Security-Policy": "default-src 'self'", "X-Frame-Options": "DENY"}, ""),
        ({"X-Content-Type-Options": "sniff"}, "X-Content-Type-Options"),
        ({"Cache-Control": "private"}, "Cache-Control"),
    ],
)
def test_pages_have_what_browsers_need(told: Mapping[str, str], lacking: str) -> None:
    verdict = browsers.headers(CannedVisit({"api GET /login": answer(b"", headers={**SAFE, **told})}))

    assert verdict.state == ("failed" if lacking else "passed")
    assert lacking in verdict.found


@pytest.mark.parametrize(
    ("cookie", "lacking"),
    [
        ("__Host-a=1; Secure; HttpOnly; Path=/; SameSite=Lax", ""),
        ("__Host-a=1; secure; httponly; path=/; samesite=strict", ""),
        ("__Host-a=1; Secure; Path=/; SameSite=Lax", "HttpOnly"),
        ("__Host-a=1; Secure; HttpOnly; Path=/; SameSite=None", "SameSite"),
        ("__Host-a=1; HttpOnly; Path=/; SameSite=Lax", "Secure"),
        ("a=1; Secure; HttpOnly; Path=/; SameSite=Lax", "__Host-"),
        ("__Host-a=1; Secure; HttpOnly; Path=/; SameSite=Lax; Domain=example.com", "__Host-"),
    ],
)
def test_cookies_are_shut_to_scripts_other_sites_and_plain_http(cookie: str, lacking: str) -> None:
    verdict = browsers.cookies(CannedVisit({"api GET /overview": answer(b"", cookies=(cookie,))}))

    assert verdict.state == ("failed" if lacking else "passed")
    assert lacking in verdict.found


@pytest.mark.parametrize(
    ("state", "is_hosted", "expected"),
    [
        ("up", True, "passed"),
        ("unknown", True, "failed"),
        ("unknown", False, "passed"),
        ("down", False, "failed"),
    ],
)
def test_the_api_knows_the_proxy_where_strangers_come(state: str, is_hosted: bool, expected: State) -> None:
    told = {"store": {"state": "up"}, "proxy": {"state": state}}
    visit = CannedVisit({"api GET /v1/status": answer(told)})
    visit.deployment = HOSTED if is_hosted else OWN
    visit.versions["proxy"] = VERSION

    assert upkeep.parts(visit).state == expected


@pytest.mark.parametrize(("store", "state"), [("up", "not_checked"), ("down", "failed")])
def test_a_proxy_that_is_down_for_everybody_is_told_of_once(store: str, state: State) -> None:
    told = {"store": {"state": store}, "proxy": {"state": "down"}}

    assert upkeep.parts(CannedVisit({"api GET /v1/status": answer(told)})).state == state


@pytest.mark.parametrize(("told", "is_ours"), [({}, False), ({VERSION_HEADER: VERSION}, True)])
def test_not_everything_that_numbers_requests_is_the_api(told: dict[str, str], is_ours: bool) -> None:
    visit = CannedVisit({"proxy GET /health": answer({}, headers={"X-Request-ID": "req_1", **told})})

    assert (reachable.health(visit, "proxy").found == "that is the API") is is_ours


@pytest.mark.parametrize(("status", "advice"), [(403, "scope write"), (503, "the API's log")])
def test_a_key_that_could_not_be_made_tells_why(status: int, advice: str) -> None:
    visit = CannedVisit({"api POST /v1/keys": answer({}, status)}, options=Options(tries_revocation=True))

    verdict = door.revocation(visit)

    assert verdict.state == "not_checked"
    assert advice in verdict.advice


@pytest.mark.parametrize(
    ("day", "in_flight", "state"),
    [("2026-11-20", 1, "failed"), ("2026-11-21", 1, "passed"), ("2026-11-20", 0, "passed")],
)
def test_calls_of_ended_days_are_not_open(day: str, in_flight: int, state: State) -> None:
    told = {"data": [{"date": day, "admitted": 0, "in_flight": in_flight}], "last_check": None}

    assert upkeep.books(CannedVisit({"api GET /v1/conservation": answer(told)})).state == state


@pytest.mark.parametrize(
    ("admitted_on", "checked_on", "state"),
    [
        ("2026-11-19", None, "failed"),
        ("2026-11-19", "2026-11-18", "failed"),
        ("2026-11-19", "2026-11-19", "passed"),
        ("2026-11-20", None, "passed"),  # it ended nine hours ago
    ],
)
def test_a_day_is_checked_within_thirty_hours_of_its_end(
    admitted_on: str, checked_on: str | None, state: State
) -> None:
    checked = None if checked_on is None else {"date": checked_on, "is_sound": True}
    told = {"data": [{"date": admitted_on, "admitted": 1, "in_flight": 0}], "last_check": checked}

    assert upkeep.books(CannedVisit({"api GET /v1/conservation": answer(told)})).state == state


@pytest.mark.parametrize("told", [[], {"data": "x"}, {"recording": []}, "x", None])
def test_answers_of_another_form_break_nothing(told: object) -> None:
    visit = CannedVisit(
        {
            name: answer(told)
            for name in ("api GET /v1/status", "api GET /v1/conservation", "api GET /v1/budgets")
        }
    )

    for look in (upkeep.parts, upkeep.jobs, upkeep.books, canary.one_store, reachable.versions):
        assert look(visit).state != "passed" or look is upkeep.parts


def _books_alone(told: object, monkeypatch: pytest.MonkeyPatch) -> Finding:
    """What comes of the check `books` where the API says that."""
    check = next(each for each in CHECKS if each.name == "books")
    monkeypatch.setattr(checks, "CHECKS", (check._replace(needs=()),))
    visit = CannedVisit({"api GET /v1/conservation": answer(told)})
    (found,) = examine(visit, lambda _: None)
    return found


@pytest.mark.parametrize("in_flight", ["many", None, {}])
def test_an_answer_that_makes_no_sense_ends_no_other_check(
    in_flight: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"data": [{"date": "2026-11-19", "in_flight": in_flight}], "last_check": None}

    found = _books_alone(told, monkeypatch)

    assert found.state == "not_checked"
    assert "TypeError" in found.found


def test_nothing_that_is_answered_commands_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"data": [], "last_check": {"date": "\x1b]0;x\x07\n\x9b2J", "is_sound": False}}

    found = _books_alone(told, monkeypatch)

    assert found.state == "failed"
    assert found.found.isprintable()


def _called(headers: Mapping[str, str] | None = None, event: Mapping[str, Any] | None = None) -> CannedVisit:
    told = {
        "X-ModelTrack-Request-ID": REQUEST_ID,
        "X-ModelTrack-Cache": "BYPASS",
        "X-ModelTrack-Overhead-Ms": "1.5",
        **(headers or {}),
    }
    usage = {"usage": {"input_tokens": 7, "cache_read_input_tokens": 2, "output_tokens": 3}}
    visit = CannedVisit({CALL: answer(usage, headers=told)})
    visit.canary = Canary(visit.ask("proxy", "POST", "/anthropic/v1/messages"), has_provider_key=True)
    visit.canary.event = event
    return visit


EVENT: dict[str, Any] = {
    "cost_usd": 0.0001,
    "input_tokens": 7,
    "cache_read_tokens": 2,
    "output_tokens": 3,
    "unpriced": False,
}


def test_an_answer_in_pieces_need_not_tell_its_cost() -> None:
    whole, in_pieces = _called({"Content-Length": "10"}), _called(event=EVENT)

    assert canary.told(whole).state == "failed"
    assert canary.told(in_pieces).state == "passed"
    assert settled.cost(in_pieces).state == "passed"


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "passed"),
        ({"cost_usd": 0.00010001}, "failed"),
        ({"input_tokens": 8}, "failed"),
        ({"unpriced": True}, "failed"),
    ],
)
def test_cost_and_tokens_of_the_event_are_those_of_the_answer(
    change: Mapping[str, Any], state: State
) -> None:
    visit = _called({"X-ModelTrack-Cost-USD": "0.0001"}, {**EVENT, **change})

    assert settled.cost(visit).state == state


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("budget_exceeded", "the service itself works"),
        ("upstream_unreachable", "ANTHROPIC_BASE_URL"),
        ("wrong_scope", "scopes proxy and read"),
        ("key_not_verified", "its store"),
    ],
)
def test_a_refusal_of_the_proxys_own_is_told_from_the_providers(code: str, advice: str) -> None:
    visit = CannedVisit({CALL: answer({"error": {"code": code}}, 503)})
    visit.canary = Canary(visit.ask("proxy", "POST", "/anthropic/v1/messages"), has_provider_key=True)

    assert advice in canary.call(visit).advice


BUDGET = {
    "name": "all",
    "scope": {"team": "", "unattributed": False},
    "each": None,
    "enabled": True,
    "thresholds_percent": [80, 100],
    "percent": 80,
}


@pytest.mark.parametrize(
    ("budgets", "state"),
    [
        ([BUDGET], "failed"),
        ([BUDGET | {"percent": 79}], "passed"),
        ([BUDGET | {"enabled": False}], "passed"),
        ([BUDGET | {"scope": {"team": "search"}}], "passed"),
        ([BUDGET | {"each": "team"}], "passed"),
        ([BUDGET | {"thresholds_percent": []}], "passed"),
        (
            [BUDGET, BUDGET | {"percent": 90, "scope": {"team": "search"}}],
            "passed",
        ),  # that may be what counts
        ([], "passed"),
    ],
)
def test_a_budget_over_everything_is_warned_of(budgets: list[dict[str, Any]], state: State) -> None:
    visit = _called()
    visit.budgets = list(budgets)

    assert settled.budgets(visit).state == state


def test_an_event_is_waited_for_as_long_as_was_said() -> None:
    visit = _called()
    visit.answers[f"api GET /v1/events/{REQUEST_ID}"] = [*[answer({}, 404)] * 5, answer(EVENT)]
    assert settled.arrival(visit).state == "passed"

    visit.answers[f"api GET /v1/events/{REQUEST_ID}"] = answer({}, 404)
    began = visit.clock.monotonic()
    assert settled.arrival(visit).state == "failed"
    assert visit.clock.monotonic() - began == pytest.approx(30, abs=1.1)


MODELS = "proxy GET /anthropic/v1/models"
MADE = answer({"id": "key_1", "key": "mt_new", "created_at": "2026-11-21T09:30:00Z"}, 201)
REVOKED = {"api POST /v1/keys": MADE, "api DELETE /v1/keys/key_1": answer(b"", 204)}


def revoking(*answers: Any) -> CannedVisit:
    return CannedVisit({**REVOKED, MODELS: list(answers)}, options=Options(tries_revocation=True))


def test_a_revoked_key_may_work_for_a_second() -> None:
    soon = revoking(*[answer({})] * 5, REFUSED)
    late = revoking(*[answer({})] * 30, REFUSED)

    assert door.revocation(soon).state == "passed"
    assert door.revocation(late).state == "failed"


def test_one_instance_that_has_not_heard_is_enough() -> None:
    visit = revoking(answer({}), *[REFUSED, REFUSED, REFUSED, answer({})] * 20, REFUSED)

    assert door.revocation(visit).state == "failed"


def test_the_key_that_was_made_is_revoked_whatever_the_proxy_answers() -> None:
    visit = CannedVisit(REVOKED, options=Options(tries_revocation=True))

    assert door.revocation(visit).state == "failed"
    assert "api DELETE /v1/keys/key_1" in visit.asked


def test_a_key_that_cannot_be_revoked_is_named() -> None:
    visit = CannedVisit(
        {"api POST /v1/keys": MADE, MODELS: answer({})}, options=Options(tries_revocation=True)
    )

    assert "key_1" in door.revocation(visit).advice


def test_a_machine_of_ones_own_needs_no_key_and_no_project() -> None:
    local = type(HOSTED)(api_url="http://127.0.0.1:3001", proxy_url="http://127.0.0.1:8080", is_hosted=False)
    visit = CannedVisit(deployment=local)

    assert {door.nobody(visit).state, store_rules.rules(visit).state} == {"not_applicable"}


def test_advice_stands_below_what_was_found() -> None:
    wrong = finding("failed", "do this")

    plain, coloured = rows(wrong, is_coloured=False), rows(wrong, is_coloured=True)
    assert plain.splitlines()[0].startswith("✗ A call")
    assert plain.splitlines()[1].strip() == "→ do this"
    assert "\x1b" not in plain
    assert coloured.startswith("\x1b[1;31m✗\x1b[0m A call")


def test_left_out_and_not_checked_are_told_apart() -> None:
    assert "not checked" in rows(finding("not_checked"), is_coloured=False)
    assert "not checked" not in rows(finding("not_applicable"), is_coloured=False)


def test_json_holds_every_finding() -> None:
    told = json.loads(document(HOSTED, [finding("failed", "do this")]))

    assert told["exit_code"] == 1
    assert told["checks"] == [
        {
            "check": "call",
            "title": "A call",
            "state": "failed",
            "found": "something",
            "advice": "do this",
            "seconds": 0.1,
        }
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_on_a_terminal_alone() -> None:
    for stream, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        progress = Progress(stream)
        progress.begin(CHECKS[0])
        progress.clear()
        assert bool(stream.getvalue()) == is_shown


def parsed(*arguments: str) -> Given:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return Given.of(parser.parse_args(arguments))


def test_colours_are_for_terminals_and_can_be_switched_off() -> None:
    assert wants_colours(Terminal(), "")
    assert not wants_colours(Terminal(), "1")
    assert not wants_colours(io.StringIO(), "")


def test_a_file_of_authorities_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")

    assert main(["doctor"], ManualClock()) == 2
    assert "REQUESTS_CA_BUNDLE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--wait", "601"],
        ["--http-port", "0"],
        ["--http-port", "65536"],
        ["--key", "x"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)

    assert ended.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "ftp://api.example.com",
        "https://u:p@api.example.com",
        "https://[",
        "https://a:b/",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_repeated(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELTRACK_URL", url or "x")

    assert main(["doctor"], ManualClock()) == 2
    said = capsys.readouterr().err
    assert "MODELTRACK_URL" in said
    assert "u:p" not in said


@pytest.mark.parametrize(
    ("api", "proxy", "kind", "is_hosted"),
    [
        ("http://127.0.0.1:3001", "http://localhost:8080", "", False),
        ("http://127.0.0.1:3001", "https://proxy.example.com", "", True),
        ("https://localhost", "https://localhost", "hosted", True),
        ("https://a.example", "https://p.example", "self-hosted", False),
    ],
)
def test_this_machines_own_is_taken_for_self_hosted(api: str, proxy: str, kind: str, is_hosted: bool) -> None:
    given = parsed("--url", api, "--proxy-url", proxy, *(["--kind", kind] if kind else []))

    assert deployment_of(given, CommandSettings()).is_hosted == is_hosted


def test_keys_do_not_show_in_their_text() -> None:
    assert "mt_x" not in repr(Keys("mt_x", "sk-x")) + str(Keys("mt_x", "sk-x"))
