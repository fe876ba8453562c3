"""What a commit promises, on both stores."""

from datetime import UTC, datetime
from typing import Any

import pytest

from metering.errors import AlreadyExists, DocumentMissing, RevisionChanged
from metering.stores import Create, Delete, DocumentStore, FieldPath, Fields, Increment, Put, Update, Write

A = "accounts/acct_a"
B = "accounts/acct_b"


def _fields(store: DocumentStore, path: str) -> dict[str, Any] | None:
    document = store.get(path)
    return None if document is None else document.fields


def _revision(store: DocumentStore, path: str) -> str:
    document = store.get(path)
    assert document is not None
    return document.revision


def test_every_kind_of_value_comes_back_as_it_went(store: DocumentStore) -> None:
    moment = datetime(2026, 11, 21, 9, 30, 0, 123457, tzinfo=UTC)
    fields = {
        "nothing": None, "yes": True, "no": False, "zero": 0,
        "least": -(2**63), "most": 2**63 - 1,
        "text": "käse 🧀 \x00 line\n", "empty": "", "bytes": bytes(range(256)),
        "moment": moment,
        "list": [1, "a", None, {"deep": [moment]}], "empty list": [],
        "map": {"a.b": {"`\\": 1}}, "empty map": {},
    }  # fmt: skip

    store.commit([Create(A, fields)])

    assert _fields(store, A) == fields
    assert [type(value) for value in (_fields(store, A) or {}).values()].count(bool) == 2


@pytest.mark.parametrize("year", [1, 1969, 1970, 9999])
def test_moments_keep_their_microseconds(store: DocumentStore, year: int) -> None:
    moment = datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

    store.commit([Create(A, {"at": moment})])

    assert _fields(store, A) == {"at": moment}


def test_a_create_of_what_exists_undoes_the_whole_commit(store: DocumentStore) -> None:
    store.commit([Create(A, {"n": 1})])

    with pytest.raises(AlreadyExists) as refusal:
        store.commit([Put(B, {"n": 2}), Create(A, {"n": 3}), Increment(A, {("n",): 5})])

    assert refusal.value.path == A
    assert _fields(store, A) == {"n": 1}
    assert _fields(store, B) is None


def test_of_several_creates_the_one_that_met_a_document_is_named(store: DocumentStore) -> None:
    store.commit([Create(B, {})])

    with pytest.raises(AlreadyExists) as refusal:
        store.commit([Create(A, {}), Create(B, {})])

    assert refusal.value.path == B


def test_the_same_commit_again_changes_nothing(store: DocumentStore) -> None:
    writes: list[Write] = [Create(A, {"n": 1}), Increment(B, {("count",): 7})]
    store.commit(writes)

    with pytest.raises(AlreadyExists):
        store.commit(writes)

    assert _fields(store, B) == {"count": 7}


def test_a_put_replaces_the_document_whole(store: DocumentStore) -> None:
    store.commit([Put(A, {"a": 1, "b": 2})])

    store.commit([Put(A, {"b": 3})])

    assert _fields(store, A) == {"b": 3}


def test_an_update_replaces_the_named_fields_and_leaves_the_others(store: DocumentStore) -> None:
    store.commit([Create(A, {"a": {"x": 1, "y": 2}, "b": 2, "c.d": 3})])

    store.commit([Update(A, {"a": {"x": 9}, "c.d": 4, "new": []})])

    assert _fields(store, A) == {"a": {"x": 9}, "b": 2, "c.d": 4, "new": []}


def test_an_update_of_nothing_undoes_the_whole_commit(store: DocumentStore) -> None:
    with pytest.raises(DocumentMissing) as refusal:
        store.commit([Put(B, {}), Update(A, {"a": 1})])

    assert refusal.value.path == A
    assert _fields(store, B) is None


def test_a_revision_changes_with_the_document(store: DocumentStore) -> None:
    store.commit([Put(A, {"n": 1})])
    first = _revision(store, A)

    store.commit([Increment(A, {("n",): 1})])

    assert _revision(store, A) != first


@pytest.mark.parametrize("make", [Put, Update])
def test_a_write_that_demands_the_present_revision_is_applied(
    store: DocumentStore, make: type[Put] | type[Update]
) -> None:
    store.commit([Put(A, {"n": 1})])

    store.commit([make(A, {"n": 2}, if_revision=_revision(store, A))])

    assert _fields(store, A) == {"n": 2}


def _demanding(revision: str) -> list[Write]:
    return [
        Put(A, {"n": 9}, if_revision=revision),
        Update(A, {"n": 9}, if_revision=revision),
        Delete(A, if_revision=revision),
    ]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["put", "update", "delete"])
def test_a_write_that_demands_an_old_revision_undoes_the_whole_commit(
    store: DocumentStore, which: int
) -> None:
    store.commit([Put(A, {"n": 1})])
    old = _revision(store, A)
    store.commit([Put(A, {"n": 2})])

    with pytest.raises(RevisionChanged) as refusal:
        store.commit([Put(B, {}), _demanding(old)[which]])

    assert refusal.value.path == A
    assert _fields(store, A) == {"n": 2}
    assert _fields(store, B) is None


@pytest.mark.parametrize("which", [0, 1, 2], ids=["put", "update", "delete"])
def test_a_revision_of_what_is_gone_is_no_longer_there(store: DocumentStore, which: int) -> None:
    store.commit([Put(A, {"n": 1})])
    old = _revision(store, A)
    store.commit([Delete(A)])

    with pytest.raises(RevisionChanged):
        store.commit([_demanding(old)[which]])

    assert _fields(store, A) is None


def test_a_document_made_again_has_another_revision(store: DocumentStore) -> None:
    store.commit([Put(A, {"n": 1})])
    old = _revision(store, A)
    store.commit([Delete(A)])
    store.commit([Create(A, {"n": 1})])

    with pytest.raises(RevisionChanged):
        store.commit([Put(A, {"n": 2}, if_revision=old)])


def test_a_delete_removes_and_may_find_nothing(store: DocumentStore) -> None:
    store.commit([Create(A, {}), Create(f"{A}/segments/s", {})])

    store.commit([Delete(A), Delete(B)])

    assert _fields(store, A) is None
    assert _fields(store, f"{A}/segments/s") == {}  # what lies below stays


def test_an_increment_makes_what_is_missing_and_tells_the_sums_in_its_order(store: DocumentStore) -> None:
    amounts: dict[FieldPath, int] = {("z",): 3, ("cells", "9c", "n"): 2, ("cells", "1a", "n"): -4, ("b",): 1}
    more: dict[FieldPath, int] = {("b",): 10, ("cells", "1a", "n"): 1, ("z",): 0}
    store.commit([Increment(A, amounts)])

    results = store.commit([Put(B, {}), Increment(A, more)])

    assert [list(result.values.items()) for result in results] == [
        [],
        [(("b",), 11), (("cells", "1a", "n"), -3), (("z",), 3)],
    ]
    assert _fields(store, A) == {"z": 3, "b": 11, "cells": {"9c": {"n": 2}, "1a": {"n": -3}}}


def test_an_increment_sets_fields_beside_and_leaves_the_rest(store: DocumentStore) -> None:
    store.commit([Put(A, {"kept": 1, "cells": {"old": {"n": 1, "team": "x"}}})])
    merge = {("cells", "new", "of"): {"team": "a.b/ö"}, ("cells", "old", "team"): "y", ("at",): None}

    store.commit([Increment(A, {("cells", "new", "n"): 2, ("cells", "old", "n"): 2}, merge)])

    assert _fields(store, A) == {
        "kept": 1,
        "at": None,
        "cells": {"old": {"n": 3, "team": "y"}, "new": {"n": 2, "of": {"team": "a.b/ö"}}},
    }


@pytest.mark.parametrize("held", ["text", None, True, [1], {"deep": 1}])
def test_an_increment_starts_anew_where_no_integer_stands(store: DocumentStore, held: object) -> None:
    store.commit([Put(A, {"n": held})])

    results = store.commit([Increment(A, {("n",): 4})])

    assert results[0].values == {("n",): 4}
    assert _fields(store, A) == {"n": 4}


def test_an_increment_through_something_that_is_no_mapping_replaces_it(store: DocumentStore) -> None:
    store.commit([Put(A, {"n": 7})])

    store.commit([Increment(A, {("n", "below"): 1})])

    assert _fields(store, A) == {"n": {"below": 1}}


@pytest.mark.parametrize(
    ("first", "then"), [(2**63 - 2, 1), (2**63 - 1, 1), (-(2**63) + 1, -1), (-(2**63), -1)]
)
def test_a_counter_stops_at_the_ends_of_its_range(store: DocumentStore, first: int, then: int) -> None:
    store.commit([Increment(A, {("n",): first})])

    results = store.commit([Increment(A, {("n",): then})])

    assert results[0].values == {("n",): max(-(2**63), min(2**63 - 1, first + then))}


def test_several_writes_of_one_document_apply_in_order(store: DocumentStore) -> None:
    results = store.commit(
        [
            Create(A, {"n": 1}),
            Increment(A, {("n",): 2}),
            Update(A, {"m": {"k": 1}}),
            Increment(A, {("n",): 3, ("m", "k"): 1}),
            Increment(B, {("n",): 1}),
            Put(B, {"n": 10}),
        ]
    )

    assert [dict(result.values) for result in results] == [
        {}, {("n",): 3}, {}, {("n",): 6, ("m", "k"): 2}, {("n",): 1}, {},
    ]  # fmt: skip
    assert _fields(store, A) == {"n": 6, "m": {"k": 2}}
    assert _fields(store, B) == {"n": 10}


def test_a_demanded_revision_counts_before_the_commits_own_later_writes(store: DocumentStore) -> None:
    store.commit([Put(A, {"n": 1})])

    store.commit([Put(A, {"n": 5}, if_revision=_revision(store, A)), Increment(A, {("n",): 1})])

    assert _fields(store, A) == {"n": 6}


def test_what_was_handed_in_is_neither_changed_nor_kept(store: DocumentStore) -> None:
    cells = {"x": {"n": 1}}
    handed: Fields = {"cells": cells}

    store.commit([Put(A, handed), Increment(A, {("cells", "x", "n"): 1})])
    cells["x"]["n"] = 99

    assert _fields(store, A) == {"cells": {"x": {"n": 2}}}


def test_many_documents_are_read_at_once_and_missing_ones_left_out(store: DocumentStore) -> None:
    store.commit([Create(A, {"n": 1}), Create(f"{A}/segments/s", {"n": 2})])

    found = store.get_many([A, B, f"{A}/segments/s", A])

    assert {path: document.fields for path, document in found.items()} == {
        A: {"n": 1},
        f"{A}/segments/s": {"n": 2},
    }
    assert found[f"{A}/segments/s"].document_id == "s"
    assert store.get_many([]) == {}


def test_what_is_known_comes_with_its_revision_and_what_has_changed_comes_whole(store: DocumentStore) -> None:
    gone, late = f"{A}/segments/gone", f"{A}/segments/late"
    store.commit([Create(A, {"n": 1}), Create(B, {"n": 2}), Create(gone, {"n": 3})])
    known = {path: document.revision for path, document in store.get_many([A, B, gone]).items()}
    store.commit([Put(B, {"n": 20}), Delete(gone), Create(late, {"n": 4})])

    found = store.get_many([A, B, gone, late], known={**known, "accounts/none": "1"})

    assert found.keys() == {A, B, late}
    assert found[A].revision == known[A]
    assert found[B].revision != known[B]
    assert [found[path].fields for path in (B, late)] == [{"n": 20}, {"n": 4}]
    assert _fields(store, A) == {"n": 1}


def test_a_revision_that_is_none_of_the_documents_is_no_reason_to_leave_its_fields_out(
    store: DocumentStore,
) -> None:
    store.commit([Create(A, {"n": 1})])

    for revision in ("", "0", "none", "999999"):
        assert store.get_many([A], known={A: revision})[A].fields == {"n": 1}
