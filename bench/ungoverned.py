"""ModelTrack's relay alone, with all that governs calls left out, as a base for what governing costs.

    python -m bench.ungoverned PORT UPSTREAM_URL [CA_FILE]

The same listener, parsers, header rules, pool, backpressure and ending of calls as the proxy's; no identity,
budgets, metering, prices, journal, segments, cache or headers of ours. It is no part of the product.
"""

import asyncio
import gc
import sys
import time
from typing import Final

import uvloop

from proxy_service.app import Listener, serve
from proxy_service.authorities import Authorities
from proxy_service.delivery import Delivery, is_small
from proxy_service.headers import read_answer, read_inbound
from proxy_service.lifeline import Lifeline
from proxy_service.main import GC_OLDER_ROUNDS, GC_YOUNG_OBJECTS
from proxy_service.relay import UpstreamClient
from proxy_service.settings import origin_at
from proxy_service.wire import CallerGone, Downstream, WireError

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
UPSTREAM_SECONDS: Final = 600


class Relay:
    """Passes each call on, and its answer back."""

    def __init__(self, upstream_url: str, ca_file: str) -> None:
        self._origin = origin_at(upstream_url)
        self._upstream = UpstreamClient(
            connect_seconds=10,
            first_byte_seconds=UPSTREAM_SECONDS,
            idle_seconds=UPSTREAM_SECONDS,
            authorities=Authorities(ca_file),
        )

    async def handle(self, downstream: Downstream) -> None:
        """Answer one request. A fault on either side cuts it off."""
        head = downstream.head
        try:
            inbound = read_inbound(head.headers, forwarding_hops=0)
            body = await downstream.read_body(BODY_BYTES_MAX)
            lifeline = Lifeline(downstream, None)
            try:
                opening = self._upstream.open(self._origin, head.method, head.target, inbound.outbound, body)
                answer = await lifeline.open(opening)
                headers = read_answer(answer.head.headers)
                delivery = Delivery(downstream, lifeline, answer, None, None, time.monotonic)
                if is_small(answer.head):
                    await delivery.hold()
                else:
                    await delivery.pass_on(headers, copies=False)
                delivery.release(headers if delivery.is_held else [])
            finally:
                lifeline.close()
        except CallerGone:
            pass
        except WireError:
            downstream.cut()


async def relay(port: int, upstream_url: str, ca_file: str) -> None:
    """Serve until the process is ended."""
    await serve(Relay(upstream_url, ca_file).handle, listeners=[Listener(port=port)])
    gc.collect()
    gc.freeze()  # as the proxy does
    gc.set_threshold(GC_YOUNG_OBJECTS, *GC_OLDER_ROUNDS)
    await asyncio.get_running_loop().create_future()


def main() -> None:
    """Serve as the command line says."""
    port, upstream_url, *ca_file = sys.argv[1:]
    uvloop.run(relay(int(port), upstream_url, ca_file[0] if ca_file else ""))


if __name__ == "__main__":
    main()
