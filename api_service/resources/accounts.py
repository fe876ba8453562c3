"""The account and its settings, and its end."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

import msgspec
from flask import Response
from pydantic import Field, StrictBool, StrictInt, model_validator

from api_service.access import needs, still_allowed, visitor
from api_service.answers import answer
from api_service.errors import Complaint, Refused
from api_service.fields import (
    Form,
    Input,
    ModelName,
    Moment,
    Name,
    View,
    decimal_between,
    decimal_text,
    example_of,
    left_out,
    without_default,
)
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from metering.accounts import (
    EVENTS_KEPT_DAYS_DEFAULT,
    EVENTS_KEPT_DAYS_MAX,
    Account,
    AccountSettings,
    AccountStatus,
    PriceOverride,
    PriceSettings,
    UnitPrices,
)
from metering.erasure import close_account
from metering.errors import InvalidInput
from metering.events import Provider
from metering.plans import plan_named
from metering.retention_rules import ERASED_WITHIN, RULES
from metering.tags import normalised_tag

OVERRIDES_MAX = 200
MAPPED_NAMES_MAX = 200
USD_PER_MILLION_MAX = 1_000_000
PER_MILLION_PLACES = 6  # a picodollar a token is a millionth of a dollar a million tokens
PER_THOUSAND_PLACES = 9
PERCENT_PLACES = 2

accounts = routes_of("account")

_MODEL = r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}"
ModelOrAll = Annotated[
    str, Form(rf"\*|{_MODEL}", "give a model's name, for example gpt-4o, or * for every model")
]
DeploymentName = Annotated[
    str,
    Form(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "give a deployment's name: letters, digits, dot, dash, underscore"
    ),
]
ProfileName = Annotated[
    str,
    Form(
        r"arn:aws[a-z-]{0,20}:bedrock:[a-z0-9-]{1,30}:[0-9]{12}:"
        r"(application-)?inference-profile/[A-Za-z0-9.:_-]{1,128}",
        "give the inference profile's ARN, for example"
        " arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
    ),
]
ResourceName = Annotated[
    str,
    Form(
        r"([a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?)?",
        "give the resource's name only: my-resource for https://my-resource.openai.azure.com",
    ),
]
RegionName = Annotated[
    str,
    Form(r"([a-z]{2}(-[a-z]{2,12}){1,3}-[0-9]{1,2})?", "give an AWS region, for example us-east-1"),
]
UsdPerMillion = Annotated[Decimal, decimal_between(0, USD_PER_MILLION_MAX, PER_MILLION_PLACES)]
UsdPerThousand = Annotated[Decimal, decimal_between(0, USD_PER_MILLION_MAX, PER_THOUSAND_PLACES)]
Percent = Annotated[Decimal, decimal_between(0, 100, PERCENT_PLACES)]


_PATCH_EXAMPLE = {
    "name": "Ada & Co",
    "cache": {"enabled": True},
    "azure": {"resource": "ada-east", "deployments": {"chat": "gpt-4o"}},
}
ACCOUNT_EXAMPLE = {
    "id": "acct_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "name": "Ada & Co",
    "status": "active",
    "created_at": "2026-11-21T09:30:00Z",
    "cache": {"enabled": True, "temperature": None},
    "prices": {"unpriced": "allow", "overrides": []},
    "azure": {"resource": "ada-east", "deployments": {"chat": "gpt-4o"}},
    "bedrock": {"region": "", "inference_profiles": {}},
    "events_kept_days": EVENTS_KEPT_DAYS_DEFAULT,
    "prompt_fingerprints": False,
    "second_factor_required": False,
}


class CacheFields(Input):
    """Answering repeats from memory. `enabled` null follows the deployment."""

    enabled: StrictBool | None = None
    temperature: Literal["any", "zero"] | None = None


class UnitPriceFields(Input):
    """Prices in US dollars, exact decimals; null keeps the list price of that unit."""

    input_usd_per_million: UsdPerMillion | None = None
    output_usd_per_million: UsdPerMillion | None = None
    cache_read_usd_per_million: UsdPerMillion | None = None
    cache_write_5m_usd_per_million: UsdPerMillion | None = None
    cache_write_1h_usd_per_million: UsdPerMillion | None = None
    server_tool_call_usd_per_thousand: UsdPerThousand | None = None


class OverrideFields(Input):
    """A negotiated price of one model, or a discount on the list price; `model` "*" is every model."""

    provider: Provider
    model: ModelOrAll = "*"
    prices: UnitPriceFields | None = None
    discount_percent: Percent | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.prices is None) == (self.discount_percent is None):
            raise ValueError("give either prices or discount_percent")
        if self.starts_at and self.ends_at and self.starts_at >= self.ends_at:
            raise ValueError("ends_at lies after starts_at")
        return self


class PriceFields(Input):
    """How calls are priced. `overrides` replaces the whole list."""

    unpriced: Literal["allow", "refuse"] = "allow"
    overrides: list[OverrideFields] = Field(default_factory=list, max_length=OVERRIDES_MAX)


class AzureFields(Input):
    """The Azure resource's name, and the model behind each deployment; `deployments` replaces all of them."""

    resource: ResourceName = ""
    deployments: dict[DeploymentName, ModelName] = Field(default_factory=dict, max_length=MAPPED_NAMES_MAX)


class BedrockFields(Input):
    """The AWS region, and the model behind each inference profile; `inference_profiles` replaces them all."""

    region: RegionName = ""
    inference_profiles: dict[ProfileName, ModelName] = Field(
        default_factory=dict, max_length=MAPPED_NAMES_MAX
    )


class AccountPatch(Input):
    """What to change of the account. Fields that are left out stay as they are, at every level."""

    model_config = example_of(_PATCH_EXAMPLE)

    name: Name = Field(default="", json_schema_extra=without_default)
    cache: CacheFields = CacheFields()
    prices: PriceFields = PriceFields()
    azure: AzureFields = AzureFields()
    bedrock: BedrockFields = BedrockFields()
    events_kept_days: StrictInt = Field(
        default=EVENTS_KEPT_DAYS_DEFAULT, ge=1, le=EVENTS_KEPT_DAYS_MAX, json_schema_extra=without_default
    )
    prompt_fingerprints: StrictBool = left_out(default=False)


class CacheView(View):
    """Answering repeats from memory."""

    enabled: bool | None = Field(
        description="Whether repeats are answered from memory; null: as the deployment does."
    )
    temperature: Literal["any", "zero"] | None = Field(
        description="`zero`: only requests with temperature 0; null: as the deployment does."
    )


class UnitPricesView(View):
    """Prices in US dollars, exact decimals as text."""

    input_usd_per_million: str | None = Field(description="Per million input tokens; null: the list price.")
    output_usd_per_million: str | None = Field(description="Per million output tokens; null: the list price.")
    cache_read_usd_per_million: str | None = Field(
        description="Per million tokens read from a prompt cache; null: the list price."
    )
    cache_write_5m_usd_per_million: str | None = Field(
        description="Per million tokens written to a prompt cache for five minutes; null: the list price."
    )
    cache_write_1h_usd_per_million: str | None = Field(
        description="Per million tokens written to a prompt cache for an hour; null: the list price."
    )
    server_tool_call_usd_per_thousand: str | None = Field(
        description="Per thousand calls of the provider's own tools; null: the list price."
    )


class OverrideView(View):
    """A negotiated price, or a discount on the list price."""

    provider: str = Field(description="Whose price it is.")
    model: str = Field(description="The model, or * for every one.")
    prices: UnitPricesView | None = Field(description="Negotiated prices; null: a discount instead.")
    discount_percent: str | None = Field(
        description="Off the list price, as decimal text; null: prices instead."
    )
    starts_at: datetime | None = Field(description="From when it counts; null: always did.")
    ends_at: datetime | None = Field(description="Until when it counts; null: no end.")


class PricesView(View):
    """How calls are priced."""

    unpriced: Literal["allow", "refuse"] = Field(
        description="Whether calls of models without a known price are allowed or refused."
    )
    overrides: list[OverrideView] = Field(
        description="Negotiated prices and discounts; one of the exact model wins over one of *."
    )


class AzureView(View):
    """The Azure resource's name, and the model behind each deployment."""

    resource: str = Field(
        description="my-resource for https://my-resource.openai.azure.com; empty: none named."
    )
    deployments: dict[str, str] = Field(description="Deployment → the model behind it.")


class BedrockView(View):
    """The AWS region, and the model behind each inference profile."""

    region: str = Field(description="The AWS region; empty: the deployment's.")
    inference_profiles: dict[str, str] = Field(description="Inference profile's ARN → the model behind it.")


class AccountView(View):
    """The account and its settings."""

    model_config = example_of(ACCOUNT_EXAMPLE)

    id: str = Field(description="Names the account.")
    name: str = Field(description="What people call it.")
    status: AccountStatus = Field(description="`suspended`: nothing but logging out is served.")
    created_at: datetime = Field(description="When it was made.")
    cache: CacheView = Field(description="Answering repeats from memory.")
    prices: PricesView = Field(description="How calls are priced.")
    azure: AzureView = Field(description="Calls to Azure OpenAI.")
    bedrock: BedrockView = Field(description="Calls to Amazon Bedrock.")
    events_kept_days: int = Field(
        description="How long events and sessions are to be seen; they are deleted after that. Usage stays."
    )
    prompt_fingerprints: bool = Field(
        description="Whether calls get a keyed hash of their system prompt and tools, by which `/v1/prompts`"
        " groups those that name no template."
    )
    second_factor_required: bool = Field(
        description="Whether members without a second factor get at nothing of the account "
        "(`POST /v1/account/second-factor/require`)."
    )


class Confirmation(Input):
    """That it is meant."""

    confirm: str = Field(
        max_length=100,
        description="The account's own id, so that nobody ends an account by a slip.",
        json_schema_extra={"example": "acct_0190f3c2a1b47d6e8f90a1b2c3d4e5f6"},
    )


class ErasureView(View):
    """An account that is being erased."""

    model_config = example_of(
        {
            "id": "acct_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
            "requested_at": "2026-11-21T09:30:00Z",
            "erased_by": "2026-12-21T09:30:00Z",
            "what_is_left": RULES["books"].what,
        }
    )

    id: str = Field(description="The account that was.")
    requested_at: datetime = Field(description="Since when nobody gets at it, and its keys are dead.")
    erased_by: datetime = Field(description="By when everything of it is gone, what came late included.")
    what_is_left: str = Field(description="What is kept, without anybody's name.")


@accounts.get("/v1/account", responses={200: AccountView})
@needs("read")
def show_account() -> Response:
    """Show the account and its settings."""
    return answer(account_view(visitor().account))


@accounts.patch("/v1/account", responses={200: AccountView, **may_refuse(*OF_BODIES)})
@needs("settings")
def change_account(body: AccountPatch) -> Response:
    """Change the account's name and settings.

    A merge by fields: what is left out stays. Lists and name-to-model mappings are replaced whole. Every
    instance of the proxy works by the new settings within a second.
    """
    known = services()
    changed = known.directory.change_account(visitor().account_id, lambda account: patched(account, body))
    return answer(account_view(changed))


@accounts.delete("/v1/account", responses={202: ErasureView}, security=[{"session": []}])
@needs("erase")
def erase_account(query: Confirmation) -> Response:
    """Erase the account, with everything it holds. There is no way back.

    From this moment its keys are dead on every instance of the proxy and nobody gets in: its sessions are
    answered 401 `account_closed`. Its events, usage, settings, audit log and people (those who are in no
    other account) are deleted within minutes; take an export first (`GET /v1/account/export`).
    """
    known, asking = services(), visitor()
    if query.confirm != asking.account_id:
        text = "give the account's id, as GET /v1/account shows it, to say that this very account is meant"
        raise Refused(422, "invalid_input", text, "confirm", [Complaint("confirm", text)])
    by = asking.session.person_id if asking.session else ""
    closed = close_account(
        known.store, known.directory, known.clock, asking.account_id, by, demanding=still_allowed()
    )
    return answer(
        ErasureView(
            id=closed.account_id,
            requested_at=closed.requested_at,
            erased_by=closed.requested_at + ERASED_WITHIN,
            what_is_left=RULES["books"].what,
        ),
        202,
    )


def patched(account: Account, patch: AccountPatch) -> Account:
    """The account with the patch's fields in place of its own. Raises: InvalidInput."""
    settings = account.settings
    return msgspec.structs.replace(
        account,
        name=_visible_name(patch.name) if "name" in patch.model_fields_set else account.name,
        settings=AccountSettings(
            cache=msgspec.structs.replace(settings.cache, **_given(patch.cache)),
            prices=_patched_prices(settings.prices, patch.prices),
            azure=msgspec.structs.replace(settings.azure, **_given(patch.azure)),
            bedrock=msgspec.structs.replace(settings.bedrock, **_given(patch.bedrock)),
            events_kept_days=_within_plan(account, patch.events_kept_days)
            if "events_kept_days" in patch.model_fields_set
            else settings.events_kept_days,
            prompt_fingerprints=patch.prompt_fingerprints
            if "prompt_fingerprints" in patch.model_fields_set
            else settings.prompt_fingerprints,
        ),
    )


def account_view(account: Account) -> AccountView:
    """The account as the API shows it."""
    settings = account.settings
    return AccountView(
        id=account.account_id,
        name=account.name,
        status=account.status,
        created_at=account.created_at,
        cache=CacheView(**msgspec.structs.asdict(settings.cache)),
        prices=PricesView(
            unpriced=settings.prices.unpriced,
            overrides=[_override_view(each) for each in settings.prices.overrides],
        ),
        azure=AzureView(**msgspec.structs.asdict(settings.azure)),
        bedrock=BedrockView(**msgspec.structs.asdict(settings.bedrock)),
        events_kept_days=settings.events_kept_days,
        prompt_fingerprints=settings.prompt_fingerprints,
        second_factor_required=account.second_factor_required_at is not None,
    )


def _within_plan(account: Account, days: int) -> int:
    plan = plan_named(account.plan)
    if plan.events_kept_days is not None and days > plan.events_kept_days:
        raise InvalidInput(
            f"the plan {plan.title} keeps events for at most {plan.events_kept_days} days", "events_kept_days"
        )
    return days


def _visible_name(name: str) -> str:
    visible = normalised_tag(name)
    if not visible:
        raise InvalidInput("give the account a name that can be seen", "name")
    return visible


def _given(fields: Input) -> dict[str, object]:
    return {name: getattr(fields, name) for name in fields.model_fields_set}


def _patched_prices(prices: PriceSettings, patch: PriceFields) -> PriceSettings:
    given = _given(patch)
    if "overrides" in given:
        given["overrides"] = tuple(_override(each) for each in patch.overrides)
    return msgspec.structs.replace(prices, **given)


def _override(fields: OverrideFields) -> PriceOverride:
    return PriceOverride(
        provider=fields.provider,
        model=fields.model,
        prices=None if fields.prices is None else _unit_prices(fields.prices),
        discount_basis_points=int((fields.discount_percent or Decimal(0)).scaleb(PERCENT_PLACES)),
        starts_at=fields.starts_at,
        ends_at=fields.ends_at,
    )


# Field at the API → field of the domain, and how many decimal places the API's unit lies above picodollars.
_PRICE_FIELDS = {
    "input_usd_per_million": ("input_picodollars", PER_MILLION_PLACES),
    "output_usd_per_million": ("output_picodollars", PER_MILLION_PLACES),
    "cache_read_usd_per_million": ("cache_read_picodollars", PER_MILLION_PLACES),
    "cache_write_5m_usd_per_million": ("cache_write_5m_picodollars", PER_MILLION_PLACES),
    "cache_write_1h_usd_per_million": ("cache_write_1h_picodollars", PER_MILLION_PLACES),
    "server_tool_call_usd_per_thousand": ("server_tool_call_picodollars", PER_THOUSAND_PLACES),
}


def _unit_prices(fields: UnitPriceFields) -> UnitPrices:
    made: dict[str, int] = {}
    for shown, (kept, places) in _PRICE_FIELDS.items():
        price: Decimal | None = getattr(fields, shown)
        if price is not None:
            made[kept] = int(price.scaleb(places))
    return UnitPrices(**made)


def _override_view(override: PriceOverride) -> OverrideView:
    prices = override.prices
    return OverrideView(
        provider=override.provider,
        model=override.model,
        prices=None if prices is None else UnitPricesView(**_unit_prices_shown(prices)),
        discount_percent=decimal_text(override.discount_basis_points, PERCENT_PLACES)
        if prices is None
        else None,
        starts_at=override.starts_at,
        ends_at=override.ends_at,
    )


def _unit_prices_shown(prices: UnitPrices) -> dict[str, str | None]:
    shown: dict[str, str | None] = {}
    for name, (kept, places) in _PRICE_FIELDS.items():
        amount: int | None = getattr(prices, kept)
        shown[name] = None if amount is None else decimal_text(amount, places)
    return shown
