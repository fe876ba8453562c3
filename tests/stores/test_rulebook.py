"""Budgets and routing rules of an account on both stores: whole in every policy, whatever comes between."""

from typing import Any

import msgspec
import pytest

from metering.accounts import AccountSettings, CacheSettings, Policy
from metering.budgets import BUDGETS_MAX, MATCHING_BUDGETS_MAX, Budget, Scope
from metering.directory import Directory
from metering.errors import Conflict, InvalidInput, NotFound
from metering.money import NANODOLLARS_PER_DOLLAR
from metering.routing import FROM_MODELS_MAX, RULES_MAX, RoutingRule
from metering.rulebook import LIMIT_NANODOLLARS_MAX, THRESHOLDS_MAX, Rulebook
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.unreliable_store import UnreliableStore

SECRET = b"a secret of at least thirty-two bytes"


class Book:
    """One account and its rulebook."""

    def __init__(self, store: DocumentStore) -> None:
        self.clock = ManualClock()
        self.directory = Directory(store, self.clock, SECRET)
        self.account_id = self.directory.create_account("Ada & Co").account_id
        self.book = Rulebook(store, self.directory, self.clock)

    @property
    def policy(self) -> Policy:
        found = self.directory.policy(self.account_id)
        assert found is not None
        return found

    def budget(self, **terms: Any) -> Budget:
        fields: dict[str, Any] = {"budget_id": "", "limit_nanodollars": NANODOLLARS_PER_DOLLAR} | terms
        return self.book.create_budget(self.account_id, Budget(**fields))

    def rule(self, name: str = "cheap", position: int | None = None, **terms: Any) -> RoutingRule:
        fields: dict[str, Any] = {"threshold": 70, "from_models": ("gpt-4o",), "to_model": "gpt-4o-mini"}
        made = RoutingRule(**({"rule_id": "", "name": name} | fields | terms))
        return self.book.create_rule(self.account_id, made, position)

    def names(self) -> list[str]:
        return [each.name for each in self.policy.routing_rules]


@pytest.fixture
def book(store: DocumentStore) -> Book:
    return Book(store)


@pytest.fixture
def quick_book(sqlite_store: DocumentStore) -> Book:
    return Book(sqlite_store)


def test_a_new_budget_is_in_the_policy_and_told_as_a_change(book: Book) -> None:
    before = book.directory.changes()

    made = book.budget(name=" ours\u200b ", scope=Scope(team="search "), thresholds_percent=(100, 50, 50))

    assert book.policy.budgets == (made,)
    assert book.directory.changes().since(before.version) == (book.account_id,)
    assert (made.name, made.scope, made.thresholds_percent) == ("ours", Scope(team="search"), (50, 100))
    assert (made.created_at, made.source) == (book.clock.now(), "api")


def test_a_changed_account_keeps_its_budgets_and_rules(book: Book) -> None:
    budget, rule = book.budget(), book.rule()
    settings = AccountSettings(cache=CacheSettings(enabled=True))

    book.directory.change_settings(book.account_id, settings)
    book.directory.set_status(book.account_id, "suspended")

    policy = book.policy
    assert (policy.budgets, policy.routing_rules) == ((budget,), (rule,))
    assert (policy.settings, policy.status) == (settings, "suspended")


def test_a_changed_budget_keeps_its_id_and_the_others(book: Book) -> None:
    first, second = book.budget(name="first"), book.budget(name="second")

    changed = book.book.change_budget(
        book.account_id, first.budget_id, lambda each: msgspec.structs.replace(each, limit_nanodollars=7)
    )

    assert book.policy.budgets == (changed, second)
    assert (changed.budget_id, changed.limit_nanodollars) == (first.budget_id, 7)


def test_a_change_that_changes_nothing_is_told_to_nobody(book: Book) -> None:
    made = book.budget()
    before = book.directory.changes()

    book.book.change_budget(book.account_id, made.budget_id, lambda each: each)

    assert book.directory.changes() == before


def test_a_deleted_budget_is_gone(book: Book) -> None:
    first, second = book.budget(), book.budget()

    book.book.delete_budget(book.account_id, first.budget_id)

    assert book.policy.budgets == (second,)
    with pytest.raises(NotFound):
        book.book.delete_budget(book.account_id, first.budget_id)


def test_another_accounts_budget_is_not_found(book: Book) -> None:
    made = book.budget()
    other = book.directory.create_account("Other").account_id

    with pytest.raises(NotFound):
        book.book.change_budget(other, made.budget_id, lambda each: each)
    with pytest.raises(NotFound):
        book.book.delete_budget(other, made.budget_id)
    with pytest.raises(NotFound):
        book.book.create_budget("acct_none", made)


def test_a_ninth_budget_over_one_call_is_refused(quick_book: Book) -> None:
    for _ in range(MATCHING_BUDGETS_MAX - 1):
        quick_book.budget()
    quick_book.budget(scope=Scope(team="search"))
    quick_book.budget(scope=Scope(team="ads"))

    for scope in (Scope(), Scope(team="search"), Scope(app="web"), Scope(team="ads", app="web")):
        with pytest.raises(InvalidInput) as refused:
            quick_book.budget(scope=scope)
        assert refused.value.param == "scope"
    quick_book.budget(scope=Scope(unattributed=True))


def test_an_account_has_so_many_budgets_and_no_more(quick_book: Book) -> None:
    for number in range(BUDGETS_MAX):
        quick_book.budget(scope=Scope(team=f"team {number}"))

    with pytest.raises(Conflict):
        quick_book.budget(scope=Scope(team="one more"))


BAD_BUDGETS = {
    "unattributed team": ({"scope": Scope(team="a", unattributed=True)}, "scope"),
    "unattributed by team": ({"scope": Scope(unattributed=True), "each": "team"}, "scope"),
    "each of one": ({"scope": Scope(app="web"), "each": "app"}, "each"),
    "no zone": ({"timezone": "Mars/Olympus"}, "timezone"),
    "negative": ({"limit_nanodollars": -1}, "limit_usd"),
    "too large": ({"limit_nanodollars": LIMIT_NANODOLLARS_MAX + 1}, "limit_usd"),
    "threshold 0": ({"thresholds_percent": (0,)}, "thresholds_percent"),
    "thresholds": ({"thresholds_percent": tuple(range(1, THRESHOLDS_MAX + 2))}, "thresholds_percent"),
}


@pytest.mark.parametrize(("terms", "param"), BAD_BUDGETS.values(), ids=list(BAD_BUDGETS))
def test_a_budget_that_makes_no_sense_is_refused(quick_book: Book, terms: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        quick_book.budget(**terms)

    assert refused.value.param == param
    assert quick_book.policy.budgets == ()


def test_the_edges_of_what_is_allowed_are_allowed(quick_book: Book) -> None:
    quick_book.budget(limit_nanodollars=0)
    quick_book.budget(limit_nanodollars=LIMIT_NANODOLLARS_MAX, thresholds_percent=())
    quick_book.budget(thresholds_percent=tuple(range(1, THRESHOLDS_MAX + 1)), timezone="Asia/Kolkata")

    assert len(quick_book.policy.budgets) == 3


def test_rules_stand_in_their_order(book: Book) -> None:
    for name, position in (("a", None), ("b", None), ("c", 0), ("d", 1), ("e", 99)):
        book.rule(name, position)
    assert book.names() == ["c", "d", "a", "b", "e"]

    moved = book.policy.routing_rules[4]
    book.book.change_rule(book.account_id, moved.rule_id, lambda each: each, 0)
    kept = book.policy.routing_rules[2]
    book.book.change_rule(
        book.account_id, kept.rule_id, lambda each: msgspec.structs.replace(each, threshold=90)
    )
    book.book.delete_rule(book.account_id, book.policy.routing_rules[1].rule_id)

    assert book.names() == ["e", "d", "a", "b"]
    assert book.policy.routing_rules[1].threshold == 90


BAD_RULES = {
    "no name": ({"name": ""}, "name"),
    "line break": ({"name": "a\nb"}, "name"),
    "not ASCII": ({"name": "é"}, "name"),
    "101 %": ({"threshold": 101}, "threshold"),
    "no models": ({"from_models": ()}, "from_models"),
    "too many": ({"from_models": tuple(f"m{n}" for n in range(FROM_MODELS_MAX + 1))}, "from_models"),
    "blank": ({"from_models": ("a b",)}, "from_models"),
    "to itself": ({"to_model": "gpt-4o"}, "to_model"),
    "nowhere": ({"to_model": ""}, "to_model"),
    "another provider's": ({"to_model": "claude-haiku-4-5"}, "to_model"),
}


@pytest.mark.parametrize(("terms", "param"), BAD_RULES.values(), ids=list(BAD_RULES))
def test_a_rule_that_makes_no_sense_is_refused(quick_book: Book, terms: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        quick_book.rule(**terms)

    assert refused.value.param == param


def test_a_name_stands_for_one_rule(book: Book) -> None:
    book.rule("one")
    other = book.rule("other")

    with pytest.raises(InvalidInput):
        book.rule("one")
    with pytest.raises(InvalidInput):
        book.book.change_rule(
            book.account_id, other.rule_id, lambda each: msgspec.structs.replace(each, name="one")
        )


def test_an_account_has_so_many_rules_and_no_more(quick_book: Book) -> None:
    for number in range(RULES_MAX):
        quick_book.rule(f"rule {number}")

    with pytest.raises(Conflict):
        quick_book.rule("one more")


@pytest.mark.parametrize("turn", range(5))
def test_two_changes_at_once_both_take_effect(store: DocumentStore, turn: int) -> None:
    book = Book(store)
    turns = iter(range(100))

    def before() -> None:
        if next(turns) == turn:
            book.budget(name="theirs")

    slow_store = UnreliableStore(store, before=before)
    directory = Directory(slow_store, book.clock, SECRET, pause=lambda _seconds: None)

    Rulebook(slow_store, directory, book.clock).create_budget(
        book.account_id, Budget(budget_id="", name="ours", limit_nanodollars=1)
    )

    expected = ["ours", "theirs"] if next(turns) > turn else ["ours"]
    assert sorted(each.name for each in book.policy.budgets) == expected
