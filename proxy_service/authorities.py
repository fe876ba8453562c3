"""The certificate authorities that upstreams are believed by, and what is spoken with them.

Reading the system's takes as long as a fifth of a start. So it is done once for all clients, beside whatever
else is going on, and when somebody first needs it or before.
"""

import asyncio
import ssl
import threading
from concurrent.futures import Future


class Authorities:
    """The system's authorities, and those of a file (PEM) where one is named. Made and asked by one loop."""

    def __init__(self, ca_file: str = "") -> None:
        self._ca_file = ca_file
        self._reading: Future[ssl.SSLContext] | None = None

    def read(self) -> "Future[ssl.SSLContext]":
        """Begin to read them, unless that has begun. What went wrong once is tried again."""
        if self._reading is None or (self._reading.done() and self._reading.exception() is not None):
            self._reading = Future()
            self._reading.set_running_or_notify_cancel()  # whoever gives up waiting ends it for nobody else
            threading.Thread(
                target=self._read, args=(self._reading,), name="authorities", daemon=True
            ).start()
        return self._reading

    async def context(self) -> ssl.SSLContext:
        """What to dial with. Raises: OSError where they cannot be read."""
        reading = self.read()
        return reading.result() if reading.done() else await asyncio.wrap_future(reading)

    def _read(self, reading: "Future[ssl.SSLContext]") -> None:
        try:
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            if self._ca_file:
                context.load_verify_locations(self._ca_file)
        except Exception as error:  # noqa: BLE001 - the edge of a thread: whoever waits is told
            reading.set_exception(error)
        else:
            reading.set_result(context)
