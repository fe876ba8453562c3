"""One visit to a deployment: where it is, how it is asked, and what is known of it so far."""

import re
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from requests.auth import AuthBase
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from metering.clock import Clock
from modeltrack_cli.calls import Answer, Credential, Nobody, ask, is_this_machine

Place = Literal["api", "proxy"]
Provider = Literal["anthropic", "openai"]

NAMES: Final[Mapping[Place, str]] = {"api": "the API", "proxy": "the proxy"}
ADDRESS_SETTINGS: Final[Mapping[Place, str]] = {"api": "MODELTRACK_URL", "proxy": "MODELTRACK_PROXY_URL"}


REQUEST_ID: Final = re.compile(r"req_[0-9a-f]{32}")


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What is visited. `is_hosted`: strangers reach it, so that it has to be shut to them.

    `emulator`, where given, is asked for the rules instead of Google. `version` is the one that is wanted;
    empty: any.
    """

    api_url: str
    proxy_url: str
    is_hosted: bool
    http_port: int = 80
    project: str = ""
    database: str = "(default)"
    emulator: str = ""
    version: str = ""

    def url(self, place: Place) -> str:
        """Where that is."""
        return (self.api_url if place == "api" else self.proxy_url).rstrip("/")

    def is_https(self, place: Place) -> bool:
        """Whether it is spoken to by https."""
        return urlsplit(self.url(place)).scheme == "https"

    def is_local(self, place: Place) -> bool:
        """Whether it is this machine's own and nobody shall come from elsewhere."""
        return not self.is_hosted and is_this_machine(self.url(place))


class Keys(msgspec.Struct, frozen=True):
    """What opens things; empty: not given. Never printed, and sent to their own place alone."""

    modeltrack: str = ""
    provider: str = ""

    def __repr__(self) -> str:
        """That there are some, without them."""
        return "Keys(…)"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How it is gone about. `tries_revocation`: make a key, revoke it, and see how long it works on."""

    provider: Provider = "anthropic"
    model: str = ""
    question_seconds: float = 10.0
    arrival_seconds: float = 30.0
    tries_revocation: bool = False
    ca_file: Path | None = None


class Reading(msgspec.Struct, frozen=True):
    """By how much a clock is ahead of this machine's: at least `low` seconds and at most `high`."""

    place: Place
    low: float
    high: float

    @property
    def ahead_seconds(self) -> float:
        """The least that it can be off, negative behind."""
        return self.low if self.low > 0 else min(self.high, 0.0)


class Asked(msgspec.Struct, frozen=True):
    """An answer, and between which moments it was had."""

    answer: Answer
    sent_at: datetime
    received_at: datetime
    seconds: float


class Canary(msgspec.Struct):
    """The call through the proxy, and its event as soon as that was seen."""

    asked: Asked
    has_provider_key: bool
    event: Mapping[str, Any] | None = None

    @property
    def request_id(self) -> str:
        """Its id, as the proxy gave it; empty: it gave none."""
        return self.asked.answer.headers.get("X-ModelTrack-Request-ID", "")


class Visit:
    """Asks, and keeps what later looks need of earlier ones."""

    def __init__(self, deployment: Deployment, keys: Keys, options: Options, clock: Clock) -> None:
        self.deployment = deployment
        self.options = options
        self.clock = clock
        self.readings: list[Reading] = []
        self.versions: dict[Place, str] = {}
        self.unvouched: set[Place] = set()
        self.canary: Canary | None = None
        self.canary_trouble = ""
        self.status: Mapping[str, Any] | None = None
        self.budgets: list[Mapping[str, Any]] = []
        self._keys = keys

    @property
    def called(self) -> Canary:
        """The call, once there is one: whoever asks rests on the check that makes it."""
        if self.canary is None:
            raise LookupError("no call was made")
        return self.canary

    @property
    def has_key(self) -> bool:
        """Whether a key of ModelTrack's was given."""
        return bool(self._keys.modeltrack)

    @property
    def has_provider_key(self) -> bool:
        """Whether a key of the provider's was given."""
        return bool(self._keys.provider)

    @property
    def provider_key(self) -> str:
        """What is shown to the provider. Without a key given: something that only a demo provider takes."""
        return self._keys.provider or "sk-modeltrack-doctor-without-a-key"

    def key_for_api(self) -> Credential:
        """What opens the API."""
        return Credential("Authorization", f"Bearer {self._keys.modeltrack}")

    def key_for_proxy(self, also: Mapping[str, str]) -> Credential:
        """What opens the proxy, and the provider behind it."""
        return Credential("X-ModelTrack-Key", self._keys.modeltrack, also)

    def ask(self, place: Place, method: str, path: str, auth: AuthBase | None = None, **sent: Any) -> Asked:
        """What is answered to that. Raises: NoAnswer; CommandFailed, where no key may go there."""
        url = self.deployment.url(place)
        sent_at, began = self.clock.now(), self.clock.monotonic()
        answer = ask(
            NAMES[place],
            method,
            url + path,
            auth or Nobody(),
            seconds=self.options.question_seconds,
            is_verified=place not in self.unvouched,
            **sent,
        )
        return Asked(answer, sent_at, self.clock.now(), self.clock.monotonic() - began)

    def trust(self) -> ssl.SSLContext:
        """What certificates are held against: the same authorities as for every question."""
        given = self.options.ca_file or Path(DEFAULT_CA_BUNDLE_PATH)
        if given.is_dir():
            return ssl.create_default_context(capath=str(given))
        return ssl.create_default_context(cafile=str(given))

    def read_date(self, place: Place, asked: Asked) -> None:
        """Keep what the answer's `Date` says of the clock there; it tells whole seconds."""
        try:
            told = parsedate_to_datetime(asked.answer.headers.get("Date", ""))
        except ValueError:
            return
        if told.tzinfo is not None:
            self.read_moment(place, told.astimezone(UTC), asked, resolution_seconds=1.0)

    def read_moment(
        self, place: Place, told: datetime, asked: Asked, *, resolution_seconds: float = 0.0
    ) -> None:
        """Keep what a moment says of the clock there that was taken between question and answer."""
        low = (told - asked.received_at).total_seconds()
        high = (told - asked.sent_at).total_seconds() + resolution_seconds
        self.readings.append(Reading(place, low, high))

    def wait(self, seconds: float) -> None:
        """Let so much time pass."""
        time.sleep(seconds)
