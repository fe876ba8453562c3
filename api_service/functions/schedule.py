"""The jobs of a machine of one's own: run by the API process, one after the other, each in its rhythm.

A run gets a thread of its own, and the schedule waits for it for `PATIENCE_SECONDS`. One that takes longer
goes on beside the others, and its job is not due again before it has ended: a run that hangs holds up
nothing but its own job, and is told of once.
"""

import threading
from collections.abc import Sequence
from typing import Final

from api_service.functions.jobs import Job, Trouble, perform
from api_service.functions.workplace import Workplace
from api_service.job_figures import JobFigures

LOOK_SECONDS: Final = 1.0  # between two looks at what is due
RETRY_SECONDS_MAX: Final = 60.0  # a run that failed is made up for by then
PATIENCE_SECONDS: Final = 60.0
SAID_AGAIN_SECONDS: Final = 3600.0  # what is wrong, and stays so from run to run
END_SECONDS: Final = 1.0  # what a run gets to end in when the process does


class Schedule:
    """Runs jobs when they are due, all of them for the first time at once after the start.

    `start` and `stop` it once; its threads end with the process in any case.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        workplace: Workplace,
        figures: JobFigures,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._jobs = jobs
        self._workplace = workplace
        self._figures = figures
        self._patience_seconds = patience_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="jobs", daemon=True)
        self._due_at = {job.name: workplace.clock.monotonic() for job in jobs}
        self._runs: dict[str, threading.Thread] = {}
        self._said: dict[str, tuple[Trouble, float]] = {}

    def start(self) -> None:
        """Begin to look for what is due."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further run, and give the one under way a moment to end.

        What is cut off then is done by whoever runs the job next.
        """
        self._stopping.set()
        self._thread.join(END_SECONDS)

    def run_due(self) -> None:
        """Run the jobs that are due, in their order."""
        for job in self._jobs:
            if self._stopping.is_set():
                return
            if self._is_due(job):
                self._run(job)

    def _keep_looking(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self.run_due()

    def _is_due(self, job: Job) -> bool:
        run = self._runs.get(job.name)
        if run is not None and run.is_alive():
            return False
        return self._due_at[job.name] <= self._workplace.clock.monotonic()

    def _run(self, job: Job) -> None:
        run = self._runs[job.name] = threading.Thread(
            target=self._perform, args=(job,), name=f"job {job.name}", daemon=True
        )
        run.start()
        run.join(self._patience_seconds)
        if run.is_alive():
            self._figures.note_overdue(job.name)
            self._workplace.log.job_overdue(job.name, self._patience_seconds)

    def _perform(self, job: Job) -> None:
        pause, clock = job.every_seconds, self._workplace.clock
        try:
            perform(job, self._workplace, lambda trouble: self._is_news(job, trouble))
        except Exception:  # noqa: BLE001 - it is in the log; the next run follows
            self._figures.note_failed(job.name)
            pause = min(pause, RETRY_SECONDS_MAX)
        else:
            self._figures.note_done(job.name, clock.now())
        self._due_at[job.name] = clock.monotonic() + pause

    def _is_news(self, job: Job, trouble: Trouble) -> bool:
        """Whether all is well, or not the same was wrong with the job's last run and told of lately."""
        now = self._workplace.clock.monotonic()
        before, at = self._said.get(job.name, ({}, now))
        if trouble and before == trouble and now - at < SAID_AGAIN_SECONDS:
            return False
        self._said[job.name] = (trouble, now)
        return True
