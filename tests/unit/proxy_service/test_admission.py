import pytest

from metering.accounts import AccountSettings, PriceOverride, PriceSettings, UnitPrices
from metering.events import Provider
from metering.price_table import load_price_table
from metering.pricing import Pricer
from proxy_service.admission import Admittance
from proxy_service.refusals import RequestRefused
from tests.builders import AT, make_policy

ADMITTANCE = Admittance(Pricer(load_price_table()))
OWN_PRICE = PriceOverride(
    provider="anthropic", model="zz-new", prices=UnitPrices(input_picodollars=1, output_picodollars=1)
)


def decide(model: str, prices: PriceSettings, provider: Provider = "anthropic") -> None:
    policy = make_policy(settings=AccountSettings(prices=prices))
    assert ADMITTANCE.decide(policy, provider, model, AT).holds == ()


def test_a_call_without_a_known_price_passes_unless_the_account_refuses_such() -> None:
    decide("zz-new", PriceSettings())
    decide("claude-sonnet-4-5", PriceSettings(unpriced="refuse"))

    with pytest.raises(RequestRefused) as refused:
        decide("zz-new", PriceSettings(unpriced="refuse"))

    assert (refused.value.status, refused.value.code) == (403, "model_unpriced")


def test_a_price_of_the_accounts_own_is_a_price() -> None:
    decide("zz-new", PriceSettings(unpriced="refuse", overrides=(OWN_PRICE,)))


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
        decide(model, PriceSettings(unpriced="refuse"), provider)
