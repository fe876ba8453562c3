"""Decide: may this call be made? Routing rules and budgets take their place here; prices are asked today.

A call without a known price meets the account's `unpriced` setting: let through and flagged, or refused.
"""

from datetime import datetime

import msgspec

from metering.accounts import Policy
from metering.events import Provider
from metering.journal import Hold
from metering.model_names import served_model
from metering.pricing import Pricer
from metering.usage import Usage
from proxy_service.refusals import RequestRefused

_NOTHING_USED = Usage()


class Admission(msgspec.Struct, frozen=True):
    """A call that may be made, and what its budgets keep back for it."""

    holds: tuple[Hold, ...] = ()


_WITHOUT_HOLDS = Admission()


class Admittance:
    """Decides about calls."""

    def __init__(self, pricer: Pricer) -> None:
        self._pricer = pricer

    def decide(
        self, policy: Policy, provider: Provider, model: str, at: datetime, service_tier: str = ""
    ) -> Admission:
        """Let the call through. Raises: RequestRefused (403 `model_unpriced`)."""
        if policy.settings.prices.unpriced == "refuse" and self._is_unpriced(
            policy, provider, model, at, service_tier
        ):
            raise RequestRefused(
                403,
                "model_unpriced",
                "no price is known for this model, and the account refuses unpriced calls: "
                f"{_cure(provider, model)} (PATCH /v1/account)",
                "model",
            )
        return _WITHOUT_HOLDS

    def _is_unpriced(
        self, policy: Policy, provider: Provider, model: str, at: datetime, service_tier: str
    ) -> bool:
        return self._pricer.cost(
            _NOTHING_USED,
            provider=provider,
            model=served_model(provider, model, None, policy.settings),
            at=at,
            service_tier=service_tier,
            settings=policy.settings.prices,
            requested_model=model,
        ).unpriced


def _cure(provider: Provider, model: str) -> str:
    if provider == "azure":
        return "name the deployment's model in azure.deployments"
    if model.startswith("arn:"):
        return "name the profile's model in bedrock.inference_profiles"
    return "set a price of your own in prices.overrides"
