"""Where the API's log lines go in tests."""

import io
import json
from typing import Any


class Logbook(io.StringIO):
    """Keeps what was written."""

    def lines(self) -> list[dict[str, Any]]:
        """The lines so far, read."""
        return [json.loads(line) for line in self.getvalue().splitlines()]
