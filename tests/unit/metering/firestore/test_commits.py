"""Writes as Firestore's messages."""

from google.cloud.firestore_v1 import field_path
from hypothesis import given
from hypothesis import strategies as st

from metering.documents import quoted
from metering.firestore.commits import CommitResponse, commit_request, results_of
from metering.firestore.values import Value, fill, value_of
from metering.stores import Create, Delete, Increment, Put, Update
from tests.stores.strategies import VALUES

DATABASE = "projects/demo-p/databases/(default)"


@given(VALUES)
def test_a_value_comes_back_from_its_message_as_it_went(value: object) -> None:
    message = Value()
    fill(message, value)

    assert value_of(Value.FromString(message.SerializeToString())) == value


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=4))
def test_a_field_path_is_quoted_as_the_library_does(names: list[str]) -> None:
    assert quoted(tuple(names)) == field_path.render_field_path(names)


def test_each_write_says_what_it_expects() -> None:
    request = commit_request(
        DATABASE,
        [
            Create("keys/a", {"n": 1}),
            Put("keys/b", {}),
            Put("keys/c", {}, if_revision="17.000005000"),
            Update("keys/d", {"x.y": 1}),
            Delete("keys/e"),
            Increment("keys/f", {("n",): 1}),
        ],
    )
    create, put, demanding, update, delete, increment = request.writes

    assert create.update.name == f"{DATABASE}/documents/keys/a"
    assert (create.current_document.HasField("exists"), create.current_document.exists) == (True, False)
    assert not put.HasField("current_document")
    assert not put.HasField("update_mask")
    assert (demanding.current_document.update_time.seconds, demanding.current_document.update_time.nanos) == (
        17,
        5000,
    )
    assert (list(update.update_mask.field_paths), update.current_document.exists) == (["`x.y`"], True)
    assert delete.delete == f"{DATABASE}/documents/keys/e"
    assert not delete.HasField("current_document")
    # An empty mask leaves the document's other fields alone.
    assert increment.HasField("update_mask")
    assert not increment.HasField("current_document")


def test_sums_go_to_the_paths_that_asked_for_them() -> None:
    response = CommitResponse()
    response.write_results.add()
    result = response.write_results.add()
    for total in (7, 9):
        result.transform_results.add().integer_value = total

    results = results_of(response, [Put("keys/a", {}), Increment("keys/b", {("z",): 1, ("a", "b"): 1})])

    assert [dict(each.values) for each in results] == [{}, {("z",): 7, ("a", "b"): 9}]
