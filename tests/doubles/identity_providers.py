"""Two providers of identities on real sockets: one that speaks OpenID Connect, one shaped like GitHub.

Both keep to the rules of OAuth: a code is good once, for the address it was asked for, and for whoever holds
the PKCE verifier of its challenge. What they say of people, and how they sign it, is for tests to set.
"""

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from metering.clock import Clock

CLIENT_ID = "modeltrack-client"
CLIENT_SECRET = f"canary{secrets.token_hex(16)}"


@cache
def key_named(kid: str) -> RSAKey:
    """A key to sign with, made once a process: that takes a while."""
    return RSAKey.generate_key(2048, {"kid": kid})


@dataclass
class Begun:
    """A code that was given out, with the browser's query that it was for."""

    query: dict[str, str]


@dataclass
class IdentityProvider:
    """Says of whoever comes what `claims` (`user` and `emails`, where it is like GitHub) say.

    While there is a `gate` that is not set, whoever calls waits before it, and `waiting` counts them.
    """

    clock: Clock
    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    emails: list[dict[str, Any]] = field(default_factory=list)
    issuer: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: key_named("first"))
    published: RSAKey | None = None
    id_token: str | None = None
    is_down: bool = False
    gate: threading.Event | None = None
    waiting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    codes: dict[str, Begun] = field(default_factory=dict)

    def signs_in(self, address: str) -> dict[str, str]:
        """What a browser is sent back with that came to `address`, and signed in."""
        parts = urlsplit(address)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = f"canary-{secrets.token_urlsafe(16)}"
        self.codes[code] = Begun(query)
        return {"state": query["state"], "code": code}

    def page(self, address: str) -> str:
        """What somebody sees who comes to `address` in a browser: one link, which signs in and leads back."""
        told = self.signs_in(address)
        back = parse_qs(urlsplit(address).query)["redirect_uri"][0]
        return f'<!doctype html><title>Sign in</title><a href="{escape(back)}?{urlencode(told)}">Go on</a>'

    def token_for(self, begun: Begun) -> str:
        """The ID token for a code; `claims` set to None are left out."""
        now = int(self.clock.now().timestamp())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": "subject-1",
            "iat": now,
            "exp": now + 3600,
            "nonce": begun.query.get("nonce"),
            "email": "ada@example.com",
            "email_verified": True,
            "name": "Ada",
        } | self.claims
        told = {name: value for name, value in claims.items() if value is not None}
        if self.id_token is not None:
            return self.id_token
        header = {"alg": "RS256", "kid": self.key.kid} | self.header
        return jwt.encode(header, told, self.key)

    def exchange(self, form: dict[str, str]) -> dict[str, Any]:
        """What a code is changed for."""
        begun = self.codes.pop(form["code"], None)
        challenge = _challenge(form["code_verifier"])
        is_right = (
            begun is not None
            and form["grant_type"] == "authorization_code"
            and (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
            and begun.query["redirect_uri"] == form["redirect_uri"]
            and begun.query["code_challenge"] == challenge
        )
        if begun is None or not is_right:
            return {"error": "invalid_grant", "error_description": f"canary {form['code']}"}
        return {
            "access_token": "canary-access-token",
            "token_type": "bearer",
            "id_token": self.token_for(begun),
        }

    def got(self, path: str, bearer: str) -> Any:
        """What is answered at a path, None where there is nothing."""
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer or self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            } | self.metadata
        if path == "/keys":
            return {"keys": [(self.published or self.key).as_dict(private=False)]}
        if bearer != "Bearer canary-access-token":
            return None
        return {"/api/user": self.user, "/api/user/emails": self.emails}.get(path)


@contextmanager
def running_identity_provider(clock: Clock) -> Iterator[IdentityProvider]:
    """A provider that listens on a port of its own until the block ends."""
    provider = IdentityProvider(clock)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/authorize?"):
                self._send(200, provider.page(self.path).encode(), "text/html; charset=utf-8")
                return
            self._answer(provider.got(self.path, self.headers.get("Authorization", "")))

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(sent).items()}
            self._answer(provider.exchange(form))

        def _answer(self, told: Any) -> None:
            if provider.gate is not None:
                provider.waiting.release()
                provider.gate.wait(10)
            status = 503 if provider.is_down else 404 if told is None else 200
            self._send(status, json.dumps(told).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def unsigned(token: str) -> str:
    """The same token as one that nobody signed."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
