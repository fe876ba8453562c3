"""A call is recorded and priced under the name of the model that served it."""

import pytest

from metering.accounts import AccountSettings, AzureSettings, BedrockSettings
from metering.events import Provider
from metering.model_names import priced_name, served_model

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
