"""Both sides of what a path, a document, a commit and a query may be."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given

from metering.documents import (
    NAME_BYTES_MAX,
    READ_DOCUMENTS_MAX,
    Location,
    check_commit,
    check_paths,
    check_query,
    commit_bytes,
    document_bytes,
    location,
    value_bytes,
)
from metering.errors import DocumentTooLarge
from metering.stores import DOCUMENT_BYTES_MAX, Create, FieldPath, Increment, Put, Query, Write
from tests.doubles.counting_store import weight_of
from tests.stores.strategies import commits

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("keys/3f9a", Location("keys", "3f9a")),
        ("accounts/acct_1/segments/a-1.2", Location("accounts/acct_1/segments", "a-1.2")),
        (f"keys/{'x' * 256}", Location("keys", "x" * 256)),
        ("quarters/2026-11-21T09:30", Location("quarters", "2026-11-21T09:30")),
    ],
)
def test_a_path_of_ours_has_a_collection_and_an_id(path: str, place: Location) -> None:
    assert location(path) == place


@pytest.mark.parametrize(
    "path",
    [
        "", "keys", "keys/", "/keys/x", "keys//x", "keys/x/", "keys/x/y", "elsewhere/x", "keys/.", "keys/..",
        "keys/__x__", "keys/a b", "keys/ü", "keys/a\n", "keys/x/segments/../y", f"keys/{'x' * 257}",
        "accounts/a/elsewhere/x",
    ],
)  # fmt: skip
def test_a_path_with_anything_else_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        location(path)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, 1), (True, 1), (0, 8), (-(2**63), 8), (2**63 - 1, 8), ("", 1), ("käse", 6), (b"", 0),
        (b"abc", 3), (AT, 8), ([], 0), ([1, "a"], 10), ({}, 0), ({"ab": {"c": None}}, 6),
    ],
)  # fmt: skip
def test_a_value_weighs_what_the_store_counts(value: Any, size: int) -> None:
    assert value_bytes(value) == size


@pytest.mark.parametrize(
    "value",
    [
        0.5, 2**63, -(2**63) - 1, AT.replace(tzinfo=None), AT.astimezone(timezone(timedelta(hours=1))), [[1]],
        {"": 1}, {"__x__": 1}, {"x" * (NAME_BYTES_MAX + 1): 1}, {1, 2}, object(), "\ud800",
        {"a": [{"b": 0.5}]},
    ],
)  # fmt: skip
def test_what_no_document_holds_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        value_bytes(value)


def test_values_nest_up_to_twenty_deep() -> None:
    def nested(depth: int) -> Any:
        return {"x": nested(depth - 1)} if depth else 1

    assert value_bytes(nested(20)) == 48
    with pytest.raises(ValueError, match="nested"):
        value_bytes(nested(21))


def test_a_document_of_the_largest_size_passes_and_one_byte_more_does_not() -> None:
    room = DOCUMENT_BYTES_MAX - document_bytes("keys/k", {"blob": b""})

    check_commit([Create("keys/k", {"blob": b"x" * room})])
    with pytest.raises(DocumentTooLarge):
        check_commit([Create("keys/k", {"blob": b"x" * (room + 1)})])


def test_a_field_is_written_once_in_an_increment() -> None:
    check_commit([Increment("keys/k", {("a", "b"): 1, ("a", "c"): 1}, {("a", "d"): {"e": 1}})])


@pytest.mark.parametrize(
    ("amounts", "merge"),
    [({("a",): 1}, {("a",): 2}), ({("a", "b"): 1}, {("a",): {}}), ({("a",): 1, (): 1}, {})],
    ids=["both", "below", "nowhere"],
)
def test_a_field_that_an_increment_names_twice_or_nowhere_is_refused(
    amounts: dict[FieldPath, int], merge: dict[FieldPath, Any]
) -> None:
    with pytest.raises(ValueError, match="field"):
        check_commit([Increment("keys/k", amounts, merge)])


@pytest.mark.parametrize("amount", [True, 1.0, 2**63])
def test_an_amount_is_an_integer_of_64_bits(amount: Any) -> None:
    with pytest.raises(ValueError, match="integer"):
        check_commit([Increment("keys/k", {("a",): amount})])


@given(commits())
def test_a_commit_never_weighs_less_than_what_is_sent(asked: list[Write]) -> None:
    writes = [type(write)(f"keys/{write.path}", *_rest(write)) for write in asked]

    assert commit_bytes(writes) >= weight_of(writes).bytes


def _rest(write: Write) -> list[Any]:
    return [getattr(write, name) for name in write.__struct_fields__[1:]]


def test_a_full_segments_commit_is_weighed_with_little_to_spare() -> None:
    ids = [f"req_{number:032x}" for number in range(1000)]
    cells: dict[FieldPath, int] = {
        ("cells", f"{number:024x}", name): 1
        for number in range(33)
        for name in ("cost", "requests", "tokens")
    }
    segment = {"events": b"x" * 250_000, "request_ids": ids}
    writes: list[Write] = [Put("accounts/a/segments/s", segment), Increment("accounts/a/quarters/q", cells)]

    assert weight_of(writes).bytes <= commit_bytes(writes) <= 1.3 * weight_of(writes).bytes


def test_a_reading_has_a_bound() -> None:
    check_paths(["keys/k"] * READ_DOCUMENTS_MAX)

    with pytest.raises(ValueError, match="most"):
        check_paths(["keys/k"] * (READ_DOCUMENTS_MAX + 1))


def test_a_query_uses_indexed_fields_only() -> None:
    check_query(Query(collection="keys", equal={"account_id": "a"}, limit=READ_DOCUMENTS_MAX))

    with pytest.raises(ValueError, match="hint"):
        check_query(Query(collection="keys", equal={"hint": "a"}))
