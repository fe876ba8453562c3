"""Real processes for the system tests: started on free ports, waited for, and ended by their own pid."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import requests

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.02
# By which what acts within a second may be late beside a whole suite; `make proof` has the machine to itself.
LATE_SECONDS = 0.0 if os.environ.get("PROOF") == "full" else 5.0

T = TypeVar("T")

# What a process needs of ours; nothing else of the tester's environment reaches it.
_INHERITED = ("PATH", "HOME", "LANG", "FIRESTORE_EMULATOR_HOST", "JAVA_HOME", "TMPDIR")


def eventually(look: Callable[[], T | None], *, seconds: float = 15.0, what: str = "it") -> T:
    """The first result that is neither None nor false. Fails the test when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} seconds"
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Process:
    """A program of ours, or another, on a port of its own. Everything it prints goes to `log`."""

    def __init__(
        self,
        module: str,
        *options: str,
        port: int,
        log: Path,
        settings: Mapping[str, str],
        ready: str = "/healthz",
        program: Sequence[str] = (sys.executable, "-m"),
        url: str = "",
        ca_file: str = "",
    ) -> None:
        self.port = port
        self.log = log
        self.url = url or f"http://127.0.0.1:{port}"
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*program, module, *options],
                cwd=ROOT,
                env={**inherited, "PYTHONUNBUFFERED": "1", **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._verify: bool | str = ca_file or True
        try:
            eventually(lambda: self._is_ready(ready), seconds=READY_SECONDS, what=f"the start of {module}")
        except BaseException:
            if self.status is None:  # nobody else would end it
                self.kill()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.poll()

    def _is_ready(self, path: str) -> bool:
        assert self.status is None, f"it exited with {self.status}:\n{self.log.read_text()[-4000:]}"
        try:
            return requests.get(self.url + path, timeout=2, verify=self._verify).ok
        except requests.RequestException:
            return False

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End it and all it started at once, without a word to it."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End it in an orderly way; what does not end is killed with all it started."""
        if self.status is None:
            self.send(signal.SIGTERM)
        self.see_off()

    def see_off(self) -> None:
        """Wait for the end that it was told of; what does not end is killed with all it started."""
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()


def stop_all(processes: Sequence[Process]) -> None:
    """End these processes, all at the same time."""
    for process in reversed(processes):
        if process.status is None:
            process.send(signal.SIGTERM)
    for process in reversed(processes):
        process.see_off()
