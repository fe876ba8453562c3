"""What Firestore's answers mean: which say that nothing was applied, and which say nothing."""

import grpc
import pytest

from metering.errors import (
    AlreadyExists,
    DocumentMissing,
    DocumentTooLarge,
    RevisionChanged,
    StoreError,
    StoreUnavailable,
)
from metering.firestore.outcomes import refused
from metering.stores import Create, Delete, Increment, Put, Update, Write

PATH_ALONE = "entity already exists: EntityRef{partitionRef=p, path=/keys/k2}"
NAMED = "projects/p/databases/(default)/documents/keys/k2"
CREATES: list[Write] = [Create("keys/k1", {}), Create("keys/k2", {})]
UPDATES: list[Write] = [Update("keys/k1", {}), Update("keys/k2", {}), Increment("keys/k3", {("n",): 1})]
MIXED: list[Write] = [Update("keys/k1", {}), Delete("keys/k2", if_revision="1.0")]
DEMANDS: list[Write] = [Put("keys/k1", {}, if_revision="1.0"), Delete("keys/k2", if_revision="1.0")]


class Answer(grpc.RpcError):  # type: ignore[misc] # grpc ships no types
    """An error as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details


def _refused(code: str, details: str | None = "", writes: list[Write] | None = None) -> StoreError:
    return refused(Answer(grpc.StatusCode[code], details), writes or [])


@pytest.mark.parametrize(
    ("code", "details", "writes", "meant"),
    [
        ("ALREADY_EXISTS", f"Document already exists: {NAMED}", CREATES, AlreadyExists("keys/k2")),
        ("ALREADY_EXISTS", PATH_ALONE, CREATES, AlreadyExists("keys/k2")),
        ("ALREADY_EXISTS", "said otherwise", CREATES, AlreadyExists("")),
        ("ALREADY_EXISTS", "said otherwise", CREATES[:1], AlreadyExists("keys/k1")),
        ("NOT_FOUND", f"No document to update: {NAMED}", UPDATES, DocumentMissing("keys/k2")),
        ("NOT_FOUND", 'Element {\n type: "keys"\n name: "k2"\n}', UPDATES, DocumentMissing("keys/k2")),
        ("NOT_FOUND", f"No document to update: {NAMED}", DEMANDS, RevisionChanged("keys/k2")),
        ("NOT_FOUND", f"No document to update: {NAMED}", MIXED, RevisionChanged("keys/k2")),
        ("NOT_FOUND", "said otherwise", MIXED, DocumentMissing("")),
        ("FAILED_PRECONDITION", "the stored version does not match", DEMANDS[:1], RevisionChanged("keys/k1")),
        ("FAILED_PRECONDITION", "the stored version does not match", DEMANDS, RevisionChanged("")),
    ],
)  # fmt: skip
def test_a_refusal_that_applied_nothing_names_its_reason_and_path(
    code: str, details: str, writes: list[Write], meant: StoreError
) -> None:
    assert _refused(code, details, writes) == meant


@pytest.mark.parametrize(
    "details",
    [
        "maximum entity size is 1048576 bytes",
        f'Document "{NAMED}" cannot be written because its size (1,048,605 bytes) exceeds the maximum '
        "allowed size of 1,048,576 bytes.",
    ],
)
def test_a_size_refusal_is_told_from_other_mistakes(details: str) -> None:
    assert isinstance(_refused("INVALID_ARGUMENT", details, UPDATES), DocumentTooLarge)
    assert type(_refused("INVALID_ARGUMENT", "Cannot delete then update", UPDATES)) is StoreError


@pytest.mark.parametrize(
    "code",
    [
        "DEADLINE_EXCEEDED", "UNAVAILABLE", "ABORTED", "INTERNAL", "CANCELLED", "UNKNOWN", "DATA_LOSS",
        "RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "UNAUTHENTICATED",
    ],
)  # fmt: skip
def test_everything_else_leaves_the_outcome_unknown(code: str) -> None:
    assert isinstance(_refused(code, None, CREATES), StoreUnavailable)
    assert isinstance(_refused(code), StoreUnavailable)


def test_a_query_without_its_index_is_our_mistake() -> None:
    assert type(_refused("FAILED_PRECONDITION", "The query requires an index.")) is StoreError
