"""Route and admit, together: which model serves the call, and whether its budgets have room for it.

1. A call without a known price meets the account's `unpriced` setting: let through and flagged, or refused.
2. The first routing rule that names the call's model and whose percentage is spent turns it to a cheaper one
   (`metering.routing`), unless the caller opted out. A call that cannot be edited safely stays as it is.
3. Every budget over the call keeps back what the call needs of it, or none does (`proxy_service.desk`). Where
   a budget with the action `downgrade` has no room, the other rules' models are tried in their order.

Without budgets nothing is asked and nothing waits. With them all is in memory; only the first call that meets
a budget waits for the store, and no longer than the desk says.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from metering.accounts import Policy, PriceSettings
from metering.bounds import BYTES_A_TOKEN, OUTPUT_TOKENS_EXPECTED, Bound, Bounds, Extent
from metering.budgets import Subject
from metering.events import Provider
from metering.model_names import known_names, served_model, word_for
from metering.money import usd_text
from metering.pricing import Pricer
from metering.routing import RoutingRule, applicable, choose
from metering.usage import Usage
from proxy_service.budget_refusals import budget_exceeded, budget_unverifiable, cost_unbounded
from proxy_service.call import Errand
from proxy_service.desk import Desk
from proxy_service.memory import Memory
from proxy_service.providers import Ask, Route, read_extent, redirected
from proxy_service.refusals import RequestRefused
from proxy_service.stakes import (
    NOTHING_HELD,
    Amounts,
    BudgetExceeded,
    BudgetUnverifiable,
    Fitting,
    Held,
    Stake,
    StakeStanding,
    Unbounded,
)

UNSAFE_TO_EDIT: Final = "unsafe_to_edit"
EXHAUSTED_PERCENT: Final = 100
TOLD_MAX: Final = 10_000  # counters of which is known what was told
HELD_MIN: Final = 1  # nanodollar: a call of unknown price would else pass a budget without any rest

# Of the account, how the budget stands, and the threshold it reached; None: it refuses its first call.
Telling = Callable[[str, StakeStanding, int | None], None]

_NOTHING_USED = Usage()


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """A call that may be made, as it is to be made, and what its budgets keep back for it.

    `rule` turned it to `ask.model`; `route_reason` says why, or why not. `warning` is what the answer says of
    the budget of which most is spent, "" below its first threshold.
    """

    route: Route
    ask: Ask
    body: bytes = b""
    estimate_nanodollars: int = 0
    held: Held = NOTHING_HELD
    rule: RoutingRule | None = None
    route_reason: str = ""
    warning: str = ""


class Admittance:
    """Decides about calls.

    `tell` hears once of each threshold that a budget reaches in a period, and once of its first refusal.
    """

    def __init__(self, pricer: Pricer, bounds: Bounds, desk: Desk, tell: Telling) -> None:
        self._pricer = pricer
        self._bounds = bounds
        self._desk = desk
        self._tell = tell
        self._told: Memory[int] = Memory(TOLD_MAX)
        self._told_refused: Memory[bool] = Memory(TOLD_MAX)

    async def decide(self, errand: Errand, ask: Ask, body: bytes, at: datetime) -> Admission:
        """Let a metered call through. Raises: RequestRefused."""
        policy, provider = errand.who.policy, errand.route.provider
        self._refuse_unpriced(policy, provider, ask, at)
        candidate = _Candidate(errand, ask, body, at, errand.route)
        if policy.budgets:
            stakes = self._stakes(candidate)
            if stakes:
                if not self._desk.are_known(stakes):
                    await self._desk.ready(stakes)
                return await self._with_budgets(candidate, stakes)
        expected = self._expected(candidate)
        return Admission(route=errand.route, ask=ask, body=body, estimate_nanodollars=expected)

    async def decide_unmetered(self, errand: Errand, at: datetime) -> Admission:
        """Let through a call that may cost something nobody can read. Raises: RequestRefused.

        Nothing can be held for it, so that strict budgets refuse it, and others once they have no rest.
        """
        ask = Ask(model=errand.route.model)
        self._refuse_unpriced(errand.who.policy, errand.route.provider, ask, at)
        return await self.decide_batch(errand, at)

    async def decide_batch(self, errand: Errand, at: datetime) -> Admission:
        """Let through what makes a batch, whose items are charged once they have run. Raises: RequestRefused.

        Nothing can be held for them either.
        """
        ask = Ask(model=errand.route.model)
        admission = Admission(route=errand.route, ask=ask)
        if not errand.who.policy.budgets:
            return admission
        stakes = self._stakes(_Candidate(errand, ask, b"", at, errand.route))
        await self._desk.ready(stakes)
        refusing = [stake for stake in stakes if stake.budget.takes_leases]
        strict = self._desk.strictest([stake for stake in refusing if stake.budget.mode == "strict"])
        standing = self._desk.strictest(refusing)
        if standing is not None and self._desk.percent_reached(refusing, EXHAUSTED_PERCENT):
            self._tell_of_refusal(errand.who.policy.account_id, standing)
            raise budget_exceeded(BudgetExceeded(standing, is_only_held=False))
        if strict is not None:
            raise cost_unbounded(strict, "")
        return msgspec.structs.replace(admission, warning=self._warning(stakes))

    async def _with_budgets(self, asked: "_Candidate", stakes: Sequence[Stake]) -> Admission:
        rules, fired = _rules(asked), None
        if rules:
            fired = choose(rules, lambda threshold: self._desk.percent_reached(stakes, threshold))
        turned = None if fired is None else self._turned(asked, fired)
        reason = UNSAFE_TO_EDIT if fired is not None and turned is None else ""
        first = asked
        if fired is not None and turned is not None:
            first = turned
            standing = self._desk.strictest(stakes)
            percent = 0 if standing is None else standing.percent
            reason = f"{fired.name}: {percent}% of budget spent"
        try:
            if first is not asked:
                stakes = await self._ready_stakes(first)
            return await self._admitted(first, stakes, reason)
        except BudgetExceeded as exceeded:
            self._tell_of(stakes)
            others = [rule for rule in rules if rule is not fired]
            cheaper = None
            if exceeded.standing.action == "downgrade":
                cheaper = await self._first_that_fits(asked, others)
            if cheaper is None:
                self._tell_of_refusal(asked.policy.account_id, exceeded.standing)
                raise budget_exceeded(exceeded, self._fitting(first, stakes)) from None
            return cheaper
        except BudgetUnverifiable as unverifiable:
            raise budget_unverifiable(unverifiable.standing) from None
        except Unbounded as unbounded:
            raise cost_unbounded(unbounded.standing, self._bound(first).param) from None

    async def _first_that_fits(self, asked: "_Candidate", rules: Sequence[RoutingRule]) -> Admission | None:
        """The call turned to the first model for which the budgets have room; None where there is none."""
        for rule in rules:
            turned = self._turned(asked, rule)
            if turned is not None:
                try:
                    stakes = await self._ready_stakes(turned)
                    return await self._admitted(turned, stakes, f"{rule.name}: no room in the budget")
                except (BudgetExceeded, BudgetUnverifiable, Unbounded):
                    continue
        return None

    async def _admitted(self, candidate: "_Candidate", stakes: Sequence[Stake], reason: str) -> Admission:
        """Have the candidate's budgets hold what it needs. Raises: what `Desk.hold` does."""
        expected = self._expected(candidate)
        bound = Bound(None)
        if any([stake.budget.takes_leases for stake in stakes]):
            bound = self._bound(candidate)
        amounts = _amounts(expected, bound)
        held = self._desk.held_at_once(stakes, amounts) or await self._desk.hold(stakes, amounts)
        return Admission(
            route=candidate.route,
            ask=candidate.ask,
            body=candidate.body,
            estimate_nanodollars=expected,
            held=held,
            rule=candidate.rule,
            route_reason=reason,
            warning=self._warning(stakes),
        )

    def _fitting(self, candidate: "_Candidate", stakes: Sequence[Stake]) -> Fitting | None:
        """The output cap with which the budgets would let the call in; None where none would help."""
        room = self._desk.strict_room(stakes)
        if room is None:
            return None
        extent, settings = self._extent(candidate), candidate.policy.settings.prices
        longest = self._bounds.longest_answer(
            extent, candidate.provider, candidate.model, candidate.at, settings, room
        )
        if longest is None or (extent.answer_tokens_max is not None and longest >= extent.answer_tokens_max):
            return None
        shorter = candidate.limited_to(longest)
        bound = self._bound_of(extent.limited_to(longest), shorter)
        if not self._desk.may_hold(stakes, _amounts(self._expected(shorter), bound)):
            return None
        return Fitting(extent.answer_param, longest)

    def _turned(self, asked: "_Candidate", rule: RoutingRule) -> "_Candidate | None":
        """The call turned to the rule's model; None where it cannot be, or would not be understood there."""
        errand, settings = asked.errand, asked.policy.settings
        word = word_for(asked.provider, rule.to_model, settings)
        turned = redirected(errand.route, asked.ask, errand.inbound.outbound, asked.body, word)
        if turned is None:
            return None
        candidate = _Candidate(errand, turned.ask, turned.body, asked.at, turned.route, rule)
        if errand.route.operation.startswith("invoke") and not _have_one_form(asked.model, candidate.model):
            return None
        rates = self._pricer.dearest(candidate.provider, candidate.model, asked.at, settings.prices)
        if rates is None:
            return None
        limits = self._bounds.limits(rates)
        longest = asked.ask.output_tokens_max
        if limits is not None and longest is not None and longest > limits.output_tokens:
            return None
        return candidate

    async def _ready_stakes(self, candidate: "_Candidate") -> tuple[Stake, ...]:
        stakes = self._stakes(candidate)
        await self._desk.ready(stakes)
        return stakes

    def _stakes(self, candidate: "_Candidate") -> tuple[Stake, ...]:
        return self._desk.stakes(candidate.policy, candidate.subject, candidate.at)

    def _bound(self, candidate: "_Candidate") -> Bound:
        deployments = candidate.policy.settings.azure.deployments
        if candidate.provider == "azure" and candidate.ask.model not in deployments:
            return Bound(None, "model")  # a deployment's name says nothing of what it serves
        return self._bound_of(self._extent(candidate), candidate)

    def _extent(self, candidate: "_Candidate") -> Extent:
        headers = candidate.errand.inbound.outbound
        return read_extent(candidate.route, headers, candidate.body, candidate.model)

    def _bound_of(self, extent: Extent, candidate: "_Candidate") -> Bound:
        return self._bounds.upper_bound(
            extent,
            candidate.provider,
            candidate.model,
            candidate.at,
            candidate.policy.settings.prices,
        )

    def _expected(self, candidate: "_Candidate") -> int:
        """What the call is expected to cost: four bytes a token, and a usual answer."""
        ask = candidate.ask
        answer_tokens = 0
        if candidate.route.operation != "embeddings":
            longest = ask.output_tokens_max
            answer_tokens = (
                OUTPUT_TOKENS_EXPECTED if longest is None else min(longest, OUTPUT_TOKENS_EXPECTED)
            )
        return self._pricer.cost(
            Usage(
                input_tokens=-(-len(candidate.body) // BYTES_A_TOKEN),
                output_tokens=answer_tokens * ask.choices,
            ),
            provider=candidate.provider,
            model=candidate.model,
            at=candidate.at,
            service_tier=ask.service_tier,
            settings=candidate.policy.settings.prices,
            requested_model=ask.model,
        ).nanodollars

    def _warning(self, stakes: Sequence[Stake]) -> str:
        """What the answer says of the budget of which most is spent, from its first threshold on."""
        standing = self._desk.strictest(stakes) if self._desk.has_warned(stakes) else None
        if standing is None:
            return ""
        thresholds = next(
            stake.budget.thresholds_percent
            for stake in stakes
            if stake.budget.budget_id == standing.budget_id
        )
        spent, limit = standing.spent_nanodollars, standing.limit_nanodollars
        if not thresholds or spent * 100 < min(thresholds) * limit:
            return ""
        self._tell_of(stakes)
        return (
            f"{standing.value or standing.name or standing.budget_id} at {standing.percent}% of budget"
            f" (${usd_text(spent)}/${usd_text(limit)})"
        )

    def _tell_of(self, stakes: Sequence[Stake]) -> None:
        """Tell of the highest threshold that each budget has reached, unless it was told of."""
        for stake in stakes:
            thresholds = stake.budget.thresholds_percent
            reached = [each for each in thresholds if self._desk.percent_reached((stake,), each)]
            counter_id = stake.counter.counter_id
            standing = self._desk.strictest((stake,))
            if reached and standing is not None and max(reached) > (self._told.get(counter_id) or 0):
                self._told.put(counter_id, max(reached))
                self._tell(stake.counter.account_id, standing, max(reached))

    def _tell_of_refusal(self, account_id: str, standing: StakeStanding) -> None:
        """Tell of the first call that a budget has no room for: it may be well below its last threshold."""
        name = repr((account_id, standing.budget_id, standing.period, standing.value))
        if self._told_refused.get(name) is None:
            self._told_refused.put(name, True)
            self._tell(account_id, standing, None)

    def _refuse_unpriced(self, policy: Policy, provider: Provider, ask: Ask, at: datetime) -> None:
        prices = policy.settings.prices
        if prices.unpriced == "refuse" and self._is_unpriced(policy, prices, provider, ask, at):
            raise RequestRefused(
                403,
                "model_unpriced",
                "no price is known for this model, and the account refuses unpriced calls: "
                f"{_cure(provider, ask.model)} (PATCH /v1/account)",
                "model",
            )

    def _is_unpriced(
        self, policy: Policy, prices: PriceSettings, provider: Provider, ask: Ask, at: datetime
    ) -> bool:
        return self._pricer.cost(
            _NOTHING_USED,
            provider=provider,
            model=served_model(provider, ask.model, None, policy.settings),
            at=at,
            service_tier=ask.service_tier,
            settings=prices,
            requested_model=ask.model,
        ).unpriced


class _Candidate:
    """The call with one of the models that may serve it."""

    __slots__ = ("ask", "at", "body", "errand", "model", "policy", "provider", "route", "rule")

    def __init__(
        self,
        errand: Errand,
        ask: Ask,
        body: bytes,
        at: datetime,
        route: Route,
        rule: RoutingRule | None = None,
    ) -> None:
        self.errand = errand
        self.policy = errand.who.policy
        self.provider = route.provider
        self.route = route
        self.ask = ask
        self.body = body
        self.at = at
        self.rule = rule
        self.model = served_model(route.provider, ask.model, None, self.policy.settings)

    def limited_to(self, answer_tokens: int) -> "_Candidate":
        """The same call with that limit for its answers."""
        ask = msgspec.structs.replace(self.ask, output_tokens_max=answer_tokens)
        return _Candidate(self.errand, ask, self.body, self.at, self.route, self.rule)

    @property
    def subject(self) -> Subject:
        """What budgets look at."""
        caller, tags = self.errand.who.caller, self.errand.tags()
        return Subject(
            team=caller.team or tags.team,
            app=caller.app or tags.app,
            key_id=caller.key_id,
            model=self.model,
        )


def _amounts(expected: int, bound: Bound) -> Amounts:
    most = None if bound.nanodollars is None else max(HELD_MIN, bound.nanodollars)
    return Amounts(max(HELD_MIN, expected if most is None else min(expected, most)), most)


def _rules(asked: _Candidate) -> tuple[RoutingRule, ...]:
    """The rules that may turn the call; none where the caller opted out."""
    policy = asked.policy
    if not policy.routing_rules or asked.errand.inbound.has_opted_out_of_routing(policy.opt_out_header):
        return ()
    names = known_names(asked.provider, asked.ask.model, policy.settings)
    return applicable(policy.routing_rules, asked.provider, names)


def _have_one_form(model: str, other: str) -> bool:
    """Whether two models on Bedrock are invoked with the same form of body: we know that of Claudes."""
    return "anthropic." in model and "anthropic." in other


def _cure(provider: Provider, model: str) -> str:
    if provider == "azure":
        return "name the deployment's model in azure.deployments"
    if model.startswith("arn:"):
        return "name the profile's model in bedrock.inference_profiles"
    return "set a price of your own in prices.overrides"
