"""What bounds a model's calls whatever they ask for: its context window and its longest answer, in tokens.

`model_limits.toml` is kept by hand, each fact with its source and the day it was read. A figure may be too
large, never too small. Models are named as in the price list; Bedrock's region, vendor and version are taken
off first, so that a model has the same limits wherever it is served.
"""

import re
import tomllib
from datetime import date
from pathlib import Path

import msgspec

LIMITS_FILE = Path(__file__).with_name("model_limits.toml")

_BEDROCK_ID = re.compile(
    r"(?:[a-z]+(?:-[a-z]+)*\.)?(?:anthropic|openai)\.(?P<name>.+?)(?:-20\d{6})?(?:-v\d+)?(?::\d+)?"
)


class ModelLimits(msgspec.Struct, frozen=True):
    """Of one model: `context_tokens` holds prompt and answer together."""

    context_tokens: int
    output_tokens: int


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the file."""

    models: tuple[str, ...]
    context_tokens: int
    output_tokens: int
    source: str
    read_on: date


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limits: tuple[Limits, ...]


class ModelLimitsTable:
    """The limits by model."""

    def __init__(self, entries: tuple[Limits, ...]) -> None:
        self._by_model = {
            model: ModelLimits(entry.context_tokens, entry.output_tokens)
            for entry in entries
            for model in entry.models
        }

    def find(self, listed_name: str) -> ModelLimits | None:
        """The limits of a model as the price list names it; None where they are not known."""
        return self._by_model.get(vendors_name(listed_name))


def load_model_limits(path: Path = LIMITS_FILE) -> ModelLimitsTable:
    """The limits that ship with this release. Raises: msgspec.ValidationError where the file is damaged."""
    return ModelLimitsTable(limits_entries(path))


def limits_entries(path: Path = LIMITS_FILE) -> tuple[Limits, ...]:
    """The file's entries, sources and days included."""
    return msgspec.convert(tomllib.loads(path.read_text()), _File).limits


def vendors_name(model: str) -> str:
    """The name that the model's own vendor gives it: `us.anthropic.claude-x-20260101-v1:0` is `claude-x`."""
    found = _BEDROCK_ID.fullmatch(model.lower())
    return found["name"] if found else model.lower()
