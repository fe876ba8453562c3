"""Groups of an answer: the dearest of all its parts are named in each of them, and nothing is lost."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.rollups import OTHER, SUMS
from metering.usage_groups import Groups

PARTS = 3

Added = list[tuple[str, int, int]]  # team, part, cost
added: st.SearchStrategy[Added] = st.lists(
    st.tuples(st.sampled_from(["", OTHER, *"abcdefgh"]), st.integers(0, PARTS - 1), st.integers(0, 9)),
    max_size=60,
)


def _told(costs: Added) -> list[dict[str, int]]:
    """What each part tells, in its order."""
    groups = Groups(("team",))
    for team, part, cost in costs:
        groups.add((team,), {"cost_nanodollars": cost}, part)
    return [
        {group.values["team"]: group.sums["cost_nanodollars"] for group in told}
        for told in groups.by_part(PARTS)
    ]


def _reckoned(costs: Added, most: int) -> list[dict[str, int]]:
    """The same in the plainest way."""
    of_all: Counter[str] = Counter()
    for team, _, cost in costs:
        of_all[team] += cost
    ranked = sorted(of_all.keys() - {OTHER}, key=lambda team: (team != "", -of_all[team], team))
    found: list[dict[str, int]] = [{} for _ in range(PARTS)]
    for team, part, cost in costs:
        name = team if team in ranked[:most] else OTHER
        found[part][name] = found[part].get(name, 0) + cost
    return [dict(sorted(told.items(), key=lambda each: (-each[1], each[0]))) for told in found]


@given(added.flatmap(lambda costs: st.tuples(st.just(costs), st.permutations(costs))), st.integers(1, 9))
def test_the_dearest_of_all_parts_are_named_in_each_whatever_the_order_of_reading(
    both: tuple[Added, Added], most: int
) -> None:
    costs, shuffled = both
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metering.usage_groups.GROUPS_MAX", most)
        told = _told(costs)
        assert [[*each.items()] for each in told] == [[*each.items()] for each in _reckoned(costs, most)]
        assert _told(shuffled) == told


@given(added, st.integers(1, 9), st.integers(1, 30))
def test_beyond_what_is_held_sums_are_exact_and_no_name_stands_for_a_part_of_its_calls(
    costs: Added, most: int, held: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metering.usage_groups.GROUPS_MAX", most)
        patch.setattr("metering.usage_groups.GROUPS_HELD_MAX", held)
        told = _told(costs)

    assert len({team for each in told for team in each} - {OTHER}) <= most
    for part, each in enumerate(told):
        assert sum(each.values()) == sum(cost for _, place, cost in costs if place == part)
        for team in each.keys() - {OTHER}:
            assert each[team] == sum(cost for name, place, cost in costs if (name, place) == (team, part))


@pytest.mark.parametrize(("held", "named"), [(4, "d"), (3, "c")])
def test_when_no_more_are_held_those_dearest_until_then_keep_their_names(
    monkeypatch: pytest.MonkeyPatch, held: int, named: str
) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 1)
    monkeypatch.setattr("metering.usage_groups.GROUPS_HELD_MAX", held)

    told, *_ = _told([("a", 0, 1), ("b", 0, 2), ("c", 0, 3), ("d", 0, 5), ("c", 0, 1)])

    assert set(told) == {named, OTHER}
    assert sum(told.values()) == 12


def test_what_names_nothing_keeps_its_name_even_where_it_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 2)
    monkeypatch.setattr("metering.usage_groups.GROUPS_HELD_MAX", 2)

    told, *_ = _told([("a", 0, 3), ("b", 0, 2), ("c", 0, 9), ("", 0, 1)])

    assert told == {OTHER: 11, "a": 3, "": 1}


def test_groups_tell_all_sums_and_are_as_they_were_when_more_is_added() -> None:
    groups = Groups(("team",))
    groups.add(("a",), {"requests": 1})
    (before,) = groups.dearest()
    groups.add(("a",), {"requests": 1, "errors": 1})
    (after,) = groups.dearest()

    assert [*before.sums] == [*SUMS] == [*after.sums]
    assert (before.sums["requests"], after.sums["requests"], after.sums["errors"]) == (1, 2, 1)
