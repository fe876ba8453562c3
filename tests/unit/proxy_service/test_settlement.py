from datetime import timedelta
from typing import Any

import msgspec
import pytest

from metering.accounts import AccountSettings, AzureSettings, PriceOverride, PriceSettings, Tags
from metering.events import State
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.usage import Reading, Usage
from proxy_service.settlement import (
    Admitted,
    Ending,
    Outcome,
    Settlement,
    nothing_seen,
    state_of,
    status_given,
)
from tests.builders import AT, make_caller, make_policy
from tests.unit.proxy_service.errands import make_admitted, make_reading

SETTLEMENT = Settlement(Pricer(load_price_table()))
COST_NANODOLLARS = 1000 * 3000 + 100 * 15000  # claude-sonnet-4-5: $3 and $15 a million


def outcome(state: State = "completed", reading: Reading | None = None, **changes: int) -> Outcome:
    return Outcome(
        state=state,
        status_code=200,
        reading=make_reading() if reading is None else reading,
        ended_at=AT,
        latency_ms=850,
        **changes,
    )


def test_a_completed_call_costs_what_it_used() -> None:
    event = SETTLEMENT.settle(make_admitted(), outcome())

    assert (event.cost_nanodollars, event.unpriced, event.estimated) == (COST_NANODOLLARS, False, False)
    assert (event.model, event.requested_model) == ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5")
    assert event.usage == make_reading().usage
    assert event.price_version


def routed(model: str = "claude-haiku-4-5", **changes: Any) -> Admitted:
    return make_admitted(sent_model=model, routing_rule="downgrade", **changes)


HAIKU_READING = make_reading(model="claude-haiku-4-5-20251001")


def test_a_turned_call_saves_what_it_would_have_cost_more_as_it_was_asked_for() -> None:
    event = SETTLEMENT.settle(routed(), outcome(reading=HAIKU_READING))

    assert (event.routed, event.routing_rule) == (True, "downgrade")
    assert (event.model, event.requested_model) == ("claude-haiku-4-5-20251001", "claude-sonnet-4-5")
    assert event.cost_nanodollars == 1_500_000
    assert event.counterfactual_nanodollars == COST_NANODOLLARS
    assert event.saved_nanodollars == COST_NANODOLLARS - 1_500_000


def test_a_turn_to_a_dearer_model_saves_less_than_nothing() -> None:
    reading = make_reading(model="claude-opus-4-1")
    event = SETTLEMENT.settle(routed("claude-opus-4-1"), outcome(reading=reading))

    assert event.saved_nanodollars == COST_NANODOLLARS - event.cost_nanodollars < 0


@pytest.mark.parametrize(
    "admitted",
    [routed(requested_model="zz-new"), routed("zz-new")],
    ids=["no price as asked", "no price as served"],
)
def test_where_one_of_both_prices_is_unknown_no_saving_is_claimed(admitted: Admitted) -> None:
    reading = make_reading(model=admitted.sent_model)

    assert SETTLEMENT.settle(admitted, outcome(reading=reading)).saved_nanodollars == 0


def test_a_turned_call_that_used_nothing_saved_nothing() -> None:
    event = SETTLEMENT.settle(routed(), outcome("upstream_error", Reading()))

    assert (event.saved_nanodollars, event.counterfactual_nanodollars, event.routed) == (0, 0, True)


def test_a_turned_call_answered_from_memory_saved_what_the_answer_cost() -> None:
    event = SETTLEMENT.settle(routed(), outcome("cache_hit", HAIKU_READING, saved_nanodollars=7))

    assert (event.saved_nanodollars, event.counterfactual_nanodollars, event.cost_nanodollars) == (7, 0, 0)


def test_what_could_not_be_asked_is_flagged() -> None:
    assert SETTLEMENT.settle(make_admitted(unadmitted=True), outcome()).unadmitted


def test_where_the_answer_says_it_ran_is_priced_and_recorded() -> None:
    reading = msgspec.structs.replace(make_reading(), region="us")

    event = SETTLEMENT.settle(make_admitted(region="eu-west-1"), outcome(reading=reading))

    assert (event.region, event.cost_nanodollars) == ("us", COST_NANODOLLARS * 110 // 100)


def test_the_tier_that_the_answer_names_sets_the_price_whatever_was_asked_for() -> None:
    reading = msgspec.structs.replace(make_reading(), service_tier="batch")

    event = SETTLEMENT.settle(make_admitted(service_tier="auto"), outcome(reading=reading))

    assert (event.service_tier, event.cost_nanodollars) == ("batch", COST_NANODOLLARS // 2)


def test_a_call_costs_what_was_in_force_when_it_was_admitted() -> None:
    ended = PriceOverride(provider="anthropic", model="*", discount_basis_points=5000, ends_at=AT)
    policy = make_policy(settings=AccountSettings(prices=PriceSettings(overrides=(ended,))))
    before = make_admitted(policy=policy, timestamp=AT - timedelta(microseconds=1))

    events = [SETTLEMENT.settle(each, outcome()) for each in (before, make_admitted(policy=policy))]

    assert [event.cost_nanodollars for event in events] == [COST_NANODOLLARS // 2, COST_NANODOLLARS]


def test_what_a_key_pins_wins_over_the_callers_tags() -> None:
    tags = Tags(team="said", app="said", feature="f", session_id="s")
    caller = make_caller(team="pinned", deployment="eu")

    event = SETTLEMENT.settle(make_admitted(tags=tags, caller=caller), outcome())

    assert (event.team, event.app, event.feature, event.session_id) == ("pinned", "said", "f", "s")
    assert event.deployment == "eu"


def test_an_answer_from_memory_bills_nothing_and_says_what_it_saved() -> None:
    event = SETTLEMENT.settle(make_admitted(), outcome("cache_hit", saved_nanodollars=COST_NANODOLLARS))

    assert (event.cost_nanodollars, event.usage, event.cache_hit) == (0, Usage(), True)
    assert event.saved_nanodollars == COST_NANODOLLARS
    assert not event.unpriced


def test_an_unknown_price_is_never_zero_in_silence() -> None:
    reading = make_reading(model="zz-new")

    event = SETTLEMENT.settle(make_admitted(requested_model="zz-new"), outcome(reading=reading))

    assert (event.cost_nanodollars, event.unpriced) == (0, True)


def test_a_call_that_nobody_metered_is_unpriced() -> None:
    event = SETTLEMENT.settle(make_admitted(), outcome("unmetered", Reading()))

    assert (event.cost_nanodollars, event.unpriced) == (0, True)


@pytest.mark.parametrize("state", ["refused", "upstream_error"])
def test_a_call_that_used_nothing_and_failed_costs_nothing_whatever_its_model(state: State) -> None:
    event = SETTLEMENT.settle(make_admitted(requested_model="zz-new"), outcome(state, Reading()))

    assert (event.cost_nanodollars, event.unpriced) == (0, False)


def test_a_whole_answer_of_which_nothing_could_be_read_says_so() -> None:
    event = SETTLEMENT.settle(make_admitted(), outcome(reading=make_reading(usage=None)))

    assert (event.estimated, event.estimate_method) == (True, "missing_usage")


def test_an_answer_that_broke_off_before_its_usage_is_not_called_whole() -> None:
    event = SETTLEMENT.settle(make_admitted(), outcome("upstream_truncated", Reading()))

    assert (event.estimated, event.estimate_method) == (False, "none")


def test_an_answer_of_an_unpriced_model_is_unpriced_also_where_no_usage_was_read() -> None:
    admitted = make_admitted(requested_model="zz-new")
    reading = make_reading(model="zz-new", usage=None)

    assert SETTLEMENT.settle(admitted, outcome(reading=reading)).unpriced


def test_what_a_failed_call_used_is_paid_for() -> None:
    event = SETTLEMENT.settle(make_admitted(), outcome("upstream_error"))

    assert event.cost_nanodollars == COST_NANODOLLARS


def test_an_azure_deployment_is_the_model_that_the_account_says() -> None:
    azure = AzureSettings(resource="r", deployments={"prod": "gpt-4o"})
    admitted = make_admitted(
        provider="azure",
        requested_model="prod",
        policy=make_policy(settings=AccountSettings(azure=azure)),
    )

    event = SETTLEMENT.settle(admitted, outcome(reading=make_reading(model="gpt-4o-2024-08-06")))

    assert (event.model, event.unpriced) == ("gpt-4o", False)
    assert event.cost_nanodollars == 1000 * 2500 + 100 * 10000


def test_a_model_that_looks_like_a_key_is_not_recorded() -> None:
    reading = make_reading(model="sk-ant-api03-abcdefghijkl")

    event = SETTLEMENT.settle(make_admitted(), outcome(reading=reading))

    assert event.model == "[redacted]"


WHOLE, PART, ERROR = make_reading(), make_reading(is_complete=False), make_reading(is_error=True)


@pytest.mark.parametrize(
    ("streaming", "ending", "reading", "state"),
    [
        (False, Ending(status=200), WHOLE, "completed"),
        (True, Ending(status=200), WHOLE, "completed"),
        (True, Ending(status=200), PART, "upstream_truncated"),
        (True, Ending(status=200, is_cut=True), WHOLE, "upstream_truncated"),
        (True, Ending(status=200, is_cut=True), PART, "upstream_truncated"),
        (True, Ending(status=200), ERROR, "upstream_error"),
        (False, Ending(status=300), WHOLE, "upstream_error"),
        (False, Ending(status=302), PART, "upstream_error"),
        (False, Ending(status=429), PART, "upstream_error"),
        (False, Ending(), Reading(), "upstream_error"),
        (True, Ending(status=200, is_cut=True, is_gone=True), PART, "client_closed"),
        (True, Ending(status=200, is_cut=True, is_gone=True), WHOLE, "completed"),
        (False, Ending(status=200, is_gone=True), WHOLE, "client_closed"),
        (False, Ending(status=200, is_gone=True, is_drained=True), PART, "drained"),
        (True, Ending(status=200, is_cut=True, is_gone=True, is_drained=True), WHOLE, "completed"),
        (True, Ending(is_gone=True), Reading(), "client_closed"),
    ],
)
def test_each_ending_has_its_state(streaming: bool, ending: Ending, reading: Reading, state: State) -> None:
    assert state_of(make_admitted(streaming=streaming), ending, reading) == state


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (Ending(status=200), "unmetered"),
        (Ending(status=200, is_gone=True, is_cut=True), "unmetered"),
        (Ending(may_bill=True), "unmetered"),
        (Ending(), "upstream_error"),
        (Ending(status=400), "upstream_error"),
    ],
)
def test_a_call_that_nobody_reads_is_unmetered_unless_it_failed(ending: Ending, state: State) -> None:
    assert state_of(make_admitted(is_metered=False), ending, Reading()) == state


def test_what_a_silent_provider_read_is_estimated_from_the_request() -> None:
    assert nothing_seen(401, Ending(may_bill=True)) == Reading(
        usage=Usage(input_tokens=101), estimate_method="request_bytes"
    )
    assert nothing_seen(401, Ending()) == Reading()


def test_a_call_without_an_answer_records_why() -> None:
    assert status_given(Ending(), 502) == 502
    assert status_given(Ending(is_gone=True), 502) == 499
    assert status_given(Ending(is_drained=True), 502) == 503
    assert status_given(Ending(is_gone=True, is_drained=True), 502) == 503
