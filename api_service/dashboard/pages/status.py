"""Status, for anybody: what was measured, and gaps as gaps."""

from typing import Any, Final, Literal, NamedTuple

from flask import Response

from api_service.dashboard.formats import milliseconds, moment_of
from api_service.dashboard.reading import section_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.status import show_status

Mark = Literal["up", "part", "down", "gap"]

_SAID: Final[dict[Mark, str]] = {
    "up": "answered",
    "part": "answered at times",
    "down": "did not answer",
    "gap": "not measured",
}


class Bar(NamedTuple):
    """A quarter hour of a strip: what it was like, and what that says in words."""

    mark: Mark
    says: str


class Strip(NamedTuple):
    """The last 24 hours of one part."""

    name: str
    bars: list[Bar]

    @property
    def says(self) -> str:
        """The strip in a sentence."""
        found = [f"{sum(bar.mark == mark for bar in self.bars)} {said}" for mark, said in _SAID.items()]
        return f"{self.name}, {len(self.bars)} quarter hours: {', '.join(found)}"


@page("status")
def show_status_page(state: ViewState) -> Response:
    """Show how the service stands."""
    found = section_of(show_status)
    slots = found["history"]["data"] if found.is_answered else []
    return render(
        "status.html",
        standing=found,
        store=Strip("Store", [_bar(state, each, _store_mark(each), each["store_ms"]) for each in slots]),
        proxy=Strip("Proxy", [_bar(state, each, _proxy_mark(each), each["proxy_ms"]) for each in slots]),
        measured=sum(bool(each["samples"]) for each in slots),
    )


def _store_mark(slot: dict[str, Any]) -> Mark:
    """A measurement is only kept where the store took it."""
    return "up" if slot["samples"] else "gap"


def _proxy_mark(slot: dict[str, Any]) -> Mark:
    if slot["proxy_down"]:
        return "part" if slot["proxy_up"] else "down"
    return "up" if slot["proxy_up"] else "gap"


def _bar(state: ViewState, slot: dict[str, Any], mark: Mark, slowest_ms: int | None) -> Bar:
    start = moment_of(slot["start_time"])
    at = "" if start is None else f"{start.astimezone(state.tzinfo):%H:%M}"
    slowest = "" if slowest_ms is None else f", slowest {milliseconds(slowest_ms)}"
    return Bar(mark, f"{at}: {_SAID[mark]}{slowest}")
