"""What the proxy is told by its environment. Names and defaults: docs/settings.md."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from metering.setting_kinds import Range
from metering.settings import DeploymentSettings
from proxy_service.wire import Origin

Megabytes = 1024 * 1024
REGION_PATTERN = r"[a-z]{2}(?:-[a-z]+){1,3}-[0-9]{1,2}"


def origin_at(url: str) -> Origin:
    """Where a base URL leads. Raises: ValueError when it is no plain http(s) URL."""
    wanted = "give a base URL such as https://api.example.com, without user, query or fragment"
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise ValueError(wanted) from None  # the library's own words quote it, a password in it included
    is_plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain:
        raise ValueError(wanted)
    return Origin(scheme=parts.scheme, host=parts.hostname, port=port, prefix=parts.path.rstrip("/"))


def _base_url(url: str) -> str:
    origin_at(url)
    return url


def _is_here(url: str) -> bool:
    """Whether the base URL leads to this very machine, as the demo provider's does."""
    return _is_this_machine(origin_at(url).host if url else "")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _base_url_or_none(url: str) -> str:
    return url and _base_url(url)


def _region(text: str) -> str:
    if re.fullmatch(REGION_PATTERN, text):
        return text
    raise ValueError("give an AWS region, for example us-east-1")


BaseUrl = Annotated[str, _base_url]
OptionalBaseUrl = Annotated[str, _base_url_or_none]
Port = Annotated[int, Range(0, 65535)]
Seconds = Annotated[float, Range(above=0, most=3600)]


class ProxySettings(DeploymentSettings):
    """How this instance of the proxy listens, whom it calls, and what it keeps."""

    proxy_host: str = ""
    proxy_port: Port = 8080
    port: Port | None = None  # Cloud Run's; elsewhere it is the API's and not ours
    tls_port: Port = 8443
    tls_cert: Path | None = None
    tls_key: Path | None = None

    anthropic_base_url: BaseUrl = "https://api.anthropic.com"
    openai_base_url: BaseUrl = "https://api.openai.com"
    bedrock_endpoint_url: OptionalBaseUrl = ""
    bedrock_region: Annotated[str, _region] = "us-east-1"
    azure_openai_endpoint: OptionalBaseUrl = ""
    upstream_ca_file: Path | None = None
    upstream_connect_timeout_seconds: Seconds = 10
    upstream_first_byte_timeout_seconds: Seconds = 600
    upstream_idle_timeout_seconds: Seconds = 600

    key_required: bool | None = None  # hosted, always
    published_on: str = ""  # where a container's port is, by the engine; compose.yaml tells it

    body_limit_bytes: Annotated[int, Range(1024, 256 * Megabytes)] = 32 * Megabytes

    cache_enabled: bool | None = None  # self-hosted on, hosted off until the account turns it on
    cache_ttl_seconds: Annotated[int, Range(1, 30 * 86400)] = 3600
    cache_max_entries: Annotated[int, Range(1, 1_000_000)] = 1000
    cache_max_bytes: Annotated[int, Range(1, 8192 * Megabytes)] = 64 * Megabytes
    cache_temperature: Literal["any", "zero"] = "any"

    @property
    def listen_host(self) -> str:
        """The address to listen on: loopback, unless told otherwise or run on Cloud Run."""
        return self.proxy_host or ("0.0.0.0" if self.k_service else "127.0.0.1")  # nosec B104 # noqa: S104 - Cloud Run's contract

    @property
    def listen_port(self) -> int:
        """The plain listener's port."""
        return self.port if self.k_service and self.port else self.proxy_port

    @property
    def is_key_required(self) -> bool:
        """Whether a call is refused that brings no key and no ingress address.

        A container that is published to others than its machine asks for one, unless told not to.
        """
        if self.key_required is None:
            return self.is_hosted or bool(
                self.published_on and not _is_this_machine(self.published_on.strip("[]"))
            )
        return self.is_hosted or self.key_required

    @property
    def is_cache_on(self) -> bool:
        """Whether an account that has not said otherwise is answered from memory."""
        return not self.is_hosted if self.cache_enabled is None else self.cache_enabled

    def complaints(self) -> list[str]:
        """What does not fit together, one line each."""
        found = super().complaints()
        if bool(self.tls_cert) != bool(self.tls_key):
            found.append("TLS_CERT, TLS_KEY: give both or none")
        if self.metrics_port in {self.listen_port, self.tls_port if self.tls_cert else None} - {None}:
            found.append("METRICS_PORT: give another port than calls come to; it needs one of its own")
        named = {
            "TLS_CERT": self.tls_cert,
            "TLS_KEY": self.tls_key,
            "UPSTREAM_CA_FILE": self.upstream_ca_file,
        }
        found += [
            f"{name}: there is no such file" for name, path in named.items() if path and not path.is_file()
        ]
        return found

    def _complaints_when_hosted(self) -> list[str]:
        found = super()._complaints_when_hosted()
        if self.key_required is False:
            found.append("KEY_REQUIRED: hosted, nobody is let in without a key; leave it out")
        upstreams = ("anthropic_base_url", "openai_base_url", "bedrock_endpoint_url", "azure_openai_endpoint")
        for name in upstreams:
            url: str = getattr(self, name)
            if _is_here(url) and not self.is_rehearsal:
                found.append(f"{name.upper()}: hosted, no provider is on this machine; leave it out")
            elif url.startswith("http://"):
                found.append(f"{name.upper()}: a hosted proxy calls its upstreams over https only")
        if self.azure_openai_endpoint:
            found.append("AZURE_OPENAI_ENDPOINT: hosted, each account names its own resource")
        return found
