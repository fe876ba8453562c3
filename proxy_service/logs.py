"""Logs: one JSON object a line on standard error, metadata only.

What a caller sent is never logged but as a normalised tag inside JSON: no body, key, ingress id, path or
header, at any level. `debug` adds health checks, nothing of anybody else's.

Lines about calls are handed to a thread in batches, so that whoever reads them slowly holds up no call.
"""

import asyncio
import contextlib
import sys
import threading
from datetime import datetime
from queue import SimpleQueue
from typing import Final, TextIO

import msgspec

from metering.clock import Clock, SystemClock
from metering.file_configuration import FileState
from metering.log_lines import log_line
from metering.money import usd_text
from proxy_service.call import Call
from proxy_service.journal import FILES_BYTES_MAX
from proxy_service.left_journals import LeftJournals
from proxy_service.stakes import StakeStanding

LEVELS: Final = {"debug": 0, "info": 1, "warn": 2, "error": 3}
BATCH_SECONDS: Final = 0.05
LINES_WAITING_MAX: Final = 10_000  # more are dropped: a log is worth less than the calls it tells of


class Logger:
    """Writes lines at or above a level, each at once."""

    def __init__(self, level: str, stream: TextIO, clock: Clock) -> None:
        self._least = LEVELS[level]
        self._stream = stream
        self._clock = clock

    def info(self, event: str, **fields: object) -> None:
        """Something happened that is worth knowing of."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something is not as it should be, and calls go on."""
        self._write("warn", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something failed."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if LEVELS[level] < self._least:
            return
        line = {**fields, "event": event, "level": level, "timestamp": _timestamp(self._clock.now())}
        # One write a line: lines of several threads do not mix.
        self._stream.write(log_line(line) + "\n")
        self._stream.flush()


def open_log(level: str, stream: TextIO | None = None) -> Logger:
    """A logger of that level, onto standard error unless told otherwise."""
    return Logger(level, stream or sys.stderr, SystemClock())


class CallLine(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged of one call, in the form of every other line."""

    request_id: str
    account_id: str
    key_id: str
    provider: str
    operation: str
    kind: str
    model: str
    status: int
    refusal: str
    state: str
    cost_nanodollars: int
    latency_ms: int
    event: str = "call"
    level: str = "info"
    timestamp: str


class CallLog:
    """One line a call, and one a fault."""

    def __init__(self, log: Logger, level: str, clock: Clock, stream: TextIO | None = None) -> None:
        self._log = log
        self._least = LEVELS[level]
        self._clock = clock
        self._lines = LineBuffer(stream or sys.stderr)

    def write(self, call: Call, latency_ms: int) -> None:
        """The call is over. Health checks, which come every second, are told of at `debug` only."""
        route, event, caller = call.route, call.event, call.caller
        is_call = route is not None or bool(call.refusal)
        level = "info" if is_call else "debug"
        if LEVELS[level] < self._least:
            return
        line = CallLine(
            request_id=call.request_id,
            account_id=caller.account_id if caller else "",
            key_id=caller.key_id if caller else "",
            provider=route.provider if route else "",
            operation=route.operation if route else "service",
            kind=route.kind if route else "service",
            model=event.model if event else "",
            status=call.status,
            refusal=call.refusal,
            state=event.state if event else "",
            cost_nanodollars=event.cost_nanodollars if event else 0,
            latency_ms=latency_ms,
            level=level,
            timestamp=_timestamp(self._clock.now()),
        )
        self._lines.add(log_line(line))

    def fault(self, what: str, error: BaseException) -> None:
        """Something of ours failed. Only kinds and places: an error's text may quote what somebody sent."""
        with contextlib.suppress(OSError):  # nobody reads it; what failed is not to fail twice
            self._log.error(what, kind=type(error).__name__, at=_place(error))

    def store_reach(self, is_reached: bool, events_unstored: int) -> None:
        """The store gives no answer any more, or again one; `events_unstored` wait for it here."""
        with contextlib.suppress(OSError):  # as above
            if is_reached:
                self._log.info("store answers again", events_unstored=events_unstored)
            else:
                self._log.warning("store gives no answer; calls go on", events_unstored=events_unstored)

    def journals_left(self, left: LeftJournals) -> None:
        """Earlier processes left journals behind."""
        self._log.warning(
            "journals of earlier processes are left; recovery, which runs beside the API, stores them",
            files=left.files,
            size_bytes=left.size_bytes,
            size_bytes_max=FILES_BYTES_MAX,
        )

    def budget_reached(self, account_id: str, standing: StakeStanding, threshold: int | None) -> None:
        """So many percent of a budget are spent; None: it refuses calls. Said once an instance and period."""
        with contextlib.suppress(OSError):  # as above
            self._log.warning(
                "budget refuses calls" if threshold is None else "budget threshold reached",
                account_id=account_id,
                budget_id=standing.budget_id,
                action=standing.action,
                period=standing.period,
                threshold_percent=threshold,
                spent_usd=usd_text(standing.spent_nanodollars),
                limit_usd=usd_text(standing.limit_nanodollars),
            )

    def configuration_file(self, state: FileState) -> None:
        """A file of the machine's own budgets or rules was read, and is in force or not."""
        if state.state == "refused":
            kept = "what was last good in it stays" if state.entries else "nothing of it is"
            self._log.error(
                f"configuration file refused; {kept} in force",
                file=state.file,
                complaints=list(state.complaints),
                entries_in_force=state.entries,
            )
        else:
            self._log.info(
                "configuration file read", file=state.file, state=state.state, entries=state.entries
            )

    def close(self, timeout_seconds: float) -> None:
        """Write what is left, at most so long."""
        self._lines.close(timeout_seconds)


class LineBuffer:
    """Lines on their way to a thread that writes them. Filled on the loop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._batch: list[str] = []
        self._lines_added = 0  # on the loop alone
        self._lines_done = 0  # in the thread alone: a count that both changed would lose some
        self._batches: SimpleQueue[list[str] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)

    def add(self, line: str) -> None:
        """One more line, without its line break."""
        if self._lines_added - self._lines_done >= LINES_WAITING_MAX:
            return
        self._lines_added += 1
        self._batch.append(line)
        if len(self._batch) == 1:
            asyncio.get_running_loop().call_later(BATCH_SECONDS, self._hand_over)

    def close(self, timeout_seconds: float) -> None:
        """Write what is left, at most so long; nothing is added after."""
        self._hand_over()
        if self._thread.is_alive():
            self._batches.put(None)
            self._thread.join(timeout_seconds)

    def _hand_over(self) -> None:
        if not self._batch:
            return
        if not self._thread.is_alive():
            self._thread.start()
        self._batches.put(self._batch)
        self._batch = []

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            with contextlib.suppress(OSError):  # nobody reads it any more, and there is nobody left to tell
                self._stream.write("\n".join([*batch, ""]))
                self._stream.flush()
            self._lines_done += len(batch)


def _timestamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
