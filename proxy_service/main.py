"""The process: environment in, one instance running, signals, and an end within ten seconds.

`python -m proxy_service` serves until SIGTERM or Ctrl-C. A second signal exits at once. Settings that make no
sense are told, all of them, and nothing is started.
"""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

import uvloop

from metering.clock import Clock, SystemClock
from metering.errors import StoreError, StoreUnavailable
from metering.opening import open_store
from metering.settings import SettingsRefused, deployment_secret
from metering.store_urls import SqliteAddress, store_address
from metering.stores import Document, DocumentStore, Increment, WriteResult
from proxy_service.app import Limits
from proxy_service.authorities import Authorities
from proxy_service.first_reads import FirstReads, emulator_origin
from proxy_service.instance import Instance, authorities_of
from proxy_service.logs import CallLog, Logger, open_log
from proxy_service.opening import OpeningStore
from proxy_service.relay import UpstreamClient
from proxy_service.settings import ProxySettings

STARTED, REFUSED, FAILED = 0, 2, 1
THREADS_END_SECONDS: Final = 0.2
GC_YOUNG_OBJECTS: Final = 20_000  # of a call nothing is left to collect but what counting references frees
GC_OLDER_ROUNDS: Final = (20, 50)
STORE_OPENED_SECONDS: Final = 5.0  # after start, where nobody needed the store before
STORE_PAUSE_SECONDS: Final = 0.25  # the calls that are under way go first: loading it takes the processor
FIRST_READ_SECONDS: Final = 2.0
OPEN_FILES_BESIDE_CALLS: Final = 256  # the store's connections, the journal, idle ones to upstreams
OPEN_FILES_WANTED: Final = 2 * Limits().connections_max + OPEN_FILES_BESIDE_CALLS  # a call has two

T = TypeVar("T")


def main() -> int:
    """Run until told to stop; the process's exit status."""
    try:
        settings = ProxySettings()
        secret = deployment_secret(settings)
    except SettingsRefused as refused:
        sys.stderr.write("\n".join(("The proxy does not start:", *refused.complaints, "")))
        return REFUSED
    log = open_log(settings.log_level)
    _quiet_libraries(log)
    _open_more_files(log)
    try:
        authorities = authorities_of(settings)
        if settings.is_hosted:  # the store and all upstreams are dialled with them
            authorities.read()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(_run(settings, secret, log, authorities))
    except (OSError, StoreError, ValueError) as error:
        log.error("not started", kind=_kind(error), reason=str(error))  # noqa: TRY400 - no trace: it is told
        return FAILED
    _leave(status)
    return status


async def _run(settings: ProxySettings, secret: bytes, log: Logger, authorities: Authorities) -> int:
    told = _Told(log)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _, context: log.error(
            "loop", what=context.get("message"), kind=_kind(context.get("exception"))
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.to_stop)
    clock = SystemClock()
    store = _open_store(settings, told, loop, clock, authorities)
    instance = Instance(
        settings,
        store,
        secret,
        clock=clock,
        log=CallLog(log, settings.log_level, clock),
        authorities=authorities,
    )
    addresses = await instance.start()
    log.info("listening", addresses=[f"{host}:{port}" for host, port in addresses])
    gc.freeze()  # what start made lives as long as the process: no collection need walk it, ever
    gc.set_threshold(GC_YOUNG_OBJECTS, *GC_OLDER_ROUNDS)
    gc.enable()
    await told.stopping.wait()
    log.info("stopping")
    await instance.stop()
    threading.Thread(target=store.close, daemon=True).start()  # daemon: a store that hangs holds up nobody
    log.info("stopped")
    return told.status


def _open_store(
    settings: ProxySettings,
    told: "_Told",
    loop: asyncio.AbstractEventLoop,
    clock: Clock,
    authorities: Authorities,
) -> DocumentStore:
    """The store; one over the network is opened beside the first calls, since loading gRPC takes longer."""
    address = store_address(settings.store_url)
    if isinstance(address, SqliteAddress):
        return open_store(settings.store_url)

    def has_failed(error: Exception) -> None:
        loop.call_soon_threadsafe(told.of_failure, error)

    # Elsewhere than on Cloud Run credentials may be files, which Google's own libraries read.
    emulator = settings.firestore_emulator_host
    has_rest = bool(emulator or settings.k_service)
    client = _client_of_first_reads(Authorities() if settings.upstream_ca_file else authorities)
    reads = (
        FirstReads(client, address, clock, firestore=emulator_origin(emulator), metadata=None)
        if emulator
        else FirstReads(client, address, clock)
    )
    first = _FromThreads(reads, loop) if has_rest else None
    store = OpeningStore(
        # What that makes is not frozen: what calls under way leave to the collector would be, for good.
        lambda: open_store(settings.store_url),
        has_failed,
        first,
        pause_seconds=STORE_PAUSE_SECONDS if has_rest else 0,
    )
    loop.call_later(STORE_OPENED_SECONDS if has_rest else 0, store.open)
    return store


def _client_of_first_reads(authorities: Authorities) -> UpstreamClient:
    seconds = FIRST_READ_SECONDS
    return UpstreamClient(
        connect_seconds=seconds, first_byte_seconds=seconds, idle_seconds=seconds, authorities=authorities
    )


class _FromThreads:
    """First reads, for the threads that wait for them."""

    def __init__(self, reads: FirstReads, loop: asyncio.AbstractEventLoop) -> None:
        self._reads = reads
        self._loop = loop

    def get(self, path: str, timeout_seconds: float) -> Document | None:
        """See `First`."""
        return self._waited_for(self._reads.get(path), timeout_seconds)

    def increment(self, writes: Sequence[Increment], timeout_seconds: float) -> list[WriteResult]:
        """See `First`."""
        return self._waited_for(self._reads.increment(writes), timeout_seconds)

    def _waited_for(self, work: Coroutine[Any, Any, T], timeout_seconds: float) -> T:
        working = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return working.result(timeout_seconds)
        except TimeoutError:
            working.cancel()
            raise StoreUnavailable("no answer in time") from None


class _Told:
    """What the process was told from outside."""

    def __init__(self, log: Logger) -> None:
        self.status = STARTED
        self.stopping = asyncio.Event()
        self._log = log

    def to_stop(self) -> None:
        """A signal: end in order, or at once the second time."""
        if self.stopping.is_set():
            os._exit(FAILED)
        self.stopping.set()

    def of_failure(self, error: Exception) -> None:
        """The store cannot be opened: nothing would ever be recorded."""
        self._log.error("store not opened", kind=type(error).__name__)
        self.status = FAILED
        self.stopping.set()


class _LibraryLines(logging.Handler):
    """What libraries log, reduced to where it came from: their words may quote what somebody sent."""

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line of ours for theirs."""
        kind = _kind(record.exc_info[1] if record.exc_info else None)
        self._log.warning("library", logger=record.name, level=record.levelname.lower(), kind=kind)


def _quiet_libraries(log: Logger) -> None:
    warnings.simplefilter("ignore")
    logging.basicConfig(handlers=[_LibraryLines(log)], level=logging.WARNING, force=True)


def _open_more_files(log: Logger) -> None:
    """Take all the open files we may have; where that is too few for every connection, say so and go on."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(allowed, OPEN_FILES_WANTED) if most == resource.RLIM_INFINITY else most
    with contextlib.suppress(OSError, ValueError):  # what we have stands
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        allowed = wanted
    if allowed < OPEN_FILES_WANTED:
        log.warning("too few open files for all connections", allowed=allowed, wanted=OPEN_FILES_WANTED)


def _kind(error: Any) -> str:
    return type(error).__name__ if isinstance(error, BaseException) else ""


def _leave(status: int) -> None:
    """End now, even where a thread still waits for a store that does not answer."""
    deadline = time.monotonic() + THREADS_END_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
