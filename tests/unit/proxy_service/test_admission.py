"""Deciding about calls: prices, models, and what budgets are asked to hold. Over a real desk in memory."""

import asyncio
from typing import Any

import msgspec
import pytest

from metering.accounts import AccountSettings, AzureSettings, PriceOverride, PriceSettings, UnitPrices
from metering.bounds import OUTPUT_TOKENS_EXPECTED, Bounds
from metering.budgets import Scope
from metering.events import Provider
from metering.model_limits import load_model_limits
from metering.price_table import load_price_table
from metering.pricing import Pricer
from proxy_service.admission import Admission, Admittance
from proxy_service.desk import Desk
from proxy_service.providers import Ask, Operation
from proxy_service.refusals import RequestRefused
from proxy_service.stakes import NOTHING_HELD, StakeStanding
from tests.builders import AT, make_policy
from tests.doubles.clock import ManualClock
from tests.doubles.lease_desk import make_desk
from tests.services.proxy.governed import DOLLAR, HAIKU, SONNET, make_budget, make_rule
from tests.unit.proxy_service.errands import make_errand, make_route

PRICER = Pricer(load_price_table())
BOUNDS = Bounds(PRICER, load_model_limits())
OWN_PRICE = PriceOverride(
    provider="anthropic", model="zz-new", prices=UnitPrices(input_picodollars=1, output_picodollars=1)
)


def admittance(desk: Desk | None = None, told: list[tuple[str, int | None]] | None = None) -> Admittance:
    def tell(account_id: str, standing: StakeStanding, threshold: int | None) -> None:
        if told is not None:
            told.append((standing.budget_id, threshold))

    return Admittance(PRICER, BOUNDS, desk or make_desk(ManualClock()), tell)


async def deciding(
    by: Admittance,
    model: str = SONNET,
    *,
    provider: Provider = "anthropic",
    operation: Operation = "messages",
    team: bytes = b"",
    fields: dict[str, Any] | None = None,
    **policy: Any,
) -> Admission:
    errand = make_errand(
        policy=make_policy(**policy),
        route=make_route(provider=provider, operation=operation),
        ours={b"x-modeltrack-team": team} if team else {},
    )
    content: dict[str, Any] = {"model": model, "max_tokens": 100, "messages": []} | (fields or {})
    ask = Ask(model=model, output_tokens_max=content["max_tokens"])
    return await by.decide(errand, ask, msgspec.json.encode(content), AT)


def decide(model: str = SONNET, **more: Any) -> Admission:
    async def decided() -> Admission:
        return await deciding(admittance(), model, **more)

    return asyncio.run(decided())


def priced(prices: PriceSettings) -> AccountSettings:
    return AccountSettings(prices=prices)


def test_a_call_without_a_known_price_passes_unless_the_account_refuses_such() -> None:
    refusing = priced(PriceSettings(unpriced="refuse"))

    assert decide("zz-new").held is NOTHING_HELD
    assert decide("claude-sonnet-4-5", settings=refusing).held is NOTHING_HELD

    with pytest.raises(RequestRefused) as refused:
        decide("zz-new", settings=refusing)

    assert (refused.value.status, refused.value.code) == (403, "model_unpriced")


def test_a_price_of_the_accounts_own_is_a_price() -> None:
    settings = priced(PriceSettings(unpriced="refuse", overrides=(OWN_PRICE,)))

    assert decide("zz-new", settings=settings).rule is None


@pytest.mark.parametrize(
    ("provider", "model", "setting"),
    [
        ("openai", "zz-new", "prices.overrides"),
        ("azure", "my-deployment", "azure.deployments"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/a",
            "bedrock.inference_profiles",
        ),
        ("bedrock", "zz.new", "prices.overrides"),
    ],
)
def test_a_refusal_names_the_setting_that_would_help(provider: Provider, model: str, setting: str) -> None:
    with pytest.raises(RequestRefused, match=f"{setting}.*PATCH /v1/account"):
        decide(model, provider=provider, settings=priced(PriceSettings(unpriced="refuse")))


def test_without_budgets_nothing_is_held_and_no_rule_fires_and_an_estimate_is_made() -> None:
    found = decide(routing_rules=(make_rule(threshold=0),))

    assert (found.held, found.rule, found.warning) == (NOTHING_HELD, None, "")
    body_tokens = -(-len(found.body) // 4)
    assert found.estimate_nanodollars == body_tokens * 3_000 + 100 * 15_000


def test_a_budget_over_other_calls_is_not_asked() -> None:
    found = decide(budgets=(make_budget(scope=Scope(team="x"), limit_nanodollars=0),))

    assert found.held is NOTHING_HELD


def test_strict_budgets_hold_the_bound_and_normal_ones_what_is_expected() -> None:
    expected = decide(budgets=(make_budget(limit_nanodollars=100 * DOLLAR),))
    bound = decide(budgets=(make_budget(limit_nanodollars=100 * DOLLAR, mode="strict"),))

    assert expected.held.holds[0].nanodollars == expected.estimate_nanodollars
    assert bound.held.holds[0].nanodollars == (len(bound.body) + 256) * 6_600 + 100 * 16_500


@pytest.mark.parametrize(
    ("fields", "provider", "param", "words"),
    [
        ({"mystery": 1}, "anthropic", "mystery", "mystery may make it cost more"),
        ({"tools": [{"type": "web_search_20250305"}]}, "anthropic", "tools.max_uses", "set tools.max_uses"),
        ({}, "azure", "model", "the price or the limits of its model are not known"),
    ],
)
def test_a_strict_budget_refuses_what_nothing_bounds_and_names_the_field(
    fields: dict[str, Any], provider: Provider, param: str, words: str
) -> None:
    with pytest.raises(RequestRefused, match=words) as refused:
        decide(fields=fields, provider=provider, budgets=(make_budget(mode="strict"),))

    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "cost_unbounded", param)


def test_a_deployment_may_be_named_like_the_model_that_it_is_said_to_serve() -> None:
    settings = AccountSettings(azure=AzureSettings(deployments={"gpt-4o": "gpt-4o"}))
    budgets = (make_budget(mode="strict"),)
    found = decide(
        "gpt-4o", provider="azure", operation="chat_completions", settings=settings, budgets=budgets
    )

    assert found.held is not NOTHING_HELD


def test_azures_deployments_are_bounded_by_the_model_they_are_said_to_serve() -> None:
    settings = AccountSettings(azure=AzureSettings(deployments={"mine": "gpt-4o"}))
    found = decide(
        "mine",
        provider="azure",
        operation="chat_completions",
        settings=settings,
        budgets=(make_budget(mode="strict"),),
    )

    assert found.held.holds[0].nanodollars > 0


def test_without_room_a_downgrade_budget_tries_the_rules_models_in_their_order() -> None:
    rules = (
        make_rule(name="too dear", threshold=101, to_model="claude-opus-4-6"),
        make_rule(name="fits", threshold=101),
    )
    budget = make_budget(action="downgrade", mode="strict", limit_nanodollars=2_500_000)

    found = decide(budgets=(budget,), routing_rules=rules)

    assert (found.ask.model, found.rule) == (HAIKU, rules[1])
    assert found.route_reason == "fits: no room in the budget"
    assert msgspec.json.decode(found.body)["model"] == HAIKU


def test_without_room_a_blocking_budget_refuses_whatever_rules_there_are() -> None:
    budget = make_budget(mode="strict", limit_nanodollars=2_500_000)

    with pytest.raises(RequestRefused) as refused:
        decide(budgets=(budget,), routing_rules=(make_rule(threshold=101),))

    assert (refused.value.status, refused.value.code) == (429, "budget_exceeded")


@pytest.mark.parametrize("fields", [{"max_tokens": 64_000}, {"max_tokens": None}], ids=["large", "none"])
def test_a_strict_budgets_refusal_names_the_output_cap_that_there_is_room_for(fields: dict[str, Any]) -> None:
    budgets = (make_budget(mode="strict", limit_nanodollars=20_000_000), make_budget(mode="strict"))

    with pytest.raises(RequestRefused) as refused:
        decide(fields=fields, budgets=budgets)

    assert (refused.value.code, refused.value.param) == ("budget_exceeded", "max_tokens")
    fitting = int(refused.value.details["fits_with"].removeprefix("max_tokens<="))
    assert decide(fields={"max_tokens": fitting}, budgets=budgets).held.holds
    with pytest.raises(RequestRefused):
        decide(fields={"max_tokens": fitting + 30}, budgets=budgets)


@pytest.mark.parametrize(
    ("budget", "fields"),
    [
        ({"mode": "strict", "limit_nanodollars": 10_000}, {"max_tokens": 64_000}),
        ({"limit_nanodollars": 100_000}, {"max_tokens": 64_000}),
        ({"mode": "strict", "limit_nanodollars": 10**9}, {"context_management": {"edits": []}}),
    ],
    ids=["the prompt alone is too much", "not strict", "the cap is passed over"],
)
def test_where_no_output_cap_helps_none_is_named(budget: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused) as refused:
        decide(fields=fields, budgets=(make_budget(**budget),))

    assert (refused.value.code, refused.value.param) == ("budget_exceeded", None)
    assert "fits_with" not in refused.value.details


@pytest.mark.parametrize(("limit", "is_let_through"), [(0, False), (1, True)])
def test_a_call_that_costs_nothing_by_the_list_needs_a_rest_all_the_same(
    limit: int, is_let_through: bool
) -> None:
    free = PriceOverride(provider="anthropic", model=HAIKU, discount_basis_points=10_000)
    settings = priced(PriceSettings(overrides=(free,)))
    budget = make_budget(mode="strict", limit_nanodollars=limit)

    if is_let_through:
        assert decide(HAIKU, settings=settings, budgets=(budget,)).held.most_nanodollars == 1
    else:
        with pytest.raises(RequestRefused) as refused:
            decide(HAIKU, settings=settings, budgets=(budget,))
        assert refused.value.code == "budget_exceeded"


def test_what_is_held_is_free_again_once_the_call_is_settled() -> None:
    async def story() -> list[int]:
        desk = make_desk(ManualClock())
        by, budgets = admittance(desk), (make_budget(mode="strict", limit_nanodollars=5_000_000),)
        first = await deciding(by, budgets=budgets)
        with pytest.raises(RequestRefused) as refused:
            await deciding(by, budgets=budgets)
        assert refused.value.retry == "soon"
        charges = desk.settle(first.held, 10)
        await deciding(by, budgets=budgets)
        return [charge.nanodollars for charge in charges]

    assert asyncio.run(story()) == [10]


def test_an_answer_near_the_limit_carries_a_warning_from_the_first_threshold_on() -> None:
    async def warning_after(spent: int, **budget: Any) -> str:
        desk = make_desk(ManualClock())
        by, budgets = admittance(desk), (make_budget(**budget),)
        desk.settle((await deciding(by, budgets=budgets)).held, spent)
        return (await deciding(by, budgets=budgets, team=b"search")).warning

    assert asyncio.run(warning_after(799_999_999)) == ""
    assert asyncio.run(warning_after(800_000_000)) == "all at 80% of budget ($0.8/$1)"
    assert asyncio.run(warning_after(800_000_000, thresholds_percent=())) == ""


def test_a_budget_of_each_value_warns_of_the_value() -> None:
    async def story() -> str:
        desk = make_desk(ManualClock())
        by, budgets = admittance(desk), (make_budget(each="team", action="warn"),)
        desk.settle((await deciding(by, budgets=budgets, team=b"search")).held, 2 * DOLLAR)
        assert (await deciding(by, budgets=budgets, team=b"other")).warning == ""
        return (await deciding(by, budgets=budgets, team=b"search")).warning

    assert asyncio.run(story()) == "search at 200% of budget ($2/$1)"


def test_a_batch_is_warned_of_near_the_limit_and_refused_for_good_at_it() -> None:
    async def story() -> None:
        desk = make_desk(ManualClock())
        by, budgets = admittance(desk), (make_budget(),)
        desk.settle((await deciding(by, budgets=budgets)).held, 800_000_000)
        errand = make_errand(policy=make_policy(budgets=budgets), route=make_route())
        assert (await by.decide_batch(errand, AT)).warning == "all at 80% of budget ($0.8/$1)"
        desk.settle((await deciding(by, budgets=budgets)).held, 200_000_000)
        with pytest.raises(RequestRefused) as refused:
            await by.decide_batch(errand, AT)
        assert (refused.value.code, refused.value.retry) == ("budget_exceeded", "never")

    asyncio.run(story())


def test_a_call_that_nobody_can_price_is_refused_where_the_account_refuses_such() -> None:
    policy = make_policy(settings=priced(PriceSettings(unpriced="refuse")))
    errand = make_errand(policy=policy, route=make_route())

    with pytest.raises(RequestRefused) as refused:
        asyncio.run(admittance().decide_unmetered(errand, AT))

    assert refused.value.code == "model_unpriced"


def test_each_threshold_is_told_once_a_period() -> None:
    told: list[tuple[str, int | None]] = []
    one, other = make_budget(action="warn"), make_budget(action="warn", limit_nanodollars=100 * DOLLAR)

    async def story() -> None:
        desk = make_desk(ManualClock())
        by, budgets = admittance(desk, told), (one, other)
        for spent in (0, 799_999_999, 1, 0, 200_000_000, 0, DOLLAR):
            desk.settle((await deciding(by, budgets=budgets)).held, spent)
        await deciding(by, budgets=budgets)

    asyncio.run(story())

    assert told == [(one.budget_id, 80), (one.budget_id, 100)]


def test_that_a_budget_refuses_is_told_once_however_little_of_it_is_spent() -> None:
    told: list[tuple[str, int | None]] = []
    budget = make_budget(mode="strict", limit_nanodollars=1)

    async def story() -> None:
        by = admittance(make_desk(ManualClock()), told)
        for _ in range(3):
            with pytest.raises(RequestRefused):
                await deciding(by, budgets=(budget,))

    asyncio.run(story())

    assert told == [(budget.budget_id, None)]


@pytest.mark.parametrize(("longest", "served"), [(64_000, HAIKU), (64_001, SONNET)])
def test_a_call_is_turned_to_no_model_whose_answers_are_too_short_for_it(longest: int, served: str) -> None:
    found = decide(
        fields={"max_tokens": longest},
        budgets=(make_budget(limit_nanodollars=100 * DOLLAR),),
        routing_rules=(make_rule(threshold=0),),
    )

    assert found.ask.model == served
    assert (found.route_reason == "unsafe_to_edit") == (served == SONNET)


def test_a_turned_call_is_held_by_the_budgets_of_the_model_that_serves_it() -> None:
    asked, serving = make_budget(scope=Scope(model=SONNET)), make_budget(scope=Scope(model=HAIKU))

    found = decide(budgets=(asked, serving), routing_rules=(make_rule(threshold=0),))

    assert [hold.budget_id for hold in found.held.holds] == [serving.budget_id]


def test_a_cheaper_model_that_nothing_bounds_is_none_that_fits() -> None:
    full = make_budget(action="downgrade", limit_nanodollars=1)
    strict = make_budget(mode="strict", scope=Scope(model=HAIKU))

    with pytest.raises(RequestRefused) as refused:
        decide(fields={"mystery": 1}, budgets=(full, strict), routing_rules=(make_rule(threshold=101),))

    assert (refused.value.status, refused.value.code) == (429, "budget_exceeded")


def test_a_call_that_costs_nothing_passes_no_budget_without_a_rest() -> None:
    free = PriceOverride(
        provider="anthropic", model=HAIKU, prices=UnitPrices(input_picodollars=0, output_picodollars=0)
    )
    settings = priced(PriceSettings(overrides=(free,)))

    for mode in ("strict", "normal"):
        with pytest.raises(RequestRefused) as refused:
            decide(HAIKU, settings=settings, budgets=(make_budget(mode=mode, limit_nanodollars=0),))
        assert refused.value.status == 429


def test_no_more_is_held_than_the_call_can_cost() -> None:
    found = decide(
        HAIKU,
        fields={"messages": [{"role": "user", "content": "x" * 4_000_000}]},
        budgets=(make_budget(limit_nanodollars=100 * DOLLAR),),
    )

    assert found.estimate_nanodollars > 1_000_000 * 1_000
    assert found.held.holds[0].nanodollars == 200_000 * 2_200 + 100 * 5_500


@pytest.mark.parametrize("tag", ["team", "app"])
def test_what_a_key_pins_counts_and_not_what_the_call_names(tag: str) -> None:
    pinned, named = (
        make_budget(scope=msgspec.structs.replace(Scope(), **{tag: value}), limit_nanodollars=100 * DOLLAR)
        for value in ("pinned", "named")
    )
    ours = {f"x-modeltrack-{tag}".encode(): b"named"}
    errand = make_errand(policy=make_policy(budgets=(pinned, named)), ours=ours)
    caller = msgspec.structs.replace(errand.who.caller, **{tag: "pinned"})
    errand = msgspec.structs.replace(errand, who=msgspec.structs.replace(errand.who, caller=caller))

    async def story() -> Admission:
        return await admittance().decide(errand, Ask(model=SONNET), b"{}", AT)

    assert [hold.budget_id for hold in asyncio.run(story()).held.holds] == [pinned.budget_id]


def test_a_budget_of_a_key_counts_that_keys_calls_and_no_others() -> None:
    key_id = make_errand().who.caller.key_id
    own, other = (
        make_budget(scope=Scope(key_id=each), limit_nanodollars=100 * DOLLAR)
        for each in (key_id, f"key_{2:032x}")
    )

    held = decide(budgets=(own, other)).held

    assert [hold.budget_id for hold in held.holds] == [own.budget_id]


def test_an_answer_is_expected_to_be_no_longer_than_a_usual_one() -> None:
    async def estimate(longest: int) -> int:
        ask = Ask(model=SONNET, output_tokens_max=longest)
        return (await admittance().decide(make_errand(), ask, b"", AT)).estimate_nanodollars

    usual = OUTPUT_TOKENS_EXPECTED * 15_000
    assert asyncio.run(estimate(OUTPUT_TOKENS_EXPECTED - 1)) == usual - 15_000
    assert asyncio.run(estimate(64_000)) == usual


def test_each_answer_that_is_asked_for_is_expected_to_cost_as_much() -> None:
    async def estimate(choices: int) -> int:
        ask = Ask(model=SONNET, output_tokens_max=100, choices=choices)
        return (await admittance().decide(make_errand(), ask, b"", AT)).estimate_nanodollars

    assert asyncio.run(estimate(3)) == 3 * asyncio.run(estimate(1)) == 3 * 100 * 15_000
