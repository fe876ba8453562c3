"""Child processes of `make run`: started with a name, their output marked with it, never left behind."""

import ctypes
import http.client
import json
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

STOP_SECONDS = 12.0  # the services drain within 10
_LAST_LINES = 20
_ROUTINE_LEVELS = frozenset({"debug", "info", "warn"})  # what a service says while it works
_PR_SET_PDEATHSIG = 1


class ChildDied(Exception):
    """A child ended by itself: which, how, and what it complained of last."""

    def __init__(self, child: "Child") -> None:
        how = f"exit status {child.status}" if (child.status or 0) >= 0 else f"signal {-(child.status or 0)}"
        said = "".join(f"\n  {line}" for line in child.last_words())
        super().__init__(f"{child.name} stopped by itself ({how}){said and ', having said:'}{said}")


class Child:
    """One started process. Its lines are printed behind its name, its complaints kept for its obituary."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        on_end: Callable[[], None],
    ) -> None:
        self.name = name
        self._complaints: deque[str] = deque(maxlen=_LAST_LINES)
        self._on_end = on_end
        # A session of its own: Ctrl-C reaches us alone, and we end the children in order.
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one call, no locks
        )
        self._readers = [
            threading.Thread(target=read, name=f"{name} output", daemon=True)
            for read in (self._read_output, self._read_errors)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def _read_output(self) -> None:
        for line in self._process.stdout or ():
            self._show(line)

    def _read_errors(self) -> None:
        for line in self._process.stderr or ():
            if not is_routine(line):
                self._complaints.append(line.rstrip())
            self._show(line)
        self._process.wait()
        self._on_end()

    def _show(self, line: str) -> None:
        print(f"{self.name:>8} | {line.rstrip()}", flush=True)

    def last_words(self) -> list[str]:
        """What it complained of last, of a child that has ended."""
        self._join_readers()
        return list(self._complaints)

    def _join_readers(self) -> None:
        for reader in self._readers:
            reader.join(1)

    def ask_to_stop(self) -> None:
        """Tell it to end, if it has not."""
        if self.status is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        if self.status is None:
            self._process.kill()

    def wait_for_end(self, timeout_seconds: float) -> None:
        """Return when it has ended; what has not within that time is killed."""
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._join_readers()


def _end_with_parent() -> None:
    """In the new process: get SIGTERM should the parent be killed without a chance to tell."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def is_routine(line: str) -> bool:
    """Whether a line on standard error is of a service's log and tells of no error."""
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("level") in _ROUTINE_LEVELS


def answers(port: int, path: str) -> bool:
    """Whether a GET there gives 200 now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
