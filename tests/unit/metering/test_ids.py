import pytest

from metering.ids import new_id, repeatable_digest


def test_an_id_is_new_each_time_and_says_what_it_names() -> None:
    ids = {new_id("acct") for _ in range(100)}

    assert len(ids) == 100
    assert all(each.startswith("acct_") and len(each) == 5 + 32 for each in ids)


def test_a_digest_is_the_same_for_the_same_parts() -> None:
    assert repeatable_digest("batch", "one", "two") == repeatable_digest("batch", "one", "two")
    assert len(repeatable_digest("batch")) == 32


@pytest.mark.parametrize(
    ("label", "parts"), [("batch", ["onet", "wo"]), ("batch", ["onetwo"]), ("item", ["one", "two"])]
)
def test_parts_that_are_cut_otherwise_or_labelled_otherwise_differ(label: str, parts: list[str]) -> None:
    assert repeatable_digest(label, *parts) != repeatable_digest("batch", "one", "two")
