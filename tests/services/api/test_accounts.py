"""The account over REST: shown, and changed field by field, money exactly."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_service.resources.accounts import AccountPatch, account_view, patched
from metering.accounts import AccountSettings, PriceOverride, UnitPrices
from metering.directory import Directory
from metering.stores import DocumentStore
from tests.builders import make_account
from tests.services.api.conftest import MakeApp, Person

OVERRIDE = {
    "provider": "openai",
    "model": "gpt-4o",
    "prices": {"input_usd_per_million": "0.0375", "server_tool_call_usd_per_thousand": "10"},
    "starts_at": "2026-01-01T00:00:00Z",
}


def settings_of(directory: Directory, person: Person) -> AccountSettings:
    policy = directory.policy(person.account_id)
    assert policy is not None
    return policy.settings


def test_a_new_account_shows_its_defaults(ada: Person) -> None:
    assert ada.get("/v1/account").get_json() == {
        "id": ada.account_id,
        "name": "Ada & Co",
        "status": "active",
        "created_at": "2026-11-21T09:30:00Z",
        "cache": {"enabled": None, "temperature": None},
        "prices": {"unpriced": "allow", "overrides": []},
        "azure": {"resource": "", "deployments": {}},
        "bedrock": {"region": "", "inference_profiles": {}},
        "events_kept_days": 400,
        "prompt_fingerprints": False,
        "second_factor_required": False,
    }


def test_what_is_left_out_stays_at_every_level(ada: Person, directory: Directory) -> None:
    ada.write("PATCH", "/v1/account", {"cache": {"enabled": True}, "azure": {"resource": "ours"}})
    ada.write("PATCH", "/v1/account", {"cache": {"temperature": "zero"}, "prices": {"unpriced": "refuse"}})
    ada.write("PATCH", "/v1/account", {"azure": {"deployments": {"prod.4o": "gpt-4o"}}})

    settings = settings_of(directory, ada)

    assert (settings.cache.enabled, settings.cache.temperature) == (True, "zero")
    assert (settings.azure.resource, settings.azure.deployments) == ("ours", {"prod.4o": "gpt-4o"})
    assert settings.prices.unpriced == "refuse"


def test_prompt_fingerprints_are_on_where_somebody_says_so_and_that_is_noted(
    ada: Person, directory: Directory
) -> None:
    assert settings_of(directory, ada).prompt_fingerprints is False

    ada.write("PATCH", "/v1/account", {"prompt_fingerprints": True})
    ada.write("PATCH", "/v1/account", {"name": "Ada"})

    assert settings_of(directory, ada).prompt_fingerprints is True
    assert ada.get("/v1/account").get_json()["prompt_fingerprints"] is True
    noted = ada.get("/v1/audit-events").get_json()["data"]
    assert [each["operation"] for each in noted].count("change_account") == 2
    ada.write("PATCH", "/v1/account", {"prompt_fingerprints": False})
    assert settings_of(directory, ada).prompt_fingerprints is False


def test_null_follows_the_deployment_again(ada: Person, directory: Directory) -> None:
    ada.write("PATCH", "/v1/account", {"cache": {"enabled": True}})
    ada.write("PATCH", "/v1/account", {"cache": {"enabled": None}})

    assert settings_of(directory, ada).cache.enabled is None


def test_the_name_changes(ada: Person) -> None:
    response = ada.write("PATCH", "/v1/account", {"name": "  New \u202ename  "})

    assert response.get_json()["name"] == "New name"


def test_prices_become_picodollars_exactly(ada: Person, directory: Directory) -> None:
    response = ada.write("PATCH", "/v1/account", {"prices": {"overrides": [OVERRIDE]}})

    (kept,) = settings_of(directory, ada).prices.overrides
    assert kept.prices == UnitPrices(input_picodollars=37_500, server_tool_call_picodollars=10_000_000_000)
    (shown,) = response.get_json()["prices"]["overrides"]
    assert shown["prices"]["input_usd_per_million"] == "0.0375"
    assert shown["prices"]["server_tool_call_usd_per_thousand"] == "10"
    assert shown["prices"]["output_usd_per_million"] is None


def test_a_discount_has_two_decimals(ada: Person, directory: Directory) -> None:
    discount = {"provider": "anthropic", "discount_percent": 12.25}

    response = ada.write("PATCH", "/v1/account", {"prices": {"overrides": [discount]}})

    (kept,) = settings_of(directory, ada).prices.overrides
    assert kept == PriceOverride(provider="anthropic", discount_basis_points=1225)
    assert response.get_json()["prices"]["overrides"][0]["discount_percent"] == "12.25"


@given(st.integers(0, 10**12))
def test_every_price_a_counter_can_hold_comes_back_as_it_was(picodollars: int) -> None:
    whole, fraction = divmod(picodollars, 10**6)
    override = {"provider": "openai", "prices": {"output_usd_per_million": f"{whole}.{fraction:06d}"}}
    patch = AccountPatch.model_validate({"prices": {"overrides": [override]}})

    account = patched(make_account(), patch)

    kept = account.settings.prices.overrides[0].prices
    assert kept == UnitPrices(output_picodollars=picodollars)
    (shown,) = account_view(account).prices.overrides
    again = {"provider": "openai", "prices": shown.prices and shown.prices.model_dump()}
    assert patched(account, AccountPatch.model_validate({"prices": {"overrides": [again]}})) == account


def priced(**prices: Any) -> dict[str, Any]:
    return {"prices": {"overrides": [{"provider": "openai", "prices": prices}]}}


def discounted(percent: Any) -> dict[str, Any]:
    return {"prices": {"overrides": [{"provider": "openai", "discount_percent": percent}]}}


@pytest.mark.parametrize(
    ("patch", "param"),
    [
        (priced(input_usd_per_million="-1"), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(input_usd_per_million="0.0000001"), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(input_usd_per_million="1000000.000001"), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(input_usd_per_million="NaN"), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(input_usd_per_million="Infinity"), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(input_usd_per_million="1e400"), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(input_usd_per_million=""), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(input_usd_per_million=True), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(input_usd_per_million=[]), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(input_usd_per_million=2**63), "prices.overrides.0.prices.input_usd_per_million"),
        (priced(inputs="1"), "prices.overrides.0.prices.inputs"),
        (discounted("100.01"), "prices.overrides.0.discount_percent"),
        (discounted("12.345"), "prices.overrides.0.discount_percent"),
        (discounted(-1), "prices.overrides.0.discount_percent"),
        ({"prices": {"overrides": [{"provider": "openai"}]}}, "prices.overrides.0"),
        ({"prices": {"overrides": [{**OVERRIDE, "discount_percent": 1}]}}, "prices.overrides.0"),
        ({"prices": {"overrides": [{**OVERRIDE, "ends_at": "2026-01-01T00:00:00Z"}]}}, "prices.overrides.0"),
        ({"prices": {"overrides": [{**OVERRIDE, "provider": "acme"}]}}, "prices.overrides.0.provider"),
        ({"prices": {"overrides": [OVERRIDE] * 201}}, "prices.overrides"),
        ({"prices": {"unpriced": "maybe"}}, "prices.unpriced"),
        ({"cache": {"enabled": "true"}}, "cache.enabled"),
        ({"cache": {"enabled": 1}}, "cache.enabled"),
        ({"cache": None}, "cache"),
        ({"azure": {"resource": "x.test#"}}, "azure.resource"),
        ({"azure": {"resource": "a@b"}}, "azure.resource"),
        ({"azure": {"resource": "../"}}, "azure.resource"),
        ({"azure": {"resource": "ours\n"}}, "azure.resource"),
        ({"azure": {"deployments": {"a/b": "gpt-4o"}}}, "azure.deployments.a/b"),
        ({"azure": {"deployments": {f"d{number}": "gpt-4o" for number in range(201)}}}, "azure.deployments"),
        ({"events_kept_days": 0}, "events_kept_days"),
        ({"events_kept_days": 3661}, "events_kept_days"),
        ({"events_kept_days": True}, "events_kept_days"),
        ({"prompt_fingerprints": None}, "prompt_fingerprints"),
        ({"prompt_fingerprints": "true"}, "prompt_fingerprints"),
        ({"prompt_fingerprints": 1}, "prompt_fingerprints"),
        ({"bedrock": {"region": "us-east-1.evil.example"}}, "bedrock.region"),
        ({"bedrock": {"region": "US-EAST-1"}}, "bedrock.region"),
        ({"bedrock": {"inference_profiles": {"arn:aws:iam::1:x": "m"}}}, "bedrock.inference_profiles"),
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "\u200b"}, "name"),
        ({"id": "acct_x"}, "id"),
        ({"account_id": "acct_x"}, "account_id"),
        ({"status": "active"}, "status"),
        ({"created_at": 0}, "created_at"),
        ({"tenant_id": "x"}, "tenant_id"),
        ({"role": "owner"}, "role"),
        ({"balance": 1}, "balance"),
        ({"budget": 1}, "budget"),
        ({"settings": {}}, "settings"),
    ],
    ids=str,
)
def test_a_change_that_makes_no_sense_changes_nothing(ada: Person, patch: dict[str, Any], param: str) -> None:
    before = ada.get("/v1/account").get_json()

    response = ada.write("PATCH", "/v1/account", patch)

    assert response.status_code == 422
    assert response.get_json()["error"]["param"].startswith(param)
    assert ada.get("/v1/account").get_json() == before


def test_limits_are_reached_and_not_crossed(ada: Person) -> None:
    patch = {
        "prices": {"overrides": [OVERRIDE] * 200},
        "azure": {"resource": "a" * 64, "deployments": {f"d{number}": "gpt-4o" for number in range(200)}},
        "bedrock": {
            "region": "us-gov-west-1",
            "inference_profiles": {
                "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc": "gpt-4o"
            },
        },
        "name": "x" * 100,
    }

    assert ada.write("PATCH", "/v1/account", patch).status_code == 200


def test_changes_at_once_from_several_instances_all_take_effect(
    make_app: MakeApp, store: DocumentStore, sign_up: Any
) -> None:
    ada = sign_up(on=make_app(store))
    patches: list[dict[str, Any]] = [
        {"cache": {"enabled": True}},
        {"cache": {"temperature": "zero"}},
        {"prices": {"unpriced": "refuse"}},
        {"azure": {"resource": "ours"}},
    ]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda patch: ada.write("PATCH", "/v1/account", patch).status_code, patches))

    after = ada.get("/v1/account").get_json()
    assert answers == [200] * 4
    assert after["cache"] == {"enabled": True, "temperature": "zero"}
    assert (after["prices"]["unpriced"], after["azure"]["resource"]) == ("refuse", "ours")
