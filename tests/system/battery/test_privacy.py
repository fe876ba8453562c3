"""What people and operators type into the API is kept and said nowhere, whatever comes of it."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
import requests

from metering.keys import new_key
from tests.doubles.receiver import Receiver, running_receiver
from tests.emulator import new_project
from tests.system.deployment import Deployment
from tests.system.test_canaries import (
    _kept_in_files,
    _kept_in_firestore,
    _kept_in_sqlite,
    places_of,
)

PAGES = (
    "/v1/account",
    "/v1/keys",
    "/v1/webhooks",
    "/v1/channels",
    "/v1/notices",
    "/v1/audit-events",
    "/metrics",
)


class Secrets:
    """What is told to the API and is to be nowhere afterwards; each is unlike anything else."""

    def __init__(self) -> None:
        self.password = f"canary password {secrets.token_hex(8)}"
        self.wrong_password = f"canary wrong {secrets.token_hex(8)}"
        self.new_password = f"canary new {secrets.token_hex(8)}"
        self.unknown_key = new_key()
        self.code = f"canary-code-{secrets.token_hex(8)}"
        self.token = f"canary-token-{secrets.token_hex(8)}"
        self.slack = f"canary{secrets.token_hex(8)}"


class Visitor:
    """Somebody with a browser, and all that the API said to them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.session = requests.Session()
        self.said: list[bytes] = []

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Ask as a page of the service's own does."""
        told = {"Origin": self._url, **headers}
        if token := self.session.headers.get("X-CSRF-Token"):
            told["X-CSRF-Token"] = str(token)
        answer = self.session.request(
            method, self._url + path, json=body, headers=told, timeout=20, allow_redirects=False
        )
        self.said.append(answer.content)
        return answer


@pytest.mark.battery("V1", "V4")
@pytest.mark.parametrize("kind", ["sqlite", "firestore"])
def test_no_secret_that_the_api_was_told_is_kept_or_said(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    store_url = f"sqlite:///{tmp_path}/deployment/modeltrack.db"
    if kind == "firestore":
        request.getfixturevalue("emulator")
        store_url = f"firestore://{new_project()}"
    told = {"OUTBOUND_NETWORKS": "127.0.0.0/8"}
    deployment = Deployment(tmp_path / "deployment", store_url, told)
    canaries = Secrets()

    with running_receiver() as sink:
        try:
            deployment.start()
            deployment.tenant()  # an emulator's first commits take longest
            visitor, once = _tell_everything(deployment, canaries, sink)
        finally:
            deployment.stop()
        sunk = {f"sink {at}": each.body + repr(each.headers).encode() for at, each in enumerate(sink.got)}

    kept = {f"answer {at}": each for at, each in enumerate(visitor.said)} | sunk
    kept |= _kept_in_files(deployment.folder)
    if kind == "firestore":
        kept |= _kept_in_firestore(store_url, request.getfixturevalue("emulator"), once["account_id"])
    else:
        kept |= _kept_in_sqlite(deployment.folder)
    wanted = dict(vars(canaries)) | {name: once[name] for name in ("key", "webhook_secret", "session")}
    assert sink.got
    assert places_of(wanted, kept) == {name: set() for name in wanted}


def _tell_everything(
    deployment: Deployment, canaries: Secrets, sink: Receiver
) -> tuple[Visitor, dict[str, str]]:
    """Ask for everything that takes a secret; also what was shown once, which no later answer may hold."""
    visitor = Visitor(deployment.api.url)
    email = "ada@example.com"
    signed_up = visitor.ask("POST", "/v1/signup", {"email": email, "password": canaries.password})
    assert signed_up.ok, signed_up.text
    visitor.session.headers["X-CSRF-Token"] = signed_up.json()["csrf_token"]
    visitor.ask("POST", "/v1/login", {"email": email, "password": canaries.wrong_password})
    visitor.ask("POST", "/v1/login", {"email": email, "passphrase": canaries.password})
    visitor.ask("POST", "/v1/login", [canaries.password])
    visitor.ask("POST", "/v1/password-reset/confirm", {"token": canaries.token, "password": "short"})
    visitor.ask("GET", f"/v1/sign-in/google/return?code={canaries.code}&state={canaries.token}")
    visitor.ask("GET", "/v1/account", Authorization=f"Bearer {canaries.unknown_key}")
    visitor.ask("POST", "/v1/keys", {"name": canaries.unknown_key})
    visitor.ask("POST", "/v1/webhooks", {"url": "https://x", "secret": canaries.token})
    made = visitor.ask("POST", "/v1/keys", {"name": "shown once", "scopes": ["read"]}).json()
    hook = visitor.ask("POST", "/v1/webhooks", {"url": f"{sink.url}/hook"}).json()
    slack = f"{sink.url}/{canaries.slack}"
    channel = visitor.ask("POST", "/v1/channels", {"kind": "slack", "slack_webhook_url": slack}).json()
    visitor.said = [each for each in visitor.said if made["key"].encode() not in each]
    visitor.said = [each for each in visitor.said if hook["secret"].encode() not in each]
    visitor.ask("POST", f"/v1/webhooks/{hook['id']}/test")
    visitor.ask("POST", f"/v1/channels/{channel['id']}/test")
    for path in (*PAGES, "/v1/account/export", "/v1/exports/events?format=csv"):
        visitor.ask("GET", path)
    account_id = visitor.ask("GET", "/v1/account").json()["id"]
    changed = {"current_password": canaries.password, "password": canaries.new_password}
    answer = visitor.ask("POST", "/v1/person/password", changed)
    assert answer.ok, answer.text
    cookie = next(each.value for each in visitor.session.cookies if "session" in each.name)
    assert cookie
    once = {"key": made["key"], "webhook_secret": hook["secret"], "session": cookie.partition(".")[0]}
    return visitor, {**once, "account_id": account_id, "shown": json.dumps(made)}
