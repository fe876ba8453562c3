"""Places in which a service runs, one process after another, on the same port and the same folder."""

import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.machine import resident_megabytes
from tests.system.processes import Process
from tests.system.soak.memory import Life, Sample

START_TRIES = 3
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass
class Seat:
    """One place. `start` starts the service there; `lives` are its processes so far."""

    name: str
    start: Callable[[int], Process]
    process: Process = field(init=False)
    lives: list[Life] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    is_expected: bool = False

    def begin(self) -> None:
        """Start the first."""
        self._take(self.start(0))

    @property
    def url(self) -> str:
        """Where it is called, whoever sits there."""
        return self.process.url

    def kill(self) -> None:
        """End the process at once, without a word."""
        self._look()
        self.is_expected = False
        if self.process.status is None:
            self.process.kill()

    def tell_to_stop(self) -> None:
        """End the process in an orderly way, which it must do with 0 and in time."""
        self._look()
        self.is_expected = False
        if self.process.status is not None:
            return
        self.process.send(signal.SIGTERM)
        self.process.see_off()
        if self.process.status != 0:
            self.faults.append(f"{self.name}: told to stop, it ended with {self.process.status}")

    def replace(self) -> None:
        """Start the next. What cannot start while its store is away is started again, as platforms do."""
        for left in reversed(range(START_TRIES)):
            try:
                self._take(self.start(self.process.port))
            except AssertionError:
                if not left:
                    raise
            else:
                return

    def _take(self, process: Process) -> None:
        self.process = process
        self.lives.append(Life(self.name, len(self.lives) + 1))
        self.is_expected = True

    def _look(self) -> None:
        if self.is_expected and self.process.status is not None:
            self.faults.append(f"{self.name}: it ended by itself, with {self.process.status}")

    def sample(self, at_seconds: float) -> None:
        """Note what the process holds now."""
        life, is_there = self.lives[-1], self.is_expected
        megabytes = resident_megabytes(self.process.pid)
        if is_there and self.is_expected and megabytes:  # else it ended meanwhile
            life.samples.append(Sample(at_seconds, megabytes))

    def errors(self) -> list[str]:
        """What its log says of failures that nothing explains."""
        return [f"{self.name}: {line}" for line in unexplained(self.process.log.read_text(errors="replace"))]


def unexplained(log: str) -> list[str]:
    """What a log says of exceptions that nobody expected, each kind once, with how often it came."""
    kinds: Counter[str] = Counter()
    for line in log.splitlines():
        if line.startswith("Traceback"):
            kinds["a traceback"] += 1
        elif '"event":"loop"' in line or '"event":"fault"' in line:
            said = json.loads(line)
            kinds[f"{said.get('kind', '')} in the loop: {_ADDRESS.sub('', str(said.get('what', '')))}"] += 1
    return [f"{count} times {kind}" for kind, count in kinds.items()]
