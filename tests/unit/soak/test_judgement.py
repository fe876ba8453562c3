from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from metering.recovery import NUMBER_OF_UNSEEN
from tests.system.calls import MESSAGES, message
from tests.system.deployment import BUCKETS, Row
from tests.system.soak.judgement import LATE_SECONDS, Books, BudgetBooks, Total, unexplained_ends, violations
from tests.system.statement import compared
from tests.system.traffic import TOO_LATE, Made, Outcome, Planned

SALT = "sk-test"
COST = 1_500
LEASE = f"{'a' * 32}.{'b' * 32}.1"
LEASE_OF_UNSEEN = f"{'a' * 32}.{'b' * 32}.{NUMBER_OF_UNSEEN}"


def planned(number: int, *, like: int | None = None) -> Planned:
    return Planned(number, MESSAGES, message(), {}, like=like)


def row(call: Planned) -> Row:
    buckets = dict.fromkeys(BUCKETS, 7)
    return {
        "customer": call.customer(SALT),
        "provider": "anthropic",
        "streaming": False,
        **buckets,
        "nanodollars": COST,
    }


def event(call: Planned, state: str = "completed", cost: int = COST, **fields: Any) -> Row:
    return {
        **dict.fromkeys(BUCKETS, 7),
        "provider": "anthropic",
        "streaming": False,
        "request_id": f"req {call.number}",
        "trace_id": call.trace_id,
        "state": state,
        "cost_usd": Decimal(cost).scaleb(-9),
        "cache_hit": False,
        "unadmitted": False,
        "charges": [["budget", "2026-11", LEASE, cost]],
        **fields,
    }


def books(made: list[Made], bill: list[Row], events: list[Row], **fields: Any) -> Books:
    cost = sum(int(event["cost_usd"] * 10**9) for event in events)
    lost = sum(event["state"] == "lost" for event in events)
    settled = sum(event["state"] not in {"lost", "refused", "cache_hit"} for event in events)
    given: dict[str, Any] = {
        "totals": {"usage": Total(len(events), cost)},
        "counts": {"admitted": settled + lost, "settled": settled, "in_flight": 0, "lost": lost},
        "budgets": [BudgetBooks("budget", "all", spent=cost, held=0)],
        **fields,
    }
    return Books("one", compared(made, bill, events, SALT), events, **given)


CALLS = [planned(number) for number in range(3)]
WHOLE = [Made(call, "whole", 200) for call in CALLS]
BILL = [row(call) for call in CALLS]
EVENTS = [event(call) for call in CALLS]
SOUND = books(WHOLE, BILL, EVENTS)


def test_books_that_agree_hold() -> None:
    assert violations(SOUND) == []


def test_an_event_that_is_lost_is_a_violation() -> None:
    found = violations(books(WHOLE, BILL, EVENTS[1:]))

    assert any("no event: call 0" in line for line in found)
    assert any("whole answers: billed 4500 nanodollars, recorded 3000" in line for line in found)


def test_an_event_that_is_there_twice_is_a_violation_under_whatever_id() -> None:
    again = event(CALLS[0], request_id="req another")

    assert any("2 events of call 0" in line for line in violations(books(WHOLE, BILL, [*EVENTS, again])))
    assert any(
        "2 events with the id req 0" in line for line in violations(books(WHOLE, BILL, [*EVENTS, EVENTS[0]]))
    )


def test_an_event_of_no_call_is_a_violation() -> None:
    made_up = event(planned(9))

    assert any(
        "an event of no call: call 9" in line for line in violations(books(WHOLE, BILL, [*EVENTS, made_up]))
    )


@pytest.mark.parametrize("cost", [COST - 1, COST + 1])
def test_a_nanodollar_too_few_or_too_many_is_a_violation(cost: int) -> None:
    found = violations(books(WHOLE, BILL, [event(CALLS[0], cost=cost), *EVENTS[1:]]))

    assert any("not as billed: call 0" in line for line in found)


def test_a_call_that_went_to_the_provider_twice_is_a_violation() -> None:
    found = violations(books(WHOLE, [*BILL, BILL[0]], EVENTS))

    assert any("2 times with the provider" in line for line in found)


def test_one_of_several_same_calls_may_be_answered_from_memory_for_nothing() -> None:
    first, second = planned(10, like=10), planned(11, like=10)
    made = [Made(first, "whole", 200), Made(second, "whole", 200)]
    hit = event(second, "cache_hit", 0, cache_hit=True, charges=[])

    assert violations(books(made, [row(first)], [event(first), hit])) == []
    assert any("2 times" in line for line in violations(books(made, [row(first)] * 2, [event(first), hit])))
    paid = {**hit, "cost_usd": Decimal("0.000000001")}
    assert any("from memory" in line for line in violations(books(made, [row(first)], [event(first), paid])))


def test_a_call_that_a_killed_proxy_had_under_way_is_one_event() -> None:
    made = [Made(CALLS[0], "cut")]

    assert violations(books(made, BILL[:1], [event(CALLS[0], "lost", 99)])) == []
    assert any("no event: call 0" in line for line in violations(books(made, BILL[:1], [])))
    assert violations(books(made, [], [])) == []  # cut before anybody knew of it


@pytest.mark.parametrize("total", [Total(2, 3 * COST), Total(3, 3 * COST - 1)])
def test_a_total_that_differs_is_a_violation(total: Total) -> None:
    (found,) = violations(replace(SOUND, totals={"the export": total}))

    assert "the export" in found


@pytest.mark.parametrize("name", ["admitted", "settled", "in_flight", "lost"])
def test_a_count_that_differs_is_a_violation(name: str) -> None:
    (found,) = violations(replace(SOUND, counts={**SOUND.counts, name: SOUND.counts[name] + 1}))

    assert f"calls {name}" in found


@pytest.mark.parametrize(("spent", "held"), [(3 * COST - 1, 0), (3 * COST + 1, 0), (3 * COST, 1)])
def test_a_budget_that_counts_otherwise_or_still_holds_something_is_a_violation(
    spent: int, held: int
) -> None:
    budget = BudgetBooks("budget", "all", spent, held)

    assert len(violations(replace(SOUND, budgets=[budget]))) == 1


@pytest.mark.parametrize(("limit", "is_sound"), [(3 * COST, True), (3 * COST - 1, False)])
def test_a_strict_budget_is_never_passed(limit: int, is_sound: bool) -> None:
    budget = BudgetBooks("budget", "all", 3 * COST, 0, strict_limit=limit)

    assert (violations(replace(SOUND, budgets=[budget])) == []) is is_sound


def test_calls_of_keys_that_the_store_could_not_tell_of_pass_no_limit() -> None:
    unseen = event(CALLS[0], charges=[["budget", "2026-11", LEASE_OF_UNSEEN, COST]])
    budget = BudgetBooks("budget", "all", 3 * COST, 0, strict_limit=2 * COST)

    assert violations(books(WHOLE, BILL, [unseen, *EVENTS[1:]], budgets=[budget])) == []


def test_what_the_nightly_check_finds_is_a_violation() -> None:
    assert violations(replace(SOUND, differences=["cost differs"])) == [
        "one: the nightly check: cost differs"
    ]


@pytest.mark.parametrize("outcome", ["cut", "not_taken"])
@pytest.mark.parametrize(
    ("over_at", "is_explained"),
    [(9.9, False), (10.0, True), (12.0 + LATE_SECONDS, True), (12.1 + LATE_SECONDS, False)],
)
def test_a_call_may_vanish_only_with_its_proxy(outcome: Outcome, over_at: float, is_explained: bool) -> None:
    sound = books([Made(CALLS[0], outcome, over_at=over_at)], [], [])

    assert (unexplained_ends(sound, [(10.0, 12.0)]) == []) is is_explained


def test_a_call_that_was_cut_and_has_its_event_needs_no_proxy_to_have_gone() -> None:
    made = [Made(CALLS[0], "cut", over_at=1.0)]

    assert unexplained_ends(books(made, BILL[:1], [event(CALLS[0], "upstream_truncated")]), []) == []


@pytest.mark.parametrize(("status", "is_sound"), [(429, True), (503, True), (500, False), (401, False)])
def test_a_refusal_has_a_reason(status: int, is_sound: bool) -> None:
    made = [Made(CALLS[0], "refused", status)]

    assert (unexplained_ends(books(made, [], []), []) == []) is is_sound


def test_a_call_that_was_never_answered_is_a_violation_whatever_ended() -> None:
    made = [Made(CALLS[0], "cut", code=TOO_LATE, over_at=1.0)]

    assert len(unexplained_ends(books(made, [], []), [(0.0, 2.0)])) == 1
