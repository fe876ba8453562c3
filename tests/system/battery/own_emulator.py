"""A Firestore emulator of a test's own, to be stopped, killed, and started again with what it held."""

import signal
import subprocess
from pathlib import Path

import requests

from demo.emulator import command, is_ready
from tests.system.processes import eventually, free_port

START_SECONDS_MAX = 60.0
_NAME = "export"


class OwnEmulator:
    """Use as a context. It keeps nothing: what is to be there again is exported first, and imported."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        """Where it listens, however often it is started."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> "OwnEmulator":
        self._folder.mkdir(parents=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, exported: Path | None = None) -> None:
        """Start it, with what was exported there."""
        more = [] if exported is None else [f"--import-data={exported}"]
        with (self._folder / "emulator.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*command(self._port, None, self._folder), *more],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for whoever uses it
            )
        eventually(lambda: is_ready(self.address), seconds=START_SECONDS_MAX, what="the emulator's start")

    def exported(self, project: str) -> Path:
        """What `start` takes to have everything of the project again."""
        folder = self._folder / _NAME
        folder.mkdir(exist_ok=True)
        answer = requests.post(
            f"http://{self.address}/emulator/v1/projects/{project}:export",
            json={
                "database": f"projects/{project}/databases/(default)",
                "export_directory": str(folder),
                "export_name": _NAME,
            },
            timeout=60,
        )
        assert answer.ok, answer.text
        return folder / _NAME / f"{_NAME}.overall_export_metadata"

    def stop(self) -> None:
        """Have it answer nobody; connections stay."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it was."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; all that it held is gone."""
        self._process.kill()
        self._process.wait()
