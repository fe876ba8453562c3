"""firestore.rules: whoever talks to Firestore by themselves is refused, everywhere and whatever they ask."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from metering.collections import INDEXED_FIELDS
from metering.stores import Delete, DocumentStore, Put, Query
from tests.emulator import project_apart
from tests.rules.rule_file import allows_in, countable, publish, unasked
from tests.rules.strangers import (
    BY_OTHER_WAYS,
    DENIED,
    OF_A_COLLECTION,
    OF_A_DOCUMENT,
    STRANGERS,
    Question,
    Stranger,
)

RULES = (Path(__file__).resolve().parents[2] / "firestore.rules").read_text()
LAST_RULE = "match /{document=**} {"
ACCOUNT = "accounts/acc_victim"
PATHS = (
    *(f"{name}/x" for name in INDEXED_FIELDS),
    *(f"{ACCOUNT}/{name}/x" for name in INDEXED_FIELDS),
    "unheard/x",
    f"{ACCOUNT}/unheard/x",
    f"{ACCOUNT}/segments/x/unheard/y",
    "accounts/acc_victim",
    "accounts/acc_other",
    "people/per_member",
)
ASKED_BY_OTHER_WAYS = {"accounts/acc_victim", "keys/x", "unheard/x", f"{ACCOUNT}/segments/x"}


def complaints(emulator: str, rules: str, paths: Sequence[str] = PATHS) -> list[str]:
    """What is wrong with rules: what has no meaning, whom they let in, and what of them was never asked."""
    project = project_apart()
    found = publish(emulator, project, rules) or publish(emulator, project, countable(rules))
    if found:
        return found
    for who, headers in STRANGERS.items():
        with closing(Stranger(emulator, project, headers)) as stranger:
            found += [
                f"{who} may {question.__name__} {path}: {status}"
                for path in paths
                for question in _questions(path)
                if (status := question(stranger, path)) != DENIED
            ]
    return found + unasked(emulator, project, rules)


def _questions(path: str) -> tuple[Question, ...]:
    """What is asked there: of a collection once by its name, and by other ways at a few places."""
    is_first_of_its_name = path.count("/") == 1
    return (
        OF_A_DOCUMENT
        + (OF_A_COLLECTION if is_first_of_its_name else ())
        + (BY_OTHER_WAYS if path in ASKED_BY_OTHER_WAYS else ())
    )


def with_rule(rule: str) -> str:
    """Our rules, and one more before the last."""
    assert RULES.count(LAST_RULE) == 1
    return RULES.replace(LAST_RULE, f"{rule}\n{LAST_RULE}")


def test_nobody_gets_anything_and_every_rule_was_asked(emulator: str) -> None:
    assert len(allows_in(RULES)) >= 1

    assert complaints(emulator, RULES) == []


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("match /keys/{key} { allow get: if true; }", "nobody may get keys/x: 404"),
        ("match /keys/{key} { allow list; }", "nobody may list keys/x: 200"),
        (
            "match /keys/{key} { allow create: if request.auth.token.admin == true; }",
            "somebody who says to be an admin may create keys/x: 200",
        ),
        (
            "match /{at=**}/keys/{key} { allow read: if request.auth.token.account_id == 'acc_victim'; }",
            "a member may query_every_collection_of_that_name keys/x: 200",
        ),
        (
            "match /keys/{key} { allow delete: if request.auth.token.account_id == 'acc_other'; }",
            "a member of another account may delete keys/x: 200",
        ),
        (
            "match /keys/{key} { allow write: if request.auth.token.firebase.sign_in_provider"
            " == 'anonymous'; }",
            "a visitor without a name may write_in_a_commit keys/x: 200",
        ),
    ],
)
def test_a_rule_that_lets_somebody_in_is_told(emulator: str, rule: str, told: str) -> None:
    assert told in complaints(emulator, with_rule(rule), ["keys/x"])


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ("match /nowhere/{x} { allow get: if false; }", [0]),
        ("match /nowhere/{x} {\n allow read: if false; allow write:\n if request.auth.uid == x; }", [1, 1]),
        ("match /nowhere/{x} { /* allow get: if true; */\n\n allow get; }", [2]),
    ],
)
def test_a_rule_that_no_request_came_to_is_told(emulator: str, rule: str, lines: list[int]) -> None:
    ruled = with_rule(rule)
    first = ruled.count("\n", 0, ruled.index(rule)) + 1

    assert complaints(emulator, ruled, ["keys/x"]) == [
        f"L{first + line} an allow that was never asked" for line in lines
    ]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("", "Rules content empty"),
        (RULES.replace("if false", "if"), "Missing conditional expression"),
        (RULES.replace("if false", "if fasle"), "Invalid variable name: fasle"),
        (RULES.replace("if false", "if is_nobody()"), "Invalid function name: is_nobody"),
    ],
    ids=["nothing", "a word missing", "an unknown word", "an unknown function"],
)
def test_rules_that_mean_nothing_are_told(emulator: str, rules: str, told: str) -> None:
    (complaint,) = complaints(emulator, rules, [])

    assert told in complaint


def test_the_rules_do_not_stand_in_the_services_way(
    emulator: str, firestore_project: str, firestore_store: DocumentStore
) -> None:
    assert publish(emulator, firestore_project, RULES) == []
    places = [path for path in PATHS if "unheard" not in path]

    firestore_store.commit([Put(path, {"n": 1}) for path in places])

    assert firestore_store.get_many(places).keys() == set(places)
    assert firestore_store.query(Query(collection="keys", limit=2))
    firestore_store.commit([Delete(path) for path in places])
    assert firestore_store.get_many(places) == {}
