"""What the API service is told by its environment, read once at start (docs/settings.md)."""

import re
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from api_service.addresses import Reach, networks_in
from metering.setting_kinds import Range, Secret
from metering.settings import DeploymentSettings, complaints_about_secret

_SENDER = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

_CONTACT = re.compile(rf"{_SENDER.pattern}|https://[A-Za-z0-9.-]{{1,253}}(?:/[A-Za-z0-9./_~%-]{{0,500}})?")

_PROXY_URL_WANTED = "PROXY_PUBLIC_URL: hosted, give the https:// address under which callers reach the proxy"

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


def _networks(text: str) -> str:
    try:
        networks_in(text)
    except ValueError:
        raise ValueError("give networks such as 10.0.0.0/8, with commas between them") from None
    return text


class SendingSettings(DeploymentSettings):
    """What the API and its functions are told, since both send. Field names are environment names.

    `slack_webhook_url` is for all notices of a machine of one's own. `outbound_networks` are the networks
    that it may call though they are not of the public internet. `proxy_public_url` is where callers reach the
    proxy: ingress addresses are shown under it, and there it is asked for its health, if it was given.
    """

    proxy_public_url: str = "http://127.0.0.1:8080"
    smtp_host: str = ""
    smtp_port: Annotated[int, Range(1, 65535)] = 587
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: Secret = Secret("")
    mail_from: str = ""
    slack_webhook_url: Secret = Secret("")
    outbound_networks: Annotated[str, _networks] = ""

    @property
    def proxy_probed_url(self) -> str:
        """Where the proxy is asked for its health; empty: nobody said where it is, so nothing is dialled.

        Hosted, an address of this very machine is none.
        """
        is_given = self.is_told("proxy_public_url")
        is_here = urlsplit(self.proxy_public_url).hostname in LOOPBACK_NAMES
        return self.proxy_public_url if is_given and not (self.is_hosted and is_here) else ""

    @property
    def reach(self) -> Reach:
        """What may be called of the addresses that people name."""
        return Reach(is_hosted=self.is_hosted, networks=networks_in(self.outbound_networks))

    def complaints(self) -> list[str]:
        """What does not fit together, one line each."""
        found = super().complaints()
        found += _complaints_about_address("PROXY_PUBLIC_URL", self.proxy_public_url)
        if self.is_hosted:
            found += self._complaints_about_sending_when_hosted()
        if self.smtp_host and not _SENDER.fullmatch(self.mail_from):
            found.append("MAIL_FROM: give the address that mail is from, for example modeltrack@example.com")
        if bool(self.smtp_user) != bool(self.smtp_password.get_secret_value()):
            found.append("SMTP_USER, SMTP_PASSWORD: give both or none")
        return found

    def _complaints_about_sending_when_hosted(self) -> list[str]:
        found = complaints_about_secret("SMTP_PASSWORD", self.smtp_password, "the mail server")
        if self.is_told("proxy_public_url") and not self.proxy_public_url.startswith("https://"):
            found.append(_PROXY_URL_WANTED)
        if self.smtp_host and self.smtp_security == "none":
            found.append("SMTP_SECURITY: give starttls or tls; hosted, mail does not travel readable")
        if self.slack_webhook_url.get_secret_value():
            found.append("SLACK_WEBHOOK_URL: hosted, each account has its own channels; leave it out")
        if self.outbound_networks:
            found.append("OUTBOUND_NETWORKS: hosted, only the public internet is called; leave it out")
        return found


class ApiSettings(SendingSettings):
    """The API service's settings. Field names are environment names.

    `public_url` is where browsers reach this service: it decides the cookie's form and which origins may
    write. `security_contact` is where weaknesses are reported to, an e-mail address or one on the web.
    People sign in with Google and GitHub where the client that these know us by is given.
    """

    api_host: str = ""
    port: Annotated[int, Range(1, 65535)] = 3001
    public_url: str = ""
    security_contact: str = ""
    api_threads: Annotated[int, Range(2, 256)] = 16
    api_jobs: bool | None = None  # self-hosted yes; hosted, functions run them
    google_client_id: str = ""
    google_client_secret: Secret = Secret("")
    google_issuer: str = "https://accounts.google.com"
    github_client_id: str = ""
    github_client_secret: Secret = Secret("")
    github_url: str = "https://github.com"
    github_api_url: str = "https://api.github.com"

    @property
    def listen_host(self) -> str:
        """The address to listen on: this machine only, or on Cloud Run every one."""
        return self.api_host or ("0.0.0.0" if self.k_service else "127.0.0.1")  # nosec B104 # noqa: S104 - Cloud Run's contract

    @property
    def runs_jobs(self) -> bool:
        """Whether this process runs the jobs that are done in the background (`api_service.functions`)."""
        return not self.is_hosted if self.api_jobs is None else self.api_jobs

    @property
    def base_url(self) -> str:
        """Where browsers reach this service, without a trailing slash."""
        return self.public_url.rstrip("/") or f"http://127.0.0.1:{self.port}"

    @property
    def is_https(self) -> bool:
        """Whether browsers come over https, so that cookies are Secure."""
        return self.base_url.startswith("https://")

    @property
    def is_readable_on_the_way(self) -> bool:
        """Whether cookies may leave this machine unencrypted."""
        named = urlsplit(self.base_url).hostname
        return not self.is_https and not (self._is_for_this_machine and named in LOOPBACK_NAMES)

    @property
    def _is_for_this_machine(self) -> bool:
        """Whether browsers are on this machine: we listen here alone, or PUBLIC_URL says so.

        In a container a service listens everywhere, and who can reach it is the engine's to say.
        """
        is_named = bool(self.public_url) and urlsplit(self.public_url).hostname in LOOPBACK_NAMES
        return self.listen_host in LOOPBACK_NAMES or is_named

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may write here: our own, by each name of this machine if that is it."""
        parts = urlsplit(self.base_url)
        names = LOOPBACK_NAMES if parts.hostname in LOOPBACK_NAMES else (parts.hostname or "",)
        return frozenset(_origin(parts, name) for name in names)

    @property
    def host_names(self) -> frozenset[str] | None:
        """The host names that requests may carry; None: any.

        A service for this machine takes no other name than its own: a page elsewhere could else let its own
        name point here, and speak to us as if it were ours.
        """
        if not self._is_for_this_machine:
            return None
        return frozenset({*LOOPBACK_NAMES, urlsplit(self.base_url).hostname or ""})

    def complaints(self) -> list[str]:
        """What does not fit together, one line each."""
        found = super().complaints()
        found += _complaints_about_address("PUBLIC_URL", self.public_url)
        if self.metrics_port == self.port:
            found.append("METRICS_PORT: give another port than PORT; it needs one of its own")
        if self.security_contact and not _CONTACT.fullmatch(self.security_contact):
            found.append(
                "SECURITY_CONTACT: give an e-mail address, or one on the web, for example"
                " security@example.com"
            )
        found += self._complaints_about_providers()
        if self.is_hosted and not self.smtp_host:
            found.append("SMTP_HOST: hosted, give the mail server; people confirm their address by mail")
        if self.is_hosted and not self.is_told("proxy_public_url"):
            found.append(_PROXY_URL_WANTED)
        if self.is_hosted and not self.is_https:
            found.append("PUBLIC_URL: hosted, give the https:// address under which browsers reach the API")
        return found

    def _complaints_about_providers(self) -> list[str]:
        found = []
        for name in ("google", "github"):
            given: Secret = getattr(self, f"{name}_client_secret")
            if bool(getattr(self, f"{name}_client_id")) != bool(given.get_secret_value()):
                found.append(f"{name.upper()}_CLIENT_ID, {name.upper()}_CLIENT_SECRET: give both or none")
            elif self.is_hosted:
                found += complaints_about_secret(
                    f"{name.upper()}_CLIENT_SECRET", given, {"google": "Google", "github": "GitHub"}[name]
                )
        schemes = ("https://",) if self.is_hosted else ("https://", "http://")
        found += [
            f"{name.upper()}: give an address such as https://idp.example.com, without a slash at its end"
            for name in ("google_issuer", "github_url", "github_api_url")
            if not getattr(self, name).startswith(schemes) or getattr(self, name).endswith("/")
        ]
        return found


def _complaints_about_address(name: str, address: str) -> list[str]:
    if not address or _is_base_url(address):
        return []
    return [f"{name}: give scheme and host only, for example https://api.example.com"]


def _is_base_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    is_bare = not (parts.query or parts.fragment or parts.username or parts.path.strip("/"))
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and is_bare


def _origin(parts: SplitResult, name: str) -> str:
    host = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{host}:{parts.port}" if parts.port else f"{parts.scheme}://{host}"
