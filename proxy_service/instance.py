"""One instance of the proxy: its parts made once and joined here, started together, stopped in order.

Stopping: accept nothing more → let calls end → cut what is left → store what is in memory → hand leases
back → close the journal. All of it within `STOP_SECONDS_MAX`; what the store does not take by then stays with
the journal.
"""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

from metering.bounds import Bounds
from metering.clock import Clock
from metering.conservation import Admissions
from metering.directory import Directory
from metering.errors import MeteringError
from metering.file_configuration import WatchedFiles, configuration_files
from metering.ids import new_instance_name
from metering.leases import charge_writes, lease_expiry
from metering.ledger import Ledger, Stored
from metering.model_limits import load_model_limits
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.rule_savings import RoutingFigures, routing_figures
from metering.seeding import Seeder
from metering.segments import Segment, SegmentPacker
from metering.stores import DocumentStore
from proxy_service.admission import Admittance
from proxy_service.app import Listener, Server, serve
from proxy_service.authorities import Authorities
from proxy_service.batch_items import BatchItems
from proxy_service.bodies import BodyRoom
from proxy_service.books import Books
from proxy_service.cache import AnswerCache, CacheRules
from proxy_service.desk import SYNC_THREADS, Desk
from proxy_service.exchange import Exchange, Steps
from proxy_service.exposition import ProcessState
from proxy_service.file_watch import FileWatch
from proxy_service.fingerprints import Fingerprints
from proxy_service.identity import Identity
from proxy_service.journal import Journal, open_sink
from proxy_service.left_journals import left_journals
from proxy_service.logs import CallLog
from proxy_service.metrics_listener import MetricsListener
from proxy_service.origins import Origins
from proxy_service.policy import KeyUses, PolicyMemory
from proxy_service.process_figures import ProcessFigures
from proxy_service.recorder import COMMITS_AT_ONCE, Recorder
from proxy_service.relay import UpstreamClient
from proxy_service.service_routes import ServiceRoutes
from proxy_service.settings import ProxySettings
from proxy_service.settlement import Settlement
from proxy_service.tally import Tally

DRAIN_SECONDS: Final = 8.0
STOP_SECONDS_MAX: Final = 9.6  # of the ten that a platform gives
JOURNAL_SECONDS_MIN: Final = 0.3  # kept for the journal's end, whatever the store does
LEASES_SECONDS_MIN: Final = 0.7  # kept for handing leases back, before that; the reaper does what is left
LOG_SECONDS: Final = 0.1
IDENTITY_STORE_SECONDS: Final = 2.0  # a call waits no longer to learn whose it is
LOOK_UP_THREADS: Final = 4


class Instance:
    """A proxy on its store. Make it, `start` and `stop` it on one event loop."""

    def __init__(
        self,
        settings: ProxySettings,
        store: DocumentStore,
        secret: bytes,
        *,
        clock: Clock,
        log: CallLog,
        authorities: Authorities | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.tally = Tally()
        self._drain_seconds = drain_seconds
        self._authorities = authorities or authorities_of(settings)
        self._settings = settings
        self._clock = clock
        self._log = log
        self._name = name = new_instance_name()
        self._commit_threads = ThreadPoolExecutor(COMMITS_AT_ONCE, "commit")
        self._look_up_threads = ThreadPoolExecutor(LOOK_UP_THREADS, "look-up")
        self._lease_threads = ThreadPoolExecutor(SYNC_THREADS, "leases")
        self._poll_thread = ThreadPoolExecutor(1, "changes")
        self._file_thread = ThreadPoolExecutor(1, "files")
        self._note_thread = ThreadPoolExecutor(1, "notes")  # key uses and statistics: nobody's call waits
        self._directory = Directory(store, clock, secret, timeout_seconds=IDENTITY_STORE_SECONDS)
        self._store = store
        self._journal = Journal(
            open_sink(settings.journal_sink, name),
            self.tally,
            lambda error: self._log.fault("journal not written", error),
        )
        self._desk = Desk(
            store,
            clock,
            name,
            threads=self._lease_threads,
            on_fault=lambda error: self._log.fault("lease not told", error),
        )
        self._memory = PolicyMemory(
            self._directory,
            self.tally,
            look_up_threads=self._look_up_threads,
            poll_thread=self._poll_thread,
            on_policy=self._desk.on_policy,
        )
        self._admissions = Admissions()
        self._ledger = Ledger(store, clock, admitted=self._admissions.of)
        self._recorder = Recorder(
            SegmentPacker(name, stretch=self._ledger.stretch),
            self._store_segment,
            clock,
            self.tally,
            threads=self._commit_threads,
            on_stored=self._journal.stored,
            on_refused=lambda error: self._log.fault("segment refused", error),
            on_left=self._journal.leave,
            on_reach=lambda is_reached: self._log.store_reach(is_reached, self._recorder.events_unstored),
        )
        self._file_watch = None if settings.is_hosted else self._watch(store)
        self._secret = secret
        self._tasks: set[asyncio.Task[None]] = set()
        self._upstream: UpstreamClient | None = None
        self._server: Server | None = None
        self._exchange: Exchange | None = None
        self._services: ServiceRoutes | None = None
        self._metrics: MetricsListener | None = None

    @property
    def calls_read_on(self) -> int:
        """How many answers are being read to their end for callers who hung up."""
        return 0 if self._exchange is None else len(self._exchange.reading_on)

    async def start(self) -> list[tuple[str, int]]:
        """Listen; the addresses. Raises: OSError where one cannot be had."""
        settings = self._settings
        self._journal.start()
        self._upstream = UpstreamClient(
            connect_seconds=settings.upstream_connect_timeout_seconds,
            first_byte_seconds=settings.upstream_first_byte_timeout_seconds,
            idle_seconds=settings.upstream_idle_timeout_seconds,
            authorities=self._authorities,
        )
        if self._file_watch is not None:
            self._file_watch.look()
        steps = self._steps(self._upstream)
        self._services = steps.service_routes
        self._exchange = Exchange(steps)
        self._server = await serve(
            self._exchange.handle,
            listeners=_listeners(settings),
            on_fault=lambda error: self._log.fault("connection failed", error),
        )
        if settings.metrics_port is not None:
            self._metrics = MetricsListener(
                self._process.now, lambda error: self._log.fault("metrics not told", error)
            )
            await self._metrics.start(settings.metrics_port)
        self._keep_running(self._memory.follow_changes())
        self._keep_running(self._desk.run())
        self._keep_running(self._tell_of_left_journals())
        if self._file_watch is not None:
            self._keep_running(self._file_watch.run())
        if not settings.is_hosted:
            self._keep_running(self._make_local_account())
        return self._server.addresses

    async def stop(self) -> None:
        """End within `STOP_SECONDS_MAX`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOP_SECONDS_MAX
        if self._services is not None:
            self._services.is_draining = True
        if self._exchange is not None:
            loop.call_later(self._drain_seconds, self._exchange.reading_on.cut_all)
        if self._server is not None:
            await self._server.drain(self._drain_seconds)
        for task in self._tasks:
            task.cancel()
        kept = JOURNAL_SECONDS_MIN + LEASES_SECONDS_MIN
        await self._recorder.flush(max(0.0, deadline - loop.time() - kept))
        await self._desk.close(max(0.0, deadline - loop.time() - JOURNAL_SECONDS_MIN))
        await self._journal.close(max(JOURNAL_SECONDS_MIN, deadline - loop.time()))
        if self._metrics is not None:  # so late that a last scrape tells what came of the last calls
            await self._metrics.stop()
        if self._upstream is not None:
            await self._upstream.close()
        for threads in (
            self._commit_threads,
            self._lease_threads,
            self._look_up_threads,
            self._poll_thread,
            self._file_thread,
            self._note_thread,
        ):
            threads.shutdown(wait=False, cancel_futures=True)
        self._log.close(LOG_SECONDS)

    def _watch(self, store: DocumentStore) -> FileWatch:
        settings = self._settings
        files = configuration_files(settings.data_dir, settings.routing_file)
        return FileWatch(
            WatchedFiles(files, self._clock),
            Seeder(store, self._clock),
            self._clock,
            take=self._memory.take_files,
            tell=self._log.configuration_file,
            look_thread=self._file_thread,
            store_thread=self._note_thread,
        )

    def _store_segment(self, segment: Segment) -> Stored:
        """Store the events and, in the same commit, what they charge to leases. In a thread."""
        looked_after_until = lease_expiry(self._clock.now())
        return self._ledger.commit(
            segment,
            lambda events: charge_writes(segment.account_id, events, expires_at=looked_after_until),
        )

    def _steps(self, upstream: UpstreamClient) -> Steps:
        settings, clock, tally = self._settings, self._clock, self.tally
        pricer = Pricer(load_price_table())
        settlement = Settlement(pricer)
        identity = Identity(
            self._memory,
            KeyUses(self._directory.note_key_use, clock, self._note_thread),
            clock,
            self._secret,
            tally,
            is_key_required=settings.is_key_required,
        )
        cache = AnswerCache(
            CacheRules(
                enabled=settings.is_cache_on, temperature_zero_only=settings.cache_temperature == "zero"
            ),
            entries_max=settings.cache_max_entries,
            bytes_max=settings.cache_max_bytes,
            ttl_seconds=settings.cache_ttl_seconds,
        )
        self._process = process = ProcessFigures(tally, cache, clock, self._state)
        return Steps(
            identity=identity,
            room=BodyRoom(),
            admittance=Admittance(
                pricer, Bounds(pricer, load_model_limits()), self._desk, self._log.budget_reached
            ),
            cache=cache,
            fingerprints=Fingerprints(self._secret),
            origins=Origins(settings),
            upstream=upstream,
            books=Books(
                settlement,
                self._recorder,
                self._journal,
                tally,
                clock,
                desk=self._desk,
                instance=self._name,
                admissions=self._admissions,
            ),
            batch_items=BatchItems(settlement, self._recorder, self._journal, tally, clock, desk=self._desk),
            service_routes=ServiceRoutes(
                identity,
                process,
                cache,
                clock,
                is_hosted=settings.is_hosted,
                figures_of_month=self._figures_of_month,
                version=settings.version,
            ),
            tally=tally,
            log=self._log,
            clock=clock,
            body_limit_bytes=settings.body_limit_bytes,
            forwarding_hops=settings.hops,
        )

    def _state(self) -> ProcessState:
        tally, recorder, server = self.tally, self._recorder, self._server
        return ProcessState(
            has_store_answered=recorder.is_store_reached,
            store_errors={
                "commit": tally.commits_repeated,
                "changes": tally.changes_unread,
                "look_up": tally.look_ups_unanswered,
                "lease": self._desk.syncs_unanswered,
            },
            events_waiting=recorder.events_unstored,
            segments_waiting=recorder.segments_waiting,
            oldest_segment_wait_seconds=recorder.oldest_wait_seconds,
            connections_open=0 if server is None else server.connections_open,
            connections_refused=0 if server is None else server.connections_refused,
            requests_malformed=0 if server is None else server.requests_refused,
        )

    async def _figures_of_month(self, account_id: str, now: datetime) -> RoutingFigures:
        begins = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._note_thread, routing_figures, self._store, account_id, begins, now
        )

    async def _tell_of_left_journals(self) -> None:
        """Say what earlier processes left, counted while calls are served already."""
        loop = asyncio.get_running_loop()
        journal = self._settings.journal_sink
        try:
            left = await loop.run_in_executor(self._note_thread, left_journals, journal, self._name)
        except OSError as error:
            self._log.fault("journals of earlier processes not read", error)
        else:
            if left.files:
                self._log.journals_left(left)

    async def _make_local_account(self) -> None:
        """The machine's own account, made while calls are served already; without a store, made later."""
        while True:
            try:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._note_thread, self._directory.ensure_local_account)
            except MeteringError as error:
                self._log.fault("the machine's own account not made yet; trying again", error)
                await asyncio.sleep(LOCAL_ACCOUNT_PAUSE_SECONDS)
            else:
                return

    def _keep_running(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.fault("background work ended", error)


LOCAL_ACCOUNT_PAUSE_SECONDS: Final = 5.0


def authorities_of(settings: ProxySettings) -> Authorities:
    """Those that this proxy's upstreams are believed by."""
    return Authorities(str(settings.upstream_ca_file or ""))


def _listeners(settings: ProxySettings) -> list[Listener]:
    host = settings.listen_host
    listeners = [Listener(host=host, port=settings.listen_port)]
    if settings.tls_cert is not None:
        listeners.append(
            Listener(
                host=host,
                port=settings.tls_port,
                certificate_file=str(settings.tls_cert),
                key_file=str(settings.tls_key),
            )
        )
    return listeners
