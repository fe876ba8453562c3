"""What the jobs are told by their environment, read once at start (docs/settings.md)."""

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from api_service.settings import SendingSettings

_RESOURCE = re.compile(
    r"projects/[a-z][a-z0-9.:-]{4,61}/(subscriptions|topics)/[A-Za-z][A-Za-z0-9._~%+-]{2,254}"
)


def _resource(kind: str, text: str) -> str:
    found = _RESOURCE.fullmatch(text)
    if text and (found is None or found[1] != kind):
        raise ValueError(f"give projects/<project>/{kind}/<name>")
    return text


def _subscription(text: str) -> str:
    return _resource("subscriptions", text)


def _topic(text: str) -> str:
    return _resource("topics", text)


class FunctionSettings(SendingSettings):
    """What jobs need to know besides where everything is kept. Field names are environment names.

    They hash nothing, so a function's process is not given the deployment's secret.
    """

    hashes_keys: ClassVar[bool] = False

    journal_subscription: Annotated[str, AfterValidator(_subscription)] = ""
    journal_aside_topic: Annotated[str, AfterValidator(_topic)] = ""
    pubsub_emulator_host: str = ""

    def complaints(self) -> list[str]:
        """What does not fit together, one line each."""
        found = super().complaints()
        if bool(self.journal_subscription) != bool(self.journal_aside_topic):
            found.append("JOURNAL_SUBSCRIPTION, JOURNAL_ASIDE_TOPIC: give both or none")
        return found
