"""The real thing, as a browser meets it: all services on one store, mail, and a provider of identities."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import Message
from itertools import count
from pathlib import Path
from typing import Any

import requests

from metering.clock import SystemClock
from metering.directory import KeyTerms
from metering.keys import Scope
from tests.doubles.identity_providers import (
    CLIENT_ID,
    CLIENT_SECRET,
    IdentityProvider,
    running_identity_provider,
)
from tests.doubles.mail_server import RunningMailServer
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import Process, eventually, free_port

PASSWORD = "correct horse battery staple"
EVERY_SCOPE: tuple[Scope, ...] = ("proxy", "read", "write", "stats", "ingest")

_numbers = count(1)


def new_address() -> str:
    """An e-mail address that nobody has yet."""
    return f"person-{next(_numbers)}@example.com"


@dataclass
class Person:
    """Somebody who has signed up, and what their browser sends."""

    email: str
    account_id: str
    csrf_token: str
    session: requests.Session = field(repr=False)
    url: str
    password: str = PASSWORD

    def tell(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do something that the pages are not what is tested for."""
        headers = {"X-CSRF-Token": self.csrf_token, "Origin": self.url}
        answer = self.session.request(method, self.url + path, json=body, headers=headers, timeout=20)
        assert answer.ok, answer.text
        told: dict[str, Any] = answer.json() if answer.content else {}
        return told


@dataclass
class Site:
    """Everything that runs, and who is there."""

    deployment: Deployment
    mail: RunningMailServer
    provider: IdentityProvider

    @property
    def url(self) -> str:
        """Where the pages are."""
        return self.deployment.api.url

    @property
    def proxy_url(self) -> str:
        """Where calls go."""
        return self.deployment.proxy.url

    def sign_up(self, email: str = "", account_name: str = "Ada & Co") -> Person:
        """A new person, the owner of an account of their own."""
        session, address = requests.Session(), email or new_address()
        asked = {"email": address, "password": PASSWORD, "account_name": account_name, "name": "Ada"}
        answer = session.post(f"{self.url}/v1/signup", json=asked, timeout=20)
        assert answer.status_code == 201, answer.text
        told = answer.json()
        return Person(address, told["account"]["id"], told["csrf_token"], session, self.url)

    def tenant(self, person: Person) -> Tenant:
        """The person's account, with a key for calls and a provider key that nobody else uses."""
        terms = KeyTerms(name="calls", scopes=EVERY_SCOPE)
        key, _ = self.deployment.directory().create_key(person.account_id, terms)
        return Tenant(person.account_id, key, f"sk-test-{person.account_id}")

    def letter_to(self, address: str, subject: str) -> str:
        """The text of the last mail to that address with that in its subject, as soon as it is there."""

        def look() -> Message | None:
            sent = [each for each in self.mail.taken.messages if address in str(each["To"])]
            found = [each for each in sent if subject in str(each["Subject"])]
            return found[-1] if found else None

        return text_of(eventually(look, what=f"a mail to {address} about “{subject}”"))

    @staticmethod
    def now() -> datetime:
        """What time it is for everything that runs."""
        return SystemClock().now()

    def second_api(self) -> Process:
        """Another API service on the same store; its background jobs run once at its start."""
        return self.deployment.start_api()


def text_of(message: Message) -> str:
    """What a mail says."""
    raw = message.get_payload(decode=True)
    assert isinstance(raw, bytes)
    return raw.decode(message.get_content_charset("utf-8"))


def link_in(text: str) -> str:
    """The one link of a mail."""
    (link,) = re.findall(r"https?://\S+", text)
    return str(link)


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Everything, until the block ends. Identities come from what browsers call another site: `localhost`."""
    mail, proxy_port = RunningMailServer(), free_port()
    mail.start()
    with running_identity_provider(SystemClock()) as provider:
        provider.url = provider.url.replace("127.0.0.1", "localhost")
        settings = {
            "PROXY_PUBLIC_URL": f"http://127.0.0.1:{proxy_port}",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail.port),
            "SMTP_SECURITY": "none",
            "MAIL_FROM": "modeltrack@example.com",
            "SECURITY_CONTACT": "security@example.com",
            "GOOGLE_CLIENT_ID": CLIENT_ID,
            "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
            "GOOGLE_ISSUER": provider.url,
            "OUTBOUND_NETWORKS": "127.0.0.0/8",
        }
        deployment = Deployment(folder, f"sqlite:///{folder}/modeltrack.db", settings)
        try:
            deployment.start(proxy_port)
            yield Site(deployment, mail, provider)
        finally:
            deployment.stop()
            mail.stop()
