"""How a process is put together: a store opened beside calls."""

import asyncio
import gc
import weakref

import pytest

from proxy_service import main
from proxy_service.authorities import Authorities
from proxy_service.logs import open_log
from proxy_service.settings import ProxySettings
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown


class Broken:
    """What a call that broke leaves: it holds itself, as an error does whose traceback leads to it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_calls_leave_while_a_store_is_opened_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = StoreDown()
    healthy.heal()
    monkeypatch.setattr(main, "open_store", lambda _url: healthy)
    settings = ProxySettings(store_url="firestore://demo-a", firestore_emulator_host="127.0.0.1:9")

    async def run() -> "weakref.ref[Broken]":
        under_way = Broken()
        loop, told = asyncio.get_running_loop(), main._Told(open_log("error"))
        store = main._open_store(settings, told, loop, ManualClock(), Authorities())
        await asyncio.to_thread(store.get_many, [])
        return weakref.ref(under_way)

    left = asyncio.run(run())
    gc.collect()

    assert left() is None
