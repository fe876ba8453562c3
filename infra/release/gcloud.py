"""The one way in which a release asks Google Cloud: gcloud, one command at a time, each with a time limit."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any, Final

COMMAND_SECONDS_MAX: Final = 600
_SAID_CHARACTERS_MAX: Final = 800


class GcloudFailed(Exception):
    """A command ended badly, or not in time. What it did is not known then."""


@dataclass(frozen=True)
class Gcloud:
    """gcloud for one project and region."""

    project: str
    region: str

    def run(self, *words: str, seconds: float = COMMAND_SECONDS_MAX) -> str:
        """What the command printed. Raises: GcloudFailed."""
        told = ["gcloud", f"--project={self.project}", "--quiet", *words]
        command = " ".join(words)
        try:
            done = subprocess.run(  # nosec B603 # noqa: S603 - the words are ours, and no shell reads them
                told, capture_output=True, encoding="utf-8", errors="replace", timeout=seconds, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise GcloudFailed(f"gcloud {command}: no end within {seconds:g} s") from None
        except OSError as error:
            raise GcloudFailed(f"gcloud {command}: it cannot be run: {error.strerror}") from None
        if done.returncode != 0:
            said = done.stderr.strip()[-_SAID_CHARACTERS_MAX:]
            raise GcloudFailed(f"gcloud {command}: ended with {done.returncode}: {said}")
        return done.stdout

    def ask(self, *words: str, seconds: float = COMMAND_SECONDS_MAX) -> Any:
        """What the command answered, as JSON. Raises: GcloudFailed."""
        printed = self.run(*words, "--format=json", seconds=seconds)
        try:
            return json.loads(printed)
        except (ValueError, RecursionError):
            raise GcloudFailed(f"gcloud {' '.join(words)}: the answer is no JSON") from None
