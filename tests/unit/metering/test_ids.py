import pytest

from metering.ids import RANDOM_BYTES, REQUESTS_A_RUN, RequestIds, new_id, repeatable_digest


def test_an_id_is_new_each_time_and_says_what_it_names() -> None:
    ids = {new_id("acct") for _ in range(100)}

    assert len(ids) == 100
    assert all(each.startswith("acct_") and len(each) == 5 + 32 for each in ids)


def test_ids_of_requests_are_new_each_time_and_begin_alike_within_a_run() -> None:
    ids = RequestIds()

    made = [ids.new() for _ in range(2 * REQUESTS_A_RUN)]

    assert len(set(made)) == len(made)
    assert {len(each) for each in made} == {len("req_") + 2 * RANDOM_BYTES}
    assert [len({each[:12] for each in run}) for run in (made[:REQUESTS_A_RUN], made)] == [1, 2]


def test_a_digest_is_the_same_for_the_same_parts() -> None:
    assert repeatable_digest("batch", "one", "two") == repeatable_digest("batch", "one", "two")
    assert len(repeatable_digest("batch")) == 32


@pytest.mark.parametrize(
    ("label", "parts"), [("batch", ["onet", "wo"]), ("batch", ["onetwo"]), ("item", ["one", "two"])]
)
def test_parts_that_are_cut_otherwise_or_labelled_otherwise_differ(label: str, parts: list[str]) -> None:
    assert repeatable_digest(label, *parts) != repeatable_digest("batch", "one", "two")
