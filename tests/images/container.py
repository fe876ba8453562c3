"""What stands in for a running container: an image's command, started in its cell, ended by its own pid."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import requests

from tests.images.replay import Image
from tests.system.processes import eventually, free_port

STOP_SECONDS_MAX = 10.0  # what Cloud Run gives
HEALTH_SECONDS_MAX = 60.0


class Container:
    """A started image. All that it prints goes to `log`."""

    def __init__(
        self,
        image: Image,
        log: Path,
        *command: str,
        port_name: str = "PORT",
        settings: Mapping[str, str] | None = None,
        writable: Mapping[str, Path] | None = None,
        health_path: str = "/health",
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._image = image
        self._settings = {**(settings or {}), port_name: str(self.port)}
        line = image.command(*command, settings=self._settings, writable=writable)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(
            lambda: self._answers(health_path), seconds=HEALTH_SECONDS_MAX, what=f"the start of {log.name}"
        )

    def _answers(self, path: str) -> bool:
        assert self._process.poll() is None, self.log.read_text()[-4000:]
        try:
            requests.get(self.url + path, timeout=2)
        except requests.RequestException:
            return False
        return True

    def health(self) -> int:
        """The exit status of the image's health check, as an engine would run it beside the service."""
        line = self._image.command(*self._image.health_check, settings=self._settings)
        return subprocess.run(line, capture_output=True, timeout=HEALTH_SECONDS_MAX, check=False).returncode

    def stop(self) -> int:
        """Ask it to end as an engine does; its exit status. One that does not end in time is killed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait(STOP_SECONDS_MAX)
