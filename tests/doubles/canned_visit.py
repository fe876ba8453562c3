"""A visit to a deployment that is not there: answers lie ready, and no time passes but what is told."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from modeltrack_cli.calls import Answer, NoAnswer
from modeltrack_cli.doctor.visit import Asked, Deployment, Keys, Options, Place, Visit
from tests.doubles.clock import ManualClock

HOSTED = Deployment(api_url="https://api.example.com", proxy_url="https://proxy.example.com", is_hosted=True)


def answer(
    content: object = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    cookies: tuple[str, ...] = (),
) -> Answer:
    """An answer with that JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Answer(status, CaseInsensitiveDict(headers or {}), cookies, body)


class CannedVisit(Visit):
    """`answers` by place, method and path, one for good or several in turn; what is not there is silent."""

    def __init__(
        self,
        answers: Mapping[str, Answer | list[Answer]] | None = None,
        *,
        deployment: Deployment = HOSTED,
        keys: Keys | None = None,
        options: Options | None = None,
    ) -> None:
        self.moving = ManualClock()
        super().__init__(deployment, keys or Keys("mt_given", "sk-given"), options or Options(), self.moving)
        self.answers = dict(answers or {})
        self.asked: list[str] = []
        self.whenever: Callable[[], None] = lambda: None

    def ask(self, place: Place, method: str, path: str, auth: AuthBase | None = None, **sent: Any) -> Asked:
        name = f"{place} {method} {path}"
        self.asked.append(name)
        sent_at = self.clock.now()
        self.moving.advance(0.01)
        self.whenever()
        found = self.answers.get(name)
        if found is None:
            raise NoAnswer(place, "ConnectionError", "it cannot be reached, or hung up")
        told = found if isinstance(found, Answer) else found.pop(0) if len(found) > 1 else found[0]
        return Asked(told, sent_at, sent_at + timedelta(milliseconds=10), 0.01)

    def wait(self, seconds: float) -> None:
        self.moving.advance(seconds)
