"""A whole proxy on a loop in a thread of its own, its upstream a plain socket: tests are plain calls."""

import asyncio
import io
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.directory import Directory
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.opening import open_store
from metering.stores import DocumentStore
from proxy_service.instance import Instance
from proxy_service.logs import CallLog, open_log
from proxy_service.settings import ProxySettings
from tests.builders import SECRET, changed_settings
from tests.doubles.clock import ManualClock
from tests.doubles.raw_upstream import RawUpstream

T = TypeVar("T")


class RunningProxy:
    """Use as a context. `store` and `directory` are what it works on; `log` is all that it logged."""

    def __init__(
        self,
        folder: Path,
        upstream: RawUpstream | None = None,
        *,
        store: DocumentStore | None = None,
        clock: ManualClock | None = None,
        is_hosted: bool = False,
        drain_seconds: float = 0.2,
        **settings: Any,
    ) -> None:
        self.clock = clock or ManualClock()
        self.folder = folder
        self.log = io.StringIO()
        self.store = store or open_store(f"sqlite:///{folder}/modeltrack.db")
        self.directory = Directory(self.store, self.clock, SECRET)
        port = upstream.port if upstream is not None else 9
        self._settings = make_settings(folder, port, is_hosted=is_hosted, **settings)
        self._drain_seconds = drain_seconds
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._is_stopped = False
        self.instance: Instance
        self.port = 0

    def __enter__(self) -> "RunningProxy":
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self.store.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do something on the proxy's loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(15)

    def stop(self) -> None:
        """Shut down in order: everything in memory is stored then."""
        if not self._is_stopped:
            self._is_stopped = True
            self.run(self.instance.stop())

    def events(self, account_id: str = LOCAL_ACCOUNT_ID) -> list[CostEvent]:
        """Every event of the account, oldest first; the proxy is shut down for it."""
        self.stop()
        return list(reversed(Ledger(self.store, self.clock).events(account_id).events))

    def event(self, account_id: str = LOCAL_ACCOUNT_ID) -> CostEvent:
        """The one event there is."""
        (event,) = self.events(account_id)
        return event

    def journal_lines(self) -> list[dict[str, Any]]:
        """The journal as it is on disk."""
        files = sorted(self.folder.glob("cost_events*.jsonl"))
        return [msgspec.json.decode(line) for file in files for line in file.read_bytes().splitlines()]

    async def _start(self) -> None:
        self.instance = Instance(
            self._settings,
            self.store,
            SECRET,
            clock=self.clock,
            log=CallLog(open_log("debug", self.log), "debug", self.clock, self.log),
            drain_seconds=self._drain_seconds,
        )
        addresses = await self.instance.start()
        self.port = addresses[0][1]


def make_settings(folder: Path, port: int, *, is_hosted: bool = False, **changes: Any) -> ProxySettings:
    """Settings of a proxy whose upstreams all are one port of this machine.

    A hosted one would refuse such upstreams and such a store, so that word is put in behind the checks.
    """
    upstream = f"http://127.0.0.1:{port}"
    fields: dict[str, Any] = {
        "data_dir": folder,
        "store_url": f"sqlite:///{folder}/modeltrack.db",
        "journal": f"file:{folder}",
        "proxy_port": 0,
        "proxy_host": "127.0.0.1",
        "anthropic_base_url": upstream,
        "openai_base_url": upstream,
        "bedrock_endpoint_url": upstream,
        "azure_openai_endpoint": upstream,
    }
    return changed_settings(ProxySettings(**(fields | changes)), modeltrack_hosted=is_hosted)
