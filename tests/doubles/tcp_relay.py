"""A TCP relay in front of a server, to break what passes: swallow replies, stop all traffic, hang up."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Literal, Self

Mode = Literal["pass", "swallow_replies", "stop", "refuse"]


class TcpRelay:
    """Passes bytes both ways until told otherwise; use as a context.

    `swallow_replies` hands requests on and loses what the server answers; `stop` passes nothing and keeps
    connections open, like a server that was stopped; `resume` lets it go on; `refuse` hangs up. `heal` hangs
    up, so that callers connect anew, and passes again.
    """

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._mode: Mode = "pass"
        self._passing = threading.Event()
        self._passing.set()

    @property
    def address(self) -> str:
        """Where callers connect."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A closed listener keeps a thread that waits in accept; shutting it down wakes it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._mode = "refuse"
        self._passing.set()
        self._hang_up()

    def swallow_replies(self) -> None:
        self._mode = "swallow_replies"

    def stop(self) -> None:
        self._mode = "stop"
        self._passing.clear()

    def resume(self) -> None:
        self._mode = "pass"
        self._passing.set()

    def refuse(self) -> None:
        self._mode = "refuse"
        self._hang_up()

    def heal(self) -> None:
        self._hang_up()
        self._mode = "pass"
        self._passing.set()

    def _hang_up(self) -> None:
        with self._lock:
            ended, self._open = self._open, []
        for connection in ended:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            if self._mode == "refuse":
                caller.close()
                continue
            try:
                upstream = socket.create_connection(self._upstream)
            except OSError:  # nobody is there, or not at the moment
                caller.close()
                continue
            with self._lock:
                self._open += [caller, upstream]
            for source, target, replies in ((caller, upstream, False), (upstream, caller, True)):
                threading.Thread(target=self._pump, args=(source, target, replies), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, replies: bool) -> None:
        with source:
            try:
                while data := source.recv(65536):
                    self._passing.wait()
                    if not (replies and self._mode == "swallow_replies"):
                        target.sendall(data)
                how = socket.SHUT_WR
            except OSError:  # whoever broke off hears nothing more, and sends nothing more
                how = socket.SHUT_RDWR
            with contextlib.suppress(OSError):
                target.shutdown(how)
