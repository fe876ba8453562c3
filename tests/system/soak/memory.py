"""What processes hold in memory as time goes by, and whether it grows.

A process grows while it warms up: modules, connections, answers that are kept, whatever an outage makes wait.
So a life is judged by its second half alone, and there by its usual slope: the median of the slopes between
any two moments of it. What an outage takes and gives back hardly tilts that, nor does one step, such as APIs
on Firestore took once, of 5.5 MB, about a fault of the store (a line of least squares rises by one and a half
times such a step). What is never given back, and again and again, adds up.
"""

import csv
import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# By the kind of process. Of the proxy as much is asked over a million calls (`make memory`); within what is
# judged of half an hour it gets 6,700, so that a leak of a kilobyte a call rises above it. Sound proxies rose
# by 0.2 to 2.0 MB in two minutes, sound APIs by 0.2 to 1.2, beside that step (8 minutes each, 2026-11-22).
GROWTH_MEGABYTES_MAX = {"proxy": 5.0, "api": 8.0}
JUDGED_SECONDS_MIN = 90.0  # of a second half: a line through less says nothing
JUDGED_SAMPLES_MIN = 20


@dataclass(frozen=True)
class Sample:
    """What a process held, so many seconds after the run began."""

    at_seconds: float
    megabytes: float


@dataclass(frozen=True)
class Growth:
    """How the second half of a life rises, and how long it was."""

    megabytes: float
    seconds: float

    @property
    def megabytes_an_hour(self) -> float:
        """The same rise, for an hour."""
        return self.megabytes / self.seconds * 3600


@dataclass
class Life:
    """One process from its start to its end. `name` says in whose place it ran, as `proxy 1`."""

    name: str
    number: int
    samples: list[Sample] = field(default_factory=list)

    def growth(self) -> Growth | None:
        """How it grew behind its warm-up; None where it lived too briefly to tell."""
        if not self.samples:
            return None
        middle = (self.samples[0].at_seconds + self.samples[-1].at_seconds) / 2
        later = [sample for sample in self.samples if sample.at_seconds >= middle]
        seconds = later[-1].at_seconds - later[0].at_seconds
        if len(later) < JUDGED_SAMPLES_MIN or seconds < JUDGED_SECONDS_MIN:
            return None
        return Growth(megabytes_a_second(later) * seconds, seconds)


def megabytes_a_second(samples: Sequence[Sample]) -> float:
    """The median of the slopes between any two samples; 0 where there are no two."""
    slopes = [
        (later.megabytes - earlier.megabytes) / (later.at_seconds - earlier.at_seconds)
        for earlier, later in itertools.combinations(samples, 2)
        if later.at_seconds > earlier.at_seconds
    ]
    return statistics.median(slopes) if slopes else 0.0


def leaks(lives: Sequence[Life]) -> list[str]:
    """The lives that grew too much, a line each."""
    found = []
    for life in lives:
        growth, most = life.growth(), GROWTH_MEGABYTES_MAX[life.name.split()[0]]
        if growth is not None and growth.megabytes > most:
            found.append(
                f"memory: {life.name}, life {life.number}, grew by {growth.megabytes:.1f} MB in its last"
                f" {growth.seconds:.0f} s; {most:.0f} are let pass"
            )
    return found


def told(lives: Sequence[Life]) -> list[str]:
    """What each life that was long enough came to, a line each."""
    lines = []
    for life in lives:
        if (growth := life.growth()) is not None:
            lines.append(
                f"{life.name}, life {life.number}: {life.samples[-1].megabytes:.0f} MB in the end,"
                f" {growth.megabytes:+.1f} MB in its last {growth.seconds:.0f} s"
                f" ({growth.megabytes_an_hour:+.1f} MB an hour)"
            )
    return lines


def write_table(path: Path, lives: Sequence[Life]) -> None:
    """Write every sample, as CSV."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["seconds", "process", "life", "megabytes"])
        for life in lives:
            for sample in life.samples:
                rows.writerow([f"{sample.at_seconds:.1f}", life.name, life.number, f"{sample.megabytes:.2f}"])
