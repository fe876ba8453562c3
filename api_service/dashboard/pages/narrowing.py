"""Which of an address's filters an operation takes, and which therefore play no part on its page."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from api_service.dashboard.view_state import ViewState

# By what calls are told apart together. A key or a prompt is told with provider and model only.
TAGS: Final = ("provider", "model", "team", "app", "feature", "customer_tier", "deployment")
OF_PROMPTS: Final = ("provider", "model", "prompt_template_id", "prompt_fingerprint")


@dataclass(frozen=True)
class Narrowed:
    """The filters that are passed on, and the names of those that are not."""

    filters: Mapping[str, object]
    passed_over: list[str]


def narrowed(state: ViewState, known: Collection[str]) -> Narrowed:
    """The filters of the address, where an operation takes the known ones only."""
    return Narrowed(
        {name: list(values) for name, values in state.filters.items() if name in known},
        [name.replace("_id", "").replace("_", " ") for name in state.filters if name not in known],
    )


def answer_address(path: str, query: Mapping[str, object]) -> str:
    """Where the API answers that question; what is None is left out."""
    return f"{path}?{urlencode({name: each for name, each in query.items() if each is not None}, doseq=True)}"
