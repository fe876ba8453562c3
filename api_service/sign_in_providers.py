"""Google and GitHub, as far as people sign in with them: where a browser is sent, and whom they say it is.

Google speaks OpenID Connect: its ID token is signed by a key that it publishes, for us, for this very attempt
(nonce), and not expired. GitHub is asked who the bearer of its token is. Either code is bound to the browser
by PKCE. An address counts only where the provider says that it was verified, of GitHub the primary one.

Calls go to where the settings say, which whoever runs this deployment wrote; each is bounded in time and size
(`api_service.outbound`), and few run at once. A provider that gives no answer: 503, and nothing has happened.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlencode

import msgspec

from api_service.addresses import Reach
from api_service.errors import Refused
from api_service.identities import Identity
from api_service.outbound import Answer, CallFailed, Outbound
from api_service.people import normalised_email
from api_service.settings import ApiSettings
from metering.clock import Clock

METADATA_KEPT_SECONDS: Final = 3600
KEYS_AGAIN_AFTER_SECONDS: Final = 60  # a token by a key that we do not know: how often we look for new ones
CLOCKS_APART_SECONDS: Final = 60
CALLS_AT_ONCE_MAX: Final = 4
SUBJECT_CHARACTERS_MAX: Final = 255
SIGNED_BY: Final = ["RS256"]  # so that no token says how it is to be checked
RETRY_SECONDS: Final = 5

ProviderName = Literal["google", "github"]

_EVERYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_JSON: Final = {"Accept": "application/json"}


@dataclass(frozen=True)
class Attempt:
    """One attempt to sign in: where the provider sends the browser back, and what binds the two."""

    return_url: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


class SignInProvider(Protocol):
    """Somebody who says who people are. Every method raises Refused (503, or 403 where it is no proof)."""

    title: str
    issuer: str

    def address(self, attempt: Attempt) -> str:
        """Where the browser goes to sign in."""

    def identity(self, attempt: Attempt, code: str) -> Identity:
        """Whom the code that came back stands for; a code is good once."""


def providers_of(settings: ApiSettings, clock: Clock) -> Mapping[ProviderName, SignInProvider]:
    """The providers that the settings name."""
    # Whoever runs this deployment wrote these addresses, so they may also be of its own network.
    calls = _Calls(Outbound(Reach(is_hosted=settings.is_hosted, networks=_EVERYWHERE)))
    found: dict[ProviderName, SignInProvider] = {}
    if settings.google_client_id:
        secret = settings.google_client_secret.get_secret_value()
        found["google"] = Google(settings.google_issuer, settings.google_client_id, secret, calls, clock)
    if settings.github_client_id:
        secret = settings.github_client_secret.get_secret_value()
        urls = settings.github_url.rstrip("/"), settings.github_api_url.rstrip("/")
        found["github"] = GitHub(*urls, settings.github_client_id, secret, calls)
    return found


class Google:
    """Google, or whoever else speaks OpenID Connect at that issuer's address."""

    title = "Google"

    def __init__(self, issuer: str, client_id: str, secret: str, calls: "_Calls", clock: Clock) -> None:
        self.issuer = issuer
        self._client = _Client(client_id, secret, "openid email profile", calls)
        self._clock = clock
        self._metadata = _Kept(calls, clock)
        self._keys = _Kept(calls, clock)

    def address(self, attempt: Attempt) -> str:
        """Where the browser goes to sign in."""
        return self._client.address(self._endpoint("authorization_endpoint"), attempt, nonce=attempt.nonce)

    def identity(self, attempt: Attempt, code: str) -> Identity:
        """Whom the code that came back stands for, by the ID token that it is changed for."""
        token = self._client.token(self._endpoint("token_endpoint"), attempt, code)
        claims = self._claims(token.get("id_token"), attempt)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARACTERS_MAX:
            raise _no_proof()
        is_verified = claims.get("email_verified") is True
        return Identity(
            provider="google",
            issuer=self.issuer,
            subject=subject,
            email=_address(claims.get("email")) if is_verified else "",
            name=_text(claims.get("name")),
        )

    def _claims(self, id_token: object, attempt: Attempt) -> Mapping[str, Any]:
        from authlib.oidc.core import CodeIDToken  # noqa: PLC0415 - slow to load, and seldom needed
        from joserfc.errors import JoseError  # noqa: PLC0415 - as above

        try:
            header, told = self._signed(id_token)
            claims = CodeIDToken(
                told,
                header,
                {
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._client.client_id},
                },
                {"client_id": self._client.client_id, "nonce": attempt.nonce},
            )
            claims.validate(now=int(self._clock.now().timestamp()), leeway=CLOCKS_APART_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError):
            raise _no_proof() from None  # without its cause, whose text may hold the token
        return dict(claims)

    def _signed(self, id_token: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """The token's header and claims, signed by a key of the issuer's. Raises: JoseError, ValueError."""
        from joserfc import jwt  # noqa: PLC0415 - slow to load, and seldom needed
        from joserfc.errors import JoseError  # noqa: PLC0415 - as above

        if not isinstance(id_token, str):
            raise _no_proof()
        address = self._endpoint("jwks_uri")
        try:
            token = jwt.decode(id_token, _key_set(self._keys.at(address)), algorithms=SIGNED_BY)
        except (JoseError, ValueError):
            if not self._keys.is_renewed(KEYS_AGAIN_AFTER_SECONDS):
                raise
            token = jwt.decode(id_token, _key_set(self._keys.at(address)), algorithms=SIGNED_BY)
        return dict(token.header), dict(token.claims)

    def _endpoint(self, name: str) -> str:
        metadata = self._metadata.at(f"{self.issuer}/.well-known/openid-configuration")
        address = metadata.get(name)
        is_safe = isinstance(address, str) and address.startswith(("https://", f"{self.issuer}/"))
        if metadata.get("issuer") != self.issuer or not is_safe:
            raise _unavailable()
        return str(address)


class GitHub:
    """GitHub, which has no ID tokens: the bearer of an access token is whom its API says."""

    title = "GitHub"

    def __init__(self, url: str, api_url: str, client_id: str, secret: str, calls: "_Calls") -> None:
        self.issuer = f"{url}/login/oauth"
        self._api_url = api_url
        self._client = _Client(client_id, secret, "read:user user:email", calls)
        self._calls = calls

    def address(self, attempt: Attempt) -> str:
        """Where the browser goes to sign in."""
        return self._client.address(f"{self.issuer}/authorize", attempt)

    def identity(self, attempt: Attempt, code: str) -> Identity:
        """Whom the code that came back stands for."""
        token = self._client.token(f"{self.issuer}/access_token", attempt, code).get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise _no_proof()
        bearer = {"Accept": "application/vnd.github+json", "Authorization": f"Bearer {token}"}
        user = self._calls.object_at(f"{self._api_url}/user", bearer)
        number = user.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise _no_proof()
        return Identity(
            provider="github",
            issuer=self.issuer,
            subject=str(number),
            email=_primary_address(self._calls.json_at(f"{self._api_url}/user/emails", bearer)),
            name=_text(user.get("name")),
        )


class _Client:
    """What is alike of both: the code flow with PKCE, by Authlib."""

    def __init__(self, client_id: str, secret: str, scope: str, calls: "_Calls") -> None:
        self.client_id = client_id
        self._secret = secret
        self._scope = scope
        self._calls = calls

    def address(self, endpoint: str, attempt: Attempt, **more: str) -> str:
        client = self._authlib(attempt)
        made, _ = client.create_authorization_url(
            endpoint, state=attempt.state, code_verifier=attempt.verifier, **more
        )
        return str(made)

    def token(self, endpoint: str, attempt: Attempt, code: str) -> Mapping[str, object]:
        from authlib.oauth2 import OAuth2Error  # noqa: PLC0415 - slow to load, and seldom needed

        with self._calls.place():
            try:
                found = self._authlib(attempt).fetch_token(
                    endpoint, grant_type="authorization_code", code=code, code_verifier=attempt.verifier
                )
            except OAuth2Error:  # the code was used already, is none, or was asked for by another browser
                raise _no_proof() from None
            except ValueError:
                raise _unavailable() from None
        return dict(found)

    def _authlib(self, attempt: Attempt) -> Any:
        from authlib.oauth2.client import OAuth2Client  # noqa: PLC0415 - slow to load, and seldom needed

        return OAuth2Client(
            self._calls,
            client_id=self.client_id,
            client_secret=self._secret,
            token_endpoint_auth_method="client_secret_post",  # nosec B106 # noqa: S106 - the name of a method
            scope=self._scope,
            redirect_uri=attempt.return_url,
            code_challenge_method="S256",
        )


class _Calls:
    """Calls to providers. Also what Authlib takes for a session of `requests`. Raises: Refused (503)."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._places = threading.BoundedSemaphore(CALLS_AT_ONCE_MAX)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be one of the few who may call: a provider that answers slowly takes no more threads than that."""
        if not self._places.acquire(blocking=False):
            raise _unavailable()
        try:
            yield
        finally:
            self._places.release()

    def object_at(self, url: str, headers: Mapping[str, str] = _JSON) -> dict[str, Any]:
        """The JSON object at that address."""
        found = self.json_at(url, headers)
        if not isinstance(found, dict):
            raise _unavailable()
        return found

    def json_at(self, url: str, headers: Mapping[str, str]) -> Any:
        """The JSON at that address."""
        with self.place():
            answer = self._call("GET", url, None, headers)
        try:
            return answer.json()
        except ValueError:
            raise _unavailable() from None

    def post(self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: Any) -> "_Answer":
        """As `requests.Session.post`."""
        url, sent, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        return self._call("POST", url, body.encode(), sent)

    def _call(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> "_Answer":
        try:
            answer = self._outbound.call(method, url, body, headers)
        except CallFailed:
            raise _unavailable() from None
        if not answer.is_success and method == "GET":
            raise _unavailable()
        return _Answer(answer)


class _Kept:
    """An object of a provider's that is fetched when there is none, or when it has grown old."""

    def __init__(self, calls: _Calls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._lock = threading.Lock()
        self._found: tuple[float, dict[str, Any]] | None = None

    def at(self, url: str) -> dict[str, Any]:
        now = self._clock.monotonic()
        with self._lock:
            if self._found is not None and now - self._found[0] <= METADATA_KEPT_SECONDS:
                return self._found[1]
        fetched = self._calls.object_at(url)
        with self._lock:
            self._found = now, fetched
        return fetched

    def is_renewed(self, least_age_seconds: float) -> bool:
        """Whether it will be fetched again, since it is as old as that."""
        with self._lock:
            is_old = self._found is not None and (
                self._clock.monotonic() - self._found[0] >= least_age_seconds
            )
            if is_old:
                self._found = None
            return is_old


class _Answer:
    """What Authlib takes for a response of `requests`."""

    def __init__(self, answer: Answer) -> None:
        self.status_code = answer.status
        self._body = answer.body

    def json(self) -> Any:
        try:
            return msgspec.json.decode(self._body)
        except msgspec.DecodeError:
            raise ValueError("no JSON") from None

    def raise_for_status(self) -> None:
        if not 200 <= self.status_code < 300:
            raise _unavailable()


def _key_set(told: dict[str, Any]) -> Any:
    from joserfc.jwk import KeySet  # noqa: PLC0415 - slow to load, and seldom needed

    return KeySet.import_key_set(told)  # type: ignore[arg-type]  # it refuses what is none


def _primary_address(told: object) -> str:
    for each in told if isinstance(told, list) else []:
        if isinstance(each, dict) and each.get("primary") is True and each.get("verified") is True:
            return _address(each.get("email"))
    return ""


def _address(told: object) -> str:
    try:
        return normalised_email(told) if isinstance(told, str) else ""
    except ValueError:
        return ""


def _text(told: object) -> str:
    return told if isinstance(told, str) else ""


def _no_proof() -> Refused:
    return Refused(403, "sign_in_refused", "the sign-in could not be proven; begin again")


def _unavailable() -> Refused:
    return Refused(
        503,
        "provider_unavailable",
        "who was to say who you are gave no usable answer; try again in a moment",
        retry_after_seconds=RETRY_SECONDS,
    )
