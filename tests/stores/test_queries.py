"""What a query finds, and in which order, on both stores."""

from datetime import UTC, datetime, timedelta

import pytest

from metering.stores import Create, Delete, Document, DocumentStore, Increment, Put, Query, Update, Write

SEGMENTS = "accounts/acct_a/segments"
START = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def _ids(found: list[Document]) -> list[str]:
    return [document.document_id for document in found]


def _segment(name: str, minutes: int, request_ids: list[str], session_ids: list[str]) -> Write:
    return Create(
        f"{SEGMENTS}/{name}",
        {
            "last_at": START + timedelta(minutes=minutes),
            "request_ids": request_ids,
            "session_ids": session_ids,
        },
    )


@pytest.fixture
def segments(store: DocumentStore) -> DocumentStore:
    """Five segments in ids that do not follow time, one of a second account, one without a time."""
    store.commit(
        [
            _segment("c", 0, ["req_1", "req_2"], ["one"]),
            _segment("a", 10, ["req_3"], ["one", "two"]),
            _segment("e", 10, ["req_4"], ["two"]),
            _segment("b", 20, [], []),
            _segment("d", 30, ["req_5"], ["one"]),
            Create("accounts/acct_b/segments/f", {"last_at": START, "request_ids": ["req_1"]}),
            Create(f"{SEGMENTS}/g", {"request_ids": ["req_6"]}),
        ]
    )
    return store


def test_without_an_order_documents_come_by_id_and_page(segments: DocumentStore) -> None:
    first = segments.query(Query(collection=SEGMENTS, limit=4))
    rest = segments.query(Query(collection=SEGMENTS, limit=4, after=("", first[-1].document_id)))

    assert _ids(first) == ["a", "b", "c", "d"]
    assert _ids(rest) == ["e", "g"]
    assert first[0].path == f"{SEGMENTS}/a"


def test_an_order_leaves_out_what_lacks_the_field_and_breaks_ties_by_id(segments: DocumentStore) -> None:
    upward = segments.query(Query(collection=SEGMENTS, order_by="last_at"))
    downward = segments.query(Query(collection=SEGMENTS, order_by="last_at", descending=True))

    assert _ids(upward) == ["c", "a", "e", "b", "d"]
    assert _ids(downward) == ["d", "b", "e", "a", "c"]


def test_a_range_takes_its_lower_end_and_leaves_its_upper(segments: DocumentStore) -> None:
    found = segments.query(
        Query(
            collection=SEGMENTS,
            order_by="last_at",
            at_least=START + timedelta(minutes=10),
            below=START + timedelta(minutes=30),
        )
    )

    assert _ids(found) == ["a", "e", "b"]


@pytest.mark.parametrize("descending", [False, True])
def test_pages_continue_in_the_middle_of_a_tie(segments: DocumentStore, descending: bool) -> None:
    whole = segments.query(Query(collection=SEGMENTS, order_by="last_at", descending=descending))

    paged: list[Document] = []
    after = None
    for _ in range(5):
        page = segments.query(
            Query(collection=SEGMENTS, order_by="last_at", descending=descending, after=after, limit=1)
        )
        paged += page
        after = (page[-1].fields["last_at"], page[-1].document_id)

    assert paged == whole
    assert (
        segments.query(Query(collection=SEGMENTS, order_by="last_at", descending=descending, after=after))
        == []
    )


def test_a_range_continues_behind_a_page(segments: DocumentStore) -> None:
    found = segments.query(
        Query(
            collection=SEGMENTS,
            order_by="last_at",
            descending=True,
            at_least=START,
            below=START + timedelta(minutes=25),
            after=(START + timedelta(minutes=10), "e"),
        )
    )

    assert _ids(found) == ["a", "c"]


def test_an_element_of_a_list_finds_its_documents(segments: DocumentStore) -> None:
    by_request = segments.query(Query(collection=SEGMENTS, contains=("request_ids", "req_2")))
    by_session = segments.query(
        Query(
            collection=SEGMENTS,
            contains=("session_ids", "one"),
            order_by="last_at",
            descending=True,
            at_least=START + timedelta(minutes=5),
        )
    )

    assert _ids(by_request) == ["c"]
    assert _ids(by_session) == ["d", "a"]
    assert segments.query(Query(collection=SEGMENTS, contains=("request_ids", "req_9"))) == []


def test_equal_values_narrow_together(store: DocumentStore) -> None:
    store.commit(
        [
            Create("memberships/m1", {"person_id": "p1", "account_id": "a1"}),
            Create("memberships/m2", {"person_id": "p1", "account_id": "a2"}),
            Create("memberships/m3", {"person_id": "p2", "account_id": "a1"}),
        ]
    )

    assert _ids(store.query(Query(collection="memberships", equal={"person_id": "p1"}))) == ["m1", "m2"]
    assert _ids(
        store.query(Query(collection="memberships", equal={"person_id": "p1", "account_id": "a1"}))
    ) == ["m1"]
    assert _ids(
        store.query(Query(collection="memberships", equal={"person_id": "p1"}, after=("", "m1")))
    ) == ["m2"]


def test_a_value_is_found_by_its_type_too(store: DocumentStore) -> None:
    store.commit(
        [
            Create("keys/k1", {"account_id": 1}),
            Create("keys/k2", {"account_id": True}),
            Create("keys/k3", {"account_id": "1"}),
        ]
    )

    assert _ids(store.query(Query(collection="keys", equal={"account_id": 1}))) == ["k1"]
    assert _ids(store.query(Query(collection="keys", equal={"account_id": True}))) == ["k2"]
    assert _ids(store.query(Query(collection="keys", equal={"account_id": "1"}))) == ["k3"]


def test_what_a_document_is_found_by_follows_its_writes(store: DocumentStore) -> None:
    def found(account_id: str) -> list[str]:
        return _ids(store.query(Query(collection="keys", equal={"account_id": account_id})))

    store.commit([Create("keys/k", {"account_id": "a"})])
    store.commit([Update("keys/k", {"account_id": "b"})])
    assert (found("a"), found("b")) == ([], ["k"])

    store.commit([Put("keys/k", {"other": 1})])
    assert found("b") == []

    store.commit([Increment("keys/k", {("n",): 1}, {("account_id",): "c"})])
    assert found("c") == ["k"]

    store.commit([Delete("keys/k")])
    assert found("c") == []


def test_a_document_below_another_is_not_in_the_collection_above(segments: DocumentStore) -> None:
    assert segments.query(Query(collection="accounts")) == []


@pytest.mark.parametrize(
    "query",
    [
        Query(collection="keys", equal={"name": "x"}),
        Query(collection="keys", order_by="created_at"),
        Query(collection="keys", descending=True),
        Query(collection="keys", at_least=1),
        Query(collection="keys", limit=0),
        Query(collection="keys", limit=1001),
        Query(collection="keys/k1"),
        Query(collection="secrets"),
    ],
)
def test_a_query_that_no_index_serves_is_refused(store: DocumentStore, query: Query) -> None:
    with pytest.raises(ValueError, match=r"."):
        store.query(query)
