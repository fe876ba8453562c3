"""Work that nobody waits for: done once a request is answered, in threads of its own, a bounded amount of it.

An answer tells nothing that way, not even by its time, of what there was to be done.
"""

import secrets
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Final

from api_service.logs import ApiLog

WAITING_MAX: Final = 500
CLOSING_SECONDS_MAX: Final = 2.0
PAUSE_SECONDS: Final = (0.5, 2.0)


class FewThreads(Executor):
    """A few threads, begun when there is something to do; a process ends without them.

    What waits is bounded by whoever hands it over. `shutdown` gives up after `closing_seconds`.
    """

    def __init__(self, name: str, count: int, closing_seconds: float) -> None:
        self._name = name
        self._count = count
        self._closing_seconds = closing_seconds
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._lock = Lock()
        self._threads: list[Thread] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it in a thread; what comes of it is told to nobody."""
        self._work.put(lambda: work(*args, **kwargs))
        with self._lock:
            while len(self._threads) < self._count:
                thread = Thread(target=self._run, name=self._name, daemon=True)
                self._threads.append(thread)
                thread.start()
        return Future()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait until all is done, or time is up."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(self._closing_seconds / self._count)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class Afterwards:
    """Does what waits, together, some time after the first of it came.

    That is so long that no request which comes right after another is slower for what the other left to do.
    What waits when the process is killed is lost.
    """

    def __init__(self, log: ApiLog, *, executor: Executor | None = None) -> None:
        self._log = log
        self._executor = executor or FewThreads("afterwards", 1, CLOSING_SECONDS_MAX)
        self._pause = self._rest if executor is None else _no_rest
        self._lock = Lock()
        self._waiting: list[Callable[[], object]] = []
        self._closing = Event()

    @property
    def waiting(self) -> int:
        """How much waits."""
        with self._lock:
            return len(self._waiting)

    def do(self, work: Callable[[], object]) -> bool:
        """Do it in a moment; False where too much waits already, and it is not done."""
        with self._lock:
            if len(self._waiting) >= WAITING_MAX:
                return False
            self._waiting.append(work)
            is_first = len(self._waiting) == 1
        if is_first:
            self._executor.submit(self._do_all)
        return True

    def close(self) -> None:
        """Do what waits, as far as `CLOSING_SECONDS_MAX` goes; the rest is lost."""
        self._closing.set()
        self._executor.shutdown()

    def _do_all(self) -> None:
        self._pause()
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for work in waiting:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the edge: it costs this piece of work only
                self._log.broken(error)

    def _rest(self) -> None:
        self._closing.wait(secrets.SystemRandom().uniform(*PAUSE_SECONDS))


def _no_rest() -> None:
    """Whoever brings threads of their own says when."""
