"""What `make run` starts, as far as it can be told without starting it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

from demo.children import is_routine
from demo.run import (
    DEMO_KEYS_KEPT,
    REAL_DATA,
    CannotStart,
    Household,
    Plan,
    complaints_of_services,
    demo_key,
    emulator_if_asked_for,
    environment_of_services,
    plan_from,
    welcome,
)
from metering.accounts import LOCAL_ACCOUNT_ID
from metering.directory import Directory
from metering.keys import is_well_formed_key
from metering.opening import open_store
from metering.settings import LOCAL_DATA, DeploymentSettings, deployment_secret
from tests.doubles.clock import ManualClock

DEMO = Plan(proxy_port=8080, api_port=3001, demo_port=8090, data_dir=LOCAL_DATA)
REAL = Plan(proxy_port=8080, api_port=3001, demo_port=None, data_dir=REAL_DATA)


def test_the_emulator_is_shut_to_strangers_by_our_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Path] = []

    def started(rules: Path) -> AbstractContextManager[str]:
        given.append(rules)
        return nullcontext("127.0.0.1:1")

    monkeypatch.setattr("demo.run.running_emulator", started)
    monkeypatch.setenv("STORE_URL", "firestore://demo-modeltrack")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "")

    with emulator_if_asked_for():
        assert [rules.name for rules in given if rules.is_file()] == ["firestore.rules"]


def test_nothing_said_means_the_published_ports_and_the_demo_provider() -> None:
    assert plan_from({}) == DEMO
    assert plan_from({"UPSTREAM": "", "PROXY_PORT": ""}) == DEMO


def test_the_real_providers_are_talked_to_only_when_asked_for() -> None:
    plan = plan_from({"UPSTREAM": "real"})

    assert plan == REAL
    assert "ANTHROPIC_BASE_URL" not in environment_of_services(plan, {})


def test_the_demo_provider_stands_in_for_every_provider() -> None:
    told = environment_of_services(DEMO, {"LOG_LEVEL": "debug"})

    urls = {told[name] for name in told if name.endswith(("_BASE_URL", "_ENDPOINT_URL", "_ENDPOINT"))}
    assert urls == {"http://127.0.0.1:8090"}
    assert told["LOG_LEVEL"] == "debug"


@pytest.mark.parametrize(
    "environment",
    [
        {"UPSTREAM": "fake"},
        {"PORT": "0"},
        {"PROXY_PORT": "65536"},
        {"DEMO_PORT": "x"},
        {"METRICS_PORT": "9464"},  # both services would be told it
    ],
)
def test_what_makes_no_sense_is_refused_by_name(environment: dict[str, str]) -> None:
    with pytest.raises(CannotStart, match=next(iter(environment))):
        plan_from(environment)


def test_everything_that_makes_no_sense_is_said_at_once() -> None:
    with pytest.raises(CannotStart) as refused:
        plan_from({"UPSTREAM": "fake", "PORT": "x", "DEMO_PORT": "99999"})

    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "UPSTREAM",
        "PORT",
        "DEMO_PORT",
    ]


@pytest.mark.parametrize("environment", [{"PORT": "8080"}, {"DEMO_PORT": "3001"}], ids=str)
def test_two_of_ours_on_one_port_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(CannotStart, match="three different ports"):
        plan_from(environment)


def test_the_demo_providers_port_does_not_matter_without_it() -> None:
    assert plan_from({"UPSTREAM": "real", "DEMO_PORT": "3001"}) == REAL


def test_a_newcomer_is_shown_addresses_key_login_and_lines_to_paste() -> None:
    shown = welcome(DEMO, "mt_key", "pass-word")

    for each in ("http://127.0.0.1:8080", "http://127.0.0.1:3001", "http://127.0.0.1:8090", "pass-word"):
        assert each in shown
    assert shown.count("curl http") == 1
    assert "Bearer mt_key" in shown


def test_a_password_is_shown_at_the_first_start_only() -> None:
    assert "as shown at the first start" in welcome(REAL, "mt_key", None)


def test_real_calls_are_kept_apart_from_the_demos_unless_told_otherwise() -> None:
    assert plan_from({"UPSTREAM": "real", "DATA_DIR": ""}).data_dir == LOCAL_DATA / "real"
    assert plan_from({"UPSTREAM": "real", "DATA_DIR": "mine"}).data_dir == Path("mine")
    assert environment_of_services(REAL, {})["DATA_DIR"] == str(LOCAL_DATA / "real")
    for plan in (DEMO, REAL):
        assert "data/real" in welcome(plan, "mt_key", None)


def test_a_folder_of_ones_own_is_named_and_nothing_claimed_of_others() -> None:
    shown = welcome(msgspec.structs.replace(DEMO, data_dir=Path("/srv/mine")), "mt_key", None)

    assert "/srv/mine\n" in shown
    assert "data/real" not in shown


def test_whoever_lost_the_password_is_told_what_to_do() -> None:
    assert "lost it?" in welcome(DEMO, "mt_key", None)
    assert "not shown again" in welcome(DEMO, "mt_key", "pass-word")


def test_what_both_services_refuse_is_said_once_beside_what_make_run_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("CACHE_MAX_ENTRIES", "0")

    with pytest.raises(CannotStart) as refused:
        plan_from({"PORT": "x"}, complaints_of_services())

    named = [line.partition(":")[0] for line in str(refused.value).splitlines()]
    assert named == ["PORT", "LOG_LEVEL", "CACHE_MAX_ENTRIES"]


def test_a_key_in_use_survives_any_number_of_starts_and_unused_ones_do_not_pile_up(tmp_path: Path) -> None:
    plan, clock = msgspec.structs.replace(DEMO, data_dir=tmp_path), ManualClock()
    settings = DeploymentSettings(data_dir=tmp_path)
    store = open_store(settings.store_url)
    directory = Directory(store, clock, deployment_secret(settings))
    used = directory.key_by_plain(demo_key(plan, clock))
    assert used
    for _ in range(2 * DEMO_KEYS_KEPT):
        clock.advance(timedelta(hours=1).total_seconds())
        directory.note_key_use(used.key_hash, clock.now())
        latest = demo_key(plan, clock)

    live = [each for each in directory.keys_of(LOCAL_ACCOUNT_ID) if each.is_live(clock.now())]
    hashes = {each.key_hash for each in live}
    store.close()

    assert is_well_formed_key(latest)
    assert len(live) == DEMO_KEYS_KEPT
    assert used.key_hash in hashes


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"level":"info","event":"call"}', True),
        ('{"level":"warn","event":"store gives no answer"}', True),
        ('{"level":"error","event":"not started"}', False),
        ("Traceback (most recent call last):", False),
        ("[1]", False),
    ],
)
def test_only_errors_are_taken_for_the_cause_of_an_end(line: str, expected: bool) -> None:
    assert is_routine(line) is expected


@pytest.fixture
def household() -> Iterator[Household]:
    """Nobody in it; what it does with signals ends with the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Household()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("lines_before", range(8))
def test_whatever_line_of_its_wait_a_signal_meets_the_wait_ends(
    household: Household, lines_before: int
) -> None:
    lines_left = lines_before

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines_left
        if event == "line":
            lines_left -= 1
            if lines_left == -1:
                signal.raise_signal(signal.SIGTERM)
        return trace

    sys.settrace(trace)
    try:
        household.wait()
    finally:
        sys.settrace(None)

    assert household.is_asked_to_stop


def test_a_signal_that_wakes_nobody_ends_the_wait_all_the_same(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes after Python has looked for signals and before the wait for news has begun."""
    real = household._await_news

    def await_news(seconds: float) -> None:
        household._signals += 1
        real(seconds)

    monkeypatch.setattr(household, "_await_news", await_news)

    household.wait()

    assert household.is_asked_to_stop
