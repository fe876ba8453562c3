"""The jobs, in the order in which they are due after a start, and the one way to run any of them.

A job is a function from its `Workplace` to its report: whole numbers that say what it did. Those that are 0
need no telling. Each is imported only where it is run, since a function's process runs one of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from api_service.functions.workplace import Workplace

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE


@dataclass(frozen=True)
class Job:
    """One job. `every_seconds` is the time from the end of a run to the next one, on a machine of one's own.

    `alarming` names the figures of its report that somebody has to look into unless they are 0, `routine`
    those that are not worth a line by themselves.
    """

    name: str
    run: Callable[[Workplace], msgspec.Struct]
    every_seconds: float
    alarming: tuple[str, ...] = ()
    routine: tuple[str, ...] = ()


def _recover(workplace: Workplace) -> msgspec.Struct:
    from api_service.functions import recover

    return recover.run(workplace)


def _reap(workplace: Workplace) -> msgspec.Struct:
    from api_service.functions import reap

    return reap.run(workplace)


def _seed(workplace: Workplace) -> msgspec.Struct:
    from metering.seeding import Seeder

    return Seeder(workplace.store, workplace.clock).run()


def _compact(workplace: Workplace) -> msgspec.Struct:
    from metering.compaction import run

    return run(workplace.store, workplace.clock)


def _retain(workplace: Workplace) -> msgspec.Struct:
    from metering.retention import run

    return run(workplace.store, workplace.clock)


def _erase(workplace: Workplace) -> msgspec.Struct:
    from metering.erasure import run

    return run(workplace.store, workplace.clock)


def _check(workplace: Workplace) -> msgspec.Struct:
    from metering.nightly_check import run

    return run(workplace.store, workplace.clock, workplace.log.day_unsound)


def _alert(workplace: Workplace) -> msgspec.Struct:
    from api_service.functions import alert

    return alert.run(workplace)


def _report(workplace: Workplace) -> msgspec.Struct:
    from api_service.functions import report

    return report.run(workplace)


def _deliver(workplace: Workplace) -> msgspec.Struct:
    from api_service.functions import deliver

    return deliver.run(workplace)


def _measure(workplace: Workplace) -> msgspec.Struct:
    from api_service.functions import measure

    return measure.run(workplace)


# Each is a target of that name in `api_service.functions.main`.
JOBS: Final[Sequence[Job]] = (
    Job(
        "recover",
        _recover,
        every_seconds=5.0,  # a killed proxy's calls are in the statistics soon; nothing left costs a look
        alarming=("lines_bad", "lines_too_old", "lines_not_taken", "files_unreadable"),
        routine=("lines_waiting", "runs_elsewhere", "runs_full"),
    ),
    Job("reap", _reap, every_seconds=15.0),  # a lease lasts a minute or two anyway
    Job(
        "seed",
        _seed,
        every_seconds=15.0,  # a new budget counts at once; here, what was under way then
        routine=("budgets_seeded",),
    ),
    Job(
        "compact",
        _compact,
        every_seconds=5 * MINUTE,  # quarter hours end every fifteen; until then they are read from shards
        alarming=("unreadable",),
        routine=("days",),
    ),
    Job("retain", _retain, every_seconds=HOUR),  # what is over its time is hidden already
    Job("erase", _erase, every_seconds=30.0, routine=("left",)),  # nobody gets at it meanwhile
    Job(
        "check",
        _check,
        every_seconds=HOUR,  # a day is due once; machines of one's own are switched off at night
        alarming=("differences", "calls_unaccounted"),
    ),
    Job(
        "alert",
        _alert,
        every_seconds=MINUTE,  # budgets; what is read from rollups, once an hour
        alarming=("broken",),
        routine=("looks",),
    ),
    Job(
        "report",
        _report,
        every_seconds=MINUTE,  # schedules name an hour; nothing due costs a look
        alarming=("broken",),
        routine=("elsewhere",),
    ),
    Job(
        "deliver",
        _deliver,
        every_seconds=5.0,  # the first retry comes after five; nothing due costs a look
        alarming=("broken",),
        routine=("logged",),  # each has a line of its own
    ),
    Job(
        "measure",
        _measure,
        every_seconds=5 * MINUTE,  # what the status page shows of the last day
        routine=("samples", "accounts"),
    ),
)


def job_named(name: str) -> Job:
    """The job of that name. Raises: KeyError."""
    return {job.name: job for job in JOBS}[name]


Trouble = Mapping[str, int]  # the figures that are alarming, or the kind of a failure; empty: all is well


def perform(
    job: Job, workplace: Workplace, is_news: Callable[[Trouble], bool] = lambda _: True
) -> Mapping[str, int]:
    """Run the job once; its figures. One line in the log says what it did; nothing done, nothing said.

    `is_news` hears of each run what was wrong, and says whether somebody is to be told of it again.
    Raises: whatever the job raises; that is in the log, too.
    """
    began = workplace.clock.monotonic()
    try:
        report = job.run(workplace)
    except Exception as error:
        workplace.log.job_failed(job.name, error, is_news=is_news({type(error).__qualname__: 1}))
        raise
    figures: dict[str, int] = msgspec.structs.asdict(report)
    trouble = {name: figures[name] for name in job.alarming if figures[name]}
    is_worth_a_line = any(figures[name] for name in figures.keys() - set(job.routine))
    workplace.log.job_done(
        job.name,
        figures,
        seconds=workplace.clock.monotonic() - began,
        is_alarming=bool(trouble),
        is_news=is_news(trouble) and is_worth_a_line,
    )
    return figures
