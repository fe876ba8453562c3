"""Many calls of all kinds at once, through several proxies, and what became of each as its caller saw it.

Each call has a trace id of its own, by which its event is found, and a provider key of its own, by which the
demo provider's bill names it: so every call is compared by itself, whatever was lost on its way.
"""

import hashlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import count
from typing import Literal

from tests.system.calls import CHAT, MESSAGES, Body, Reply, call, chat, message, open_call, slow_call

CALLERS = 24
MODELS = {
    MESSAGES: ("claude-sonnet-4-6", "claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-6"),
    CHAT: ("gpt-4o", "gpt-4o-mini", "gpt-4.1-mini", "gpt-5-mini"),
}
OF_THE_PROVIDER = {502, 504, 529}  # its own error, or that no answer came from it
TOO_LATE = "too_late"
# How often in a thousand calls something goes wrong at the provider or at the caller.
REFUSED_BY_PROVIDER, RESET_BY_PROVIDER, CUT_BY_PROVIDER, HUNG_UP, SLOW = 20, 10, 15, 15, 60

Outcome = Literal[
    "whole",  # the answer came, and all of it
    "provider_error",  # the provider's own error came, or that there was no answer
    "refused",  # the proxy refused the call
    "cut",  # the connection ended before the answer did
    "hung_up",  # the caller went away in the middle
    "not_taken",  # nobody listened
]


@dataclass(frozen=True)
class Planned:
    """A call to be made: what is sent, and how the demo provider is asked to answer.

    `like`: the number of the first of several that are the same in all but their number, so that an answer
    from memory serves them. `team` is said where it is given.
    """

    number: int
    path: str
    body: Body
    options: dict[str, int]
    hangs_up: bool = False
    reads_slowly: bool = False
    like: int | None = None
    team: str = ""

    @property
    def trace_id(self) -> str:
        """What finds the call's event."""
        return f"call {self.number}"

    def provider_key(self, salt: str) -> str:
        """A key that no other call uses but those that are the same."""
        return f"{salt}-{self.number}" if self.like is None else f"{salt}-like-{self.like}"

    def customer(self, salt: str) -> str:
        """The digest under which the demo provider's bill knows that key."""
        return hashlib.sha256(self.provider_key(salt).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Made:
    """What became of a call, as its caller saw it, and when that was (`time.monotonic`).

    `code` is the proxy's own word for a refusal; `TOO_LATE`, where nothing came at all.
    """

    planned: Planned
    outcome: Outcome
    status: int = 0
    code: str = ""
    over_at: float = 0.0


def planned_call(number: int) -> Planned:
    """The call of that number: always the same, and as random as a call may be."""
    dice = random.Random(number)  # noqa: S311 - chance, not secrecy
    path = dice.choice((MESSAGES, CHAT))
    model, streaming = dice.choice(MODELS[path]), dice.random() < 0.5
    options = {
        "input-tokens": dice.randint(1, 20_000),
        "output-tokens": dice.randint(1, 4_000),
        "cache-read-tokens": dice.choice((0, dice.randint(1, 50_000))),
        "delay-ms": dice.randint(0, 120),
    }
    if path == MESSAGES:
        options["cache-write-5m-tokens"] = dice.choice((0, dice.randint(1, 20_000)))
        options["cache-write-1h-tokens"] = dice.choice((0, dice.randint(1, 20_000)))
        body = message(f"call {number}", model=model, stream=streaming, max_tokens=4_000)
    else:
        body = chat(f"call {number}", model=model, stream=streaming)
        if streaming and dice.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
    return _misbehaving(dice, Planned(number, path, body, options), streaming=streaming)


def _misbehaving(dice: random.Random, planned: Planned, *, streaming: bool) -> Planned:
    """The call, or one of the few in which something goes wrong."""
    chance, options = dice.randrange(1_000), planned.options
    if (chance := chance - REFUSED_BY_PROVIDER) < 0:
        options["status"] = 529
    elif (chance := chance - RESET_BY_PROVIDER) < 0:
        options["reset"] = 1
    elif (chance := chance - CUT_BY_PROVIDER) < 0:
        options["cut-at-frame" if streaming else "cut-at-byte"] = dice.randint(1, 4)
    elif (chance := chance - HUNG_UP) < 0:
        options["pace-ms"] = 20
        return Planned(planned.number, planned.path, planned.body, options, hangs_up=True)
    elif (chance := chance - SLOW) < 0:
        options["delay-ms"] = dice.randint(300, 1_500)
    return planned


@dataclass
class Traffic:
    """Calls number `first` and on, a bounded number a second, each through the next of the proxies.

    Use as a context: its end waits for the last call. `made` are those that are over. `plan` says what the
    call of a number is.
    """

    urls: Sequence[str]
    headers: dict[str, str]
    calls: int
    calls_per_second: float
    salt: str
    first: int = 0
    plan: Callable[[int], Planned] = planned_call
    made: list[Made] = field(default_factory=list)
    _failures: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> "Traffic":
        self._numbers = count(self.first)
        self._began = time.monotonic()
        self._idle = threading.Event()
        self._callers = [threading.Thread(target=self._keep_calling, daemon=True) for _ in range(CALLERS)]
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        for caller in self._callers:
            caller.join()
        if self._failures:
            raise self._failures[0]

    def end_early(self) -> None:
        """Begin no further call."""
        self._idle.set()

    @property
    def is_under_way(self) -> bool:
        """Whether some call is still to be made or over."""
        return any(caller.is_alive() for caller in self._callers)

    @property
    def outcomes(self) -> Counter[str]:
        """How many calls ended in which way."""
        return Counter(made.outcome for made in self.made)

    def _keep_calling(self) -> None:
        try:
            while (number := next(self._numbers)) < self.first + self.calls:
                due = self._began + (number - self.first) / self.calls_per_second
                if self._idle.wait(max(0.0, due - time.monotonic())):
                    return
                planned = self.plan(number)
                made = self._call(planned, self.urls[number % len(self.urls)])
                self.made.append(replace(made, over_at=time.monotonic()))
        except BaseException as failure:  # noqa: BLE001 - handed to the test's own thread
            self._failures.append(failure)

    def _call(self, planned: Planned, url: str) -> Made:
        headers = {
            "authorization": f"Bearer {planned.provider_key(self.salt)}",
            "content-type": "application/json",
            "x-modeltrack-trace-id": planned.trace_id,
            **self.headers,
            **({"anthropic-version": "2023-06-01"} if planned.path == MESSAGES else {}),
            **({"x-modeltrack-team": planned.team} if planned.team else {}),
            **{f"x-demo-{name}": str(value) for name, value in planned.options.items()},
        }
        try:
            if planned.hangs_up:
                return _hung_up(planned, url, headers)
            make = slow_call if planned.reads_slowly else call
            reply = make(url, planned.path, planned.body, headers)
        except ConnectionRefusedError:
            return Made(planned, "not_taken")
        except TimeoutError:
            return Made(planned, "cut", code=TOO_LATE)
        except (OSError, http.client.HTTPException):
            return Made(planned, "cut")
        if reply.status == HTTPStatus.OK:
            return Made(planned, "whole", reply.status)
        outcome: Outcome = "provider_error" if reply.status in OF_THE_PROVIDER else "refused"
        return Made(planned, outcome, reply.status, _code(reply))


def _hung_up(planned: Planned, url: str, headers: dict[str, str]) -> Made:
    """Leave as soon as the answer has begun."""
    with open_call(url, planned.path, planned.body, headers) as made:
        if not made.read_some():
            return Made(planned, "cut")
        made.hang_up()
    status = int(made.read.split(b" ", 2)[1])
    if status != HTTPStatus.OK:
        return Made(planned, "provider_error" if status in OF_THE_PROVIDER else "refused", status)
    return Made(planned, "hung_up", status)


def _code(reply: Reply) -> str:
    """The proxy's own word for an error, in the place where either provider's clients look for it."""
    error = reply.json()["error"]
    return str(error.get("code") or (error.get("details") or {}).get("error_code") or "")
