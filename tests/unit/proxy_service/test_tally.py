import pytest

from proxy_service.tally import OVERHEAD_BOUNDS_MS, RULE_NAMES_MAX, Tally
from tests.builders import make_event


def test_events_are_counted_by_our_own_words() -> None:
    tally = Tally()
    tally.count(make_event())
    tally.count(make_event(state="upstream_error", status_code=529, unpriced=True, cost_nanodollars=0))

    assert dict(tally.calls) == {
        ("anthropic", "completed", "2xx"): 1,
        ("anthropic", "upstream_error", "5xx"): 1,
    }
    assert tally.tokens["anthropic", "input_tokens"] == 2000
    assert (tally.cost_nanodollars["anthropic"], tally.unpriced["anthropic"]) == (10_000_000, 1)


def test_a_hit_counts_what_it_saved() -> None:
    tally = Tally()
    tally.count(make_event(state="cache_hit", cache_hit=True, saved_nanodollars=7, cost_nanodollars=0))

    assert (tally.cache_hits, tally.saved_nanodollars) == (1, 7)


def test_turned_calls_are_counted_by_rule_and_only_what_routing_saved() -> None:
    tally = Tally()
    tally.count(make_event(routed=True, routing_rule="a", saved_nanodollars=5))
    tally.count(make_event(routed=True, routing_rule="a", saved_nanodollars=7, cache_hit=True))
    tally.count(make_event(routed=True, routing_rule="b", saved_nanodollars=-1))

    assert (tally.routed, tally.routing_saved_nanodollars, tally.saved_nanodollars) == (3, 4, 7)
    assert tally.rule_hits == {"a": 2, "b": 1}


def test_of_too_many_rules_the_last_are_counted_as_one() -> None:
    tally = Tally()
    for number in range(RULE_NAMES_MAX + 2):
        tally.count(make_event(routed=True, routing_rule=f"rule {number}"))
    tally.count(make_event(routed=True, routing_rule="rule 0"))

    assert len(tally.rule_hits) == RULE_NAMES_MAX + 1
    assert (tally.rule_hits["rule 0"], tally.rule_hits["other"]) == (2, 2)


@pytest.mark.parametrize(("milliseconds", "place"), [(0, 0), (0.25, 0), (0.26, 1), (100, -2), (100.1, -1)])
def test_overhead_falls_into_the_first_bound_that_holds_it(milliseconds: float, place: int) -> None:
    tally = Tally()

    tally.count_overhead(milliseconds)

    assert (tally.overhead_counts[place], sum(tally.overhead_counts)) == (1, 1)
    assert len(tally.overhead_counts) == len(OVERHEAD_BOUNDS_MS) + 1
