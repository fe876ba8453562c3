"""The published files, word for word; and what is kept in force when one of them makes no sense."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.budgets import BUDGETS_MAX, Budget, Scope
from metering.file_configuration import (
    FILE_BYTES_MAX,
    FileConfiguration,
    FileState,
    WatchedFiles,
    configuration_files,
)
from metering.file_formats import read_budgets
from metering.ids import repeatable_digest
from metering.model_names import OUT_OF_REACH
from metering.routing import RoutingRule
from tests.builders import make_policy
from tests.doubles.clock import ManualClock

DOLLAR = 1_000_000_000
PUBLISHED_BUDGETS = """{
  "budgets": [
    {"team": "ml-research", "app": "", "monthly_limit": 500, "action": "block"},
    {"team": "product", "app": "chatbot", "monthly_limit": 200, "action": "warn"},
    {"team": "product", "app": "search", "monthly_limit": 100, "action": "block"}
  ]
}
"""
PUBLISHED_ROUTING = """{
  "rules": [
    {
      "name": "budget-downgrade",
      "description": "Downgrade Sonnet to Haiku when a team reaches 70% of its budget",
      "trigger": "budget_percent_above",
      "threshold": 70,
      "from_models": ["claude-sonnet-4-6"],
      "to_model": "claude-haiku-4-5",
      "provider": "anthropic",
      "action": "downgrade",
      "enabled": true
    },
    {
      "name": "openai-budget-downgrade",
      "description": "Downgrade GPT-4o at 80%",
      "trigger": "budget_percent_above",
      "threshold": 80,
      "from_models": ["gpt-4o"],
      "to_model": "gpt-4o-mini",
      "provider": "openai",
      "action": "downgrade",
      "enabled": true
    }
  ],
  "opt_out_header": "X-ModelTrack-No-Route",
  "fallback_behavior": "passthrough"
}
"""
ONE = {"team": "a", "app": "", "monthly_limit": 1, "action": "block"}
RULE = json.loads(PUBLISHED_ROUTING)["rules"][0]


def budgets(*entries: Any) -> str:
    return json.dumps({"budgets": entries})


def rules(*entries: Any, **others: Any) -> str:
    return json.dumps({"rules": entries, **others})


class Machine:
    """A folder with files, and somebody who watches it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.restart()

    def restart(self) -> None:
        self._watched = WatchedFiles(configuration_files(self.folder, None), ManualClock())

    def write(self, name: str, text: str | bytes) -> FileConfiguration:
        data = text if isinstance(text, bytes) else text.encode()
        (self.folder / name).write_bytes(data)
        return self.look()

    def look(self) -> FileConfiguration:
        return self._watched.look()

    def state(self, name: str) -> FileState:
        return {each.file: each for each in self.look().states}[name]  # type: ignore[index]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_published_budgets_are_read_word_for_word(machine: Machine) -> None:
    found = machine.write("budgets.json", PUBLISHED_BUDGETS).budgets

    assert [(each.name, each.scope, each.limit_nanodollars, each.action) for each in found] == [
        ("ml-research", Scope(team="ml-research"), 500 * DOLLAR, "block"),
        ("product/chatbot", Scope(team="product", app="chatbot"), 200 * DOLLAR, "warn"),
        ("product/search", Scope(team="product", app="search"), 100 * DOLLAR, "block"),
    ]
    assert {(each.period, each.timezone, each.source, each.enabled) for each in found} == {
        ("month", "UTC", "file", True)
    }


def test_the_published_rules_are_read_word_for_word(machine: Machine) -> None:
    found = machine.write("routing.json", PUBLISHED_ROUTING)

    assert [(each.name, each.threshold, each.from_models, each.to_model) for each in found.routing_rules] == [
        ("budget-downgrade", 70, ("claude-sonnet-4-6",), "claude-haiku-4-5"),
        ("openai-budget-downgrade", 80, ("gpt-4o",), "gpt-4o-mini"),
    ]
    assert [each.provider for each in found.routing_rules] == ["anthropic", "openai"]
    assert {each.source for each in found.routing_rules} == {"file"}
    assert found.opt_out_header == "X-ModelTrack-No-Route"


def test_a_file_may_begin_with_a_mark_of_its_byte_order(machine: Machine) -> None:
    plain = machine.write("budgets.json", PUBLISHED_BUDGETS).budgets

    assert machine.write("budgets.json", b"\xef\xbb\xbf" + PUBLISHED_BUDGETS.encode() + b" ").budgets == plain
    assert machine.state("budgets.json").complaints == ()


def test_namespaces_are_read(machine: Machine) -> None:
    found = machine.write("namespace_map.json", '{"ml-training": "ml-research", "default": "platform"}')

    assert found.namespace_teams == {"ml-training": "ml-research", "default": "platform"}


def test_without_files_nothing_is_said(machine: Machine) -> None:
    assert machine.look().budgets == ()
    assert {(each.state, each.entries) for each in machine.look().states} == {("absent", 0)}


def test_a_changed_limit_keeps_the_budgets_id(machine: Machine) -> None:
    (before,) = machine.write("budgets.json", budgets(ONE)).budgets
    (after,) = machine.write("budgets.json", budgets(ONE | {"monthly_limit": 2, "action": "warn"})).budgets
    (other,) = machine.write("budgets.json", budgets(ONE | {"app": "b"})).budgets

    assert (before.budget_id, after.limit_nanodollars) == (after.budget_id, 2 * DOLLAR)
    assert before.budget_id == f"budget_{repeatable_digest('budget_of_file', 'a', '')}"
    assert other.budget_id != before.budget_id


@given(st.integers(0, 10**15))
def test_a_limit_is_read_to_the_nanodollar(nanodollars: int) -> None:
    text = f"{nanodollars // DOLLAR}.{nanodollars % DOLLAR:09d}"
    data = budgets(ONE).replace('"monthly_limit": 1', f'"monthly_limit": {text}')

    (read,) = read_budgets(data.encode())

    assert read.limit_nanodollars == nanodollars


def test_nothing_new_is_the_same_object(machine: Machine) -> None:
    before = machine.write("budgets.json", PUBLISHED_BUDGETS)

    assert machine.look() is before


BAD_BUDGETS = {
    "half": (PUBLISHED_BUDGETS[:80], "line 3, column 62: this is no JSON"),
    "empty": ("", "line 1, column 1: this is no JSON"),
    "no UTF-8": (b"\xff{}", "this is no JSON in UTF-8"),
    "not a number": (budgets(ONE | {"monthly_limit": float("nan")}), "NaN and Infinity are not numbers"),
    "two marks of its byte order": (b"\xef\xbb\xbf\xef\xbb\xbf{}", "line 1, column 1: this is no JSON"),
    "deep": ("[" * 100_000, "this is no JSON in UTF-8"),
    "a list": ("[]", "give a JSON object"),
    "negative": (
        budgets(ONE | {"monthly_limit": -0.01}),
        "budgets.0.monthly_limit: give US dollars from 0 to 1000000000, as a number",
    ),
    "too fine": (
        budgets(ONE).replace(": 1,", ": 0.0000000001,"),
        "budgets.0.monthly_limit: an amount has at most nine decimal places",
    ),
    "text": (
        budgets(ONE | {"monthly_limit": "1"}),
        "budgets.0.monthly_limit: give US dollars from 0 to 1000000000, as a number",
    ),
    "no team": (
        budgets(ONE | {"team": ""}),
        "budgets.0.team: this may not be empty",
    ),
    "invisible team": (
        budgets(ONE | {"team": "\u200b"}),
        "budgets.0.team: give a team that can be seen",
    ),
    "another action": (
        budgets(ONE | {"action": "explode"}),
        "budgets.0.action: give 'block' or 'warn'",
    ),
    "misspelt": (budgets(ONE | {"limit": 1}), "budgets.0.limit: there is no such field"),
    "twice": (budgets(ONE, ONE), "budgets.1: there is one of that team and app already"),
    "two limits": (
        budgets(ONE).replace('"action"', '"monthly_limit": 5000, "action"'),
        "monthly_limit: this stands twice in one object",
    ),
    "two lists": (
        budgets(ONE)[:-1] + ', "budgets": []}',
        "budgets: this stands twice in one object",
    ),
    "too many": (
        budgets(*[ONE | {"app": str(number)} for number in range(BUDGETS_MAX + 1)]),
        f"budgets: give at most {BUDGETS_MAX}",
    ),
    "too large": (b" " * (FILE_BYTES_MAX + 1), f"the file is larger than {FILE_BYTES_MAX} bytes"),
}


@pytest.mark.parametrize(("text", "why"), BAD_BUDGETS.values(), ids=list(BAD_BUDGETS))
def test_bad_budgets_leave_the_last_good_ones_and_say_why(
    machine: Machine, text: str | bytes, why: str
) -> None:
    good = machine.write("budgets.json", PUBLISHED_BUDGETS).budgets

    assert machine.write("budgets.json", text).budgets == good
    state = machine.state("budgets.json")
    assert (state.state, state.entries, state.complaints) == ("refused", 3, (why,))


BAD_RULES = {
    "another action": (
        rules(RULE | {"action": "block_expensive"}),
        "rules.0.action: give 'downgrade'",
    ),
    "another trigger": (
        rules(RULE | {"trigger": "moon"}),
        "rules.0.trigger: give 'budget_percent_above'",
    ),
    "101 %": (
        rules(RULE | {"threshold": 101}),
        "rules.0.threshold: give a whole number from 0 to 100",
    ),
    "half a percent": (
        rules(RULE | {"threshold": 0.5}),
        "rules.0.threshold: give a whole number from 0 to 100",
    ),
    "more digits than there is memory for": (
        rules(RULE | {"threshold": 0.5}).replace("0.5", "1e999999999"),
        "rules.0.threshold: give a whole number from 0 to 100",
    ),
    "to itself": (
        rules(RULE | {"to_model": RULE["from_models"][0]}),
        "rules.0.to_model: a rule leads to another model than it comes from",
    ),
    "to another provider's": (
        rules(RULE | {"to_model": "gpt-4o-mini", "provider": ""}),
        f"rules.0.to_model: {OUT_OF_REACH}",
    ),
    "one name": (rules(RULE, RULE), "rules.1.name: there is a rule of that name already"),
    "line break": (
        rules(RULE | {"name": "a\nb"}),
        "rules.0.name: give 1 to 100 printable characters of ASCII",
    ),
    "no model's name": (
        rules(RULE | {"to_model": ""}),
        "rules.0.to_model: give a model's name, as its provider writes it",
    ),
    "no list of models": (rules(RULE | {"from_models": "a"}), "rules.0.from_models: give a list"),
    "no models": (rules(RULE | {"from_models": []}), "rules.0.from_models: give at least 1"),
    "header": (
        rules(RULE, opt_out_header="X: 1"),
        "opt_out_header: give a header's name, of letters, digits and dashes",
    ),
}


@pytest.mark.parametrize(("text", "why"), BAD_RULES.values(), ids=list(BAD_RULES))
def test_bad_rules_leave_the_last_good_ones_and_say_why(machine: Machine, text: str, why: str) -> None:
    good = machine.write("routing.json", PUBLISHED_ROUTING).routing_rules

    assert machine.write("routing.json", text).routing_rules == good
    assert machine.state("routing.json").complaints == (why,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"prod": 3}', "prod: give a text"),
        ("[]", "give a JSON object"),
        ('{"prod": "a", "\\u0070rod": "b"}', "prod: this stands twice in one object"),
    ],
    ids=["number", "list", "twice"],
)
def test_a_bad_namespace_is_named_as_it_stands_in_the_file(machine: Machine, text: str, why: str) -> None:
    machine.write("namespace_map.json", text)

    assert machine.state("namespace_map.json").complaints == (why,)


def test_a_bad_file_holds_up_no_other(machine: Machine) -> None:
    machine.write("budgets.json", "{")

    assert len(machine.write("routing.json", PUBLISHED_ROUTING).routing_rules) == 2


def test_a_repaired_file_is_in_force_again(machine: Machine) -> None:
    machine.write("budgets.json", PUBLISHED_BUDGETS)
    machine.write("budgets.json", "{")

    assert len(machine.write("budgets.json", budgets(ONE)).budgets) == 1
    assert machine.state("budgets.json").complaints == ()


def test_a_file_that_is_gone_says_nothing_any_more(machine: Machine) -> None:
    machine.write("budgets.json", PUBLISHED_BUDGETS)
    (machine.folder / "budgets.json").unlink()

    assert machine.look().budgets == ()
    machine.restart()
    assert machine.write("budgets.json", "{").budgets == ()


def test_what_was_last_good_is_in_force_after_a_restart(machine: Machine) -> None:
    good = machine.write("budgets.json", PUBLISHED_BUDGETS).budgets
    machine.write("budgets.json", "{")

    machine.restart()

    assert machine.look().budgets == good
    assert machine.state("budgets.json").state == "refused"


def test_a_first_file_that_is_bad_leaves_nothing_in_force(machine: Machine) -> None:
    assert machine.write("budgets.json", "{").budgets == ()
    assert machine.state("budgets.json").state == "refused"


def test_a_folder_in_a_files_place_is_told_and_not_read(machine: Machine) -> None:
    (machine.folder / "budgets.json").mkdir()

    assert machine.state("budgets.json").complaints == ("the file cannot be read: Is a directory",)


def test_a_pipe_in_a_files_place_is_told_and_not_waited_for(machine: Machine) -> None:
    os.mkfifo(machine.folder / "budgets.json")

    assert machine.state("budgets.json").complaints == ("the file cannot be read: it is no regular file",)


def test_a_link_that_leads_nowhere_for_now_ends_no_budget(machine: Machine) -> None:
    volume = machine.folder / "volume"
    volume.mkdir()
    (machine.folder / "budgets.json").symlink_to(volume / "budgets.json")
    (volume / "budgets.json").write_text(PUBLISHED_BUDGETS)
    good = machine.look().budgets

    volume.rename(machine.folder / "not mounted")

    assert machine.look().budgets == good
    assert machine.state("budgets.json").complaints == ("the file cannot be read: its link leads nowhere",)


def test_links_in_a_ring_are_told_and_not_followed_for_ever(machine: Machine) -> None:
    (machine.folder / "budgets.json").symlink_to(machine.folder / "other")
    (machine.folder / "other").symlink_to(machine.folder / "budgets.json")

    (complaint,) = machine.state("budgets.json").complaints
    assert complaint.startswith("the file cannot be read: ")


def test_rules_may_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "rules of ours.json"
    elsewhere.write_text(PUBLISHED_ROUTING)
    watched = WatchedFiles(configuration_files(tmp_path / "data", elsewhere), ManualClock())

    assert len(watched.look().routing_rules) == 2


def test_files_govern_the_machines_own_account_and_no_other() -> None:
    budget = Budget(budget_id="budget_1", limit_nanodollars=1)
    rule = RoutingRule(rule_id="r", name="r", threshold=1, from_models=("a",), to_model="b")
    files = FileConfiguration(budgets=(budget,), routing_rules=(rule,))

    own = files.merged(make_policy(account_id=LOCAL_ACCOUNT_ID))

    assert (own.budgets, own.routing_rules) == ((budget,), (rule,))
    assert files.merged(make_policy()) == make_policy()
