"""Accounts and what governs their calls: settings, and the compiled policy a proxy works from.

The API compiles everything an instance of the proxy needs to know of an account into one small `Policy`
document; the proxy reads that and nothing else of the account.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from metering.budgets import Budget
from metering.plans import SELF_HOSTED, Plan
from metering.routing import RoutingRule

LOCAL_ACCOUNT_ID = "acct_local"  # the account of a self-hosted machine; calls without a key are its own

EVENTS_KEPT_DAYS_DEFAULT = 400
EVENTS_KEPT_DAYS_MAX = 3660

AccountStatus = Literal["active", "suspended"]


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Answering repeats from memory. `enabled` None follows the deployment: self-hosted on, hosted off."""

    enabled: bool | None = None
    temperature: Literal["any", "zero"] | None = None


class UnitPrices(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An account's own price of one model, picodollars a unit; None keeps the list price of that unit."""

    input_picodollars: int | None = None
    output_picodollars: int | None = None
    cache_read_picodollars: int | None = None
    cache_write_5m_picodollars: int | None = None
    cache_write_1h_picodollars: int | None = None
    server_tool_call_picodollars: int | None = None


class PriceOverride(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A negotiated price, or a discount in hundredths of a percent (1500 = 15 %) on the list price.

    `model` "*" stands for every model of that provider; an exact model wins over it. `starts_at` bounds it
    in time, so that yesterday's call keeps yesterday's cost.
    """

    provider: str
    model: str = "*"
    prices: UnitPrices | None = None
    discount_basis_points: int = 0
    starts_at: datetime | None = None
    ends_at: datetime | None = None


class PriceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an account's calls are priced. `unpriced` says what a call without a known price meets."""

    overrides: tuple[PriceOverride, ...] = ()
    unpriced: Literal["allow", "refuse"] = "allow"


class AzureSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The account's Azure resource (`https://<resource>.openai.azure.com`) and its deployment names.

    `deployments` maps a deployment name to the model it serves, since only the tenant knows.
    """

    resource: str = ""
    deployments: dict[str, str] = {}


class BedrockSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The account's AWS region, and the models behind its inference-profile ARNs."""

    region: str = ""
    inference_profiles: dict[str, str] = {}


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an account may set about its calls.

    `events_kept_days` is how long events and sessions are to be seen; they are deleted soon after that, or
    where recovery may still need them, some days later. Statistics stay. `prompt_fingerprints`: whether calls
    get a keyed hash of what makes their template, by which they are grouped where they name none.
    """

    cache: CacheSettings = CacheSettings()
    prices: PriceSettings = PriceSettings()
    azure: AzureSettings = AzureSettings()
    bedrock: BedrockSettings = BedrockSettings()
    events_kept_days: int = EVENTS_KEPT_DAYS_DEFAULT
    prompt_fingerprints: bool = False

    def events_kept_since(self, now: datetime) -> datetime:
        """The oldest admission of an event that is to be seen."""
        return now - timedelta(days=self.events_kept_days)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant. Nothing of it is ever seen, spent or changed by another.

    `second_factor_required_at`: since when members without a second factor get at nothing of it; None: they
    do.
    """

    account_id: str
    name: str
    created_at: datetime
    status: AccountStatus = "active"
    plan: str = SELF_HOSTED
    settings: AccountSettings = AccountSettings()
    second_factor_required_at: datetime | None = None
    closed_at: datetime | None = None  # since when it waits for its erasure; it is suspended then, for good


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance of the proxy knows of an account. Rules are in the order in which they are asked.

    `opt_out_header` is what callers who want no routing send beside the published one, where a file says so.
    """

    account_id: str
    status: AccountStatus = "active"
    settings: AccountSettings = AccountSettings()
    budgets: tuple[Budget, ...] = ()
    routing_rules: tuple[RoutingRule, ...] = ()
    opt_out_header: str = ""


def settings_under(plan: Plan, settings: AccountSettings, before: Plan | None = None) -> AccountSettings:
    """The settings of an account that gets that plan, none of them beyond its limits.

    What was as the plan `before` has it follows the new one; what was chosen stays.
    """
    kept = settings.events_kept_days
    if before is None or kept == _kept_usually(before):
        return msgspec.structs.replace(settings, events_kept_days=_kept_usually(plan))
    kept = min(kept, plan.events_kept_days or EVENTS_KEPT_DAYS_MAX)
    return msgspec.structs.replace(settings, events_kept_days=kept)


def _kept_usually(plan: Plan) -> int:
    return min(EVENTS_KEPT_DAYS_DEFAULT, plan.events_kept_days or EVENTS_KEPT_DAYS_MAX)


def compiled_policy(account: Account) -> Policy:
    """The account's policy document."""
    return Policy(account_id=account.account_id, status=account.status, settings=account.settings)


class Tags(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Attribution of one call, normalised by `metering.tags`. Empty means the caller said nothing."""

    team: str = ""
    app: str = ""
    feature: str = ""
    customer_tier: str = ""
    session_id: str = ""
    trace_id: str = ""
    prompt_template_id: str = ""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """For whom a call is made: the account, by which key, with which rights and pins."""

    account_id: str
    key_id: str = ""
    scopes: tuple[str, ...] = ("proxy",)
    team: str = ""
    app: str = ""
    deployment: str = "default"
