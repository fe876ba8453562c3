"""The jobs, in the order in which they are due after a start, and the one way to run any of them.

A job is a function from its `Workplace` to its report: whole numbers that say what it did. Those that are 0
need no telling. Each is imported only where it is run, since a function's process runs one of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from api_service.functions.settings import FunctionSettings
from api_service.logs import ApiLog
from metering.clock import Clock
from metering.stores import DocumentStore

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE


@dataclass(frozen=True)
class Workplace:
    """What jobs work with."""

    settings: FunctionSettings
    store: DocumentStore
    clock: Clock
    log: ApiLog


@dataclass(frozen=True)
class Job:
    """One job. `every_seconds` is the time from the end of a run to the next one, on a machine of one's own.

    `alarming` names the figures of its report that somebody has to look into unless they are 0.
    """

    name: str
    run: Callable[[Workplace], msgspec.Struct]
    every_seconds: float
    alarming: tuple[str, ...] = ()


JOBS: Final[Sequence[Job]] = ()


def job_named(name: str) -> Job:
    """The job of that name. Raises: KeyError."""
    return {job.name: job for job in JOBS}[name]


def perform(job: Job, workplace: Workplace) -> Mapping[str, int]:
    """Run the job once; its figures. One line in the log says what it did; nothing done, nothing said.

    Raises: whatever the job raises; that is in the log, too.
    """
    began = workplace.clock.monotonic()
    try:
        report = job.run(workplace)
    except Exception as error:
        workplace.log.job_failed(job.name, error)
        raise
    figures: dict[str, int] = msgspec.structs.asdict(report)
    workplace.log.job_done(
        job.name,
        figures,
        seconds=workplace.clock.monotonic() - began,
        is_alarming=any(figures[name] for name in job.alarming),
    )
    return figures
