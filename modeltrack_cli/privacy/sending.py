"""How anything goes to the deployment: bounded, to the address that was meant, and what came back.

Keys go by https or to this machine, and no redirect is followed (`modeltrack_cli.calls`).
"""

import socket
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
import requests
from requests.auth import AuthBase
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from modeltrack_cli.calls import (
    ANSWER_BYTES_MAX,
    Answer,
    Credential,
    NoAnswer,
    Nobody,
    ask,
    carries_keys,
    ended_within,
)
from modeltrack_cli.errors import CommandFailed

To = Literal["api", "proxy"]
Opens = Literal["nobody", "key", "session"]

NAMES: Final[Mapping[To, str]] = {"api": "the API", "proxy": "the proxy"}
TRIES_MAX: Final = 4
PAUSE_SECONDS_MAX: Final = 60.0
PAUSED_SECONDS_MAX: Final = 900.0  # in all; a plan of few requests a minute needs some of it
UNANSWERED_MAX: Final = 20  # requests: whoever hangs or is gone is not waited for any longer
RAW_ANSWER_BYTES_MAX: Final = 64 * 1024


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `promised`: so many bytes of body are announced; `is_cut`: one hangs up before."""

    to: To
    route: str
    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    opens: Opens = "nobody"
    promised: int = 0
    is_cut: bool = False


class Doors(msgspec.Struct):
    """What opens the deployment; None: nothing was given, or it does not open."""

    key: str = ""
    session: Credential | None = None

    def __repr__(self) -> str:
        """That there are some, without them."""
        return "Doors(…)"


class Post:
    """Sends letters, and keeps what was answered to how many."""

    def __init__(self, urls: Mapping[To, str], *, seconds: float, ca_file: Path | None = None) -> None:
        self.doors = Doors()
        self.unanswered: Counter[To] = Counter()
        self.answered: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._silent: Counter[To] = Counter()  # questions in a row
        self._urls = urls
        self._seconds = seconds
        self._ca_file = ca_file
        self._paused_seconds = 0.0
        self._connections = requests.Session()
        self._connections.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def send(self, letter: Letter) -> Answer | None:
        """What was answered, if anything was; both are counted by the letter's route."""
        if self.unanswered[letter.to] >= UNANSWERED_MAX:
            return None
        try:
            answer = self._cut(letter) if letter.promised or letter.is_cut else self._whole(letter)
        except NoAnswer:
            answer = None
            self.unanswered[letter.to] += not letter.is_cut
        told = f"{answer.status}" if answer else "cut" if letter.is_cut else "none"
        self.answered[letter.route][told] += 1
        return answer

    def read(
        self,
        to: To,
        path: str,
        opens: Opens,
        into: Callable[[bytes], None] | None = None,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> Answer:
        """What stands there. Raises: NoAnswer; CommandFailed, where it is too long or no key may go there."""
        if self._silent[to] >= UNANSWERED_MAX:
            raise NoAnswer(NAMES[to], "Silent", "it was silent too often")
        try:
            answer = self._patiently(
                lambda: ask(
                    NAMES[to],
                    "GET",
                    self._urls[to] + path,
                    self._opening(to, opens),
                    seconds=self._seconds,
                    session=self._connections,
                    into=into,
                    bytes_max=bytes_max,
                )
            )
        except NoAnswer:
            self._silent[to] += 1
            raise
        self._silent[to] = 0
        return answer

    def read_elsewhere(self, url: str) -> Answer:
        """What stands at an address that whoever runs this named. Raises: NoAnswer, CommandFailed."""
        return ask("the figures", "GET", url, Nobody(), seconds=self._seconds)

    def write(self, path: str, body: object, auth: AuthBase, headers: Mapping[str, str]) -> Answer:
        """What the API answers to that, once. Raises: NoAnswer, CommandFailed."""
        url = self._urls["api"] + path
        return ask(NAMES["api"], "POST", url, auth, seconds=self._seconds, json=body, headers=headers)

    def _opening(self, to: To, opens: Opens) -> AuthBase:
        if opens == "session" and self.doors.session is not None:
            return self.doors.session
        if opens == "nobody" or not self.doors.key:
            return Nobody()
        if to == "api":
            return Credential("Authorization", f"Bearer {self.doors.key}")
        return Credential("X-ModelTrack-Key", self.doors.key)

    def _whole(self, letter: Letter) -> Answer:
        return self._patiently(
            lambda: ask(
                NAMES[letter.to],
                letter.method,
                self._urls[letter.to] + letter.path,
                self._opening(letter.to, letter.opens),
                seconds=self._seconds,
                session=self._connections,
                headers=letter.headers,
                data=letter.body,
            )
        )

    def _patiently(self, send: Callable[[], Answer]) -> Answer:
        """The answer, after as long a wait as a limit asks for."""
        for _ in range(TRIES_MAX - 1):
            answer = send()
            if answer.status != 429 or "X-RateLimit-Limit" not in answer.headers:  # of the API itself
                return answer
            after = answer.headers.get("Retry-After", "1")
            seconds = min(float(after) if after.isdecimal() else 1.0, PAUSE_SECONDS_MAX)
            self._paused_seconds += seconds
            if self._paused_seconds > PAUSED_SECONDS_MAX:
                return answer
            _wait(seconds)
        return send()

    def _cut(self, letter: Letter) -> Answer:
        """Send less than was announced; the answer, unless one hangs up before. Raises: NoAnswer."""
        parts = urlsplit(self._urls[letter.to])
        is_https = parts.scheme == "https"
        address = parts.hostname or "", parts.port or (443 if is_https else 80)
        url, auth = self._urls[letter.to] + letter.path, self._opening(letter.to, letter.opens)
        if not isinstance(auth, Nobody) and not carries_keys(url):
            raise CommandFailed(f"{NAMES[letter.to]}: a key is sent by https only, but to this machine")
        prepared = requests.Request(letter.method, url, headers=dict(letter.headers), auth=auth).prepare()
        lines = [f"{letter.method} {prepared.path_url} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in prepared.headers.items() if name != "Content-Length"]
        lines += [f"Content-Length: {letter.promised}", "", ""]
        sent = "\r\n".join(lines).encode() + (letter.body or b"")

        def exchange() -> bytes:
            with closing(socket.create_connection(address, timeout=self._seconds)) as plain:
                wrapped = self._trust().wrap_socket(plain, server_hostname=address[0]) if is_https else plain
                with closing(wrapped) as connection:
                    with suppress(OSError):  # a refusal may come, and the end with it, before all is sent
                        connection.sendall(sent)
                    return b"" if letter.is_cut else _taken(connection)

        try:
            answered = ended_within(3 * self._seconds, exchange)
        except (OSError, TimeoutError) as error:
            raise NoAnswer(NAMES[letter.to], type(error).__name__, "it hung up, or was silent") from None
        status, headers, content = _read_answer(answered)
        if not status:
            raise NoAnswer(NAMES[letter.to], "Cut", "it hung up, or was silent")
        return Answer(status, headers, (), content)

    def _trust(self) -> ssl.SSLContext:
        given = self._ca_file or Path(DEFAULT_CA_BUNDLE_PATH)
        if given.is_dir():
            return ssl.create_default_context(capath=str(given))
        return ssl.create_default_context(cafile=str(given))


def _wait(seconds: float) -> None:
    time.sleep(seconds)


def _taken(connection: socket.socket) -> bytes:
    """What comes until the end, silence, or more than anybody needs."""
    taken = bytearray()
    with suppress(OSError):
        while len(taken) < RAW_ANSWER_BYTES_MAX and (piece := connection.recv(RAW_ANSWER_BYTES_MAX)):
            taken += piece
            if b"\r\n\r\n" in taken and not taken.endswith(b"\r\n\r\n"):
                break  # head and some of a short refusal: it need not end the connection
    return bytes(taken)


def _read_answer(answered: bytes) -> tuple[int, Mapping[str, str], bytes]:
    head, _, content = answered.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        return 0, {}, b""
    headers = requests.structures.CaseInsensitiveDict[str]()
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip()
    return int(words[1]), headers, content


def reason_of(failed: CommandFailed) -> str:
    """What went wrong, in words for whoever runs this."""
    return failed.reason if isinstance(failed, NoAnswer) else str(failed)
