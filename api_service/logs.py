"""What the API writes about itself: one JSON line a request or a job's run, from a closed list of fields.

A line names the route, never the address that was asked for, and never a body, a header, a key, an e-mail
address or the text of an exception: those may hold what a caller sent. The one exception is mail on a machine
of one's own that has no mail server: it is printed here.
"""

import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

import msgspec

from metering.clock import Clock
from metering.log_lines import log_line

if TYPE_CHECKING:
    from metering.nightly_check import Check

LEVELS = ("debug", "info", "warn", "error")
FRAMES_MAX = 20
DIFFERENCES_SHOWN_MAX = 10
HEALTH_ROUTES = frozenset({"/healthz", "/health", "/readyz"})


class RequestLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request that was answered."""

    request_id: str
    method: str
    route: str
    status: int
    duration_ms: int
    account_id: str = ""
    person_id: str = ""
    key_id: str = ""


class ApiLog:
    """Writes JSON lines at or above a level."""

    def __init__(self, clock: Clock, level: str = "info", stream: TextIO | None = None) -> None:
        self._clock = clock
        self._least = LEVELS.index(level)
        self._stream = stream

    def answered(self, line: RequestLine) -> None:
        """A request was answered. Health checks, which come every second, are told of at `debug` only."""
        is_routine = line.route in HEALTH_ROUTES
        level = "error" if line.status >= 500 else "debug" if is_routine else "info"
        self._write(level, "answered", msgspec.to_builtins(line))

    def broken(self, error: BaseException) -> None:
        """Something happened that nobody foresaw: its kind and where, without its words."""
        self._write("error", "broken", _kind_and_place(error))

    def job_done(
        self,
        job: str,
        figures: Mapping[str, int],
        *,
        seconds: float,
        is_alarming: bool = False,
        is_news: bool = True,
    ) -> None:
        """A job has run; what is no news is for `debug`. Figures of 0 are left out."""
        did = {name: figure for name, figure in figures.items() if figure}
        level = "debug" if not is_news else "error" if is_alarming else "info"
        self._write(level, "job done", {"job": job, "duration_ms": round(seconds * 1000), **did})

    def job_failed(self, job: str, error: BaseException, *, is_news: bool = True) -> None:
        """A job's run came to nothing or not to its end; the next one follows."""
        level = "error" if is_news else "debug"
        self._write(level, "job failed", {"job": job, **_kind_and_place(error)})

    def job_overdue(self, job: str, seconds: float) -> None:
        """A job's run takes longer than any should; other jobs go on meanwhile."""
        self._write("error", "job overdue", {"job": job, "seconds": round(seconds)})

    def day_unsound(self, account_id: str, check: "Check") -> None:
        """The nightly check found an account's books of a day wrong: what it counted twice, differently."""
        fields = {
            "account_id": account_id,
            "day": check.day,
            "calls_unaccounted": check.in_flight,
            "differences": msgspec.to_builtins(check.differences[:DIFFERENCES_SHOWN_MAX]),
        }
        self._write("error", "day unsound", fields)

    def notice(self, account_id: str, kind: str, words: str) -> None:
        """An account is told of something and has no channel; only a machine of one's own says the words."""
        said = {"words": words} if words else {}
        self._write("info", "notice", {"account_id": account_id, "kind": kind, **said})

    def policy_violated(self, directive: str, route: str) -> None:
        """A browser kept a page from something that its Content-Security-Policy does not allow."""
        self._write("warn", "content security policy violated", {"directive": directive, "route": route})

    def fault(self, what: str) -> None:
        """An operator has to do something; `what` is a sentence of ours."""
        self._write("error", what, {})

    def caution(self, what: str) -> None:
        """An operator should know this; `what` is a sentence of ours."""
        self._write("warn", what, {})

    def printed_mail(self, to: str, subject: str, text: str) -> None:
        """A mail that no server takes, for whoever runs this machine; written at every level."""
        self._print("info", "mail", {"to": to, "subject": subject, "text": text})

    def note(self, what: str) -> None:
        """Worth a line; `what` is a sentence of ours."""
        self._write("info", what, {})

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if LEVELS.index(level) >= self._least:
            self._print(level, event, fields)

    def _print(self, level: str, event: str, fields: dict[str, object]) -> None:
        line = {"timestamp": self._clock.now(), "level": level, "event": event, **fields}
        stream = self._stream or sys.stderr
        stream.write(log_line(line) + "\n")
        stream.flush()


def _kind_and_place(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"kind": type(error).__qualname__, "where": where}
