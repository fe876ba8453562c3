"""What goes wrong while the run lasts, and when: by chance, and with the same seed in the same order.

Faults of one lane follow one another; those of different lanes meet as they come.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

PAUSE_SPREAD = (0.4, 1.6)  # of a lane's usual pause


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong for a while. `seconds`: the least and the most it takes."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    seconds: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Happened:
    """A fault that was: from when to when, in seconds since the run began."""

    lane: str
    name: str
    began_seconds: float
    ended_seconds: float


@dataclass
class Lane:
    """Faults of one part, one after the other, until told to end; each has ended when `join` returns.

    `offered` says which faults may come now. `broken` holds what went wrong with the faults themselves.
    """

    name: str
    offered: Callable[[], Sequence[Fault]]
    pause_seconds: float
    seed: int
    began: float
    happened: list[Happened] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Begin with a pause."""
        self._dice = random.Random(f"{self.seed} {self.name}")  # noqa: S311 - chance, not secrecy
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_breaking, name=self.name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Begin no further fault, and cut short the one under way."""
        self._over.set()

    def join(self) -> None:
        """Wait until nothing is broken any more."""
        self._thread.join()

    def _keep_breaking(self) -> None:
        while not self._over.wait(self.pause_seconds * self._dice.uniform(*PAUSE_SPREAD)):
            fault = self._dice.choice(self.offered())
            seconds = self._dice.uniform(*fault.seconds)
            try:
                self._break(fault, seconds)
            except Exception as error:  # noqa: BLE001 - it is told at the end, and the run goes on
                self.broken.append(f"{fault.name}: {type(error).__name__}: {error}")

    def _break(self, fault: Fault, seconds: float) -> None:
        began = time.monotonic() - self.began
        try:
            fault.begin()
            self._over.wait(seconds)
        finally:
            fault.end()
            self.happened.append(Happened(self.name, fault.name, began, time.monotonic() - self.began))
