"""Both sides of every limit of a commit and a document, on both stores."""

import pytest

from metering.documents import STORED_DOCUMENT_BYTES_MAX, document_bytes
from metering.errors import DocumentTooLarge, MeteringError
from metering.stores import (
    COMMIT_WRITES_MAX,
    DOCUMENT_BYTES_MAX,
    DOCUMENT_TRANSFORMS_MAX,
    Create,
    Delete,
    DocumentStore,
    FieldPath,
    Increment,
    Put,
    Query,
    Update,
    Write,
)
from tests.doubles.counting_store import CountingStore, weight_of

A = "accounts/acct_a"
B = "accounts/acct_b"
MIB = 1024 * 1024


def test_a_document_of_the_largest_size_is_kept_and_one_byte_more_refused(store: DocumentStore) -> None:
    room = DOCUMENT_BYTES_MAX - document_bytes(A, {"blob": b""})

    store.commit([Create(A, {"blob": b"x" * room})])
    with pytest.raises(DocumentTooLarge):
        store.commit([Put(A, {"blob": b"x" * (room + 1)})])

    document = store.get(A)
    assert document is not None
    assert len(document.fields["blob"]) == room


def test_a_stored_document_may_not_outgrow_the_stores_own_limit(store: DocumentStore) -> None:
    fields = {"blob": b"x" * 900_000, "texts": ["ü" * 50] * 10, "map": {"of": {"n": 1}}, "more": ""}
    store.commit([Create(A, fields)])
    room = STORED_DOCUMENT_BYTES_MAX - document_bytes(A, fields)

    with pytest.raises(DocumentTooLarge):
        store.commit([Put("accounts/acct_b", {}), Update(A, {"more": "x" * (room + 1000)})])
    store.commit([Update(A, {"more": "x" * (room - 1000)})])
    with pytest.raises(DocumentTooLarge):
        store.commit([Increment(A, {("n",): 1}, {("even more",): "x" * 2000})])

    document = store.get(A)
    assert document is not None
    assert "n" not in document.fields
    assert store.get("accounts/acct_b") is None


def test_a_commit_of_the_most_writes_is_applied_and_one_more_refused(store: DocumentStore) -> None:
    writes: list[Write] = [Put(f"accounts/acct_{number}", {}) for number in range(COMMIT_WRITES_MAX + 1)]

    with pytest.raises(ValueError, match="writes"):
        store.commit(writes)
    store.commit(writes[:-1])

    assert len(store.query(Query(collection="accounts", limit=1000))) == COMMIT_WRITES_MAX


def test_the_most_increments_on_one_document_are_applied_and_one_more_refused(store: DocumentStore) -> None:
    amounts: dict[FieldPath, int] = {
        ("cells", f"{number:032x}", "n"): 1 for number in range(DOCUMENT_TRANSFORMS_MAX)
    }

    with pytest.raises(ValueError, match="increments"):
        store.commit([Increment(A, amounts), Increment(A, {("n",): 1})])
    results = store.commit([Increment(A, amounts)])

    assert sum(results[0].values.values()) == DOCUMENT_TRANSFORMS_MAX


def test_a_commit_of_three_mebibytes_is_applied_and_a_larger_one_refused(store: DocumentStore) -> None:
    writes: list[Write] = [Put(f"accounts/acct_{number}", {"blob": b"x" * 780_000}) for number in range(4)]

    store.commit(writes)
    with pytest.raises(ValueError, match="bytes"):
        store.commit([*writes, Put(A, {"blob": b"x" * 30_000})])

    assert weight_of(writes).bytes <= 3 * MIB


@pytest.mark.parametrize(
    "writes",
    [
        [],
        [Put(A, {"price": 0.1})],
        [Put("accounts/with space", {})],
        [Put("nowhere/x", {})],
        [Delete(A), Put(A, {})],
        [Put(A, {}), Create(A, {})],
        [Put(A, {}), Put(A, {}, if_revision="1.0")],
        [Increment(A, {})],
        [Increment(A, {("a",): 1}, {("a",): 1})],
        [Increment(A, {("a",): 1, ("a", "b"): 1})],
        [Put(A, {"n": 2**63})],
    ],
)
def test_what_no_store_may_be_asked_is_refused_before_anything_is_sent(
    store: DocumentStore, writes: list[Write]
) -> None:
    with pytest.raises(ValueError, match=r"."):
        store.commit(writes)

    assert store.get(A) is None


def test_a_counting_store_weighs_what_passes_and_counts_what_is_read(sqlite_store: DocumentStore) -> None:
    counting = CountingStore(sqlite_store)

    counting.commit([Create(A, {"n": 1}), Increment(A, {("n",): 1, ("m",): 1})])
    with pytest.raises(MeteringError):
        counting.commit([Create(A, {})])
    counting.get_many([A, "accounts/none"])
    counting.query(Query(collection="keys"))

    assert [(weight.writes, weight.transforms) for weight in counting.commits] == [(2, 2), (1, 0)]
    assert counting.documents_read == 3
    counting.check_limits()


def test_a_counting_store_counts_what_is_known_once_and_twice_where_it_has_changed(
    sqlite_store: DocumentStore,
) -> None:
    counting = CountingStore(sqlite_store)
    counting.commit([Create(A, {"n": 1}), Create(B, {"n": 1})])
    known = {path: document.revision for path, document in counting.get_many([A, B]).items()}
    counting.commit([Put(B, {"n": 2})])

    counting.get_many([A, B], known=known)

    assert counting.documents_read == 2 + 3
