"""A call is recorded and priced under the name of the model that served it."""

import pytest

from metering.accounts import AccountSettings, AzureSettings, BedrockSettings
from metering.events import Provider
from metering.model_names import is_within_reach, known_names, priced_name, served_model, word_for
from metering.routing import RuleProvider

PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-6-v1:0"
OPAQUE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123"
SETTINGS = AccountSettings(
    azure=AzureSettings(deployments={"chat-prod": "gpt-4o-2024-08-06"}),
    bedrock=BedrockSettings(inference_profiles={OPAQUE: "eu.anthropic.claude-sonnet-4-6"}),
)


@pytest.mark.parametrize(
    ("provider", "requested", "answered", "served"),
    [
        ("openai", "gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("openai", "gpt-4o", None, "gpt-4o"),
        ("anthropic", "claude-sonnet-4-6", "", "claude-sonnet-4-6"),
        ("azure", "chat-prod", "gpt-4o-2024-11-20", "gpt-4o-2024-08-06"),
        ("azure", "gpt-4o", None, "gpt-4o"),
        ("azure", "unmapped", "gpt-4o-2024-11-20", "gpt-4o-2024-11-20"),
        ("bedrock", "us.anthropic.claude-opus-5", "claude-opus-5", "us.anthropic.claude-opus-5"),
        ("bedrock", OPAQUE, "claude-sonnet-4-6", "eu.anthropic.claude-sonnet-4-6"),
        ("bedrock", PROFILE, None, "eu.anthropic.claude-sonnet-4-6-v1:0"),
        ("bedrock", OPAQUE.replace("abc", "xyz"), "claude-sonnet-4-6", OPAQUE.replace("abc", "xyz")),
    ],
)
def test_the_serving_model_is_named(
    provider: Provider, requested: str, answered: str | None, served: str
) -> None:
    assert served_model(provider, requested, answered, SETTINGS) == served


@pytest.mark.parametrize(
    ("model", "priced"),
    [
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        (PROFILE, "eu.anthropic.claude-sonnet-4-6-v1:0"),
        (OPAQUE, ""),
        ("arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-pro-v1:0/abc", ""),
        ("arn:", ""),
        ("anthropic.claude-opus-5", "anthropic.claude-opus-5"),
    ],
)
def test_an_arn_is_priced_by_the_model_it_names_or_not_at_all(model: str, priced: str) -> None:
    assert priced_name("bedrock", model) == priced


PROFILES = BedrockSettings(
    inference_profiles={
        f"{PROFILE}b": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        f"{PROFILE}a": "eu.anthropic.claude-haiku-4-5-20251001-v1:0",
    }
)
MAPPED = AccountSettings(
    azure=AzureSettings(
        deployments={"small-b": "gpt-4o-mini", "small-a": "gpt-4o-mini", "big": "gpt-4o-2024-11-20"}
    ),
    bedrock=PROFILES,
)


@pytest.mark.parametrize(
    ("provider", "model", "word"),
    [
        ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5"),
        ("openai", "gpt-4.1", "gpt-4.1"),
        ("azure", "gpt-4o-mini", "small-a"),
        ("azure", "gpt-4o", "big"),
        ("azure", "gpt-4.1", ""),
        ("bedrock", "claude-haiku-4-5", f"{PROFILE}a"),
        ("bedrock", "gpt-4.1", ""),
        ("bedrock", "anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("bedrock", "us.amazon.nova-lite-v1:0", "us.amazon.nova-lite-v1:0"),
        ("bedrock", f"{PROFILE}c", f"{PROFILE}c"),
    ],
)
def test_a_call_names_a_model_as_its_provider_and_account_do(
    provider: Provider, model: str, word: str
) -> None:
    assert word_for(provider, model, MAPPED) == word


@pytest.mark.parametrize(
    ("provider", "requested", "names"),
    [
        ("anthropic", "claude-haiku-4-5", {"claude-haiku-4-5"}),
        ("anthropic", "claude-haiku-4-5-20251001", {"claude-haiku-4-5-20251001", "claude-haiku-4-5"}),
        ("openai", "gpt-4o-2024-08-06", {"gpt-4o-2024-08-06", "gpt-4o"}),
        ("azure", "big", {"big", "gpt-4o-2024-11-20", "gpt-4o"}),
        ("azure", "small-a", {"small-a", "gpt-4o-mini"}),
        ("azure", "unmapped", {"unmapped"}),
        (
            "bedrock",
            f"{PROFILE}b",
            {f"{PROFILE}b", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"},
        ),
        ("openai", "", set()),
    ],
)
def test_a_calls_model_is_known_by_the_callers_word_the_mapped_one_and_the_vendors(
    provider: Provider, requested: str, names: set[str]
) -> None:
    assert known_names(provider, requested, MAPPED) == names


@pytest.mark.parametrize(
    ("provider", "from_models", "to_model", "is_reached"),
    [
        ("", ["claude-sonnet-4-6"], "claude-haiku-4-5", True),
        ("", ["claude-sonnet-4-6"], "gpt-4o-mini", False),
        ("", ["gpt-4o", "claude-sonnet-4-6"], "gpt-4o-mini", False),
        ("", ["us.anthropic.claude-sonnet-4-5-20250929-v1:0"], "gpt-4o-mini", False),
        ("", ["my-deployment"], "gpt-4o-mini", True),
        ("", ["claude-sonnet-4-6"], "us.anthropic.claude-haiku-4-5-20251001-v1:0", True),
        ("", ["claude-sonnet-4-6"], "gpt-of-tomorrow", True),
        ("anthropic", ["my-profile"], "gpt-4o-mini", False),
        ("openai", ["my-deployment"], "gpt-4o-mini", True),
        ("openai", ["claude-sonnet-4-6"], "claude-haiku-4-5", True),
    ],
)
def test_a_rule_leads_to_a_model_of_the_same_provider_as_far_as_the_price_list_tells(
    provider: RuleProvider, from_models: list[str], to_model: str, is_reached: bool
) -> None:
    assert is_within_reach(provider, from_models, to_model) is is_reached
