"""Who calls while it lasts: accounts with calls of their own kinds, a stranger, a reader of the API."""

import http.client
import random
import socket
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests

from tests.system.calls import MESSAGES, message
from tests.system.deployment import Tenant
from tests.system.traffic import Planned, planned_call

SAME_CALLS = 5
TEAMS = ("search", "billing", "support", "")
OUTPUT_TOKENS = (20, 180)
OUTPUT_TOKENS_MAX = 200
STRANGER_SECONDS = 20.0  # within which whoever sends nonsense is answered or cut off
READER_SECONDS = 30.0


def honest_call(number: int) -> Planned:
    """A call that uses no more than its body says: what a strict budget holds for it covers it."""
    dice = random.Random(number)  # noqa: S311 - chance, not secrecy
    options = {"output-tokens": dice.randint(*OUTPUT_TOKENS), "delay-ms": dice.randint(0, 120)}
    body = message(f"call {number}", max_tokens=OUTPUT_TOKENS_MAX, stream=dice.random() < 0.5)
    return Planned(number, MESSAGES, body, options, hangs_up=dice.random() < 0.01)


def repeated_or_large_call(number: int) -> Planned:
    """A call that others repeat, so that memory may answer; or a large answer that is taken slowly."""
    dice = random.Random(number)  # noqa: S311 - chance, not secrecy
    team = dice.choice(TEAMS)
    if dice.random() < 0.15:
        body = message(f"call {number}", stream=dice.random() < 0.5)
        size = dice.randint(20_000, 300_000)
        return Planned(number, MESSAGES, body, {"size": size}, reads_slowly=True, team=team)
    first = number - number % SAME_CALLS
    body = message(f"calls from {first} on, once more")
    return Planned(number, MESSAGES, body, {"delay-ms": 5}, like=first, team=TEAMS[first % len(TEAMS)])


PLANS: dict[str, Callable[[int], Planned]] = {
    "of every kind": planned_call,
    "within a strict limit": honest_call,
    "repeated and large": repeated_or_large_call,
}


@dataclass
class Unceasing(ABC):
    """Somebody who goes on until told to end.

    `said` counts what came back; `faults` are answers that nobody should get, whatever has failed.
    """

    urls: Sequence[str]
    seed: int
    pause_seconds: float
    said: Counter[str] = field(default_factory=Counter, kw_only=True)
    faults: list[str] = field(default_factory=list, kw_only=True)

    def start(self) -> None:
        """Begin."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_on, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Begin nothing more, and wait for the last answer."""
        self._over.set()
        self._thread.join()

    def _keep_on(self) -> None:
        dice = random.Random(f"{self.seed} {type(self).__name__.lower()}")  # noqa: S311 - chance, not secrecy
        while not self._over.wait(self.pause_seconds):
            self._go_once(dice)

    @abstractmethod
    def _go_once(self, dice: random.Random) -> None:
        """Do once what this one does all the time."""


@dataclass
class Stranger(Unceasing):
    """Somebody who sends what makes no sense, all the time, to any of the proxies."""

    def _go_once(self, dice: random.Random) -> None:
        sent = dice.choice(NONSENSE)
        if dice.random() < 0.5:
            sent = sent[: dice.randint(1, len(sent))]
        said = self._send(dice.choice(self.urls), sent)
        self.said[said] += 1
        # A proxy that is being stopped says 503 to whoever connects at that moment, and reads nothing.
        if said[0] not in "4n" and said != "503":
            self.faults.append(f"nonsense was answered {said}: {sent[:60]!r}")

    def _send(self, url: str, sent: bytes) -> str:
        """The status that was answered, or `nothing`."""
        address = urlsplit(url)
        try:
            with socket.create_connection((address.hostname or "", address.port), STRANGER_SECONDS) as line:
                line.sendall(sent)
                line.shutdown(socket.SHUT_WR)
                answer = line.recv(64)
        except TimeoutError:
            return "too late"
        except OSError:
            return "nothing"
        return answer.split(b" ")[1].decode("latin-1") if answer.count(b" ") > 1 else "nothing"


_NO_KEY = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nX-ModelTrack-Key: "
NONSENSE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    b"GET\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\n" + b"".join(b"a%d: b\r\n" % n for n in range(300)) + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    _NO_KEY + b"' OR 1=1--\r\nContent-Length: 2\r\n\r\n{}",
    _NO_KEY + b"mt_malformed\r\nContent-Length: 2\r\n\r\n{}",
)


@dataclass
class Reader(Unceasing):
    """Somebody who looks at an account's figures, all the time, at either API."""

    tenants: Sequence[Tenant]

    def _go_once(self, dice: random.Random) -> None:
        path, tenant = dice.choice(PAGES), dice.choice(self.tenants)
        said = self._read(dice.choice(self.urls) + path, tenant)
        self.said[said] += 1
        if said not in {"200", "503", "nobody there", "too slow"}:
            self.faults.append(f"the API answered {said} to {path}")

    def _read(self, address: str, tenant: Tenant) -> str:
        headers = {"Authorization": f"Bearer {tenant.key}"}
        try:
            return str(requests.get(address, headers=headers, timeout=READER_SECONDS).status_code)
        except requests.Timeout:
            return "too slow"
        except (requests.RequestException, http.client.HTTPException):
            return "nobody there"


PAGES = (
    "/v1/usage?bucket_width=1d",
    "/v1/usage?bucket_width=1h&group_by[]=model",
    "/v1/events?limit=50",
    "/v1/budgets",
    "/v1/conservation",
    "/v1/sessions",
    "/v1/keys",
)
