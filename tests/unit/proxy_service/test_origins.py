from pathlib import Path
from typing import Any

import pytest

from metering.accounts import AccountSettings, AzureSettings, BedrockSettings, Policy
from proxy_service.origins import Origins
from proxy_service.refusals import RequestRefused
from proxy_service.settings import ProxySettings
from proxy_service.wire import Origin
from tests.builders import make_policy


def origins(**settings: Any) -> Origins:
    return Origins(ProxySettings(data_dir=Path("/nowhere"), store_url="firestore://demo-p", **settings))


def policy(*, resource: str = "", region: str = "") -> Policy:
    settings = AccountSettings(azure=AzureSettings(resource=resource), bedrock=BedrockSettings(region=region))
    return make_policy(settings=settings)


def test_base_urls_say_where_anthropic_and_openai_are() -> None:
    found = origins(openai_base_url="http://127.0.0.1:9/base")

    assert found.origin("anthropic", policy()) == Origin("https", "api.anthropic.com", 443)
    assert found.origin("openai", policy()) == Origin("http", "127.0.0.1", 9, "/base")


def test_azures_host_is_made_from_the_accounts_resource() -> None:
    assert origins().origin("azure", policy(resource="my-resource")) == Origin(
        "https", "my-resource.openai.azure.com", 443
    )


@pytest.mark.parametrize(
    "resource", ["", "x.test#", "a@b", "../", "-a", "a-", "a.b", "A", "a" * 65, "a/b", "a\n", "xn--é"]
)
def test_a_resource_that_could_name_another_host_is_refused(resource: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        origins().origin("azure", policy(resource=resource))

    assert (refused.value.status, refused.value.code) == (400, "azure_resource_unset")


def test_bedrocks_host_is_made_from_the_accounts_region_or_the_deployments() -> None:
    found = origins(bedrock_region="eu-west-1")

    assert found.origin("bedrock", policy(region="us-gov-west-1")).host == (
        "bedrock-runtime.us-gov-west-1.amazonaws.com"
    )
    assert found.origin("bedrock", policy()).host == "bedrock-runtime.eu-west-1.amazonaws.com"
    assert found.origin("bedrock", policy(region="cn-north-1")).host.endswith(".amazonaws.com.cn")
    assert found.region("bedrock", policy()) == "eu-west-1"
    assert found.region("anthropic", policy()) == ""


@pytest.mark.parametrize(
    "region", ["evil.test/", "us-east-1.evil.test", "us_east_1", "US-EAST-1", "us-east-1\n"]
)
def test_a_region_that_could_name_another_host_is_refused(region: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        origins().origin("bedrock", policy(region=region))

    assert refused.value.code == "bedrock_region_invalid"


def test_an_endpoint_of_the_operator_stands_for_every_account() -> None:
    found = origins(azure_openai_endpoint="http://127.0.0.1:9", bedrock_endpoint_url="http://127.0.0.1:9")

    assert found.origin("azure", policy(resource="x.test#")) == Origin("http", "127.0.0.1", 9)
    assert found.origin("bedrock", policy(region="evil")) == Origin("http", "127.0.0.1", 9)
