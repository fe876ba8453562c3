"""Where each upstream is dialled: from the operator's and the account's settings, never from the request.

An endpoint the operator set stands for all accounts (self-hosted, demo, tests). Otherwise Azure's and
Bedrock's hosts are made from the account's settings by strict patterns, so that no setting names a host of
its own.
"""

import re
from functools import lru_cache

from metering.accounts import Policy
from metering.events import Provider
from proxy_service.refusals import RequestRefused
from proxy_service.settings import REGION_PATTERN, ProxySettings, origin_at
from proxy_service.wire import Origin

ORIGINS_REMEMBERED_MAX = 1024

_AZURE_RESOURCE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_REGION = re.compile(REGION_PATTERN)


class Origins:
    """The origins of this deployment's upstreams."""

    def __init__(self, settings: ProxySettings) -> None:
        self._region = settings.bedrock_region
        named = {
            "anthropic": settings.anthropic_base_url,
            "openai": settings.openai_base_url,
            "bedrock": settings.bedrock_endpoint_url,
            "azure": settings.azure_openai_endpoint,
        }
        self._fixed = {name: origin_at(url) for name, url in named.items() if url}

    def origin(self, upstream: Provider, policy: Policy) -> Origin:
        """Where a call of that account to that upstream goes. Raises: RequestRefused when nobody has said."""
        fixed = self._fixed.get(upstream)
        if fixed is not None:
            return fixed
        if upstream == "azure":
            return _azure_origin(policy.settings.azure.resource)
        return _bedrock_origin(self.region(upstream, policy))

    def region(self, upstream: Provider, policy: Policy) -> str:
        """The region a call is served in, "" where the provider does not say or sell by region."""
        return (policy.settings.bedrock.region or self._region) if upstream == "bedrock" else ""


@lru_cache(maxsize=ORIGINS_REMEMBERED_MAX)
def _azure_origin(resource: str) -> Origin:
    if not _AZURE_RESOURCE.fullmatch(resource):
        raise RequestRefused(
            400, "azure_resource_unset", "set the account's Azure resource, for example my-resource"
        )
    return Origin(scheme="https", host=f"{resource}.openai.azure.com", port=443)


@lru_cache(maxsize=ORIGINS_REMEMBERED_MAX)
def _bedrock_origin(region: str) -> Origin:
    if not _REGION.fullmatch(region):
        raise RequestRefused(
            400, "bedrock_region_invalid", "set the account's Bedrock region, for example us-east-1"
        )
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return Origin(scheme="https", host=f"bedrock-runtime.{region}.{domain}", port=443)
