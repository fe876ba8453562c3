"""What the jobs are told by their environment, read once at start (docs/settings.md)."""

import os
import re
from typing import Annotated, ClassVar, Final

from api_service.settings import SendingSettings

OPENING_TARGETS: Final = frozenset({"deliver"})  # of channels, which are sealed under the secret

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

    They hash nothing, so a function's process is not given the deployment's secret. `function_target` is the
    one job of a function's process; empty where all jobs run in the API's.
    """

    hashes_keys: ClassVar[bool] = False

    function_target: str = ""  # set by functions-framework
    journal_subscription: Annotated[str, _subscription] = ""
    journal_aside_topic: Annotated[str, _topic] = ""
    pubsub_emulator_host: str = ""

    def complaints(self) -> list[str]:
        """What does not fit together, one line each."""
        found = super().complaints()
        if bool(self.journal_subscription) != bool(self.journal_aside_topic):
            found.append("JOURNAL_SUBSCRIPTION, JOURNAL_ASIDE_TOPIC: give both or none")
        if self.is_hosted and self.pubsub_emulator_host:
            found.append("PUBSUB_EMULATOR_HOST: hosted, an emulator keeps no journal; leave it out")
        if (
            self.is_hosted
            and self.function_target in OPENING_TARGETS
            and not self.modeltrack_secret.get_secret_value()
        ):
            found.append(
                f"MODELTRACK_SECRET: the function {self.function_target} needs it, to open what channels have"
                " sealed"
            )
        return found


def is_served() -> bool:
    """Whether functions-framework serves a function in this process."""
    return bool(os.environ.get("FUNCTION_TARGET"))
