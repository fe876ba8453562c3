"""The published files before running proxies: in force within a second, refused when bad."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.system.calls import MESSAGES, Reply, call, message
from tests.system.deployment import Deployment
from tests.system.processes import LATE_SECONDS, Process, eventually

ACTS_WITHIN_SECONDS = 1.0


@pytest.fixture
def folder(deployment: Deployment) -> Path:
    found = deployment.folder / f"files-{uuid4().hex[:8]}"
    found.mkdir()
    return found


@pytest.fixture
def proxies(deployment: Deployment, folder: Path) -> Iterator[list[Process]]:
    """Two proxies of one machine: they share their files."""
    running = [deployment.start_proxy(data=folder.name) for _ in range(2)]
    yield running
    for each in running:
        each.stop()


@pytest.fixture
def team() -> str:
    """A team that no other test has."""
    return f"team-{uuid4().hex[:12]}"


def write_budget(folder: Path, team: str, limit: float, action: str = "block") -> None:
    entry = {"team": team, "app": "", "monthly_limit": limit, "action": action}
    (folder / "budgets.json").write_text(json.dumps({"budgets": [entry]}))


def ask(proxy: Process, team: str, model: str = "claude-sonnet-4-6") -> Reply:
    headers = {"x-api-key": f"sk-test-{team}", "anthropic-version": "2023-06-01", "X-ModelTrack-Team": team}
    return call(proxy.url, MESSAGES, message(model=model), headers)


def last_begun_before(is_new: Callable[[], bool]) -> float:
    """After how many seconds the last calls began that met what was before.

    When they ended says nothing: the store may be slow to answer the first call of a budget.
    """
    began = time.monotonic()
    begun: list[float] = []

    def look() -> bool:
        begun.append(time.monotonic() - began)
        return is_new()

    eventually(look, what="the change")
    return begun[-2] if len(begun) > 1 else 0.0


def all_answer(status: int, proxies: list[Process], team: str) -> Callable[[], bool]:
    return lambda: all(ask(each, team).status == status for each in proxies)


def says(proxy: Process, words: str) -> Callable[[], bool]:
    return lambda: words in proxy.log.read_text()


def test_a_changed_limit_acts_within_a_second_on_both_proxies(
    proxies: list[Process], folder: Path, team: str
) -> None:
    assert [ask(proxy, team).status for proxy in proxies] == [200, 200]

    for limit, status in ((0, 429), (500, 200), (0, 429)):
        write_budget(folder, team, limit)
        taken = last_begun_before(all_answer(status, proxies, team))
        assert taken <= ACTS_WITHIN_SECONDS + LATE_SECONDS


def test_a_bad_file_keeps_the_last_good_one_and_says_why(
    proxies: list[Process], folder: Path, team: str
) -> None:
    write_budget(folder, team, 0)
    eventually(lambda: all(ask(each, team).status == 429 for each in proxies), what="the budget")

    (folder / "budgets.json").write_text('{"budgets": [{"team": ')

    for proxy in proxies:
        eventually(says(proxy, "line 1, column 23: this is no JSON"), what="the complaint")
        assert ask(proxy, team).status == 429
        assert ask(proxy, f"{team}-other").status == 200


def test_a_rule_of_the_file_serves_the_cheaper_model_within_a_second(
    proxies: list[Process], folder: Path, team: str
) -> None:
    write_budget(folder, team, 0, "warn")  # of which 100 % are spent from the start
    rule = {
        "name": "budget-downgrade",
        "description": "",
        "trigger": "budget_percent_above",
        "threshold": 70,
        "from_models": ["claude-sonnet-4-6"],
        "to_model": "claude-haiku-4-5",
        "provider": "anthropic",
        "action": "downgrade",
        "enabled": True,
    }
    eventually(lambda: ask(proxies[0], team).header("x-modeltrack-budget-warning"), what="the warning")

    (folder / "routing.json").write_text(json.dumps({"rules": [rule]}))
    taken = last_begun_before(
        lambda: all(
            ask(each, team).header("x-modeltrack-routed-to") == "claude-haiku-4-5" for each in proxies
        )
    )

    assert taken <= ACTS_WITHIN_SECONDS + LATE_SECONDS
